"""The leaderboards of docs/leaderboard.md: every method on every set of a folder that has a gap, one command.

    python benchmarks/leaderboard.py DATA [--store DIR] [--workers N] [--only BOARD ...] [--write]

DATA holds one directory per set. Each board is one `oversight compare`, printed as it is run; all share a store, so
that the command can be stopped and given again. `--write` puts the tables into docs/leaderboard.md, all numbers into
benchmarks/results/, and the measured gains into the last column of docs/methods.md; of other boards all is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oversight.reports.leaderboard_tables import compact
from oversight.reports.leaderboard_words import plus

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE, METHODS = ROOT / "benchmarks/results", ROOT / "docs/leaderboard.md", ROOT / "docs/methods.md"
GROUPS = {
    "anthropic_evals": "meta.eval",
    "bbq": "meta.qi",
    "boolq": "meta.title",
    "gsm8k_solutions": "meta.q",
    "hatecheck": "meta.templ",
    "truthfulqa": "meta.q",
}
DEVELOPMENT = ("cola", "gsm8k_solutions")
EMBEDDED = ("reviews",)
THROUGH = ("--set", "bootstrap.through=minilm@1+minilm@2")
READING = re.compile(r"(?<=<!-- reading -->\n).*?(?=<!-- /reading -->)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Board:
    """One comparison.

    Attributes:
        name, title: of the board; the name is that of its file.
        sets: directories of DATA.
        words: further words of the command.
        development: sets on which settings are chosen.
    """

    name: str
    title: str
    sets: tuple[str, ...]
    words: tuple[str, ...]
    development: tuple[str, ...] = ()

    def command(self, data: Path) -> list[str]:
        """`compare TASK... --weak ...`."""
        named = (*self.sets, *self.development)
        groups = [word for name in named if name in GROUPS for word in ("--group", f"{name}={GROUPS[name]}")]
        tuned = [word for name in self.development for word in ("--dev", place(data, name))]
        return ["compare", *(place(data, name) for name in self.sets), *self.words, *tuned, *groups]


def place(data: Path, name: str) -> str:
    """Where a set is; one that is embedded goes by its name."""
    return name if name in EMBEDDED else str(data / name)


BOARDS = (
    Board(
        name="bow",
        title="Probes: a bag of words supervises minilm@4",
        sets=("hatecheck", "sms_spam"),
        words=("--weak", "bow", "--strong", "minilm@4", "--seeds", "5", *THROUGH),
        development=DEVELOPMENT,
    ),
    Board(
        name="embeddings",
        title="Probes: token embeddings supervise minilm@4",
        sets=("anthropic_evals", "imdb_cf", "truthfulqa", "reviews"),
        words=("--weak", "minilm@0", "--strong", "minilm@4", "--seeds", "5", *THROUGH),
        development=DEVELOPMENT,
    ),
    Board(
        name="several",
        title="Probes: three supervisors",
        sets=("hatecheck", "sms_spam", "truthfulqa", "reviews"),
        words=("--weak", "bow+minilm@0+minilm@1", "--strong", "minilm@4", "--seeds", "5"),
        development=DEVELOPMENT,
    ),
    Board(
        name="full",
        title="All weights fine-tuned",
        sets=("hatecheck", "sms_spam"),
        words=(
            *("--weak", "bow", "--strong", "minilm@2", "--train", "full", "--set", "epochs=5", "--set", "lr=2e-4"),
            *("--seeds", "3", "--methods"),
            "naive,confidence,entropy,product,reverse_kl,confidence_filter,decay_to_start,anchored_states,lp_ft,last_weights",
        ),
    ),
    Board(
        name="full_several",
        title="All weights fine-tuned, three supervisors",
        sets=("hatecheck", "sms_spam"),
        words=(
            *("--weak", "bow+minilm@0+minilm@1", "--strong", "minilm@2", "--train", "full", "--set", "epochs=5"),
            *("--set", "lr=2e-4", "--seeds", "3", "--methods", "mean,log_odds_mean,dawid_skene,evidential"),
        ),
    ),
)


def run(board: Board, data: Path, *, store: Path, workers: int, to: Path) -> Mapping[str, Any]:
    """The board as JSON; its tables are written too."""
    shared = ["--store", str(store), "--workers", str(workers)]
    shown = shlex.join(["oversight", *board.command(Path("DATA"))])
    print(f"\n{board.title}\n$ {shown}", flush=True)
    for ending in ("json", "md"):
        file = (to if ending == "json" else store) / f"leaderboard_{board.name}.{ending}"
        words = [*board.command(data), *shared, "--report", str(file)]
        done = subprocess.run([sys.executable, "-m", "oversight", *words], check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(done.returncode)
        file.write_text(without_places(file.read_text(), data, store=store))
    return json.loads((to / f"leaderboard_{board.name}.json").read_text())


def without_places(text: str, data: Path, *, store: Path) -> str:
    """A report that names DATA and STORE, and no folder of this machine."""
    named = {str(Path.cwd() / data): "DATA", str(data.resolve()): "DATA", str(data): "DATA"}
    named |= {str(store.resolve()): "STORE", str(store): "STORE", f"{ROOT}/": ""}
    for place, name in named.items():
        text = text.replace(place, name)
    return text


def reading(told: Mapping[str, Any]) -> list[str]:
    """Who is better, who is worse, who is neither: read off the intervals; oracles are no methods to choose from."""
    others = [one for one in told["methods"] if one["method"] != told["reference"] and not one["oracle"]]
    lines: list[str] = []
    for verdict in ("better", "worse", "not told apart"):
        some = [one for one in others if one["verdict"] == verdict]
        names = ", ".join(f"{one['method']} ({same_or_gain(told, one)})" for one in some)
        lines.append(f"- **{verdict}** than {told['reference']}: {len(some)} of {len(others)}. {names or 'None'}.")
    return [line.replace("apart** than", "apart** from") for line in lines]


def same_or_gain(told: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    """`same as mean in 20 of 20 fits`, or the gain."""
    fits = told["seeds"] * len(told["tasks"])
    same = f"same as {told['reference']} in {fits} of {fits} fits"
    return same if one["same_as_reference"] == fits else gain_of(one["gain"])


def gain_of(gain: Mapping[str, Any]) -> str:
    """`+.012 [-.003, +.027]`."""
    if gain["low"] is None:
        return compact(plus(gain["value"]))
    return compact(f"{plus(gain['value'])} [{plus(gain['low'])}, {plus(gain['high'])}]")


def section(board: Board, told: Mapping[str, Any], *, store: Path) -> str:
    """The board's part of the page, from its command on."""
    tables = (store / f"leaderboard_{board.name}.md").read_text().replace("\n## ", "\n### ")
    command = shlex.join(["oversight", *board.command(Path("DATA"))])
    return "\n".join([f"`{command}`", "", made_on(), "", *reading(told), "", tables]).strip("\n")


def made_on() -> str:
    """`2 cores, x86_64, python 3.11.7; torch ...`."""
    words = [f"{name} {version(name)}" for name in ("torch", "transformers", "numpy", "scipy")]
    return f"{os.cpu_count()} cores, {platform.machine()}, python {platform.python_version()}; {', '.join(words)}."


def sections(page: str) -> dict[str, str]:
    """By the title of a board, what a page says of it."""
    found = {
        board.title: re.search(rf"(?<=\n## {re.escape(board.title)}\n).*?(?=\n## |\Z)", page, re.S) for board in BOARDS
    }
    return {title: part[0].strip("\n") for title, part in found.items() if part}


def page(old: str, anew: Mapping[str, str]) -> str:
    """docs/leaderboard.md with the sections, by title, put anew; other boards, and the reading, are kept."""
    said = READING.search(old)
    parts = [
        "# Leaderboard",
        "",
        "`python benchmarks/leaderboard.py DATA --write` makes this page; DATA holds public data sets cut to two",
        "balanced classes. All numbers: `benchmarks/results/leaderboard_*.json`.",
        "",
        f"<!-- reading -->\n{said[0] if said else ''}<!-- /reading -->",
    ]
    for title, told in {**sections(old), **anew}.items():
        parts += ["", f"## {title}", "", told]
    return "\n".join(parts) + "\n"


def with_gains(table: str, found: Sequence[tuple[Board, Mapping[str, Any]]]) -> str:
    """docs/methods.md with the last cell of each method's row put anew: its gain on every board that has it."""
    gains: dict[str, dict[str, str]] = {}
    for board, told in found:
        for one in told["methods"]:
            if one["method"] != told["reference"]:
                gains.setdefault(one["method"], {})[board.name] = gain_of(one["gain"])
    lines: list[str] = []
    for line in table.splitlines():
        name = re.match(r"\| `(\w+)` \|", line)
        if name and name[1] in gains:
            cells, last = line.rstrip().removesuffix("|").rsplit("|", 1)
            known = dict(part.strip().split(": ", 1) for part in last.split(";") if ": " in part)
            every = "; ".join(f"{board}: {gain}" for board, gain in {**known, **gains[name[1]]}.items())
            line = f"{cells}| {every} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--store", type=Path, default=Path("leaderboard-store"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], choices=[board.name for board in BOARDS])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    to = RESULTS if arguments.write else arguments.store
    for folder in (to, arguments.store):
        folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    found = [
        (board, run(board, arguments.data, store=arguments.store, workers=arguments.workers, to=to))
        for board in BOARDS
        if not arguments.only or board.name in arguments.only
    ]
    for board, told in found:
        print(f"\n{board.title}", *reading(told), sep="\n")
    if arguments.write:
        old = PAGE.read_text() if PAGE.exists() else ""
        PAGE.write_text(page(old, {board.title: section(board, told, store=arguments.store) for board, told in found}))
        METHODS.write_text(with_gains(METHODS.read_text(), found))
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
