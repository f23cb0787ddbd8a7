"""The share of regularization samples against the temperature, by every criterion."""

from __future__ import annotations

from dataclasses import replace
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
}
BARS = style.Look(style.MUTED, "", "-", "95 % over replicas (hidden if within a dot)")
WHOLE = (-4.0, 104.0)  # percent


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
    """For each run a panel for each criterion, all with one axis of shares."""
    styles = drawn.series_looks(frame)
    shown = looks.put_on(frame, styles, by="series", hollow="failed", scale=100.0)
    runs = list(dict.fromkeys(frame["run"]))
    across = style.abreast(len(CRITERIA), on_narrow=2)
    below = len(CRITERIA) // across
    dotted = {name: replace(look, linestyle=":") for name, look in styles.items()}
    entries = legends.lines(dotted, markers=True, width=1.0) + legends.lines({"": BARS}, width=1.4)
    more = 0.25 + 0.19 * (len(entries) if style.narrow() else 1 + len(entries) // 2)
    figure, block_of = blocks.stacked(runs, [2.5 * below] * len(runs), more=more)
    for run, block in block_of.items():
        axes = block.subplots(below, across, squeeze=False, sharey=True)
        for ax, name in zip(axes.flat, CRITERIA, strict=True):
            part = shown[(shown["run"] == run) & (shown["quantity"] == name)]
            if part.empty:
                ax.set_axis_off()
                continue
            lines.against(ax, part, line="series", limits=WHOLE, dotted=True)
            ax.set_title(TITLES[name], fontsize=9.5)
        for ax in axes[-1]:
            ax.set_xlabel("temperature τ")
        for ax in axes[:, 0]:
            ax.set_ylabel("regularization samples,\nmean over epochs (%)")
    legends.below(figure, entries)
    return figure


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what differs and what does not, epochs, intervals, teacher regimes, failures, draw and data."""
    shares, accuracy = frame[frame["quantity"] != "accuracy"], frame[frame["quantity"] == "accuracy"]
    regimes = "; ".join(style.regime_label(name) for name in dict.fromkeys(frame["regime"]))
    held_out = (
        f" Their accuracy on n = {sizes(accuracy['n'])} {accuracy['split'].iloc[0]} rows is in the CSV."
        if len(accuracy)
        else ""
    )
    return (
        f"Each colour is KD from one teacher ({regimes}) at several temperatures, all else equal "
        f"({drawn.held_settings(frame)}; {rates_in_words(frame, runs)}). Shares of the n = {sizes(shares['n'])} rows "
        "of each replica's draw, counted before each update as augmented, as the area under the "
        f"{sizes(shares['epochs'])} epochs that all arms of the "
        "colour recorded, each arm scored against its own teacher at its own temperature; "
        f"{PULLS}.{held_out} Bars: 95 % t intervals over replicas."
        f"{drawn.hollow_note(frame)} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="temperatures",
    title="Regularization samples against the temperature",
    how_to_read="The four panels count the same samples by four readings of the definition; where they disagree "
    "on the direction, nothing can be said of it without naming the reading. The paper compares counts only within one "
    "temperature, so read a difference between colours at one temperature, not the course of a colour, as its claim.",
    needs="distillation arms that differ in the temperature only, with records of the training pass",
    collect=collect,
    draw=draw,
    caption=caption,
)
