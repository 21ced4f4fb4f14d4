"""SLURM: jobs that run the same command on the same store; claims make them share the work."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from oversight.errors import InputError, StepError

CLUSTERS = ("slurm", "local")
MOST_JOBS = 4096
TIMEOUT_MINUTES = 240
LOOK_SECONDS = 10.0
SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a job does: a program and its arguments, run where it was submitted.

    A job that its time limit or a more urgent job ends is put into the queue again; what was published stays.
    """

    argv: tuple[str, ...]

    def __call__(self) -> int:
        """Exit code 0; any other one is the job's failure."""
        code = subprocess.run(self.argv, check=False).returncode
        if code:
            raise StepError(f"killed by signal {-code}" if code < 0 else f"exit code {code}")
        return code

    def checkpoint(self) -> Any:
        """Asked by submitit before the end: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Jobs that were submitted; they live on their own, whatever becomes of the process that submitted them.

    Attributes:
        ids: as the cluster names them.
        folder: of their logs, `ID_0_log.out` and `ID_0_log.err`.
        cancel_command: ends them all.
    """

    ids: tuple[str, ...]
    folder: Path
    cancel_command: str
    _jobs: tuple[Any, ...] = field(repr=False)

    def states(self) -> dict[str, str]:
        """How each job stands, in the words of the cluster: PENDING, RUNNING, COMPLETED (here FINISHED), ..."""
        return {job.job_id: job.state for job in self._jobs}

    def wait(self, *, look_seconds: float = LOOK_SECONDS) -> dict[str, str]:
        """Wait until all have ended; why they failed, by id, for those that did. Ctrl-C ends the waiting alone."""
        while not all(job.done(force_check=False) for job in self._jobs):
            time.sleep(look_seconds)
        found = {job.job_id: (job.exception(), job.paths.stderr) for job in self._jobs}
        return {name: f"{_said(error)}; see {log}" for name, (error, log) in found.items() if error is not None}

    def cancel(self) -> None:
        """End them now; results that they published stay, and what they had claimed is free."""
        for job in self._jobs:
            job.cancel()


def submit(
    command: Sequence[str], n: int, *, folder: Path, cluster: str = "slurm", parameters: Mapping[str, Any]
) -> Jobs:
    """Submit n jobs that each run a command, in this directory and with this environment; returns at once.

    Args:
        command: program and arguments.
        n: jobs, on SLURM one array.
        folder: for logs and submitit's own files; all nodes see it.
        cluster: `slurm`, or `local` = processes of this machine.
        parameters: of submitit's AutoExecutor: `timeout_min`, `mem_gb`, `cpus_per_task`, `gpus_per_node`,
            `slurm_partition` and other settings of sbatch with `slurm_` before them; see `read_parameters`. A job may
            run for 240 minutes unless `timeout_min` says otherwise.

    Raises:
        InputError: submitit or SLURM is not there, or a parameter is not known.
        StepError: SLURM refused.
    """
    if not 1 <= n <= MOST_JOBS:
        raise InputError(f"--slurm: found {n}, expected 1 to {MOST_JOBS} jobs")
    if cluster not in CLUSTERS:
        raise InputError(f"--slurm: found cluster {cluster}, expected {' or '.join(CLUSTERS)}")
    defaults = {"name": "oversight", "timeout_min": TIMEOUT_MINUTES, "slurm_array_parallelism": n}
    executor = _executor(folder, cluster, {**defaults, **parameters})
    job = Command(argv=tuple(command))
    try:
        with redirect_stderr(StringIO()), executor.batch():
            jobs = [executor.submit(job) for _ in range(n)]
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise StepError(f"--slurm: the jobs were not accepted: {_said(error)}") from error
    ids = tuple(one.job_id for one in jobs)
    ends = {"slurm": ["scancel", *dict.fromkeys(one.partition("_")[0] for one in ids)], "local": ["kill", "-INT", *ids]}
    return Jobs(ids=ids, folder=folder.absolute(), cancel_command=" ".join(ends[cluster]), _jobs=tuple(jobs))


def read_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """`timeout_min=240`, `slurm_partition=gpu`, `slurm_setup=["module load cuda"]`: JSON where it is, else text.

    Raises:
        InputError: not NAME=VALUE, or one name twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--slurm-set: found {text}, expected NAME=VALUE such as timeout_min=240")
        if name in found:
            raise InputError(f"--slurm-set: found {name} twice, expected it once")
        try:
            found[name] = json.loads(value, parse_constant=str)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _executor(folder: Path, cluster: str, parameters: Mapping[str, Any]) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise InputError("--slurm needs the package submitit: pip install 'oversight[slurm]'") from error
    missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
    if cluster == "slurm" and missing:
        raise InputError(f"--slurm: found no {missing[0]} on this machine, expected one that submits to SLURM")
    with tempfile.TemporaryDirectory() as scratch:  # what is refused leaves no folder behind
        _set(submitit.AutoExecutor(folder=scratch, cluster=cluster), parameters)
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except OSError as error:
        raise StepError(f"{folder}: cannot be written: {error.strerror}") from error
    _set(executor, parameters)
    return executor


def _set(executor: Any, parameters: Mapping[str, Any]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            executor.update_parameters(**parameters)
    except (NameError, AssertionError, ValueError, TypeError, Warning) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"--slurm-set: {lines[0][:SHOWN]}") from error


def _said(error: BaseException) -> str:
    """The line that matters in what submitit wraps: that of our own error in a trace, else the last one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -*")] or [type(error).__name__]
    own = [line.partition("StepError: ")[2] for line in lines if "StepError: " in line]
    return (own or lines)[-1][:SHOWN]
