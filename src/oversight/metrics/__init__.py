"""What came out: scores, calibration, agreement, PGR, intervals, and power. Needs numpy and scipy.special only."""

from __future__ import annotations

from oversight.metrics.agreement import Agreement, agreement
from oversight.metrics.intervals import (
    Estimate,
    Moments,
    Sample,
    linear_interval,
    moments,
    moments_from_covariance,
    squared_widths,
)
from oversight.metrics.misfit import (
    NEGATIVE_ENTROPY,
    SQUARED,
    Bound,
    Generator,
    bregman_rows,
    kl_bound,
    kl_divergence,
    kl_misfit,
    kl_rows,
    squared_bound,
    squared_misfit,
    squared_rows,
)
from oversight.metrics.overlap import Overlap, change_point, confidence, overlap
from oversight.metrics.percentiles import bootstrap_interval
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
    nll,
    oriented,
    values_per_seed,
)
from oversight.metrics.similarity import capa, error_consistency
from oversight.metrics.theory import ASSUMPTIONS, Theory, theory

__all__ = [
    "ASSUMPTIONS",
    "METRICS",
    "NEGATIVE_ENTROPY",
    "SQUARED",
    "Agreement",
    "Bound",
    "Estimate",
    "Generator",
    "Metric",
    "Moments",
    "Overlap",
    "Power",
    "Recovered",
    "Sample",
    "Theory",
    "accuracy",
    "across_tasks",
    "agreement",
    "auroc",
    "balanced_accuracy",
    "bootstrap_interval",
    "bregman_rows",
    "brier",
    "capa",
    "change_point",
    "confidence",
    "ece",
    "error_consistency",
    "fieller",
    "kl_bound",
    "kl_divergence",
    "kl_misfit",
    "kl_rows",
    "linear_interval",
    "moments",
    "moments_from_covariance",
    "nll",
    "oriented",
    "overlap",
    "pgr",
    "pooled",
    "power",
    "recovered",
    "recovered_from_replicates",
    "replicates",
    "squared_bound",
    "squared_misfit",
    "squared_rows",
    "squared_widths",
    "theory",
    "values_per_seed",
]
