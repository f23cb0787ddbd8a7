"""The weights of a teacher's layers that a search found, by group, layer and epoch; and whether the search learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.chance import chance_limit
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.errors import RecordError
from biasvar.records import Run
from biasvar.report.statistics.estimates import interval_columns

TABLE = "feature_weights"
_LAYER = ["group", "layer", "student_module", "teacher_module", "height", "width"]


def weights_of(run: Run, arm: str) -> pd.DataFrame | None:
    """The layer weights of a search by replica and epoch; None for an arm that is no search, or not done."""
    try:
        return run.method_table(TABLE, arm)
    except RecordError:
        return None


def mean_weights(run: Run, arm: str) -> pd.DataFrame:
    """One row a group, layer and epoch of a search: the mean weight over replicas with its 95 % interval and spread."""
    table = weights_of(run, arm)
    if table is None:
        return pd.DataFrame()
    rows = []
    for (epoch, *layer), part in table.groupby(["epoch", *_LAYER], sort=True):
        found = mean_interval(part["weight"].to_numpy())
        about = dict(zip(_LAYER, layer, strict=True)) | {"epoch": epoch, "n_replicas": len(part)}
        answered = part.loc[part["rows"].fillna(0) > 0, "accuracy"]
        spread = {"sd": float(part["weight"].std(ddof=1)), "accuracy": answered.mean(), "rows": part["rows"].max()}
        rows.append(about | interval_columns(found) | spread)
    return pd.DataFrame(rows)


def centroids(run: Run, arm: str) -> pd.Series[Any]:
    """By replica, the centroid of a search's last weights over depth: the mean over groups of sum_j a_j j / (J - 1).

    0: all weight on the shallowest layer of each group, 1: on the deepest. Groups of one layer do not count.
    """
    table = weights_of(run, arm)
    if table is None:
        return pd.Series(dtype=float)
    last = table[table["epoch"] == table["epoch"].max()]
    deepest = last.groupby("group")["layer"].transform("max")
    last = last[deepest > 0]
    parts = last["weight"] * last["layer"] / deepest[deepest > 0]
    by_group = parts.groupby([last["replica"], last["group"]]).sum()
    means: pd.Series[Any] = by_group.groupby("replica").mean()
    return means


def unlearned(run: Run, search: str) -> str:
    """Why the weights of a search say nothing, in words; "" if it learned in every replica and group.

    It learned where, in the last epoch in which a group was searched, what the label's part of its loss classifies is
    right about more of the rows that train the weights than `chance_limit` allows.
    """
    table = weights_of(run, search)
    if table is None:
        return f"the run holds no layer weights of {search}"
    lost = [item.replica for item in run.entry(search).failed if item.reason == "not finite"]
    if lost or not np.isfinite(table["weight"]).all():
        return f"the search {search} is not finite in {len(lost) or 'some'} of {table['replica'].nunique()} replicas"
    answered = table[table["rows"].fillna(0) > 0]
    last = answered[answered["epoch"] == answered.groupby(["replica", "group"])["epoch"].transform("max")]
    last = last.drop_duplicates(["replica", "group"])
    if len(last) < len(table.drop_duplicates(["replica", "group"])):
        return f"the run does not say what the search {search} learned; run it anew"
    limits = [chance_limit(int(n), int(run.manifest["num_classes"])) for n in last["rows"]]
    at_chance = last[last["accuracy"] <= limits]
    if at_chance.empty:
        return ""
    groups = ", ".join(str(group) for group in sorted(at_chance["group"].unique()))
    return (
        f"the search {search} learned nothing in {at_chance['replica'].nunique()} of {table['replica'].nunique()} "
        f"replicas: what its loss classifies in the last epoch of group {groups} is at chance (accuracy up to "
        f"{at_chance['accuracy'].max():.3f} on {int(at_chance['rows'].min())} rows)"
    )
