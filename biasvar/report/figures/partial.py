"""Partial labels: students' accuracy over a grid of unreliability and ambiguity, and the gap to true labels by rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import rank_correlation
from biasvar.report import style
from biasvar.report.arms import soft_labels
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, heat, legends, lines, looks, scatter
from biasvar.report.statistics import label_indicators
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import columns, final_difference
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import SubFigure

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "fit", "arm", "label", "asked_delta", "asked_gamma", "labelled", "delta", "delta_low", "delta_high",
    "gamma", "gamma_low", "gamma_high", "sum", "sum_low", "sum_high", "estimate", "low", "high", "stderr",
    "n_replicas", "n", "n_rows",
]  # fmt: skip
CELL, GAP, TRUTH = "grid", "gap", "true labels"
FITS = {soft_labels.AVERAGE: "average over candidates", soft_labels.CANDIDATES: "any candidate (set loss)"}
TITLES = {
    soft_labels.AVERAGE: "Accuracy (%), fit to the average",
    soft_labels.CANDIDATES: "Accuracy (%), fit to any candidate",
}
LOOKS = {
    soft_labels.AVERAGE: style.Look("#0072b2", "o", "-", "fit to the average"),
    soft_labels.CANDIDATES: style.Look("#d55e00", "s", "-", "fit to any candidate"),
}
REALISED = ("delta", "gamma", "sum")
LEAST = 6  # cells
APART = 0.008  # of the points of either way to fit from their sum, so that both can be seen


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows "grid", one a cell and way to fit; "gap", the accuracy of true labels less that of partial ones, by rows."""
    return pd.DataFrame([row for run in runs for row in _of_run(run)], columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    arms = [arm for arm in soft_labels.finished_arms(run) if soft_labels.kind(run, arm) == "partial"]
    grid = [arm for arm in arms if not soft_labels.definition(run, arm).get("labelled")]
    grid = [arm for arm in grid if soft_labels.fit(run, arm) in FITS]
    asked = {_asked(run, arm) for arm in grid}
    if len(asked) < LEAST or min(len({pair[i] for pair in asked}) for i in (0, 1)) < 2:
        return []
    rows = [_row(run, arm, CELL) | soft_labels.accuracy(run, arm) for arm in grid]
    truth = soft_labels.truth_arm(run)
    if truth is not None:
        about = {"run": run.name, "part": TRUTH, "arm": truth, "label": arm_label(run, truth)}
        rows.append({**about, **soft_labels.accuracy(run, truth)})
    return rows + _gaps(run, [arm for arm in arms if soft_labels.definition(run, arm).get("labelled")])


def _asked(run: Run, arm: str) -> tuple[float, float]:
    said = soft_labels.definition(run, arm)
    return float(said["unreliability"]), float(said["ambiguity"])


def _row(run: Run, arm: str, part: str) -> dict[str, Any]:
    """What is known of an arm's partial labels: asked for, and realised, by the entries above 0."""
    delta, gamma = _asked(run, arm)
    about: dict[str, Any] = {"run": run.name, "part": part, "fit": soft_labels.fit(run, arm), "arm": arm}
    about |= {"label": arm_label(run, arm), "asked_delta": delta, "asked_gamma": gamma}
    return {**about, **_realised(run, str(run.entry(arm).soft_label))}


def _realised(run: Run, name: str) -> dict[str, float]:
    """Indicators of the entries above 0, NaN where some class has no row, and of how many rows."""
    table = label_indicators.table(run, name)
    row = table[table["k"].isna()].iloc[0]
    indicators = {f"{name}{end}": float(row[f"{name}{end}"]) for name in REALISED for end in ("", "_low", "_high")}
    return {**indicators, "n_rows": int(row["n"])}


def _gaps(run: Run, arms: list[str]) -> list[dict[str, Any]]:
    """Accuracy of true labels of as many rows less that of partial ones, paired by replica."""
    truths = {}
    for arm in soft_labels.finished_arms(run):
        said = soft_labels.definition(run, arm)
        if said["kind"] == "label" and said.get("labelled"):
            truths[int(said["labelled"])] = arm
    rows = []
    for arm in arms:
        labelled = int(soft_labels.definition(run, arm)["labelled"])
        if labelled in truths:
            gap = final_difference(run, truths[labelled], arm, "accuracy")
            if gap is not None:
                rows.append({**_row(run, arm, GAP), "labelled": labelled, **columns(gap), "n": gap.n_samples})
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run a heat map for each way to fit; below, accuracy against the sum, and the gap by rows."""
    runs = list(dict.fromkeys(frame["run"]))
    depth = frame.loc[frame["part"] == CELL].groupby("run")["asked_delta"].nunique().max()
    heights = {run: _heights(part, depth) for run, part in frame.groupby("run", sort=False)}
    legend = 0.25 + 0.2 * 3 / style.abreast(3)
    figure, block_of = blocks.stacked(runs, [sum(heights[run]) + 0.25 + legend for run in runs])
    block: Any
    for run, block in block_of.items():
        rows = frame[frame["run"] == run]
        grid, gaps = rows[rows["part"] == CELL], rows[rows["part"] == GAP]
        fits = [fit for fit in FITS if (grid["fit"] == fit).any()]
        top, bottom = block.subfigures(2, 1, height_ratios=[heights[run][0] + 0.25, heights[run][1] + legend])
        for ax, fit in zip(_panels(top, len(fits)), fits, strict=True):
            _heat(ax, grid[grid["fit"] == fit])
            ax.set_title(TITLES[fit])
            ax.set_ylabel("unreliability Δ asked for" if fit == fits[0] or style.narrow() else "")
        legends.below(top, [_border_entry()], columns=1)
        axes = _panels(bottom, 2 if len(gaps) else 1)
        _against_sum(axes[0], grid, rows[rows["part"] == TRUTH])
        legends.below(bottom, _entries(fits, true_labels=bool((rows["part"] == TRUTH).any())), columns=style.abreast(3))
        if len(gaps):
            _gap(axes[1], gaps)
    return figure


def _heights(rows: pd.DataFrame, depth: int) -> list[float]:
    """Inches of the two parts of a run, without their legends."""
    maps, below = rows.loc[rows["part"] == CELL, "fit"].nunique(), 2 if (rows["part"] == GAP).any() else 1
    return [maps // style.abreast(maps) * (1.15 + 0.42 * depth), below // style.abreast(below) * 2.6]


def _panels(part: SubFigure, count: int) -> list[Axes]:
    across = style.abreast(count)
    return list(part.subplots(count // across, across, squeeze=False).flat)


def _entries(fits: list[str], *, true_labels: bool) -> list[Any]:
    """What the points of the lower panels are."""
    entries = [legends.dot(LOOKS[fit].marker, LOOKS[fit].label, color=LOOKS[fit].color) for fit in fits]
    return [*entries, legends.patch(style.FAINT, "true labels of all rows")] if true_labels else entries


def _border_entry() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=style.BAD, linewidth=2.4, label="Δ + γ of the labels is 1, beyond it more")


def _heat(ax: Axes, grid: pd.DataFrame) -> None:
    """A cell for each pair asked for: accuracy in percent with half its interval."""
    texts = [f"{100 * row.estimate:.0f}\n±{50 * (row.high - row.low):.0f}" for row in each(grid)]
    across = {"index": "asked_delta", "columns": "asked_gamma"}
    named = grid.assign(text=texts, below=grid["sum"] < 1.0)
    cells = {name: named.pivot(values=name, **across).iloc[::-1] for name in ("estimate", "text", "below")}
    for name in ("estimate", "text"):
        cells[name].index, cells[name].columns = ([f"{value:g}" for value in axis] for axis in cells[name].axes)
    heat.draw(ax, cells["estimate"], top=1.0, colors="viridis", texts=cells["text"].fillna(""), ink=None)
    _border(ax, cells["below"].to_numpy())
    ax.set_xlabel("ambiguity γ asked for")


def _border(ax: Axes, below: np.ndarray) -> None:
    """The line Delta + gamma = 1 of the realised values: between cells on either side of it."""
    pieces = [
        ([[column + 1] * 2, [row, row + 1]], below[row, column], below[row, column + 1])
        for row, column in np.ndindex(below.shape[0], below.shape[1] - 1)
    ]
    pieces += [
        ([[column, column + 1], [row + 1] * 2], below[row, column], below[row + 1, column])
        for row, column in np.ndindex(below.shape[0] - 1, below.shape[1])
    ]
    for ends, one_side, other_side in pieces:
        if {one_side, other_side} == {True, False}:
            ax.plot(*ends, color="white", linewidth=4.5, solid_capstyle="round", zorder=4)
            ax.plot(*ends, color=style.BAD, linewidth=2.4, solid_capstyle="round", zorder=5)


def _against_sum(ax: Axes, grid: pd.DataFrame, truth: pd.DataFrame) -> None:
    for row in each(truth):
        ax.axhspan(100 * row.low, 100 * row.high, color=style.FAINT, linewidth=0)
    aside = grid["fit"].map({soft_labels.AVERAGE: -APART, soft_labels.CANDIDATES: APART})
    points = looks.put_on(grid.assign(sum=grid["sum"] + aside), LOOKS, by="fit", scale=100.0)
    scatter.draw(ax, points, x="sum", y="estimate", low="low", high="high", size=5.5, edge=0.6)
    ax.axvline(1.0, color=style.BAD, linewidth=1.2)
    ax.set_ylim(0, 103)
    ax.set_xlabel("Δ + γ of the labels")
    ax.set_ylabel("test accuracy (%)")
    ax.set_title("The same cells by Δ + γ")


def _gap(ax: Axes, gaps: pd.DataFrame) -> None:
    named = gaps.assign(said=[f"Δ {row.asked_delta:g}, γ {row.asked_gamma:g}" for row in each(gaps)])
    rows = looks.put_on(named.assign(line=named["fit"] + named["said"]), LOOKS, by="fit", scale=100.0)
    lines.draw(ax, rows, x="labelled", line="line", markers=True, band=0.0, bars=1.4, size=5.0)
    ax.axhline(0.0, color=style.MUTED, linewidth=0.9)
    ax.set_xscale("log")
    ticks = sorted(gaps["labelled"].unique())
    ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    ax.minorticks_off()
    ax.set_ylim(bottom=min(-1.0, 100 * float(gaps["low"].min()) - 1))
    ax.set_xlabel("rows that carry labels")
    ax.set_ylabel("test accuracy (points)")
    ax.set_title("What true labels would add")
    shown = each(rows.drop_duplicates("line"))
    looks_of = {row.line: style.Look(row.color, row.marker, row.linestyle, row.said) for row in shown}
    ax.legend(handles=legends.lines(looks_of, markers=True, width=1.6), loc="upper right")


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what a cell says, intervals, how realised differs from asked for, the gap in numbers."""
    grid, gaps = frame[frame["part"] == CELL], frame[frame["part"] == GAP]
    text = (
        "The truth is dropped with probability Δ and each wrong label added with probability γ, once a row; an empty "
        "set becomes all labels, which moves Δ into γ. A cell: students' accuracy on n = "
        f"{sizes(grid['n'])} test rows (%), mean over "
        f"{sizes(grid['n_replicas'])} replicas ± half a 95 % t interval. Δ + γ of the labels: "
        f"as realised over {sizes(grid['n_rows'])} training rows (γ: the largest of all pairs of "
        "classes, which leans upwards). Average: "
        "cross-entropy with the uniform distribution on the candidates; set loss: −log of their joint probability. "
        f"Grey: true labels of all rows.{_correlations(grid)}"
    )
    if len(gaps):
        first, last = gaps.sort_values("labelled").iloc[[0, -1]].to_dict("records")
        ends = "; ".join(
            f"{signed(100 * row['estimate'], 1)} ({signed(100 * row['low'], 1)} to {signed(100 * row['high'], 1)}) at "
            f"{row['labelled']:,.0f} rows" for row in (first, last)
        )  # fmt: skip
        text += (
            " Gap: accuracy of true labels of as many rows less that of the partial labels, paired by replica, 95 % t "
            f"interval: {ends}, where the upper bound of Δ + γ is {last['sum_high']:.2f}."
        )
    return f"{text} {conditions_in(frame, runs)}"


def _correlations(grid: pd.DataFrame) -> str:
    """Rank correlation of accuracy with the realised sum over the grid, by way to fit, with a space before it."""
    said = []
    for (run, fit), part in grid.groupby(["run", "fit"], sort=False):
        rho = rank_correlation(part["sum"], part["estimate"])
        where = f"{run}, " if grid["run"].nunique() > 1 else ""
        said.append(
            f"{where}{FITS[str(fit)]}: {signed(rho.estimate, 2)} ({signed(rho.low, 2)} to {signed(rho.high, 2)})"
        )
    return f" Rank correlation of accuracy with Δ + γ over the cells, 95 % interval by Fisher's z: {'; '.join(said)}."


FIGURE = Figure(
    name="partial",
    title="Partial labels: accuracy over unreliability and ambiguity",
    how_to_read="Bright cells teach well. The condition Δ + γ < 1 holds on the lower left of the red line; a student "
    "can do poorly there for want of rows, so the last panel asks whether its gap to true labels closes as rows grow.",
    needs="partial labels over a grid of unreliability and ambiguity, with students of each",
    collect=collect,
    draw=draw,
    caption=caption,
)
