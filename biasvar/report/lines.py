"""Lines through the epochs, a mean over replicas with its interval: how figures that follow training are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_replicas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from biasvar.records import Run

COLUMNS = ["run", "arm", "label", "regime", "epoch", "estimate", "low", "high", "stderr", "n_replicas", "n", "failed"]


def over_replicas(run: Run, metrics: pd.DataFrame, column: str) -> pd.DataFrame:
    """The mean over replicas of a column of the metrics, by arm and epoch, with its 95 % t interval.

    `n` counts the rows behind each replica's value.
    """
    found = []
    for arm, training in metrics.groupby("arm", sort=False):
        about = {
            "run": run.name,
            "arm": arm,
            "label": arm_label(run, str(arm)),
            "regime": run.arm(str(arm)).get("regime") or "none",
            "failed": len(failed_replicas(run, str(arm))),
        }
        for epoch, part in training.groupby("epoch"):
            interval = mean_interval(part[column])
            bounds = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
            counts = {"n_replicas": interval.n, "n": int(part["n"].iloc[0])}
            found.append({**about, "epoch": epoch, **bounds, "stderr": interval.stderr, **counts})
    return pd.DataFrame(found, columns=COLUMNS)


def curves(ax: Axes, frame: pd.DataFrame, column: str, *, markers: bool = False) -> None:
    """A line for every arm of one run; the band is the interval of the mean.

    `markers` puts the marker of the arm's teacher regime at every point, for few points.
    """
    styles = style.styles_of(frame)
    for arm, part in frame.groupby("arm", sort=False):
        look, part = styles[str(arm)], part.sort_values("epoch")
        sparse = len(part) == 1
        ax.fill_between(part["epoch"], part["low"], part["high"], color=look.color, alpha=0.16, linewidth=0)
        ax.plot(
            part["epoch"], part[column], color=look.color, linewidth=1.5, linestyle=look.linestyle,
            marker=look.marker if sparse or markers else "", markersize=4,
        )  # fmt: skip


def handles(frame: pd.DataFrame, *, markers: bool = False) -> list[Any]:
    """A legend entry for every arm."""
    from matplotlib.lines import Line2D

    styles = style.styles_of(frame)
    failed = set(frame.loc[frame["failed"] > 0, "arm"])
    return [
        Line2D([], [], color=styles[arm].color, linestyle=styles[arm].linestyle, linewidth=2.0,
               marker=styles[arm].marker if markers else "",
               label=styles[arm].label + (" †" if arm in failed else ""))
        for arm in dict.fromkeys(frame["arm"])
    ]  # fmt: skip


def failures(frame: pd.DataFrame) -> str:
    """A sentence on the arms with failed replicas, with a space before it; empty if there is none."""
    failed = frame[frame["failed"] > 0].drop_duplicates(["run", "arm"])
    said = [f"{row['label']}, {row['failed']} of {row['n_replicas']}" for row in failed.to_dict("records")]
    return f" † With replicas at chance or not finite: {'; '.join(said)}." if said else ""


def window(frame: pd.DataFrame, column: str, *, settled: float = 0.25) -> tuple[float, float]:
    """The range of a column after the first quarter of the epochs, so that the start does not flatten the rest."""
    sound = frame[frame["failed"] == 0] if (frame["failed"] == 0).any() else frame
    late = sound[sound["epoch"] >= settled * sound["epoch"].max()]
    values = late[column].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin


def plain_log_ticks(ax: Axes) -> None:
    """A few ticks between the powers of ten, in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One frame of several; empty ones are left out, since their columns have no types yet."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)
