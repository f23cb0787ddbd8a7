"""What each change to the soft labels does to accuracy: differences of paired arms, by the question they answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.contrasts import contrasts
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_replicas, taken_note, taken_over
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, forest, legends, looks, scales
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import Estimate, accuracy_contrast, final_difference
from biasvar.report.text.captions import any_own, conditions_in, unadjusted, when_evaluated
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

CROSSED = {"low_crossed": "low", "high_crossed": "high"}
"""The ends of an interval over all that was drawn, and those over replicas alone."""
THICK, THIN = 2.4, 0.8  # points, of bars
COLUMNS = [
    "run", "question", "arm", "label", "control", "control_label", "regime", "split", "estimate", "low", "high",
    "stderr", "low_crossed", "high_crossed", "stderr_crossed", "n_replicas", "n_samples", "n_teachers", "failed",
    "replicas",
]  # fmt: skip
LISTED = ("run", "question")
"""The columns that say which contrast of which run it is."""


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
    """Accuracy of one arm less another's with its 95 % t intervals; None without replicas that both evaluated."""
    weights = {treatment: 1.0, control: -1.0}
    row = accuracy_contrast(run, weights, control=control) or final_difference(run, treatment, control, "accuracy")
    if row is None:
        return None
    failed = {*failed_replicas(run, treatment), *failed_replicas(run, control)}
    more = {"control_label": arm_label(run, control), "failed": len(failed), "replicas": row.n_replicas}
    more |= _over_all(row)
    return {name: more[name] if name in more else getattr(row, name) for name in COLUMNS if name not in LISTED}


def _over_all(row: Estimate) -> dict[str, float]:
    """The interval over all that was drawn; NaN where that is replicas alone."""
    if row.crossed is None or not {"rows", "teachers"} & row.crossed.components.keys():
        return dict.fromkeys(("low_crossed", "high_crossed", "stderr_crossed"), math.nan)
    over = row.crossed.interval()
    return {"low_crossed": over.low, "high_crossed": over.high, "stderr_crossed": over.stderr}


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run an axis for each question, with its own scale; a row for each difference, its numbers beside it."""
    runs = list(dict.fromkeys(frame["run"]))
    drawn_rows = looks.put_on(frame, style.styles_of(frame), by="arm", hollow="failed", scale=100.0)
    drawn_rows[list(CROSSED)] = 100.0 * drawn_rows[list(CROSSED)].astype(float)
    parts = {run: list(drawn_rows[drawn_rows["run"] == run].groupby("question", sort=False)) for run in runs}
    inner = [[forest.ROW_HEIGHT * (_places(group).total + 0.3) for _, group in parts[run]] for run in runs]
    heights = [sum(one) + 0.55 * len(one) + blocks.HEAD * (len(runs) > 1) for one in inner]
    entries = [*drawn.regime_entries(frame), *_bar_entries(frame)]
    figure, block_of = blocks.stacked(runs, heights, more=0.65 + 0.2 * len(entries))
    for (run, block), ratios in zip(block_of.items(), inner, strict=True):
        axes = block.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
        for ax, (question, group) in zip(axes, parts[run], strict=True):
            _question(ax, group)
            ax.set_title(style.panel_title(str(question), width=42) if style.narrow() else str(question), x=0.0)
        said = f"gain of accuracy on {parts[run][0][1]['split'].iloc[0]} rows, percentage points"
        axes[-1].set_xlabel(style.panel_title(said, width=46) if style.narrow() else said)
    legends.below(figure, entries)
    return figure


def _places(part: pd.DataFrame) -> forest.Places:
    """The places of the rows of a question, whose names stand above them on narrow screens, with the numbers."""
    return forest.places(part.assign(place=range(len(part))), row="place").named(_names(part), above=True, room=0.5)


def _names(part: pd.DataFrame) -> list[str]:
    return [f"{row.label} − {row.control_label}" + (" †" if row.failed else "") for row in each(part)]


def _question(ax: Axes, part: pd.DataFrame) -> None:
    where = _places(part)
    part = where.on(part.assign(place=range(len(part))))
    whole = part.assign(**{end: part[wide].fillna(part[end]) for wide, end in CROSSED.items()})
    forest.draw(ax, whole, limits=scales.limits(whole, anchor=0.0, room=0.04), reference=0.0, size=4.6, width=THIN,
                said=False)  # fmt: skip
    forest.bars(ax, part, width=THICK)
    if style.narrow():
        forest.beside(ax, part, [signed(value, 2) for value in part["estimate"]], above=True)
    else:
        forest.beside(ax, part, [_numbers(row) for row in each(whole)])
    forest.name_rows([ax], where, _names(part))
    scales.values(ax, "", ticks=6)


def _bar_entries(frame: pd.DataFrame) -> list[Any]:
    """What the thick and the thin bars are over."""
    thick = style.Look(style.MUTED, "", "-", f"95 % over replicas, on these {_splits(frame)} rows")
    entries = legends.lines({"": thick}, width=THICK)
    if frame["low_crossed"].notna().any():
        said = "" if style.narrow() else ", as the numbers"
        thin = style.Look(style.MUTED, "", "-", f"95 % over {_over(frame)}{said}")
        entries += legends.lines({"": thin}, width=THIN)
    return entries


def _over(frame: pd.DataFrame) -> str:
    """What the thin bars are over, in words."""
    teachers = ", or teachers" * bool(frame["n_teachers"].notna().any())
    return f"replicas{teachers} and {_splits(frame)} rows"


def _splits(frame: pd.DataFrame) -> str:
    return " and ".join(dict.fromkeys(frame["split"]))


def _numbers(row: Any) -> str:
    text = signed(row.estimate, 2)
    return text if math.isnan(row.low) else f"{text} [{signed(row.low, 2)}, {signed(row.high, 2)}]"


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, pairing, intervals, what a row compares, failures, draw and data."""
    failed = drawn.failure_note(frame)
    pairing = "of the same number" if any_own(frame, runs) else "on the same draw"
    thin = (
        f" thin ones, and the numbers at the right, over {_over(frame)}, as claims are judged."
        if frame["low_crossed"].notna().any()
        else " the numbers at the right are the same. The record lacks rows for bars over test rows too."
    )
    return (
        f"Accuracy on n = {sizes(frame['n_samples'])} {_splits(frame)} rows "
        f"{when_evaluated(frame, runs)}; mean over {sizes(frame['n_replicas'])} pairs of replicas {pairing}, 95 % t "
        f"intervals, in percentage points. Thick bars are over replicas, for these rows and these teachers;{thin} "
        "Arms of one row have the same teacher, temperature and alpha unless the row is about one of them. The marker "
        f"is the regime of the first arm's teacher. {unadjusted(len(frame))}"
        + (f" † {failed}; these do not set the scale." if failed else "")
        + f"{taken_note(runs)} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="effects",
    title="What each change to the soft labels does to accuracy",
    how_to_read="Each row is one arm's accuracy less another's, replica by replica. A bar right of the line is a gain, "
    "left of it a loss. If only the thick bar is clear of the line, the effect is sure on these test rows and open "
    "on others; if neither is, it is not told from nothing. Each question has a "
    "scale of its own. WSL owes its gain to its choice of samples only if it also beats the rows with its mean weight "
    "and with its weights shuffled.",
    needs="arms that differ in one respect: soft labels, a mask, weights or the teacher's smoothing",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=("main",),
)
