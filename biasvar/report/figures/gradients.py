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
from biasvar.report.arms.teachers import teacher_in_words
from biasvar.report.figure import Figure
from biasvar.report.marks import roots
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.text.captions import PULLS, any_own, conditions
from biasvar.report.text.numbers import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "taught", "epoch", "panel", "temperature", "teacher", "kind", "bias_gradient",
    "variance_gradient", "count", "share", "stderr_replicas", "n_rows", "n_replicas", "outside",
]  # fmt: skip
PANELS = 3
REACH = 4.0  # furthest variance gradient drawn
BINS = 30  # over the bias gradient, as many for each unit of the root of the variance gradient
FEW, MANY = "#c3d7ea", "#08254d"
REGION = "#fbe7e4"


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
        "taught": bool(run.entry(arm).teacher or not run.entry(arm).loss),
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
    """How many rows lie in each cell of a grid that is even in the roots; centres in their own units."""
    x_edges, y_edges = _edges()
    counts, _, _ = np.histogram2d(roots.root(np.abs(bias)), roots.root(variance), bins=(x_edges, y_edges))
    x, y = ((edges[1:] + edges[:-1]) / 2 for edges in (x_edges, y_edges))
    return [
        {
            "bias_gradient": -float(roots.square(x[i])),
            "variance_gradient": float(roots.square(y[j])),
            "count": int(counts[i, j]),
        }
        for i, j in np.argwhere(counts > 0)
    ]


def _edges() -> tuple[np.ndarray, np.ndarray]:
    """Edges of the cells in roots: of |a| from 0 to 1, and of b."""
    reach = float(roots.root(REACH))
    return np.linspace(0.0, 1.0, BINS + 1), np.linspace(-reach, reach, round(2 * reach * BINS) + 1)


def colors() -> Any:
    """The colours of counts, from pale for few to dark for many."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("few to many", [FEW, MANY])


def draw(frame: pd.DataFrame) -> Drawing:
    """A row of panels for each arm, one panel an epoch; on a narrow screen a column for each arm."""
    _, frame = unstyled(frame)
    keys = each(frame[["run", "arm", "label"]].drop_duplicates())
    epochs = int(frame["panel"].max()) + 1
    across = 2 if style.narrow() else epochs
    places = _places(keys, epochs)
    rows = 1 + max(row for row, _ in places.values())
    figure = style.new_figure(height=2.35 * rows + (1.4 if style.narrow() else 1.0))
    axes = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True)
    bins = frame[frame["kind"] == "bin"]
    top = max(float(bins["count"].max()), 2.0)
    low, high = (float(roots.root(limit)) for limit in (bins["variance_gradient"].min(), 1.0))
    limits = (float(roots.square(low - 0.12)), float(roots.square(max(high, _highest(bins)) + 0.3 * (high - low))))
    several = frame["run"].nunique() > 1
    mesh: Any = None
    for (run, arm, panel), place in places.items():
        ax = axes[place]
        part = frame[(frame["run"] == run) & (frame["arm"] == arm) & (frame["panel"] == panel)]
        if part.empty:
            ax.set_axis_off()
            continue
        mesh = _panel(ax, part, top, limits)
        arm_said = style.panel_title(str(part["label"].iloc[0]), str(run) if several else "")
        epoch_said = f"epoch {part['epoch'].iloc[0]}"
        ax.set_title(f"{arm_said}\n{epoch_said}" if style.narrow() else epoch_said, weight="normal", fontsize=9.5)
        if place[1] == 0 and not style.narrow():
            ax.set_ylabel(arm_said, weight="bold")
    for place in set(np.ndindex(rows, across)) - set(places.values()):
        axes[place].set_axis_off()
    between = "\n" if style.narrow() else " "
    figure.supxlabel(f"true label's pull towards itself, |a|{between}({roots.SAID})", fontsize=9.5)
    figure.supylabel(
        f"what the soft label changes\nabout that pull, b\n({roots.SAID};\nabove 0: against it)", fontsize=9.5
    )
    _bar(figure, mesh, axes, top)
    return figure


def _places(keys: list[Any], epochs: int) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Row and column of every panel; on a narrow screen two arms stand beside each other, their epochs below."""
    if not style.narrow():
        return {(k.run, k.arm, epoch): (row, epoch) for row, k in enumerate(keys) for epoch in range(epochs)}
    return {
        (k.run, k.arm, epoch): (epochs * (number // 2) + epoch, number % 2)
        for number, k in enumerate(keys)
        for epoch in range(epochs)
    }


def _highest(bins: pd.DataFrame) -> float:
    return float(roots.root(bins["variance_gradient"].max())) + 0.5 / BINS


def _bar(figure: Drawing, mesh: Any, axes: Any, top: float) -> None:
    bar = figure.colorbar(mesh, ax=axes, location="top", fraction=0.04, pad=0.01, aspect=40, shrink=0.6)
    decades = [10**power for power in range(int(math.log10(top)) + 1)]
    bar.set_ticks(decades, labels=[f"{count:,}" for count in decades])
    bar.minorticks_off()
    bar.set_label("rows in a cell")
    bar.outline.set_visible(False)


def _panel(ax: Axes, part: pd.DataFrame, top: float, limits: tuple[float, float]) -> Any:
    from matplotlib.colors import LogNorm

    bins, whole = part[part["kind"] == "bin"], part[part["kind"] == "panel"].iloc[0]
    x_edges, y_edges = _edges()
    cells = np.full((len(y_edges) - 1, len(x_edges) - 1), np.nan)
    x = np.searchsorted(x_edges, roots.root(bins["bias_gradient"].abs().to_numpy(dtype=float))) - 1
    y = np.searchsorted(y_edges, roots.root(bins["variance_gradient"].to_numpy(dtype=float))) - 1
    cells[y, x] = bins["count"]
    roots.put_on(ax, "x", 0.0, 1.0, apart=0.2)
    roots.put_on(ax, "y", *limits, apart=0.08)
    ax.fill([0.0, 1.0, 1.0, 0.0], [0.0, 1.0, limits[1], limits[1]], color=REGION, linewidth=0, zorder=0.5)
    mesh = ax.pcolormesh(
        roots.square(x_edges), roots.square(y_edges), cells, cmap=colors(), norm=LogNorm(1, top), rasterized=True,
        zorder=1.5,
    )  # fmt: skip
    ax.plot([0.0, 1.0], [0.0, 1.0], color=style.BAD, linewidth=1.2)
    ax.axhline(0, color=style.MUTED, linewidth=0.8)
    head = "regularization\nsamples, b > |a|:" if whole["taught"] else "b > |a| if taught\nfrom here on:"
    ax.text(
        0.97, 0.985, f"{head}\n{100 * whole['share']:.0f} %", transform=ax.transAxes,
        ha="right", va="top", color=style.BAD, fontsize=9, linespacing=1.1,
    )  # fmt: skip
    return mesh


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, teacher, temperature, view and what is flagged."""
    whole = frame[frame["kind"] == "panel"]
    several = frame["run"].nunique() > 1
    arms = "; ".join(
        f"{f'{row.run}, ' if several else ''}{row.label}"
        + (f" scored against the teacher “{teacher_in_words(row, runs)}”" if row.teacher else "")
        + (f" at temperature {row.temperature:g}" if row.temperature and not pd.isna(row.temperature) else "")
        + f", {row.n_rows:,.0f} rows of {counted(int(row.n_replicas), 'replica')} a panel"
        for row in each(whole.drop_duplicates(["run", "arm"]))
    )
    outside = int(whole["outside"].sum())
    rows = "Rows of the training pass" if any_own(frame, runs) else "Training rows of the draw, as augmented"
    beyond = f" {outside:,} rows with |b| > {REACH:g} are not drawn." if outside else ""
    return (
        "Derivatives of the loss at the logit of the true class, per unit of logit: "
        f"{PULLS}. {rows}, before each update ({arms}). Shaded: b > |a|, "
        "regularization samples; their share is the mean over replicas. An arm without soft labels is scored as if "
        "distillation began at that epoch."
        f"{beyond} {conditions(runs)}"
    )


FIGURE = Figure(
    name="gradients",
    title="Bias and variance gradients through training",
    how_to_read="A row at the right edge is still wrong, at the left edge it is learnt. In the shaded region the "
    "soft label turns the label's pull round (b > |a|): the student is surer of the true class than its teacher.",
    needs="a record of the training pass with a teacher",
    collect=collect,
    draw=draw,
    caption=caption,
)
