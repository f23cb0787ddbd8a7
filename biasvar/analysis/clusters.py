"""Rows that belong together: names of clusters, and what the error of a share or a mean needs of them.

Rows of one image, person or document are no independent samples: what one of them says, the others tend to say too.
Intervals then go by clusters. Everything here needs sums over clusters alone: of a share sum m_g / sum n_g, with m_g of
the n_g rows of cluster g counted, the linearised variance (a ratio estimator; Cochran 1977, chapter 11)

    G / (G - 1) sum_g (m_g - p n_g)^2 / n^2 = G / (G - 1) (sum m_g^2 - 2 p sum m_g n_g + p^2 sum n_g^2) / n^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array
from biasvar.messages import first_few


@dataclass(frozen=True, eq=False)
class Spread:
    """Sums over clusters, arrays of one shape: `squares` of m_g^2, `cross` of m_g n_g, `sizes` of n_g^2.

    `clusters` is the number of clusters that have rows. m_g may be counts, or sums of anything.
    """

    squares: np.ndarray
    cross: np.ndarray
    sizes: np.ndarray
    clusters: np.ndarray

    def variance(self, share: Any, rows: Any) -> np.ndarray:
        """Of the share or mean; NaN with fewer than two clusters."""
        share = np.asarray(share)
        square = np.maximum(self.squares - 2.0 * share * self.cross + share**2 * self.sizes, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = square / np.square(rows, dtype=np.float64) * self.clusters / (self.clusters - 1.0)
        return np.where(self.clusters >= 2, found, np.nan)

    def of_others(self) -> Spread:
        """The sums of the rows that are not counted, n_g - m_g."""
        return Spread(self.squares - 2.0 * self.cross + self.sizes, self.sizes - self.cross, self.sizes, self.clusters)

    def at(self, place: Any) -> Spread:
        """The sums at an index."""
        return Spread(self.squares[place], self.cross[place], self.sizes[place], self.clusters[place])


def as_clusters(
    clusters: Any, rows: int, *, where: np.ndarray | None = None, first_row: int = 0
) -> tuple[np.ndarray, list[Any]]:
    """Numbers 0 .. G - 1 of the rows' clusters, `(rows,)`, and the names; -1 in rows that `where` leaves out.

    Names are whole numbers or texts, one a row, in any order. Errors count rows from `first_row`.

    Raises:
        ValueError: for another shape, fractions, and rows without a name (None, NaN or an empty text), naming them.
    """
    import pandas as pd

    if isinstance(clusters, list | tuple) or hasattr(clusters, "to_numpy"):  # words, and columns with gaps
        names = np.asarray(clusters, dtype=object)
    elif isinstance(clusters, np.ndarray):
        names = clusters
    else:
        names = to_numpy(as_array(clusters, "clusters"))
    if names.shape != (rows,):
        raise ValueError(f"clusters must hold one name a row, shape ({rows},), got shape {names.shape}")
    keep = np.ones(rows, dtype=bool) if where is None else to_numpy(where)
    found, unique = pd.factorize(names[keep])
    if names.dtype.kind not in "iufUSOb" or not all(map(_is_name, unique)):
        odd = next((name for name in unique if not _is_name(name)), names.dtype)
        raise ValueError(f"clusters must be named by whole numbers or texts, got {odd!r}")
    bad = (found < 0) | np.isin(found, [place for place, name in enumerate(unique) if _is_empty(name)])
    if bad.any():
        which = first_few((first_row + np.flatnonzero(keep)[bad]).tolist())
        raise ValueError(f"clusters must name a cluster for every row; row {which} has none (NaN, None or empty)")
    numbers = np.full(rows, -1, dtype=np.int64)
    numbers[keep] = found
    return numbers, [name.item() if isinstance(name, np.generic) else name for name in unique]


def spread_of(numbers: np.ndarray, sums: np.ndarray) -> Spread:
    """Of rows with cluster numbers `(n,)` and values `(n,)` or `(n, J)`: sums of m_g over the values of a cluster."""
    sizes = np.bincount(numbers).astype(np.float64)
    columns = sums.reshape(len(numbers), -1).astype(np.float64)
    totals = np.stack([np.bincount(numbers, weights=column) for column in columns.T], axis=1)
    squares, cross = (totals**2).sum(axis=0), (totals * sizes[:, None]).sum(axis=0)
    shape = sums.shape[1:]
    both = (np.full(shape, float(value)) for value in ((sizes**2).sum(), (sizes > 0).sum()))
    return Spread(squares.reshape(shape), cross.reshape(shape), *both)


def _is_name(name: Any) -> bool:
    if isinstance(name, float | np.floating):
        return bool(name != name or (math.isfinite(name) and name == int(name)))
    return isinstance(name, str | bytes | int | np.integer)


def _is_empty(name: Any) -> bool:
    return isinstance(name, str | bytes) and not name.strip()
