"""The scores that rows are selected by: of those that learn from the teacher, and of the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.revision import RANDOM, is_selected, score, selection_in_words
from biasvar.report.arms.roles import arms_with_role, taken_over
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "selected_by", "selected", "low", "high", "share", "count", "n_rows", "n_replicas",
    "n_outside", "unit", "mean", "quantile_05", "median", "quantile_95",
]  # fmt: skip
TABLE = "selection_scores"
BINS, TAIL = 30, 0.005  # bins between these quantiles of all scores
ACROSS, MOST_ARMS = 3, 12
ROOM = 0.14  # of the axis, for the name of a tick
REST = "#b9b9b9"


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, whether the rows learn from the teacher, and bin of scores."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        left = taken_over(run, runs)
        by = {
            _selection(run, arm): arm
            for arm in reversed(arms_with_role(run))
            if _is_shown(run, arm) and arm not in left
        }
        for arm in [arm for arm in run.arms if arm in by.values()][:MOST_ARMS]:
            rows += _of_arm(run, arm)
    return style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)


def _is_shown(run: Run, arm: str) -> bool:
    """True for an arm with stored scores that say something of its rows."""
    stored = any((run.directory / TABLE / f"arm={arm}").glob("*.parquet"))
    return stored and is_selected(run.entry(arm)) and score(run.entry(arm)) != RANDOM


def _selection(run: Run, arm: str) -> str:
    """What arms share that select the same rows; the first of them is shown."""
    entry = run.entry(arm)
    return repr([entry.setting("selection"), entry.teacher, entry.setting("teacher_shift")])


def _of_arm(run: Run, arm: str) -> list[dict[str, Any]]:
    table = run.method_table(TABLE, arm)
    scores, selected = table["score"].to_numpy(), table["selected"].to_numpy()
    unit = float(np.median(np.abs(scores))) or 1.0
    low, high = np.arcsinh(np.quantile(scores, [TAIL, 1.0 - TAIL]) / unit)
    edges = unit * np.sinh(np.linspace(low, high if high > low else low + 1.0, BINS + 1))
    about = {
        "run": run.name, "arm": arm, "label": arm_label(run, arm), "selected_by": selection_in_words(run.entry(arm)),
        "n_replicas": table["replica"].nunique(), "unit": unit,
    }  # fmt: skip
    rows = []
    for which in (True, False):
        mine = scores[selected == which]
        if not len(mine):
            continue
        counts = np.histogram(mine, bins=edges)[0]
        spread = np.quantile(mine, [0.05, 0.5, 0.95])
        told = {
            "selected": which, "n_rows": len(mine), "n_outside": len(mine) - int(counts.sum()), "mean": mine.mean(),
            "quantile_05": spread[0], "median": spread[1], "quantile_95": spread[2],
        }  # fmt: skip
        rows += [
            {**about, **told, "low": a, "high": b, "count": int(count), "share": count / len(scores)}
            for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each arm: scores to the right, shares of all rows upwards, the selected ones in its colour."""
    styles, frame = unstyled(frame)
    runs = list(dict.fromkeys(frame["run"]))
    arms = {run: list(dict.fromkeys(frame.loc[frame["run"] == run, "arm"])) for run in runs}
    across = {run: style.abreast(min(ACROSS, len(names))) for run, names in arms.items()}
    down = {run: math.ceil(len(names) / across[run]) for run, names in arms.items()}
    figure, block_of = blocks.stacked(
        runs, [2.45 * rows + 0.2 for rows in down.values()], more=0.25 + 0.4 / style.abreast(2)
    )
    for run, block in block_of.items():
        axes = block.subplots(down[run], across[run], squeeze=False)
        for ax, arm in zip(axes.flat, arms[run], strict=False):
            _panel(ax, frame[(frame["run"] == run) & (frame["arm"] == arm)], styles[arm])
        for ax in axes.flat[len(arms[run]) :]:
            ax.set_axis_off()
        for ax in axes[:, 0]:
            ax.set_ylabel("rows of a bin (% of all)")
    first = styles[str(frame["arm"].iloc[0])]
    entries = [
        legends.patch(first.color, "coloured: learns from the teacher"),
        legends.patch(REST, "grey: learns from its label alone"),
    ]
    legends.below(figure, entries, columns=style.abreast(2))
    return figure


def _panel(ax: Axes, part: pd.DataFrame, look: style.Look) -> None:
    from matplotlib.ticker import NullLocator

    bottom = np.zeros(BINS)
    for which, color in ((True, look.color), (False, REST)):
        rows = part[part["selected"] == which]
        if rows.empty:
            continue
        width = (rows["high"] - rows["low"]).to_numpy()
        share = 100 * rows["share"].to_numpy()
        ax.bar(rows["low"], share, width=width, bottom=bottom, align="edge", color=color, zorder=2)
        bottom += share
    ax.set_title(style.panel_title(look.label, width=24), fontsize=9.5)
    selected_by = str(part["selected_by"].iloc[0]).replace(" by ", "\nby ")
    ax.set_xlabel(f"{selected_by} (log scale far from 0)", fontsize=9)
    ax.locator_params(axis="y", nbins=4)
    unit = float(part["unit"].iloc[0])
    ax.set_xscale("asinh", linear_width=unit)
    ticks = _ticks(unit, float(part["low"].min()), float(part["high"].max()))
    ax.set_xticks(ticks, [f"{value:g}".replace("-", "−") for value in ticks])
    ax.xaxis.set_minor_locator(NullLocator())


def _ticks(unit: float, low: float, high: float) -> list[float]:
    """0 and powers of ten from low to high, the largest first, as far as their names have room beside each other."""
    powers = [10.0**k for k in range(int(np.floor(np.log10(max(abs(low), abs(high), 1e-300)))), -12, -1)]
    wanted = [0.0, *(sign * power for power in powers for sign in (-1.0, 1.0))]
    gap = ROOM * (math.asinh(high / unit) - math.asinh(low / unit))
    kept: list[float] = []
    for value in (value for value in wanted if low <= value <= high):
        if all(abs(math.asinh(value / unit) - math.asinh(other / unit)) >= gap for other in kept):
            kept.append(value)
    return sorted(kept) or [low, high]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What is counted, n, what lies outside, draw and data."""
    once = frame.drop_duplicates(["run", "arm", "selected"])
    per_arm = once.groupby(["run", "arm"])[["n_rows", "n_outside"]].sum()
    medians = []
    for row in each(once[once["selected"].astype(bool)].drop_duplicates("label")):
        rest = once[(once["run"] == row.run) & (once["arm"] == row.arm) & ~once["selected"].astype(bool)]
        other = f"{rest['median'].iloc[0]:.3g}" if len(rest) else "none"
        medians.append(f"{row.label} {row.median:.3g} against {other}".replace("-", "−"))
    outside = per_arm["n_outside"] / per_arm["n_rows"]
    return (
        f"n = {sizes(per_arm['n_rows'])} scores an arm, of all rows that its replicas drew, each replica's rows chosen "
        f"by its own; {BINS} bins of equal width on an axis of asinh (score / median size), between the "
        f"quantiles {TAIL:g} and {1 - TAIL:g}; at most "
        f"{100 * outside.max():.1f} % of an arm's rows lie outside. Medians, selected against the rest: "
        f"{'; '.join(medians)}. Every score is in the run by replica and sample_id ({TABLE}). "
        f"{conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="selection",
    title="Scores by which rows are selected",
    how_to_read="What is coloured learns from the teacher, what is grey from its label alone. Colours meet at the "
    "score at which the selection was cut; where they mix, the cut was made class by class, replica by replica, or at "
    "random. Random selections are not shown, and of arms that select the same rows the first.",
    needs="an arm that selects rows and has stored their scores",
    collect=collect,
    draw=draw,
    caption=caption,
)
