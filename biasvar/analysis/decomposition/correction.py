"""What a finite number of replicas takes from the variance and adds to the bias, put back."""

from __future__ import annotations

from biasvar.analysis.arrays import Array, namespace

JACKKNIFE = "jackknife"
METHODS = ("ratio", JACKKNIFE)


def by_ratio(bias: Array, variance: Array, counts: Array) -> tuple[Array, Array]:
    """Bias and variance with the variance of R replicas times R / (R - 1) and the bias lower by as much; NaN below 2.

    `counts` are the replicas of each entry, of the shape of `bias`.
    """
    xp = namespace(variance)
    below = xp.where(counts > 1, counts - 1.0, float("nan"))
    missing = variance / below
    return bias - missing, variance + missing


def by_jackknife(
    bias: Array, variance: Array, group_counts: Array, deleted_bias: Array, deleted_variance: Array
) -> tuple[Array, Array, Array, Array]:
    """Bias and variance `(N,)` without the error of order 1/R that the deleted values `(G, N)` show; both deleted.

    With n replicas in G groups of m_j the variance is G V - sum_j (1 - m_j / n) V_(-j) (Busing, Meijer and van der
    Leeden 1999), which is R V - (R - 1) mean_j V_(-j) for groups of one replica; NaN below two groups. Groups without
    replicas do not count. The deleted values are those `by_ratio`, with groups for replicas where there are three or
    more, moved so that the full value by that ratio would lie on the jackknife's.
    """
    xp = namespace(variance)
    n = xp.sum(group_counts, axis=0)
    present = xp.astype(group_counts > 0, xp.float64)
    groups = xp.sum(present, axis=0)
    weights = 1.0 - group_counts / xp.where(n > 0, n, 1.0)
    # In differences, so that nothing large cancels.
    change = xp.where(present > 0, weights * (deleted_variance - variance), 0.0)
    raised = xp.where(groups > 1, variance - xp.sum(change, axis=0), float("nan"))
    several = groups > 2
    by_units = by_ratio(bias, variance, xp.where(several, groups, n))[1]
    left = xp.where(several, groups - present, n - group_counts)
    deleted_bias, deleted_variance = by_ratio(deleted_bias, deleted_variance, left)
    moved = raised - by_units
    return bias + (variance - raised), raised, deleted_bias - moved, deleted_variance + moved
