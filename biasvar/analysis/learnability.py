"""What unreliability and ambiguity say about learning: an exponent, and a number of samples that suffices.

After Liu and Dietterich 2014 for delta = 0. The theorem of Yuan et al. 2023 (delta + gamma < 1 with unnamed further
conditions) was not at hand; what is here for delta > 0 is derived and is not the paper's formula.
"""

from __future__ import annotations

import math


def learnability_exponent(delta: float, gamma: float) -> float:
    """kappa = (sqrt(1 - max(delta, gamma)) - sqrt(min(delta, gamma)))^2 if delta + gamma < 1, else 0.

    A hypothesis with error eps beats the truth on n samples, in the count of sets missed, with probability at most
    (1 - eps kappa)^n; n >= (ln |H| + ln(1 / risk)) / (kappa eps) samples are then enough for a finite class H. Derived
    here, not taken from the paper, for sets drawn independently given x with delta and gamma bounding the probabilities
    at *every* x; averages over classes, which is what data give, are necessary for that and not sufficient.

    >>> round(learnability_exponent(0.1, 0.3), 3)
    0.271
    """
    for name, value in (("delta", delta), ("gamma", gamma)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}")
    if delta + gamma >= 1.0:
        return 0.0
    return (math.sqrt(1.0 - max(delta, gamma)) - math.sqrt(min(delta, gamma))) ** 2


def samples_sufficient(
    delta: float, gamma: float, *, dimension: int, num_classes: int, error: float, risk: float
) -> float:
    """Samples after which the learner that misses fewest sets errs on less than `error`, with probability 1 - risk.

    Infinite where delta + gamma >= 1. The bound is
    n0 = 4 / (theta eps) (d [ln(4 d) + 2 ln L + ln(1 / (theta eps))] + ln(1 / risk) + 1), theta = ln(2 / (2 - kappa)),
    with Natarajan dimension d and L classes: Liu and Dietterich's (2014) bound, whose theta at delta = 0 is ln(2 / (1 +
    gamma)), carried to delta > 0 by the derivation of `learnability_exponent` and under its assumptions. An upper bound
    far above what practice needs.

    >>> round(samples_sufficient(0.0, 0.1, dimension=10, num_classes=10, error=0.1, risk=0.05))
    7702
    """
    kappa = learnability_exponent(delta, gamma)
    if dimension < 1 or num_classes < 2 or not 0.0 < error < 1.0 or not 0.0 < risk < 1.0:
        raise ValueError(
            "samples_sufficient needs dimension >= 1, num_classes >= 2, and error and risk between 0 and 1, got"
            f" {dimension}, {num_classes}, {error}, {risk}"
        )
    if kappa == 0.0:
        return math.inf
    rate = math.log(2.0 / (2.0 - kappa)) * error
    capacity = dimension * (math.log(4.0 * dimension) + 2.0 * math.log(num_classes) - math.log(rate))
    return 4.0 / rate * (capacity - math.log(risk) + 1.0)
