"""How many training samples are regularization samples, through training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from biasvar.records.schema import CRITERIA
from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import arms_with_role, reference_arms
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, looks, multiples
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import Estimate, by_epoch, to_frame
from biasvar.report.text.captions import PULLS, conditions
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "epoch", "low", "high", "stderr", "n_replicas", "n", "failed", "criterion",
    "share", "control",
]  # fmt: skip
ROWS = {"share": "regularization\nsamples (%)"}
COURSES = {"opposing": multiples.Course("share by the usual reading, b\u00a0>\u00a0|a|", width=2.2, band=True)}
SPAN = "#dcdcdc"
READINGS = "least to most, by all four readings"


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
    """A block for each run, a panel an arm: the share by the default, in the span of all readings; KD's in grey."""
    runs = list(dict.fromkeys(frame["run"]))
    default = _with_span(frame)
    shown = looks.put_on(default.rename(columns={"share": "estimate"}), style.styles_of(frame), by="arm")
    shown = shown.assign(row="share", course="opposing")
    heads = {run: multiples.heads(default[default["run"] == run]) for run in runs}
    named = next((str(label) for label in frame.loc[frame["control"], "label"]), None)
    entries = multiples.entries(COURSES, list(COURSES), named, failed=bool((frame["failed"] > 0).any()))
    entries.insert(1, legends.patch(SPAN, READINGS))
    heights = [multiples.height(len(arms), 1) for arms, _ in heads.values()]
    figure, block_of = blocks.stacked(runs, heights, more=multiples.below_height(len(entries)))
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        arms, control = heads[run]
        panels = multiples.grid(block, part, arms=arms, rows=ROWS, courses=COURSES, control=control)
        for (_, arm), ax in panels.items():
            ax.set_ylim(-0.03, 1.03)
            ax.set_yticks([0, 0.5, 1.0], ["0", "50", "100"])
            _last(ax, part[part["arm"] == arm])
    multiples.below(figure, entries)
    return figure


def _with_span(frame: pd.DataFrame) -> pd.DataFrame:
    """The shares by the default, from `low` to `high` those by all readings."""
    of_all = frame.groupby(["run", "arm", "epoch"], sort=False)["share"].agg(low="min", high="max").reset_index()
    default = frame[frame["criterion"] == "opposing"].drop(columns=["low", "high"])
    return default.merge(of_all, on=["run", "arm", "epoch"])


def _last(ax: Axes, rows: pd.DataFrame) -> None:
    """The share at the last epoch, in numbers at the end of the line."""
    last = rows.sort_values("epoch").iloc[-1]
    below = last["estimate"] > 0.8
    ax.annotate(
        f"{100 * last['estimate']:.0f} %", (last["epoch"], last["estimate"]), (0, -5 if below else 5), ha="right",
        textcoords="offset points", va="top" if below else "bottom", fontsize=9, weight="bold", zorder=5,
    )  # fmt: skip


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, view, teachers, failures, draw and data."""
    count = sizes(frame["n"])
    return (
        f"Share among the n = {count} rows of each replica's training draw, counted in the training pass before each "
        "update, at recorded epochs; mean over replicas, whose 95 % t interval is in the CSV. Main arms whose loss "
        "uses a teacher, each scored against its own teacher at its own temperature. "
        f"{PULLS}, both at the true class. Readings: b > |a| (opposing, the default), b > a (literal), |b| > "
        "|a| (magnitude), ‖b‖ > ‖a‖ over all logits (norm)."
        f"{drawn.dagger_note(frame)} {conditions(runs)}"
    )


FIGURE = Figure(
    name="shares",
    title="Regularization samples through training",
    how_to_read="Each panel is an arm; the number is the share of its training samples that are regularization samples "
    "in the end: those of whose true class the student is surer than its teacher, so that the soft label turns the "
    "label's pull round. The shaded span is what other readings of the definition would count; where it is wide, the "
    "reading matters more than the arm.",
    needs="records of the training pass with a teacher",
    collect=collect,
    draw=draw,
    caption=caption,
)
