"""Accuracy, negative log-likelihood and calibration error of every arm, and what each gains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn, soft_labels
from biasvar.report.arms.roles import LISTED, baseline_of, listed_arms, reference_arms
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.statistics.estimates import Estimate, final_difference, final_level, final_metrics, to_frame
from biasvar.report.statistics.teacher_accuracy import accuracy_of_its_teacher
from biasvar.report.text.captions import any_own, conditions, unadjusted, when_evaluated
from biasvar.report.text.numbers import decimals, signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "role", "regime", "group", "split", "epoch", "metric", "against", "control", "estimate",
    "low", "high", "stderr", "n_replicas", "n_samples", "replicas", "failed", "teacher", "teacher_accuracy",
    "teacher_stderr", "teacher_n_samples", "teacher_networks",
]  # fmt: skip
METRICS = {
    "accuracy": ("Accuracy", "%, right is better", 100.0),
    "nll": ("Loss (NLL)", "nats, left is better", 1.0),
    "ece": ("Calibration error", "%, left is better", 100.0),
}
"""Heading and axis of the panel of each metric, and the factor of its unit."""
BASES = ("cross-entropy", "true labels")
"""What the line is that an arm is held against: the first that there is."""
GROUPS = ("No teacher", "KD and WSL", "Masks, controls", "Teacher of other rows", "Smoothed teacher", "Other methods")
GROUPED_FROM = 9  # arms of a run


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, metric and comparison: "" for the level, else the difference to a control arm.

    Beside the accuracy of an arm that has a teacher stands the test accuracy of that teacher.
    """
    frame = to_frame([row for run in runs for row in _of_run(run)]).rename(columns={"quantity": "metric"})
    by_name = {run.name: run for run in runs}
    frame["group"] = [group_of(by_name[name], arm) for name, arm in zip(frame["run"], frame["arm"], strict=True)]
    return style.styled(_with_teachers(frame, runs)[COLUMNS], runs)


def group_of(run: Run, arm: str) -> str:
    """The one of `GROUPS` that an arm belongs to."""
    entry = run.entry(arm)
    teacher = (run.manifest.get("teachers") or {}).get(str(entry.teacher)) or {}
    if entry.role == "control" or entry.plays == "masking" or entry.setting("weights_from"):
        return GROUPS[2]
    if entry.plays in ("baseline", "smoothing", "dropout") and entry.teacher is None:
        return GROUPS[0]
    if entry.plays not in ("distillation", "weighting"):
        return GROUPS[5]
    if teacher.get("smoothing"):
        return GROUPS[4]
    return GROUPS[1] if entry.teacher == run.manifest.get("reference_teacher") else GROUPS[3]


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
    """A panel for each metric, a row for each arm, with a line at the control; at the right the difference to it."""
    levels = _in_groups(frame[frame["against"] == ""])
    metrics = [metric for metric in METRICS if (levels["metric"] == metric).any()]
    names = drawn.row_names(levels)
    where = forest.places(levels, group="heading").named(names, above=True)
    looked = where.on(looks.put_on(levels, style.styles_of(frame), by="arm", hollow="failed"))
    gaps = where.on(_gaps(frame).merge(levels[["run", "arm", "heading"]].drop_duplicates(), on=["run", "arm"]))
    entries = drawn.regime_entries(levels)
    entries += _control_entries(gaps)
    if levels["low"].notna().any():
        entries.append(legends.replica_bars(levels["split"]))
    figure = style.new_figure(height=0.85 + 0.2 * len(entries) + forest.height(where, len(metrics), on_narrow=3))
    for ax, metric in zip(forest.panels(figure, where, names, len(metrics), on_narrow=3), metrics, strict=True):
        title, side, scale = METRICS[metric]
        rows, of_metric = (_scaled(part[part["metric"] == metric], scale) for part in (looked, gaps))
        _controls_behind(ax, rows, of_metric)
        limits = scales.limits(rows, room=0.02)
        forest.draw(ax, rows, limits=limits, said=not style.narrow() or of_metric.empty)
        ax.set_title(_on_two_lines(title) if style.narrow() else title)
        scales.values(ax, side.replace(" is", "\nis") if style.narrow() else side, ticks=3)
        if style.narrow():
            ax.set_xticks(_outer([float(tick) for tick in ax.get_xticks()], limits))
        if len(of_metric):
            _numbers(ax, of_metric)
    legends.below(figure, entries, handletextpad=0.6)
    return figure


def _on_two_lines(title: str) -> str:
    """The title of a narrow panel, whose second line leaves room for what stands over the gaps beside it."""
    said = style.panel_title(title, width=12)
    return said if "\n" in said else f"{said}\n "


def _outer(ticks: list[float], limits: tuple[float, float]) -> list[float]:
    """The first and the last of the ticks that lie within limits: a narrow panel has no room for more."""
    inside = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
    return [inside[0], inside[-1]] if len(inside) > 1 else inside


def _in_groups(levels: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `heading`: the run where there are several, else the kind of arm where these are many."""
    many = levels["arm"].nunique() >= GROUPED_FROM and levels["group"].nunique() > 1
    if levels["run"].nunique() > 1 or not many:
        return levels.assign(heading=levels["run"])
    return levels.assign(heading=levels["group"]).sort_values("heading", key=lambda names: names.map(GROUPS.index),
                                                              kind="stable")  # fmt: skip


def _gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """The differences that are told: to the first of `BASES` that each run has."""
    return frame[frame["against"].isin(BASES)]


def _scaled(rows: pd.DataFrame, scale: float) -> pd.DataFrame:
    numbers = ["estimate", "low", "high", "stderr"]
    return rows.assign(**{name: scale * rows[name].astype(float) for name in numbers})


def _controls_behind(ax: Axes, rows: pd.DataFrame, gaps: pd.DataFrame) -> None:
    """A line with a band at the value of each run's control, behind its rows; none where arms have different ones."""
    for run, of_run in gaps.groupby("run", sort=False):
        control = rows[(rows["run"] == run) & rows["arm"].isin(of_run["control"].unique())]
        if len(control) != 1:
            continue
        places = rows.loc[rows["run"] == run, "y"]
        ends = [places.min() - 0.6, places.max() + 0.6]
        value, low, high = control[["estimate", "low", "high"]].iloc[0]
        ax.fill_betweenx(ends, low, high, color=style.FAINT, alpha=0.7, linewidth=0, zorder=0.5)
        ax.plot([value, value], ends, color=style.MUTED, linewidth=1.0, zorder=1)


def _numbers(ax: Axes, gaps: pd.DataFrame) -> None:
    """The differences at the right, those in bold whose interval misses 0."""
    places = min(max(decimals(float(gaps["stderr"].median())) - 1, 1), 3)
    clear = (gaps["low"] > 0) | (gaps["high"] < 0)
    for bold, rows in gaps.groupby(clear):
        texts = [signed(value, places) for value in rows["estimate"]]
        forest.beside(ax, rows, texts, weight="bold" if bold else "normal", color=style.INK if bold else style.MUTED)
    ax.annotate("gap", (1.02, 1.0), xytext=(9, 6), xycoords="axes fraction", textcoords="offset points", fontsize=9)


def _control_entries(gaps: pd.DataFrame) -> list[Any]:
    """What the line is, and what the numbers at the right are."""
    if gaps.empty:
        return []
    name = " or ".join(dict.fromkeys(gaps["against"]))
    entries = [legends.dot("|", f"{name}, with its 95 % interval as a band", size=11)]
    told = f"gap: to {name}, replica by replica; bold if its 95 % interval misses 0"
    return [*entries, legends.dot("", told)]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, replicas, intervals, what is compared with what, failures, draw and data."""
    levels, gaps = frame[frame["against"] == ""], _gaps(frame)
    splits = " and ".join(dict.fromkeys(frame["split"]))
    note = drawn.failure_note(frame)
    pairing = "paired by replica number" if any_own(frame, runs) else "replica by replica on the same draw"
    when = f" {when_evaluated(frame, runs)}" if (frame["epoch"] > 0).any() else ""
    said = " or ".join(dict.fromkeys(gaps["against"]))
    said += " of the same network" if gaps["control"].nunique() > gaps["run"].nunique() else ""
    return (
        f"n = {sizes(frame['n_samples'])} {splits} rows{when}; NLL at temperature 1, calibration error (ECE) over 15 "
        f"equal-width bins. Dots are means over {sizes(levels['n_replicas'])} replicas, bars 95 % t intervals over "
        "replicas for these rows."
        + (f" Gaps to {said} are {pairing}; their intervals, and gaps to KD, are in the CSV." if said else "")
        + f" {unadjusted(int(pd.concat([levels, gaps])['low'].notna().sum()))}"
        + (f" † Hollow: {note}; these do not set the scale." if note else "")
        + f" {conditions(runs)}"
    )


def how_to_read(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Which side is better, and what an interval of a gap leaves out."""
    chance = "chance between trainings" if any_own(frame, runs) else "the draw of the training rows"
    return (
        "Accuracy is better to the right, loss and calibration error to the left. Hold each dot against the grey line, "
        f"which is the control; a gap in bold is one that {chance} does not explain. "
        "Bars are not adjusted for their number, so among so many some gaps are bold by chance."
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
