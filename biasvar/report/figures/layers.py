"""The weights of a teacher's layers through a search, by group and layer, with their spread over replicas."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import heat
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.layer_weights import mean_weights, unlearned
from biasvar.report.text.captions import conditions_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "objective", "group", "layer", "student_module", "teacher_module", "height", "width",
    "epoch", "estimate", "low", "high", "stderr", "sd", "accuracy", "rows", "n_replicas", "unlearned",
]  # fmt: skip
OBJECTIVES = {"bridge": "by the bridge loss", "student": "by the student's loss"}
ROW_HEIGHT = 0.26  # inches
HEAD, AXIS, SCALE = 0.35, 0.85, 0.62  # inches: a search's name, a panel's title and epochs, the scale of colours
LINE = 0.16  # inches, of each further line under the scale
MOST_TICKS = 5


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, search, group, layer and epoch: the mean weight with its 95 % interval over replicas.

    `accuracy` is what the search's loss was right about in that epoch, `unlearned` why the weights say nothing.
    """
    found = []
    for run in runs:
        for arm in run.arms:
            frame = mean_weights(run, arm)
            if len(frame):
                about = {"run": run.name, "arm": arm, "label": arm_label(run, arm), "unlearned": unlearned(run, arm)}
                found.append(frame.assign(**about, objective=run.entry(arm).setting("objective") or ""))
    return style.styled(pd.concat(found)[COLUMNS] if found else pd.DataFrame(columns=COLUMNS), runs)


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run and search a heat map for each group: layers downwards, epochs to the right."""
    searches = list(frame.groupby(["run", "arm"], sort=False))
    shapes = [_shape(part) for _, part in searches]
    heights = [
        HEAD + down * (AXIS + ROW_HEIGHT * (int(part["layer"].max()) + 1))
        for (down, _), (_, part) in zip(shapes, searches, strict=True)
    ]
    said = _said(frame)
    scale = SCALE + LINE * said.count("\n")
    figure = style.new_figure(height=sum(heights) + scale)
    places: Any = figure.subfigures(len(searches) + 1, 1, height_ratios=[*heights, scale])
    top, several = float(frame["estimate"].max()), frame["run"].nunique() > 1
    mesh: Any = None
    for ((run, _), part), shape, place in zip(searches, shapes, places[:-1], strict=True):
        place.suptitle((f"{run}: " if several else "") + _name(part), x=0.01, ha="left", weight="bold", fontsize=10)
        axes = place.subplots(*shape, squeeze=False)
        for ax, (_, of_group) in zip(axes.flat, part.groupby("group"), strict=True):
            mesh = _panel(ax, of_group, top)
            ax.set_title(_title(of_group), weight="normal", fontsize=9.5)
        for ax in axes[:, 0]:
            ax.set_ylabel(_layers(part))
        for ax in axes[-1]:
            ax.set_xlabel("epoch of the search")
    bar = places[-1].colorbar(mesh, cax=places[-1].subplots(), orientation="horizontal")
    bar.set_label(said)
    bar.outline.set_visible(False)
    return figure


def _said(frame: pd.DataFrame) -> str:
    """What colours, the numbers beside the rows and a dagger mean."""
    said = "weight of a layer, mean over replicas; beside a row: after the last epoch, ± standard deviation"
    lost = "; † weights that say nothing (see below)" if (frame["unlearned"].fillna("") != "").any() else ""
    return textwrap.fill(said + lost, 44 if style.narrow() else 92)


def _shape(part: pd.DataFrame) -> tuple[int, int]:
    """Rows and columns of the panels of a search."""
    groups = int(part["group"].nunique())
    return groups // style.abreast(groups), style.abreast(groups)


def _layers(part: pd.DataFrame) -> str:
    """What the rows are; of modules whose names say that they are norms, that each layer is taken after its own."""
    norms = part["teacher_module"].astype(str).str.startswith("norm").all()
    return "teacher's layers,\nafter their norms\n(deep: below)" if norms else "teacher's layers\n(deep: below)"


def _name(part: pd.DataFrame) -> str:
    row = each(part)[0]
    return f"{row.label}{' †' if row.unlearned else ''}"


def _title(part: pd.DataFrame) -> str:
    row = each(part)[0]
    return f"student's features of {row.height}×{row.width}"


def _panel(ax: Axes, part: pd.DataFrame, top: float) -> Any:
    """The weights of one group, and those after the last epoch with their standard deviation at the right."""
    cells = part.pivot(index="layer", columns="epoch", values="estimate")
    last = part[part["epoch"] == part["epoch"].max()].set_index("layer")
    cells.index = [f"{layer + 1} of {len(cells)}" for layer in cells.index]
    mesh: Any = heat.draw(ax, cells, top=top, colors="viridis")
    epochs = list(cells.columns)
    shown = range(0, len(epochs), max(int(np.ceil((len(epochs) - 1) / MOST_TICKS)), 1))
    ax.set_xticks([i + 0.5 for i in shown], [str(epochs[i]) for i in shown], rotation=0, ha="center")
    for place, row in enumerate(each(last)):
        text = f"{row.estimate:.2f} ± {row.sd:.2f}".replace("0.", ".")
        end = (len(epochs), place + 0.5)
        ax.annotate(text, end, (4, 0), textcoords="offset points", va="center", ha="left", fontsize=9)
    return mesh


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what spread is, how well the searches learned, failures, draw and data."""
    counts = sorted({int(n) for n in frame["n_replicas"]})
    lost = dict.fromkeys(row.unlearned for row in each(frame) if row.unlearned)
    dagger = f" † Weights that say nothing: {'; '.join(lost)}." if lost else ""
    return (
        f"Weights of the teacher's layers, those of a group sum to 1; means over n = {', '.join(map(str, counts))} "
        "replicas, before the first epoch in the column 0. Beside a row: after the last epoch, ± the standard "
        "deviation over replicas; 95 % intervals and the names of modules are in the CSV. "
        "Layers from the shallowest (above) to the deepest. "
        "Where groups are searched in turn, a group's weights stand still in the others' epochs. What the label's part "
        "of the loss was right about on the rows that train the weights, last epoch of each group: "
        f"{_learned(frame)}.{dagger} {conditions_in(frame, runs)}"
    )


def _learned(frame: pd.DataFrame) -> str:
    """The accuracy behind each search's weights by group, as a caption says it."""
    known = frame.dropna(subset="accuracy")
    known = known[known["epoch"] == known.groupby(["run", "arm", "group"])["epoch"].transform("max")]
    known = known.drop_duplicates(["run", "arm", "group"])
    several = frame["run"].nunique() > 1
    said = [
        (f"{run}: " if several else "")
        + f"{label} "
        + ", ".join(f"{value:.2f}" for value in part.sort_values("group")["accuracy"])
        for (run, label), part in known.groupby(["run", "label"], sort=False)
    ]
    return "; ".join(said) or "not noted by this run"


FIGURE = Figure(
    name="layers",
    title="Weights of the teacher's layers through the search",
    how_to_read="Each row is a layer of the teacher, each column an epoch; the brighter, the more the student's "
    "features of that size are brought near to this layer. Weight that gathers in the upper rows has drifted to "
    "shallow layers.",
    needs="the search of layer weights (loss dfa_search)",
    collect=collect,
    draw=draw,
    caption=caption,
)
