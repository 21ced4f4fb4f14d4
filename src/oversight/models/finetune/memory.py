"""How much memory a device has left."""

from __future__ import annotations

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def available_bytes(device: str) -> int | None:
    """Memory that a device has left for this process; None where nothing says so."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = [n for n in (_available_of_machine(), _available_of_group()) if n is not None]
    return min(found) if found else None


def readable(n: float) -> str:
    """Bytes with two or three digits: `310 MB`, `1.3 GB`, `131 GB`."""
    if n < 0.995e9:
        return f"{n / 1e6:.0f} MB"
    return f"{n / 1e9:.1f} GB" if n < 99.5e9 else f"{n / 1e9:.0f} GB"


def _available_of_machine() -> int | None:
    """What the kernel could hand out without swapping; all there is where it does not tell."""
    try:
        lines = MEMINFO.read_text("utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _available_of_group() -> int | None:
    """What the limit of a container leaves; files that are only kept in memory for later do not count as used."""
    try:
        limit = int((GROUP / "memory.max").read_text("utf-8"))
        used = int((GROUP / "memory.current").read_text("utf-8"))
        stat = dict(line.split() for line in (GROUP / "memory.stat").read_text("utf-8").splitlines())
        return limit - used + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
