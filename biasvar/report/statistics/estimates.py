"""One table of estimates: every number of the report with its errors and counts, one row a number.

Claims, summary.json and figures read its rows, so that a number has one definition and one error wherever it appears.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.decomposition.crossing import crossed_total
from biasvar.analysis.decomposition.totals import Estimate as Total
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.crossed import Crossed
from biasvar.analysis.statistics.intervals import Interval, interval_from
from biasvar.records import Run
from biasvar.report.arms.roles import failed_replicas
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import change
from biasvar.report.statistics.crossing import (
    Contrast,
    Values,
    contrast,
    one_each,
    right,
    right_by_replica,
    right_on_views,
)
from biasvar.report.statistics.terms_over_teachers import change_over_teachers

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
        estimate, low, high: the value with its 95 % interval over replicas, which of an accuracy ends at 0 and at 1.
        stderr: its standard error over replicas, the one behind the interval: for these rows and these teachers.
        stderr_samples, stderr_teachers: its errors over samples and over teachers, NaN where there is none.
        df: degrees of freedom of `stderr`, groups of replicas - 1; a replica is its own group up to 16 of them.
        n_replicas, n_samples, n_teachers: what it rests on; n_teachers is None where no teacher is drawn.
        crossed: the estimate with its error over all that was drawn, by which claims are judged; None where it is over
            replicas alone. No column of the table.
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
    crossed: Crossed | None = None


COLUMNS = [field.name for field in fields(Estimate) if field.name != "crossed"]
INTERVAL = ("estimate", "low", "high", "stderr", "n_replicas")


def to_frame(estimates: Iterable[Estimate | None]) -> pd.DataFrame:
    """The estimates as a frame with the columns `COLUMNS`; None, a number that a run does not hold, is left out."""
    return pd.DataFrame([columns(row, COLUMNS) for row in estimates if row is not None], columns=COLUMNS)


def columns(estimate: Estimate, names: Sequence[str] = INTERVAL) -> dict[str, Any]:
    """Some columns of an estimate, by name."""
    return {name: getattr(estimate, name) for name in names}


def interval_columns(interval: Interval) -> dict[str, Any]:
    """An interval over replicas as columns of a tidy frame."""
    bounds = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
    return {**bounds, "stderr": interval.stderr, "n_replicas": interval.n}


def between_0_and_1(row: Estimate) -> Estimate:
    """An accuracy or a share with its interval cut at 0 and 1, beyond which a t interval of few replicas may reach."""
    low, high = np.clip((row.low, row.high), 0.0, 1.0)
    return replace(row, low=float(low), high=float(high))


def final_metrics(run: Run, arm: str, splits: Sequence[str] = HELD_OUT, view: str = "clean") -> pd.DataFrame | None:
    """The metrics of an arm after its last epoch, by replica, on the first of the splits that has any in the view."""
    return _final_metrics(run, arm, tuple(splits), view)


@lru_cache(maxsize=4096)
def _final_metrics(run: Run, arm: str, splits: tuple[str, ...], view: str) -> pd.DataFrame | None:
    for split in splits:
        on_split = stored.metrics_of(run, arm, split, view)
        if len(on_split):
            if run.manifest.get("kind") == "recorder":  # somebody's own loop may stop a replica early
                return on_split.loc[on_split.groupby("replica")["epoch"].idxmax()].set_index("replica")
            return on_split[on_split["epoch"] == on_split["epoch"].max()].set_index("replica")
    return None


def final_accuracy(run: Run, arm: str) -> pd.Series[Any]:
    """Test accuracy after the last epoch, by replica; empty where the arm was not evaluated on test rows."""
    final = final_metrics(run, arm, ("test",))
    return pd.Series(dtype=float, name="accuracy") if final is None else final["accuracy"]


@lru_cache(maxsize=4096)
def final_level(run: Run, arm: str, quantity: str, view: str = "clean") -> Estimate | None:
    """Mean over replicas of a metric after the last epoch, on the first held-out split; None where it has no value."""
    final = final_metrics(run, arm, view=view)
    if final is None or final[quantity].isna().all():  # such as the ECE of a loop of the user's own
        return None
    split = str(final["split"].iloc[0])
    over_samples = math.nan
    if quantity == "accuracy" and (right := right_by_replica(run, arm, split, view)) is not None:
        over_samples = mean_interval(right.mean(axis=0)).stderr
    elif quantity == "nll" and (terms := stored.terms(run, arm, split, view=view)) is not None:
        over_samples = terms.decomposition.totals().loss.stderr_samples
    about = _about(run, arm, len(final)) | _of_metrics(final, quantity)
    row = _from_interval(about, mean_interval(final[quantity]), over_samples)
    return between_0_and_1(row) if quantity == "accuracy" else row


@lru_cache(maxsize=4096)
def final_difference(run: Run, treatment: str, control: str, quantity: str, against: str = "") -> Estimate | None:
    """Mean over paired replicas of a metric after the last epoch, treatment less control, on one held-out split."""
    treated, untreated = final_metrics(run, treatment), final_metrics(run, control)
    if treated is None or untreated is None or treated["split"].iloc[0] != untreated["split"].iloc[0]:
        return None
    found = contrast(run, {treatment: 1.0, control: -1.0}, _by_replica(run, quantity, str(treated["split"].iloc[0])))
    if found is None:
        return None
    about = _about(run, treatment, len(treated)) | _of_metrics(treated, quantity)
    return _from_contrast(about | {"against": against, "control": control}, found)


def accuracy_combination(run: Run, plus: Sequence[str], minus: Sequence[str]) -> Estimate | None:
    """The sum of some arms' final test accuracies less that of others', paired by replica and row."""
    weights = dict.fromkeys([*plus, *minus], 0.0)
    for arm in plus:
        weights[arm] += 1.0
    for arm in minus:
        weights[arm] -= 1.0
    return accuracy_contrast(run, weights, control=", ".join(minus))


def accuracy_contrast(run: Run, weights: Mapping[str, float], **about: Any) -> Estimate | None:
    """The sum over arms of weight x final test accuracy, paired by replica and row, with all its errors.

    The row is of the first arm; `about` are further columns. Over replicas alone where the record does not hold every
    row of every replica after the last epoch.
    """
    first = next(iter(weights))
    final = final_metrics(run, first, ("test",))
    by_metrics = contrast(run, weights, _by_replica(run, "accuracy", "test"))
    if final is None or by_metrics is None:
        return None
    by_row = contrast(run, weights, right(run, "test"))
    if by_row is not None and by_row.by_replica.index.equals(by_metrics.by_replica.index):
        apart = (by_row.by_replica - by_metrics.by_replica).abs().max()
        by_metrics = by_row if apart < 1e-6 else by_metrics
    return _from_contrast(_about(run, first, len(final)) | _of_metrics(final, "accuracy") | about, by_metrics)


def accuracy_on_views(
    run: Run, weights: Mapping[str, float], views: Mapping[str, float], **about: Any
) -> Estimate | None:
    """The sum over arms and views of weight x weight x final test accuracy, paired by replica and row, with all errors.

    The row is of the first arm; `about` are further columns. None where a view of an arm is not recorded in full.

    Args:
        run: With further views of its test rows.
        weights: By arm, such as {"infodrop": 1, "plain": -1}.
        views: By view, "clean" among them; {"clean": 1, "shuffled_patches-4": -1} is what shuffling costs.
    """
    first = next(iter(weights))
    final = final_metrics(run, first, ("test",), next(iter(views)))
    found = contrast(run, weights, right_on_views(run, "test", views))
    if final is None or found is None:
        return None
    return _from_contrast(_about(run, first, len(final)) | _of_metrics(final, "accuracy") | about, found)


def over_pairs(
    run: Run, treatment: str, control: str, values: Callable[[str], pd.Series[Any]], quantity: str, **about: Any
) -> Estimate | None:
    """The mean over paired replicas of one value a replica, treatment less control; `about` says what it is."""
    weights, said = {treatment: 1.0, control: -1.0}, {"quantity": quantity, "control": control} | about
    return weighted_sum(run, weights, lambda arm: one_each(values(arm)), **said)


def weighted_sum(run: Run, weights: Mapping[str, float], values: Values, **about: Any) -> Estimate | None:
    """The sum over arms of weight x values, paired by replica and column; `about` says what it is.

    The row is of the first arm. None where an arm has no values.
    """
    found = contrast(run, weights, values)
    if found is None:
        return None
    return _from_contrast(_about(run, next(iter(weights)), len(found.by_replica)) | about, found)


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
            row = over_replicas(run, str(arm), values[there], quantity, **where)
            found.append(between_0_and_1(row) if quantity == "accuracy" else row)
    return found


@lru_cache(maxsize=8192)
def decomposition_term(
    run: Run, arm: str, term: str, rows: str = "held-out", epoch: int | None = None, view: str = "clean"
) -> Estimate | None:
    """The mean of an arm's corrected bias or variance over one kind of rows; at the last stored epoch if none is given.

    Held-out rows are those of the first held-out split with predictions. In another view than "clean" they are test
    rows after the last epoch.
    """
    if view != "clean":
        return _term_on_view(run, arm, term, view)
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


def _term_on_view(run: Run, arm: str, term: str, view: str) -> Estimate | None:
    """The mean of an arm's corrected bias or variance over the test rows as a view shows them."""
    last = stored.terms(run, arm, view=view)
    groups = None if last is None else last.decomposition.group_counts
    if last is None or groups is None:
        return None
    total, df = getattr(last.decomposition.totals(), term), int(np.count_nonzero(groups.sum(axis=1))) - 1
    return from_total(run, arm, total, df, quantity=term, rows="held-out", split="test", epoch=last.epoch)


def class_terms(run: Run, arm: str) -> dict[int, list[Estimate]]:
    """An arm's mean corrected bias and variance over the held-out rows of each true class, by class.

    Rows are those of `decomposition_term`; empty where the run holds no such predictions, or no class has a value.
    """
    return group_terms(run, arm)


def group_terms(run: Run, arm: str, groups: pd.Series[Any] | None = None) -> dict[Any, list[Estimate]]:
    """The same of groups of rows, by name; `groups` names them by sample id, and rows without a name are left out."""
    last = stored.terms(run, arm) or stored.terms(run, arm, "validation")
    if last is None:
        return {}
    about = {"rows": "held-out", "split": "test" if stored.terms(run, arm) else "validation", "epoch": last.epoch}
    counts, decomposition, names = last.decomposition.group_counts, last.decomposition, last.labels
    df = (0 if counts is None else int(np.count_nonzero(counts.sum(axis=1)))) - 1
    if groups is not None:
        names = groups.reindex(last.sample_ids).to_numpy(dtype=object)
        named = ~pd.isna(names)
        decomposition, names = decomposition.take(named), names[named]
    found: dict[Any, list[Estimate]] = {}
    rows_of = pd.Series(names).groupby(names).indices
    for row in decomposition.totals_by(names).to_dict("records") if len(names) else []:
        total: dict[str, Any] = {str(name): value for name, value in row.items() if name not in ("group", "term")}
        if row["term"] in TERMS and total["n_samples"]:
            crossed = None if df < 1 else crossed_total(decomposition.take(rows_of[row["group"]]), row["term"])
            one = from_total(run, arm, Total(**total), df, quantity=row["term"], **about, crossed=crossed)
            found.setdefault(row["group"], []).append(one)
    return found


@lru_cache(maxsize=4096)
def term_change(run: Run, treatment: str, control: str, term: str, rows: str = "held-out") -> Estimate | None:
    """The mean change of corrected bias or variance from control to treatment, on paired replicas."""
    split, membership = KINDS_OF_ROWS[rows]
    changed = change(run, treatment, control, split=split, membership=membership)
    if changed is None:
        return None
    total = getattr(changed.totals, term)
    about: dict[str, Any] = {"quantity": term, "rows": rows, "split": split, "epoch": changed.epoch, "control": control}
    crossed = change_over_teachers(run, treatment, control, term, split, membership)
    if crossed is None:
        crossed = crossed_total(changed.change, term)
    else:
        total = replace(total, value=crossed.estimate)  # one number for both intervals
        teachers = crossed.components["teachers"]
        about |= {"stderr_teachers": teachers.stderr, "n_teachers": teachers.n}
    return from_total(run, treatment, total, changed.df, **about, crossed=crossed)


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


def _from_contrast(about: dict[str, Any], found: Contrast) -> Estimate:
    """An estimate with its error over replicas beside that over all that was drawn."""
    parts = found.crossed.components
    errors = {"stderr_teachers": math.nan, "n_teachers": None, "crossed": found.crossed, "df": found.df}
    if "teachers" in parts:
        errors |= {"stderr_teachers": parts["teachers"].stderr, "n_teachers": parts["teachers"].n}
    over_rows = parts["rows"].stderr if "rows" in parts else math.nan
    return _from_interval(about | errors, found.interval, over_rows)


def _by_replica(run: Run, metric: str, split: str) -> Values:
    """A metric after the last epoch as a table without rows."""

    def values(arm: str) -> pd.DataFrame | None:
        final = final_metrics(run, arm, (split,))
        return None if final is None else one_each(final[metric])

    return values
