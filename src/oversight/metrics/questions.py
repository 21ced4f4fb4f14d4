"""Numbers of many questions about one world, pooled: the question is the unit, and what varies.

Every question is a task of its own with the same rows' worth of people; its scores are means over seeds and test rows.
The mean over questions has the variance of the questions' scores, which holds all that varies within each: test rows,
seeds and the pool among them, as far as they differ between questions. World and relations are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oversight.errors import InputError
from oversight.metrics.checks import Floats
from oversight.metrics.contrasts import Combined
from oversight.metrics.intervals import Estimate, Moments, Sample, linear_interval, squared_widths
from oversight.metrics.limits import UNBOUNDED, Limits, between, clipped
from oversight.metrics.pgr import CEILING, CONTRASTS, GAIN, GAP, STUDENT, WEAK, Recovered, fieller_estimate
from oversight.metrics.pool import QUESTIONS

FEWEST_QUESTIONS = 8
FEW_QUESTIONS = f"fewer than {FEWEST_QUESTIONS} questions: no pooled interval"


def question_moments(scores: Floats, *, samples: Sequence[Sample]) -> Moments:
    """Means of r roles over Q questions, with the variance cov / Q and Q - 1 degrees of freedom.

    Args:
        scores: (Q, r), one mean over seeds and test rows for each.
        samples: of every question; the pooled sample counts all test rows, the questions as its groups, the fewest
            seeds, and the fewest effective groups of any question.

    Raises:
        InputError: another shape, or as many samples.
    """
    if scores.ndim != 2 or len(scores) != len(samples) or not len(scores):
        raise InputError(f"questions: found scores {scores.shape} and {len(samples)} samples, expected (Q, r) and Q")
    q, r = scores.shape
    variance = np.cov(scores, rowvar=False, ddof=1).reshape(r, r) / q if q > 1 else np.full((r, r), np.nan)
    none = np.zeros((r, r))
    sample = Sample(
        sum(one.n for one in samples),
        q,
        min(one.n_seeds for one in samples),
        min(one.n_effective for one in samples),
        float(q - 1),
        scope=QUESTIONS,
    )
    return Moments(scores.mean(axis=0), variance, variance, none, none, sample)


def over_questions(scores: Floats, *, samples: Sequence[Sample], limits: Limits = UNBOUNDED) -> Recovered:
    """Scores, gap, gain and PGR (ratio of the means, by Fieller with t(Q - 1)) of the roles weak, student, ceiling.

    Args:
        scores: (Q, 3), more is better.
        samples: of every question.
        limits: of the scores.

    Raises:
        InputError: see `question_moments`.
    """
    m = question_moments(scores, samples=samples)
    apart = between(limits)
    parts = [mean_over_questions(m, a, limits=limits) for a in (WEAK, STUDENT, CEILING)]
    parts += [mean_over_questions(m, a, limits=apart) for a in (GAP, GAIN)]
    if len(scores) < FEWEST_QUESTIONS:
        return Recovered(*parts, pgr=m.sample.undefined(FEW_QUESTIONS), moments=m)
    return Recovered(*parts, pgr=fieller_estimate(CONTRASTS @ m.p, squared_widths(m), m.sample), moments=m)


def mean_over_questions(m: Moments, contrast: Sequence[float] | Floats, *, limits: Limits = UNBOUNDED) -> Estimate:
    """contrast . p with t(Q - 1), cut off at what is possible; no interval below FEWEST_QUESTIONS."""
    if m.n_groups < FEWEST_QUESTIONS:
        value = float(np.asarray(contrast, dtype=np.float64) @ m.p)
        return m.sample.estimate(value, np.nan, np.nan, FEW_QUESTIONS)
    found = linear_interval(m, contrast)
    return m.sample.estimate(found.value, *clipped(found.low, found.high, limits))


def combined_questions(scores: Floats, *, samples: Sequence[Sample], limits: Limits = UNBOUNDED) -> Combined:
    """The same for comparisons: `contrasts.difference`, `pairwise` and `pooled_pgr` of r roles over Q questions."""
    m = question_moments(scores, samples=samples)
    return Combined(
        total=m,
        row_variance=m.V_rows[None],
        row_df=np.array([m.sample.row_df]),
        seed_variance=m.V_seed[None],
        seed_df=np.array([m.sample.row_df]),
        limits=limits,
        reason=FEW_QUESTIONS if len(scores) < FEWEST_QUESTIONS else None,
    )
