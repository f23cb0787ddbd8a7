"""Accuracy in few-shot episodes of classes that were held out, with its errors over replicas and episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from biasvar.errors import RecordError
from biasvar.records import Run
from biasvar.report.statistics.estimates import Estimate, weighted_sum

TABLE = "few_shots"


def few_shots_of(run: Run) -> Mapping[str, Any]:
    """What the run's study says of few-shot episodes; empty where it has none."""
    return ((run.study or {}).get("data") or {}).get("few_shots") or {}


def few_shot_accuracy(run: Run, weights: Mapping[str, float], shots: int, **about: Any) -> Estimate | None:
    """The sum over arms of weight x accuracy in episodes with so many shots, paired by replica and episode.

    Its errors are over replicas and over episodes: other episodes of these held-out classes and images. The row is of
    the first arm, n_samples its episodes; `about` are further columns. None where an arm has no episodes.
    """

    def values(arm: str) -> pd.DataFrame | None:
        try:
            table = run.method_table(TABLE, arm)
        except RecordError:
            return None
        mine = table[table["shots"] == shots]
        found = mine.pivot(index="replica", columns="episode", values="accuracy").dropna()
        return None if found.empty else found

    row = weighted_sum(run, weights, values, quantity=f"accuracy, {shots} shots", **about)
    if row is None or row.crossed is None or "rows" not in row.crossed.components:
        return row
    parts = {"episodes" if name == "rows" else name: part for name, part in row.crossed.components.items()}
    return replace(row, crossed=replace(row.crossed, components=parts), n_samples=parts["episodes"].n)
