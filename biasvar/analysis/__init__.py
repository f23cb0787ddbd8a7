"""The mathematics of biasvar: arrays in, arrays out, for NumPy arrays and torch tensors on any device."""

from biasvar.analysis.decomposition.accumulator import Accumulator
from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.decomposition.chunks import decompose_chunks, join_rows
from biasvar.analysis.decomposition.crossing import crossed_total
from biasvar.analysis.decomposition.diversity import Diversity, ensemble_diversity
from biasvar.analysis.decomposition.groups import decompose_groups
from biasvar.analysis.decomposition.linear_network import LinearNetworkTerms, linear_network_terms
from biasvar.analysis.decomposition.result import Change, Decomposition, paired_change
from biasvar.analysis.decomposition.totals import Estimate, Totals
from biasvar.analysis.decomposition.whole_array import decompose
from biasvar.analysis.indicators.accumulator import IndicatorAccumulator, measure_indicators
from biasvar.analysis.indicators.functions import ambiguity, effectiveness, unreliability
from biasvar.analysis.indicators.guarantee import Guarantee
from biasvar.analysis.indicators.learnability import (
    Learnability,
    additive_noise_indicators,
    average_error,
    learnability,
    learnability_exponent,
    samples_sufficient,
)
from biasvar.analysis.indicators.result import Indicator, Indicators
from biasvar.analysis.indicators.student_condition import StudentCondition, student_condition
from biasvar.analysis.selection.choice import select_rows
from biasvar.analysis.selection.scores import SCORES, Evidence
from biasvar.analysis.selection.softmax_head import SoftmaxHead
from biasvar.analysis.soft_labels.annotators import count_votes
from biasvar.analysis.soft_labels.random import PartialLabels, add_noise, partial_labels, random_soft_labels
from biasvar.analysis.soft_labels.revision import revise_labels
from biasvar.analysis.soft_labels.top_k import from_top_k
from biasvar.analysis.soft_labels.top_k_teacher import TopK
from biasvar.analysis.soft_labels.transforms import from_votes, project_to_simplex, smooth_labels, tempered
from biasvar.analysis.soft_labels.virtual_teacher import virtual_teacher
from biasvar.analysis.statistics.calibration import LabelQuality, calibration_error, label_quality, reliability_table
from biasvar.analysis.statistics.calibration_interval import calibration_interval
from biasvar.analysis.statistics.comparison import (
    auc_interval,
    jackknife_interval,
    mean_interval,
    paired_mean_difference,
    rank_correlation,
    replicas_needed,
    roc_auc,
)
from biasvar.analysis.statistics.crossed import Component, Crossed, combined, crossed_mean
from biasvar.analysis.statistics.intervals import Interval, interval_from
from biasvar.analysis.statistics.plan import Plan, plan
from biasvar.analysis.statistics.verdicts import Verdict, decision_p_value, holm_levels, judge
from biasvar.analysis.tokens import token_ids
from biasvar.analysis.tradeoff import TradeoffTerms, regularization_samples, tradeoff_terms, wsl_weights

__all__ = [
    "SCORES",
    "Accumulator",
    "Bregman",
    "Change",
    "Component",
    "Crossed",
    "Decomposition",
    "Diversity",
    "Estimate",
    "Evidence",
    "Guarantee",
    "Indicator",
    "IndicatorAccumulator",
    "Indicators",
    "Interval",
    "LabelQuality",
    "Learnability",
    "LinearNetworkTerms",
    "PartialLabels",
    "Plan",
    "SoftmaxHead",
    "StudentCondition",
    "TopK",
    "Totals",
    "TradeoffTerms",
    "Verdict",
    "add_noise",
    "additive_noise_indicators",
    "ambiguity",
    "auc_interval",
    "average_error",
    "calibration_error",
    "calibration_interval",
    "combined",
    "count_votes",
    "crossed_mean",
    "crossed_total",
    "decision_p_value",
    "decompose",
    "decompose_chunks",
    "decompose_groups",
    "effectiveness",
    "ensemble_diversity",
    "from_top_k",
    "from_votes",
    "holm_levels",
    "interval_from",
    "jackknife_interval",
    "join_rows",
    "judge",
    "label_quality",
    "learnability",
    "learnability_exponent",
    "linear_network_terms",
    "mean_interval",
    "measure_indicators",
    "paired_change",
    "paired_mean_difference",
    "partial_labels",
    "plan",
    "project_to_simplex",
    "random_soft_labels",
    "rank_correlation",
    "regularization_samples",
    "reliability_table",
    "replicas_needed",
    "revise_labels",
    "roc_auc",
    "samples_sufficient",
    "select_rows",
    "smooth_labels",
    "student_condition",
    "tempered",
    "token_ids",
    "tradeoff_terms",
    "unreliability",
    "virtual_teacher",
    "wsl_weights",
]
