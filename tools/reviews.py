"""Check the hand-written sources of the task `reviews` and pack them into the package.

    python tools/reviews.py check [FILE ...]     # counts, balance, repeated runs of words; exit code 1 on a fault
    python tools/reviews.py pack                 # writes src/oversight/tasks/reviews/reviews.jsonl.gz

A source file holds one section per thing reviewed: a line `# thing`, then one line per review,
`<label> <kind> <text>`, where label is `+` or `-` and kind is one letter of KINDS.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "data" / "reviews"
PACKED = ROOT / "src" / "oversight" / "tasks" / "reviews" / "reviews.jsonl.gz"
KINDS = {
    "e": "plain",
    "n": "negation",
    "u": "understatement",
    "i": "irony",
    "c": "comparison",
    "v": "turn",
}
RUN_LENGTH, MOST_ROWS_PER_RUN = 5, 3
MIN_HARD_SHARE = 1 / 3


class Review(NamedTuple):
    """One row of the task."""

    thing: str
    label: int
    kind: str
    text: str


class SourceError(ValueError):
    """A source line that breaks the format."""


def parse(path: Path) -> list[Review]:
    """Read one source file."""
    reviews: list[Review] = []
    thing = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        if line.startswith("# "):
            thing = line[2:].strip()
            continue
        match = re.fullmatch(r"([+-]) ([a-z]) (\S.*\S)", line)
        if not match or match[2] not in KINDS or not thing:
            raise SourceError(f"{path.name}:{number}: expected '<+|-> <{''.join(KINDS)}> text', found {line[:60]!r}")
        reviews.append(Review(thing, int(match[1] == "+"), KINDS[match[2]], match[3]))
    return reviews


def runs(text: str) -> set[tuple[str, ...]]:
    """All runs of five words of a text, lower case, without punctuation."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    return {tuple(words[i : i + RUN_LENGTH]) for i in range(len(words) - RUN_LENGTH + 1)}


def faults(reviews: list[Review]) -> list[str]:
    """Everything that breaks a promise of the datasheet."""
    found: list[str] = []
    balance: dict[str, Counter[int]] = defaultdict(Counter)
    rows_of_run: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for review in reviews:
        balance[review.thing][review.label] += 1
        for run in runs(review.text):
            rows_of_run[run].append(review.thing)
    for thing, counts in balance.items():
        if counts[0] != counts[1]:
            found.append(f"{thing}: {counts[1]} positive, {counts[0]} negative")
    for run, things in rows_of_run.items():
        if len(things) > MOST_ROWS_PER_RUN:
            found.append(f"'{' '.join(run)}' stands in {len(things)} rows ({', '.join(things[:4])}, ...)")
    for text, n in Counter(review.text.lower() for review in reviews).items():
        if n > 1:
            found.append(f"written {n} times: {text}")
    hard = sum(review.kind != "plain" for review in reviews)
    if hard < MIN_HARD_SHARE * len(reviews):
        found.append(f"only {hard} of {len(reviews)} rows are hard")
    return found


def summary(reviews: list[Review]) -> str:
    """Counts by kind and label, in one paragraph."""
    things = {review.thing for review in reviews}
    kinds = Counter((review.kind, review.label) for review in reviews)
    shares = ", ".join(f"{kind} {kinds[kind, 1]}+/{kinds[kind, 0]}-" for kind in KINDS.values())
    words = sorted(len(review.text.split()) for review in reviews)
    lengths = f"words median {words[len(words) // 2]}, {words[0]}-{words[-1]}"
    return f"{len(reviews)} reviews of {len(things)} things; {shares}; {lengths}"


def pack(reviews: list[Review]) -> bytes:
    """JSON lines, gzip without a time stamp: the same rows give the same bytes."""
    rows = [
        {"text": r.text, "label": ("negative", "positive")[r.label], "group": r.thing, "difficulty": r.kind}
        for r in reviews
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return gzip.compress(("\n".join(lines) + "\n").encode(), compresslevel=9, mtime=0)


def main(arguments: list[str]) -> int:
    """Run `check` or `pack`; the exit code."""
    if not arguments or arguments[0] not in {"check", "pack"}:
        print(__doc__)
        return 2
    paths = [Path(name) for name in arguments[1:]] or sorted(SOURCES.glob("*.txt"))
    try:
        reviews = [review for path in paths for review in parse(path)]
    except SourceError as error:
        print(error)
        return 1
    print(summary(reviews))
    found = faults(reviews)
    print("\n".join(found) if found else "no fault found")
    if arguments[0] == "pack" and not found:
        PACKED.parent.mkdir(parents=True, exist_ok=True)
        PACKED.write_bytes(pack(reviews))
        print(f"{PACKED.relative_to(ROOT)}: {PACKED.stat().st_size} bytes")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
