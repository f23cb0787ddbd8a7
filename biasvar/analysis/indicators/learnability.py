"""What unreliability Delta and ambiguity gamma say about learning: a condition, what it carries over, how many samples.

Setting. y = h*(x) with h* in H; given x, a set of labels is drawn for every sample, independently of the others; the
learner is the h in H that misses fewest sets, (1/n) sum 1[h(x_i) not in set_i]. *Pointwise*: at every x, Pr(y not in
the set | x) <= Delta and Pr(j in the set | x) <= gamma for every j != y.

Sources. Liu and Dietterich 2014 for Delta = 0 (from memory, proof re-derived). Yuan et al. 2023 state the condition
Delta + gamma < 1 with further conditions, and a bound in the Natarajan dimension; their text was not at hand, their
constants and further conditions are not known. All for Delta > 0 here is **derived, not the paper's**, and every
docstring says so.

What data give is weaker than pointwise. If sets depend on x through its class alone, class-wise Delta_c and gamma_c are
the pointwise ones, and arrays of them may be passed everywhere; otherwise they are necessary for the condition, not
sufficient. With Delta an average over x, Delta + gamma < 1 gives no consistency, only `average_error`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.equality import EqualByNumbers
from biasvar.analysis.statistics.checks import as_real
from biasvar.arguments import checked


@dataclass(frozen=True, eq=False)
class Learnability(EqualByNumbers):
    """What Delta and gamma say; made by `learnability`, which states the formulas.

    Attributes:
        delta, gamma: as given; the largest of each if given by class.
        sum: Delta + gamma, of the worst class if given by class.
        holds: sum < 1.
        failing: numbers of the classes whose sum is 1 or more, the largest sum first; 0 where one number was given.
        transfer: 1 / (1 - sum), inf if the condition fails.
        kappa, kappa_independent: exponents, worst case, and where truth and rivals enter the set independently.
        rate, rate_independent: theta = ln(2 / (2 - kappa)) of the Natarajan bound.
        oracle_rate: theta of a learner that is told which sets hold the truth and leaves out the others.
        average_error: largest error of the population minimiser if Delta is an average over x; see the function
            `average_error`. Of arrays by class it goes by the largest Delta_c, of an `Indicator` by its overall value.
        samples, samples_independent: that suffice, inf if the condition fails, None if not asked for.

    >>> learnability([0.1, 0.7], [0.3, 0.4]).failing  # class by class
    (1,)
    """

    delta: float
    gamma: float
    sum: float
    holds: bool
    failing: tuple[int, ...]
    transfer: float
    kappa: float
    kappa_independent: float
    rate: float
    rate_independent: float
    oracle_rate: float
    average_error: float
    samples: float | None
    samples_independent: float | None


@checked
def learnability(
    delta: Any,
    gamma: Any,
    *,
    error: float | None = None,
    risk: float = 0.05,
    hypotheses: float | None = None,
    dimension: int | None = None,
    num_classes: int | None = None,
) -> Learnability:
    """The learnability condition Delta + gamma < 1 and what follows from it.

    - condition: the paper's, as reported; *pointwise* it makes h* the only minimiser of the expected number of missed
      sets (derived). It is sufficient, not necessary: necessary and sufficient is argmax_j Pr(j in the set | x) = y.
    - transfer (derived): Err(h) <= (R(h) - R(h*)) / (1 - Delta - gamma), R the probability that h misses the set.
    - kappa: see `learnability_exponent`; samples: see `samples_sufficient`.
    - average_error: see the function of that name.
    - oracle_rate (derived; a guess at the paper's form): ln(2 (1 - Delta) / (1 - Delta + gamma)) with n0 / (1 - Delta)
      samples, for a learner that knows which samples to leave out. No ordinary learner does.

    Args:
        delta, gamma: numbers in [0, 1] that bound every input, `(K,)` arrays of both by class, or an `Indicator` of
            each, of which the values by class are taken: its overall Delta may hide a class that fails. To be safe
            against chance pass upper ends of intervals, as `Indicators.guarantee` does.
        error: eps, the error to be reached, in (0, 1); asks for samples. risk: the probability of failing, in (0, 1).
        hypotheses: |H| of a finite class; or dimension: Natarajan's, with num_classes.

    Raises:
        ValueError: for values out of range, the marginal ambiguity, or `error` without a class of hypotheses.

    >>> found = learnability(0.1, 0.3)
    >>> found.holds, round(found.transfer, 3), round(found.kappa, 3), round(found.kappa_independent, 3)
    (True, 1.667, 0.271, 0.385)
    """
    d, g = _both(delta, gamma)
    largest = float((d + g).max())
    holds = largest < 1.0
    worst, free = learnability_exponent(d, g), learnability_exponent(d, g, independent=True)
    top_d, top_g = float(d.max()), float(g.max())

    def samples(independent: bool) -> float | None:
        if error is None:
            return None
        return samples_sufficient(
            d,
            g,
            error=error,
            risk=risk,
            hypotheses=hypotheses,
            dimension=dimension,
            num_classes=num_classes,
            independent=independent,
        )

    return Learnability(
        delta=top_d,
        gamma=top_g,
        sum=largest,
        holds=holds,
        failing=tuple(int(c) for c in np.argsort(-(d + g), kind="stable") if d[c] + g[c] >= 1.0),
        transfer=1.0 / (1.0 - largest) if holds else math.inf,
        kappa=worst,
        kappa_independent=free,
        rate=natarajan_rate(worst),
        rate_independent=natarajan_rate(free),
        oracle_rate=math.log(2.0 * (1.0 - top_d) / (1.0 - top_d + top_g)) if top_d + top_g < 1.0 else 0.0,
        average_error=average_error(delta.value if hasattr(delta, "per_class") else top_d, top_g),
        samples=samples(False),
        samples_independent=samples(True),
    )


@checked
def average_error(delta: float, gamma: float) -> float:
    """Delta / (1 - gamma), at most 1: the largest error of the population minimiser where Delta is only an average.

    With gamma a bound at every x but Delta an average over x, the minimiser of R, the probability to miss the set, has
    Err <= Delta / (1 - gamma), and this is sharp: consistency is lost. Where the truth is missed with probability just
    above 1 - gamma on a region of mass Delta / (1 - gamma) and never elsewhere, the minimiser is wrong on the whole
    region. Derived, not the paper's.

    Raises:
        ValueError: for values outside [0, 1].

    >>> round(average_error(0.12, 0.6), 3)
    0.3
    """
    (d,), (g,) = _both(delta, gamma)
    return min(float(d) / (1.0 - float(g)), 1.0) if g < 1.0 else 1.0


@checked
def learnability_exponent(delta: Any, gamma: Any, *, independent: bool = False) -> float:
    """kappa = (sqrt(b) - sqrt(a))^2, the rate at which the truth outruns an error; 0 unless Delta + gamma < 1.

    A hypothesis that errs on a share eps misses no more sets of n than the truth does with probability at most (1 - eps
    kappa)^n. Where it errs, a bounds the probability that its label is in the set and the truth is not, and b is that
    of the reverse, b - a = 1 - Delta - gamma.

    - worst case: a = min(Delta, gamma), so b = 1 - max(Delta, gamma).
    - independent: truth and rival enter independently of each other, a = Delta gamma, b = (1 - Delta)(1 - gamma);
      larger.

    At Delta = 0 both are 1 - gamma, as in Liu and Dietterich. Derived, not the paper's; pointwise Delta and gamma, sets
    independent between samples. Arrays by class: a is the largest of the classes' and b - a the least, since the bound
    rises with a and falls with b - a, so that one tilt serves all classes.

    >>> round(learnability_exponent(0.1, 0.3), 3), round(learnability_exponent(0.1, 0.3, independent=True), 3)
    (0.271, 0.385)
    """
    d, g = _both(delta, gamma)
    gap = 1.0 - float((d + g).max())
    if gap <= 0.0:
        return 0.0
    a = float((d * g if independent else np.minimum(d, g)).max())
    return (math.sqrt(a + gap) - math.sqrt(a)) ** 2


def natarajan_rate(kappa: float) -> float:
    """theta = ln(2 / (2 - kappa)), which at Delta = 0 is Liu and Dietterich's ln(2 / (1 + gamma)); derived otherwise.

    >>> round(natarajan_rate(0.9), 3)
    0.598
    """
    return math.log(2.0 / (2.0 - kappa))


@checked
def samples_sufficient(
    delta: Any,
    gamma: Any,
    *,
    error: float,
    risk: float,
    hypotheses: float | None = None,
    dimension: int | None = None,
    num_classes: int | None = None,
    independent: bool = False,
) -> float:
    """Samples after which the learner that misses fewest sets errs on less than `error`, with probability 1 - risk.

    Infinite where Delta + gamma >= 1. With kappa from `learnability_exponent`, eps the error:

    - finite class of `hypotheses`: n = (ln |H| + ln(1 / risk)) / (kappa eps), the union bound over (1 - eps kappa)^n.
    - Natarajan `dimension` d and `num_classes` L: n = 4 / (theta eps) (d [ln(4 d) + 2 ln L + ln(1 / (theta eps))] +
      ln(1 / risk) + 1), theta = ln(2 / (2 - kappa)). At Delta = 0 Liu and Dietterich's (2014) bound; beyond, their
      proof carried over (derived, not the paper's). Far above what practice needs.

    >>> round(samples_sufficient(0.0, 0.1, dimension=10, num_classes=10, error=0.1, risk=0.05))
    7702
    >>> round(samples_sufficient(0.0, 0.1, hypotheses=1000, error=0.1, risk=0.05))
    110
    """
    kappa = learnability_exponent(delta, gamma, independent=independent)
    for name, value in (("error", error), ("risk", risk)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie between 0 and 1, both excluded, got {value}")
    if (hypotheses is None) == (dimension is None) or (dimension is None) != (num_classes is None):
        raise ValueError("name the class of hypotheses: either hypotheses=, or dimension= together with num_classes=")
    if hypotheses is not None:
        if not 1 <= hypotheses < math.inf:
            raise ValueError(f"hypotheses must be a finite number of at least 1, got {hypotheses}")
        return (math.log(hypotheses) - math.log(risk)) / (kappa * error) if kappa else math.inf
    if dimension is None or num_classes is None or dimension < 1 or num_classes < 2:
        raise ValueError(f"dimension must be at least 1 and num_classes at least 2, got {dimension} and {num_classes}")
    if not kappa:
        return math.inf
    rate = natarajan_rate(kappa) * error
    capacity = dimension * (math.log(4.0 * dimension) + 2.0 * math.log(num_classes) - math.log(rate))
    return 4.0 / rate * (capacity - math.log(risk) + 1.0)


@checked
def additive_noise_indicators(num_classes: int, k: int, scale: float) -> tuple[float, float]:
    """Delta and gamma of top-k sets of onehot(y) + scale * standard normal noise in every entry.

    Delta = E_u Pr(Bin(K - 1, Q(u + 1 / scale)) >= k), u standard normal, Q its upper tail: k or more wrong labels pass
    the truth; gamma = (k - 1 + Delta) / (K - 1), since wrong labels are exchangeable. Derived, not the paper's
    corollary, which was not at hand. Delta + gamma < 1 for every finite scale, but kappa falls to 0 as it grows.

    >>> [round(value, 3) for value in additive_noise_indicators(10, 3, 1.0)]
    [0.347, 0.261]
    """
    from scipy.special import bdtrc, ndtr

    if not 2 <= num_classes <= 10**9 or not 1 <= k <= num_classes or not 0.0 <= scale < math.inf:
        raise ValueError(
            "additive_noise_indicators needs num_classes >= 2 (and at most 10^9), k in 1 .. num_classes and a finite"
            f" scale from 0 up, got {num_classes}, {k}, {scale}"
        )
    delta = 0.0
    if scale > 0.0 and k < num_classes:
        u = np.linspace(-10.0, 10.0, 4001)  # the rectangle rule on a Gaussian integrand is exact to rounding here
        density = np.exp(-0.5 * u**2)
        tail = bdtrc(k - 1, num_classes - 1, ndtr(-(u + 1.0 / scale)))
        delta = float((density * tail).sum() / density.sum())
    return delta, (k - 1.0 + delta) / (num_classes - 1.0)


def _both(delta: Any, gamma: Any) -> tuple[np.ndarray, np.ndarray]:
    values = []
    for name, value in (("delta", delta), ("gamma", gamma)):
        if name == "gamma" and hasattr(value, "per_class") and not isinstance(value.worst, tuple):
            raise ValueError("gamma must be the ambiguity by true class (version='class'), not the marginal one")
        x = np.atleast_1d(as_real(getattr(value, "per_class", value), name, bools=False))
        if x.ndim != 1 or not x.size or not ((x >= 0.0) & (x <= 1.0)).all():
            gap = "; leave out classes without samples (NaN)" if np.isnan(x).any() else ""
            raise ValueError(f"{name} must lie between 0 and 1, one number or one for each class, got {value}{gap}")
        values.append(x)
    if hasattr(delta, "per_class") != hasattr(gamma, "per_class") and 1 in (values[0].size, values[1].size):
        values = list(np.broadcast_arrays(*values))  # a number beside an indicator holds for all classes
    if values[0].shape != values[1].shape:
        raise ValueError(f"delta and gamma by class must be as many, got {values[0].size} and {values[1].size}")
    return values[0], values[1]
