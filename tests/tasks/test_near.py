"""Near-duplicates: found as all pairs would be, joined so that no split tears them apart, whatever the order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oversight as ov
from oversight.errors import InputError
from oversight.resolve import load_tests
from oversight.tasks import TASKS
from oversight.tasks.columns import FIND
from oversight.tasks.joining import IGNORED, NearDuplicates, join
from oversight.tasks.near import Edges, similar_pairs
from oversight.tasks.split import split_task
from oversight.tasks.task import Task

Write = Callable[..., Path]
WORDS = 22


def words(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(chr(97 + c) for c in rng.integers(0, 26, rng.integers(3, 9))) for _ in range(n)]


def versions(n_texts: int, n_versions: int, *, seed: int = 0, length: int = WORDS) -> list[list[str]]:
    """Texts of words drawn at random, each with versions that differ from the first in a word."""
    rng, known = np.random.default_rng(seed), words(3000, seed)
    made: list[list[str]] = []
    for _ in range(n_texts):
        base = [known[i] for i in rng.integers(0, len(known), length)]
        several = [base]
        for _ in range(n_versions - 1):
            other = list(base)
            other[rng.integers(0, length)] = known[rng.integers(0, len(known))]
            several.append(other)
        made.append([" ".join(one) for one in several])
    return made


def noisy(n_texts: int, n_versions: int, *, seed: int = 0) -> list[dict[str, object]]:
    """Rows of versions whose labels are noise, but for the text: it has one label, and so have its versions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n_texts)
    rows: list[dict[str, object]] = [
        {"text": text, "label": int(labels[i]), "of": f"t{i}"}
        for i, several in enumerate(versions(n_texts, n_versions, seed=seed))
        for text in several
    ]
    return [rows[i] for i in rng.permutation(len(rows))]


def grams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(max(1, len(text) - 2))}


def naive(texts: Sequence[str], at: float) -> set[tuple[int, int]]:
    sets = [grams(text) for text in texts]
    return {
        (i, j) for i, j in combinations(range(len(texts)), 2) if len(sets[i] & sets[j]) >= at * len(sets[i] | sets[j])
    }


def pairs(edges: Edges) -> set[tuple[int, int]]:
    return {(min(i, j), max(i, j)) for i, j in zip(edges.first.tolist(), edges.second.tolist(), strict=True)}


def test_pairs_are_those_of_the_definition() -> None:
    texts = [text for several in versions(60, 4, length=8) for text in several]
    texts += ["a", "ab", "abc", "abcd", "zürich 😀😀 naïve", "zürich 😀😀 naive"]
    expected = naive(texts, 0.6)
    found = similar_pairs([(text,) for text in texts], at=0.6)
    assert len(expected) > 100
    # A pair at .6 is overlooked with probability (1 - .6^4)^24 = .036, most are nearer.
    assert pairs(found) <= expected
    assert len(pairs(found)) >= 0.98 * len(expected)
    for i, j, similarity in zip(found.first, found.second, found.similarity, strict=True):
        a, b = grams(texts[i]), grams(texts[j])
        assert similarity == pytest.approx(len(a & b) / len(a | b), rel=1e-12)


def test_what_is_found_does_not_depend_on_the_order() -> None:
    texts = [text for several in versions(50, 5, length=6) for text in several]
    turned = np.random.default_rng(1).permutation(len(texts))
    first = pairs(similar_pairs([(text,) for text in texts], at=0.5))
    second = similar_pairs([(texts[i],) for i in turned], at=0.5)
    there = Edges(first=turned[second.first], second=turned[second.second], similarity=second.similarity)
    assert pairs(there) == first


def test_of_pairs_both_texts_count() -> None:
    long = " ".join(words(30, 5))
    rows = [(f"{long} yes", "no"), ("no", f"{long} yes"), (f"{long} yes", " ".join(words(30, 6)))]
    assert pairs(similar_pairs(rows, at=0.9)) == {(0, 1)}


def test_six_versions_of_a_text_end_as_one_group(write: Write) -> None:
    """1,500 rows of 250 texts: cut by row, a test row's siblings are learned from, and noise is predicted."""
    rows = noisy(250, 6)
    task = ov.load_task(write("a.jsonl", rows))
    texts = {text: of for text, of in ((row["text"], row["of"]) for row in rows)}
    of_group: dict[str, set[object]] = {}
    for text, group in zip(task.rows.texts, task.rows.groups, strict=True):
        of_group.setdefault(group, set()).add(texts[text])
    assert len(of_group) == 250
    assert all(len(one) == 1 for one in of_group.values())
    (told,) = task.warnings
    assert told.startswith("1,500 of 1,500 rows resemble another one (3-grams, Jaccard at least 0.7): ")
    assert "groups joined into 250, e.g. " in told


def test_siblings_of_test_rows_are_not_learned_from_and_noise_is_not_predicted(write: Write) -> None:
    """With near-duplicates ignored a ceiling of .9 is reached on noise; joined, it is at chance and PGR undefined."""
    path = write("a.jsonl", noisy(250, 6))
    run: dict[str, Any] = {"weak": ov.Flipped(0.25), "strong": "bow", "seeds": 3, "store": ":memory:"}
    torn = ov.weak_to_strong(path, **run, near_duplicates="ignore").studies[0]
    joined = ov.weak_to_strong(path, **run).studies[0]
    assert torn.score("ceiling").value > 0.85
    assert abs(joined.score("ceiling").value - 0.5) < 0.1
    assert torn.pgr.reason is None
    assert joined.pgr.reason is not None


def test_texts_that_do_not_resemble_each_other_are_left_as_they_are(write: Write) -> None:
    path = write("a.jsonl", noisy(300, 1))
    tasks = [ov.load_task(path, near_duplicates=do) for do in (None, "join", "warn", "ignore")]
    assert {task.warnings for task in tasks} == {()}
    assert len({task.fingerprint for task in tasks}) == 1
    assert len({split_task(task, seed=0) for task in tasks}) == 1
    assert tasks[0].rows.groups == tuple(row_id.partition("#")[0] for row_id in tasks[0].rows.ids)


def test_the_embedded_reviews_stay_as_they_were() -> None:
    task = TASKS["reviews"]()
    assert task.warnings == ()
    assert len(set(task.rows.groups)) == 480
    assert task.fingerprint == "a6af44cd4021d3a9351b2528a7958b4ed6e8715ef1374736a20877c6ab4ed3a2"


def test_other_settings_other_fingerprints(write: Write) -> None:
    path = write("a.jsonl", noisy(60, 3))
    joined, ignored, apart = (
        ov.load_task(path),
        ov.load_task(path, near_duplicates="ignore"),
        ov.load_task(path, near_duplicates_at=1.0),
    )
    assert joined.fingerprint != ignored.fingerprint
    assert apart.fingerprint == ignored.fingerprint, "at 1 nothing is joined, so the task is the same one"


def test_a_warning_joins_nothing(write: Write) -> None:
    path = write("a.jsonl", noisy(60, 3))
    warned = ov.load_task(path, near_duplicates="warn")
    assert warned.fingerprint == ov.load_task(path, near_duplicates="ignore").fingerprint
    assert warned.warnings[0].startswith("180 of 180 rows resemble another one")
    assert ": not joined, e.g. " in warned.warnings[0]


def test_the_order_of_rows_does_not_change_the_groups(write: Write) -> None:
    rows = noisy(80, 3)
    turned = [rows[i] for i in np.random.default_rng(2).permutation(len(rows))]
    one, other = ov.load_task(write("a.jsonl", rows)), ov.load_task(write("b.jsonl", turned))
    assert one.fingerprint == other.fingerprint
    assert len(set(one.rows.groups)) == 80


def edges(*drawn: tuple[int, int, float]) -> Edges:
    first, second, similarity = (np.array(column) for column in zip(*drawn, strict=True))
    return Edges(first=first, second=second, similarity=similarity)


def test_a_chain_is_no_group() -> None:
    """40 rows in a chain of .75, but for ten pairs of .9: the chain falls apart at .76, the pairs hold."""
    chain = [(i, i + 1, 0.9 if i % 4 == 0 else 0.75) for i in range(39)]
    made = join(np.arange(100), edges(*chain))
    assert np.bincount(made.groups).max() == 2
    assert len(set(made.groups.tolist())) == 90
    assert [(one.n_rows, one.at) for one in made.apart] == [(40, 0.76)]


def test_a_template_leaves_its_rows_single() -> None:
    """Every row resembles every other one just as much: no threshold ends it."""
    made = join(np.arange(30), edges(*((i, j, 1.0) for i, j in combinations(range(20), 2))))
    assert len(set(made.groups.tolist())) == 30
    assert [(one.n_rows, one.at) for one in made.apart] == [(20, None)]


def test_ten_rows_are_never_too_many() -> None:
    made = join(np.arange(30), edges(*((0, j, 0.8) for j in range(1, 10))))
    assert len(set(made.groups.tolist())) == 21
    assert not made.apart


def test_named_groups_are_united_and_a_large_one_stays() -> None:
    """Two rows of group 0 resemble one of group 1: united; group 2 came with half of the rows, and keeps them."""
    groups = np.array([0, 0, 1, 1, *[2] * 50, *range(3, 49)])
    made = join(groups, edges((0, 2, 0.8)))
    assert made.groups[0] == made.groups[3]
    assert len(set(made.groups.tolist())) == 48
    assert not made.apart


def test_named_groups_take_the_smallest_name(write: Write) -> None:
    several = versions(40, 2)
    rows = [
        {"text": text, "label": i % 2, "group": f"g{i:02}{'ba'[j]}"}
        for i, one in enumerate(several)
        for j, text in enumerate(one)
    ]
    task = ov.load_task(write("a.jsonl", rows))
    assert set(task.rows.groups) == {f"g{i:02}a" for i in range(40)}


def test_rows_of_train_that_resemble_test_rows_are_dropped(write: Write) -> None:
    several = versions(300, 2)
    train = [{"text": one[0], "label": i % 2} for i, one in enumerate(several[:200])]
    test = [{"text": one[i < 204], "label": i % 2} for i, one in enumerate(several) if i >= 196]
    write("d/train.jsonl", train)
    folder = write("d/test.jsonl", test).parent
    task = ov.load_task(folder)
    assert isinstance(task, Task) and task.is_test is not None
    assert (len(task), int(task.is_test.sum())) == (296 + 4, 104)
    assert task.warnings[0].startswith(
        "4 of 104 rows of test resemble a row of train (3-grams, Jaccard at least 0.7): "
        "4 rows dropped from train, e.g. "
    )
    warned = ov.load_task(folder, near_duplicates="warn")
    assert len(warned) == 304
    assert ": none dropped, e.g. " in warned.warnings[0]


def test_templates_in_train_and_test_do_not_empty_train(write: Write) -> None:
    several = versions(200, 2)
    write("d/train.jsonl", [{"text": one[0], "label": i % 2} for i, one in enumerate(several)])
    folder = write("d/test.jsonl", [{"text": one[1], "label": i % 2} for i, one in enumerate(several)]).parent
    task = ov.load_task(folder)
    assert len(task) >= 390
    assert "more than 5%, so only at 0." in task.warnings[0]
    assert "rows are made from templates, or the test leaks" in task.warnings[0]


def test_a_further_test_set_is_held_against_train(write: Write) -> None:
    several = versions(200, 2)
    path = write("a.jsonl", [{"text": one[0], "label": i % 2} for i, one in enumerate(several)])
    fresh = [{"text": one[0], "label": i % 2} for i, one in enumerate(versions(100, 1, seed=9))]
    leaks = [{"text": one[1], "label": i % 2} for i, one in enumerate(several[:4])]
    task = ov.load_task(path)
    tests = {"x": write("x.jsonl", [*fresh, *leaks])}
    kept, _ = load_tests(task, tests, columns=FIND, strict=False)
    gone = set(task.rows.texts) - set(kept.rows.texts)
    assert gone and gone <= {one[0] for one in several[:4]}
    (told,) = kept.warnings
    assert told.startswith(f"{len(gone)} of 104 rows of test 'x' resemble a row of the task (3-grams, ")
    ignored, _ = load_tests(task, tests, columns=FIND, strict=False, near=IGNORED)
    assert len(ignored) == 200


def test_above_200_000_rows_it_is_said_that_nobody_searched() -> None:
    usual = NearDuplicates()
    assert usual.searched(200_000) and not usual.searched(200_001)
    assert NearDuplicates(do="join").searched(200_001)


@pytest.mark.parametrize(("do", "at"), [("joined", 0.7), (None, 0.0), (None, 1.5), (None, float("nan"))])
def test_other_words_and_numbers_are_refused(do: str | None, at: float) -> None:
    with pytest.raises(InputError, match="--near-duplicates"):
        NearDuplicates(do=do, at=at)


def test_a_plan_says_what_is_done() -> None:
    from oversight.resolve.plan_file import parse

    text = 'tasks = ["a.jsonl"]\nsupervisors = ["bow"]\nstudents = ["bow"]\nnear_duplicates = "warn"\n'
    plan = parse(text + '[task."a.jsonl"]\nnear_duplicates_at = 0.8\n', name="p", folder="/", file="p.toml")
    assert plan.near == NearDuplicates(do="warn")
    assert plan.task_tables["a.jsonl"].near_duplicates_at == 0.8
    with pytest.raises(InputError, match=r"p\.toml: near_duplicates"):
        parse(text.replace("warn", "worn"), name="p", folder="/", file="p.toml")
    with pytest.raises(InputError, match=r"near_duplicates_at: found 2, expected a number above 0 and at most 1"):
        parse(text + "near_duplicates_at = 2\n", name="p", folder="/", file="p.toml")
