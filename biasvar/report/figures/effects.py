"""What each change to the soft labels does to accuracy: differences of paired arms, by the question they answer."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import rows, style
from biasvar.report.arms.contrasts import contrasts
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_replicas, taken_note, taken_over
from biasvar.report.figure import Figure, conditions_in, signed, sizes
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import final_difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "question", "arm", "label", "control", "control_label", "regime", "split", "estimate", "low", "high",
    "stderr", "n_replicas", "n_samples", "failed", "replicas",
]  # fmt: skip


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run and contrast: the difference of final accuracies, paired by replica."""
    found = []
    for run in runs:
        taken = taken_over(run, runs)
        for one in contrasts(run):
            if {one.treatment, one.control} <= taken:
                continue
            row = difference(run, one.treatment, one.control)
            found += [{"run": run.name, "question": one.question, **row}] if row else []
    return style.styled(pd.DataFrame(found, columns=COLUMNS), runs)


def difference(run: Run, treatment: str, control: str) -> dict[str, Any] | None:
    """Accuracy of one arm less another's with its 95 % t interval; None without replicas that both evaluated."""
    row = final_difference(run, treatment, control, "accuracy")
    if row is None:
        return None
    failed = {*failed_replicas(run, treatment), *failed_replicas(run, control)}
    both = {"control_label": arm_label(run, control), "failed": len(failed), "replicas": row.n_replicas}
    return {key: value for key, value in (asdict(row) | both).items() if key in COLUMNS}


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run an axis for each question, with its own scale; a row for each difference, its numbers beside it."""
    runs = list(dict.fromkeys(frame["run"]))
    parts = [frame[frame["run"] == run] for run in runs]
    heights = [
        sum(_height(questions) for _, questions in part.groupby("question", sort=False)) + 0.3 * (len(runs) > 1)
        for part in parts
    ]
    figure = style.new_figure(height=sum(heights) + 0.85)
    blocks: Any = figure.subfigures(len(runs), 1, squeeze=False, height_ratios=heights)
    for block, run, part in zip(blocks[:, 0], runs, parts, strict=True):
        if len(runs) > 1:
            block.suptitle(run, weight="bold", fontsize=10.5, x=0.01, ha="left")
        questions = [(name, part[part["question"] == name]) for name in dict.fromkeys(part["question"])]
        ratios = [_height(group) - 0.5 for _, group in questions]
        grid = block.subplots(len(questions), 1, squeeze=False, height_ratios=ratios)
        for ax, (question, group) in zip(grid[:, 0], questions, strict=True):
            _forest(ax, group)
            ax.set_title(question)
        ax.set_xlabel(f"difference of accuracy on {part['split'].iloc[0]} rows (percentage points)")
    regimes = rows.regime_handles(frame)
    if regimes:
        figure.legend(handles=regimes, loc="outside lower left", ncols=2, columnspacing=1.6, handletextpad=0.3)
    return figure


def _height(group: pd.DataFrame) -> float:
    return rows.ROW_HEIGHT * (len(group) + 0.3) + 0.5


def _forest(ax: Axes, part: pd.DataFrame) -> None:
    styles = style.styles_of(part)
    low, high = (100 * bound for bound in rows.limits(part, anchor=0.0))
    margin = 0.04 * (high - low)
    ax.set_xlim(low - margin, high + margin)
    ax.axvline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)
    labels = []
    for y, row in enumerate(each(part)):
        _dot(ax, row, styles[row.arm], y)
        ax.text(1.02, y, _numbers(row), va="center", fontsize=9, transform=ax.get_yaxis_transform())
        labels.append(f"{row.label} − {row.control_label}" + (" †" if row.failed else ""))
    ax.set_ylim(len(part) - 0.4, -0.6)
    ax.set_yticks(range(len(part)), labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    rows.scale(ax, "", ticks=6)


def _dot(ax: Axes, row: Any, look: style.Look, y: int) -> None:
    low, high = ax.get_xlim()
    value = 100 * row.estimate
    if not low <= value <= high:
        right = value > high
        ax.plot(0.985 if right else 0.015, y, ">" if right else "<", markersize=5.5, markerfacecolor="white",
                markeredgecolor=look.color, transform=ax.get_yaxis_transform())  # fmt: skip
        return
    if np.isfinite(row.low):
        bounds = np.clip([100 * row.low, 100 * row.high], low, high)
        ax.plot(bounds, [y, y], color=look.color, linewidth=1.7, solid_capstyle="butt", zorder=2)
    hollow = row.failed > 0
    ax.plot(
        value, y, look.marker, markersize=4.6, zorder=3, markerfacecolor="white" if hollow else look.color,
        markeredgecolor=look.color if hollow else "white", markeredgewidth=1.2 if hollow else 0.5,
    )  # fmt: skip


def _numbers(row: Any) -> str:
    text = signed(100 * row.estimate, 2)
    if math.isnan(row.low):
        return text
    return f"{text} [{signed(100 * row.low, 2)}, {signed(100 * row.high, 2)}]"


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, pairing, intervals, what a row compares, failures, draw and data."""
    failed = rows.failure_note(frame)
    return (
        f"Accuracy on n = {sizes(frame['n_samples'])} {' and '.join(dict.fromkeys(frame['split']))} rows after the "
        f"last epoch; mean over {sizes(frame['n_replicas'])} pairs of replicas on the same draw, 95 % t intervals over "
        "replicas for these rows, in percentage points, as numbers at the right. Arms of one row have the same "
        "teacher, temperature and alpha unless the row is about one of them. The marker is the regime of the first "
        "arm's teacher. "
        f"The {len(frame)} intervals are not adjusted for their number; those of the claims table are."
        + (f" † {failed}; these do not set the scale." if failed else "")
        + f"{taken_note(runs)} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="effects",
    title="What each change to the soft labels does to accuracy",
    how_to_read="Each row is one arm's accuracy less another's, replica by replica. A bar right of the line is a gain, "
    "left of it a loss; a bar across it is not told from nothing. Each "
    "question has a scale of its own. WSL owes its gain to its choice of samples only if it "
    "also beats the rows with its mean weight and with its weights shuffled.",
    needs="arms that differ in one respect: soft labels, a mask, weights or the teacher's smoothing",
    collect=collect,
    draw=draw,
    caption=caption,
)
