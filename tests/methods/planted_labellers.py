"""Supervisors of planted worlds that several files use: how each is wrong, as a function of features and classes."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from oversight.tasks.task import Floats, Ints
from oversight.testing import Labeller


def says(named: Ints, sure: Floats | float = 0.95) -> Floats:
    """(n, 2): so sure of the class named."""
    p = np.where(named == 1, sure, 1 - np.asarray(sure))
    return np.stack([1 - p, p], axis=1)


def misled(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """Class 1 wherever a direction that says nothing of the class is high."""
    del rng
    return says(np.where(x[:, -1] > 0.5, 1, truth))


def outliers(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """Wrong and sure of it on the rows far from the boundary, where a convex loss is moved most."""
    del rng
    return says(np.where(np.abs(x[:, 0]) > 1.6, 1 - truth, truth))


def biased(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """Says class 1 of three rows in four, whatever they are."""
    del x
    return says(np.where(rng.random(len(truth)) < 0.75, 1, truth), 0.9)


def copied(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
    """A linear function of what the student sees, with a direction that says nothing of the class."""
    del truth, rng
    p = expit(2.0 * (x[:, 0] + 1.0 * x[:, 1]))
    return np.stack([1 - p, p], axis=1)


def guesses(share: float) -> Labeller:
    """Right, but where a direction without meaning is high it names class 1 by the toss of a coin."""

    def label(x: Floats, truth: Ints, rng: np.random.Generator) -> Floats:
        named = np.where(x[:, -1] > 0.2, rng.random(len(truth)) < share, truth).astype(int)
        return np.eye(2)[named]

    return label
