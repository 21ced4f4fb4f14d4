"""What came out: scores, calibration, agreement, PGR, intervals, and power. Needs numpy and scipy.special only."""

from __future__ import annotations

from oversight.metrics.agreement import Agreement, agreement
from oversight.metrics.intervals import (
    Estimate,
    Moments,
    Sample,
    bootstrap_interval,
    linear_interval,
    moments,
    moments_from_covariance,
    squared_widths,
)
from oversight.metrics.pgr import (
    Recovered,
    across_tasks,
    fieller,
    pgr,
    pooled,
    recovered,
    recovered_from_replicates,
)
from oversight.metrics.power import Power, power
from oversight.metrics.resampling import replicates
from oversight.metrics.scores import (
    METRICS,
    Metric,
    accuracy,
    auroc,
    balanced_accuracy,
    brier,
    ece,
    hard,
    nll,
    oriented,
    values_per_seed,
)

__all__ = [
    "METRICS",
    "Agreement",
    "Estimate",
    "Metric",
    "Moments",
    "Power",
    "Recovered",
    "Sample",
    "accuracy",
    "across_tasks",
    "agreement",
    "auroc",
    "balanced_accuracy",
    "bootstrap_interval",
    "brier",
    "ece",
    "fieller",
    "hard",
    "linear_interval",
    "moments",
    "moments_from_covariance",
    "nll",
    "oriented",
    "pgr",
    "pooled",
    "power",
    "recovered",
    "recovered_from_replicates",
    "replicates",
    "squared_widths",
    "values_per_seed",
]
