"""The mathematics of biasvar: arrays in, arrays out, for NumPy arrays and torch tensors on any device."""

from biasvar.analysis.calibration import LabelQuality, calibration_error, label_quality, reliability_table
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
from biasvar.analysis.indicators import ambiguity, effectiveness, unreliability
from biasvar.analysis.measured import Indicator, Indicators
from biasvar.analysis.random_labels import PartialLabels, add_noise, partial_labels, random_soft_labels
from biasvar.analysis.soft_labels import from_votes, project_to_simplex, smooth_labels, tempered
from biasvar.analysis.streaming import IndicatorAccumulator, measure_indicators
from biasvar.analysis.students import StudentCondition, student_condition
from biasvar.analysis.theory import (
    Learnability,
    additive_noise_indicators,
    learnability,
    learnability_exponent,
    samples_sufficient,
)
from biasvar.analysis.tradeoff import TradeoffTerms, regularization_samples, tradeoff_terms, wsl_weights

__all__ = [
    "Accumulator",
    "Change",
    "Decomposition",
    "Estimate",
    "Indicator",
    "IndicatorAccumulator",
    "Indicators",
    "Interval",
    "LabelQuality",
    "Learnability",
    "PartialLabels",
    "StudentCondition",
    "Totals",
    "TradeoffTerms",
    "Verdict",
    "add_noise",
    "additive_noise_indicators",
    "ambiguity",
    "auc_interval",
    "calibration_error",
    "decision_p_value",
    "decompose",
    "decompose_groups",
    "effectiveness",
    "from_votes",
    "holm_levels",
    "interval_from",
    "jackknife_interval",
    "judge",
    "label_quality",
    "learnability",
    "learnability_exponent",
    "mean_interval",
    "measure_indicators",
    "paired_change",
    "paired_mean_difference",
    "partial_labels",
    "project_to_simplex",
    "random_soft_labels",
    "rank_correlation",
    "regularization_samples",
    "reliability_table",
    "replicas_needed",
    "roc_auc",
    "samples_sufficient",
    "smooth_labels",
    "student_condition",
    "tempered",
    "tradeoff_terms",
    "unreliability",
    "wsl_weights",
]
