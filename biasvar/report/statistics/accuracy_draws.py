"""What the accuracies of several arms would be with other replicas, and on other test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from biasvar.records import Run
from biasvar.report.statistics.crossing import right_by_replica
from biasvar.report.statistics.estimates import final_accuracy
from biasvar.seeding import resampling

RESAMPLES = 2000


def accuracy_draws(
    run: Run, arms: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """By factor, the arms' mean final test accuracies (arms, B) with that factor drawn anew and the other kept.

    Bootstrap draws of "replicas" and of "rows", with replacement, the same ones for all arms: what arms share (a draw
    of training rows, a hard test row) moves them together. How far a statistic moves over the draws of a factor is its
    error over that factor; the squares of both add up. What a replica does on a row alone counts in both, so that the
    sum is too large rather than too small. "rows" is left out where the record lacks rows; draws of fewer than two
    replicas that all arms have are NaN.
    """
    return dict(_draws(run, tuple(arms), resamples, seed))


@lru_cache(maxsize=16)
def _draws(run: Run, arms: tuple[str, ...], resamples: int, seed: int) -> Mapping[str, np.ndarray]:
    rng = resampling(seed)
    every = pd.concat([final_accuracy(run, arm) for arm in arms], axis=1).dropna()  # paired: replicas by arms
    found = {"replicas": every.to_numpy().T @ _weights(rng, len(every), resamples)}
    tables = [right_by_replica(run, arm, "test") for arm in arms]
    rows = [table.mean(axis=0) for table in tables if table is not None]
    if len(rows) == len(arms) and all(one.index.equals(rows[0].index) for one in rows):
        by_row = np.stack([one.to_numpy() for one in rows])
        found["rows"] = by_row @ _weights(rng, by_row.shape[1], resamples)
    return found


def _weights(rng: np.random.Generator, n: int, resamples: int) -> np.ndarray:
    """Shares (n, B) of n units in draws of n of them with replacement; NaN for fewer than two, which have no spread."""
    if n < 2:
        return np.full((n, resamples), np.nan)
    return rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).T / n
