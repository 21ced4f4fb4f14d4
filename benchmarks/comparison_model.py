"""The model of the comparison benchmark: right answers of students that share supervisor, split and most of their rows.

It is the one of `coverage.py` (rows A, rows x role B, rows x role x seed C, spread over seeds) with many students.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]
Halves = npt.NDArray[np.float32]
Rights = npt.NDArray[np.bool_]

MOST_SEEDS = 10
MOST_METHODS = 20
BOARD_LIKENESS = 0.5
BOARD_SEED_SD = 0.015
BOARD_ROWS = ((300, 1), (1000, 4), (1000, 1), (300, 4))
BOARD_ACCURACIES = (0.70, 0.72, 0.85, 0.80, 0.62)
BOARD_DIFFERENCES = (0.03, 0.0, 0.01, -0.02, 0.0)


def latents(rng: np.random.Generator, n: int, size: int, *, methods: int, like: float) -> Halves:
    """sqrt(.4) A + sqrt(.3) B + sqrt(.3) C of students (methods, MOST_SEEDS, n); half of every part is the group's.

    B = .6 B_supervisor + .8 (sqrt(like) B_shared + sqrt(1 - like) B_own), and so for C, drawn for every seed.
    """

    def normal(*shape: int) -> Halves:
        rows = rng.standard_normal((*shape, n), dtype=np.float32)
        if size == 1:
            return rows
        groups = rng.standard_normal((*shape, n // size), dtype=np.float32)
        return np.float32(math.sqrt(0.5)) * (rows + np.repeat(groups, size, axis=-1))

    weights = np.array([0.6, 0.8 * math.sqrt(like), 0.8 * math.sqrt(1 - like)], dtype=np.float32)

    def mixed(*shape: int) -> Halves:
        shared = weights[0] * normal(*shape) + weights[1] * normal(*shape)
        return shared + weights[2] * normal(methods, *shape)

    every_seed = np.float32(math.sqrt(0.4)) * normal() + np.float32(math.sqrt(0.3)) * mixed()
    return (every_seed[:, None, :] + np.float32(math.sqrt(0.3)) * mixed(MOST_SEEDS)).astype(np.float32, copy=False)


def seed_effects(rng: np.random.Generator, *, methods: int, like: float) -> Floats:
    """Standard normal (methods, MOST_SEEDS): correlated .5 with the supervisor's, .25 + .75 like with each other."""
    supervisor, shared = rng.standard_normal((2, MOST_SEEDS))
    own = rng.standard_normal((methods, MOST_SEEDS))
    return 0.5 * supervisor + math.sqrt(0.75) * (math.sqrt(like) * shared + math.sqrt(1 - like) * own)


def cuts(accuracy: Floats, seed_sd: Floats, effects: Floats) -> Floats:
    """What is added to the latent: a seed's expected accuracy is Phi of it, and its mean over seeds is `accuracy`."""
    x = ndtri(accuracy)
    tau = seed_sd * math.sqrt(2 * math.pi) * np.exp(x**2 / 2)
    return (x * np.sqrt(1 + tau**2))[:, None] + tau[:, None] * effects


def answers(z: Halves, cut: Floats) -> Rights:
    """Right answers (..., MOST_SEEDS, n)."""
    return z > -cut[..., None].astype(np.float32)


def group_sums(right: Rights, size: int) -> Halves:
    """Right answers per group (..., n / size)."""
    if size == 1:
        return right.astype(np.float32)
    shape = (*right.shape[:-1], right.shape[-1] // size, size)
    return right.reshape(shape).sum(axis=-1, dtype=np.float32)


def task_truth(k: int, *, differ: bool) -> Floats:
    """Expected accuracies (r,) on task k."""
    scale = (0.5, 1.0, 1.5)[k % 3] * differ
    deltas = np.array([0.0, *itertools.islice(itertools.cycle(BOARD_DIFFERENCES), MOST_METHODS)])
    return BOARD_ACCURACIES[k % len(BOARD_ACCURACIES)] + scale * deltas


def board_rows(k: int) -> tuple[int, int]:
    """Rows and group size of task k, those of its twin."""
    return BOARD_ROWS[(k // 2) % len(BOARD_ROWS)]


def twin_family(k: int) -> int:
    """Tasks (0, 1), (2, 3), ... (8, 9) are twins, those from 10 on are alone."""
    return k // 2 if k < 10 else k
