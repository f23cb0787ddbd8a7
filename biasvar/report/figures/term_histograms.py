"""How bias and variance are spread over samples: a histogram of each, arm by arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.proportions import clopper_pearson
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import legends, scales, symlog
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
MOST = 7  # lines in a panel
BINS = 36
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
        low, high = symlog.limits(np.concatenate(values))
        edges = symlog.unscaled(np.linspace(symlog.scaled(low), symlog.scaled(high), BINS + 1))
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


def draw(frame: pd.DataFrame) -> Drawing:
    """Two panels, bias and variance; a line for each arm, and above it the mean."""
    styles, frame = unstyled(frame)
    keys = each(frame.drop_duplicates(["run", "arm"]))
    across = style.abreast(len(TERMS))
    below = len(TERMS) // across
    figure = style.new_figure(height=2.9 * below + 0.22 * -(-len(keys) // across) + 0.2 * (below - 1))
    axes = list(figure.subplots(below, across, sharey=True, squeeze=False).flat)
    bins = frame[frame["kind"] == "bin"]
    logarithmic = _crowded(bins)
    for ax, term in zip(axes, TERMS, strict=True):
        part = frame[frame["term"] == term]
        limits = (float(part["bin_low"].min()), float(part["bin_high"].max()))
        for place, key in enumerate(keys):
            own = part[(part["run"] == key.run) & (part["arm"] == key.arm)]
            look = styles[str(key.arm)]
            _line(ax, own, look.color, _dashes(place, len({styles[str(k.arm)].color for k in keys}) < len(keys)),
                  height=1.04 + 0.05 * place, limits=limits)  # fmt: skip
        symlog.put_on(ax, "x", *limits)
        ax.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
        ax.set_title(term.capitalize(), y=1.02 + 0.05 * len(keys))
        ax.set_xlabel("nats (logarithmic beyond ±.01)")
    if logarithmic:
        scales.logarithmic(axes[0], between=False)
        axes[0].set_ylim(bottom=0.5 * float(bins.loc[bins["count"] > 0, "estimate"].min()))
    else:
        axes[0].set_ylim(bottom=0)
    from matplotlib.ticker import FuncFormatter

    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    for ax in axes[::across]:
        ax.set_ylabel("share of the samples" + (", log scale" if logarithmic else ""))
    several = frame["run"].nunique() > 1
    shared = len({styles[str(key.arm)].color for key in keys}) < len(keys)
    legends.below(
        figure, [_entry(key, styles, place, several, shared) for place, key in enumerate(keys)], handlelength=2.6
    )
    return figure


def _dashes(place: int, shared: bool) -> Any:
    """Lines of arms that have a colour in common, as those of two runs, differ in their dashes."""
    return ("-", "--", "-.", ":")[place % 4] if shared else "-"


def _entry(key: Any, styles: dict[str, style.Look], place: int, several: bool, shared: bool) -> Any:
    from matplotlib.lines import Line2D

    name = f"{key.run}: {key.label}" if several else str(key.label)
    return Line2D([], [], color=styles[str(key.arm)].color, linestyle=_dashes(place, shared), linewidth=2.0, label=name)


def _line(ax: Axes, own: pd.DataFrame, color: str, dashes: Any, *, height: float, limits: tuple[float, float]) -> None:
    bins, mean = own[own["kind"] == "bin"], own[own["kind"] == "mean"]
    if bins.empty:
        return
    edges = np.append(bins["bin_low"], bins["bin_high"].iloc[-1])
    filled = bins["count"].to_numpy() > 0
    ax.stairs(np.where(filled, bins["high"], np.nan), edges, baseline=np.where(filled, bins["low"], np.nan), fill=True,
              color=color, alpha=0.16, linewidth=0)  # fmt: skip
    ax.stairs(np.where(filled, bins["estimate"], 0.0), edges, color=color, linewidth=1.5, linestyle=dashes)
    row = mean.iloc[0]
    above = ax.get_xaxis_transform()
    low, high = np.clip([row["low"], row["high"]], *limits)  # what reaches beyond the axis ends at it
    ax.hlines(height, low, high, colors=color, linewidth=1.6, transform=above, clip_on=False)
    ax.plot(row["estimate"], height, "o", color=color, markersize=4.5, transform=above, clip_on=False)


def _crowded(bins: pd.DataFrame) -> bool:
    """True if one bin holds so much that on a plain axis the others would not be seen."""
    counts = bins.loc[bins["count"] > 0, "count"]
    return bool(counts.max() > CROWDED * counts.median())


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, bins, intervals, correction, which arms are left out."""
    arms = sum(len(own_samples.own_arms(run)) for run in runs)
    more = f" The first {MOST} arms of {arms}." if arms > MOST else ""
    return (
        f"Shares of n = {sizes(frame['n_samples'])} {' and '.join(dict.fromkeys(frame['split']))} rows in {BINS} bins, "
        "with 95 % intervals (Clopper-Pearson, each bin by itself) as bands. Bias and variance against the true labels "
        "at temperature 1, cross-entropy, corrected for the finite number of replicas, so that small ones can be "
        f"negative; the axis is linear within ±{symlog.LINEAR:g}. Above: means over these rows, with 95 % t "
        f"intervals over replicas.{more} {conditions_in(frame, runs)}"
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
