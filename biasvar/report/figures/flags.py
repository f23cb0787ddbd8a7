"""Whether a flagged sample is one whose bias rises and whose variance falls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import COMPARED, arms_with_role, failed_arms, reference_arm, taken_over
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, looks
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.flag_meaning import COLUMNS as FLAG_COLUMNS
from biasvar.report.statistics.flag_meaning import flag_auc
from biasvar.report.text.captions import conditions, when_evaluated
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = ["run", "arm", "label", "control", "control_label", "regime", "split", *FLAG_COLUMNS]
NAMES = {
    "opposing": "b > |a| (opposing)",
    "literal": "b > a (literal)",
    "magnitude": "|b| > |a| (magnitude)",
    "norm": "‖b‖ > ‖a‖ (norm)",
    "teacher_prob": "low teacher probability",
    "student_prob": "high CE probability",
    "margin": "large CE margin",
    "target_other_half": "the same changes",
}
HEADINGS = {"criterion": "The flag", "baseline": "No gradient", "reference": "In other replicas"}
CLAIMED = 0.60  # what claim W6 asks of the flag
MOST = 3
AXIS = "how well it finds samples whose bias rises and variance falls (AUC)"


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, treatment and score, with the area and its intervals."""
    parts = []
    for run in runs:
        taken = taken_over(run, runs)
        for treatment, control in _pairs(run):
            if {treatment, control} <= taken:
                continue
            found = flag_auc(run, treatment, control)
            parts.append(
                found.assign(
                    run=run.name,
                    arm=treatment,
                    label=arm_label(run, treatment),
                    control=control,
                    control_label=arm_label(run, control),
                    regime=run.arm(treatment).get("regime"),
                    split="test",
                )
            )
    parts = [part for part in parts if len(part)]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return style.styled(frame.reindex(columns=COLUMNS), runs)


def _pairs(run: Run) -> list[tuple[str, str]]:
    """The pairs of claim W6; without it the first distillation arms of each teacher regime against cross-entropy."""
    failed = failed_arms(run)
    claims = (run.manifest.get("claims") or {}).get("W6") or []
    pairs = [(str(entry.get("treatment")), str(entry.get("control"))) for entry in claims]
    if not pairs:
        control = reference_arm(run)
        first: dict[str, str] = {}
        for arm in arms_with_role(run, ("main", "regime")):
            if run.entry(arm).plays == "distillation":
                first.setdefault(run.entry(arm).regime, arm)
        pairs = [] if control is None else [(arm, control) for arm in first.values()][:MOST]
    return [pair for pair in dict.fromkeys(pairs) if all(arm in run.arms and arm not in failed for arm in pair)]


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each treatment, a row for each score."""
    styles, frame = unstyled(frame)
    keys = each(frame[["run", "arm", "label"]].drop_duplicates())
    frame = frame.sort_values("kind", key=lambda names: names.map(list(HEADINGS).index), kind="stable")
    frame = frame.assign(heading=frame["kind"].map(HEADINGS))
    names = [NAMES.get(score, score) for score in dict.fromkeys(frame["score"])]
    where = forest.places(frame, group="heading", row="score", gap=0.3, headed=True).named(names)
    across = style.abreast(min(MOST, len(keys)))
    lines = -(-len(keys) // across)
    figure = style.new_figure(height=0.55 + lines * forest.height(where, more=0.85))
    grid = figure.subplots(lines, across, squeeze=False)
    for axes in grid:
        forest.name_rows(axes, where, names)
    for ax in grid.ravel()[len(keys) :]:
        ax.set_visible(False)
    for ax, key in zip(grid.ravel(), keys, strict=False):
        part = frame[(frame["run"] == key.run) & (frame["arm"] == key.arm)]
        _panel(ax, part, styles[key.arm].color, where)
        run = str(key.run) if frame["run"].nunique() > 1 else ""
        ax.set_title(style.panel_title(str(key.label), run, width=24), pad=18)
    figure.supxlabel(style.panel_title(AXIS, width=46) if style.narrow() else AXIS, fontsize=9.5)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, color: str, where: forest.Places) -> None:
    grey = style.Look(style.MUTED, "s", "-", "")
    kinds = {"criterion": style.Look(color, "o", "-", ""), "baseline": grey, "reference": replace(grey, marker="D")}
    rows = where.on(looks.put_on(part.rename(columns={"auc": "estimate"}), kinds, by="kind"))
    ax.axvline(0.5, color=style.MUTED, linewidth=1.0, zorder=1)
    ax.axvline(CLAIMED, color=style.BAD, linewidth=1.0, zorder=1)
    ax.annotate(
        f"claim: {_short(CLAIMED, 1)} or more", (CLAIMED, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
        textcoords="offset points", color=style.BAD, fontsize=9, ha="center", in_layout=False,
    )  # fmt: skip
    forest.draw(ax, rows, size=6.0)
    forest.beside(ax, rows, [_short(area) if area == area else "n/a" for area in rows["estimate"]])
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1], ["0", ".5\ncoin toss", "1\nalways"])
    ax.grid(visible=False, axis="y")


def _short(area: float, places: int = 2) -> str:
    return f"{area:.{places}f}".removeprefix("0")


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """The target, the halves, the intervals, the orientation."""
    one = frame.iloc[0]
    rows = each(frame.drop_duplicates(["run", "arm"]))
    target = "; ".join(f"{row.label} {100 * row.positives:.0f} %" for row in rows)
    return (
        f"AUC on n = {sizes(frame['n_samples'])} {one.split} rows {when_evaluated(frame, runs)}; found shall be those "
        f"whose corrected bias rises and variance falls against {one.control_label} ({target} of rows, told by "
        "half of the replicas). Flags and "
        f"other scores come from one half of the {sizes(frame['n_replicas'])} replicas, the changes from the other, "
        "then the reverse. Bars: 95 % over replicas and rows. The directions were fixed beforehand, so below .5 a "
        f"score ranks the other way. {conditions(runs)}"
    )


FIGURE = Figure(
    name="flags",
    title="Does the flag find the samples whose bias rises and variance falls?",
    how_to_read="Samples that the flag marks are said to be those whose bias rises and whose variance falls under "
    "distillation. If so, the flag would lie near 1; a coin lies at .5. The last row says how far the changes agree "
    "with themselves on other replicas.",
    needs="predictions and a clean record of a distillation arm and of a cross-entropy arm, at least four replicas",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
