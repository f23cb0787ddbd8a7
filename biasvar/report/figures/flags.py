"""Whether a flagged sample is one whose bias rises and whose variance falls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import arms_with_role, failed_arms, reference_arm, taken_over
from biasvar.report.figure import Figure, conditions
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.flag_meaning import COLUMNS as FLAG_COLUMNS
from biasvar.report.statistics.flag_meaning import flag_auc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = ["run", "arm", "label", "control", "control_label", "regime", "split", *FLAG_COLUMNS]
NAMES = {
    "opposing": "flag: opposing",
    "literal": "flag: literal",
    "magnitude": "flag: magnitude",
    "norm": "flag: norm",
    "teacher_prob": "teacher's probability (−)",
    "student_prob": "CE student's probability",
    "margin": "CE student's margin",
    "target_other_half": "target, other half",
}
CLAIMED = 0.60  # what claim W6 asks of the flag
MOST = 3


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
            if run.arm(arm).get("loss") == "distillation":
                first.setdefault(str(run.arm(arm).get("regime")), arm)
        pairs = [] if control is None else [(arm, control) for arm in first.values()][:MOST]
    return [pair for pair in dict.fromkeys(pairs) if all(arm in run.arms and arm not in failed for arm in pair)]


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each treatment, a row for each score."""
    styles, frame = unstyled(frame)
    keys = each(frame[["run", "arm", "label", "regime"]].drop_duplicates())
    blocks = [keys[i : i + MOST] for i in range(0, len(keys), MOST)]
    figure = style.new_figure(height=3.5 * len(blocks) + 0.3)
    axes = figure.subplots(len(blocks), min(MOST, len(keys)), squeeze=False)
    several = frame["run"].nunique() > 1
    for row, block in zip(axes, blocks, strict=True):
        for ax in row[len(block) :]:
            ax.set_axis_off()
        for place, (ax, key) in enumerate(zip(row, block, strict=False)):
            part = frame[(frame["run"] == key.run) & (frame["arm"] == key.arm)]
            _panel(ax, part, styles[key.arm], named=place == 0)
            title = style.panel_title(str(key.label), str(key.run) if several else "", width=24)
            ax.set_title(title, fontsize=9.5)
    figure.supxlabel("area under the ROC curve (.5: no better than chance)", fontsize=9.5)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, look: style.Look, *, named: bool) -> None:
    places: dict[str, float] = {}
    y = 0.0
    for kind in ("criterion", "baseline", "reference"):
        for score in part.loc[part["kind"] == kind, "score"]:
            places[score] = y
            y += 1.0
        y += 0.4
    for row in each(part):
        at = places[row.score]
        color = look.color if row.kind == "criterion" else style.MUTED
        marker = {"criterion": "o", "baseline": "s", "reference": "D"}[row.kind]
        ax.plot([row.low, row.high], [at, at], color=color, linewidth=1.0)
        ax.plot([row.low_replicas, row.high_replicas], [at, at], color=color, linewidth=3.4, solid_capstyle="butt")
        face = "white" if row.kind == "reference" else color
        ax.plot(row.auc, at, marker, color=color, markerfacecolor=face, markersize=6, zorder=3)
        shown = f"{row.auc:.2f}".removeprefix("0") if row.auc == row.auc else "n/a"
        ax.text(1.27, at, shown, ha="right", va="center", fontsize=9)
    ax.axvline(0.5, color=style.INK, linewidth=1.0)
    ax.axvline(CLAIMED, color=style.INK, linewidth=1.0, linestyle=":")
    ax.set_xlim(0, 1.28)
    ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    ax.set_ylim(y - 0.8, -0.7)
    names = [NAMES.get(score, score) for score in places]
    ax.set_yticks(list(places.values()), names if named else [""] * len(names))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False, axis="y")


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """The target, the halves, the intervals, the orientation."""
    one = frame.iloc[0]
    target = "; ".join(
        f"{row.label} {100 * row.positives:.0f} %" for row in each(frame.drop_duplicates(["run", "arm"]))
    )
    sizes: list[Any] = sorted(frame["n_samples"].unique())
    replicas = sorted(frame["n_replicas"].unique())
    return (
        f"Target: {one.split} rows whose corrected bias rises and whose corrected variance falls against "
        f"{one.control_label} ({target} of n = {' or '.join(f'{int(n):,}' for n in sizes)} rows). Flags (share of "
        "replicas that flag the row) and baselines come from one half of the "
        f"{' or '.join(str(int(n)) for n in replicas)} replicas, the changes from the other, on the same rows in the "
        "clean view after the last epoch; halves swapped, areas averaged. Thick bars: 95 % over replicas "
        "(jackknife), thin: with the error over rows (DeLong) added. Every score counts upwards except the teacher's "
        "probability of the truth (−), as in the flag, which compares the two; this was fixed beforehand, so an area "
        "below .5 means that the score ranks the other way. Hollow: the target as the other half of the replicas gives "
        "it, which says how far it agrees with itself. Dotted: .60, what the claim asks of the flag. Signs "
        f"count, not sizes: many of these changes are minute. {conditions(runs)}"
    )


FIGURE = Figure(
    name="flags",
    title="Does the flag mean what it says?",
    how_to_read="A score that picked out the samples whose bias rises and whose variance falls would lie at 1; a coin "
    "lies at .5. Regularization samples are said to be those samples.",
    needs="predictions and a clean record of a distillation arm and of a cross-entropy arm, at least four replicas",
    collect=collect,
    draw=draw,
    caption=caption,
)
