"""Accuracy of every arm's students in few-shot episodes of classes that were held out of training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.roles import listed_arms
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.statistics.estimates import COLUMNS as ESTIMATES
from biasvar.report.statistics.estimates import between_0_and_1, columns
from biasvar.report.statistics.few_shots import few_shot_accuracy, few_shots_of
from biasvar.report.text.captions import conditions_in, runs_in
from biasvar.report.text.numbers import counted, sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

EPISODES = {"n_samples": "n_episodes", "stderr_samples": "stderr_episodes"}
OF_EPISODES = ["shots", "ways", "stderr_crossed"]
LEFT_OUT = ("rows", "split", "epoch", "against", "control")
COLUMNS = [*(EPISODES.get(name, name) for name in ESTIMATES if name not in LEFT_OUT), *OF_EPISODES]


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm and number of shots, with the 95 % interval over replicas and episodes."""
    rows = [_row(run, arm, shots) for run in runs for arm in listed_arms(run) for shots in _shots(run)]
    frame = pd.DataFrame([row for row in rows if row], columns=[*ESTIMATES, *OF_EPISODES])
    return style.styled(frame.rename(columns=EPISODES)[COLUMNS], runs)


def _shots(run: Run) -> list[int]:
    return [*few_shots_of(run).get("shots", ())]


def _row(run: Run, arm: str, shots: int) -> dict[str, Any] | None:
    row = few_shot_accuracy(run, {arm: 1.0}, shots)
    if row is None:
        return None
    told = {"shots": shots, "ways": few_shots_of(run)["ways"], "stderr_crossed": row.stderr}
    if (crossed := row.crossed) is not None:
        interval = crossed.interval()
        row = replace(row, low=interval.low, high=interval.high)
        told["stderr_crossed"] = crossed.stderr
    return columns(between_0_and_1(row), ESTIMATES) | told


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel a number of shots, a row an arm."""
    names, entries = drawn.row_names(frame), drawn.regime_entries(frame)
    shots = sorted(frame["shots"].unique())
    where = forest.places(frame).named(names, above=len(shots) > 1)
    figure = style.new_figure(height=0.4 + 0.2 * len(entries) + forest.height(where, len(shots), on_narrow=2))
    axes = forest.panels(figure, where, names, len(shots), on_narrow=2)
    rows = where.on(looks.put_on(frame, style.styles_of(frame), by="arm", hollow="failed", scale=100.0))
    for ax, number in zip(axes, shots, strict=True):
        part = rows[rows["shots"] == number]
        forest.draw(ax, part, limits=scales.limits(part))
        ax.set_title(counted(number, "shot"))
        scales.values(ax, "accuracy (%)", ticks=4)
    legends.below(figure, entries)
    return figure


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What an episode is, n, intervals, failures, draw and data."""
    told = [few_shots_of(run) for run in runs_in(frame, runs)]
    classes, queries = (sizes(one[key] for one in told) for key in ("classes", "queries"))
    chance = " and ".join(f"{100 / ways:.2g} %" for ways in sorted(frame["ways"].unique()))
    note = drawn.failure_note(frame)
    return (
        f"n = {sizes(frame['n_episodes'])} episodes of {sizes(frame['ways'])} of {classes} classes held out of "
        f"training, {queries} queries of each, told by the nearest mean of the shots in the penultimate features; "
        f"chance is {chance}. Dots are means, bars 95 % intervals over replicas and episodes of these classes and "
        "images." + (f" † {note}; these do not set the scale." if note else "") + f" {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="few_shots",
    title="Few-shot episodes of classes that were held out",
    how_to_read="Further right is better: the students' features tell classes apart that they were not trained on. All "
    "arms have the same episodes, so that a difference between two may be clear where their bars overlap.",
    needs="a study with `data.few_shots`",
    collect=collect,
    draw=draw,
    caption=caption,
)
