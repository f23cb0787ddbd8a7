"""Which samples carry the variance along a sweep, and whether they are the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.intervals import t_quantile
from biasvar.report import style
from biasvar.report.arms.sweep import WORDS, Curve, curves, is_geometric, most_apart
from biasvar.report.figure import Figure
from biasvar.report.figures.sweep import MOST_BANDS, MOST_LINES, TICKS_APART, at_ends, line_looks
from biasvar.report.marks import blocks, legends, lines, looks, scales
from biasvar.report.statistics.sample_moves import (
    LEAST_FOR_INTERVALS,
    LEAST_GROUPS,
    QUANTITIES,
    TOP,
    half_width,
    moves_of,
)
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "key", "curve", "base", "arm", "value", "to", "quantity", "estimate", "low", "high", "stderr_replicas",
    "stderr_samples", "peak", "n_replicas", "n_samples", "failed",
]  # fmt: skip
PANELS = {
    "next": ("Same samples as at the next {key}", ("next", "same")),
    "peak": ("Same samples as at the peak", ("peak", "same")),
    "top": (f"Share of the top {100 * TOP:.0f} %", ("peak's top", "own top")),
}
"""The title of each panel, and what it draws: a full line, and a dotted one beside it."""
HIGH = 1.7  # inches of a panel without its title and axis, about
DASH = 4
"""Length of the dashes, in line widths, of curves whose peak is at the same value."""
ROOM = 0.05
"""How far an axis may go beyond what a correlation or a share can be."""


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, curve, value and number, with the 95 % interval over replicas and samples."""
    rows = [row for run in runs for curve in _curves(run) for row in _rows(run, curve)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _curves(run: Run) -> list[Curve]:
    """The curves over the key with most values."""
    found = curves(run)
    return [one for one in found if one.key == found[0].key and len(one.arms) > 2]


def _rows(run: Run, curve: Curve) -> list[dict[str, Any]]:
    found = moves_of(run, curve.arms)
    if found is None:
        return []
    quantile = t_quantile(0.975, found.df)
    failed = [len(run.entry(arm).failed) for arm in curve.arms]
    rows = []
    for quantity in QUANTITIES:
        half = half_width(found, quantity, quantile)
        for i, arm in enumerate(curve.arms):
            estimate = float(found.estimates[quantity][i])
            if not np.isfinite(estimate):
                continue
            pair = quantity in ("next", "kept")
            rows.append({
                "run": run.name, "key": curve.key, "curve": curve.name, "base": curve.base, "arm": arm,
                "value": curve.values[i], "to": curve.values[i + 1] if pair else None, "quantity": quantity,
                "estimate": estimate, "low": estimate - half[i], "high": estimate + half[i],
                "stderr_replicas": float(found.stderr_replicas[quantity][i]),
                "stderr_samples": float(found.stderr_samples[quantity][i]),
                "peak": curve.values[found.peak], "n_replicas": found.n_replicas, "n_samples": found.n_samples,
                "failed": max(failed[i], failed[i + 1]) if pair else failed[i],
            })  # fmt: skip
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run three panels: agreement with the next value, with the peak, and the share of the top samples."""
    runs = list(dict.fromkeys(frame["run"]))
    looked = line_looks(list(dict.fromkeys(frame["curve"])))
    parts = {run: _apart(looks.put_on(frame[frame["run"] == run], looked, by="curve")) for run in runs}
    across = style.abreast(len(PANELS))
    down = len(PANELS) // across
    named = {name: look.label for name, look in looked.items()} if at_ends(looked) else {}
    entries = [*([] if named else legends.lines(looked, markers=True)), *_others()]
    more = 0.3 + 0.19 * (-(-len(entries) // 2) if across > 1 else len(entries) + 2)
    figure, block_of = blocks.stacked(
        runs, [(2.3 if down > 1 else 2.9) * down * len(parts[run]) for run in runs], more=more
    )
    for run, block in block_of.items():
        axes = block.subplots(down * len(parts[run]), across, squeeze=False).reshape(len(parts[run]), len(PANELS))
        for part, row in zip(parts[run], axes, strict=True):
            for ax, (title, quantities) in zip(row, PANELS.values(), strict=True):
                _panel(ax, part, title, quantities)
            if named:
                last = part[part["quantity"] == [*PANELS.values()][-1][1][0]]
                lines.name_ends(row[-1], last, named, x="value", line="curve", high=72 * HIGH)
    legends.below(figure, entries)
    return figure


def _apart(part: pd.DataFrame) -> list[pd.DataFrame]:
    """A run's rows; of more curves than have room for their bands at most `MOST_LINES`, those of each arm by itself."""
    names = list(dict.fromkeys(part["curve"]))
    if len(names) <= MOST_BANDS:
        return [part]
    return [
        rows[rows["curve"].isin(most_apart(list(dict.fromkeys(rows["curve"])), MOST_LINES))]
        for _, rows in part.groupby("base", sort=False)
    ]


def _others() -> list[Any]:
    """What the lines are that no curve's name explains."""
    dotted = style.Look(style.MUTED, "", ":", "dotted: the most that noise allows")
    upright = style.Look(style.MUTED, "", "-", "upright: the peak, where the total variance is largest")
    dashed = style.Look(style.MUTED, "", "--", f"dashed: an even spread, {100 * TOP:.0f} %")
    return legends.lines({"dotted": dotted, "upright": upright, "dashed": dashed}, width=1.0)


def _panel(ax: Axes, part: pd.DataFrame, title: str, quantities: tuple[str, str]) -> None:
    first, beside = (part[part["quantity"] == name] for name in quantities)
    first = first.assign(at=np.where(first["to"].isna(), first["value"], np.sqrt(first["value"] * first["to"])))
    key = WORDS.get(str(part["key"].iloc[0]), str(part["key"].iloc[0]))
    geometric = is_geometric(part["value"])
    if not geometric:
        first["at"] = np.where(first["to"].isna(), first["value"], (first["value"] + first["to"]) / 2)
    else:
        scales.doublings(ax, part["value"], apart=TICKS_APART)
    count = first["curve"].nunique()
    band = (0.16 if count < MOST_BANDS else 0.08) if count <= MOST_BANDS else 0.0
    lines.draw(ax, first, x="at", line="curve", markers=True, size=3.2, width=1.3, band=band, bars=0.0 if band else 0.8)
    lines.draw(ax, beside.assign(linestyle=":"), x="value", line="curve", band=0.0, width=1.0)
    ax.set_title(style.panel_title(title.format(key=key), width=17))
    ax.set_xlabel(key)
    ax.set_ylabel("share of the variance" if "top" in quantities[0] else "rank correlation")
    if "top" in quantities[0]:
        ax.axhline(TOP, color=style.MUTED, linewidth=0.8, linestyle="--")
    else:
        if quantities[0] == "peak":
            _peaks(ax, first.drop_duplicates("curve"))
    bottom, top = ax.get_ylim()
    least = 0.0 if "top" in quantities[0] else -1.0
    ax.set_ylim(max(bottom, least - ROOM), min(top, 1.0 + ROOM))  # symmetric intervals may reach beyond what can be


def _peaks(ax: Axes, curves: pd.DataFrame) -> None:
    """An upright line where the total variance of each curve is largest; curves with one value take dashes in turn."""
    for _, rows in curves.groupby("peak", sort=False):
        for i, row in enumerate(rows.to_dict("records")):
            dashes = "-" if len(rows) == 1 else (DASH * i, (DASH, DASH * (len(rows) - 1)))
            ax.axvline(row["peak"], color=row["color"], linestyle=dashes, linewidth=1.0, zorder=1.5, gid=row["curve"])


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what is compared with what, errors, draw and data."""
    kept = frame[frame["quantity"] == "kept"]
    said = [
        f"{curve}: {rows['estimate'].median():.2f}" for curve, rows in kept.groupby("curve", sort=False) if len(rows)
    ]
    beside = (
        " Over the geometric mean of both values' own agreement, which is 1 if samples keep their places, and which "
        f"noise can bring above 1, the median is {'; '.join(said)}."
        if said
        else ""
    )
    return (
        f"n = {sizes(frame['n_samples'])} test rows after the last epoch; variance of cross-entropy by sample, "
        "corrected for the number of replicas. Left and middle: rank correlation of the variances by one half of the "
        "replicas "
        "with those by the other half, at a value and the next, and at a value and where the total variance is "
        "largest (upright line); dotted, at the same value: what noise leaves. Right: share of the variance by one "
        f"half that the {100 * TOP:.0f} % of samples with most by the other half where the total is largest carry; "
        f"dotted, those with most at the value itself; dashed, an even spread.{beside} {_bands(frame)} "
        f"{conditions_in(frame, runs)}"
    )


def _bands(frame: pd.DataFrame) -> str:
    """What the bands are, or why there are none, as a sentence."""
    short = frame["n_replicas"] < LEAST_FOR_INTERVALS
    said = "Bands are 95 % t intervals over replicas and samples, not adjusted for their number"
    least = f"an interval needs {LEAST_FOR_INTERVALS} replicas or more"
    if short.all():
        return f"No bands are drawn, since {least}."
    without = ", ".join(dict.fromkeys(frame.loc[short, "run"]))
    return f"{said}; none of {without}, since {least}." if without else f"{said}."


FIGURE = Figure(
    name="sweep_samples",
    title="Which samples carry the variance over what was swept",
    how_to_read="A full line near its dotted one: the same samples vary at both values. In the right panel, "
    "the further above the dashed line, the fewer samples carry the variance.",
    needs=f"arms of a `sweep` with three values or more, and predictions of {LEAST_GROUPS} replicas or more on test "
    "rows",
    collect=collect,
    draw=draw,
    caption=caption,
)
