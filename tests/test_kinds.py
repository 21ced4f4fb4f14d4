"""The names by which keys know classes and functions of ours: unique, and frozen, so that modules can move."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

import oversight
from oversight.describe import describe
from oversight.methods import METHODS
from oversight.methods.losses import Confidence, confidence_loss
from oversight.methods.method import WithLoss
from oversight.models.lexical import BagOfWords
from oversight.models.student import cross_entropy

# Never change or remove one: every stored result of what it names would be computed again.
FROZEN = """
adaptconf agreement_filter anchor anchored_states annealing backbone bag_of_words boosted bootstrap bought cace
chain_told chi_square co_supervised coherent confidence confidence_balanced confidence_filter confidence_median
corrupted dawid_skene decay_to_start elicited entropy entropy_filter errors evidential evidential_loss fine_tuned
first_features flipped frequency_weights full given hard hearing hellinger jensen_shannon kl knn_filter labels
last_weights learned_weights log_odds_mean logistic_filter lora lp_ft machine majority mean mistaken needs
neighbour_smoothing oracle_early_stopping pooled probe probe_first product prompted random_labels relabel_discarded
resampled reverse_ce reverse_kl rows seed selective split strong_to_strong symmetric task told topological_filter
total_variation trained validation weak_data weighted window with_loss
"""
# Methods of the table that have another kind than their name, and losses that stand within `with_loss`.
OF_METHODS = {"naive": ["with_loss"], "lp_ft": ["probe_first", "lp_ft"]}
PARTS = ("oversight.methods", "oversight.models", "oversight.supervision", "oversight.tasks")
ACTS = ("train", "train_with_truth", "fit", "supervise", "derive", "__call__", "identity")
NEVER_IN_A_KEY = frozenset(["Entry"])  # the table of methods itself


def classes() -> Iterator[type]:
    """Every class of ours that data, models, supervisors and methods are made of, where it is defined."""
    for found in pkgutil.walk_packages(oversight.__path__, "oversight."):
        if found.name.startswith(PARTS):
            module = importlib.import_module(found.name)
            yield from (one for _, one in inspect.getmembers(module, inspect.isclass) if one.__module__ == found.name)


def kind_of(one: type) -> str | None:
    """A class's own, not that of a base."""
    found = vars(one).get("kind")
    return found if isinstance(found, str) else None


def test_every_class_that_acts_has_a_frozen_name() -> None:
    lacking = [
        one.__qualname__
        for one in classes()
        if dataclasses.is_dataclass(one)
        and any(hasattr(one, name) for name in ACTS if name != "__call__" or "__call__" in vars(one))
        and one.__name__ not in NEVER_IN_A_KEY
        and kind_of(one) is None
    ]
    assert lacking == []


def test_frozen_names_are_unique_and_never_change() -> None:
    found = Counter(kind for one in classes() if (kind := kind_of(one)) is not None)
    assert found == Counter(FROZEN.split())


@pytest.mark.parametrize("name", METHODS)
def test_a_description_of_a_method_names_no_module(name: str) -> None:
    described: Any = describe(METHODS[name].make())
    assert "oversight." not in json.dumps(described)
    of_loss = described["kind"] == "with_loss" and "kind" in described["fields"]["loss"]
    own = described["fields"]["loss"]["kind"] if of_loss else described["kind"]
    assert own in OF_METHODS.get(name, [name])


@pytest.mark.parametrize(("function", "name"), [(cross_entropy, "cross_entropy"), (confidence_loss, "confidence_loss")])
def test_losses_of_ours_are_known_by_a_frozen_name(function: Any, name: str) -> None:
    assert describe(WithLoss(function)) == {"kind": "with_loss", "fields": {"loss": {"function": name}}}


def test_a_class_that_moves_or_is_renamed_keeps_its_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its next version would have it: the class stands in a module that is elsewhere in the package."""
    before = describe(BagOfWords())
    monkeypatch.setitem(sys.modules, "oversight.models.elsewhere", sys.modules["oversight.models.student"])
    names = {"kind": "bag_of_words", "__module__": "oversight.models.elsewhere", "__annotations__": {}}
    moved = dataclass(frozen=True, kw_only=True)(type("WordCounts", (BagOfWords,), names))
    assert before["kind"] == describe(moved())["kind"] == "bag_of_words"
    assert describe(moved()) == before


def test_a_class_of_ours_without_a_frozen_name_cannot_stand_in_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BagOfWords, "kind")
    with pytest.raises(TypeError, match="BagOfWords stands in a key and has no frozen name"):
        describe(BagOfWords())


def test_a_function_of_the_users_put_into_a_class_of_ours_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = describe(Confidence())
    found: list[Any] = []
    for factor in (2.0, 3.0):
        monkeypatch.setattr(Confidence, "__call__", lambda self, x, y, *, progress, factor=factor: factor * x)  # pyright: ignore
        found.append(describe(Confidence()))
    assert before != found[0] != found[1] != before


@dataclass(frozen=True)
class Own(BagOfWords):
    """A user's, with a class of ours above it."""


def test_a_class_of_the_users_is_no_class_of_ours_though_it_inherits_from_one() -> None:
    described = describe(Own())
    assert described["class"] == "Own" and described["bases"] == [{"kind": "bag_of_words"}]
    assert describe(replace(Own(), min_df=3)) != described != describe(BagOfWords())
