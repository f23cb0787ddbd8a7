"""The bias of every sample against its variance, arm by arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import cloud, legends, roots
from biasvar.report.statistics import own_samples
from biasvar.report.statistics.changes import bare, each
from biasvar.report.statistics.estimates import TERMS, from_total
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import level

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "split", "kind", "sample_id", "bias", "variance", "accuracy", "count", "low_bias",
    "high_bias", "low_variance", "high_variance", "median_bias_stderr", "median_variance_stderr", "n_samples",
    "n_replicas",
]  # fmt: skip
MOST = 6  # panels
_SCALE = (roots.root, roots.square)


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of kind "sample", or of many samples "cell", and for each arm one of kind "mean" with its intervals."""
    parts = [part for run in runs for arm in own_samples.own_arms(run) if (part := _of_arm(run, arm)) is not None]
    frame = pd.concat(parts[:MOST], ignore_index=True) if parts else pd.DataFrame()
    return style.styled(frame.reindex(columns=COLUMNS), runs)


def _of_arm(run: Run, arm: str) -> pd.DataFrame | None:
    place = own_samples.main_place(run, arm)
    terms = own_samples.terms_at(run, arm, place)
    if terms is None:
        return None
    rows, found = terms
    known = np.isfinite(found.bias) & np.isfinite(found.variance)
    if not known.any():
        return None
    course = own_samples.last_answers(run, arm, place)
    points = cloud.collected(
        found.bias[known], found.variance[known], course.accuracy[rows][known], course.sample_ids[rows][known],
        x_scale=_SCALE, y_scale=_SCALE,
    ).rename(columns={"name": "sample_id", "x": "bias", "y": "variance", "share": "accuracy"})  # fmt: skip
    totals = found.totals()
    groups = 0 if found.group_counts is None else int(np.count_nonzero(found.group_counts.sum(axis=1)))
    whole: dict[str, Any] = {"kind": "mean", "accuracy": course.accuracy[rows][known].mean(), "count": int(known.sum())}
    for term in TERMS:
        interval = from_total(run, arm, getattr(totals, term), groups - 1, quantity=term)
        errors = getattr(found, f"{term}_stderr")[known]
        whole |= {term: interval.estimate, f"low_{term}": interval.low, f"high_{term}": interval.high}
        whole |= {f"median_{term}_stderr": np.median(errors)}
    return pd.concat([points, pd.DataFrame([whole])], ignore_index=True).assign(
        run=run.name, arm=arm, label=arm_label(run, arm), split=place.split, n_samples=int(known.sum()),
        n_replicas=totals.bias.n_replicas,
    )  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each arm."""
    frame = bare(frame)
    several = frame["run"].nunique() > 1
    panels = [part for _, part in frame.groupby(["run", "arm"], sort=False)]
    figure, axes = cloud.grid(len(panels), more=0.7)
    cells = frame[frame["kind"] == "cell"]
    top = float(cells["count"].max()) if len(cells) else 1.0
    limits = {term: _limits(frame[term]) for term in TERMS}
    mesh: Any = None
    for ax, part in zip(axes.flat, panels, strict=False):
        mesh = _draw_panel(ax, part, top, several=several)
        roots.put_on(ax, "x", *limits["bias"])
        roots.put_on(ax, "y", *limits["variance"])
    figure.supxlabel(f"bias, nats ({roots.SAID})", fontsize=9.5)
    figure.supylabel(f"variance, nats ({roots.SAID})", fontsize=9.5)
    cloud.bar(figure, mesh, axes, "replicas that are right")
    mean = legends.dot("P", "mean, with 95 % intervals", color=style.INK, size=7.0)
    cloud.legend(figure, [*cloud.sizes(top), mean])
    return figure


def _limits(values: pd.Series) -> tuple[float, float]:
    """The range of values, with 0, and a margin that is even on the scale."""
    low, high = (float(roots.root(end)) for end in (min(values.min(), 0.0), max(values.max(), 0.0)))
    room = 0.04 * (high - low) or 0.1
    return float(roots.square(low - room)), float(roots.square(high + room))


def _draw_panel(ax: Axes, part: pd.DataFrame, top: float, *, several: bool) -> Any:
    mesh = cloud.draw(
        ax, part[part["kind"] != "mean"].rename(columns={"bias": "x", "variance": "y", "accuracy": "share"}), top=top
    )
    mean = each(part[part["kind"] == "mean"])[0]
    ax.set_title(style.panel_title(str(mean.label), str(mean.run) if several else "", width=28), fontsize=9.5)
    for along in (ax.axhline, ax.axvline):
        along(0, color=style.MUTED, linewidth=0.8, zorder=1)
    ax.hlines(mean.variance, mean.low_bias, mean.high_bias, colors=style.INK, linewidth=1.6, zorder=4)
    ax.vlines(mean.bias, mean.low_variance, mean.high_variance, colors=style.INK, linewidth=1.6, zorder=4)
    ax.plot(mean.bias, mean.variance, "P", color=style.INK, markeredgecolor="white", markersize=8, zorder=5)
    return mesh


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, means with intervals, how large the errors of single samples are, correction."""
    several = frame["run"].nunique() > 1
    said = "; ".join(
        f"{f'{row.run}, ' if several else ''}{row.label}, n = {row.n_samples:,} {row.split} rows, bias "
        f"{_interval(row, 'bias')}, variance {_interval(row, 'variance')}"
        for row in each(frame[frame["kind"] == "mean"])
    )
    errors = frame.loc[frame["kind"] == "mean", ["median_bias_stderr", "median_variance_stderr"]].astype(float).max()
    known = errors.notna().all()
    error = (
        f" A sample's own standard error over replicas is at most {errors.iloc[0]:.2g} of bias and "
        f"{errors.iloc[1]:.2g} of variance in half of the samples; samples.csv has each."
        if known
        else ""
    )
    cells = (
        f" Of more than {cloud.MOST_POINTS:,} samples, squares stand for cells of a grid."
        if (frame["kind"] == "cell").any()
        else ""
    )
    return (
        "Bias and variance of every sample against the true labels at temperature 1, cross-entropy, corrected for the "
        "finite number of replicas, so that small values can be negative. Means with 95 % t intervals over replicas "
        f"for these rows: {said}.{error}{cells} {conditions_in(frame, runs)}"
    )


def _interval(row: Any, term: str) -> str:
    value, low, high = (getattr(row, name) for name in (term, f"low_{term}", f"high_{term}"))
    return level(value, 3) + ("" if np.isnan(low) else f" ({level(low, 3)} to {level(high, 3)})")


FIGURE = Figure(
    name="bias_against_variance",
    title="Bias and variance of every sample",
    how_to_read="Far right are samples that all replicas miss together, high up those that replicas disagree about. "
    "More data or averaging helps the latter, and not the former.",
    needs="predictions of at least two replicas of your own loop, or imported",
    collect=collect,
    draw=draw,
    caption=caption,
    kinds=own_samples.OWN,
)
