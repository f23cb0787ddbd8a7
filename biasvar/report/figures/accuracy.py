"""Accuracy, negative log-likelihood and calibration error of every arm, and what each gains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.messages import first_few
from biasvar.report import style
from biasvar.report.arms import drawn, soft_labels
from biasvar.report.arms.roles import LISTED, baseline_of, baselines_in_words, listed_arms, reference_arms
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import Estimate, final_difference, final_level, final_metrics, to_frame
from biasvar.report.statistics.teacher_accuracy import accuracy_of_its_teacher
from biasvar.report.text.captions import any_own, conditions, unadjusted, when_evaluated
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "role", "regime", "split", "epoch", "metric", "against", "control", "estimate", "low",
    "high", "stderr", "n_replicas", "n_samples", "replicas", "failed", "teacher", "teacher_accuracy",
    "teacher_stderr", "teacher_n_samples", "teacher_networks",
]  # fmt: skip
MOST = 6  # teachers named that lie outside the axis
METRICS = {"accuracy": "accuracy", "nll": "NLL, nats", "ece": "ECE"}


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, metric and comparison: "" for the level, else the difference to a control arm.

    Beside the accuracy of an arm that has a teacher stands the test accuracy of that teacher.
    """
    frame = to_frame([row for run in runs for row in _of_run(run)]).rename(columns={"quantity": "metric"})
    return style.styled(_with_teachers(frame, runs)[COLUMNS], runs)


def _with_teachers(frame: pd.DataFrame, runs: list[Run]) -> pd.DataFrame:
    by_name = {run.name: run for run in runs}
    levels = (frame["metric"] == "accuracy") & (frame["against"] == "")
    found = [
        accuracy_of_its_teacher(by_name[name], arm) if level else None
        for name, arm, level in zip(frame["run"], frame["arm"], levels, strict=True)
    ]
    columns: dict[str, list[Any]] = {
        "teacher": [None if own is None else own.teacher for own in found],
        "teacher_accuracy": [math.nan if own is None else own.value for own in found],
        "teacher_stderr": [math.nan if own is None else own.stderr for own in found],
        "teacher_n_samples": [math.nan if own is None else own.n_samples for own in found],
        "teacher_networks": [math.nan if own is None else own.n_networks for own in found],
    }
    return frame.assign(**columns)


def _of_run(run: Run) -> list[Estimate | None]:
    references = reference_arms(run)
    if "cross-entropy" not in references and (truth := soft_labels.truth_arm(run)) is not None:
        references["true labels"] = truth
    shown = [arm for arm in listed_arms(run) if final_metrics(run, arm) is not None]
    controls = {name: arm for name, arm in references.items() if arm in shown}
    found: list[Estimate | None] = []
    for arm in shown:
        for metric in METRICS:
            found.append(final_level(run, arm, metric))
            for against, control in _controls(run, arm, controls).items():
                found.append(final_difference(run, arm, control, metric, against))
    return found


def _controls(run: Run, arm: str, controls: dict[str, str]) -> dict[str, str]:
    """Those that an arm is compared with: cross-entropy of its own network, KD of no other, and not itself."""
    chosen = dict(controls)
    if "cross-entropy" in chosen:
        chosen["cross-entropy"] = baseline_of(run, arm) or chosen["cross-entropy"]
    if "KD" in chosen and not run.entry(chosen["KD"]).shares(run.entry(arm), "student"):
        del chosen["KD"]
    return {against: control for against, control in chosen.items() if control != arm}


def draw(frame: pd.DataFrame) -> Drawing:
    """A block of levels and, where there is an arm to compare with, a block of paired differences."""
    where = forest.places(frame)
    differences = frame[frame["against"] != ""]
    titles = ("Value", "Difference, paired by replica") if len(differences) else ("Value",)
    metrics = [metric for metric in METRICS if (frame["metric"] == metric).any()]
    figure = style.new_figure(height=0.9 + len(titles) * (0.75 + forest.ROW_HEIGHT * where.total))
    grid = figure.subplots(len(titles), len(metrics), squeeze=False)
    rows = looks.put_on(
        frame, style.styles_of(frame), by="arm"
    )  # hollow is a difference to KD; the dagger tells failures
    for axes, title in zip(grid, titles, strict=True):
        forest.name_rows(axes, where, drawn.row_names(frame))
        axes[0].set_title(title)
        for ax, metric in zip(axes, metrics, strict=True):
            (_levels if title == "Value" else _differences)(ax, rows[rows["metric"] == metric], where)
            scales.values(ax, METRICS[metric] if title == "Value" else f"change of {METRICS[metric]}", ticks=3)
    against = differences["against"].drop_duplicates().sort_values(key=_order)
    entries = [legends.dot("o", f"difference to {name}", hollow=name == "KD") for name in against]
    if _shown_teachers(frame[frame["against"] == ""]).any():
        entries.append(legends.dot("|", "the teacher itself", size=9))
    legends.below(figure, drawn.regime_entries(frame, hollow=False) + entries)
    return figure


def _levels(ax: Axes, part: pd.DataFrame, where: forest.Places) -> None:
    part = part[part["against"] == ""]
    forest.draw(ax, where.on(part), limits=scales.limits(part))
    taught = where.on(part[_shown_teachers(part)])
    ax.plot(taught["teacher_accuracy"], taught["y"], "|", color=style.MUTED, markersize=9, zorder=2)


def _shown_teachers(levels: pd.DataFrame) -> pd.Series:
    """Which of the levels have a teacher whose accuracy lies on the axis of accuracies, which it does not set."""
    part = levels[levels["metric"] == "accuracy"]
    low, high = scales.limits(part) if len(part) else (math.nan, math.nan)
    return (levels["metric"] == "accuracy") & levels["teacher_accuracy"].between(low, high)


def _differences(ax: Axes, part: pd.DataFrame, where: forest.Places) -> None:
    part = part[part["against"] != ""]
    limits = scales.limits(part, anchor=0.0, room=0.03)
    dodge = 0.19 if part["against"].nunique() > 1 else 0.0
    for against, rows in part.groupby("against", sort=False):
        kd = against == "KD"
        rows = where.on(rows, shift=dodge if kd else -dodge).assign(hollow=kd)
        forest.draw(ax, rows, limits=limits, size=4.0, said=False)
    ax.axvline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)


def _order(names: pd.Series) -> pd.Series:
    return names == "KD"


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, replicas, intervals, what is compared with what, failures, draw and data."""
    count = sizes(frame["n_samples"])
    splits = " and ".join(dict.fromkeys(frame["split"]))
    named = frame[frame["against"] != ""].drop_duplicates(["against", "control"]).sort_values("against", key=_order)
    compared = " and ".join(
        f"{against} ({baselines_in_words(part['control'])})" for against, part in named.groupby("against", sort=False)
    )
    note = drawn.failure_note(frame)
    pairing = "paired by replica number" if any_own(frame, runs) else "replica by replica on the same draw"
    when = f" {when_evaluated(frame, runs)}" if (frame["epoch"] > 0).any() else ""
    return (
        f"n = {count} {splits} rows{when}; NLL is cross-entropy with the true label at "
        "temperature 1, ECE has 15 equal-width bins. Dots are means over replicas, bars 95 % t intervals over replicas "
        "for these rows."
        + (f" Below, {pairing}, the difference to {compared}." if compared else "")
        + f" {unadjusted(int(frame['low'].notna().sum()))}"
        + (f" † {note}; these do not set the scale." if note else "")
        + _teachers_note(frame)
        + f" {conditions(runs)}"
    )


def _teachers_note(frame: pd.DataFrame) -> str:
    """What the ticks of teachers are, as a sentence with a space before it; "" without any teacher."""
    levels = frame[frame["against"] == ""]
    known = levels.assign(shown=_shown_teachers(levels)).dropna(subset=["teacher_accuracy"])
    if known.empty:
        return ""
    beyond = [f"{row.teacher} {row.teacher_accuracy:.3f}" for row in each(known[~known["shown"]])]
    outside = f"; outside the axis: {first_few(dict.fromkeys(beyond), MOST)}" if beyond else ""
    return (
        f" A tick is the arm's teacher itself, accuracy on n = {sizes(known['teacher_n_samples'])} test rows, whose "
        f"error is in the CSV{outside}."
    )


def how_to_read(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Which side is better, and what an interval of a difference leaves out."""
    chance = "chance between trainings" if any_own(frame, runs) else "the draw of the training rows"
    return (
        "Accuracy is better to the right, NLL and ECE to the left. In a difference, a bar that does not cross the line "
        f"at 0 is a gain or a loss that {chance} does not explain. The bars are not adjusted for their number, so "
        "among so many some miss 0 by chance."
    )


FIGURE = Figure(
    name="accuracy",
    title="Accuracy, likelihood and calibration",
    how_to_read=how_to_read,
    needs="clean evaluations on test or validation rows",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=LISTED,
)
