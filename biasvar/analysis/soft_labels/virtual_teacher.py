"""The virtual teacher of Tf-KD_reg (Yuan et al. 2020): always right, and the same for all samples of a class."""

from __future__ import annotations

import math
from typing import Any, Literal

import array_api_compat

from biasvar.analysis.arrays import Array, namespace
from biasvar.analysis.inputs import as_array, as_labels
from biasvar.arguments import checked
from biasvar.messages import did_you_mean

VARIANTS = ("paper", "code")
"""What the paper writes, and what the code released with it computes."""


@checked
def virtual_teacher(
    labels: Any, num_classes: int, *, temperature: float, correct: float = 0.99, variant: Literal["paper", "code"]
) -> Array:
    """Soft labels of the virtual teacher at a temperature, float64 `(N, K)` (Yuan et al. 2020, equations 8 and 9).

    With d_k = correct for the true class and (1 - correct) / (K - 1) for any other:

        paper   d_k^(1 / temperature) / sum_j d_j^(1 / temperature)
        code    softmax(d / temperature)_k, of the probabilities and not of their logarithms

    The code's is uniform to within a few percent at any temperature of 1 or more, and so label smoothing.

    Args:
        labels: `(N,)` class numbers.
        num_classes: K, at least 2.
        temperature: above 0; the paper takes 20 or more.
        correct: the probability of the true class before the temperature, from 1 / K to 1; the paper takes 0.9 or more,
            its code 0.99.
        variant: "paper" or "code".

    Raises:
        ValueError: for labels or another argument out of range.

    >>> virtual_teacher([1], 3, temperature=20.0, variant="paper").round(4).tolist()
    [[0.3028, 0.3944, 0.3028]]
    >>> virtual_teacher([1], 3, temperature=20.0, variant="code").round(4).tolist()
    [[0.3278, 0.3444, 0.3278]]
    """
    check_variant(variant)
    if not 2 <= num_classes <= 10**9:
        raise ValueError(f"num_classes must be at least 2 and at most 10^9, got {num_classes}")
    log_true, log_other = virtual_log_probabilities(
        num_classes, temperature=temperature, correct=correct, variant=variant
    )
    labels = as_array(labels, "labels")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {tuple(labels.shape)}")
    labels = as_labels(labels, labels, tuple(labels.shape), num_classes)
    xp = namespace(labels)
    classes = xp.arange(num_classes, device=array_api_compat.device(labels))
    one_hot = xp.astype(classes == labels[:, None], xp.float64)
    return math.exp(log_true) * one_hot + math.exp(log_other) * (1.0 - one_hot)


def virtual_log_probabilities(
    num_classes: int, *, temperature: float, correct: float, variant: str
) -> tuple[float, float]:
    """ln of the virtual teacher's probability of the true class, and of any other; -inf for a probability of 0.

    With r = ln of the other's probability over the true one's, 1 / (1 + (K - 1) e^r) is the true class's.

    Raises:
        ValueError: for a temperature that is not positive, or `correct` below 1 / K or above 1.

    >>> virtual_log_probabilities(2, temperature=1.0, correct=0.5, variant="paper")
    (-0.6931471805599453, -0.6931471805599453)
    """
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")
    check_correct(correct, num_classes)
    other = (1.0 - correct) / (num_classes - 1)
    if variant == "code":
        ratio = min((other - correct) / temperature, 0.0)
    else:
        ratio = min((math.log(other) - math.log(correct)) / temperature, 0.0) if other else -math.inf
    log_true = -math.log1p((num_classes - 1) * math.exp(ratio))
    return log_true, log_true + ratio


def check_correct(correct: float, num_classes: int, name: str = "correct") -> None:
    """Raise a ValueError unless the true class has at least the 1 / K of each class by chance, and at most 1."""
    if not 1 / num_classes <= correct <= 1:
        raise ValueError(
            f"{name} must be at least 1/{num_classes} with {num_classes} classes, so that the virtual teacher is "
            f"right, and at most 1, not {correct:g}"
        )


def check_variant(variant: str) -> None:
    """Raise a ValueError unless the variant is one of `VARIANTS`."""
    if variant not in VARIANTS:
        near = did_you_mean(variant, VARIANTS)
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}{near}")
