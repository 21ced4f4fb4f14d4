"""Learning curves of fine-tuned roles: agreement with the validation labels, and training loss, against updates."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from oversight.reports.figures import Drawing, svg_of
from oversight.reports.fits import Fit, Training, Tuned, kept, value
from oversight.reports.palette import LIGHT, colour_of_role
from oversight.reports.panels import NAME_LIMIT, calm
from oversight.reports.words import clean, number, pair, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE_INCHES = (4.4, 3.0)
AGREEMENT, LOSS = "agreement", "loss"
AXIS = {AGREEMENT: "agreement (validation)", LOSS: "training loss (nats)"}
TITLE = {AGREEMENT: "Agreement with the validation labels", LOSS: "Training loss"}
DASHES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
ORDER = {"ceiling": 2, "weak": 3, "student": 4}


def as_curves(training: Training) -> tuple[Drawing, Drawing]:
    """Agreement and training loss of every fine-tuned role, one line per seed."""
    return _drawing(training, AGREEMENT), _drawing(training, LOSS)


def _drawing(training: Training, quantity: str) -> Drawing:
    title = f"{TITLE[quantity]} by number of updates"
    ends = "; ".join(_in_words(one, quantity) for one in training.roles)
    svg = svg_of(
        CURVE_INCHES,
        partial(_draw, training=training, quantity=quantity),
        label=f"{pair(training.study, '→')}. {title}: {ends}",
    )
    return Drawing(heading=pair(training.study, "→"), title=title, svg=svg)


def _in_words(tuned: Tuned, quantity: str) -> str:
    """What a line shows, for readers who do not see it."""
    name = f"{tuned.name} ({tuned.against})" if quantity == AGREEMENT else tuned.name
    first, last = (sorted(value(fit["curve"][at], quantity) for fit in tuned.fits) for at in (0, -1))
    seeds = plural(len(tuned.fits), "seed")
    return f"{name}, {seeds}, from {_between(first)} to {_between(last)}"


def _between(values: list[float]) -> str:
    low, high = number(values[0], 2), number(values[-1], 2)
    return low if low == high else f"{low} to {high}"


def _draw(figure: Figure, *, training: Training, quantity: str) -> None:
    axes = figure.subplots()
    calm(axes)
    for tuned in training.roles:
        for seed, fit in enumerate(tuned.fits):
            _line(axes, tuned, fit, quantity, named=seed == 0)
    axes.set_xlim(left=0)
    axes.set_xlabel("updates")
    axes.set_ylabel(AXIS[quantity])
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False, handlelength=1.8, columnspacing=1.2)


def _line(axes: Axes, tuned: Tuned, fit: Fit, quantity: str, *, named: bool) -> None:
    """One seed: a thin line, a dot where its weights were kept, a hollow triangle where it ended undertrained."""
    colour, order = colour_of_role(tuned.role), ORDER[tuned.role]
    name = clean(tuned.name, limit=NAME_LIMIT)
    label = f"{name}: {tuned.against}" if quantity == AGREEMENT else name
    axes.plot(
        [value(entry, "step") for entry in fit["curve"]],
        [value(entry, quantity) for entry in fit["curve"]],
        color=colour,
        linewidth=1.0,
        linestyle=DASHES[tuned.place % len(DASHES)] if tuned.role == "weak" else "-",
        zorder=order,
        label=label if named else None,
    )
    best, last = kept(fit), fit["curve"][-1]
    if best is not None:
        _mark(axes, best, quantity, color=colour, marker="o", markersize=4.5, zorder=order + 0.3)
    if quantity == LOSS and fit.get("undertrained"):
        mark: dict[str, Any] = {"markerfacecolor": LIGHT["bg"], "markersize": 6.5, "zorder": order + 0.2}
        _mark(axes, last, quantity, color=colour, marker="v", **mark)


def _mark(axes: Axes, entry: Fit, quantity: str, **look: Any) -> None:
    axes.plot([value(entry, "step")], [value(entry, quantity)], linestyle="none", clip_on=False, **look)
