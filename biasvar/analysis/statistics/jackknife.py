"""Standard errors by leaving out one group of replicas at a time."""

from __future__ import annotations

from biasvar.analysis.arrays import Array, namespace
from biasvar.analysis.inputs import as_array, like


def jackknife_stderr(full: Array, deleted: Array, sizes: Array, *, least: int = 2) -> Array:
    """Standard error of a statistic from its values with each group of replicas left out.

    With n replicas in G groups of sizes m_j, h_j = n / m_j and d_j = deleted_j - full (Busing, Meijer and van der
    Leeden 1999, their delete-m_j jackknife, written in differences so that nothing large cancels):

        variance = 1/G sum_j [(h_j - 1) d_j - sum_i (1 - m_i / n) d_i]^2 / (h_j - 1)

    With groups of one replica this is the ordinary jackknife, (n - 1)/n sum_j (deleted_j - mean)^2. A group without
    replicas (size 0) does not count.

    Args:
        full: the statistic, any shape `(...)`.
        deleted: `(G, ...)`, the statistic with group g left out.
        sizes: `(G, ...)`, replicas in each group.
        least: NaN is returned below this many groups.

    Returns:
        `(...)`, in the units of the statistic.

    Raises:
        ValueError: for shapes that do not go together; values are not read, so that nothing waits for a device.

    >>> import numpy as np
    >>> x = np.array([1.0, 2.0, 4.0, 5.0])
    >>> round(float(jackknife_stderr(x.mean(), (x.sum() - x) / 3, np.ones(4))), 6)  # sd / sqrt(n) for a mean
    0.912871
    """
    deleted = as_array(deleted, "deleted")
    full, sizes = like(full, deleted), like(sizes, deleted)
    if not deleted.ndim or tuple(sizes.shape) != tuple(deleted.shape) or tuple(full.shape) != tuple(deleted.shape[1:]):
        raise ValueError(
            f"deleted and sizes must have shape (G, ...) and full (...), got {tuple(deleted.shape)},"
            f" {tuple(sizes.shape)} and {tuple(full.shape)}"
        )
    xp = namespace(deleted)
    sizes = xp.astype(sizes, xp.float64)
    present = sizes > 0
    groups = xp.sum(xp.astype(present, xp.float64), axis=0)
    n = xp.sum(sizes, axis=0)
    enough = groups >= least
    # Where groups are too few the result is NaN anyway; the stand-ins only keep the arithmetic free of warnings.
    safe_sizes = xp.where(present, sizes, 1.0)
    safe_n = xp.where(n > 0, n, 1.0)
    rest = xp.where(present & enough, safe_n / safe_sizes - 1.0, 1.0)
    change = xp.where(present, deleted - full, 0.0)
    centre = xp.sum((1.0 - sizes / safe_n) * change, axis=0)
    squares = xp.where(present, (rest * change - centre) ** 2 / rest, 0.0)
    variance = xp.sum(squares, axis=0) / xp.where(enough, groups, 1.0)
    return xp.where(enough, xp.sqrt(variance), float("nan"))
