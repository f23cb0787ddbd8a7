"""How bias and variance are spread over samples: a histogram of each, arm by arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.proportions import clopper_pearson
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import legends, roots, scales
from biasvar.report.statistics import own_samples
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.estimates import TERMS, from_total
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "split", "term", "kind", "bin_low", "bin_high", "count", "estimate", "low", "high",
    "n_samples", "n_replicas",
]  # fmt: skip
MOST = 7  # arms, one under another
BINS = 36
HIGH, FOOT = 0.95, 1.15  # inches: a row of panels, with the arm's name, and everything under and over them
MEAN = 0.86  # of a panel's height: where the mean stands
CROWDED = 20.0  # times that the fullest bin may hold the middle one before counts go on a logarithmic axis


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of kind "bin", a share of the arm's samples with its interval, and of kind "mean", the mean term."""
    arms = [(run, arm) for run in runs for arm in own_samples.own_arms(run)]
    found = [(run, arm, terms) for run, arm in arms if (terms := _terms(run, arm)) is not None][:MOST]
    rows: list[dict[str, Any]] = []
    for term in TERMS:
        values = [getattr(terms, term)[np.isfinite(getattr(terms, term))] for *_, terms in found]
        if not found or not any(map(len, values)):
            continue
        low, high = _range(roots.root(np.concatenate(values)))
        edges = roots.square(np.linspace(low, high, BINS + 1))
        for (run, arm, terms), own in zip(found, values, strict=True):
            groups = 0 if terms.group_counts is None else int(np.count_nonzero(terms.group_counts.sum(axis=1)))
            mean = from_total(run, arm, getattr(terms.totals(), term), groups - 1, quantity=term)
            about = {"run": run.name, "arm": arm, "label": arm_label(run, arm), "term": term, "n_samples": len(own)}
            about |= {"split": own_samples.main_place(run, arm).split, "n_replicas": mean.n_replicas}
            counts = np.histogram(own, edges)[0]
            ends = clopper_pearson(counts, np.full(len(counts), len(own)), 0.05)
            for place, count in enumerate(counts.tolist()):
                share = {"estimate": count / len(own), "low": ends[0][place], "high": ends[1][place]}
                bins = {"bin_low": edges[place], "bin_high": edges[place + 1], "count": count}
                rows.append({**about, "kind": "bin", **bins, **share})
            rows.append({**about, "kind": "mean", "estimate": mean.estimate, "low": mean.low, "high": mean.high})
    return style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)


def _terms(run: Run, arm: str) -> Any:
    found = own_samples.terms_at(run, arm, own_samples.main_place(run, arm))
    return None if found is None or not np.isfinite(found[1].variance).any() else found[1]


def _range(values: np.ndarray) -> tuple[float, float]:
    """The range of roots with a margin."""
    low, high = float(values.min()), float(values.max())
    room = 0.03 * (high - low) or 0.5
    return low - room, high + room


def draw(frame: pd.DataFrame) -> Drawing:
    """A row of panels for each arm: how many of its samples have which bias, and which variance, with the means."""
    styles, frame = unstyled(frame)
    keys = each(frame.drop_duplicates(["run", "arm"]))
    bins = frame[frame["kind"] == "bin"]
    logarithmic = _crowded(bins)
    figure = style.new_figure(height=FOOT + 0.2 * style.narrow() + HIGH * len(keys))
    axes = figure.subplots(len(keys), len(TERMS), sharex="col", sharey=True, squeeze=False)
    several = frame["run"].nunique() > 1
    for column, term in zip(axes.T, TERMS, strict=True):
        part = frame[frame["term"] == term]
        limits = (float(part["bin_low"].min()), float(part["bin_high"].max()))
        for ax, key in zip(column, keys, strict=True):
            own = part[(part["run"] == key.run) & (part["arm"] == key.arm)]
            _panel(ax, own, styles[str(key.arm)].color, limits)
            ax.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
        roots.put_on(column[-1], "x", *limits, apart=0.2 if style.narrow() else 0.13)
        column[-1].set_xlabel(f"{term}, nats{chr(10) if style.narrow() else ' '}({roots.SAID})")
    for ax, key in zip(axes[:, 0], keys, strict=True):
        ax.set_title(f"{key.run}: {key.label}" if several else str(key.label), fontsize=9.5)
    _shares(axes[0, 0], bins, logarithmic=logarithmic)
    figure.supylabel("share of the samples" + (", log scale" if logarithmic else ""), fontsize=9.5)
    ends = frame.loc[frame["kind"] == "mean", "low"].notna().any()
    legends.below(figure, [legends.dot("o", "mean" + (", with its 95 % interval over replicas" if ends else ""))])
    return figure


def _panel(ax: Axes, own: pd.DataFrame, color: str, limits: tuple[float, float]) -> None:
    bins, mean = own[own["kind"] == "bin"], own[own["kind"] == "mean"]
    if bins.empty:
        return
    edges = np.append(bins["bin_low"], bins["bin_high"].iloc[-1])
    shares = bins["estimate"].to_numpy(dtype=float)
    ax.stairs(shares, edges, color=color, alpha=0.35, fill=True, linewidth=0)
    ax.stairs(shares, edges, color=color, linewidth=1.2)
    filled = bins[bins["count"] > 0]
    middles = roots.square((roots.root(filled["bin_low"]) + roots.root(filled["bin_high"])) / 2)
    ax.vlines(middles, filled["low"], filled["high"], colors=color, linewidth=0.6, alpha=0.7)
    row = mean.iloc[0]
    above = ax.get_xaxis_transform()
    low, high = np.clip([row["low"], row["high"]], *limits)  # what reaches beyond the axis ends at it
    ax.hlines(MEAN, low, high, colors=style.INK, linewidth=1.4, transform=above)
    ax.plot(row["estimate"], MEAN, "o", color=style.INK, markersize=4.0, transform=above)


def _shares(ax: Axes, bins: pd.DataFrame, *, logarithmic: bool) -> None:
    """The axis of shares, which all panels have in common, with room for the means above them."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    top = float(bins["high"].max())
    if logarithmic:
        scales.logarithmic(ax, between=False)
        least = 0.5 * float(bins.loc[bins["count"] > 0, "estimate"].min())
        ax.set_ylim(least, top * (top / least) ** 0.45)
    else:
        ax.set_ylim(0.0, 1.4 * top)
        ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _crowded(bins: pd.DataFrame) -> bool:
    """True if one bin holds so much that on a plain axis the others would not be seen."""
    counts = bins.loc[bins["count"] > 0, "count"]
    return bool(counts.max() > CROWDED * counts.median())


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, bins, intervals, correction, which arms are left out."""
    arms = sum(len(own_samples.own_arms(run)) for run in runs)
    more = f" The first {MOST} arms of {arms}." if arms > MOST else ""
    known = frame.loc[frame["kind"] == "mean", "low"].notna().any()
    ends = ", with 95 % t intervals over replicas" if known else ""
    return (
        f"Shares of n = {sizes(frame['n_samples'])} {' and '.join(dict.fromkeys(frame['split']))} rows in {BINS} bins "
        "that are even in the square root, with 95 % intervals (Clopper-Pearson, each bin by itself) as thin bars. "
        "Bias and variance against the true labels at temperature 1, cross-entropy, corrected for the finite number of "
        "replicas, so that small ones can be "
        f"negative. Dots above: means over these rows{ends}.{more} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="term_histograms",
    title="Bias and variance over the samples",
    how_to_read="Most samples lie near 0. What lies far to the right makes the mean: few samples that are all missed, "
    "or many that are a little uncertain.",
    needs="predictions of at least two replicas of your own loop, or imported",
    collect=collect,
    draw=draw,
    caption=caption,
    kinds=own_samples.OWN,
)
