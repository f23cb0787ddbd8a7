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


def by_jackknife(variance: Array, deleted: Array, group_counts: Array) -> Array:
    """The variance `(N,)` less the bias of order 1/R that its deleted values `(G, N)` show; NaN below two groups.

    With n replicas in G groups of m_j, G V - sum_j (1 - m_j / n) V_(-j) (Busing, Meijer and van der Leeden 1999), which
    is R V - (R - 1) mean_j V_(-j) for groups of one replica. Groups without replicas do not count.
    """
    xp = namespace(variance)
    n = xp.sum(group_counts, axis=0)
    present = group_counts > 0
    groups = xp.sum(xp.astype(present, xp.float64), axis=0)
    weights = 1.0 - group_counts / xp.where(n > 0, n, 1.0)
    # In differences, so that nothing large cancels.
    change = xp.where(present, weights * (deleted - variance), 0.0)
    return xp.where(groups > 1, variance - xp.sum(change, axis=0), float("nan"))
