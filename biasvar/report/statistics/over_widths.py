"""Numbers made of the terms of several arms together, with their errors over replicas and over rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from biasvar.analysis.decomposition.result import Decomposition
from biasvar.analysis.statistics.crossed import Component, Crossed, combined
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records import Run
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import final_metrics
from biasvar.seeding import resampling

BLOCKS = 50  # of rows, left out one at a time
DRAWS = 4000
Statistic = Callable[[np.ndarray], float]


class Column(NamedTuple):
    """One number of a table: a term ("bias", "variance", "risk") of an arm in a view of its test rows."""

    arm: str
    term: str
    view: str = "clean"


@dataclass(frozen=True, eq=False)
class Table:
    """Terms of several arms on the same rows, by the same replicas.

    Attributes:
        values: (N, K) corrected terms by row.
        deleted: (G, K) their means with a group of replicas left out. sizes: (G,) replicas of each group.
        epoch: After which they were predicted.
    """

    values: np.ndarray
    deleted: np.ndarray
    sizes: np.ndarray
    epoch: int

    @property
    def means(self) -> np.ndarray:
        """(K,)."""
        return self.values.mean(axis=0)

    @property
    def df(self) -> int:
        return int(np.count_nonzero(self.sizes)) - 1

    @property
    def n_replicas(self) -> int:
        return int(self.sizes.sum())

    def without_blocks(self) -> np.ndarray:
        """(B, K) means with every B-th row left out, from each of the first B rows on."""
        n = len(self.values)
        blocks = np.arange(n) % min(BLOCKS, n)
        counts = np.bincount(blocks)
        sums = np.stack([np.bincount(blocks, weights=column) for column in self.values.T], axis=1)
        return (self.values.sum(axis=0) - sums) / (n - counts)[:, None]

    def crossed(self, statistic: Statistic) -> Crossed:
        """A statistic of the K means with its jackknife errors over groups of replicas and over blocks of rows."""
        full = statistic(self.means)
        left = self.without_blocks()
        over = {"replicas": (self.deleted, self.sizes), "rows": (left, np.ones(len(left)))}
        parts = {}
        for name, (means, sizes) in over.items():
            deleted = np.array([statistic(one) for one in means])
            stderr = float(jackknife_stderr(np.asarray(full), deleted, sizes, least=3))
            groups = int(np.count_nonzero(sizes))
            parts[name] = Component(stderr, groups - 1, groups if name == "replicas" else len(self.values))
        return combined(full, parts)

    def draws(
        self, statistic: Callable[[np.ndarray], np.ndarray], *, of: Sequence[str] = ("replicas", "rows"), seed: int = 0
    ) -> np.ndarray:
        """A statistic of `DRAWS` draws of the K means, each off by its errors over replicas and rows.

        Errors of the K means together have the covariance of the jackknife; those over replicas are drawn from a
        multivariate t with G - 1 degrees of freedom.

        Args:
            statistic: Of means (DRAWS, K), one value for each draw.
        """
        rng = resampling(seed, len(self.means), len(self.values))
        drawn = np.tile(self.means, (DRAWS, 1))
        for name, deleted, df in (("replicas", self.deleted, self.df), ("rows", self.without_blocks(), np.inf)):
            if name in of:
                apart = deleted - deleted.mean(axis=0)
                groups = len(deleted)
                error = rng.normal(size=(DRAWS, groups)) @ apart * np.sqrt((groups - 1) / groups)
                heavy = 1.0 if np.isinf(df) else np.sqrt(df / rng.chisquare(df, size=(DRAWS, 1)))
                drawn += heavy * error
        return statistic(drawn)


def table_of(run: Run, columns: Sequence[Column], loss: str = "cross_entropy") -> Table | None:
    """Terms of a loss on test rows after the last epoch; None where one is not held, or not of the same rows and
    replicas."""
    found = [stored.terms(run, column.arm, view=column.view, loss=loss) for column in columns]
    held = [one for one in found if one is not None and one.decomposition.group_counts is not None]
    if not held or len(held) < len(columns):
        return None
    first, counts = held[0], [np.asarray(one.decomposition.group_counts) for one in held]
    same = all(np.array_equal(first.sample_ids, one.sample_ids) for one in held)
    if not same or not all(np.array_equal(counts[0], one) for one in counts):
        return None
    values = np.stack([_term(one.decomposition, column.term) for one, column in zip(held, columns, strict=True)])
    deleted = np.stack(
        [_term(one.decomposition, column.term, "deleted_") for one, column in zip(held, columns, strict=True)]
    )  # (K, G, N)
    use = np.isfinite(values).all(axis=0) & np.isfinite(deleted).all(axis=(0, 1))
    if not use.any():
        return None
    return Table(values[:, use].T, deleted[:, :, use].mean(axis=2).T, counts[0][:, use].max(axis=1), first.epoch)


def _term(terms: Decomposition, name: str, prefix: str = "") -> np.ndarray:
    """A term by row, (N,), or with each group left out, (G, N); the risk is the sum of all."""
    if name != "risk":
        return np.asarray(getattr(terms, prefix + name))
    return np.asarray(terms.noise) + _term(terms, "bias", prefix) + _term(terms, "variance", prefix)


def risks_of(run: Run, arms: Sequence[str], loss: str) -> np.ndarray | None:
    """The risk (R, K) of each replica of K arms on test rows after the last epoch; None where one is not held."""
    if loss == "cross_entropy":
        finals = [final_metrics(run, arm, ("test",)) for arm in arms]
        found = [None if one is None or one["nll"].isna().any() else one["nll"].to_numpy() for one in finals]
    else:
        found = [stored.risks(run, arm) for arm in arms]
    held = [one for one in found if one is not None]
    return np.stack(held, axis=1) if len(held) == len(found) else None


class Hump(NamedTuple):
    """The highest point of a quadratic between two ends: where, how high; its value at both, and if it lies inside."""

    place: float
    height: float
    low_end: float
    high_end: float
    inner: bool


def hump(x: np.ndarray, y: np.ndarray) -> Hump:
    """The maximum over [min x, max x] of the quadratic fitted to (x, y) by least squares.

    >>> hump(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 3.0, 4.0, 3.0]))[:2]
    (2.0, 4.0)
    """
    a, b, c = np.polyfit(x - x.mean(), y, 2)
    ends = np.array([x.min(), x.max()]) - x.mean()
    at_ends = (a * ends + b) * ends + c
    vertex = -b / (2 * a) if a < 0 else np.nan
    inner = bool(ends[0] < vertex < ends[1])
    place = vertex if inner else ends[int(np.argmax(at_ends))]
    height = (a * place + b) * place + c
    low_end, high_end = float(at_ends[0]), float(at_ends[1])
    return Hump(round(float(place + x.mean()), 12), round(float(height), 12), low_end, high_end, inner)


def width_of(run: Run, arm: str) -> float | None:
    """The width of an arm's network, where it is one number."""
    student = run.entry(arm).setting("student") or (run.study or {}).get("student") or {}
    hidden = student.get("hidden") or []
    width = student.get("width") or (hidden[0] if len(hidden) == 1 else None)
    return None if width is None else float(width)


def inner_bump(y: np.ndarray) -> tuple[int, int, int] | None:
    """The places (left, middle, right) whose middle is furthest above both others; None of fewer than three.

    >>> inner_bump(np.array([5.0, 2.0, 4.0, 3.0, 1.0]))
    (1, 2, 4)
    """
    best, found = -np.inf, None
    for middle in range(1, len(y) - 1):
        left, right = int(np.argmin(y[:middle])), middle + 1 + int(np.argmin(y[middle + 1 :]))
        over = min(y[middle] - y[left], y[middle] - y[right])
        if over > best:
            best, found = over, (left, middle, right)
    return found
