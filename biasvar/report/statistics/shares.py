"""The share of regularization samples in the training view, by epoch and in the last tenth of all epochs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from biasvar.messages import first_few
from biasvar.records import Run
from biasvar.report.statistics import stored

LATE = 0.9
"""A share is taken where more than this part of the epochs is over: what training ends with, whatever was stored."""


def shares_by_epoch(run: Run, arm: str, criterion: str = "opposing") -> pd.DataFrame:
    """The share of regularization samples in the training view: a frame of recorded epochs by replicas."""
    frame = stored.metrics_of(run, arm, "train", "augmented")
    share = f"share_{criterion}"
    return frame.dropna(subset=share).pivot(index="epoch", columns="replica", values=share)


def late_share(run: Run, arm: str, criterion: str = "opposing") -> pd.Series[Any]:
    """The mean share over the recorded epochs of the last tenth, by replica; see `late_gap`."""
    shares = shares_by_epoch(run, arm, criterion)
    return shares[shares.index > LATE * epochs_of(run, arm)].mean()


def mean_share(run: Run, arm: str, criterion: str = "opposing") -> pd.Series[Any]:
    """The mean share over all epochs, by replica; see `over_epochs`."""
    return over_epochs(shares_by_epoch(run, arm, criterion))


def over_epochs(shares: pd.DataFrame) -> pd.Series[Any]:
    """The mean over epochs (rows) of each replica (columns): the area by trapezoids, divided by its width.

    So it does not depend on which epochs were recorded more densely.
    """
    width = shares.index.to_series().diff().shift(-1)[:-1]
    if width.empty:
        return shares.mean()
    middle = (shares + shares.shift(-1)).iloc[:-1] / 2
    return middle.mul(width, axis=0).sum(skipna=False) / width.sum()


def late_gap(run: Run, arm: str) -> str:
    """Which epochs of the last tenth the record of an arm lacks, in words; "" if none."""
    total = epochs_of(run, arm)
    there = set(shares_by_epoch(run, arm).index)
    asked = range(int(LATE * total + 1e-9) + 1, total + 1)
    missing = [epoch for epoch in asked if epoch not in there]
    if not missing:
        return ""
    return f"the record of {arm} lacks epoch{'s' if len(missing) > 1 else ''} {first_few(missing)} of the last tenth"


def epochs_of(run: Run, arm: str) -> int:
    """The epochs that an arm was trained for: the study's, else the last with metrics."""
    said = ((run.study or {}).get("schedule") or {}).get("epochs")
    metrics = stored.metrics(run)
    return int(said or metrics.loc[metrics["arm"] == arm, "epoch"].max())
