"""Accuracy, bias and variance on further views of the test rows: corrupted, rendered, shuffled and attacked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.roles import core_arms, failed_arms, left_out, listed_arms
from biasvar.report.figure import Figure
from biasvar.report.figures.sweep import line_looks
from biasvar.report.marks import blocks, forest, legends, looks, scales
from biasvar.report.statistics.estimates import to_frame
from biasvar.report.statistics.views import attacks_in, kinds_in, over_views, views_of
from biasvar.report.text.captions import conditions_in, runs_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "loss", "plays", "role", "regime", "split", "epoch", "view", "views", "quantity", "estimate",
    "low", "high", "stderr_replicas", "n_replicas", "n_samples", "replicas", "failed",
]  # fmt: skip
PANELS = {"accuracy": "Accuracy (%)", "bias": "Bias (nats)", "variance": "Variance (nats)"}
MOST_ARMS = 7  # of a run
MOST_INCHES = 9.0  # of height, for each run: of more views those where accuracy is least are drawn
_DOT, _BETWEEN = 0.075, 0.12  # inches from arm to arm, and more from view to view


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, arm, kind of view and quantity, with the 95 % interval over replicas."""
    found, of_view = [], []
    for run in runs:
        if not run.views:
            continue
        for name, views in kinds_in(run).items():
            for arm in _arms(run)[:MOST_ARMS]:
                rows = over_views(run, arm, tuple(views))
                found += rows
                of_view += [(name, " ".join(views))] * len(rows)
    frame = to_frame(found).join(pd.DataFrame(of_view, columns=["view", "views"]))
    return style.styled(frame.rename(columns={"stderr": "stderr_replicas"})[COLUMNS], runs)


def _arms(run: Run) -> list[str]:
    """The core arms; of a run with one or none, which compares networks and not methods, all that a figure lists."""
    core = core_arms(run)
    return core if len(core) > 1 else [arm for arm in listed_arms(run) if arm not in failed_arms(run)]


def _looks(frame: pd.DataFrame) -> dict[str, style.Look]:
    """How arms look; of arms that are all trained by cross-entropy, whose shades are all black, each has its colour."""
    styles, arms = style.styles_of(frame), list(dict.fromkeys(frame["arm"]))
    if len(arms) < 2 or set(frame["plays"]) != {"baseline"}:
        return styles
    return {arm: replace(look, label=styles[arm].label) for arm, look in line_looks(arms).items()}


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run three panels that share their rows, one row a kind of view, the arms one under another in it."""
    shown = _shown(frame)
    styles = _looks(frame)
    runs = list(dict.fromkeys(shown["run"]))
    places = {run: _places(shown[shown["run"] == run]) for run in runs}
    rows_of = {run: _row(shown.loc[shown["run"] == run, "arm"].nunique()) for run in runs}
    count = len(PANELS)
    heights = [
        forest.height(where, count, on_narrow=count, row=rows_of[run], more=0.65) for run, where in places.items()
    ]
    arms = list(dict.fromkeys(shown["arm"]))
    columns = style.abreast(3)
    figure, block_of = blocks.stacked(
        runs, [height + blocks.HEAD for height in heights],
        more=0.2 + 0.18 * -(-len(arms) // columns),
    )  # fmt: skip
    for run, block in block_of.items():
        part = shown[shown["run"] == run]
        mine = list(dict.fromkeys(part["arm"]))
        where = places[run]
        axes = forest.panels(block, where, [str(name) for _, name in where.heights], count, on_narrow=count)
        rows = where.on(looks.put_on(part, styles, by="arm", hollow="failed"))
        rows["y"] += [_DOT / _row(len(mine)) * (mine.index(arm) - (len(mine) - 1) / 2) for arm in rows["arm"]]
        for ax, (quantity, title) in zip(axes, PANELS.items(), strict=True):
            of_panel = rows[rows["quantity"] == quantity]
            if quantity == "accuracy":
                of_panel = of_panel.assign(**{name: 100 * of_panel[name] for name in ("estimate", "low", "high")})
            anchor = None if quantity == "accuracy" else 0.0
            forest.draw(ax, of_panel, limits=scales.limits(of_panel, anchor=anchor), size=4.0, width=1.2)
            scales.values(ax, title, ticks=style.abreast(4, on_narrow=2))
    entries = [legends.dot(styles[arm].marker, styles[arm].label, color=styles[arm].color) for arm in arms]
    legends.below(figure, entries, columns=columns, handletextpad=0.3)
    return figure


def _row(arms: int) -> float:
    return _DOT * arms + _BETWEEN


def _places(part: pd.DataFrame) -> forest.Places:
    """The places of the views of a run, whose names stand above them on narrow screens."""
    names = list(dict.fromkeys(part["view"].astype(str)))
    return forest.places(part, row="view").named(names, above=True, row=_row(part["arm"].nunique()))


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are drawn: all, or of many views the first two and those where mean accuracy is least."""
    kept = []
    for _, part in frame.groupby("run", sort=False):
        most = int(MOST_INCHES / _row(part["arm"].nunique()))
        names = list(dict.fromkeys(part["view"]))
        means = part[part["quantity"] == "accuracy"].groupby("view", sort=False)["estimate"].mean()
        least = {*names[:2], *means[names[2:]].nsmallest(max(most - 2, 0)).index}
        kept.append(part[part["view"].isin(names if len(names) <= most else least)])
    return pd.concat(kept) if kept else frame


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what the views are, correction, intervals, what is left out, draw and data."""
    here = runs_in(frame, runs)
    views, shown = frame["view"].nunique(), _shown(frame)["view"].nunique()
    some = f" Drawn are {shown} of {views} kinds of views, those where accuracy is least; the CSV has all."
    arms = {run.name: len(_arms(run)) for run in here}
    cut = [name for name, count in arms.items() if count > MOST_ARMS]
    first = "".join(f" Of the {arms[name]} arms of {name} here are the first {MOST_ARMS} of its study." for name in cut)
    made = ""
    if any(views_of(run, "corruptions") for run in here):
        made = (
            " Corruptions follow the families of Hendrycks and Dietterich (2019) with a severity from 1 to 5 each, the "
            "same picture of a row for every arm and replica; they are made by biasvar, and numbers on them are not "
            "numbers on CIFAR-10-C."
        )
    attacks = ""
    if any(attacks_in(run) for run in here):
        attacks = (
            " FGSM and PGD (10 steps from a random point) attack each replica by itself, within that radius in the "
            "largest norm, pixels being from 0 to 1."
        )
    return (
        f"n = {sizes(frame['n_samples'])} test rows after the last epoch, in each view. Numbers behind a corruption "
        "are its severities, averaged. Bias and variance: against the true labels at temperature 1, cross-entropy, "
        "corrected for the finite number of replicas. Bars are 95 % t intervals over replicas for these rows and "
        f"views; the {len(frame)} intervals are not adjusted for their number.{made}{attacks}"
        f"{some if shown < views else ''}"
        f"{first}{left_out(here)} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="views",
    title="Accuracy, bias and variance on other views of the test rows",
    how_to_read="Each row is a way to show the same test rows; the first shows them as they are. Further right is "
    "better in the first panel, further left in the others. Bias that grows means that replicas agree on a wrong "
    "answer, variance that grows that they no longer agree.",
    needs="a study with `data.views`, and an arm of it that has not failed",
    collect=collect,
    draw=draw,
    caption=caption,
)
