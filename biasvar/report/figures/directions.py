"""How many samples go which way, bias and variance, from cross-entropy to another arm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.intervals import interval_from
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import (
    ROLES,
    arms_with_role,
    baseline_of,
    baselines_in_words,
    core_arms,
    failed_arms,
    left_out,
    taken_note,
    taken_over,
)
from biasvar.report.arms.series import ablated_controls
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks
from biasvar.report.statistics.changes import CLEAR, QUADRANTS, SampleChange, change, quadrants
from biasvar.report.text.captions import any_own, conditions_in, runs_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "control", "rows", "quadrant", "share", "low", "high", "share_clear",
    "stderr_samples", "stderr_replicas", "n_samples", "n_replicas",
]  # fmt: skip
ROWS = {
    "held-out": ("test", "all", "Test rows"),
    "nonmember": ("train", "nonmember", "Training rows it did not see"),
    "member": ("train", "member", "Rows it trained on"),
}
TITLES = {
    "bias up, variance down": "bias ↑\nvariance ↓",
    "bias up, variance up": "bias ↑\nvariance ↑",
    "bias down, variance up": "bias ↓\nvariance ↑",
    "bias down, variance down": "bias ↓\nvariance ↓",
}


def collect(runs: list[Run]) -> pd.DataFrame:
    """A row per run, arm, kind of rows and quadrant; training rows for the arms that the study turns on only."""
    found = [row for run in runs for row in _of_run(run, taken_over(run, runs))]
    return style.styled(pd.DataFrame(found, columns=COLUMNS), runs)


def _of_run(run: Run, taken: set[str]) -> list[dict[str, Any]]:
    failed = failed_arms(run)
    core = core_arms(run)
    varied = ablated_controls(run)
    found = []
    for rows_, (split, membership, _) in ROWS.items():
        for arm in arms_with_role(run):
            control = baseline_of(run, arm)
            if (
                control in (None, arm, *failed)
                or arm in failed
                or arm in varied
                or arm in taken
                or (rows_ != "held-out" and arm not in core)
            ):
                continue
            changed = change(run, arm, str(control), split=split, membership=membership)
            if changed is None:
                continue
            about = {"run": run.name, "arm": arm, "label": arm_label(run, arm), "control": control}
            about |= {"regime": run.entry(arm).regime, "rows": rows_}
            found += [{**about, **row} for row in _shares(changed)]
    return found


def _shares(changed: SampleChange) -> list[dict[str, Any]]:
    counts = changed.change.group_counts
    groups = int(np.count_nonzero(counts.sum(axis=1))) if counts is not None else 0
    found: list[dict[str, Any]] = []
    for row in quadrants(changed).rename(columns={"clear": "share_clear"}).to_dict("records"):
        replicas = row["stderr_replicas"]
        df = math.inf if math.isnan(replicas) else groups - 1
        error = row["stderr_samples"] if math.isnan(replicas) else math.hypot(row["stderr_samples"], replicas)
        interval = interval_from(row["share"], error, df, row["n_replicas"])
        bounds = {"low": max(interval.low, 0.0), "high": min(interval.high, 1.0)}
        found.append({**{str(name): value for name, value in row.items()}, **bounds})
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """A column for each way to go, a block of rows for each run and kind of samples."""
    shown = looks.put_on(frame.rename(columns={"share": "estimate"}), style.styles_of(frame), by="arm", scale=100.0)
    shown = shown.assign(share_clear=100 * shown["share_clear"])
    parts = {
        (run, kind): part
        for run in dict.fromkeys(frame["run"])
        for kind in ROWS
        if len(part := shown[(shown["run"] == run) & (shown["rows"] == kind)])
    }
    heights = [forest.ROW_HEIGHT * (_places(part).total + 1.2) for part in parts.values()]
    figure = style.new_figure(height=sum(heights) + (1.7 if style.narrow() else 1.2))
    grid = figure.subplots(len(parts), len(QUADRANTS), squeeze=False, height_ratios=heights, sharex=True)
    for axes, ((run, kind), part) in zip(grid, parts.items(), strict=True):
        title = ROWS[kind][2]
        _block(axes, part, f"{run}: {title[0].lower()}{title[1:]}" if frame["run"].nunique() > 1 else title)
    grid[0, 0].set_xlim(0, min(100.0, 1.04 * float(shown["high"].max())))
    for ax, quadrant in zip(grid[0], QUADRANTS, strict=True):
        ax.set_title(TITLES[quadrant], weight="normal", fontsize=9.5, linespacing=1.15)
    for ax in grid[-1]:
        ax.set_xlabel("% of rows")
        ax.locator_params(axis="x", nbins=style.abreast(4, on_narrow=2))
    legends.below(figure, _entries(), columns=style.abreast(3), handlelength=1.4, columnspacing=1.4)
    return figure


def _places(part: pd.DataFrame) -> forest.Places:
    return forest.places(part).named(list(part.drop_duplicates("arm")["label"]), above=True)


def _block(axes: Any, part: pd.DataFrame, heading: str) -> None:
    where = _places(part)
    forest.name_rows(axes, where, list(part.drop_duplicates("arm")["label"]))
    for ax, quadrant in zip(axes, QUADRANTS, strict=True):
        rows = where.on(part[part["quadrant"] == quadrant])
        ax.barh(rows["y"], rows["estimate"], height=0.74, color=rows["color"], alpha=0.35)
        ax.barh(rows["y"], rows["share_clear"], height=0.74, color=rows["color"])
        forest.bars(ax, rows.assign(color=style.INK), width=1.1)
        ax.set_ylim(where.total - 0.4, -1.6)
        ax.spines["left"].set_visible(True)
        if style.narrow() and ax is not axes[0]:
            ax.spines["left"].set_color(style.FAINT)  # names run over it
        ax.grid(False, axis="y")
    axes[0].set_zorder(1)  # its heading runs over the axes beside it
    axes[0].text(0.0, -1.0, heading, weight="bold", va="center", in_layout=False, zorder=5, path_effects=style.halo())


def _entries() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(color=style.MUTED, alpha=0.35, label="share"),
        Patch(color=style.MUTED, label=f"of it clear: both beyond {CLEAR:g} standard errors"),
        Line2D([], [], color=style.INK, linewidth=1.1, label="95 % interval of the share"),
    ]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n by kind of rows, what is compared, errors, what was left out, draw and data."""
    kinds = [name for name in ROWS if name in set(frame["rows"])]
    said = "; ".join(
        f"{ROWS[name][2].lower()}, n = {sizes(frame.loc[frame['rows'] == name, 'n_samples'])}" for name in kinds
    )
    replicas = sizes(frame["n_replicas"])
    when = "after training" if any_own(frame, runs) else "last epoch, not augmented"
    shown = runs_in(frame, runs)
    training = " Training rows are shown for the main comparisons only." if len(kinds) > 1 else ""
    return (
        "Share of samples by the signs of their changes of bias and variance from cross-entropy ("
        f"{baselines_in_words(frame, runs)}), corrected terms, against the true labels at temperature 1, "
        f"{when}, on {replicas} paired replicas ({said}). An effect of nothing but noise would put "
        "samples on every side; those beyond twice their paired jackknife error with both changes are clear. "
        "Intervals: error over replicas and over samples in quadrature, Student's t."
        f"{training}{taken_note(runs)}{left_out(shown, ('main', 'control', 'regime'))} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="directions",
    title="How many samples go which way",
    how_to_read="A bar is the share of samples that moved in the direction over its column against cross-entropy; the "
    "full part are those whose moves are clear. Distillation is said to fill the first column. Compare an arm over "
    "teacher regimes before crediting the loss.",
    needs="predictions of a cross-entropy arm and of another arm on the same rows by the same replicas",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=ROLES,
)
