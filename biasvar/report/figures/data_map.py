"""A data map: how sure of the truth an arm is of each sample, against how much that varies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import cloud
from biasvar.report.statistics import own_samples
from biasvar.report.statistics.changes import bare, each
from biasvar.report.statistics.own_samples import Course, Place
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "split", "view", "over", "kind", "sample_id", "variability", "confidence", "accuracy",
    "count", "estimate", "low", "high", "n_samples", "n_replicas", "n_epochs",
]  # fmt: skip
LEAST_EPOCHS = 3  # of one training: two points have no course
MOST = 6  # panels


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of kind "sample", or of many samples "cell", and for each panel one of kind "mean": of all confidences."""
    parts: list[pd.DataFrame] = []
    for run in runs:
        for arm in own_samples.own_arms(run):
            parts += [_panel(run, arm, place, over) for place, over in _places(run, arm) if len(parts) < MOST]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return style.styled(frame.reindex(columns=COLUMNS), runs)


def _places(run: Run, arm: str) -> list[tuple[Place, str]]:
    """Held-out rows over replicas and the training pass over epochs, as far as there are two and three of them."""
    found = []
    there = own_samples.places(run, arm)
    clean = next((place for place in there if place.view == "clean"), None)
    if clean is not None and own_samples.over_replicas(run, arm, clean) is not None:
        found.append((clean, "replicas"))
    through = [p for p in there if len(run.record_epochs(arm, p.split, p.view)) >= LEAST_EPOCHS]
    training = [p for p in through if p.split == "train"] or ([] if found else through)
    return found + [(place, "epochs") for place in training[-1:]]


def _panel(run: Run, arm: str, place: Place, over: str) -> pd.DataFrame:
    course = (own_samples.over_replicas if over == "replicas" else own_samples.over_epochs)(run, arm, place)
    assert isinstance(course, Course)
    seen = np.isfinite(course.confidence)
    points = cloud.collected(
        course.variability[seen],
        course.confidence[seen],
        course.accuracy[seen],
        course.sample_ids[seen],
        y_range=(0.0, 1.0),
    ).rename(columns={"name": "sample_id", "x": "variability", "y": "confidence", "share": "accuracy"})
    mean = mean_interval(course.confidence[seen])
    whole = {"kind": "mean", "variability": course.variability[seen].mean(), "confidence": mean.estimate}
    whole |= {"accuracy": course.accuracy[seen].mean(), "count": int(seen.sum())}
    whole |= {"estimate": mean.estimate, "low": mean.low, "high": mean.high}
    return pd.concat([points, pd.DataFrame([whole])], ignore_index=True).assign(
        run=run.name, arm=arm, label=arm_label(run, arm), split=place.split, view=place.view, over=over,
        n_samples=int(seen.sum()), n_replicas=course.n_replicas, n_epochs=course.n_epochs,
    )  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each arm and what the map is over."""
    frame = bare(frame)
    several = frame["run"].nunique() > 1
    panels = [part for _, part in frame.groupby(["run", "arm", "over"], sort=False)]
    figure, axes = cloud.grid(len(panels), more=0.6)
    cells = frame[frame["kind"] == "cell"]
    top = float(cells["count"].max()) if len(cells) else 1.0
    widest = float(frame["variability"].max()) or 1.0  # replicas that answer alike
    mesh: Any = None
    for ax, part in zip(axes.flat, panels, strict=False):
        mesh = _draw_panel(ax, part, top, several=several)
        ax.set_xlim(-0.03 * widest, 1.05 * widest)
    between = "\n" if style.narrow() else " "
    figure.supxlabel(f"standard deviation of that probability{between}(variability)", fontsize=9.5)
    figure.supylabel("mean probability of the true class (confidence)", fontsize=9.5)
    cloud.bar(figure, mesh, axes, "answers that are right")
    cloud.legend(figure, cloud.sizes(top))
    return figure


def _draw_panel(ax: Axes, part: pd.DataFrame, top: float, *, several: bool) -> Any:
    mesh = cloud.draw(
        ax, part[part["kind"] != "mean"].rename(columns={"variability": "x", "confidence": "y", "accuracy": "share"}),
        top=top,
    )  # fmt: skip
    mean = each(part[part["kind"] == "mean"])[0]
    name = style.panel_title(str(mean.label), str(mean.run) if several else "", width=28)
    ax.set_title(f"{name}\n{mean.split}, over {_over(mean)}", fontsize=9.5)
    ax.axhspan(mean.low, mean.high, color=style.INK, alpha=0.25, linewidth=0, zorder=1)
    ax.axhline(mean.estimate, color=style.INK, linewidth=0.9, linestyle=":", zorder=3)
    ax.annotate("mean", (1, mean.estimate), (-2, 3), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                ha="right", fontsize=9, zorder=4)  # fmt: skip
    ax.set_ylim(-0.03, 1.03)
    return mesh


def _over(mean: Any) -> str:
    return counted(int(mean.n_replicas), "replica") if mean.over == "replicas" else f"{mean.n_epochs} epochs"


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what it is over, the mean with its interval, how much is right."""
    several = frame["run"].nunique() > 1
    said = "; ".join(
        f"{f'{row.run}, ' if several else ''}{row.label}, {row.split} over {_over(row)}"
        + (f" of {counted(int(row.n_replicas), 'training')}" if row.over == "epochs" else "")
        + f": n = {row.n_samples:,}, mean {row.estimate:.3f} ({row.low:.3f} to {row.high:.3f}), "
        f"{100 * row.accuracy:.1f} % right"
        for row in each(frame[frame["kind"] == "mean"])
    )
    means = " Where there are several trainings, the values of a sample are means over them." * bool(
        ((frame["over"] == "epochs") & (frame["n_replicas"] > 1)).any()
    )
    return (
        "Probability of the true class at temperature 1 and its standard deviation for every sample: over replicas, "
        "each after training, or over the recorded epochs of a training, as in the data maps of Swayamdipta et "
        f"al. (2020); the deviation divides by n.{means} Dotted: the mean confidence, with its 95 % t interval over "
        f"samples. {said}.{_cells(frame)} {conditions_in(frame, runs)}"
    )


def _cells(frame: pd.DataFrame) -> str:
    if not (frame["kind"] == "cell").any():
        return ""
    return (
        f" Of more than {cloud.MOST_POINTS:,} samples, squares stand for cells of a grid; samples.csv has each sample."
    )


FIGURE = Figure(
    name="data_map",
    title="Data map: confidence against variability",
    how_to_read="At the upper left samples are easy, at the lower left they are hard or wrongly labelled, and at the "
    "right they are ambiguous: whether they are got right depends on the training.",
    needs="a record of your own loop, or imported predictions, of at least two replicas or three epochs",
    collect=collect,
    draw=draw,
    caption=caption,
    kinds=own_samples.OWN,
)
