"""The share of samples whose change of bias or variance clearly goes against the mean, and what chance alone gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.decomposition.groups import decompose_groups
from biasvar.analysis.decomposition.result import Change, paired_change
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records import Run
from biasvar.report.statistics.changes import CLEAR, SampleChange
from biasvar.seeding import generator

SWAPS = 64
"""Random exchanges of the two arms within pairs of replicas, for the share under no effect."""


@dataclass(frozen=True)
class AgainstMean:
    """A share of samples and the same share where nothing but chance tells the arms apart.

    Attributes:
        share: of samples whose change of bias or of variance has the other sign than the mean's by more than `CLEAR`
            of its standard errors.
        null: the mean of that share over random exchanges of the arms within pairs of replicas.
        stderr_replicas: of the share less its null: the larger of the jackknife's error and the spread over exchanges,
            since leaving out a replica hardly moves a count of samples beyond a limit.
        stderr_samples: binomial.
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
    sign = np.sign([[change.bias.mean()], [change.variance.mean()]])  # of the means over all replicas, also below
    clear = CLEAR * np.stack([change.bias_stderr, change.variance_stderr])
    share = float(_against(change.bias, change.variance, sign, clear).mean())
    deleted = _against(change.deleted_bias, change.deleted_variance, sign, clear).mean(-1)
    sizes = np.asarray(change.group_counts).max(axis=1)
    jackknife = float(jackknife_stderr(np.float64(share), deleted, sizes, least=3))
    shares = _exchanged(run, found, sign)
    over_samples = float(np.sqrt(share * (1 - share) / found.n_samples))
    return AgainstMean(share, float(shares.mean()), max(jackknife, float(shares.std(ddof=1))), over_samples)


def _against(bias: Any, variance: Any, sign: np.ndarray, clear: np.ndarray) -> Any:
    """Bool (..., N): the other sign in bias or in variance, beyond `clear` (2, N)."""
    return (sign * np.stack([bias, variance], axis=-2) < -clear).any(-2)


def _exchanged(run: Run, found: SampleChange, sign: np.ndarray) -> np.ndarray:
    """The share for each of `SWAPS` random exchanges of treatment and control within groups of replicas."""
    (first, labels, _), (second, _, _) = (
        run.stored_means(arm, found.split, found.membership, found.epoch) for arm in (found.treatment, found.control)
    )
    kept = np.isin(first.sample_ids, found.frame["sample_id"].to_numpy())
    groups = len(first.counts)
    swaps = _swaps(groups)
    hits = np.zeros(len(swaps))
    for part in first.parts():
        means = [arm.read(part.start, part.stop)[:, kept[part]] for arm in (first, second)]
        counts, truth = first.counts[:, part][:, kept[part]], labels[part][kept[part]]
        for place, swap in enumerate(swaps):
            mixed = [np.where(swap[:, None, None], b, a) for a, b in (means, means[::-1])]
            terms = [decompose_groups(counts, one, truth, keep_groups=True).corrected() for one in mixed]
            change: Change = paired_change(terms[0], terms[1])
            clear = CLEAR * np.stack([change.bias_stderr, change.variance_stderr])
            hits[place] += int(_against(change.bias, change.variance, sign, clear).sum())
    return hits / found.n_samples


def _swaps(groups: int) -> np.ndarray:
    """Which groups exchange the arms, bool (S, G): all ways but none and all, or `SWAPS` random ones of many."""
    if 2**groups - 2 <= SWAPS:
        ways = np.arange(1, 2**groups - 1)[:, None] >> np.arange(groups)
        return ways % 2 == 1
    rng = generator(0, "arms exchanged")  # the same in every report
    drawn: np.ndarray = rng.random((2 * SWAPS, groups)) < 0.5
    return drawn[drawn.any(axis=1) & ~drawn.all(axis=1)][:SWAPS]
