"""The weights of WSL through training."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_arms, taken_over
from biasvar.report.arms.series import ablated_controls
from biasvar.report.figure import Figure
from biasvar.report.marks import legends, lines, looks, panels
from biasvar.report.statistics import stored
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.text.captions import any_own, conditions
from biasvar.report.text.numbers import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "regime", "temperature", "panel", "epoch", "q05", "q25", "median", "q75", "q95", "mean",
    "stderr_replicas", "below", "n_rows", "n_replicas",
]  # fmt: skip
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
THRESHOLD = 1.0 - math.exp(-1.0)
WHOLE = (0.4, 0.18)  # how opaque the bands are: of the middle half, of the middle 90 %
MOST_LINES = 7  # of the lower panel
OVER = (0, (4.0, 4.0))  # dashes


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of panel "bands": quantiles of the WSL weight; of panel "mean": mean weight in the loss, every epoch."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        failed = failed_arms(run)
        recorded = {arm for arm, split, view in run.recorded() if (split, view) == ("train", "augmented")}
        varied, taken = ablated_controls(run), taken_over(run, runs)
        # What another run shows already stays beside weighted arms of this one, as what they compare with.
        weighted = any(_is_weighted(run, arm) for arm in run.arms if arm not in taken)
        for arm in run.arms:
            if arm in failed or arm in varied:
                continue
            about = {
                "run": run.name,
                "arm": arm,
                "label": arm_label(run, arm),
                "regime": run.arm(arm).get("regime"),
                "temperature": run.entry(arm).temperature,
            }
            if arm in recorded and arm not in taken and _is_wsl(run, arm):
                rows += [{**about, "panel": "bands", **row} for row in _bands(run, arm)]
            if weighted and _is_weighted(run, arm):
                rows += [{**about, "panel": "mean", **row} for row in _means(run, arm)]
    return style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)


def _is_wsl(run: Run, arm: str) -> bool:
    """Arms that weigh by WSL as it is; of a run that names no losses, all arms (their recorded weights).

    A user's own weighting has other weights than those of WSL: its mean is in the lower panel.
    """
    if not any(run.entry(name).loss for name in run.arms):
        return True
    entry = run.entry(arm)
    return entry.plays == "weighting" and ":" not in str(entry.loss) and not entry.setting("shuffle")


def _is_weighted(run: Run, arm: str) -> bool:
    entry = run.entry(arm)
    return bool(entry.plays == "weighting" or entry.setting("weights_from") or entry.setting("alpha_from"))


def _bands(run: Run, arm: str) -> list[dict[str, Any]]:
    rows = []
    for epoch in run.record_epochs(arm, "train", "augmented"):
        frame = stored.records(run, arm, "train", "augmented", (epoch,), ("replica", "wsl_weight"))
        if frame is None:
            continue
        frame = frame.dropna()
        if frame.empty:
            continue
        values = frame["wsl_weight"].to_numpy(dtype=np.float64)
        by_replica = pd.Series(values).groupby(frame["replica"].to_numpy()).mean()  # pandas 2 would add in float32
        rows.append(
            {
                "epoch": epoch,
                **dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())), strict=True)),
                **_mean(by_replica.to_numpy()),
                "below": float((values < THRESHOLD).mean()),
                "n_rows": len(values),
            }
        )
    return rows


def _means(run: Run, arm: str) -> list[dict[str, Any]]:
    training = stored.metrics_of(run, arm, "train", "augmented").dropna(subset=["loss_weight"])
    return [
        {"epoch": epoch, **_mean(part["loss_weight"].to_numpy(dtype=np.float64)), "n_rows": int(part["n"].sum())}
        for epoch, part in training.groupby("epoch")
    ]


def _mean(values: np.ndarray) -> dict[str, Any]:
    interval = mean_interval(values)
    return {"mean": interval.estimate, "stderr_replicas": interval.stderr, "n_replicas": interval.n}


def draw(frame: pd.DataFrame) -> Drawing:
    """Above, a panel of quantile bands for each WSL arm; below, the mean weights of all weighted arms."""
    styles, frame = unstyled(frame)
    bands, means = (frame[frame["panel"] == panel] for panel in ("bands", "mean"))
    several = frame["run"].nunique() > 1
    by_arm: list[Any] = list(bands.groupby(["run", "arm"], sort=False))
    across = style.abreast(min(4, max(len(by_arm), 1)), on_narrow=2)
    rows_of_panels = [by_arm[i : i + across] for i in range(0, len(by_arm), across)]
    runs: list[Any] = list(means.groupby("run", sort=False))
    keyed = [means_run["arm"].nunique() for _, means_run in runs]
    heights = [2.3] * len(rows_of_panels) + [2.9 + 0.2 * (keys + 2) * style.narrow() for keys in keyed]
    if by_arm:
        heights[len(rows_of_panels) - 1] += 0.3 + 0.4 * style.narrow()  # the legend of the bands
    figure = style.new_figure(height=sum(heights) + (0.4 if by_arm else 0.0))
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, row in zip(parts, rows_of_panels, strict=False):
        axes = part.subplots(1, across, squeeze=False, sharey=True)[0]
        for ax in axes[len(row) :]:
            ax.set_axis_off()
        for ax, ((run, arm), rows) in zip(axes, row, strict=False):
            _bands_of_arm(ax, looks.put_on(rows, styles, by="arm"))
            ax.set_title(style.panel_title(styles[arm].label, run if several else ""), fontsize=9.5)
        axes[0].set_ylabel("WSL weight")
        if row is rows_of_panels[-1]:
            legends.below(part, _band_entries(), columns=3)
    for part, (run, rows) in zip(parts[len(rows_of_panels) :], runs, strict=True):
        _means_of_run(part, rows, styles, f"{run}: " if several else "")
    return figure


def _band_entries() -> list[Any]:
    """What the bands and the line of the upper panels are."""
    from matplotlib.colors import to_rgb

    def paler(alpha: float) -> tuple[float, float, float]:
        red, green, blue = (1.0 - alpha * (1.0 - channel) for channel in to_rgb(style.MUTED))
        return red, green, blue

    inner, outer = WHOLE
    return [
        *legends.lines({"": style.Look(style.MUTED, "", "-", "median of the rows")}, width=1.5),
        legends.patch(paler(1.0 - (1.0 - inner) * (1.0 - outer)), "middle half"),
        legends.patch(paler(outer), "middle 90 %"),
    ]


def _bands_of_arm(ax: Axes, rows: pd.DataFrame) -> None:
    """The median of the weights, in the band of their middle half and that of their middle 90 %."""
    for low, high, band in (("q05", "q95", WHOLE[1]), ("q25", "q75", WHOLE[0])):
        lines.draw(ax, rows.assign(estimate=rows["median"], low=rows[low], high=rows[high]), band=band)
    _weight_axis(ax, ticks=4)
    ax.set_ylim(-0.02, 1.02)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])


def _means_of_run(block: Any, rows: pd.DataFrame, styles: dict[str, style.Look], prefix: str) -> None:
    """The mean weight of every arm of a run; a line that runs on another is thin and dashed."""
    ax = block.subplots()
    rows = rows[rows["arm"].isin(list(dict.fromkeys(rows["arm"]))[:MOST_LINES])]
    patterns = _patterns(rows, styles)
    shown = {arm: replace(styles[arm], linestyle=pattern) for arm, pattern in patterns.items()}
    error = rows["stderr_replicas"].fillna(0.0)
    dressed = looks.put_on(
        rows.assign(estimate=rows["mean"], low=rows["mean"] - error, high=rows["mean"] + error), shown, by="arm"
    )
    above = dressed["arm"].map(lambda arm: patterns[arm] == OVER)
    for over, of_width in dressed.groupby(above):
        lines.draw(ax, of_width, band=0.25, width=0.9 if over else 1.6)
    _weight_axis(ax, ticks=7)
    ax.set_ylabel("mean weight in the loss")
    said = f"{prefix}Mean over the rows of the draw (dotted: 1\u00a0−\u00a01/e, equal losses)"
    ax.set_title(panels.fitted(said, 32), fontsize=9.5)
    where = "outside lower left" if style.narrow() else "outside right upper"
    block.legend(handles=legends.lines(shown), loc=where, handlelength=2.4)


def _weight_axis(ax: Axes, ticks: int) -> None:
    ax.axhline(THRESHOLD, color=style.INK, linewidth=1.0, linestyle=":")
    ax.set_xlabel("epoch")
    ax.locator_params(axis="x", nbins=ticks, integer=True)


def _patterns(means: pd.DataFrame, styles: dict[str, style.Look]) -> dict[str, Any]:
    """The pattern of each arm's line: its own, unless an earlier line has both it and the colour.

    A line that runs on an earlier one is dashed, so that the one below shows in the gaps.
    """
    chosen: dict[str, Any] = {}
    drawn: list[pd.Series] = []
    for arm, one in means.groupby("arm", sort=False):
        color, mean = styles[str(arm)].color, one.set_index("epoch")["mean"]
        own = OVER if any(_coincide(mean, other) for other in drawn) else styles[str(arm)].linestyle
        used = [line for other, line in chosen.items() if styles[other].color == color]
        chosen[str(arm)] = next((line for line in (own, "-", "--", "-.", ":", OVER) if line not in used), own)
        drawn.append(mean)
    return chosen


def _coincide(one: pd.Series, other: pd.Series) -> bool:
    return one.index.equals(other.index) and bool(np.allclose(one, other, rtol=0.0, atol=0.01))


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, view, what the bands and the line are."""
    bands = frame[frame["panel"] == "bands"]
    last = bands[bands["epoch"] == bands.groupby(["run", "arm"])["epoch"].transform("max")]
    said = "; ".join(f"{row.label} {100 * row.below:.0f} %" for row in each(last))
    sizes = (
        " to ".join(f"{n:,.0f}" for n in sorted({bands["n_rows"].min(), bands["n_rows"].max()})) if len(bands) else ""
    )
    *fewer, most = sorted(frame["n_replicas"].astype(int).unique())
    replicas = " or ".join([*map(str, fewer), counted(most, "replica")])
    rows = "Rows of the training pass" if any_own(frame, runs) else "Training rows of the draw, as augmented"
    text = f"{rows}, before each update, {replicas}."
    if len(bands):
        text += (
            f" Above: median, middle half and middle 90 % of the recorded WSL weights over rows and replicas ({sizes} "
            f"rows an epoch). Dotted: 1 − 1/e, the weight where student and teacher are equally sure of the truth at "
            f"temperature 1; below it at the last epoch: {said}."
        )
    if (frame["panel"] == "mean").any():
        text += (
            " Below: mean of the weight that the loss used, every epoch; bands are one standard error over replicas."
        )
        scaled = [arm_label(run, arm) for run in runs for arm in run.arms if run.entry(arm).setting("alpha_from")]
        if (means := frame[frame["panel"] == "mean"]).groupby("run")["arm"].nunique().max() > MOST_LINES:
            text += f" Of {means['arm'].nunique()} arms the first {MOST_LINES} are drawn; the CSV has all."
        if scaled:
            names = ", ".join(scaled)
            text += f" {names} follows the mean of WSL by construction: the lines coincide, its own is dashed on top."
    return f"{text} {conditions(runs)}"


FIGURE = Figure(
    name="weights",
    title="WSL weights through training",
    how_to_read="A weight near 1 leaves the soft label its full say; a low one takes it from samples on which the "
    "student is already surer of the truth than the teacher.",
    needs="a record of the training pass of a weighted soft label arm, with its teacher",
    collect=collect,
    draw=draw,
    caption=caption,
)
