"""One row an arm, a dot with its interval: how figures that compare many arms are drawn.

An arm with failed replicas (at chance, or not finite) is drawn hollow, marked with a dagger, and never sets the scale
of an axis; what then lies outside is named at the edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_HEIGHT = 0.195  # inches, enough for 9.5 points
LONGEST_NOTE = 90  # characters that fit the width of a figure


def layout(frame: pd.DataFrame) -> tuple[pd.Series, dict[str, float], float]:
    """The height of each (run, arm), that of each run's heading (if there are several runs), and the total in rows."""
    runs = list(dict.fromkeys(frame["run"]))
    places: dict[tuple[str, str], float] = {}
    headings: dict[str, float] = {}
    y = 0.0
    for run in runs:
        if len(runs) > 1:
            headings[run] = y
            y += 1.0
        for arm in dict.fromkeys(frame.loc[frame["run"] == run, "arm"]):
            places[run, arm] = y
            y += 1.0
        y += 0.5
    return pd.Series(places), headings, y - 0.5


def prepare(axes: list[Axes], frame: pd.DataFrame) -> pd.Series:
    """Names the rows at the left of the first of some axes that share them; returns the height of each (run, arm)."""
    places, headings, total = layout(frame)
    named = frame.drop_duplicates(["run", "arm"]).set_index(["run", "arm"])
    labels = [str(named.loc[key, "label"]) + (" †" if named.loc[key, "failed"] else "") for key in places.index]
    for i, ax in enumerate(axes):
        ax.set_ylim(total - 0.3, -0.6)
        ax.set_yticks(places.to_numpy(), labels if i == 0 else [""] * len(places))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    for run, y in headings.items():
        transform = axes[0].get_yaxis_transform()
        axes[0].text(-0.02, y, run, ha="right", va="center", weight="bold", transform=transform)
    return places


def limits(frame: pd.DataFrame, *, anchor: float | None = None) -> tuple[float, float]:
    """The range of an axis: the intervals of all arms without failed replicas, with a margin, and `anchor`."""
    sound = frame[frame["failed"] == 0]
    values = (sound if len(sound) else frame)[["estimate", "low", "high"]].to_numpy(dtype=float).ravel()
    values = np.append(values[np.isfinite(values)], [] if anchor is None else [anchor])
    if not len(values):
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return (low if low == anchor else low - margin), (high if high == anchor else high + margin)


def dots(
    ax: Axes, frame: pd.DataFrame, places: pd.Series, *, shift: float = 0.0, hollow: bool = False, size: float = 5.0
) -> None:
    """A dot and interval for every row of the frame, after the axis has its limits.

    What lies outside the limits becomes an arrow at the edge, with its value where a row holds no other dot.
    """
    styles = style.styles_of(frame)
    low, high = ax.get_xlim()
    for row in frame.to_dict("records"):
        value = float(row["estimate"])
        if not np.isfinite(value):
            continue
        y = float(places[row["run"], row["arm"]]) + shift
        look = styles[row["arm"]]
        if not low <= value <= high:
            _at_edge(ax, value, y, right=value > high, color=look.color, said=not shift)
            continue
        ax.plot([row["low"], row["high"]], [y, y], color=look.color, linewidth=1.6, solid_capstyle="butt", zorder=2)
        open_dot = hollow or row["failed"] > 0
        face = "white" if open_dot else look.color
        ax.plot(
            value, y, look.marker, markersize=size, zorder=3, markerfacecolor=face,
            markeredgecolor=look.color if open_dot else "white", markeredgewidth=1.2 if open_dot else 0.4,
        )  # fmt: skip


def scale(ax: Axes, label: str, *, ticks: int = 4) -> None:
    """Names an axis of values and keeps its ticks few and short."""
    from matplotlib.ticker import FuncFormatter

    ax.set_xlabel(label)
    ax.locator_params(axis="x", nbins=ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}".replace("-", "−")))


def handle(marker: str, label: str, *, hollow: bool = False) -> Any:
    """A legend entry: a grey marker."""
    from matplotlib.lines import Line2D

    face = "white" if hollow else style.MUTED
    return Line2D([], [], linestyle="none", marker=marker, color=style.MUTED, markerfacecolor=face, label=label)


def regime_handles(frame: pd.DataFrame) -> list[Any]:
    """A legend entry for each teacher regime of the frame, and one that explains the dagger where there is one."""
    regimes = [name for name in dict.fromkeys(frame["regime"]) if set(frame["regime"]) != {"none"}]
    handles = [handle(style.regime_marker(name), style.regime_label(name)) for name in regimes]
    note = failure_note(frame)
    if len(note) > LONGEST_NOTE:  # the caption has it
        note = "replicas at chance or not finite (see below)"
    return [*handles, handle("o", f"† {note}", hollow=True)] if note else handles


def failure_note(frame: pd.DataFrame) -> str:
    """Which arms have failed replicas, and how many; empty if none has."""
    failed = frame[frame["failed"] > 0].drop_duplicates(["run", "arm"])
    several = frame["run"].nunique() > 1
    said = [
        (f"{row['run']}: " if several else "") + f"{row['label']}, {row['failed']} of {row['replicas']}"
        for row in failed.to_dict("records")
    ]
    return f"replicas at chance or not finite ({'; '.join(said)})" if said else ""


def _at_edge(ax: Axes, value: float, y: float, *, right: bool, color: str, said: bool) -> None:
    transform = ax.get_yaxis_transform()
    edge = 0.975 if right else 0.025
    ax.plot(
        edge, y, ">" if right else "<", markersize=5.5, markerfacecolor="white", markeredgecolor=color,
        transform=transform, clip_on=False,
    )  # fmt: skip
    if not said:
        return
    ax.text(
        edge - 0.035 if right else edge + 0.035, y, f"{value:.3g}".replace("-", "−"), color=style.MUTED, fontsize=9,
        ha="right" if right else "left", va="center", transform=transform,
    )  # fmt: skip
