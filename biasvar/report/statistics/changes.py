"""How much bias and variance change, sample by sample, from one arm to another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis import Change, Totals, paired_change
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.records import Run
from biasvar.report import style
from biasvar.report.statistics import stored

QUADRANTS = {
    "bias up, variance down": (1, -1),
    "bias up, variance up": (1, 1),
    "bias down, variance up": (-1, 1),
    "bias down, variance down": (-1, -1),
}
"""Signs of the changes of bias and variance."""

CLEAR = 2.0
"""A change is clear if it exceeds this many of its standard errors."""


@dataclass(frozen=True, eq=False)
class SampleChange:
    """Corrected treatment minus control on paired replicas.

    Attributes:
        frame: one row a sample: sample_id, d_bias, d_variance (nats), se_bias, se_variance (paired jackknife over
            replicas), replicas. Samples without two replicas have no change and are left out.
        totals: means of the differences over those samples, with both errors.
        change: the same rows with the values that each left-out group gives, for statistics of one's own.
        epoch: the epoch of the predictions.
    """

    treatment: str
    control: str
    split: str
    membership: str
    epoch: int
    frame: pd.DataFrame
    totals: Totals
    change: Change

    @property
    def n_samples(self) -> int:
        return len(self.frame)

    @property
    def n_replicas(self) -> int:
        """The replicas that bear on the means; a sample may have fewer, see `frame`."""
        return self.totals.bias.n_replicas

    @property
    def df(self) -> int:
        """Degrees of freedom of the errors over replicas: groups of replicas - 1."""
        counts = self.change.group_counts
        return (int(np.count_nonzero(counts.sum(axis=1))) if counts is not None else 0) - 1


def has_predictions(run: Run, arm: str, split: str = "test", membership: str = "all") -> bool:
    """True if the run holds predictions of the arm; none is read."""
    return (run.directory / "predictions" / f"arm={arm}" / f"split={split}" / f"membership={membership}").is_dir()


@lru_cache(maxsize=256)
def change(
    run: Run, treatment: str, control: str, *, split: str = "test", membership: str = "all"
) -> SampleChange | None:
    """The change of corrected bias and variance from `control` to `treatment`, sample by sample, on paired replicas.

    Args:
        membership: "all" replicas; on the train split "member" or "nonmember", those that trained on the sample or not.

    Returns:
        None where one of the arms has no such predictions, no sample has two replicas, or the arms were not predicted
        on the same samples by the same replicas (then nothing is paired).
    """
    first, second = (stored.terms(run, arm, split, membership) for arm in (treatment, control))
    if first is None or second is None:
        return None
    if not np.array_equal(first.sample_ids, second.sample_ids):
        return None
    treated, untreated = first.decomposition.group_counts, second.decomposition.group_counts
    if treated is None or untreated is None or not np.array_equal(treated, untreated):
        return None
    whole = paired_change(first.decomposition, second.decomposition)
    keep = np.isfinite(whole.bias) & np.isfinite(whole.variance)
    if not keep.any():
        return None
    part = whole.take(keep)
    frame = pd.DataFrame(
        {
            "sample_id": first.sample_ids[keep],
            "d_bias": part.bias,
            "d_variance": part.variance,
            "se_bias": part.bias_stderr,
            "se_variance": part.variance_stderr,
            "replicas": part.counts.astype(np.int64),
        }
    )
    return SampleChange(treatment, control, split, membership, first.epoch, frame, part.totals(), part)


def quadrants(found: SampleChange) -> pd.DataFrame:
    """The share of samples in each quadrant, with its errors, and how many of the changes are clear.

    Columns: quadrant, share (a change of exactly 0 is in none), stderr_samples (binomial), stderr_replicas (jackknife
    of the share), clear (share of all samples that lie there with both changes beyond `CLEAR` standard errors),
    n_samples, n_replicas. NaN errors, below three replicas, count as not clear.
    """
    part, frame = found.change, found.frame
    beyond = (clear_bias(frame) & clear_variance(frame)).to_numpy()
    rows = []
    for name, (bias_sign, variance_sign) in QUADRANTS.items():
        inside = (np.sign(part.bias) == bias_sign) & (np.sign(part.variance) == variance_sign)
        share, n = float(inside.mean()), len(inside)
        error = math.nan
        if part.deleted_bias is not None and part.deleted_variance is not None and part.group_counts is not None:
            moved = (np.sign(part.deleted_bias) == bias_sign) & (np.sign(part.deleted_variance) == variance_sign)
            whole = np.isfinite(part.deleted_bias).all(axis=0) & np.isfinite(part.deleted_variance).all(axis=0)
            if whole.any():
                sizes = part.group_counts[:, whole].sum(axis=1)
                full = np.float64(inside[whole].mean())
                error = float(jackknife_stderr(full, moved[:, whole].mean(axis=1), sizes, least=3))
        rows.append(
            {
                "quadrant": name,
                "share": share,
                "stderr_samples": math.sqrt(share * (1.0 - share) / n),
                "stderr_replicas": error,
                "clear": float((inside & beyond).mean()),
                "n_samples": n,
                "n_replicas": found.n_replicas,
            }
        )
    return pd.DataFrame(rows)


def clear_bias(frame: pd.DataFrame) -> pd.Series:
    """True for samples whose change of bias exceeds `CLEAR` standard errors."""
    return frame["d_bias"].abs() > CLEAR * frame["se_bias"]


def clear_variance(frame: pd.DataFrame) -> pd.Series:
    """True for samples whose change of variance exceeds `CLEAR` standard errors."""
    return frame["d_variance"].abs() > CLEAR * frame["se_variance"]


def unstyled(frame: pd.DataFrame) -> tuple[dict[str, style.Look], pd.DataFrame]:
    """A frame's styles, and the frame without them: pandas copies `attrs` deeply with every row it hands out."""
    return style.styles_of(frame), bare(frame)


def bare(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame without its styles."""
    copy = frame.copy()
    copy.attrs = {}
    return copy


def each(frame: pd.DataFrame) -> list[Any]:
    """The rows of a frame, with their columns as attributes."""
    return list(frame.itertuples(index=False))
