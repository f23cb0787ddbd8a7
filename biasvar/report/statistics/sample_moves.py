"""Which samples carry the variance, and whether they are the same ones along a sweep.

The variance of a sample by a few replicas is mostly noise, and arms of a sweep share their replicas, so that samples
would agree with themselves by chance. Every number here compares the variances by one half of the replicas with those
by the other half, and is the mean over both ways to do so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import logsumexp

from biasvar.analysis.statistics.comparison import centred_ranks
from biasvar.records import Run

TOP = 0.1  # of the samples: those with most variance
BLOCKS = 20  # of rows, left out one at a time
LEAST_GROUPS = 4  # two of each half
LEAST_FOR_INTERVALS = 6  # three of each half, of which one is left out at a time
QUANTITIES = {
    "same": "rank correlation of the variances of samples by two halves of the replicas, at one value",
    "next": "... at a value and the next",
    "kept": "the latter over the geometric mean of both values' own: 1 if the samples keep their places",
    "peak": "... at a value and where the total variance is largest",
    "own top": "share of the variance by one half that the tenth of samples with most by the other half carries",
    "peak's top": "... the tenth being that where the total variance is largest",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Moves:
    """Numbers of `QUANTITIES` at each of K values; "next" and "kept" are NaN at the last.

    Attributes:
        peak: The place of the value at which the total variance is largest.
        estimates, stderr_replicas, stderr_samples: By quantity, (K,).
    """

    peak: int
    n_samples: int
    n_replicas: int
    df: int
    estimates: Mapping[str, np.ndarray]
    stderr_replicas: Mapping[str, np.ndarray]
    stderr_samples: Mapping[str, np.ndarray]


@lru_cache(maxsize=64)
def moves_of(run: Run, arms: tuple[str, ...], split: str = "test") -> Moves | None:
    """The numbers along some arms; None where their predictions are not of the same rows and replicas, or too few."""
    kept = []
    for arm in arms:
        if not (run.directory / "predictions" / f"arm={arm}" / f"split={split}").is_dir():
            return None
        kept.append(run.predictions(arm, split=split))
    same = all(
        np.array_equal(kept[0].sample_ids, one.sample_ids) and np.array_equal(kept[0].counts, one.counts)
        for one in kept
    )
    if not same or len(kept[0].counts) < LEAST_GROUPS:
        return None
    return moves(kept[0].counts, [one.mean_log_probs for one in kept])


def moves(counts: np.ndarray, mean_log_probs: Sequence[np.ndarray]) -> Moves:
    """The numbers of `QUANTITIES` from what a store keeps.

    Errors: over replicas the jackknife within each half, the halves added as independent; over samples the jackknife
    over blocks of rows.

    Args:
        counts: (G, N) replicas of each group, all above 0; groups are halved by the parity of their number.
        mean_log_probs: K of (G, N, C), the mean over those replicas of log-softmax.
    """
    halves = [np.arange(len(counts)) % 2 == parity for parity in (0, 1)]
    stacked = [np.stack([_variance(counts[half], one[half]) for one in mean_log_probs], axis=1) for half in halves]
    total = np.stack([_variance(counts, one) for one in mean_log_probs], axis=1).mean(axis=0)
    peak = int(np.argmax(total))
    whole = _numbers(stacked[0], stacked[1], peak)
    squares = {name: np.zeros(len(total)) for name in whole}
    for parity, half in enumerate(halves):
        groups = np.flatnonzero(half)
        left_out = []
        for group in groups:
            rest = groups[groups != group]
            own = np.stack([_variance(counts[rest], one[rest]) for one in mean_log_probs], axis=1)
            left_out.append(_numbers(own, stacked[1], peak) if parity == 0 else _numbers(stacked[0], own, peak))
        for name in whole:
            found = np.stack([one[name] for one in left_out])
            squares[name] += (len(groups) - 1) * found.var(axis=0) if len(groups) > 2 else np.nan
    n = counts.shape[1]
    blocks = np.arange(n) % min(BLOCKS, n)
    rest = [blocks != block for block in np.unique(blocks)]
    by_block = [_numbers(stacked[0][kept], stacked[1][kept], peak) for kept in rest]
    over_samples = {
        name: np.sqrt((len(by_block) - 1) * np.stack([one[name] for one in by_block]).var(axis=0)) for name in whole
    }
    over_replicas = {name: np.sqrt(value) for name, value in squares.items()}
    replicas = int(counts.max(axis=1).sum())
    return Moves(peak, n, replicas, len(counts) - 2, whole, over_replicas, over_samples)


def _variance(counts: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(N,) corrected cross-entropy variance, -logsumexp of the mean log-probabilities times R / (R - 1)."""
    replicas = counts.sum(axis=0)
    mean = (counts[..., None] * means).sum(axis=0) / replicas[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = -logsumexp(mean, axis=1) * np.where(replicas > 1, replicas / (replicas - 1.0), np.nan)
    return found


def _numbers(first: np.ndarray, second: np.ndarray, peak: int) -> dict[str, np.ndarray]:
    """The numbers from the variances (N, K) by the two halves."""
    ranks = [centred_ranks(one.T) for one in (first, second)]
    one_half, other = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in ranks)
    table = one_half @ other.T  # (K, K) rank correlations, one half's values by the other's
    table = (table + table.T) / 2
    following = np.append(np.diag(table, 1), np.nan)
    same = np.diag(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        ceiling = np.sqrt(np.where(same > 0, same, np.nan) * np.append(np.where(same > 0, same, np.nan)[1:], np.nan))
        kept = following / ceiling
    tops = [one >= np.quantile(one, 1 - TOP, axis=0) for one in (first, second)]
    own = [(second * tops[0]).sum(0) / second.sum(0), (first * tops[1]).sum(0) / first.sum(0)]
    top = [
        (second * tops[0][:, [peak]]).sum(0) / second.sum(0), (first * tops[1][:, [peak]]).sum(0) / first.sum(0)
    ]  # fmt: skip
    return {
        "same": same, "next": following, "kept": kept, "peak": table[:, peak],
        "own top": np.mean(own, axis=0), "peak's top": np.mean(top, axis=0),
    }  # fmt: skip


def half_width(moves: Moves, quantity: str, quantile: float) -> np.ndarray:
    """(K,) how far the interval reaches: the quantile times both errors together."""
    both = np.hypot(moves.stderr_replicas[quantity], moves.stderr_samples[quantity])
    return np.where(np.isfinite(both), quantile * both, math.nan)
