"""Numbers, names and verdicts in words: the one place that decides how a result reads."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oversight.metrics.intervals import Estimate
from oversight.metrics.scores import METRICS

if TYPE_CHECKING:
    from oversight.reports.budget import BudgetCurve
    from oversight.reports.leaderboard import Leaderboard, TaskLine
    from oversight.reports.result import Result, Study

ROLES = ("weak", "student", "ceiling")
COLUMNS = (*ROLES, "gap", "PGR")
UNDEFINED = "undefined"
NO_INTERVAL = "no interval"
ARROW = "->"
ORACLE = "(oracle)"
PLANTED = "(planted)"
PLANTED_NOTE = f"supervisors marked {PLANTED} are faults of ours: labels made from the truth, wrong where we put it"
PLAIN_TRAINING = frozenset({"probe", "bow", "given", "planted"})
UNSAFE = re.compile("[\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
SMALLEST_DIGITS, MOST_DIGITS = 2, 5
STEPS_IN_WIDTH = 2.5


def clean(text: object, *, limit: int | None = None) -> str:
    """One line without control or bidi characters, lone surrogates or runs of blanks; beyond limit: an ellipsis."""
    plain = str(text).encode("utf-8", "replace").decode("utf-8")
    kept = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in UNSAFE.sub("", plain))
    line = re.sub(r"\s+", " ", "".join(kept)).strip()
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def number(value: float | None, digits: int = 3) -> str:
    """A fixed number of decimals, never `-0.000`; `undefined` for what is not finite."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def finite(estimate: Estimate) -> bool:
    """Whether there is a value to show, with or without an interval."""
    return math.isfinite(estimate.value)


def bounded(estimate: Estimate) -> bool:
    """Whether there is an interval to show."""
    return finite(estimate) and math.isfinite(estimate.low) and math.isfinite(estimate.high)


def interval(estimate: Estimate) -> str:
    """`[0.69, 0.73]`, with more decimals where two would hide the width or show a bound as zero that is not."""
    if not bounded(estimate):
        return f"[{NO_INTERVAL}]"
    digits = interval_digits(estimate.low, estimate.high)
    return f"[{number(estimate.low, digits)}, {number(estimate.high, digits)}]"


def interval_digits(low: float, high: float) -> int:
    """Decimals that show a width, and no bound as zero that is not."""
    for digits in range(SMALLEST_DIGITS, MOST_DIGITS):
        visible = all(bound == 0 or float(f"{bound:.{digits}f}") != 0 for bound in (low, high))
        if visible and (high == low or high - low >= STEPS_IN_WIDTH * 10.0**-digits):
            return digits
    return MOST_DIGITS


def why(estimate: Estimate) -> str:
    """The reason for what is missing, or nothing."""
    return clean(estimate.reason or "").removesuffix(f": {NO_INTERVAL}")


def value_of(estimate: Estimate, digits: int = 3) -> str:
    """The number alone, with at least as many decimals as its interval shows."""
    if bounded(estimate):
        digits = max(digits, interval_digits(estimate.low, estimate.high))
    return number(estimate.value, digits)


def shown(estimate: Estimate, digits: int = 3) -> str:
    """`0.712 [0.69, 0.73]`, or `undefined: the gap is within noise`."""
    if finite(estimate):
        return f"{value_of(estimate, digits)} {interval(estimate)}"
    return f"{UNDEFINED}: {why(estimate)}" if why(estimate) else UNDEFINED


def digits_of(column: str) -> int:
    """Decimals of a column's values."""
    return 2 if column == "PGR" else 3


def main_estimates(study: Study) -> dict[str, Estimate]:
    """The five numbers of a study, by column."""
    return {**{role: study.score(role) for role in ROLES}, "gap": study.gap, "PGR": study.pgr}


def planted(weak_train: str) -> bool:
    """Whether labels of some supervisor were planted, by how the supervisors were trained."""
    return "planted" in weak_train.split("+")


def supervisor(model: str, weak_train: str) -> str:
    """`bow`; one whose labels were planted is marked: `flipped:0.3 (planted)`."""
    return f"{clean(model)} {PLANTED}" if planted(weak_train) else clean(model)


def short(name: str, limit: int) -> str:
    """A name of at most `limit` characters, for figures; that its supervisor is planted the mark says, or the name."""
    bare = name.removesuffix(f" {PLANTED}")
    if bare == name or bare.startswith("planted:"):
        return clean(bare, limit=limit)
    return f"{clean(bare, limit=limit - len(PLANTED) - 1)} {PLANTED}"


def pair(of: Study | Leaderboard | BudgetCurve, arrow: str = ARROW) -> str:
    """`bow -> minilm@4`."""
    return f"{supervisor(of.weak_model, of.weak_train)} {arrow} {clean(of.strong_model)}"


def method(study: Study) -> str:
    """The method's name; one that saw ground truth is marked."""
    return f"{clean(study.method)} {ORACLE}" if study.oracle else clean(study.method)


def trained_plainly(study: Study) -> bool:
    """Whether no role was fine-tuned or prompted, so that the models' names say how they were trained."""
    return {study.train, *study.weak_train.split("+")} <= PLAIN_TRAINING


def context(result: Result) -> tuple[str, ...]:
    """Which of task, weak_train, train, test, metric and seeds differ between studies and so need naming in each row.

    How supervisors were trained is left out where their names say it: as long as nothing was fine-tuned or prompted.
    """
    plain = all(map(trained_plainly, result.studies))
    names = ("task", *(() if plain else ("weak_train",)), "train", "test", "metric", "seeds")
    return tuple(name for name in names if len({getattr(study, name) for study in result.studies}) > 1)


def title(study: Study, names: Iterable[str] = (), arrow: str = ARROW) -> str:
    """`bow -> minilm@4, confidence`, and whatever else tells this study from the others."""
    extra = [f"{name} {clean(getattr(study, name))}" for name in names]
    return ", ".join([pair(study, arrow), method(study), *extra])


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better; unknown metrics count as such."""
    return METRICS[metric].higher_is_better if metric in METRICS else True


def metric_name(metric: str) -> str:
    """`accuracy`, or `nll (lower is better)`."""
    name = clean(metric).replace("_", " ")
    return name if higher_is_better(metric) else f"{name} (lower is better)"


def unique(items: Iterable[str]) -> list[str]:
    """Without repeats, in order."""
    return list(dict.fromkeys(items))


def warnings(result: Result) -> list[str]:
    """Every warning once: as it is where it concerns all studies, else with its task, or with how many it concerns."""
    return [_scoped(text, studies, result) for text, studies in warned(result).items()]


def _scoped(text: str, studies: Sequence[Study], result: Result) -> str:
    """`reviews: text`, or `text (3 of 18 studies)`."""
    if len(studies) == len(result.studies):
        return text
    tasks = unique(study.task for study in studies)
    if len(tasks) == 1 and len(studies) == sum(study.task == tasks[0] for study in result.studies):
        return f"{clean(tasks[0])}: {text}"
    return f"{text} ({len(studies)} of {len(result.studies)} studies)"


def warned(result: Result) -> dict[str, list[Study]]:
    """The studies that each warning concerns."""
    found: dict[str, list[Study]] = {}
    for study in result.studies:
        for text in unique(clean(one) for one in study.warnings):
            found.setdefault(text, []).append(study)
    return found


def plural(n: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def chance_of(study: Study) -> float | None:
    """The study's chance level; None for losses, which have none."""
    return study.chance if study.chance is not None and math.isfinite(study.chance) else None


def data_facts(study: Study) -> str:
    """`812 rows in 203 groups (effectively 120.4), 5 seeds, chance 0.500`."""
    chance = chance_of(study)
    effective = f" (effectively {effective_of(study)})"
    groups = f"{plural(study.n_groups, 'group')}{effective if study.n_effective < study.n_groups else ''}"
    facts = f"{plural(study.n_test, 'row')} in {groups}, {plural(study.seeds, 'seed')}"
    return facts if chance is None else f"{facts}, chance {number(chance)}"


def effective_of(counted: Study | TaskLine) -> str:
    """The effective number of groups, whole where groups are even."""
    return f"{counted.n_effective:.0f}" if counted.n_effective >= counted.n_groups else f"{counted.n_effective:.1f}"


def alike(study: Study) -> str:
    """`student and supervisor choose differently on 3 of 286 rows`; nothing where they do so on many."""
    told = {"student": "student and supervisor", "ceiling": "ceiling and supervisor"}
    few = [f"{told[role]} choose differently on {one}" for role, one in study.discordant.items() if one.few]
    return "; ".join(few)


def notes(result: Result) -> list[tuple[str, str]]:
    """What stands under a table, as (label, text): metric, test rows, what intervals cover, what is missing and why."""
    names = context(result)
    several = [name for name in ("task", "test") if name in names]
    lines = [("metric", text) for text in unique(_metric_note(s.metric) for s in result.studies)]
    lines += [("training", text) for text in _training_notes(result, names)]
    for study in result.studies:
        place = "".join(f"{clean(getattr(study, name))}: " for name in several)
        lines.append(("data", place + data_facts(study)))
    for study in result.studies:
        if alike(study):
            lines.append(("alike", f"{title(study, several)}: {alike(study)}"))
    covered = unique(study.score("student").covers for study in result.studies)
    lines += [("intervals", f"95 %, covering {text}") for text in covered]
    if any(study.oracle for study in result.studies):
        lines.append(("oracle", f"methods marked {ORACLE} saw ground truth"))
    if any(planted(study.weak_train) for study in result.studies):
        lines.append(("planted", PLANTED_NOTE))
    lines += [("beside", text) for study in result.studies for text in beside(study)]
    for study in result.studies:
        for estimate in main_estimates(study).values():
            if finite(estimate) and not bounded(estimate):
                lines.append((NO_INTERVAL, why(estimate)))
    return list(dict.fromkeys(lines))


def beside(study: Study) -> list[str]:
    """`confidence: last .71, oracle-best .72`, and how often its choices are naive's, as far as they are known."""
    who = f"{pair(study)}, {clean(study.method)}"
    told: list[str] = []
    if study.student_last is not None and study.student_oracle_best is not None:
        told.append(
            f"{who}: at the end of its training {shown(study.student_last)}, at the place that true validation labels "
            f"would choose (an oracle) {shown(study.student_oracle_best)}"
        )
    if study.same_as_naive:
        told.append(f"{who}: {same_as(study.same_as_naive, study.seeds)}")
    return told


def same_as(n: int, of: int, reference: str = "naive", *, what: str = "seed") -> str:
    """`same as naive in 3 of 5 seeds`: every test row gets the same choice. A board counts fits: tasks x seeds."""
    return f"same as {reference} in {n} of {plural(of, what)}"


def _metric_note(metric: str) -> str:
    if higher_is_better(metric):
        return metric_name(metric)
    return f"{metric_name(metric)}; gap and PGR are counted so that positive means better"


def _training_notes(result: Result, named: Sequence[str]) -> list[str]:
    """`supervisor full, student and ceiling lora`, as far as the rows do not name it; nothing for plain training."""
    if all(map(trained_plainly, result.studies)):
        return []
    first = result.studies[0]
    weak, strong = clean(first.weak_train), clean(first.train)
    if not {"weak_train", "train"} & {*named} and weak == strong:
        return [f"supervisor, student and ceiling {strong}"]
    parts = {"weak_train": f"supervisor {weak}", "train": f"student and ceiling {strong}"}
    return [", ".join(found)] if (found := [text for name, text in parts.items() if name not in named]) else []


def pooled_counts(result: Result) -> Mapping[str, int]:
    """How many studies there are, have a PGR, and are shown above or below their supervisor."""
    gains = [study.gain for study in result.studies]
    return {
        "studies": len(result.studies),
        "defined": sum(finite(study.pgr) for study in result.studies),
        "above": sum(gain.above_zero for gain in gains),
        "below": sum(gain.below_zero for gain in gains),
    }


def fact(value: Any) -> str:
    """A configuration value in few characters: six digits for numbers, a count for a list of records."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else UNDEFINED
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(name)}: {fact(one)}" for name, one in value.items()) or "-"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if value and all(isinstance(one, Mapping) for one in value):
            return str(len(value))
        return ", ".join(fact(one) for one in value) or "-"
    return clean(value)
