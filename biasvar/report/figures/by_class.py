"""Bias and variance by true class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.roles import COMPARED, core_arms, left_out
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.statistics.estimates import TERMS, class_terms, to_frame
from biasvar.report.statistics.own_samples import class_names, is_own
from biasvar.report.text.captions import conditions_in, when_evaluated

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "loss", "plays", "role", "regime", "split", "epoch", "class", "term", "estimate", "low",
    "high", "stderr_replicas", "stderr_samples", "n_replicas", "n_samples", "replicas", "failed",
]  # fmt: skip
MOST_ARMS = 8  # of a run
MOST_INCHES = 9.0  # of height: of more classes fewer are drawn
_DOT, _BETWEEN = 0.085, 0.12  # inches from arm to arm, and more from class to class


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, core arm, true class and term, with the 95 % interval over replicas."""
    found = []
    for run in runs:
        names = class_names(run) if is_own(run) else None
        for arm in core_arms(run)[:MOST_ARMS]:
            for number, terms in class_terms(run, arm).items():
                found.append(to_frame(terms).assign(**{"class": names[number] if names else number}))
    frame = pd.concat(found, ignore_index=True) if found else to_frame([]).assign(**{"class": []})
    frame = frame.rename(columns={"quantity": "term", "stderr": "stderr_replicas"})
    return style.styled(frame[COLUMNS], runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """Two panels that share their rows, one row a class, with the arms one under another in it."""
    shown = _shown(frame)
    arms = list(dict.fromkeys(shown["arm"]))
    height = _class_height(len(arms))
    where = forest.places(shown, row="class")
    names = [str(name) for _, name in where.heights]
    where = where.named(names, row=height)
    styles = style.styles_of(frame)
    columns = style.abreast(3, on_narrow=2 if max(len(styles[arm].label) for arm in arms) < 20 else 1)
    figure = style.new_figure(height=1.5 + 0.19 * -(-len(arms) // columns) + height * where.total)
    axes = forest.panels(figure, where, names, 2, on_narrow=2)
    rows = where.on(looks.put_on(shown, styles, by="arm"))
    rows["y"] += [_DOT / height * (arms.index(arm) - (len(arms) - 1) / 2) for arm in rows["arm"]]
    for ax, term in zip(axes, TERMS, strict=True):
        part = rows[rows["term"] == term]
        forest.draw(ax, part, limits=scales.limits(part, anchor=0.0), size=4.0, width=1.2)
        ax.set_title(term.capitalize())
        scales.values(ax, "nats, left is better", ticks=style.abreast(5, on_narrow=3))
    axes[0].set_ylabel("" if where.names else "true class")
    legends.below(
        figure, [legends.dot(styles[arm].marker, styles[arm].label, color=styles[arm].color) for arm in arms],
        columns=columns, handletextpad=0.3,
    )  # fmt: skip
    return figure


def _class_height(arms: int) -> float:
    return _DOT * arms + _BETWEEN


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the classes that are drawn: all, or of many those where some arm has most bias and variance."""
    most = int(MOST_INCHES / _class_height(frame["arm"].nunique()))
    if frame["class"].nunique() <= most:
        return frame
    sums = frame.groupby(["run", "arm", "class"], sort=False)["estimate"].sum()
    return frame[frame["class"].isin(sums.groupby("class").max().nlargest(most).index)]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n a class, correction, intervals, which classes are drawn, what is left out, draw and data."""
    classes, shown = frame["class"].nunique(), _shown(frame)["class"].nunique()
    some = f" Drawn are the {shown} of {classes} classes where an arm's sum is largest; the CSV has all."
    when = f" {when_evaluated(frame, runs)}" if (frame["epoch"] > 0).any() else ""
    first = f" Of runs with more arms, the first {MOST_ARMS}."
    cut = any(len(core_arms(run)) > MOST_ARMS for run in runs)
    return (
        f"Means over the {' and '.join(dict.fromkeys(frame['split']))} rows of each true class (n = "
        f"{_counts(frame)} a class){when}, against the true "
        "labels at temperature 1; cross-entropy, in nats, corrected for the finite number of replicas, so that small "
        "terms can be negative. Bars are 95 % t intervals over replicas of the jackknifed totals for these rows; the "
        f"{len(frame)} intervals are not adjusted for their number, and the error over rows is in the CSV."
        f"{some if shown < classes else ''}{first if cut else ''}{left_out(runs)} {conditions_in(frame, runs)}"
    )


def _counts(frame: pd.DataFrame) -> str:
    low, high = int(frame["n_samples"].min()), int(frame["n_samples"].max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


FIGURE = Figure(
    name="by_class",
    title="Bias and variance by true class",
    how_to_read="Further left is better. A class that lies right of the others in the left panel is one that replicas "
    "agree on wrongly; in the right panel, one that they disagree about.",
    needs="predictions of at least two replicas on test or validation rows",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
