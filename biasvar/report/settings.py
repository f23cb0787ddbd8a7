"""A quantity against a setting that a few arms differ in: how figures of ablations are collected and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_replicas
from biasvar.report.arms.series import Series
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import INTERVAL, columns, final_level

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = [
    "run", "series", "arm", "label", "loss", "teacher", "regime", "setting", "value", "held", "held_value", "quantity",
    "estimate", "low", "high", "stderr", "n_replicas", "n", "split", "epochs", "failed", "reference",
]  # fmt: skip
OTHER_LOOKS = (("#5c4426", "P", "-."), ("#c9a66b", "X", ":"), ("#8c564b", "v", "--"), ("#7f7f7f", "p", "-"))


def about(run: Run, one: Series, arm: str, value: float) -> dict[str, Any]:
    """What a row of `COLUMNS` says of its arm."""
    entry = run.arm(arm)
    held = "alpha" if one.setting == "temperature" else "temperature"
    said = {name: entry.get(name) for name in ("loss", "teacher")} | {"regime": entry.get("regime") or "none"}
    return {
        "run": run.name, "series": one.name, "arm": arm, "label": arm_label(run, arm), **said,
        "setting": one.setting, "value": value, "held": held, "held_value": entry.get(held),
        "failed": len(failed_replicas(run, arm)), "reference": one.reference,
    }  # fmt: skip


def accuracy_row(run: Run, one: Series, arm: str, value: float) -> dict[str, Any] | None:
    """The row of an arm's accuracy; None where it was never evaluated on held-out rows."""
    accuracy = final_level(run, arm, "accuracy")
    if accuracy is None:
        return None
    numbers = columns(accuracy, (*INTERVAL, "split", "quantity")) | {"n": accuracy.n_samples, "epochs": 1}
    return {**about(run, one, arm, value), **numbers}


def looks(frame: pd.DataFrame) -> dict[str, style.Look]:
    """The look of every series: its reference arm's, unless another has it already, as arms of one role do."""
    styles = style.styles_of(frame)
    found: dict[str, style.Look] = {}
    others = iter(OTHER_LOOKS * 3)
    names = frame[frame["series"].notna()].drop_duplicates("series")
    for name, arm in zip(names["series"], names["reference"], strict=True):
        look = styles[str(arm)]
        if any((look.color, look.marker) == (other.color, other.marker) for other in found.values()):
            color, marker, line = next(others)
            look = style.Look(color, marker, line, look.label)
        found[str(name)] = look
    return found


def lines(ax: Axes, part: pd.DataFrame, styles: dict[str, style.Look]) -> None:
    """A line for every series and a dot with its interval for every arm, in the look of the series.

    Arms with failed replicas are hollow and do not set the scale; one outside it becomes an arrow at the edge. Dots of
    several series at one value stand a little apart.
    """
    names = list(dict.fromkeys(part["series"]))
    ax.set_xscale("log", base=2)
    sound = part[part["failed"] == 0] if (part["failed"] == 0).any() else part
    bounds = 100 * sound[["estimate", "low", "high"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(bounds)), float(np.nanmax(bounds))
    for place, name in enumerate(names):
        one = part[part["series"] == name].sort_values("value")
        look = styles[name]
        shift = 2.0 ** (0.09 * (place - (len(names) - 1) / 2))
        inside = one[(100 * one["estimate"]).between(low, high)]
        ax.plot(
            shift * inside["value"], 100 * inside["estimate"], color=look.color, linestyle=look.linestyle,
            linewidth=1.3, zorder=2,
        )  # fmt: skip
        for row in each(one):
            _dot(ax, row, look, shift * row.value, (low, high))
    margin = 0.06 * (high - low) or 1.0
    ax.set_ylim(low - margin, high + margin)
    ticks(ax, part["value"])


def _dot(ax: Axes, row: Any, look: style.Look, x: float, limits: tuple[float, float]) -> None:
    value = 100 * row.estimate
    if not limits[0] <= value <= limits[1]:
        up = value > limits[1]
        ax.plot(
            x, 0.97 if up else 0.03, "^" if up else "v", color=look.color, markerfacecolor="white", markersize=6,
            transform=ax.get_xaxis_transform(),
        )  # fmt: skip
        return
    if np.isfinite(row.low) and not row.failed:
        ax.plot([x, x], [100 * row.low, 100 * row.high], color=look.color, linewidth=1.4, zorder=2)
    ax.plot(
        x, value, look.marker, markersize=5.5, color=look.color, markerfacecolor="white" if row.failed else look.color,
        markeredgecolor=look.color if row.failed else "white", markeredgewidth=1.2 if row.failed else 0.5, zorder=3,
    )  # fmt: skip


def ticks(ax: Axes, values: pd.Series) -> None:
    """A tick at each value, in plain numbers; on a narrow axis only where they do not touch."""
    found = sorted(set(values.astype(float)))
    low, high = np.log2(found[0]), np.log2(found[-1])
    least = max(0.11 * (high - low), 0.2)
    kept: list[float] = []
    for value in found:
        if not kept or np.log2(value / kept[-1]) >= least:
            kept.append(value)
    ax.set_xticks(kept, [f"{value:g}" for value in kept])
    ax.set_xticks([], minor=True)
    ax.set_xlim(found[0] / 2 ** (0.08 * (high - low) + 0.1), found[-1] * 2 ** (0.08 * (high - low) + 0.1))


def band(ax: Axes, row: Any, look: style.Look) -> None:
    """An arm without the setting: a level line and the band of its interval, which the axis makes room for."""
    low, high = (100 * (bound if np.isfinite(bound) else row.estimate) for bound in (row.low, row.high))
    ax.axhline(100 * row.estimate, color=look.color, linewidth=1.1, zorder=1)
    ax.axhspan(low, high, color=look.color, alpha=0.13, linewidth=0, zorder=0)
    bottom, top = ax.get_ylim()
    margin = 0.02 * (top - bottom)
    ax.set_ylim(min(bottom, low - margin), max(top, high + margin))


def band_handle(row: Any, look: style.Look) -> Any:
    """The legend entry of a band."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look.color, linewidth=1.4, label=row.label)


def handles(styles: dict[str, style.Look]) -> list[Any]:
    """A legend entry for every series."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=look.color, linestyle=look.linestyle, marker=look.marker, markersize=5.5, label=name)
        for name, look in styles.items()
    ]


def held(frame: pd.DataFrame) -> str:
    """The settings that the arms of the frame share, as "α 2.25" or "τ 2 and 4"; empty if there is none."""
    symbol = {"temperature": "τ", "alpha": "α"}
    said = []
    for name, part in frame[frame["held_value"].notna()].groupby("held", sort=False):
        values = sorted(set(part["held_value"].astype(float)))
        said.append(f"{symbol[str(name)]} {' and '.join(f'{value:g}' for value in values)}")
    return ", ".join(said)


def failures(frame: pd.DataFrame) -> str:
    """A sentence on the arms with failed replicas, with a space before it; empty if there is none."""
    failed = frame[frame["failed"] > 0].drop_duplicates(["run", "arm"])
    said = [f"{row.label}, {row.failed} of {row.n_replicas}" for row in each(failed)]
    return (
        f" Hollow: with replicas at chance or not finite ({'; '.join(said)}); these do not set the scale."
        if said
        else ""
    )
