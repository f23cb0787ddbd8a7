"""The share of samples whose change of bias or variance clearly goes against the mean, and what chance alone gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from biasvar.analysis.decomposition.groups import decompose_groups
from biasvar.analysis.decomposition.result import Change, paired_change
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records import Run
from biasvar.report.statistics.changes import CLEAR, SampleChange
from biasvar.seeding import generator, resampling

SWAPS = 64
"""Exchanges of the two arms within half of the pairs of replicas, at most, for the share without any effect."""

ROWS_DRAWN = 400
"""Bootstrap draws of the rows."""


@dataclass(frozen=True)
class AgainstMean:
    """A share of samples and the same share where nothing but chance tells the arms apart.

    Attributes:
        share: of samples whose change of bias or of variance has the other sign than the mean's by more than `CLEAR`
            of its standard errors.
        null: the mean of that share over exchanges of the arms within half of the pairs of replicas, after each
            sample's mean log-probabilities were made the same in both arms: what is left is the noise of replicas.
        stderr_replicas: of the share less its null: the larger of the jackknife's error and the spread over exchanges,
            since leaving out a replica hardly moves a count of samples beyond a limit.
        stderr_samples: of a bootstrap over rows, with the sign of each resample's own mean.
    """

    share: float
    null: float
    stderr_replicas: float
    stderr_samples: float


def against_mean(run: Run, found: SampleChange) -> AgainstMean | None:
    """The share of samples that clearly go against the mean change; None without errors by replica."""
    change = found.change
    if change.deleted_bias is None or change.deleted_variance is None or change.group_counts is None:
        return None
    sign = _sign(change.bias.mean(), change.variance.mean())
    clear = CLEAR * np.stack([change.bias_stderr, change.variance_stderr])
    share = float(_against(change.bias, change.variance, sign, clear).mean())
    deleted = [
        _against(bias, variance, _sign(bias.mean(), variance.mean()), clear).mean()
        for bias, variance in zip(change.deleted_bias, change.deleted_variance, strict=True)
    ]
    sizes = np.asarray(change.group_counts).max(axis=1)
    jackknife = float(jackknife_stderr(np.float64(share), np.array(deleted), sizes, least=3))
    shares = _exchanged(run, found, sign)
    over_samples = _over_samples(change, clear)
    return AgainstMean(share, float(shares.mean()), max(jackknife, float(shares.std(ddof=1))), over_samples)


def _over_samples(change: Change, clear: np.ndarray) -> float:
    """The bootstrap's error over rows, which draws the mean's sign anew: it may hang on a few of them."""
    rows = len(change.bias)
    weights = resampling(0, rows).multinomial(rows, np.full(rows, 1 / rows), size=ROWS_DRAWN) / rows  # (B, N)
    signs = np.sign(np.stack([weights @ change.bias, weights @ change.variance], axis=1))  # (B, 2)
    shares = np.empty(len(weights))
    for sign in np.unique(signs, axis=0):
        those = (signs == sign).all(axis=1)
        shares[those] = weights[those] @ _against(change.bias, change.variance, sign[:, None], clear)
    return float(shares.std(ddof=1))


def _sign(bias: float, variance: float) -> np.ndarray:
    return np.sign([[bias], [variance]])


def _against(bias: Any, variance: Any, sign: np.ndarray, clear: np.ndarray) -> Any:
    """Bool (..., N): the other sign in bias or in variance, beyond `clear` (2, N)."""
    return (sign * np.stack([bias, variance], axis=-2) < -clear).any(-2)


def _exchanged(run: Run, found: SampleChange, sign: np.ndarray) -> np.ndarray:
    """The share for each exchange of treatment and control within half of the groups of replicas."""
    (first, labels, _), (second, _, _) = (
        run.stored_means(arm, found.split, found.membership, found.epoch) for arm in (found.treatment, found.control)
    )
    kept = np.isin(first.sample_ids, found.frame["sample_id"].to_numpy())
    groups = len(first.counts)
    swaps = _swaps(groups)
    hits = np.zeros(len(swaps))
    # Levelled differences lack one degree of freedom: the errors of their exchanges are too small by as much.
    wider = CLEAR * math.sqrt((groups - 1) / (groups - 2)) if groups > 2 else CLEAR
    for part in first.parts():
        counts, truth = first.counts[:, part][:, kept[part]], labels[part][kept[part]]
        means = _levelled([arm.read(part.start, part.stop)[:, kept[part]] for arm in (first, second)], counts)
        for place, swap in enumerate(swaps):
            mixed = [np.where(swap[:, None, None], b, a) for a, b in (means, means[::-1])]
            terms = [decompose_groups(counts, one, truth, keep_groups=True).corrected() for one in mixed]
            change: Change = paired_change(terms[0], terms[1])
            clear = wider * np.stack([change.bias_stderr, change.variance_stderr])
            hits[place] += int(_against(change.bias, change.variance, sign, clear).sum())
    return hits / found.n_samples


def _levelled(means: list[np.ndarray], counts: np.ndarray) -> list[np.ndarray]:
    """Both arms' mean log-probabilities (G, n, C), moved so that each sample's mean over groups is that of both."""
    weight = (counts / counts.sum(axis=0))[..., None]
    centres = [(weight * one).sum(axis=0) for one in means]
    moved = [one - centre + sum(centres) / 2 for one, centre in zip(means, centres, strict=True)]
    excess = [np.maximum(np.logaddexp.reduce(one, axis=-1, keepdims=True), 0.0) for one in moved]
    return [one - over for one, over in zip(moved, excess, strict=True)]  # their exponentials sum to 1 at most


def _swaps(groups: int) -> np.ndarray:
    """Which half of the groups exchange the arms, bool (S, G): every half, or `SWAPS` random ones of many."""
    half = groups // 2
    if math.comb(groups, half) <= SWAPS:
        chosen = np.array(list(combinations(range(groups), half)))
    else:
        order = generator(0, "arms exchanged").random((SWAPS, groups)).argsort(axis=1)  # the same in every report
        chosen = order[:, :half]
    swaps = np.zeros((len(chosen), groups), dtype=bool)
    np.put_along_axis(swaps, chosen, True, axis=1)
    return swaps
