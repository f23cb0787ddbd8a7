"""The mathematics of biasvar: arrays in, arrays out, for NumPy arrays and torch tensors on any device."""

from biasvar.analysis.comparison import (
    Interval,
    Verdict,
    auc_interval,
    decision_p_value,
    holm_levels,
    interval_from,
    jackknife_interval,
    judge,
    mean_interval,
    paired_mean_difference,
    rank_correlation,
    replicas_needed,
    roc_auc,
)
from biasvar.analysis.decomposition import (
    Accumulator,
    Change,
    Decomposition,
    Estimate,
    Totals,
    decompose,
    decompose_groups,
    paired_change,
)
from biasvar.analysis.indicators import (
    Indicator,
    ambiguity,
    effectiveness,
    unreliability,
)
from biasvar.analysis.learnability import learnability_exponent, samples_sufficient
from biasvar.analysis.soft_labels import from_votes, smooth_labels, tempered
from biasvar.analysis.tradeoff import TradeoffTerms, regularization_samples, tradeoff_terms, wsl_weights

__all__ = [
    "Accumulator",
    "Change",
    "Decomposition",
    "Estimate",
    "Indicator",
    "Interval",
    "Totals",
    "TradeoffTerms",
    "Verdict",
    "ambiguity",
    "auc_interval",
    "decision_p_value",
    "decompose",
    "decompose_groups",
    "effectiveness",
    "from_votes",
    "holm_levels",
    "interval_from",
    "jackknife_interval",
    "judge",
    "learnability_exponent",
    "mean_interval",
    "paired_change",
    "paired_mean_difference",
    "rank_correlation",
    "regularization_samples",
    "replicas_needed",
    "roc_auc",
    "samples_sufficient",
    "smooth_labels",
    "tempered",
    "tradeoff_terms",
    "unreliability",
    "wsl_weights",
]
