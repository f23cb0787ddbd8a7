"""How many training samples are regularization samples, through training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from biasvar.records.schema import CRITERIA
from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import arms_with_role
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, lines, looks
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import Estimate, by_epoch, to_frame
from biasvar.report.text.captions import conditions
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "epoch", "low", "high", "stderr", "n_replicas", "n", "failed", "criterion",
    "share",
]  # fmt: skip
MEANING = {
    "opposing": "opposing: b > |a|",
    "literal": "literal: b > a",
    "magnitude": "magnitude: |b| > |a|",
    "norm": "norm: ‖b‖ > ‖a‖ over all logits",
}


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, criterion and recorded epoch: the mean share over replicas and its 95 % interval."""
    found = to_frame(row for run in runs for row in _of_run(run))
    found["criterion"] = found["quantity"].str.removeprefix("share_")
    return style.styled(found.rename(columns={"estimate": "share", "n_samples": "n"})[COLUMNS], runs)


def _of_run(run: Run) -> list[Estimate]:
    metrics, main = stored.metrics(run), arms_with_role(run, ("main",))
    taught = [arm for arm in main if run.entry(arm).teacher or not run.entry(arm).loss]
    training = metrics[(metrics["split"] == "train") & (metrics["view"] == "augmented") & metrics["arm"].isin(taught)]
    columns = [f"share_{criterion}" for criterion in CRITERIA]
    return [row for column in columns for row in by_epoch(run, training[training[column].notna()], column)]


def draw(frame: pd.DataFrame) -> Drawing:
    """A block for each run, a panel a criterion."""
    runs = list(dict.fromkeys(frame["run"]))
    figure, block_of = blocks.stacked(runs, [6.6] * len(runs))
    shown = looks.put_on(frame.rename(columns={"share": "estimate"}), style.styles_of(frame), by="arm")
    place = shown["criterion"].map(CRITERIA.index)
    shown = shown.assign(across=place % 2, down=place // 2)
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        panels = lines.grid(block, part, row="down", column="across", share_y=True)
        for (down, across), ax in panels.items():
            ax.set_title(MEANING[CRITERIA[2 * down + across]])
            ax.set_ylabel("" if across else "share of samples")
            ax.set_xlabel("epoch" if down else "")
        panels[0, 0].set_ylim(-0.02, 1.02)
        panels[0, 0].set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", "0.5", "", "1"])
        legends.below(block, drawn.line_entries(frame[frame["run"] == run]), columns=3)
    return figure


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, view, teachers, failures, draw and data."""
    count = sizes(frame["n"])
    return (
        f"Share among the n = {count} rows of each replica's training draw, counted in the training pass before each "
        "update, at recorded epochs; mean over replicas with the 95 % t interval of the mean. Main arms whose loss "
        "uses a teacher, each scored against its own teacher at its own temperature. a is the bias gradient and b the "
        "variance gradient at the true class; the default criterion is opposing."
        f"{drawn.dagger_note(frame)} {conditions(runs)}"
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
