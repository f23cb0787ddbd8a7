"""How many training samples are regularization samples, through training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from biasvar.records.schema import CRITERIA
from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import arms_with_role, reference_arms
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, looks, multiples
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import Estimate, by_epoch, to_frame
from biasvar.report.text.captions import conditions
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "epoch", "low", "high", "stderr", "n_replicas", "n", "failed", "criterion",
    "share", "control",
]  # fmt: skip
ROWS = {"share": "regularization\nsamples (share)"}
COURSES = {
    "opposing": multiples.Course("b\u00a0>\u00a0|a|, opposing: the default, with 95 % interval", width=2.2, band=True),
    "literal": multiples.Course("b\u00a0>\u00a0a, literal", ":", 1.2),
    "magnitude": multiples.Course("|b|\u00a0>\u00a0|a|, magnitude", "--", 1.0),
    "norm": multiples.Course("‖b‖\u00a0>\u00a0‖a‖ over all logits, norm", "-.", 1.0),
}


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, criterion and recorded epoch: the mean share over replicas and its 95 % interval."""
    found = to_frame(row for run in runs for row in _of_run(run))
    found["criterion"] = found["quantity"].str.removeprefix("share_")
    controls = {run.name: reference_arms(run).get("KD") for run in runs}
    found["control"] = [controls[run] == arm for run, arm in zip(found["run"], found["arm"], strict=True)]
    return style.styled(found.rename(columns={"estimate": "share", "n_samples": "n"})[COLUMNS], runs)


def _of_run(run: Run) -> list[Estimate]:
    metrics, main = stored.metrics(run), arms_with_role(run, ("main",))
    taught = [arm for arm in main if run.entry(arm).teacher or not run.entry(arm).loss]
    training = metrics[(metrics["split"] == "train") & (metrics["view"] == "augmented") & metrics["arm"].isin(taught)]
    columns = [f"share_{criterion}" for criterion in CRITERIA]
    return [row for column in columns for row in by_epoch(run, training[training[column].notna()], column)]


def draw(frame: pd.DataFrame) -> Drawing:
    """A block for each run, a panel an arm: the four readings of the definition, and KD's by the default in grey."""
    runs = list(dict.fromkeys(frame["run"]))
    shown = looks.put_on(frame.rename(columns={"share": "estimate"}), style.styles_of(frame), by="arm")
    shown = shown.assign(row="share", course=shown["criterion"])
    heads = {run: dict(_heads(frame[frame["run"] == run])) for run in runs}
    named = next((str(label) for label in frame.loc[frame["control"], "label"]), None)
    there = [name for name in CRITERIA if (frame["criterion"] == name).any()]
    entries = multiples.entries(
        COURSES, there, named and f"{named} by the default", failed=bool((frame["failed"] > 0).any())
    )
    heights = [multiples.height(len(arms), 1) for arms in heads.values()]
    figure, block_of = blocks.stacked(runs, heights, more=multiples.below_height(len(entries)))
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        control = multiples.heads(frame[frame["run"] == run])[1]
        panels = multiples.grid(block, part, arms=heads[run], rows=ROWS, courses=COURSES, control=control)
        for ax in panels.values():
            ax.set_ylim(-0.03, 1.03)
            ax.set_yticks([0, 0.5, 1.0], ["0", ".5", "1"])
    multiples.below(figure, entries)
    return figure


def _heads(frame: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """The arms with their labels and their last share by the default."""
    for arm, part in frame.groupby("arm", sort=False):
        last = part[part["epoch"] == part["epoch"].max()]
        default = last[last["criterion"] == "opposing"]
        label = f"{part['label'].iloc[0]}{' †' if (part['failed'] > 0).any() else ''}"
        yield str(arm), label + (f": {100 * float(default['share'].iloc[0]):.0f}\u00a0%" if len(default) else "")


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
    how_to_read="Each panel is an arm; its title says which share of the training samples are regularization samples "
    "in the end. The thick line counts those on which the pull of the soft label towards less variance (b) outweighs "
    "its pull towards less bias (a); the thin ones are other readings of the definition. Where they part, the "
    "reading matters more than the arm.",
    needs="records of the training pass with a teacher",
    collect=collect,
    draw=draw,
    caption=caption,
)
