"""The words and the short forms of the report, as its page explains them."""

from __future__ import annotations

import re
from collections.abc import Iterable

GLOSSARY = (
    ("arm", "One way of training: a loss, a teacher and their settings. Arms are what the figures compare."),
    (
        "replica",
        "One training of an arm, with rows (its draw), initial weights and batch order of its own; their spread is the "
        "variance. Where arms share draws, replica r has the same ones in every arm.",
    ),
    (
        "bias",
        "How far the replicas' mean prediction is from the truth: −log p̄ of the true class, where p̄ is proportional "
        "to the geometric mean of their probabilities. In nats.",
    ),
    (
        "variance",
        "How far the replicas scatter about that mean prediction: their mean KL divergence from it. In nats. Bias and "
        "variance add up to the mean cross-entropy loss.",
    ),
    (
        "teacher's regime",
        "On whose rows a teacher was trained: all training rows, rows that no student draws (a disjoint teacher), or "
        "those of the one replica that it teaches (its own teacher). Results about bias and variance differ by it.",
    ),
    (
        "regularization sample",
        "A training sample of whose true class the student is surer than its teacher, so that the soft label turns "
        "the label's pull round: b > |a|, the variance and the bias gradient at the true class. The flag marks these.",
    ),
    (
        "interval",
        "Bars and bands are 95 % intervals of a mean, ± is one standard error; a caption says over what: replicas, "
        "test rows, or teachers. Of bias and variance by the jackknife: computed anew without each replica in turn.",
    ),
    (
        "verdict",
        "A claim holds where the whole interval lies beyond the smallest effect of interest, does not hold where it "
        "lies short of it, and is undecided otherwise, or where it lacks what its own rule asks for.",
    ),
)
"""Eight words that no figure is read without."""

SHORT = {
    "bias": "how far the mean prediction is from the truth",
    "variance": "how far the replicas scatter about it",
    "replica": "one training on rows of its own draw",
    "CE": "cross-entropy",
    "LS": "label smoothing",
    "KD": "knowledge distillation",
    "WSL": "weighted soft labels",
    "Tf-KD": "teacher-free distillation",
    "ProKT": "progressive knowledge teaching",
    "DFA": "differentiable feature aggregation",
    "InfoDrop": "informative dropout",
    "τ": "temperature",
    "α": "weight of the soft labels",
    "reg.": "regularization samples",
    "NLL": "negative log-likelihood",
    "ECE": "expected calibration error",
    "AUC": "area under the ROC curve",
    "Δ": "unreliability",
    "γ": "ambiguity",
}


def key(texts: Iterable[str]) -> list[tuple[str, str]]:
    """The short forms that occur in the texts, with their meanings.

    >>> key(["KD τ 4", "ARCED"])
    [('KD', 'knowledge distillation'), ('τ', 'temperature')]
    """
    said = "\n".join(texts)
    return [(short, long) for short, long in SHORT.items() if re.search(rf"(?<![\w-]){re.escape(short)}(?!\w)", said)]
