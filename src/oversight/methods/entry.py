"""What the table of methods says of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oversight.methods.method import Method, Needs, OracleMethod, WithLoss
from oversight.models.student import Loss

LABELS, FEATURES, SEVERAL, SIZES = "labels only", "features", "several supervisors", "several student sizes"
ALWAYS = Needs()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method that has a name.

    Attributes:
        make: builds it from its settings; called without any it gives the documented defaults.
        about: one line, without the paper.
        paper: first author, year, arXiv number and the place in it, or `this project`.
        family: under which heading it is listed.
        trials: settings that are tried where methods are tuned, the defaults first; every method gets as many trials as
            the shortest table among those compared allows, so each offers three or more unless it has no settings.
    """

    make: Callable[..., Method | OracleMethod]
    about: str
    paper: str
    family: str
    trials: tuple[Mapping[str, Any], ...] = ({},)

    def __call__(self, **settings: Any) -> Method | OracleMethod:
        """The method under these settings."""
        return self.make(**settings)

    @property
    def needs(self) -> Needs:
        """What it asks for, under its defaults."""
        return self.make().needs

    @property
    def asks(self) -> str:
        """What it asks for, in words."""
        needs = self.needs
        found = [SEVERAL] * (needs.supervisors[0] > 1) + [SIZES] * bool(needs.students or needs.missing)
        found += [FEATURES] * needs.features + ["generation"] * needs.generation
        return ", ".join(found) or LABELS

    @property
    def tracks(self) -> tuple[str, ...]:
        """Ways of training that it runs on."""
        return self.needs.trains or TRACKS


TRACKS = ("probe", "full", "lora", "lp-ft")


def of_loss(loss: Callable[..., Loss]) -> Callable[..., Method]:
    """Builds `WithLoss` from the settings of a loss class; they keep their names and defaults."""

    def make(**settings: Any) -> Method:
        return WithLoss(loss(**settings))

    make.__signature__ = inspect.signature(loss)  # pyright: ignore[reportFunctionMemberAccess]
    make.__name__ = getattr(loss, "__name__", "loss")
    return make
