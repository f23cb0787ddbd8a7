"""Unreliability and ambiguity: how often the truth is not, and how often one wrong label is, in the top k.

After Yuan et al. 2023 ("Learning from biased soft labels"). The paper's full text was not at hand: unreliability is
known from a summary as one overall probability, the exact quantifier of ambiguity is not known, and what a finite data
set can estimate, the class-conditional version, is used. Unverified against the paper; see `learnability_exponent` for
what the two bound, which is derived.

Arrays may be NumPy or torch; sets are taken in main memory (seeded tie-breaking must not depend on a device), results
are NumPy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.analysis.intervals import Interval, check_level
from biasvar.analysis.learnability import learnability_exponent
from biasvar.analysis.topk import TopSets, checked, top_sets

if TYPE_CHECKING:
    import pandas as pd

VERSIONS = ("class", "marginal")


@dataclass(frozen=True, eq=False)
class Indicator:
    """A probability over samples with its interval, by class, and where it is worst; `float()` gives the value.

    Attributes:
        value: the indicator, in [0, 1].
        interval: `Interval` of the value.
        per_class: `(K,)`, the indicator within each class.
        worst: of unreliability the worst class; of ambiguity (true class, wrong class), or the wrong class if marginal.
        n: samples.
        ties: samples whose k-th and (k+1)-th largest entries are equal, so that the rule decides on the set.
    """

    value: float
    interval: Interval
    per_class: np.ndarray
    worst: int | tuple[int, int]
    n: int
    ties: int

    def __float__(self) -> float:
        return self.value


def unreliability(
    soft_labels: Any, labels: Any, *, k: int, ties: str = "random", seed: int = 0, level: float = 0.95
) -> Indicator:
    """Delta: the share of samples whose true class is not among the k largest entries of the soft label.

    The interval is Clopper-Pearson's over samples.

    Args:
        soft_labels: `(N, K)`, rows sum to 1 within 1e-5.
        labels: `(N,)` true classes; every class must occur.
        k: size of the set, 1 .. K.
        ties: what to do where the k-th and (k+1)-th entries are equal. "random": draw among the tied, seeded by `seed`;
            "include": take all of them (sets may exceed k); "exclude_zero": labels without mass are never taken (sets
            may fall short of k), other ties are drawn. A UserWarning says when a draw can change the value.
        seed: of the draw.
        level: of the interval.

    Raises:
        ValueError: for rows that are not distributions, labels or k out of range, a class without samples (naming row
            and rule).

    >>> unreliability([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.1, 0.7, 0.2]], [0, 1, 2], k=2).value
    0.3333333333333333
    """
    sets = top_sets(*checked(soft_labels, labels), k, ties, seed)
    check_level(level)
    _require_all_classes(sets)
    result = _unreliability(sets, level)
    _warn(sets, "unreliability", [_missed(sets, member) for member in (sets.most, sets.least)])
    return result


def ambiguity(
    soft_labels: Any,
    labels: Any,
    *,
    k: int,
    version: str = "class",
    ties: str = "random",
    seed: int = 0,
    level: float = 0.95,
) -> Indicator:
    """gamma: the largest probability with which one wrong label is among the k largest entries.

    "class" (default): max over true class c and wrong label j of Pr(j in the set | class c), with the pair in `worst`.
    "marginal": max over j of Pr(j in the set | true class is not j), which is never larger.
    The interval takes account of the maximum: Clopper-Pearson intervals of all K (K - 1) pairs (K labels if marginal)
    at Bonferroni's level hold together, and the largest of their lower and of their upper ends bound the maximum. The
    estimate itself leans upwards, as any maximum of estimates does.

    Args:
        soft_labels, labels, k, ties, seed, level: as for `unreliability`; "marginal" does not need every class.

    Raises:
        ValueError: as `unreliability`, and for an unknown version.

    >>> ambiguity([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.1, 0.7, 0.2]], [0, 1, 2], k=1).worst
    (1, 0)
    """
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, got {version!r}")
    sets = top_sets(*checked(soft_labels, labels), k, ties, seed)
    check_level(level)
    if version == "class":
        _require_all_classes(sets)
    elif len(np.unique(sets.labels)) < 2:
        raise ValueError("the marginal ambiguity needs samples of at least two classes")
    result = _ambiguity(sets, version, level)
    _warn(
        sets,
        "ambiguity",
        [float(np.nanmax(_wrong_rates(sets, member, version)[0])) for member in (sets.least, sets.most)],
    )
    return result


def effectiveness(
    soft_labels: Any, labels: Any, *, ks: int | Iterable[int], ties: str = "random", seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Both indicators for several k: one row each, to see at which k a soft label is most informative.

    Columns: k, delta, gamma, sum (delta + gamma; below 1 is the paper's condition), worst_class_sum (the largest sum
    within a class), kappa (`learnability_exponent`), delta_low, delta_high, gamma_low, gamma_high, worst_class (of
    worst_class_sum), worst_true, worst_wrong (the pair of gamma), n, ties. A natural, accurate network has gamma near 1
    from k = 2 on, because similar classes share the top of its labels: a large gamma at one k is no mark of a bad
    teacher, so choose k by the smallest sum or largest kappa.

    >>> soft_labels = [[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]
    >>> effectiveness(soft_labels, [0, 1, 2], ks=[1, 2])["sum"].round(3).tolist()
    [1.333, 1.0]
    """
    import pandas as pd

    values, classes = checked(soft_labels, labels)
    check_level(level)
    rows = []
    moved = []
    for k in ks if isinstance(ks, Iterable) else [ks]:
        sets = top_sets(values, classes, k, ties, seed)
        _require_all_classes(sets)
        delta, gamma = _unreliability(sets, level), _ambiguity(sets, "class", level)
        sums = delta.per_class + gamma.per_class
        true, wrong = gamma.worst if isinstance(gamma.worst, tuple) else (-1, -1)
        rows.append(
            {
                "k": int(k),
                "delta": delta.value,
                "gamma": gamma.value,
                "sum": delta.value + gamma.value,
                "worst_class_sum": float(np.max(sums)),
                "kappa": learnability_exponent(delta.value, gamma.value),
                "delta_low": delta.interval.low,
                "delta_high": delta.interval.high,
                "gamma_low": gamma.interval.low,
                "gamma_high": gamma.interval.high,
                "worst_class": int(np.argmax(sums)),
                "worst_true": true,
                "worst_wrong": wrong,
                "n": delta.n,
                "ties": delta.ties,
            }
        )
        bounds = [(_missed(sets, m), np.nanmax(_wrong_rates(sets, m, "class")[0])) for m in (sets.least, sets.most)]
        if ties != "include" and bounds[0] != bounds[1]:
            moved.append(int(k))
    if not rows:
        raise ValueError("ks must name at least one k")
    if moved:
        warnings.warn(
            f"ties broken at random (seed {seed}) can change the indicators at k = {moved}", UserWarning, stacklevel=2
        )
    return pd.DataFrame(rows)


def _unreliability(sets: TopSets, level: float) -> Indicator:
    n = len(sets.labels)
    hits = np.diagonal(sets.by_class(sets.chosen))
    missed = int(n - hits.sum())
    low, high = _clopper_pearson(np.array([missed]), np.array([n]), 1.0 - level)
    value = missed / n
    interval = Interval(value, float(low[0]), float(high[0]), math.sqrt(value * (1.0 - value) / n), n, level)
    per_class = 1.0 - hits / sets.class_sizes
    return Indicator(value, interval, per_class, int(np.argmax(per_class)), n, sets.ties)


def _ambiguity(sets: TopSets, version: str, level: float) -> Indicator:
    rates, counts, sizes = _wrong_rates(sets, sets.chosen, version)
    value = float(np.nanmax(rates))
    real = np.isfinite(rates)
    low, high = _clopper_pearson(counts[real], sizes[real], (1.0 - level) / real.sum())
    n = len(sets.labels)
    # A maximum has no standard error of its own.
    interval = Interval(value, float(low.max()), float(high.max()), math.nan, n, level)
    place = int(np.nanargmax(rates))
    if version == "marginal":
        return Indicator(value, interval, rates, place, n, sets.ties)
    worst = (place // rates.shape[1], place % rates.shape[1])
    return Indicator(value, interval, np.nanmax(rates, axis=1), worst, n, sets.ties)


def _wrong_rates(sets: TopSets, member: np.ndarray, version: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each wrong label is in the set: rates, counts and sample sizes.

    `(K, K)` by true class and label with NaN on the diagonal, or `(K,)` by label over the samples of all other classes
    if marginal.
    """
    counts = sets.by_class(member)
    sizes = np.broadcast_to(sets.class_sizes[:, None], counts.shape)
    if version == "marginal":
        counts = counts.sum(axis=0) - np.diagonal(counts)
        sizes = len(sets.labels) - sets.class_sizes
        return counts / sizes, counts, sizes
    rates = counts / sizes
    np.fill_diagonal(rates, np.nan)
    return rates, counts, sizes


def _missed(sets: TopSets, member: np.ndarray) -> float:
    return 1.0 - float(np.mean(member[np.arange(len(sets.labels)), sets.labels]))


def _clopper_pearson(successes: np.ndarray, trials: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact binomial intervals at level 1 - alpha."""
    from scipy.special import betaincinv

    failures = trials - successes
    low = np.where(successes > 0, betaincinv(np.maximum(successes, 1), failures + 1, alpha / 2.0), 0.0)
    high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, 1), 1.0 - alpha / 2.0), 1.0)
    return low, high


def _require_all_classes(sets: TopSets) -> None:
    empty = np.flatnonzero(sets.class_sizes == 0)
    if len(empty):
        raise ValueError(
            f"labels must contain every class 0 .. {len(sets.class_sizes) - 1};"
            f" class {', '.join(map(str, empty[:5]))} has no samples, so nothing can be said within it"
        )


def _warn(sets: TopSets, name: str, bounds: list[float]) -> None:
    if sets.chosen is not sets.most and bounds[0] != bounds[1]:
        warnings.warn(
            f"{sets.ties} samples are tied at the edge of their set; breaking the ties can move the {name}"
            f" within {bounds[0]:.4g} .. {bounds[1]:.4g}",
            UserWarning,
            stacklevel=3,
        )
