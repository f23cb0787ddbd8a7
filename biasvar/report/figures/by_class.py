"""Bias and variance by true class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import style
from biasvar.report.arms.roles import COMPARED, core_arms, left_out
from biasvar.report.figure import Figure
from biasvar.report.marks import forest, legends, looks, scales
from biasvar.report.statistics.estimates import TERMS, Estimate, class_terms, to_frame
from biasvar.report.statistics.own_samples import class_names, is_own
from biasvar.report.text.captions import conditions_in, when_evaluated

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "loss", "plays", "role", "regime", "split", "epoch", "class", "term", "estimate", "low",
    "high", "stderr_replicas", "stderr_samples", "low_crossed", "high_crossed", "stderr_crossed", "n_replicas",
    "n_samples", "replicas", "failed",
]  # fmt: skip
CROSSED = ("low_crossed", "high_crossed", "stderr_crossed")
THICK, THIN = 2.2, 0.7  # points, of bars
MOST_ARMS = 8  # of a run
MOST_INCHES = 9.0  # of height: of more classes fewer are drawn
_DOT, _BETWEEN = 0.085, 0.12  # inches from arm to arm, and more from class to class


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, core arm, true class and term, with 95 % intervals over replicas and over rows and replicas."""
    found = []
    for run in runs:
        names = class_names(run) if is_own(run) else None
        for arm in core_arms(run)[:MOST_ARMS]:
            for number, terms in class_terms(run, arm).items():
                about = {"class": names[number] if names else number}
                found.append(to_frame(terms).assign(**about, **_over_all(terms)))
    empty: dict[str, list[Any]] = {"class": [], **_over_all([])}
    frame = pd.concat(found, ignore_index=True) if found else to_frame([]).assign(**empty)
    frame = frame.rename(columns={"quantity": "term", "stderr": "stderr_replicas"})
    return style.styled(frame[COLUMNS], runs)


def _over_all(terms: Sequence[Estimate]) -> dict[str, list[float]]:
    """Columns with the interval over rows and replicas."""
    every = [None if row.crossed is None else row.crossed.interval() for row in terms]
    ends = [(math.nan,) * 3 if over is None else (over.low, over.high, over.stderr) for over in every]
    return {name: [end[place] for end in ends] for place, name in enumerate(CROSSED)}


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
    bars = _bar_entries(shown)
    lines = -(-(len(arms) + len(bars)) // columns) + style.narrow() * len(bars)
    figure = style.new_figure(height=1.5 + 0.19 * lines + height * where.total)
    axes = forest.panels(figure, where, names, 2, on_narrow=2)
    rows = where.on(looks.put_on(shown, styles, by="arm"))
    rows["y"] += [_DOT / height * (arms.index(arm) - (len(arms) - 1) / 2) for arm in rows["arm"]]
    for ax, term in zip(axes, TERMS, strict=True):
        part = rows[rows["term"] == term]
        limits = scales.limits(part, anchor=0.0)
        whole = part.assign(**{end: part[f"{end}_crossed"].fillna(part[end]) for end in ("low", "high")})
        whole["low"] = whole["low"].clip(lower=limits[0])  # below 0, where no term is, there is nothing to point at
        forest.bars(ax, part, width=THICK)
        forest.draw(ax, whole, limits=limits, size=4.0, width=THIN)
        ax.set_title(term.capitalize())
        scales.values(ax, "nats, left is better", ticks=style.abreast(5, on_narrow=3))
    axes[0].set_ylabel("" if where.names else "true class")
    entries = [legends.dot(styles[arm].marker, styles[arm].label, color=styles[arm].color) for arm in arms]
    legends.below(figure, [*entries, *bars], columns=columns, handlelength=1.6, handletextpad=0.5)
    return figure


def _bar_entries(shown: pd.DataFrame) -> list[Any]:
    """What the thick and the thin bars are over, as far as there are any."""
    thick = [legends.replica_bars(shown["split"], width=THICK)] * bool(shown["low"].notna().any())
    return thick + [legends.row_bars(shown["split"], width=THIN)] * bool(shown["low_crossed"].notna().any())


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
        "terms can be negative. Bars are 95 % t intervals of jackknifed totals: thick over replicas, for these rows;"
        f"{_thin(frame)} The {len(frame)} totals' intervals are not adjusted for their number."
        f"{some if shown < classes else ''}{first if cut else ''}{left_out(runs)} {conditions_in(frame, runs)}"
    )


def _thin(frame: pd.DataFrame) -> str:
    """What thin bars are over, and where an axis ends."""
    if frame["low_crossed"].isna().all():
        return " the error over rows is in the CSV."
    return " thin over replicas and rows, from 0 at the least, with an arrowhead where they go on to the right."


def _counts(frame: pd.DataFrame) -> str:
    low, high = int(frame["n_samples"].min()), int(frame["n_samples"].max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


FIGURE = Figure(
    name="by_class",
    title="Bias and variance by true class",
    how_to_read="Further left is better. A class that lies right of the others in the left panel is one that replicas "
    "agree on wrongly; in the right panel, one that they disagree about. If only "
    "the thick bars of two arms are apart, the difference is one on these rows, of which a few may make all of it.",
    needs="predictions of at least two replicas on test or validation rows",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=COMPARED,
)
