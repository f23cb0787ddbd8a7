"""One table of estimates: every number of the report with its errors and counts, one row a number.

Claims, summary.json and figures read its rows, so that a number has one definition and one error wherever it appears.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, reduce
from operator import add
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.decomposition.totals import Estimate as Total
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.intervals import Interval, interval_from
from biasvar.records import Run
from biasvar.report.arms.roles import failed_replicas
from biasvar.report.arms.teachers import groups_by_teacher
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import change

HELD_OUT = ("test", "validation")
METRICS = ("accuracy", "nll", "ece")
TERMS = ("bias", "variance")
KINDS_OF_ROWS = {"held-out": ("test", "all"), "member": ("train", "member"), "nonmember": ("train", "nonmember")}
"""Split and membership of the kinds of rows that bias and variance are taken over."""


@dataclass(frozen=True)
class Estimate:
    """One row of the table: a number of one arm, or of an arm less a control.

    Attributes:
        run, arm, label, loss, plays, role, regime: what the arm is, as the run's manifest says.
        replicas, failed: the arm's replicas, and how many of them are at chance or not finite.
        quantity: "accuracy", "nll", "ece", "bias", "variance", "share_opposing", ...
        rows: "held-out", "member", "nonmember" or "training pass".
        split, epoch: where and when it was measured; epoch is None for a mean over epochs.
        against, control: of a difference, what the control stands for and its arm; else "".
        estimate, low, high: the value with its 95 % interval over replicas.
        stderr: its standard error over replicas, the one behind the interval; of a paired difference of arms whose
            replicas share copies of a teacher, the error over copies.
        stderr_samples, stderr_teachers: its errors over samples and over teachers, NaN where there is none.
        df: degrees of freedom of `stderr`, groups of replicas - 1; a replica is its own group up to 16 of them, and
            replicas that share a copy of a teacher are one.
        n_replicas, n_samples, n_teachers: what it rests on; n_teachers is None where no teacher is drawn.
    """

    run: str
    arm: str
    label: str
    loss: str
    plays: str
    role: str
    regime: str
    replicas: int
    failed: int
    quantity: str
    rows: str
    split: str
    epoch: int | None
    against: str
    control: str
    estimate: float
    low: float
    high: float
    stderr: float
    stderr_samples: float
    stderr_teachers: float
    df: float
    n_replicas: int
    n_samples: int
    n_teachers: int | None


COLUMNS = [field.name for field in fields(Estimate)]
INTERVAL = ("estimate", "low", "high", "stderr", "n_replicas")


def to_frame(estimates: Iterable[Estimate | None]) -> pd.DataFrame:
    """The estimates as a frame with the columns `COLUMNS`; None, a number that a run does not hold, is left out."""
    return pd.DataFrame([vars(row) for row in estimates if row is not None], columns=COLUMNS)


def columns(estimate: Estimate, names: Sequence[str] = INTERVAL) -> dict[str, Any]:
    """Some columns of an estimate, by name."""
    return {name: getattr(estimate, name) for name in names}


def interval_columns(interval: Interval) -> dict[str, Any]:
    """An interval over replicas as columns of a tidy frame."""
    bounds = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    return {**bounds, "stderr": interval.stderr, "n_replicas": interval.n}


def final_metrics(run: Run, arm: str, splits: Sequence[str] = HELD_OUT) -> pd.DataFrame | None:
    """The clean metrics of an arm after its last epoch, by replica, on the first of the splits that has any."""
    return _final_metrics(run, arm, tuple(splits))


@lru_cache(maxsize=4096)
def _final_metrics(run: Run, arm: str, splits: tuple[str, ...]) -> pd.DataFrame | None:
    for split in splits:
        on_split = stored.metrics_of(run, arm, split, "clean")
        if len(on_split):
            return on_split[on_split["epoch"] == on_split["epoch"].max()].set_index("replica")
    return None


def final_accuracy(run: Run, arm: str) -> pd.Series[Any]:
    """Test accuracy after the last epoch, by replica; empty where the arm was not evaluated on test rows."""
    final = final_metrics(run, arm, ("test",))
    return pd.Series(dtype=float, name="accuracy") if final is None else final["accuracy"]


@lru_cache(maxsize=1024)
def share_right(run: Run, arm: str, split: str) -> pd.Series[Any] | None:
    """By sample, the share of replicas that are right after the last recorded epoch; None without a record."""
    frame = stored.records(run, arm, split, "clean", None, ("sample_id", "label", "student_prediction"))
    if frame is None:
        return None
    return (frame["student_prediction"] == frame["label"]).groupby(frame["sample_id"]).mean()


@lru_cache(maxsize=4096)
def final_level(run: Run, arm: str, quantity: str) -> Estimate | None:
    """Mean over replicas of a metric after the last epoch, on the first held-out split; None where it has no value."""
    final = final_metrics(run, arm)
    if final is None or final[quantity].isna().all():  # such as the ECE of a loop of the user's own
        return None
    split = str(final["split"].iloc[0])
    over_samples = math.nan
    if quantity == "accuracy" and (right := share_right(run, arm, split)) is not None:
        over_samples = _mean_error(right)
    elif quantity == "nll" and (terms := stored.terms(run, arm, split)) is not None:
        over_samples = terms.decomposition.totals().loss.stderr_samples
    about = _about(run, arm, len(final)) | _of_metrics(final, quantity)
    return _from_interval(about, mean_interval(final[quantity]), over_samples)


@lru_cache(maxsize=4096)
def final_difference(run: Run, treatment: str, control: str, quantity: str, against: str = "") -> Estimate | None:
    """Mean over paired replicas of a metric after the last epoch, treatment less control, on one held-out split."""
    treated, untreated = final_metrics(run, treatment), final_metrics(run, control)
    if treated is None or untreated is None or treated["split"].iloc[0] != untreated["split"].iloc[0]:
        return None
    both = treated.index.intersection(untreated.index)
    if both.empty or treated[quantity].isna().all():
        return None
    by_replica = treated.loc[both, quantity] - untreated.loc[both, quantity]
    difference, teachers = _over_teachers(run, [treatment, control], by_replica)
    about = _about(run, treatment, len(treated)) | _of_metrics(treated, quantity) | teachers
    return _from_interval(about | {"against": against, "control": control}, difference)


def accuracy_combination(run: Run, plus: Sequence[str], minus: Sequence[str]) -> Estimate | None:
    """The sum of some arms' final test accuracies less that of others', paired by replica, with both errors."""
    accuracy = {arm: final_accuracy(run, arm) for arm in (*plus, *minus)}
    by_replica = _difference(accuracy, plus, minus).dropna()
    if by_replica.empty:
        return None
    right = {arm: share for arm in accuracy if (share := share_right(run, arm, "test")) is not None}
    over_samples = _mean_error(_difference(right, plus, minus)) if len(right) == len(accuracy) else math.nan
    final = final_metrics(run, plus[0], ("test",))
    assert final is not None
    interval, teachers = _over_teachers(run, [*plus, *minus], by_replica)
    about = _about(run, plus[0], len(final)) | _of_metrics(final, "accuracy") | {"control": ", ".join(minus)}
    return _from_interval(about | teachers, interval, over_samples)


def over_pairs(
    run: Run, treatment: str, control: str, differences: pd.Series[Any], quantity: str, **about: Any
) -> Estimate:
    """The mean of differences by replica, treatment less control; `about` are the columns that say what it is."""
    interval, teachers = _over_teachers(run, [treatment, control], differences)
    known = _about(run, treatment, len(differences)) | {"quantity": quantity, "control": control} | about
    return _from_interval(known | teachers, interval)


def over_replicas(run: Run, arm: str, values: Any, quantity: str, **about: Any) -> Estimate:
    """The mean of one value a replica, with its t interval; `about` are the columns that say what it is."""
    values = np.asarray(values, dtype=np.float64)
    return _from_interval(_about(run, arm, len(values)) | {"quantity": quantity} | about, mean_interval(values))


def by_epoch(run: Run, metrics: pd.DataFrame, quantity: str) -> list[Estimate]:
    """The mean over replicas of a column of the metrics of one split and view, by arm and epoch."""
    found = []
    for arm, rows in metrics.groupby("arm", sort=False):
        epochs, values, counts = (rows[name].to_numpy() for name in ("epoch", quantity, "n"))
        for epoch in np.unique(epochs):
            there = epochs == epoch
            where = {"split": rows["split"].iloc[0], "epoch": int(epoch), "n_samples": int(counts[there][0])}
            found.append(over_replicas(run, str(arm), values[there], quantity, **where))
    return found


@lru_cache(maxsize=8192)
def decomposition_term(
    run: Run, arm: str, term: str, rows: str = "held-out", epoch: int | None = None
) -> Estimate | None:
    """The mean of an arm's corrected bias or variance over one kind of rows; at the last stored epoch if none is given.

    Held-out rows are those of the first held-out split with predictions.
    """
    split, membership = KINDS_OF_ROWS[rows]
    if epoch is None:
        last = stored.terms(run, arm, split, membership)
        if rows == "held-out" and last is None:
            split = "validation"
            last = stored.terms(run, arm, split)
        epoch = None if last is None else last.epoch
    totals = None if epoch is None else stored.totals(run, arm, split, membership, epoch)
    if totals is None or not totals[0].bias.n_samples:
        return None
    about = {"quantity": term, "rows": rows, "split": split, "epoch": epoch}
    return from_total(run, arm, getattr(totals[0], term), totals[1] - 1, **about)


@lru_cache(maxsize=4096)
def term_change(run: Run, treatment: str, control: str, term: str, rows: str = "held-out") -> Estimate | None:
    """The mean change of corrected bias or variance from control to treatment, on paired replicas."""
    split, membership = KINDS_OF_ROWS[rows]
    changed = change(run, treatment, control, split=split, membership=membership)
    if changed is None:
        return None
    about = {"quantity": term, "rows": rows, "split": split, "epoch": changed.epoch, "control": control}
    return from_total(run, treatment, getattr(changed.totals, term), changed.df, **about)


def from_total(run: Run, arm: str, total: Total, df: int, **about: Any) -> Estimate:
    """A jackknifed total as an estimate with its t interval over replicas."""
    interval = interval_from(total.value, total.stderr_replicas, df, total.n_replicas)
    known = _about(run, arm, total.n_replicas) | {"n_samples": total.n_samples} | about
    return replace(_from_interval(known, interval, total.stderr_samples), df=df)


def measured(run: Run, arms: Sequence[str], interval: Interval, df: float, quantity: str, **about: Any) -> Estimate:
    """A number of one arm, or of several together, with an interval that was made elsewhere."""
    return replace(
        _from_interval(_about_all(run, arms) | {"quantity": quantity, "n_replicas": 0} | about, interval), df=df
    )


def _about(run: Run, arm: str, replicas: int) -> dict[str, Any]:
    """The columns that say what an arm is."""
    entry = run.arm(arm)
    return {
        "run": run.name, "arm": arm, "label": str(entry.get("label") or arm), "loss": entry.get("loss") or "",
        "plays": run.entry(arm).plays or "",
        "role": entry.get("role") or "main", "regime": entry.get("regime") or "none",
        "replicas": entry.get("replicas") or replicas, "failed": len(failed_replicas(run, arm)),
    }  # fmt: skip


def _about_all(run: Run, arms: Sequence[str]) -> dict[str, Any]:
    """The columns that say what several arms are: what they share, "" where they differ, their failures together."""
    every = [_about(run, arm, 0) for arm in arms]
    shared = {key: value if all(one[key] == value for one in every) else "" for key, value in every[0].items()}
    names = {"arm": ", ".join(arms), "label": ", ".join(one["label"] for one in every)}
    return shared | names | {key: sum(one[key] for one in every) for key in ("replicas", "failed")}


def _of_metrics(final: pd.DataFrame, quantity: str) -> dict[str, Any]:
    first = final.iloc[0]
    where = {"rows": "held-out", "split": str(first["split"]), "epoch": int(first["epoch"])}
    return {**where, "quantity": quantity, "n_samples": int(first["n"])}


def _from_interval(about: dict[str, Any], interval: Interval, stderr_samples: float = math.nan) -> Estimate:
    """An estimate whose error is over one value a replica."""
    errors = {"stderr_samples": stderr_samples, "stderr_teachers": math.nan, "df": interval.n - 1}
    counts = {"n_samples": 0, "n_teachers": None}
    nothing = {"rows": "", "split": "", "epoch": None, "against": "", "control": ""}
    return Estimate(**(nothing | interval_columns(interval) | errors | counts | about))


def _over_teachers(run: Run, arms: Sequence[str], by_replica: pd.Series[Any]) -> tuple[Interval, dict[str, Any]]:
    """The mean of one value a replica with its interval, and the columns that say so if that is over teachers.

    Replicas that share a copy of a teacher are not independent. Each copy then counts once, by the mean of its
    replicas, and the error is over copies: it holds for teachers trained like these, not for these alone.
    """
    groups = groups_by_teacher(run, arms)
    if groups < 2:
        return mean_interval(by_replica.to_numpy()), {}
    means = by_replica.groupby(by_replica.index % groups).mean()
    interval = mean_interval(means.to_numpy())
    over = {"stderr_teachers": interval.stderr, "n_teachers": interval.n, "df": interval.n - 1}
    return replace(interval, n=len(by_replica)), over


def _difference(values: dict[str, pd.Series[Any]], plus: Sequence[str], minus: Sequence[str]) -> pd.Series[Any]:
    return reduce(add, [values[arm] for arm in plus]) - reduce(add, [values[arm] for arm in minus])


def _mean_error(by_sample: Any) -> float:
    return mean_interval(by_sample.to_numpy()).stderr
