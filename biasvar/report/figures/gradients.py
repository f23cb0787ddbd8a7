"""The plane of bias and variance gradients, at a few epochs of training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_arms, reference_arm, taken_over
from biasvar.report.figure import Figure
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.text.captions import any_own, conditions
from biasvar.report.text.numbers import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "epoch", "panel", "temperature", "teacher", "kind", "bias_gradient", "variance_gradient",
    "count", "share", "stderr_replicas", "n_rows", "n_replicas", "outside",
]  # fmt: skip
PANELS = 4
LINEAR = 0.01  # the axes are linear up to here and logarithmic beyond
REACH = 4.0  # furthest variance gradient drawn
BINS = 36


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of kind "bin" (counts on a grid of the plane) and of kind "panel" (the share that is flagged)."""
    rows = [row for run in runs for arm in _shown(run, runs) for row in _of_arm(run, arm)]
    return style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)


def _shown(run: Run, runs: list[Run]) -> list[str]:
    arms = _arms(run)
    return [] if set(arms) <= taken_over(run, runs) else arms


def _arms(run: Run) -> list[str]:
    """One distillation arm, and the cross-entropy arm scored against the same teacher."""
    failed = failed_arms(run)
    recorded = {arm for arm, split, view in run.recorded() if (split, view) == ("train", "augmented")}
    there = [arm for arm in run.arms if arm in recorded and arm not in failed]
    claims = (run.manifest.get("claims") or {}).get("W6") or []
    wanted = [entry.get("treatment") for entry in claims]
    wanted += [arm for arm in there if run.entry(arm).plays == "distillation"]
    chosen = [arm for arm in wanted if arm in there][:1] or [arm for arm in there if arm != reference_arm(run)][:1]
    control = reference_arm(run)
    return chosen + ([control] if control in there else [])


def _of_arm(run: Run, arm: str) -> list[dict[str, Any]]:
    columns = ("replica", "bias_gradient", "variance_gradient", "opposing")
    entry = run.arm(arm)
    about = {
        "run": run.name,
        "arm": arm,
        "label": arm_label(run, arm),
        "temperature": entry.get("record_temperature") or entry.get("temperature"),
        "teacher": entry.get("scored_against") or run.manifest.get("reference_teacher"),
    }
    rows: list[dict[str, Any]] = []
    for panel, epoch in enumerate(_epochs(run.record_epochs(arm, "train", "augmented"))):
        frame = stored.records(run, arm, "train", "augmented", (epoch,), columns)
        if frame is None or frame["variance_gradient"].isna().all():
            return []
        here = {**about, "epoch": epoch, "panel": panel}
        bias, variance = (frame[name].to_numpy(dtype=np.float64) for name in columns[1:3])
        shares = frame["opposing"].astype(float).groupby(frame["replica"]).mean()
        share = mean_interval(shares)
        whole = {"kind": "panel", "share": share.estimate, "stderr_replicas": share.stderr, "n_replicas": share.n}
        rows.append({**here, **whole, "n_rows": len(frame), "outside": int((np.abs(variance) > REACH).sum())})
        rows += [{**here, "kind": "bin", **one} for one in _bins(bias, variance)]
    return rows


def _epochs(stored: list[int]) -> list[int]:
    """The first, the last, and between them those nearest to equal steps on a log scale."""
    if len(stored) <= PANELS:
        return stored
    first, last = max(stored[0], 1), stored[-1]
    aims = [first * (last / first) ** (i / (PANELS - 1)) for i in range(PANELS)]
    return sorted({min(stored, key=lambda epoch, aim=aim: abs(epoch - aim)) for aim in aims})  # type: ignore[misc]


def _bins(bias: np.ndarray, variance: np.ndarray) -> list[dict[str, Any]]:
    """How many rows lie in each cell of a grid that is even on the axes' scale; centres in their own units."""
    x_edges = np.linspace(_scaled(-1.0), _scaled(0.0), BINS + 1)
    y_edges = np.linspace(_scaled(-REACH), _scaled(REACH), 2 * BINS + 1)
    counts, _, _ = np.histogram2d(_scaled(bias), _scaled(variance), bins=(x_edges, y_edges))
    x, y = ((edges[1:] + edges[:-1]) / 2 for edges in (x_edges, y_edges))
    return [
        {"bias_gradient": _unscaled(x[i]), "variance_gradient": _unscaled(y[j]), "count": int(counts[i, j])}
        for i, j in np.argwhere(counts > 0)
    ]


def _scaled(value: Any) -> Any:
    """Symmetric log: linear within `LINEAR`, which is as wide as one decade beyond it."""
    size = np.abs(value) / LINEAR
    return np.sign(value) * np.where(size > 1.0, 1.0 + np.log10(np.maximum(size, 1.0)), size)


def _unscaled(value: float) -> float:
    size = abs(value)
    return math.copysign(LINEAR * (10 ** (size - 1.0) if size > 1.0 else size), value)


def draw(frame: pd.DataFrame) -> Drawing:
    """A row of panels for each arm, one panel an epoch."""
    _, frame = unstyled(frame)
    keys = each(frame[["run", "arm", "label"]].drop_duplicates())
    columns = int(frame["panel"].max()) + 1
    figure = style.new_figure(height=2.2 * len(keys) + 0.5)
    axes = figure.subplots(len(keys), columns, squeeze=False, sharex=True, sharey=True)
    several = frame["run"].nunique() > 1
    top = float(frame.loc[frame["kind"] == "bin", "count"].max())
    mesh: Any = None
    for row, key in zip(axes, keys, strict=True):
        of_arm = frame[(frame["run"] == key.run) & (frame["arm"] == key.arm)]
        for place, ax in enumerate(row):
            part = of_arm[of_arm["panel"] == place]
            if part.empty:
                ax.set_axis_off()
                continue
            mesh = _panel(ax, part, top)
            ax.set_title(f"epoch {part['epoch'].iloc[0]}", weight="normal", fontsize=9.5)
        row[0].set_ylabel((f"{key.run}\n" if several else "") + str(key.label), weight="bold")
    figure.supxlabel("bias gradient a (symmetric log scale, linear within ±0.01)", fontsize=9.5)
    figure.supylabel("variance gradient b (same scale)", fontsize=9.5)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.03, pad=0.01, aspect=30)
    decades = [10**power for power in range(int(math.log10(max(top, 2))) + 1)]
    bar.set_ticks(decades, labels=[f"{count:,}" for count in decades])
    bar.minorticks_off()
    bar.set_label("rows in a cell")
    bar.outline.set_visible(False)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, top: float) -> Any:
    from matplotlib.colors import LogNorm

    bins, whole = part[part["kind"] == "bin"], part[part["kind"] == "panel"].iloc[0]
    x_low, y_low, y_high = _scaled(-1.0), _scaled(-REACH), _scaled(REACH)
    cells = np.full((2 * BINS, BINS), np.nan)
    x = (_scaled(bins["bias_gradient"].to_numpy()) - x_low) / -x_low * BINS
    y = (_scaled(bins["variance_gradient"].to_numpy()) - y_low) / (y_high - y_low) * 2 * BINS
    cells[y.astype(int), x.astype(int)] = bins["count"]
    mesh = ax.pcolormesh(
        np.linspace(x_low, 0.0, BINS + 1), np.linspace(y_low, y_high, 2 * BINS + 1), cells,
        cmap="viridis_r", norm=LogNorm(1, max(top, 2)), rasterized=True,
    )  # fmt: skip
    ax.plot([x_low, 0.0], [-x_low, 0.0], color=style.BAD, linewidth=1.4)
    ax.axhline(0, color=style.MUTED, linewidth=0.8)
    ax.set_xlim(x_low, 0.0)
    ax.set_ylim(y_low, y_high)
    ax.set_xticks([_scaled(value) for value in (-1.0, -0.1, -0.01, 0.0)], ["−1", "−.1", "", "0"], fontsize=8.5)
    ticks = (-1.0, -0.1, 0.0, 0.1, 1.0)
    ax.set_yticks([_scaled(value) for value in ticks], ["−1", "−.1", "0", ".1", "1"], fontsize=8.5)
    share = 100 * whole["share"]
    ax.text(
        0.96, 0.97, f"flagged {share:.0f} %", transform=ax.transAxes, ha="right", va="top", color=style.BAD,
        fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
    )  # fmt: skip
    return mesh


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, teacher, temperature, view and what is flagged."""
    whole = frame[frame["kind"] == "panel"]
    several = frame["run"].nunique() > 1
    arms = "; ".join(
        f"{f'{row.run}, ' if several else ''}{row.label}"
        + (f" scored against the teacher “{row.teacher}”" if row.teacher else "")
        + (f" at temperature {row.temperature:g}" if row.temperature and not pd.isna(row.temperature) else "")
        + f", {row.n_rows:,.0f} rows of {counted(int(row.n_replicas), 'replica')} a panel"
        for row in each(whole.drop_duplicates(["run", "arm"]))
    )
    outside = int(whole["outside"].sum())
    rows = "Rows of the training pass" if any_own(frame, runs) else "Training rows of the draw, augmented view"
    beyond = f" {outside:,} rows with |b| > {REACH:g} are not drawn." if outside else ""
    return (
        "Derivatives at the logit of the true class, per unit of logit: a of the cross-entropy, b of what distillation "
        f"adds to it. {rows}, before each update ({arms}). The line is b = |a|: "
        "rows above it are regularization samples (criterion: opposing), their share is the mean over replicas."
        f"{beyond} {conditions(runs)}"
    )


FIGURE = Figure(
    name="gradients",
    title="Bias and variance gradients through training",
    how_to_read="A row at the left edge is still wrong, at the right edge it is learnt. Above the red line the soft "
    "label pushes against the true label, and harder.",
    needs="a record of the training pass with a teacher",
    collect=collect,
    draw=draw,
    caption=caption,
)
