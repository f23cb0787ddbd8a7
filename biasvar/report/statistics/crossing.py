"""Weighted sums of arms laid out by what was drawn: replicas, test rows and copies of teachers; and their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.crossed import Component, Crossed, combined, crossed_mean
from biasvar.analysis.statistics.intervals import Interval, interval_from
from biasvar.records import Run
from biasvar.report.arms.teachers import groups_by_teacher, shared_copies
from biasvar.report.statistics import stored

Values = Callable[[str], "pd.DataFrame | None"]
"""By arm, one value for each replica (index) and row (columns); one column where it has none by row."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """A weighted sum of arms.

    Attributes:
        by_replica: one value a replica, the mean over rows (and over copies where every replica met all).
        interval, df: their mean with its 95 % interval over replicas, for these rows and these teachers.
        crossed: the same mean with its error over all that was drawn.
    """

    by_replica: pd.Series[Any]
    interval: Interval
    df: int
    crossed: Crossed


def contrast(run: Run, weights: Mapping[str, float], values: Values) -> Contrast | None:
    """The sum over arms of weight x values, paired by replica and row; None where an arm has none.

    Replicas that share a copy of a teacher are not independent. Where every replica met every copy (`crossed: true`),
    copies are a factor beside replicas; else replicas are nested in copies, and each copy counts once, by the mean of
    its replicas.
    """
    turns = turns_of(run, list(weights))
    if turns:
        return _met_by_all(weights, turns, values)
    table = _sum(weights, {arm: arm for arm in weights}, values)
    if table is None:
        return None
    return _nested(table, groups_by_teacher(run, weights))


def turns_of(run: Run, arms: Sequence[str]) -> dict[str, list[str]]:
    """By arm, the arms in which its replicas met the copies of their teacher, by shift; empty unless all met all.

    An arm without copies is the same in every turn.
    """
    copies = {arm: shared_copies(run, arm) for arm in arms}
    several = {count for count in copies.values() if count}
    if len(several) != 1:
        return {}
    count = several.pop()
    turns = {arm: _turns(run, arm, count) if copies[arm] else [arm] * count for arm in arms}
    return turns if all(len(names) == count for names in turns.values()) else {}


def right(run: Run, split: str) -> Values:
    """Whether each replica is right about each row after the last recorded epoch, 0 or 1."""
    return lambda arm: right_by_replica(run, arm, split)


def right_on_views(run: Run, split: str, weights: Mapping[str, float]) -> Values:
    """The sum over views of weight x whether each replica is right about each row, after the last recorded epoch.

    Views are paired by replica and row: {"clean": 1, "shuffled_patches-4": -1} is what shuffling costs each row.
    """

    def values(arm: str) -> pd.DataFrame | None:
        tables = {view: right_by_replica(run, arm, split, view) for view in weights}
        if any(table is None for table in tables.values()):
            return None
        first, *others = (weights[view] * table for view, table in tables.items() if table is not None)
        if not all(first.index.equals(table.index) and first.columns.equals(table.columns) for table in others):
            return None
        return sum(others, first)

    return values


@lru_cache(maxsize=128)
def right_by_replica(run: Run, arm: str, split: str, view: str = "clean") -> pd.DataFrame | None:
    """One row a replica, one column a sample: whether it is right, 0 or 1; None without a record of every one."""
    columns = ("replica", "sample_id", "label", "student_prediction")
    frame = stored.records(run, arm, split, view, None, columns)
    if frame is None or frame.empty:
        return None
    correct = (frame["student_prediction"] == frame["label"]).to_numpy(dtype=np.float64)
    frame = pd.DataFrame({"replica": frame["replica"], "sample_id": frame["sample_id"], "right": correct})
    table = frame.pivot(index="replica", columns="sample_id", values="right")
    return None if table.isna().any(axis=None) else table


def one_each(by_replica: pd.Series[Any]) -> pd.DataFrame:
    """One value a replica as a table without rows."""
    return by_replica.dropna().to_frame("all")


def _turns(run: Run, arm: str, count: int) -> list[str]:
    """The arm for each shift of its copies, from 0; shorter where a shift was not trained."""
    names = [arm, *(f"{arm}_shift{shift}" for shift in range(1, count))]
    there = [name for name in names if name in run.arms and run.entry(name).status in ("complete", None)]
    return [name for place, name in enumerate(there) if place == 0 or run.entry(name).setting("teacher_shift")]


def _sum(weights: Mapping[str, float], names: Mapping[str, str], values: Values) -> pd.DataFrame | None:
    tables = {arm: values(name) for arm, name in names.items()}
    if any(table is None or table.empty for table in tables.values()):
        return None
    first = next(iter(tables.values()))
    assert first is not None
    replicas, columns = first.index, first.columns
    for table in tables.values():
        assert table is not None
        if not columns.equals(table.columns):
            return None
        replicas = replicas.intersection(table.index)
    if replicas.empty:
        return None
    total = sum(weights[arm] * table.loc[replicas].to_numpy() for arm, table in tables.items() if table is not None)
    return pd.DataFrame(total, index=replicas, columns=columns)


def _met_by_all(weights: Mapping[str, float], turns: Mapping[str, list[str]], values: Values) -> Contrast | None:
    """Teachers x replicas x rows: in the turn with shift s, replica r learned from copy (r + s) mod T."""
    count = len(next(iter(turns.values())))
    shifted = [_sum(weights, {arm: names[shift] for arm, names in turns.items()}, values) for shift in range(count)]
    tables = [table for table in shifted if table is not None]
    if len(tables) < count or any(not table.index.equals(tables[0].index) for table in tables):
        return None
    replicas = tables[0].index.to_numpy()
    cells = np.stack([table.to_numpy() for table in tables])  # by shift
    copy = np.arange(count)[:, None]
    by_copy = cells[(copy - replicas) % count, np.arange(len(replicas))]  # (T, R, N)
    by_replica = pd.Series(by_copy.mean(axis=(0, 2)), index=replicas)
    crossed = _crossed(by_copy, ("teachers", "replicas", "rows"))
    return Contrast(by_replica, mean_interval(by_replica), len(replicas) - 1, crossed)


def _nested(table: pd.DataFrame, groups: int) -> Contrast:
    """Replicas x rows, or teachers x rows with replicas nested in teachers."""
    by_replica = table.mean(axis=1)
    if groups < 2:
        crossed = _crossed(table.to_numpy(), ("replicas", "rows"))
        return Contrast(by_replica, mean_interval(by_replica), len(table) - 1, crossed)
    copy = table.index.to_numpy() % groups
    means = table.groupby(copy).mean()
    return Contrast(by_replica, *_within(by_replica, copy), _crossed(means.to_numpy(), ("teachers", "rows")))


def _within(by_replica: pd.Series[Any], copy: np.ndarray) -> tuple[Interval, int]:
    """The mean over copies with its error over the replicas of these copies, and the error's df."""
    groups = by_replica.groupby(copy)
    sizes, spread = groups.size().to_numpy(), groups.var(ddof=0).to_numpy()
    df = int((sizes - 1).sum())
    variance = float((spread * sizes).sum()) / df if df else math.nan  # one spread for all copies
    error = math.sqrt(variance * float((1 / sizes).sum())) / len(sizes)
    return interval_from(float(groups.mean().mean()), error, df, len(by_replica)), df


def _crossed(values: np.ndarray, factors: tuple[str, ...]) -> Crossed:
    """The mean over factors of two levels or more; a single replica has no error."""
    if values.shape[-1] == 1:
        values, factors = values[..., 0], factors[:-1]
    if min(values.shape) < 2:
        return combined(float(values.mean()), {"replicas": Component(math.nan, math.nan, values.shape[0])})
    return crossed_mean(values, factors)
