"""What the stress suite shows: from the kept predictions of planted studies to what theory says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, cast

import numpy as np

from oversight.metrics.contrasts import combine, difference
from oversight.metrics.intervals import Estimate, linear_interval, moments
from oversight.metrics.limits import SHARE
from oversight.metrics.pool import Scope
from oversight.models.student import Student
from oversight.models.told import Told, alike
from oversight.reports.result import ROLES, Study, TestRows
from oversight.reports.stress import Claim, Figure, Stress
from oversight.runs.store import Store
from oversight.studies.planted import (
    ALL,
    AS_IT_IS,
    CHECKS,
    FEWER,
    FORMAT,
    NAIVE,
    NOISE,
    SAME,
    TOLD,
    WORD,
    Case,
    Suite,
)
from oversight.studies.stored import stored_rows
from oversight.studies.sweep import Swept
from oversight.supervision.corruption import STRUCTURES, WEAK
from oversight.tasks.task import Floats, Ints
from oversight.ties import right_shares, same_shares

NEAR = 0.1
NEAR_SCORE = 0.02
TOO_GOOD = 0.95
MOST_CUT = 0.01
NOTICED = ("give the answer away", "told apart")
INDEPENDENT = 0.05
ABOVE = np.nextafter(0.0, 1.0)


def stress_of(
    suite: Suite, swept: Swept, store: Store, *, checks: Sequence[str], about: Mapping[str, Any] | None = None
) -> Stress:
    """What came of the suite, as far as it is finished."""
    by_key = {study.keys["score"][0]: study for study in swept.result.studies}
    steps = [one.step.key for one in swept.campaign.scored]
    studies = [by_key.get(key) for key in steps]
    done = [(case, one) for case, one in _naive(suite, studies) if one is not None]
    seen = _Seen(
        store,
        studies={(case.check, case.name): one for case, one in done},
        students={(case.check, case.name): case.arm.student for case, _ in done},
    )
    readers: dict[str, Callable[[_Seen], list[Claim]]] = {
        "simulable": _simulable,
        "errors": _errors,
        "imitation": _imitation,
        "leak": _leak,
    }
    asked = [check for check in CHECKS if check in checks]
    return Stress(
        checks={check: CHECKS[check] for check in asked},
        claims=tuple(claim for check in asked if check not in suite.left_out for claim in readers[check](seen)),
        figures=tuple(
            Figure(check=case.check, name=case.name, planted=case.about, method=case.arm.method_name, study=study)
            for case, study in zip(suite.cases, studies, strict=True)
        ),
        left_out=suite.left_out,
        methods_left_out=suite.methods_left_out,
        result=swept.result,
        about=about or {},
    )


def _naive(suite: Suite, studies: Sequence[Study | None]) -> list[tuple[Case, Study | None]]:
    both = zip(suite.cases, studies, strict=True)
    return [(case, study) for case, study in both if case.arm.method_name == NAIVE]


@dataclass(frozen=True)
class _Behind:
    """Predictions behind one study, hard: which rows each role has right, (s, n); and of what its intervals speak."""

    rows: TestRows
    scope: Scope

    def right(self, role: str) -> Floats:
        """(s, n) 1 where a role is right, 1/m where m classes tie."""
        return right_shares(self.rows.probs[role], self.rows.truth)

    @property
    def same(self) -> Floats:
        """(s, n) 1 where student and supervisor choose the same class; where classes tie, how probable that is."""
        return same_shares(self.rows.probs["student"], self.rows.probs["weak"])

    @cached_property
    def groups(self) -> Ints:
        """(n,) integers."""
        return np.unique(np.asarray(self.rows.groups, dtype=object).astype(str), return_inverse=True)[1]

    def mean(self, scores: Floats) -> Estimate:
        """Of (s, n) numbers, with its interval over seeds and groups."""
        return linear_interval(moments(scores[:, None, :], self.groups).covering(self.scope), (1.0,))


class _Seen:
    """Finished studies of naive training by check and case, and their predictions."""

    def __init__(
        self,
        store: Store,
        *,
        studies: Mapping[tuple[str, str], Study],
        students: Mapping[tuple[str, str], Student],
    ) -> None:
        self.studies = studies
        self.students = students
        self._store = store
        self._read: dict[tuple[str, str], _Behind] = {}

    def has(self, check: str, *names: str) -> bool:
        """Whether these are finished."""
        return all((check, name) in self.studies for name in names)

    def behind(self, check: str, name: str) -> _Behind:
        """The predictions of one that is finished."""
        key = check, name
        if key not in self._read:
            study = self.studies[key]
            self._read[key] = _Behind(stored_rows(self._store, study), study.scope)
        return self._read[key]

    def cut(self, check: str, name: str, roles: Sequence[str]) -> str:
        """Why the end of its prompts counts for little: more than MOST_CUT of some network's rows are truncated; the
        worst in words, or empty."""
        keys = [key for role in roles for key in self.studies[check, name].keys[role]]
        worst = max((one for key in keys for one in _truncated(self._store, key)), default=(0.0, ""))
        return worst[1] if worst[0] > MOST_CUT else ""


def _truncated(store: Store, key: str) -> list[tuple[float, str]]:
    """What one fit read and was too long: the share of rows, and the same in words."""
    outcome = store.get(key)
    if outcome is None:
        return []
    own = outcome.record["choices"].get("truncated")
    read = cast("list[dict[str, int]]", [*outcome.record.get("features", []), *([own] if own else [])])
    return [
        (
            one["n_truncated"] / max(1, one["n_rows"]),
            f"{one['n_truncated']} of {one['n_rows']} prompts are cut at {one['max_tokens']} tokens, "
            "and with them what stands at their end",
        )
        for one in read
    ]


def _not_told(claim: Claim, reason: str) -> Claim:
    """The claim without what was seen, where there is a reason that nothing can be seen."""
    return replace(claim, seen=None, held=None, told=f"cannot be seen: {reason}") if reason else claim


def _near_zero(seen: _Seen, check: str, name: str) -> Claim:
    """The gain is at most NEAR of the gap, and at least NEAR_SCORE is allowed where the gap is small or unknown."""
    behind = seen.behind(check, name)
    gain = behind.mean(behind.right("student") - behind.right("weak"))
    gap = float((behind.right("ceiling") - behind.right("weak")).mean())
    margin = max(NEAR * gap, NEAR_SCORE)
    return Claim(
        check=check,
        planted=name,
        expected=f"student - weak near 0 (within {margin:.3f})",
        seen=gain,
        low=-margin,
        high=margin,
    )


def _copies(seen: _Seen, check: str, name: str) -> Claim:
    """A student that imitates agrees with its supervisor more often than the supervisor is right."""
    behind = seen.behind(check, name)
    return Claim(
        check=check,
        planted=name,
        expected="agrees with its supervisor more often than that is right: agreement - weak above 0",
        seen=behind.mean(behind.same - behind.right("weak")),
        low=ABOVE,
    )


def _gains(seen: _Seen, check: str, name: str) -> list[Claim]:
    """What holds of noise: a student cannot know which test rows were flipped. That it gains is what was reported."""
    behind = seen.behind(check, name)
    student, weak = behind.right("student"), behind.right("weak")
    return [
        Claim(
            check=check,
            planted=name,
            expected=f"student errs on flipped test rows as often as on others (within {INDEPENDENT:g})",
            seen=behind.mean(_share(1 - student, 1 - weak) - _share(1 - student, weak)),
            low=-INDEPENDENT,
            high=INDEPENDENT,
        ),
        Claim(
            check=check,
            planted=name,
            expected="student above the noise: student - weak above 0",
            seen=behind.mean(student - weak),
            low=ABOVE,
            must=False,
        ),
    ]


def _share(scores: Floats, cell: Floats) -> Floats:
    """(s, n) whose mean is the share sum(scores cell) / sum(cell), linearised as in `metrics.agreement`."""
    share = float((scores * cell).sum() / max(1.0, float(cell.sum())))
    return share + (scores - share) * cell / max(float(cell.mean()), np.finfo(np.float64).tiny)


def _simulable(seen: _Seen) -> list[Claim]:
    check, found = "simulable", list[Claim]()
    for name in (ALL, SAME):
        if seen.has(check, name):
            found += [_near_zero(seen, check, name), _copies(seen, check, name)]
    if seen.has(check, ALL, FEWER):
        one, other = (seen.behind(check, name) for name in (ALL, FEWER))
        found.append(
            Claim(
                check=check,
                planted=FEWER,
                expected="agrees less than the student that can copy: difference below 0",
                seen=one.mean(other.same - one.same),
                high=-ABOVE,
                must=False,
            )
        )
    if seen.has(check, NOISE):
        found += _gains(seen, check, NOISE)
    if seen.has(check, ALL, NOISE):
        found.append(_more(seen, check, NOISE, ALL, expected="student above the one that can copy"))
    return found


def _more(seen: _Seen, check: str, name: str, other: str, *, expected: str) -> Claim:
    one, second = seen.behind(check, name), seen.behind(check, other)
    return Claim(
        check=check,
        planted=name,
        expected=f"{expected}: difference above 0",
        seen=one.mean(one.right("student") - second.right("student")),
        low=ABOVE,
        must=False,
    )


def _errors(seen: _Seen) -> list[Claim]:
    check = "errors"
    if not seen.has(check, *STRUCTURES):
        return []
    every = {name: seen.behind(check, name) for name in STRUCTURES}
    wrong = {name: tuple((1 - one.right("weak")).sum(1).astype(int).tolist()) for name, one in every.items()}
    n = len(every[WEAK].rows.ids)
    same = Claim(
        check=check,
        planted="all six",
        expected="one and the same weak accuracy, to the row, in every seed",
        held=len(set(wrong.values())) == 1,
        told=f"wrong on {', '.join(map(str, wrong[WEAK]))} of {n} test rows, by seed",
    )
    more = _more(seen, check, "random", WEAK, expected="student above the one taught by the supervisor's own errors")
    return [same, *_gains(seen, check, "random"), more, _span(seen, every)]


def _span(seen: _Seen, every: Mapping[str, _Behind]) -> Claim:
    """The best student minus the worst one, in an interval that holds for all pairs together."""
    names, first = list(every), every[WEAK]
    scores = np.stack([one.right("student") for one in every.values()], axis=1)
    total = combine([moments(scores, first.groups).covering(first.scope)], ["errors"], limits=SHARE)
    means = scores.mean(axis=(0, 2))
    best, worst = int(means.argmax()), int(means.argmin())
    contrast = np.zeros(len(names))
    contrast[best], contrast[worst] = contrast[best] + 1, contrast[worst] - 1
    n = len(list(combinations(names, 2)))
    pgrs = [seen.studies["errors", names[i]].pgr.value for i in (worst, best)]
    reach = f"PGR {pgrs[0]:.2f} ({names[worst]}) to {pgrs[1]:.2f} ({names[best]}); " if np.isfinite(pgrs).all() else ""
    return Claim(
        check="errors",
        planted="all six",
        expected="what is recovered differs with the place of the errors: best - worst student above 0",
        seen=difference(total, contrast, n_comparisons=n),
        low=ABOVE,
        must=False,
        told=f"{reach}difference",
    )


def _imitation(seen: _Seen) -> list[Claim]:
    check, found = "imitation", list[Claim]()
    if not seen.has(check, TOLD):
        return found
    found += [_near_zero(seen, check, TOLD), _copies(seen, check, TOLD)]
    if seen.has(check, AS_IT_IS):
        told, plain = seen.behind(check, TOLD), seen.behind(check, AS_IT_IS)
        found.append(
            Claim(
                check=check,
                planted=TOLD,
                expected="agrees more than as it is: difference above 0",
                seen=told.mean(told.same - plain.same),
                low=ABOVE,
            )
        )
    reason = _unread(seen.students[check, TOLD]) or seen.cut(check, TOLD, ("student", "ceiling"))
    return [_not_told(claim, reason) for claim in found]


def _unread(student: Student) -> str:
    """Why it cannot read the answers that it is told; empty where it can."""
    same = alike(student) if isinstance(student, Told) else ()
    if not same:
        return ""
    return f"{student.name} reads the answers {', '.join(same)} as the same, since it does not know these words"


def _leak(seen: _Seen) -> list[Claim]:
    check, found = "leak", list[Claim]()
    if seen.has(check, WORD):
        behind = seen.behind(check, WORD)
        role = min(("weak", "student", "ceiling"), key=lambda one: float(behind.right(one).mean()))
        found.append(
            _not_told(
                Claim(
                    check=check,
                    planted=WORD,
                    expected=f"every role right on more than {TOO_GOOD:.0%} of the test rows",
                    seen=behind.mean(behind.right(role)),
                    low=TOO_GOOD,
                    must=False,
                    told=f"{role}, the lowest:",
                ),
                seen.cut(check, WORD, ROLES),
            )
        )
    for name in (WORD, FORMAT):
        if seen.has(check, name):
            heard = [one for one in seen.studies[check, name].warnings if any(words in one for words in NOTICED)]
            found.append(
                Claim(
                    check=check,
                    planted=name,
                    expected="a warning says so",
                    held=bool(heard),
                    told=f"warning: {heard[0]}" if heard else "no warning",
                )
            )
    return found
