"""Bias and variance of every arm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import LISTED, listed_arms
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import TERMS, decomposition_term, to_frame
from biasvar.report.text.captions import conditions, when_evaluated
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "loss", "plays", "role", "regime", "split", "epoch", "term", "estimate", "low", "high",
    "stderr_replicas", "stderr_samples", "n_replicas", "n_samples", "replicas", "failed",
]  # fmt: skip


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm and term, with the 95 % interval over replicas."""
    found = [decomposition_term(run, arm, term) for run in runs for arm in listed_arms(run) for term in TERMS]
    frame = to_frame(found).rename(columns={"quantity": "term", "stderr": "stderr_replicas"})
    return style.styled(frame[COLUMNS], runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """Two panels that share their rows: bias and variance."""
    names, entries = drawn.row_names(frame), drawn.regime_entries(frame)
    where = forest.places(frame).named(names, above=True, room=0.5 * style.NARROW_WIDTH * style.narrow())
    baselines = _baselines(frame)
    band = frame.loc[frame["arm"].isin(baselines), "low"].notna().any()
    told = "cross-entropy, with its 95 % interval as a band" if band else "cross-entropy"
    entries += [legends.dot("|", told, size=11)] * len(baselines)
    if frame["low"].notna().any():
        entries.append(legends.replica_bars(frame["split"]))
    figure = style.new_figure(height=0.6 + 0.2 * len(entries) + forest.height(where, 2, on_narrow=2))
    axes = forest.panels(figure, where, names, 2, on_narrow=2)
    rows = where.on(looks.put_on(frame, style.styles_of(frame), by="arm", hollow="failed"))
    for ax, term in zip(axes, TERMS, strict=True):
        part = rows[rows["term"] == term]
        forest.draw(ax, part, limits=scales.limits(part, anchor=0.0))
        for row in each(part[part["arm"].isin(baselines)]):
            ax.axvspan(row.low, row.high, color=style.FAINT, alpha=0.7, linewidth=0, zorder=0.5)
            ax.axvline(row.estimate, color=style.MUTED, linewidth=1.0, zorder=1)
        ax.set_title(term.capitalize())
        scales.values(ax, "nats, left is better", ticks=style.abreast(5, on_narrow=4))
    legends.below(figure, entries, handletextpad=0.6)
    return figure


def _rows_weigh(frame: pd.DataFrame) -> str:
    """How large the error of bias over rows is beside that over replicas, where it is larger: bars do not have it."""
    sound = frame[(frame["failed"] == 0) & (frame["term"] == "bias")]
    times = (sound["stderr_samples"] / sound["stderr_replicas"]).min()
    return f", for bias at least {math.floor(times)} times as large," if 2.0 <= times < math.inf else ""


def _baselines(frame: pd.DataFrame) -> pd.Series:
    """The arm of a single run whose value is a line behind all rows, at most one, and no arm of a grid."""
    alone = frame["run"].nunique() == 1
    return frame.loc[(frame["plays"] == "baseline") & (frame["role"] != "grid") & alone, "arm"].head(1)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, target, correction, interval, failures, draw and data."""
    count = sizes(frame["n_samples"])
    splits = " and ".join(dict.fromkeys(frame["split"]))
    note = drawn.failure_note(frame)
    when = f" {when_evaluated(frame, runs)}" if (frame["epoch"] > 0).any() else ""
    regimes = (frame["regime"] != "none").any()
    return (
        f"Means over n = {count} {splits} rows{when}, against the true labels at temperature 1; "
        "cross-entropy loss, in nats, corrected for the finite number of replicas; noise is 0 with one label a row. "
        + (
            "Bars are 95 % t intervals over replicas for these rows; the error over rows"
            f"{_rows_weigh(frame)} is in the CSV."
            if frame["low"].notna().any()
            else "No interval is drawn: there are too few replicas."
        )
        + (" The marker is the teacher's regime, which decides what the variance is conditional on." if regimes else "")
        + (f" † Hollow: {note}; these do not set the scale." if note else "")
        + f" {conditions(runs)}"
    )


FIGURE = Figure(
    name="bias_variance",
    title="Bias and variance by arm",
    how_to_read="Further left is better in both panels: less bias is a mean prediction nearer the truth, less variance "
    "is predictions that agree more between trainings. Arms whose bars are apart differ on these rows; arms whose "
    "bars touch may differ too, since replicas are paired. On other rows the values are less sure than bars say.",
    needs="predictions of at least two replicas on test or validation rows",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=LISTED,
)
