"""Whether answers are right as often as they are sure: accuracy against confidence, arm by arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import cloud
from biasvar.report.marks import reliability as mark
from biasvar.report.statistics import own_samples
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.reliability import BINS, reliability
from biasvar.report.text.captions import conditions_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "split", "bin", "low", "high", "n", "confidence", "accuracy", "accuracy_low",
    "accuracy_high", "ece", "ece_debiased", "ece_low", "ece_high", "ece_of_replicas", "ece_of_replicas_stderr",
    "n_samples", "n_replicas",
]  # fmt: skip
MOST = 6  # panels


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm and bin that is not empty, with the arm's calibration errors on each."""
    parts: list[pd.DataFrame] = []
    for run in runs:
        for arm in own_samples.own_arms(run):
            found = reliability(run, arm) if len(parts) < MOST else None
            if found is None:
                continue
            parts.append(
                found.table.assign(
                    run=run.name, arm=arm, label=arm_label(run, arm), split=own_samples.main_place(run, arm).split,
                    ece=found.error, ece_debiased=found.debiased.estimate, ece_low=found.debiased.low,
                    ece_high=found.debiased.high, ece_of_replicas=found.of_replicas.estimate,
                    ece_of_replicas_stderr=found.of_replicas.stderr, n_samples=found.n_samples,
                    n_replicas=found.n_replicas,
                )
            )  # fmt: skip
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return style.styled(frame.reindex(columns=COLUMNS), runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each arm, above the counts of its bins."""
    styles, frame = unstyled(frame)
    several = frame["run"].nunique() > 1
    panels = [part for _, part in frame.groupby(["run", "arm"], sort=False)]
    columns = cloud.columns(len(panels))
    rows = -(-len(panels) // columns)
    figure = style.new_figure(height=0.2 + 3.7 * rows, width=style.FULL_WIDTH if columns > 1 else 5.2)
    grid = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, sharey="row", height_ratios=[3.2, 1.0] * rows)
    logarithmic = any(mark.crowded(part) for part in panels)
    for number in range(rows * columns):
        ax, below = grid[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]
        if number >= len(panels):
            ax.set_axis_off()
            below.set_axis_off()
            continue
        part = panels[number]
        first = each(part)[0]
        mark.draw(ax, below, part, color=styles[str(first.arm)].color, logarithmic=logarithmic)
        name = style.panel_title(str(first.label), str(first.run) if several else "", width=26)
        ax.set_title(f"{name}\nECE {first.ece:.3f} ({first.ece_low:.3f} to {first.ece_high:.3f})", fontsize=9.5)
        if number % columns == 0:
            ax.set_ylabel("accuracy in the bin")
            below.set_ylabel("answers")
        below.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0", ".25", ".5", ".75", "1"])
        if number + columns >= len(panels):
            below.set_xlabel("confidence")
            below.tick_params(labelbottom=True)
    return figure


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, bins, intervals, the errors and what they lean to."""
    several = frame["run"].nunique() > 1
    said = "; ".join(
        f"{f'{row.run}, ' if several else ''}{row.label}, {row.n_replicas} × n = {row.n_samples:,} {row.split} "
        f"samples, debiased {row.ece_debiased:.3f}, mean of each replica's own {_of_replicas(row)}"
        for row in each(frame.drop_duplicates(["run", "arm"]))
    )
    return (
        f"Answers of all replicas together in {BINS} bins of confidence, the probability of the predicted class at "
        "temperature 1; empty bins are left out. Bars: 95 % intervals over samples, whose answers by several replicas "
        "go together, each bin by itself; orange: the gap to the dashed line. ECE: expected calibration error, the "
        "mean gap weighted by answers, with its 95 % interval over samples; it leans upwards, which the debiased value "
        f"takes off as far as can be. {said}. {conditions_in(frame, runs)}"
    )


def _of_replicas(row: Any) -> str:
    error = "" if np.isnan(row.ece_of_replicas_stderr) else f" ± {row.ece_of_replicas_stderr:.3f}"
    return f"{row.ece_of_replicas:.3f}{error}"


FIGURE = Figure(
    name="reliability",
    title="Reliability: accuracy against confidence",
    how_to_read="On the dashed line answers of confidence 0.8 are right in 80 % of cases; below it they are too sure, "
    "above it not sure enough.",
    needs="predictions of your own loop, or imported, of every replica by itself",
    collect=collect,
    draw=draw,
    caption=caption,
    kinds=own_samples.OWN,
)
