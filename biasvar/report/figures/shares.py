"""How many training samples are regularization samples, through training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.records.schema import CRITERIA
from biasvar.report import lines, style
from biasvar.report.arms.roles import arms_with_role
from biasvar.report.figure import Figure, conditions, sizes
from biasvar.report.statistics import stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

MEANING = {
    "opposing": "opposing: b > |a|",
    "literal": "literal: b > a",
    "magnitude": "magnitude: |b| > |a|",
    "norm": "norm: ‖b‖ > ‖a‖ over all logits",
}


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, criterion and recorded epoch: the mean share over replicas and its 95 % interval."""
    parts = []
    for run in runs:
        metrics = stored.metrics(run)
        training = metrics[(metrics["split"] == "train") & (metrics["view"] == "augmented")]
        for criterion in CRITERIA:
            column = f"share_{criterion}"
            shown = [
                arm
                for arm in arms_with_role(run, ("main",))
                if run.arm(arm).get("teacher") or not run.arm(arm).get("loss")
            ]
            there = training[training["arm"].isin(shown) & training[column].notna()]
            part = lines.over_replicas(run, there, column)
            parts.append(part.assign(criterion=criterion, share=part["estimate"]).drop(columns="estimate"))
    return style.styled(lines.together(parts), runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """A block for each run, a panel a criterion."""
    runs = list(dict.fromkeys(frame["run"]))
    figure = style.new_figure(height=6.6 * len(runs))
    blocks: Any = figure.subfigures(len(runs), 1, squeeze=False)
    for block, run in zip(blocks[:, 0], runs, strict=True):
        if len(runs) > 1:
            block.suptitle(run, weight="bold", fontsize=10.5, x=0.01, ha="left")
        _block(block, frame[frame["run"] == run])
    return figure


def _block(block: Any, frame: pd.DataFrame) -> None:
    criteria = [name for name in CRITERIA if (frame["criterion"] == name).any()]
    for place, criterion in enumerate(criteria):
        ax = block.add_subplot(2, 2, place + 1)
        part = frame[frame["criterion"] == criterion]
        lines.curves(ax, part, "share")
        ax.set_title(MEANING[criterion])
        ax.set_ylim(-0.02, 1.02)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", "0.5", "", "1"])
        if place % 2 == 0:
            ax.set_ylabel("share of samples")
        if place >= len(criteria) - 2:
            ax.set_xlabel("epoch")
    block.legend(handles=lines.handles(frame), loc="outside lower left", ncols=3, handlelength=2.4)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, view, teachers, failures, draw and data."""
    count = sizes(frame["n"])
    return (
        f"Share among the n = {count} rows of each replica's training draw, counted in the training pass before each "
        "update, at recorded epochs; mean over replicas with the 95 % t interval of the mean. Main arms whose loss "
        "uses a teacher, each scored against its own teacher at its own temperature. a is the bias gradient and b the "
        "variance gradient at the true class; the default criterion is opposing."
        f"{lines.failures(frame)} {conditions(runs)}"
    )


FIGURE = Figure(
    name="shares",
    title="Regularization samples through training",
    how_to_read="A sample counts when its variance gradient outweighs its bias gradient, by four readings of the "
    "definition. Where the panels disagree, the choice of criterion matters more than the arm.",
    needs="records of the training pass with a teacher",
    collect=collect,
    draw=draw,
    caption=caption,
)
