"""Descriptions: equal ones must mean equal behaviour, or a stored result could be believed that is another's."""

from __future__ import annotations

import functools
import json
import linecache
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from oversight.describe import describe
from oversight.errors import InputError
from oversight.methods.losses import Confidence
from oversight.methods.method import WithLoss
from oversight.models.lexical import BagOfWords
from oversight.supervision.supervisor import Flipped, Trained


def plain(logits: Any, targets: Any, *, progress: float) -> Any:
    return ((logits - targets) ** 2).mean()


def with_default(logits: Any, targets: Any, *, progress: float, scale: float = 1.0) -> Any:
    return scale * plain(logits, targets, progress=progress)


def closed_over(scale: float) -> Callable[..., Any]:
    def loss(logits: Any, targets: Any, *, progress: float) -> Any:
        return scale * (logits - targets)

    return loss


def written(source: str, *, name: str = "loss") -> Any:
    """A function whose source is known, as one typed into a notebook's cell."""
    place = f"<cell {len(linecache.cache)}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    scope: dict[str, Any] = {"__name__": "cells"}
    exec(compile(source, place, "exec"), scope)
    return scope[name]


def unwritten(source: str, *, name: str = "loss") -> Any:
    """A function without source, as one typed at Python's prompt."""
    scope: dict[str, Any] = {"__name__": "prompt"}
    exec(compile(source, "<stdin>", "exec"), scope)
    return scope[name]


@dataclass(frozen=True)
class Scaled:
    scale: float = 1.0
    loss: Any = plain

    @cached_property
    def doubled(self) -> float:
        return 2 * self.scale


def same(a: Any, b: Any) -> bool:
    return json.dumps(describe(a), sort_keys=True) == json.dumps(describe(b), sort_keys=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BagOfWords(),
        lambda: Trained(BagOfWords(min_df=3)),
        lambda: WithLoss(Confidence(0.5, 0.2)),
        lambda: Flipped(0.25),
        lambda: Scaled(2.0),
        lambda: closed_over(2.0),
        lambda: functools.partial(with_default, scale=3.0),
        lambda: {"a": [1, 2.5, None, True], "b": np.arange(3)},
        lambda: {1: "a", "1": "b"},
        lambda: {3, 1, 2, "x"},
        lambda: np.float32(0.1),
        lambda: math.inf,
    ],
)
def test_equal_configs_are_described_equally_and_as_json(make: Callable[[], Any]) -> None:
    assert same(make(), make())
    assert json.loads(json.dumps(describe(make()), allow_nan=False))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BagOfWords(), BagOfWords(min_df=3)),
        (BagOfWords(), Trained(BagOfWords())),
        (WithLoss(), WithLoss(Confidence())),
        (WithLoss(Confidence(0.5)), WithLoss(Confidence(0.75))),
        (Flipped(0.25), Flipped(0.25, 0.9)),
        (closed_over(1.0), closed_over(2.0)),
        (plain, with_default),
        (functools.partial(with_default, scale=1.0), functools.partial(with_default, scale=2.0)),
        (functools.partial(with_default, scale=1.0), with_default),
        (Scaled(), Scaled(loss=with_default)),
        (np.zeros(2), np.ones(2)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2), np.zeros(2, np.int64)),
        (np.array([1, 2], object), np.array([1, 3], object)),
        ({1: "a"}, {"1": "a"}),
        ({1, 2}, {1, 3}),
        (math.inf, -math.inf),
        (math.inf, "inf"),
        (1, True),
        (1, "1"),
        (None, "None"),
    ],
)
def test_what_behaves_differently_is_described_differently(one: Any, other: Any) -> None:
    assert not same(one, other)


def test_two_lambdas_on_one_line_are_told_apart() -> None:
    one, other = (lambda x: x + 1), (lambda x: x + 2)
    assert not same(one, other)


@pytest.mark.parametrize("make", [written, unwritten])
@pytest.mark.parametrize(
    "changed",
    [
        "def loss(x, *, progress, a=1.0):\n    return x.mean() * 3.0\n",
        "def loss(x, *, progress, a=2.0):\n    return x.mean() * 2.0\n",
        "def loss(x, *, progress, a=1.0):\n    return x.sum() * 2.0\n",
        "def loss(x, *, progress, a=1.0):\n    return (lambda y: y.mean() * 2.0)(x)\n",
    ],
    ids=["constant", "default", "name", "inner"],
)
def test_a_changed_source_changes_the_description(make: Callable[[str], Any], changed: str) -> None:
    assert not same(make("def loss(x, *, progress, a=1.0):\n    return x.mean() * 2.0\n"), make(changed))


@pytest.mark.parametrize("make", [written, unwritten])
def test_the_same_source_typed_again_is_the_same(make: Callable[[str], Any]) -> None:
    source = "def loss(x):\n    return [(lambda y: y * 2)(one) for one in x]\n"
    assert same(make(source), make(source))


def test_a_function_without_source_is_known_again_in_another_process() -> None:
    script = (
        "import json\nfrom oversight.describe import describe\n"
        "def loss(x): return [(lambda y: y * 2)(one) for one in x]\n"
        "print(json.dumps(describe(loss)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout != ""


NOTEBOOK = """
import json
from oversight.describe import describe
SCALE = {scale}
def helper(x): return {factor} * x
def loss(logits, targets, *, progress): return SCALE * helper(logits)
print(json.dumps(describe(loss), sort_keys=True))
"""


def test_a_helper_or_a_constant_that_was_typed_again_changes_the_description() -> None:
    """As in a notebook: there is no file, and what a function names stands in `__main__`."""
    typed = [{"scale": 2, "factor": 2}, {"scale": 2, "factor": 3}, {"scale": 3, "factor": 2}, {"scale": 2, "factor": 2}]
    found = [
        subprocess.run([sys.executable, "-c", NOTEBOOK.format(**one)], capture_output=True, text=True, check=True)
        for one in typed
    ]
    assert found[0].stdout == found[3].stdout and len({one.stdout for one in found}) == 3


CLASSES = """
from dataclasses import dataclass
class Base:
    def factor(self):
        return {factor}
@dataclass(frozen=True)
class Method(Base):
    scale: float = 1.0
    def train(self):
        return self.scale * self.factor()
"""


def test_a_changed_class_that_a_method_inherits_from_changes_the_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, factor in (("first_method", "2"), ("second_method", "3"), ("third_method", "2")):
        (tmp_path / f"{name}.py").write_text(CLASSES.format(factor=factor))
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name in ("first_method", "second_method", "third_method"):
        described = json.dumps(describe(__import__(name).Method())).replace(name, "module")
        monkeypatch.delitem(sys.modules, name)
        found.append(described)
    assert found[0] != found[1] and found[0] == found[2]


def test_what_a_frozen_dataclass_remembers_of_itself_does_not_count() -> None:
    thing = Scaled(3.0)
    before = describe(thing)
    assert thing.doubled == 6.0 and describe(thing) == before


@dataclass
class Changing:
    buffer: tuple[float, ...] = ()


class Remembering:
    def __init__(self) -> None:
        self.buffer: list[float] = []

    def __call__(self, logits: Any, targets: Any, *, progress: float) -> Any:
        self.buffer.append(progress)


def hiding() -> Scaled:
    thing = replace(Scaled())
    object.__setattr__(thing, "memory", [])
    return thing


@pytest.mark.parametrize(
    "thing",
    [
        Remembering(),
        SimpleNamespace(a=1),
        Remembering().__call__,
        Changing(),
        hiding(),
        object(),
        open,
        Scaled(loss=Remembering()),
    ],
    ids=["object", "namespace", "bound", "not frozen", "hidden", "bare", "builtin", "inside"],
)
def test_hidden_state_is_refused_in_one_line(thing: Any) -> None:
    with pytest.raises(InputError) as caught:
        describe(thing)
    assert str(caught.value).isprintable()
    assert "could be believed" in str(caught.value)


@pytest.mark.parametrize("thing", [Path("x/y"), {"weights": [Path("x/y")]}, Scaled(loss=Path("x/y"))])
def test_a_path_is_refused_wherever_it_stands(thing: Any) -> None:
    with pytest.raises(InputError, match="x/y: a path cannot be part of a key; pass the contents of the file"):
        describe(thing)


def test_an_object_may_say_itself_what_decides_its_results() -> None:
    class Said:
        def __init__(self, place: str, content: str) -> None:
            self.place, self.content = place, content

        def identity(self) -> dict[str, str]:
            return {"content": self.content}

    assert same(Said("here", "a"), Said("there", "a")) and not same(Said("here", "a"), Said("here", "b"))
