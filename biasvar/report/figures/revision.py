"""Soft labels before and after label revision, beside the label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.revision import eta, revised_rows
from biasvar.report.arms.roles import taken_over
from biasvar.report.arms.teachers import teacher_in_words
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, panels
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.revised_labels import (
    GROUPS,
    SERIES,
    mean_answer,
    revised_labels,
    revising_arm,
    temperature,
)
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import counted, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "teacher", "networks", "group", "true_class", "true_name", "class", "class_name", "series",
    "probability", "low", "high", "stderr", "n_rows", "n_answers", "n_pool", "lead_before", "lead_after", "eta",
    "revised_rows", "temperature",
]  # fmt: skip
MOST_CLASSES = 12
FEW = 6  # classes, for which what the teacher has right is drawn too
ACROSS = 5  # panels side by side where there are more
ROWS = (0.26, 0.165)  # inches, of a class; on a narrow screen
SHIFTS = {"label": 0.0, "teacher": -0.19, "revised": 0.19}
HEIGHTS = {"label": 0.86, "teacher": 0.36, "revised": 0.36}
NAMES = {"label": "the label", "teacher": "the teacher's soft label", "revised": "the same, revised"}


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, whether the teacher is right, true class, class and series."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        arm = revising_arm(run) if run.num_classes <= MOST_CLASSES else None
        if arm is not None and arm not in taken_over(run, runs):
            rows += _of_run(run, arm)
    return style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)


def _of_run(run: Run, arm: str) -> list[dict[str, Any]]:
    entry = run.entry(arm)
    found = revised_labels(run, entry)
    values = dict(zip(SERIES, (found.one_hot, found.before, found.after), strict=True))
    names = run.manifest.get("class_names") or list(map(str, range(run.num_classes)))
    leads = [float(lead.mean()) if len(lead := found.lead(soft)) else np.nan for soft in (found.before, found.after)]
    about = {
        "run": run.name, "arm": arm, "label": arm_label(run, arm), "teacher": entry.teacher,
        "networks": len(found.before), "n_pool": found.wrong.size, "lead_before": leads[0], "lead_after": leads[1],
        "eta": eta(entry), "revised_rows": revised_rows(entry), "temperature": temperature(entry),
    }  # fmt: skip
    rows = []
    for group in GROUPS:
        of_group = found.wrong if group == "wrong" else ~found.wrong
        for true in range(run.num_classes):
            where = of_group & (found.labels == true)
            place = {"group": group, "true_class": true, "true_name": names[true]}
            for series, soft in values.items():
                for one in range(run.num_classes):
                    what = {"class": one, "class_name": names[one], "series": series}
                    rows.append({**about, **place, **what, **mean_answer(soft[..., one], where)})
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """A panel for each true class, of what the teacher has wrong; of few classes a row below of what it has right."""
    styles, frame = unstyled(frame)
    runs = list(dict.fromkeys(frame["run"]))
    parts = {run: frame[frame["run"] == run] for run in runs}
    row = ROWS[style.narrow()]
    heights = [_down(part) * (0.8 + row * part["true_class"].nunique()) + 0.3 for part in parts.values()]
    columns = style.abreast(len(SERIES))
    figure, block_of = blocks.stacked(runs, heights, more=0.25 + 0.2 * len(SERIES) / columns)
    for run, block in block_of.items():
        part, color = parts[run], styles[parts[run]["arm"].iloc[0]].color
        groups, of_group, across = _groups(part), _down(part) // len(_groups(part)), _across(part)
        axes = block.subplots(_down(part), across, sharex=True, sharey=True, squeeze=False)
        for place, group in enumerate(groups):
            lines = axes[place * of_group : (place + 1) * of_group]
            of_class = list(part[part["group"] == group].groupby("true_class", sort=False))
            for ax, (_, rows) in zip(lines.flat, of_class, strict=False):
                _panel(ax, rows, color)
            for ax in lines.flat[len(of_class) :]:
                ax.set_axis_off()
            for ax in lines[:, 0]:
                ax.set_ylabel(f"teacher {group}", weight="bold")
        panels.name_feet(axes, "mean probability")
    legends.below(figure, _entries(frame, styles), columns=columns)
    return figure


def _groups(part: pd.DataFrame) -> tuple[str, ...]:
    return GROUPS if part["true_class"].nunique() <= FEW else GROUPS[:1]


def _across(part: pd.DataFrame) -> int:
    classes = int(part["true_class"].nunique())
    return style.abreast(classes if classes <= FEW else ACROSS, on_narrow=2)


def _down(part: pd.DataFrame) -> int:
    """Rows of the panels of a run."""
    return len(_groups(part)) * -(-int(part["true_class"].nunique()) // _across(part))


def _panel(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    first = rows.iloc[0]
    count = f"n\u00a0=\u00a0{first['n_answers']:,}"
    if style.narrow():
        ax.set_title(style.panel_title(f"{first['true_name']}, {count}"), fontsize=9.5)
    else:
        ax.set_title(f"{style.panel_title(str(first['true_name']))}\n{count}", fontsize=9.5)
    names = rows.drop_duplicates("class")["class_name"].astype(str)
    ax.set(xlim=(0.0, 1.03), ylim=(len(names) - 0.45, -0.55))
    ax.set_yticks(range(len(names)), list(names))
    ax.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    looks = _looks(color)
    for series in SERIES:
        part = rows[rows["series"] == series]
        y = part["class"].to_numpy(dtype=float) + SHIFTS[series]
        ax.barh(y, part["probability"], height=HEIGHTS[series], zorder=2, **looks[series])
        if series != "label":
            ax.hlines(y, part["low"].clip(0, 1), part["high"].clip(0, 1), color=style.INK, linewidth=0.9, zorder=3)


def _looks(color: str) -> dict[str, dict[str, Any]]:
    return {
        "label": {"facecolor": "white", "edgecolor": style.INK, "linewidth": 1.1},
        "teacher": {"facecolor": "#b9b9b9"},
        "revised": {"facecolor": color},
    }


def _entries(frame: pd.DataFrame, styles: dict[str, style.Look]) -> list[Any]:
    from matplotlib.patches import Patch

    looks = _looks(styles[frame["arm"].iloc[0]].color)
    return [Patch(label=NAMES[series], **looks[series]) for series in SERIES]


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Whose answers to which rows, how they are revised, n, intervals, draw and data."""
    said = []
    for row in each(frame.drop_duplicates("run")):
        name = f"{row.run}: " if frame["run"].nunique() > 1 else ""
        which = "all of them" if row.revised_rows == "all" else "those whose first class is wrong"
        lead = (
            f"; there the truth's probability less that of the teacher's first class is {signed(row.lead_before, 2)} "
            f"before revision and {signed(row.lead_after, 2)} after it, on average"
        )
        wrong = frame[(frame["run"] == row.run) & (frame["group"] == "wrong")]
        count = int(wrong.drop_duplicates("true_class")["n_answers"].sum())
        said.append(
            f"{name}{row.label}; teacher “{teacher_in_words(row, runs)}” ({counted(int(row.networks), 'network')}) at "
            f"temperature {row.temperature:g}, {which} revised with η {row.eta:g}. Of {row.n_pool:,} answers "
            f"{count:,} are wrong{lead if np.isfinite(row.lead_before) else ''}."
        )
    return (
        "Means over n answers of the teacher to the students' training rows of the true class above a panel. "
        f"{' '.join(said)} Lines on bars: 95 % t intervals over rows, answers of several networks to a row together, "
        f"for this teacher. {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="revision",
    title="Soft labels before and after revision",
    how_to_read="Where the teacher is wrong, another class has more than the outlined one, the label. Revision "
    "moves mass to the label until it leads by 1 − η, and leaves the wrong classes in proportion to each other.",
    needs="an arm with revised labels from a stored teacher, on 12 classes or fewer",
    collect=collect,
    draw=draw,
    caption=caption,
)
