"""The share of regularization samples against the temperature, by every criterion, and the students' accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.records.schema import CRITERIA
from biasvar.report import style
from biasvar.report.arms import drawn
from biasvar.report.arms.series import Series, rates_in_words, series
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, lines, looks
from biasvar.report.statistics import by_setting, stored
from biasvar.report.statistics.estimates import between_0_and_1, columns, over_replicas
from biasvar.report.statistics.shares import over_epochs
from biasvar.report.text.captions import PULLS, conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = by_setting.COLUMNS
TITLES = {
    "opposing": "b\u00a0>\u00a0|a|\n(the default)",
    "literal": "b\u00a0>\u00a0a",
    "magnitude": "|b|\u00a0>\u00a0|a|",
    "norm": "‖b‖\u00a0>\u00a0‖a‖,\nall logits",
    "accuracy": "Student's accuracy",
}


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm and quantity: the share by each criterion, a mean over recorded epochs, and accuracy."""
    found = [row for run in runs for one in _series(run) for row in _of_series(run, one)]
    return style.styled(pd.DataFrame(found, columns=COLUMNS), runs)


def _series(run: Run) -> list[Series]:
    return [one for one in series(run, "temperature") if run.entry(one.reference).plays == "distillation"]


def _of_series(run: Run, one: Series) -> list[dict[str, Any]]:
    metrics = stored.metrics(run)
    there = metrics[metrics["arm"].isin(one.arms) & (metrics["split"] == "train") & (metrics["view"] == "augmented")]
    counted = there[there["share_opposing"].notna()]
    recorded = [set(counted.loc[counted["arm"] == arm, "epoch"]) for arm in one.arms]
    common = set.intersection(*recorded)  # every arm at the same epochs, whatever else it recorded
    if not common:
        return []
    found = []
    for arm, value in zip(one.arms, one.values, strict=True):
        part = counted[(counted["arm"] == arm) & counted["epoch"].isin(common)]
        for criterion in CRITERIA:
            shares = over_epochs(part.pivot(index="epoch", columns="replica", values=f"share_{criterion}")).dropna()
            if shares.empty:
                continue
            share = columns(between_0_and_1(over_replicas(run, arm, shares, criterion)))
            where = {"split": "train", "epochs": len(common), "quantity": criterion, "n": int(part["n"].iloc[0])}
            found.append({**by_setting.about(run, one, arm, value), **share, **where})
        accuracy = by_setting.accuracy_row(run, one, arm, value)
        found += [accuracy] if accuracy else []
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run four small panels of shares and a tall one of accuracy."""
    styles = drawn.series_looks(frame)
    shown = looks.put_on(frame, styles, by="series", hollow="failed", scale=100.0)
    runs = list(dict.fromkeys(frame["run"]))
    narrow = style.narrow()
    more = 0.25 + 0.19 * len(styles) if narrow else 0.75
    figure, block_of = blocks.stacked(runs, [6.8 if narrow else 3.9] * len(runs), more=more)
    for run, block in block_of.items():
        grid = block.add_gridspec(3, 2) if narrow else block.add_gridspec(2, 3, width_ratios=(1, 1, 1.25))
        tall = grid[2, :] if narrow else grid[:, 2]
        for place, name in enumerate([*CRITERIA, "accuracy"]):
            part = shown[(shown["run"] == run) & (shown["quantity"] == name)]
            if part.empty:
                continue
            ax = block.add_subplot(tall if name == "accuracy" else grid[place // 2, place % 2])
            lines.against(ax, part, line="series")
            ax.set_title(TITLES[name], fontsize=9.5)
            ax.set_xlabel("temperature τ" if place > 1 else "")
            if name == "accuracy":
                ax.set_ylabel(f"accuracy, {part['split'].iloc[0]} rows (%)")
            elif place % 2 == 0:
                ax.set_ylabel("regularization\nsamples (%)")
    legends.below(figure, legends.lines(styles, markers=True, width=1.5), columns=3)
    return figure


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what differs and what does not, epochs, intervals, teacher regimes, failures, draw and data."""
    shares, accuracy = frame[frame["quantity"] != "accuracy"], frame[frame["quantity"] == "accuracy"]
    regimes = "; ".join(style.regime_label(name) for name in dict.fromkeys(frame["regime"]))
    held_out = (
        f" Accuracy on n = {sizes(accuracy['n'])} {accuracy['split'].iloc[0]} rows after the last epoch."
        if len(accuracy)
        else ""
    )
    return (
        f"Each line is KD from one teacher ({regimes}) at several temperatures, all else equal "
        f"({drawn.held_settings(frame)}; {rates_in_words(frame, runs)}). Shares of the n = {sizes(shares['n'])} rows "
        "of each replica's draw, counted before each update as augmented, as the area under the "
        f"{sizes(shares['epochs'])} epochs that all arms of the "
        "line recorded, each arm scored against its own teacher at its own temperature; "
        f"{PULLS}.{held_out} Bars: 95 % t intervals over replicas. The vertical axes differ."
        f"{drawn.hollow_note(frame)} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="temperatures",
    title="Regularization samples against the temperature",
    how_to_read="The four small panels count the same samples by four readings of the definition; where they disagree "
    "on the direction, nothing can be said of it without naming the reading. The paper compares counts only within one "
    "temperature, so read a difference between lines at one temperature, not the course of a line, as its claim.",
    needs="distillation arms that differ in the temperature only, with records of the training pass",
    collect=collect,
    draw=draw,
    caption=caption,
)
