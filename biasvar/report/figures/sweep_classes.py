"""Bias and variance by true class over the number that a study sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.sweep import WORDS, curves, is_geometric
from biasvar.report.figure import Figure
from biasvar.report.figures.sweep import MOST_BANDS, TICKS_APART, line_looks
from biasvar.report.marks import blocks, lines, looks, scales
from biasvar.report.statistics.estimates import COLUMNS as ESTIMATES
from biasvar.report.statistics.estimates import TERMS, class_terms, columns
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import SubFigure

    from biasvar.records import Run

COLUMNS = ["run", "key", "curve", "base", "value", "class", *ESTIMATES[1:]]
_HIGH = 2.2  # inches of a panel
MOST_CURVES = 3  # of a run, side by side
MOST_CLASSES = 7  # of more, those with most bias and variance


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, curve over the key with most values, arm, true class and term."""
    rows = []
    for run in runs:
        found = curves(run)
        for curve in [one for one in found if one.key == found[0].key]:
            for arm, value in zip(curve.arms, curve.values, strict=True):
                for name, terms in class_terms(run, arm).items():
                    about = {"key": curve.key, "curve": curve.name, "base": curve.base, "value": value, "class": name}
                    rows += [{**about, **columns(term, ESTIMATES)} for term in terms]
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run a row of bias and one of variance, a column for each curve, a line for each class."""
    shown = _shown(frame)
    runs = list(dict.fromkeys(shown["run"]))
    classes = sorted(set(shown["class"]))
    looked = {
        name: style.Look(look.color, look.marker, look.linestyle, f"class {name}")
        for name, look in line_looks(list(map(str, classes))).items()
    }
    heights = [_HIGH * (shown.loc[shown["run"] == run, "curve"].nunique() if style.narrow() else 2) for run in runs]
    figure, block_of = blocks.stacked(runs, heights, more=0.25)
    for run, block in block_of.items():
        _block(block, looks.put_on(shown[shown["run"] == run], looked, by="class"), looked)
    return figure


def _block(block: SubFigure, part: pd.DataFrame, looked: dict[str, style.Look]) -> None:
    """A run's panels; the classes are named at the ends of the lines that lie furthest right."""
    names, narrow = list(dict.fromkeys(part["curve"])), style.narrow()
    shape = (len(names), len(TERMS)) if narrow else (len(TERMS), len(names))
    axes = block.subplots(*shape, squeeze=False, sharex=True, sharey="col" if narrow else "row")
    few = part["class"].nunique() <= MOST_BANDS
    by_class = {name: looked[str(name)].label for name in part["class"].unique()}
    for row, term in zip(axes.T if narrow else axes, TERMS, strict=True):
        for ax, name in zip(row, names, strict=True):
            there = part[(part["curve"] == name) & (part["quantity"] == term)]
            if is_geometric(part["value"]):
                scales.doublings(ax, part["value"], apart=TICKS_APART)
            lines.draw(ax, there, x="value", line="class", band=0.16 * few, bars=0.0 if few else 0.8, width=1.2)
            ax.set_ylim(*scales.limits(part[part["quantity"] == term]))
            if term == TERMS[0]:
                ax.set_title(style.panel_title(name, width=22))
            if ax in axes[:, -1]:
                lines.name_ends(ax, there, by_class, x="value", line="class", high=50.0 * _HIGH)
            if narrow or ax is row[0]:
                ax.set_ylabel(f"{term} (nats)")
    for ax in axes[-1]:
        ax.set_xlabel(WORDS.get(str(part["key"].iloc[0]), str(part["key"].iloc[0])))


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are drawn: of each run the first curves, and of many classes those with most bias and variance."""
    first = {
        (run, name)
        for run, part in frame.groupby("run", sort=False)
        for name in [*dict.fromkeys(part["curve"])][:MOST_CURVES]
    }
    shown = frame[[pair in first for pair in zip(frame["run"], frame["curve"], strict=True)]]
    if shown["class"].nunique() <= MOST_CLASSES:
        return shown
    sums = shown.groupby(["arm", "class"], sort=False)["estimate"].sum()
    return shown[shown["class"].isin(sums.groupby("class").max().nlargest(MOST_CLASSES).index)]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n a class, correction, intervals, what is drawn, draw and data."""
    shown = _shown(frame)
    less = [
        f"{shown[of].nunique()} of {frame[of].nunique()} {what}"
        for of, what in (("curve", "curves"), ("class", "classes"))
        if shown[of].nunique() < frame[of].nunique()
    ]
    return (
        f"Means over the {' and '.join(dict.fromkeys(frame['split']))} rows of each true class (n = "
        f"{sizes(frame['n_samples'])}) after the last epoch, against the true labels at temperature 1; terms of "
        "cross-entropy, in nats, corrected for the finite number of replicas. Bands or bars are 95 % t "
        "intervals over replicas for these rows, "
        f"not adjusted for their number.{f' Drawn are {chr(44).join(less)}; the CSV has all.' if less else ''} "
        f"{conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="sweep_classes",
    title="Bias and variance by true class over what was swept",
    how_to_read="Each line is one class. A hump of the variance that only some lines have belongs to these classes.",
    needs="arms of a `sweep`, with predictions of at least two replicas on test or validation rows",
    collect=collect,
    draw=draw,
    caption=caption,
)
