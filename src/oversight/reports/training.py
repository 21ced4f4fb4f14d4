"""The part of the page on fine-tuning: settings that were used, learning rates that were tried, learning curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from oversight.reports.curves import as_curves
from oversight.reports.fits import Fit, Training, Tuned, trainings, trials, value
from oversight.reports.markup import Raw, details, el, join, section, table
from oversight.reports.words import clean, context, fact, number, plural, title, unique

if TYPE_CHECKING:
    from oversight.reports.result import Result

NONE = Raw("")
ARROW = "→"
NOTHING = "-"
UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
OPEN_TRAININGS, MOST_CURVES = 2, 6
COMPARED = {
    ("weak", False): "the supervisor with true labels of rows held apart from its own",
    ("student", False): "the student with the supervisor's labels of the validation rows",
    ("student", True): "an oracle's student with true labels of the validation rows",
    ("ceiling", False): "the ceiling with true labels of the validation rows",
}


def training(result: Result) -> Raw:
    """How each fine-tuned role was trained, once for all test sets; empty where none was."""
    found = trainings(result)
    if not found:
        return NONE
    drawn = _with_curves(found)
    blocks = [_block(one, curves=i in drawn) for i, one in enumerate(found)]
    reading = el("p", _reading(found, n_drawn=len(drawn)), class_="ov-note")
    if len(found) == 1:
        return section("Training", *blocks, reading)
    names = [name for name in context(result) if name != "test"]
    headings = [title(one.study, names, ARROW) + _undertrained_roles(one) for one in found]
    pairs = zip(headings, blocks, strict=True)
    if len(found) <= OPEN_TRAININGS:
        return section("Training", *(join([el("h3", heading), block]) for heading, block in pairs), reading)
    return section("Training", reading, *(details(heading, block) for heading, block in pairs))


def _undertrained_roles(one: Training) -> str:
    """What a folded part must not hide."""
    roles = [tuned.name for tuned in one.roles if tuned.n_undertrained]
    return f" (undertrained: {', '.join(roles)})" if roles else ""


def _with_curves(found: Sequence[Training]) -> frozenset[int]:
    """Which trainings show their curves: undertrained ones first, then in order, so that the page stays small."""
    order = sorted(range(len(found)), key=lambda i: (not any(tuned.n_undertrained for tuned in found[i].roles), i))
    return frozenset(order[:MOST_CURVES])


def _block(one: Training, *, curves: bool) -> Raw:
    searched = [_trials(tuned) for tuned in one.roles if tuned.searched]
    drawings = as_curves(one) if curves else ()
    figures = [el("figure", Raw(each.svg), el("figcaption", each.title)) for each in drawings]
    return join([_settings(one), *searched, el("div", *figures, class_="ov-figures") if figures else NONE])


def _reading(found: Sequence[Training], *, n_drawn: int) -> str:
    """What lines and marks mean, and which labels each role was compared to."""
    all_roles = [tuned for one in found for tuned in one.roles]
    compared = "; ".join(unique(COMPARED[tuned.role, tuned.oracle] for tuned in all_roles))
    triangle = " A hollow triangle: that run was undertrained." if any(t.n_undertrained for t in all_roles) else ""
    left_out = (
        f" Curves of {n_drawn} of {len(found)} trainings are drawn, undertrained ones first; all are in the JSON."
        if n_drawn < len(found)
        else ""
    )
    return (
        f"One thin line per seed; the dot is the evaluation whose weights were kept.{triangle} Agreement is the share "
        f"of rows on which the most probable classes are the same: {compared}. Training loss is the mean since the "
        f"evaluation before; each role has labels of its own, so that levels of two roles do not compare.{left_out}"
    )


def _settings(one: Training) -> Raw:
    """One column per role; rows that no role has anything to say about are left out."""
    head = ["setting", *(join([tuned.name, _below(tuned)]) for tuned in one.roles)]
    rows = [[name, *(say(tuned) for tuned in one.roles)] for name, say in SETTINGS]
    rows = [row for row in rows if any(cell != NOTHING for cell in row[1:])]
    seeds = plural(len(one.roles[0].fits), "seed")
    return table(f"How each role was fine-tuned; mean and range over {seeds}", head, rows, class_="ov-settings")


def _below(tuned: Tuned) -> Raw:
    return el("span", tuned.model, class_="ov-below") if tuned.alone else NONE


def _trials(tuned: Tuned) -> Raw:
    """One row per learning rate of a search, with the seeds in which it was chosen."""
    by_rate: dict[str, list[Fit]] = {}
    for fit in tuned.fits:
        for trial in trials(fit):
            by_rate.setdefault(_rate(value(trial, "lr")), []).append(trial)
    rows: list[Sequence[str]] = []
    for rate, found in by_rate.items():
        seeds = [i for i, fit in enumerate(tuned.fits) if _rate(value(fit, "lr")) == rate]
        chosen = el("span", _in_seeds(seeds, len(tuned.fits)), class_="ov-student") if seeds else Raw("no")
        measured = [_spread([value(one, name) for one in found]) for name in ("agreement", "cross_entropy")]
        stopped = _spread([value(one, "stopped_at") for one in found], _whole)
        rows.append([rate, chosen, *measured, stopped, _undertrained(found)])
    caption = (
        f"Learning rates tried for the {tuned.name}, compared on validation rows with {tuned.against}; "
        "mean and range over seeds"
    )
    head = ["rate", "chosen", "agreement", "cross-entropy", "kept at update", "undertrained"]
    return table(caption, head, rows, class_="ov-settings")


def _in_seeds(seeds: Sequence[int], n: int) -> str:
    if len(seeds) == n:
        return "yes" if n == 1 else f"in all {n} seeds"
    return f"in {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _spread(values: Iterable[float], form: Callable[[float], str] = number) -> str:
    """`0.812 (0.790 to 0.835)`: mean, lowest and highest; a single number where all read the same."""
    found = [one for one in values if math.isfinite(one)]
    if not found:
        return NOTHING
    low, high = form(min(found)), form(max(found))
    return low if low == high else f"{form(sum(found) / len(found))} ({low} to {high})"


def _of(name: str, form: Callable[[float], str]) -> Callable[[Tuned], str]:
    return lambda tuned: _spread([value(fit, name) for fit in tuned.fits], form)


def _whole(count: float) -> str:
    return f"{count:,.0f}"


def _rate(rate: float) -> str:
    """`0.0002`, `5e-5`."""
    return f"{rate:g}".replace("e-0", "e-") if math.isfinite(rate) else NOTHING


def amount(count: float) -> str:
    """`9,216`, `1.03M`, `596M`: three digits are enough to compare sizes."""
    if count < 1e4:
        return _whole(count)
    factor, unit = next((f, u) for f, u in UNITS if float(f"{count / f:.3g}") >= 1)
    digits = f"{count / factor:.3g}"
    return f"{float(digits):g}{unit}"


def _values(tuned: Tuned, name: str) -> list[str]:
    return unique(clean(fact(fit[name])) for fit in tuned.fits if fit.get(name) is not None)


def _said(name: str) -> Callable[[Tuned], str]:
    return lambda tuned: ", ".join(_values(tuned, name)) or NOTHING


def _rates(tuned: Tuned) -> str:
    """The rate that was used, or how often which one was."""
    rates = [_rate(value(fit, "lr")) for fit in tuned.fits]
    used = unique(rates)
    return used[0] if len(used) == 1 else ", ".join(f"{one} ({rates.count(one)} of {len(rates)} seeds)" for one in used)


def _schedule(tuned: Tuned) -> str:
    warm = _spread([value(fit, "warmup_fraction") for fit in tuned.fits], lambda share: f"{100 * share:g} %")
    said = _said("schedule")(tuned)
    return said if warm in (NOTHING, "0 %") else f"{said}, {warm} warm-up"


def _stopped(tuned: Tuned) -> str:
    at = _of("stopped_at", _whole)(tuned)
    last = all(fit.get("early_stopping") is False for fit in tuned.fits)
    return f"{at}, the last (no early stopping)" if last else at


def _and(tuned: Tuned, name: str, words: str, other: str) -> str:
    """`22 in 2 epochs`, from two settings."""
    first, second = _of(name, _whole)(tuned), _of(other, _whole)(tuned)
    said = words.removesuffix("s") if second == "1" else words
    return first if NOTHING in (first, second) else f"{first} {said.format(second)}"


def _trained_share(tuned: Tuned) -> str:
    """Means: embeddings of words that do not occur are not trained, and which do depends on the seed."""
    some, whole = (_mean(tuned, name) for name in ("n_trained", "n_parameters"))
    return f"{amount(some)} of {amount(whole)}" if math.isfinite(some + whole) else NOTHING


def _mean(tuned: Tuned, name: str) -> float:
    return sum(value(fit, name) for fit in tuned.fits) / len(tuned.fits)


def _layout(tuned: Tuned) -> str:
    """Packed, or padded and why."""
    found = [fit for fit in tuned.fits if isinstance(fit.get("packed"), bool)]
    ways = unique("packed" if fit["packed"] else f"padded: {clean(fit.get('why_padded'))}" for fit in found)
    return "; ".join(ways) or NOTHING


def _took(tuned: Tuned) -> str:
    threads = ", ".join(plural(int(n), "thread") for n in _values(tuned, "threads") if n.isdigit())
    return ", ".join(one for one in (_of("seconds", lambda s: number(s, 1))(tuned), threads) if one)


def _undertrained(fits: Sequence[Fit]) -> str:
    n = sum(bool(fit.get("undertrained")) for fit in fits)
    return el("span", f"{n} of {plural(len(fits), 'seed')}", class_="ov-flag") if n else "no"


def _where(tuned: Tuned) -> str:
    return " on ".join(one for one in (_said("precision")(tuned), _said("device")(tuned)) if one != NOTHING) or NOTHING


SETTINGS: tuple[tuple[str, Callable[[Tuned], str]], ...] = (
    ("trained by", _said("train")),
    ("learning rate", _rates),
    ("updates", lambda tuned: _and(tuned, "updates", "in {} epochs", "epochs")),
    ("batch", lambda tuned: _and(tuned, "batch_size", "of {} rows", "n_rows")),
    ("schedule", _schedule),
    ("kept at update", _stopped),
    ("agreement there", _of("agreement", number)),
    ("undertrained", lambda tuned: _undertrained(tuned.fits)),
    ("trained weights", _trained_share),
    ("precision", _where),
    ("texts", _layout),
    ("seconds", _took),
)
