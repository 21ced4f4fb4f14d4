"""The live view of a sweep, and its lines in a log."""

from __future__ import annotations

import codecs
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from oversight.cli.live import View, live_view
from oversight.cli.status import KINDS, clock, duration, time_left, view_lines
from oversight.runs.drive import STOPPING
from oversight.runs.pools.pool import Status, Working

TITLE = "sweep probe-fast"
LONG = Working(
    label="students learn from weak labels",
    name="reviews: bow -> minilm@4, confidence, seed 3",
    steps=12,
    done=0.257,
    note="minilm@4, seed 3: epoch 1.4 of 3, loss .52",
    seconds=72.9,
)
HALFWAY = Status(
    total={"score": 387, "teach": 480, "features": 12, "supervise": 60, "ceiling": 60, "rows": 1},
    done={"score": 210, "teach": 300, "features": 12, "supervise": 60, "ceiling": 30, "rows": 1},
    found={"teach": 200, "features": 12, "supervise": 60},
    running={"teach": 24, "ceiling": 3},
    failed={"teach": 2, "ceiling": 1},
    skipped={"score": 5},
    workers={"worker 1": LONG},
    seconds=192.7,
    seconds_left=181.0,
)


def terminal(width: int = 80, height: int = 24, *, encoding: str = "utf-8", **environment: str) -> Console:
    """A terminal of a fixed size that writes to memory."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    known = {"TERM": "xterm", **environment}
    return Console(file=file, width=width, height=height, force_terminal=True, record=True, _environ=known)


def sent(console: Console) -> str:
    """All that a terminal was sent."""
    file = console.file
    assert isinstance(file, io.TextIOWrapper) and isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(file.encoding)


def page(status: Status | None, width: int = 80, height: int = 24, **options: Any) -> list[str]:
    """The lines that are drawn."""
    lines = view_lines(TITLE, status, terminal(width, height, **options))
    return ["".join(text for text, _ in line) for line in lines]


def frame(status: Status, console: Console) -> list[str]:
    """What a terminal shows of a status, by rich itself."""
    view = View(TITLE, console=console)
    view.show(status)
    view.refresh()
    console.print(view.get_renderable())
    return console.export_text().splitlines()


def table(status: Status, width: int = 200) -> dict[str, dict[str, int]]:
    """The table of kinds read back: by name the numbers under each heading; blank is 0."""
    lines = page(status, width, 24)
    start = next(i for i, line in enumerate(lines) if re.fullmatch(r" +done +run.*", line))
    heads = {head[0]: head.end() for head in re.finditer(r"\w+", lines[start])}
    found: dict[str, dict[str, int]] = {}
    for line in lines[start + 1 :]:
        count = re.search(r"([\d,]+)/([\d,]+)", line[: heads["done"]].rstrip()[-40:])
        if count is None or not line[: heads["done"]].endswith(count[0]):
            break
        name = line[: heads["done"]].removesuffix(count[0]).strip()
        row = {"done": _int(count[1]), "total": _int(count[2])}
        found[name] = row | {head: _int(line[:end].split(" ")[-1]) for head, end in heads.items() if head != "done"}
    return found


def _int(text: str) -> int:
    return int(text.replace(",", "") or 0)


names = st.text(max_size=30) | st.sampled_from(
    ["表語学習モデル" * 5, "[red]x[/red]", "a\nb\x1b[2J", "e\u0301" * 9, "👩‍🔬 x" * 9, "\u202eabc"]
)
seconds = st.floats(min_value=0, max_value=1e9)


@st.composite
def statuses(draw: st.DrawFn) -> Status:
    """Any status whose numbers agree with each other."""
    kinds = draw(st.lists(st.sampled_from([*KINDS, "train", "judge"]) | st.text(max_size=20), unique=True, max_size=12))
    status = Status(seconds=draw(seconds), note=draw(names | st.just(STOPPING)))
    status.seconds_left = draw(st.none() | seconds | st.sampled_from([float("nan"), float("inf")]))
    most = draw(st.sampled_from([3, 1000, 10**6]))
    for kind in kinds:
        parts = [draw(st.integers(0, most)) for _ in range(6)]
        status.total[kind] = sum(parts)
        status.found[kind], status.done[kind] = parts[0], parts[0] + parts[1]
        status.running[kind], status.failed[kind], status.skipped[kind] = parts[2:5]
    working = st.builds(
        Working,
        label=names,
        name=names,
        steps=st.integers(0, 10**5),
        done=st.floats(allow_nan=True),
        note=names,
        seconds=seconds,
    )
    status.workers = draw(
        st.dictionaries(names | st.from_regex(r"worker \d{1,3}", fullmatch=True), working, max_size=40)
    )
    return status


# What fits


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (200, 24), (80, 8), (23, 5)])
@settings(max_examples=40, deadline=None)
@given(status=statuses())
def test_any_status_fits_the_terminal(status: Status, width: int, height: int) -> None:
    lines = frame(status, terminal(width, height))
    assert len(lines) <= height - 1
    assert max(cell_len(line) for line in lines) <= width
    assert not {char for line in lines for char in line if unicodedata.category(char) in ("Cc", "Zl", "Zp")}


@settings(max_examples=40, deadline=None)
@given(status=statuses())
def test_a_terminal_without_unicode_gets_what_it_can_show(status: Status) -> None:
    console = terminal(80, 24, encoding="ascii")
    assert all(line.isascii() and len(line) <= 80 for line in frame(status, console))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_whole_page_fits_with_many_workers_and_the_note(width: int) -> None:
    many = {f"worker {i}": LONG for i in range(1, 33)}
    lines = page(replace(HALFWAY, workers=many, note=STOPPING), width)
    assert len(lines) == 23
    assert " ".join(line for line in lines if "Ctrl" in line or "stopping" in line) == STOPPING
    assert all(any(line.startswith(kind) for line in lines) for kind in KINDS.values())


def test_a_page_at_80_by_24() -> None:
    assert (
        page(HALFWAY)
        == [
            "sweep probe-fast  ━━━━━━━━━━━━━━━━━━━━━━×─────────────  613 of 1,000 steps (61%)",
            "3:12, about 3 min left, 272 were there, 3 failed, 5 skipped",
            "                done  running  failed  skipped",
            "features       12/12                          ",
            "supervisors    60/60                          ",
            "students     300/480       24       2         ",
            "ceilings       30/60        3       1         ",
            "test rows        1/1                          ",
            "scores       210/387                         5",
            "worker 1  1:12  students  reviews: bow…ence, seed 3 x12 25%  epoch 1.4 of 3, loss .52",
        ][:9]
        + page(HALFWAY)[9:]
    )


# Every number is one of the status


@settings(max_examples=60, deadline=None)
@given(status=statuses())
def test_the_rows_of_the_table_add_up_to_the_status(status: Status) -> None:
    status.workers, status.note = {}, ""
    status.total = dict(list(status.total.items())[:12])
    if not status.total:
        return
    lines = page(status, 200)
    header = next(i for i, line in enumerate(lines) if line.strip().startswith("done "))
    ends = [one.end() for one in re.finditer(r"\w+", lines[header])]
    sums = [0, 0, 0, 0, 0]
    for line in lines[header + 1 :]:
        beyond = cell_len(line) - len(line)  # a wide character takes two cells
        cut = [line[: end - beyond] for end in ends]
        done, total = cut[0].split(" ")[-1].split("/")
        numbers = [done, total, *(text.split(" ")[-1] for text in cut[1:])]
        sums = [old + _int(text) for old, text in zip(sums, numbers, strict=True)]
    wanted = (status.done, status.total, status.running, status.failed, status.skipped)
    assert sums == [sum(one.values()) for one in wanted]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_kind_has_its_own_numbers(kind: str, width: int) -> None:
    row = next(iter(v for k, v in table(HALFWAY, width).items() if k == KINDS[kind]))
    counted = (HALFWAY.done, HALFWAY.total, HALFWAY.running, HALFWAY.failed, HALFWAY.skipped)
    assert list(row.values()) == [one.get(kind, 0) for one in counted]


def test_kinds_stand_in_the_order_in_which_data_pass_and_others_after() -> None:
    status = Status(total={"judge": 1, **dict.fromkeys(reversed(KINDS), 1)})
    assert list(table(status)) == [*KINDS.values(), "judge"]


def test_kinds_beyond_the_lines_there_are_are_summed_up() -> None:
    status = Status(total={f"kind{i}": 10 + i for i in range(20)}, done={f"kind{i}": i for i in range(20)})
    rows = table(status)
    assert list(rows) == [*(f"kind{i}" for i in range(7)), "13 others"]
    assert rows["13 others"]["total"] == sum(range(17, 30)) and rows["13 others"]["done"] == sum(range(7, 20))


@pytest.mark.parametrize(
    ("done", "shown"),
    [
        (0, "0 of 1,000 steps (0%)"),
        (999, "999 of 1,000 steps (99%)"),
        (1000, "1,000 of 1,000 steps (100%)"),
    ],
)
def test_only_all_steps_are_100_percent(done: int, shown: str) -> None:
    assert page(Status(total={"teach": 1000}, done={"teach": done}))[0].endswith(f"  {shown}")


@pytest.mark.parametrize(("done", "failed", "bar"), [(0, 0, "─" * 40), (20, 0, "━" * 20 + "─" * 20)])
def test_the_bar_is_as_long_as_the_share_that_is_done(done: int, failed: int, bar: str) -> None:
    assert f" {bar} " in page(Status(total={"teach": 40}, done={"teach": done}, failed={"teach": failed}), 100)[0]


def test_one_failure_of_many_steps_is_seen_in_the_bar() -> None:
    status = Status(total={"teach": 10**6}, done={"teach": 10**6 - 1}, failed={"teach": 1})
    assert "×" in page(status)[0]


def test_a_graph_without_steps_has_no_percentage() -> None:
    first, _ = page(Status())
    assert first.endswith("0 of 0 steps")


@pytest.mark.parametrize(("n", "said"), [(0, None), (1, "1 was there"), (1612, "1,612 were there")])
def test_steps_that_were_there_are_told_apart(n: int, said: str | None) -> None:
    second = page(Status(total={"teach": 2000}, done={"teach": n}, found={"teach": n}, seconds=7))[1]
    assert second == ("0:07" if said is None else f"0:07, {said}")


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (None, ""),
        (float("nan"), ""),
        (float("inf"), ""),
        (0.0, "a few seconds left"),
        (40.0, "about 40 s left"),
        (181.0, "about 3 min left"),
        (7200.0, "about 2.0 h left"),
        (4 * 86400.0, "about 4.0 days left"),
    ],
)
def test_time_left_is_said_when_it_is_known(left: float | None, said: str) -> None:
    assert time_left(Status(total={"teach": 2}, seconds_left=left)) == said


def test_no_time_is_left_when_all_is_done_failed_or_skipped() -> None:
    ended = Status(total={"teach": 3}, done={"teach": 1}, failed={"teach": 1}, skipped={"teach": 1}, seconds_left=60)
    assert time_left(ended) == ""


@settings(max_examples=100, deadline=None)
@given(whole=st.integers(0, 100 * 3600 - 1))
def test_a_clock_reads_back(whole: int) -> None:
    parts = [int(part) for part in clock(whole + 0.9).split(":")]
    assert sum(part * 60**i for i, part in enumerate(reversed(parts))) == whole


@pytest.mark.parametrize(("n", "said"), [(0.04, "0.0 s"), (9.96, "10 s"), (89.6, "1 min"), (89.5 * 60, "1.5 h")])
def test_durations_change_their_unit_where_two_digits_are_enough(n: float, said: str) -> None:
    assert duration(n) == said


def test_elapsed_goes_on_while_nothing_is_told() -> None:
    lines = view_lines(TITLE, HALFWAY, terminal(), age=60.0)
    text = ["".join(part for part, _ in line) for line in lines]
    assert text[1].startswith("4:12, ") and text[9].startswith("worker 1  2:12  ")


# Workers


def test_a_wide_terminal_shows_all_of_a_worker() -> None:
    assert page(HALFWAY, 200)[-1] == (
        "worker 1  1:12  students learn from weak labels  reviews: bow -> minilm@4, confidence, seed 3 (12 steps) 25%"
        "  minilm@4, seed 3: epoch 1.4 of 3, loss .52"
    )


def test_at_80_a_step_is_shortened_in_the_middle_and_how_it_goes_is_kept() -> None:
    line = page(HALFWAY)[-1]
    assert re.fullmatch(r"worker 1  1:12  students  reviews:.*….*seed 3 x12 25%  epoch 1\.4 of 3, loss \.52", line), (
        line
    )


def test_at_40_the_worker_its_time_and_how_far_it_is_are_kept() -> None:
    assert re.fullmatch(r"worker 1  1:12  students.* x12 25%", page(HALFWAY, 40)[-1])


def test_twelve_workers_are_shown_and_the_others_counted() -> None:
    lines = page(replace(HALFWAY, workers={f"worker {i}": LONG for i in range(32, 0, -1)}), 80, 60)
    assert [line.split("  ")[0].strip() for line in lines[9:-1]] == [f"worker {i}" for i in range(1, 13)]
    assert lines[-1] == "and 20 more"


@pytest.mark.parametrize("height", range(4, 26))
def test_shown_and_counted_workers_are_all_of_them(height: int) -> None:
    lines = page(replace(HALFWAY, workers={f"worker {i}": LONG for i in range(20)}), 80, height)
    shown = sum(line.startswith("worker ") for line in lines)
    more = [int(line.split()[1]) for line in lines if line.startswith("and ")]
    assert shown + sum(more) == 20


def test_a_worker_with_nothing_to_do_is_idle() -> None:
    assert page(replace(HALFWAY, workers={"worker 1": Working()}))[-1].split() == ["worker", "1", "idle"]


def test_names_are_text_and_no_markup() -> None:
    odd = replace(LONG, name="[red]x[/red] [0]")
    assert "[red]x[/red] [0]" in "\n".join(frame(replace(HALFWAY, workers={"w": odd}), terminal(200)))


# What is sent to a terminal


class Screen:
    """A terminal that understands what rich sends, and wraps its rows anew when it becomes narrower."""

    def __init__(self, width: int) -> None:
        self.width, self.rows, self.row, self.column = width, [""], 0, 0

    def feed(self, text: str) -> None:
        """Take what is sent."""
        for part in re.finditer(r"\x1b\[(\??[\d;]*)([A-Za-z])|(.)", text, re.DOTALL):
            if part[3] is not None:
                self._put(part[3])
            elif part[2] == "A":
                self.row = max(self.row - int(part[1] or 1), 0)
            elif part[2] == "K":
                assert part[1] == "2"
                self.rows[self.row] = ""
            else:
                assert part[2] in "mhl", part[0]

    def _put(self, char: str) -> None:
        if char == "\r":
            self.column = 0
            return
        if char == "\n" or self.column >= self.width:
            self.row, self.column = self.row + 1, 0
            self.rows += [""] * (self.row >= len(self.rows))
        if char != "\n":
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
            self.column += 1

    def narrow(self, width: int) -> None:
        """Rewrap; the cursor stays behind the character it was behind."""
        assert self.row == len(self.rows) - 1
        self.rows = [row[i : i + width] for row in self.rows for i in range(0, max(len(row), 1), width)]
        self.width, self.row, self.column = width, len(self.rows) - 1, len(self.rows[-1])

    @property
    def shown(self) -> list[str]:
        """Rows as a reader sees them."""
        return [row.rstrip() for row in self.rows if row.strip()]


def test_frames_replace_each_other_and_nothing_is_left_behind() -> None:
    console = terminal()
    screen = Screen(80)
    console.print("before")
    with View(TITLE, console=console) as view:
        for n in (32, 3, 11):
            status = replace(HALFWAY, workers={f"worker {i}": LONG for i in range(n)}, seconds=float(n))
            view.show(status)
            view.refresh()
        screen.feed(sent(console))
        shown = screen.shown
    timeless = [re.sub(r"\d+:\d\d", "", line) for line in shown]
    assert timeless == ["before", *(re.sub(r"\d+:\d\d", "", line).rstrip() for line in page(status))]
    screen = Screen(80)
    screen.feed(sent(console))
    assert screen.shown == ["before"]


@pytest.mark.parametrize("width", [79, 60, 40, 27])
def test_a_terminal_that_becomes_narrower_is_left_clean(width: int) -> None:
    console = terminal()
    screen, fed = Screen(80), 0
    console.print("before")
    with View(TITLE, console=console) as view:
        view.show(HALFWAY)
        view.refresh()
        with view._lock:  # no frame between the change and its consequence
            screen.feed(sent(console)[fed:])
            fed = len(sent(console))
            screen.narrow(width)
            console.width = width
            view.refresh()
        assert screen.shown[0] == "before"
    screen.feed(sent(console)[fed:])
    assert screen.shown == ["before"]


def test_a_frame_like_the_one_before_is_not_sent() -> None:
    console = terminal()
    with View(TITLE, console=console) as view:
        before = sent(console)
        view.refresh()
        view.refresh()
        assert sent(console) == before and "getting ready" in before


def test_showing_draws_nothing_itself() -> None:
    console = terminal()
    View(TITLE, console=console).show(HALFWAY)
    assert sent(console) == ""


def test_colours_are_readable_on_light_and_dark_and_left_out_where_not_wanted() -> None:
    codes: dict[str, set[str]] = {}
    for value in ("", "1"):
        console = terminal(NO_COLOR=value)
        frame(replace(HALFWAY, note=STOPPING), console)
        found = re.findall(r"\x1b\[([\d;]*)m", sent(console))
        codes[value] = {code for several in found for code in several.split(";")}
    assert codes[""] == {"0", "1", "2", "31", "32"} and codes["1"] == {"0", "1", "2"}


# A process of its own on a terminal of its own

SCRIPT = """
import json, sys
from oversight.cli.live import live_view
from oversight.runs.pools.pool import Status, Working
with live_view("sweep probe-fast") as watch:
    for line in sys.stdin:
        found = json.loads(line)
        if found == "fail":
            raise SystemExit(3)
        print("to stdout")
        found["workers"] = {name: Working(**one) for name, one in found["workers"].items()}
        watch(Status(**found))
"""


class Process:
    """The script on a pseudo terminal: statuses go in, what the terminal was sent comes out."""

    def __init__(self, width: int, environment: dict[str, str], **more: str) -> None:
        self.leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (24, width))
        known = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env=known | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"} | more,
            stdin=pipe,
            stdout=pipe,
            stderr=follower,
            text=True,
        )
        os.close(follower)
        self.sent = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def tell(self, what: Any) -> None:
        """One more line for the script."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def read(self, until: str | None = None) -> str:
        """What is sent, until that is seen; None = the end."""
        start, deadline = len(self.sent), time.monotonic() + 60
        while until is None or until not in self.sent[start:]:
            assert select.select([self.leader], [], [], 60)[0] and time.monotonic() < deadline, self.sent
            try:
                chunk = os.read(self.leader, 4096)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            self.sent += self._decoder.decode(chunk)
        return self.sent

    def end(self) -> tuple[int, str]:
        """Exit code and stdout."""
        out, _ = self._process.communicate(timeout=60)
        self.read()
        os.close(self.leader)
        return self._process.returncode, out


@pytest.fixture
def process(environment: dict[str, str]) -> Iterator[Callable[..., Process]]:
    """process(80, TERM="dumb") -> the script, started."""
    started: list[Process] = []

    def start(width: int = 80, **more: str) -> Process:
        started.append(Process(width, environment, **more))
        return started[-1]

    yield start
    for one in started:
        one._process.kill()
        one._process.wait()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_on_a_terminal_the_view_is_drawn_in_place_and_taken_away(width: int, process: Callable[..., Process]) -> None:
    script = process(width)
    script.tell(asdict(HALFWAY))
    script.read("scores")
    script.tell(asdict(replace(HALFWAY, done=HALFWAY.total, running={}, workers={})))
    script.read("1,000 of 1,000 steps (100%)")
    code, out = script.end()
    assert (code, out) == (0, "to stdout\nto stdout\n")
    screen = Screen(width)
    screen.feed(script.sent)
    assert screen.shown == []
    assert script.sent.rindex("\x1b[?25h") > script.sent.rindex("\x1b[?25l")


def test_a_failure_takes_the_view_away_and_gives_the_cursor_back(process: Callable[..., Process]) -> None:
    script = process()
    script.tell(asdict(HALFWAY))
    script.read("scores")
    script.tell("fail")
    assert script.end()[0] == 3
    screen = Screen(80)
    screen.feed(script.sent)
    assert screen.shown == [] and script.sent.rindex("\x1b[?25h") > script.sent.rindex("\x1b[?25l")


def test_a_new_size_is_seen(process: Callable[..., Process]) -> None:
    script = process(200)
    script.tell(asdict(HALFWAY))
    script.read("students learn from weak labels")
    termios.tcsetwinsize(script.leader, (24, 40))
    script.read(" skip\x1b")
    assert script.end()[0] == 0


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    more: dict[str, str], process: Callable[..., Process]
) -> None:
    script = process(80, **more)
    script.tell(asdict(HALFWAY))
    script.end()
    told = "oversight: sweep probe-fast: 1,000 steps, 272 there; 3 failed (students 2, ceilings 1), 5 skipped"
    assert script.sent.split("\r\n") == [told, ""]


# In a log


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Callable[[Sequence[Status]], list[str]]:
    """logged(statuses) -> the lines that a log gets."""

    def log(shown: Sequence[Status]) -> list[str]:
        with live_view(TITLE) as watch:
            for status in shown:
                watch(status)
        said = capsys.readouterr()
        assert said.out == ""
        return [line.removeprefix(f"oversight: {TITLE}: ") for line in said.err.splitlines()]

    return log


def test_a_log_has_a_line_at_the_start_and_one_every_half_minute(logged: Callable[..., list[str]]) -> None:
    calm = replace(HALFWAY, running={**HALFWAY.running, "score": 0}, failed={}, skipped={}, workers={})
    lines = logged([replace(calm, seconds=second / 10) for second in range(0, 910, 2)])
    standing = "613 of 1,000 steps (61%); {}, about 3 min left; running: students 24, ceilings 3"
    assert lines == ["1,000 steps, 272 there", *(standing.format(f"{n // 60}:{n % 60:02}") for n in (30, 60, 90))]


def test_a_log_says_at_once_when_more_have_failed(logged: Callable[..., list[str]]) -> None:
    first = Status(total={"teach": 9, "score": 1})
    failing = [replace(first, failed={"teach": n}, skipped={"score": 1}, seconds=0.2 * n) for n in (1, 1, 2, 2, 5)]
    assert logged([first, *failing]) == [
        "10 steps, 0 there",
        "1 failed (students 1), 1 skipped",
        "2 failed (students 2), 1 skipped",
        "5 failed (students 5), 1 skipped",
    ]


def test_a_log_says_what_runs_longest_and_how_it_goes(
    logged: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oversight.cli.printing.SECONDS_BETWEEN_LINES", 0.0)
    working = {"worker 1": replace(LONG, name="short", seconds=3), "worker 2": LONG}
    line = logged([replace(HALFWAY, seconds=0), replace(HALFWAY, workers=working)])[-1]
    assert line == (
        "613 of 1,000 steps (61%); 3:12, about 3 min left; 3 failed (students 2, ceilings 1), 5 skipped; running: "
        "students 24, ceilings 3; longest: reviews: bow -> minilm@4, confidence, seed 3, 1:12, "
        "minilm@4, seed 3: epoch 1.4 of 3, loss .52"
    )


def test_a_log_of_a_finished_sweep_is_one_line(
    logged: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oversight.cli.printing.SECONDS_BETWEEN_LINES", 0.0)
    ended = Status(total={"teach": 1}, done={"teach": 1}, found={"teach": 1})
    assert logged([ended, replace(ended, seconds=99.0)]) == ["1 step, all there"]
