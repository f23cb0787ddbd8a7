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
from biasvar.report.marks import blocks, legends, looks, multiples
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
    "stderr_replicas", "below", "n_rows", "n_replicas", "shuffled", "fixed",
]  # fmt: skip
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
THRESHOLD = 1.0 - math.exp(-1.0)
WHOLE = (0.4, 0.18)  # how opaque the bands are: of the middle half, of the middle 90 %
MOST_PANELS = 8  # of a run
PANEL = 1.75  # inches, of a panel with its head
ROWS = {"weight": "weight"}
SAID = {"shuffled": "those of its own\nstudents, shuffled", "fixed": "one a row, the\nsame throughout"}
"""What a panel without a band says of its weights."""
COURSES = {"mean": multiples.Course("mean weight", width=2.0)}


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
                "shuffled": bool(run.entry(arm).setting("shuffle")),
                "fixed": bool(run.entry(arm).setting("weights_from")),
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
    """For each run a panel an arm: its mean weight in the spread of its rows, the mean of the first arm in grey."""
    styles, frame = unstyled(frame)
    dressed = looks.put_on(_courses(frame), styles, by="arm")
    dressed["color"] = [style.INK if _is_grey(color) else color for color in dressed["color"]]  # WSL is the grey one
    runs = list(dict.fromkeys(frame["run"]))
    arms = {run: _panels(frame[frame["run"] == run], styles) for run in runs}
    first = {run: names[0] for run, of_run in arms.items() if len(names := list(of_run)) > 1}
    entries = _entries(frame, [styles[name].label for name in first.values()])
    heights = [PANEL * -(-len(of_run) // multiples.abreast(len(of_run))) + 0.2 for of_run in arms.values()]
    figure, block_of = blocks.stacked(runs, heights, more=multiples.below_height(len(entries)) + 0.1)
    for run, block in block_of.items():
        part = dressed[dressed["run"] == run]
        panels = multiples.grid(
            block, part, arms=arms[run], rows=ROWS, courses=COURSES, control=first.get(run), dots=False
        )
        for (_, arm), ax in panels.items():
            _bands_of_arm(ax, part[(part["arm"] == arm) & (part["course"] == "rows")])
            if arm != first.get(run, arm) and _coincide(part, arm, first[run]):
                said = f"same mean as\n{arms[run][first[run]]}"
                ax.text(0.97, 0.06, said, transform=ax.transAxes, ha="right", va="bottom", fontsize=9)
            elif said := next((said for column, said in SAID.items() if _is(part, arm, column)), ""):
                ax.text(0.97, 0.06, said, transform=ax.transAxes, ha="right", va="bottom", fontsize=9)
            ax.axhline(THRESHOLD, color=style.INK, linewidth=1.0, linestyle=":")
            ax.set_ylim(-0.02, 1.02)
            ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    multiples.below(figure, entries)
    return figure


def _is(part: pd.DataFrame, arm: str, column: str) -> bool:
    """Whether a table says so of an arm; those of an earlier version do not."""
    return column in part and bool(part.loc[part["arm"] == arm, column].any())


def _courses(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as courses: "mean", the weight in the loss or else the recorded one, and "rows", recorded quantiles."""
    bands, means = (frame[frame["panel"] == panel] for panel in ("bands", "mean"))
    in_loss = set(zip(means["run"], means["arm"], strict=True))
    recorded = bands[[pair not in in_loss for pair in zip(bands["run"], bands["arm"], strict=True)]]
    parts = [means.assign(course="mean"), recorded.assign(course="mean"), bands.assign(course="rows")]
    whole = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return whole.assign(row="weight", estimate=whole["mean"], low=math.nan, high=math.nan)


def _is_grey(color: str) -> bool:
    from matplotlib.colors import to_rgb

    return max(to_rgb(color)) - min(to_rgb(color)) < 0.05


def _coincide(rows: pd.DataFrame, arm: str, other: str) -> bool:
    """True if the lines of two arms cannot be told apart."""
    one, two = (
        rows[(rows["arm"] == name) & (rows["course"] == "mean")].set_index("epoch")["mean"] for name in (arm, other)
    )
    return one.index.equals(two.index) and bool(np.allclose(one, two, rtol=0.0, atol=0.01))


def _panels(rows: pd.DataFrame, styles: dict[str, style.Look]) -> dict[str, str]:
    """The arms of a run that have panels, at most `MOST_PANELS`, by their labels: those with bands first."""
    order = sorted(
        dict.fromkeys(rows["arm"]), key=lambda arm: "bands" not in set(rows.loc[rows["arm"] == arm, "panel"])
    )
    return {arm: styles[arm].label for arm in order[:MOST_PANELS]}


def _entries(frame: pd.DataFrame, first: list[str]) -> list[Any]:
    """What lines and bands are."""
    from matplotlib.colors import to_rgb

    def paler(alpha: float) -> tuple[float, float, float]:
        red, green, blue = (1.0 - alpha * (1.0 - channel) for channel in to_rgb(style.MUTED))
        return red, green, blue

    inner, outer = WHOLE
    said = "mean weight in the loss" if (frame["panel"] == "mean").any() else "mean weight of the rows"
    entries = multiples.entries({"mean": replace(COURSES["mean"], label=said)}, ["mean"], ", ".join(first) or None)
    if (frame["panel"] == "bands").any():
        entries += [
            legends.patch(paler(1.0 - (1.0 - inner) * (1.0 - outer)), "middle half of the rows"),
            legends.patch(paler(outer), "middle 90 % of the rows"),
        ]
    equal = style.Look(style.INK, "", ":", "1\u00a0−\u00a01/e: student and teacher equally sure")
    return entries + legends.lines({"": equal}, width=1.0)


def _bands_of_arm(ax: Axes, rows: pd.DataFrame) -> None:
    """The middle half of the weights of the rows, and their middle 90 %."""
    for low, high, opaque in (("q05", "q95", WHOLE[1]), ("q25", "q75", WHOLE[0])):
        if len(rows):
            color = rows["color"].iloc[0]
            ax.fill_between(rows["epoch"], rows[low], rows[high], color=color, alpha=opaque, linewidth=0)


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
            f" Bands: middle half and middle 90 % of the recorded WSL weights over rows and replicas ({sizes} rows an "
            "epoch). Dotted: 1 − 1/e, the weight where student and teacher are equally sure of the truth at "
            f"temperature 1; below it at the last epoch: {said}."
        )
    if (frame["panel"] == "mean").any():
        text += " Lines: mean of the weight that the loss used, every epoch; its standard error is in the CSV."
        if (most := frame.groupby("run")["arm"].nunique().max()) > MOST_PANELS:
            text += f" Of {most} arms {MOST_PANELS} are drawn; the CSV has all."
        if scaled := [arm_label(run, arm) for run in runs for arm in run.arms if run.entry(arm).setting("alpha_from")]:
            text += f" {', '.join(scaled)} follows the mean of WSL by construction."
        if shuffled := [
            arm_label(run, arm)
            for run in runs
            for arm in run.arms
            if run.entry(arm).setting("shuffle") and arm in set(frame["arm"])
        ]:
            text += f" {', '.join(shuffled)}: weights of its own students, who learn otherwise, in another order."
    return f"{text} {conditions(runs)}"


FIGURE = Figure(
    name="weights",
    title="WSL weights through training",
    how_to_read="A weight near 1 leaves the soft label its full say; a low one takes it from samples on which the "
    "student is already surer of the truth than the teacher. A wide band means that rows are weighed differently; "
    "an arm without a band gives all its rows one weight, or weights that are not its own.",
    needs="a record of the training pass of a weighted soft label arm, with its teacher",
    collect=collect,
    draw=draw,
    caption=caption,
)
