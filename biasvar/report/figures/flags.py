"""Whether a flagged sample is one whose bias rises and whose variance falls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
            if run.entry(arm).plays == "distillation":
                first.setdefault(run.entry(arm).regime, arm)
        pairs = [] if control is None else [(arm, control) for arm in first.values()][:MOST]
    return [pair for pair in dict.fromkeys(pairs) if all(arm in run.arms and arm not in failed for arm in pair)]


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each treatment, a row for each score."""
    styles, frame = unstyled(frame)
    keys = each(frame[["run", "arm", "label"]].drop_duplicates())
    rows_of_panels = [keys[i : i + MOST] for i in range(0, len(keys), MOST)]
    figure = style.new_figure(height=3.5 * len(rows_of_panels) + 0.3)
    grid = figure.subplots(len(rows_of_panels), min(MOST, len(keys)), squeeze=False)
    for axes, beside in zip(grid, rows_of_panels, strict=True):
        for ax in axes[len(beside) :]:
            ax.set_axis_off()
        for ax, key in zip(axes, beside, strict=False):
            part = frame[(frame["run"] == key.run) & (frame["arm"] == key.arm)]
            _panel(ax, part, styles[key.arm].color, named=ax is axes[0])
            run = str(key.run) if frame["run"].nunique() > 1 else ""
            ax.set_title(style.panel_title(str(key.label), run, width=24), fontsize=9.5)
    figure.supxlabel("area under the ROC curve (.5: no better than chance)", fontsize=9.5)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, color: str, *, named: bool) -> None:
    kinds = {
        "criterion": style.Look(color, "o", "-", ""),
        "baseline": style.Look(style.MUTED, "s", "-", ""),
        "reference": style.Look(style.MUTED, "D", "-", ""),
    }
    part = part.sort_values("kind", key=lambda names: names.map(list(kinds).index), kind="stable")
    where = forest.places(part, group="kind", row="score", gap=0.4, headed=False)
    rows = where.on(looks.put_on(part.rename(columns={"auc": "estimate"}), kinds, by="kind"))
    rows = rows.assign(hollow=rows["kind"] == "reference")
    forest.name_rows([ax], where, [NAMES.get(score, score) if named else "" for _, score in where.heights])
    forest.bars(ax, rows, low="low_replicas", high="high_replicas", width=3.4)
    forest.draw(ax, rows, size=7.0, width=1.0)
    for y, area in zip(rows["y"], rows["estimate"], strict=True):
        ax.text(
            1.27, y, f"{area:.2f}".removeprefix("0") if area == area else "n/a", ha="right", va="center", fontsize=9
        )
    ax.axvline(0.5, color=style.INK, linewidth=1.0)
    ax.axvline(CLAIMED, color=style.INK, linewidth=1.0, linestyle=":")
    ax.set_xlim(0, 1.28)
    ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
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
        f"clean view {when_evaluated(frame, runs)}; halves swapped, areas averaged. Thick bars: 95 % over replicas "
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
    roles=COMPARED,
)
