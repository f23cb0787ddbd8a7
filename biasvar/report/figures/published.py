"""What weighted soft labels gain here, beside what was published and what others reproduced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import published, rows, style
from biasvar.report.arms.contrasts import SMOOTHED, WEIGHTING, contrasts
from biasvar.report.arms.roles import core_arms, reference_arms, taken_note, taken_over
from biasvar.report.figure import Figure
from biasvar.report.figures.effects import difference
from biasvar.report.statistics.changes import each
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "panel", "group", "row", "arm", "against", "control", "regime", "temperature", "difference", "low", "high",
    "stderr", "n_replicas", "n_samples", "split", "failed", "same_source", "source",
]  # fmt: skip
AGAINST = ("KD", "student alone")
GROUPS = {"authors": "Published by the authors", "others": "Reproduced by others"}
PUBLISHED = "#5a5a5a"
MARKS = ("o", "s", "^", "D", "P")


def collect(runs: list[Run]) -> pd.DataFrame:
    """Differences in percentage points: rows of run "" are published ones; empty where no run has a WSL pair."""
    own = [row for run in runs for row in _own(run) if not {row["arm"], row["control"]} <= taken_over(run, runs)]
    if not any(row["panel"] == "weighting" for row in own):
        return style.styled(pd.DataFrame(columns=COLUMNS), runs)
    found = []
    for row in published.weighting().to_dict("records"):
        name = f"{row['data']}, {row['pair']}" + (f" ({row['who']})" if row["who"] else "")
        kept = {key: row[key] for key in ("against", "difference", "same_source", "source")}
        found.append({"run": "", "panel": "weighting", "group": GROUPS[row["by"]], "row": name, **kept})
    if any(row["panel"] == "smoothed teacher" for row in own):
        for row in published.smoothed_teacher().to_dict("records"):
            kept = {key: row[key] for key in ("temperature", "difference", "source")}
            found.append({"run": "", "panel": "smoothed teacher", "row": f"{row['data']}, {row['pair']}", **kept})
    return style.styled(pd.DataFrame(found + own, columns=COLUMNS), runs)


def _own(run: Run) -> list[dict[str, Any]]:
    found = []
    for one in contrasts(run):
        wanted = one.question == SMOOTHED and run.arm(one.treatment).get("loss") == "distillation"
        wanted &= run.arm(one.control).get("teacher") == run.manifest.get("reference_teacher")
        if wanted and _smoothing(run, one.treatment) == 0.1:
            row = _row(run, one.treatment, one.control)
            temperature = run.arm(one.treatment).get("temperature")
            found += [{**row, "panel": "smoothed teacher", "temperature": temperature}] if row else []
    core = core_arms(run)
    pairs = {one.treatment: one.control for one in contrasts(run) if one.question == WEIGHTING}
    alone = reference_arms(run).get("cross-entropy")
    for arm in core:
        if run.arm(arm).get("loss") != "weighted_soft_label":
            continue
        for against, control in zip(AGAINST, (pairs.get(arm), alone), strict=True):
            row = _row(run, arm, control) if control else None
            found += [{**row, "panel": "weighting", "against": against}] if row else []
    return found


def _smoothing(run: Run, arm: str) -> float:
    teacher = (run.manifest.get("teachers") or {}).get(run.arm(arm).get("teacher")) or {}
    return float(teacher.get("smoothing") or 0.0)


def _row(run: Run, arm: str, control: str) -> dict[str, Any] | None:
    found = difference(run, arm, control)
    if found is None:
        return None
    kept = {
        name: found[name]
        for name in ("arm", "control", "regime", "stderr", "n_replicas", "n_samples", "split", "failed")
    }
    points = {new: 100 * found[old] for new, old in (("difference", "estimate"), ("low", "low"), ("high", "high"))}
    kept["stderr"] = 100 * kept["stderr"]
    about = {"run": run.name, "group": f"This run: {run.name}", "row": style.regime_label(found["regime"]).capitalize()}
    return {**about, **kept, **points, "same_source": True}


def draw(frame: pd.DataFrame) -> Drawing:
    """A row for each pair of networks, published ones above; below, a smoothed teacher against the temperature."""
    weighting = frame[frame["panel"] == "weighting"]
    smoothed = frame[frame["panel"] == "smoothed teacher"]
    places, headings, total = _layout(weighting)
    heights = [rows.ROW_HEIGHT * total + 0.75] + ([3.1] if len(smoothed) else [])
    figure = style.new_figure(height=sum(heights) + 0.5)
    blocks: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = blocks[0].subplots(1, len(AGAINST), sharey=True)
    for ax, against in zip(axes, AGAINST, strict=True):
        _rows(ax, weighting[weighting["against"] == against], places)
        ax.set_title(f"WSL − {against}", fontsize=10)
        rows.scale(ax, "percentage points", ticks=5)
    axes[0].set_ylim(total - 0.4, -0.6)
    axes[0].set_yticks(list(places.values()), [name for _, name in places])
    for name, y in headings.items():
        axes[0].text(-0.02, y, name, weight="bold", ha="right", va="center", transform=axes[0].get_yaxis_transform())
    handles = [
        rows.handle("o", "published, both numbers from one source"),
        rows.handle("o", "numbers from two sources", hollow=True),
    ]
    blocks[0].legend(handles=handles, loc="outside lower left", ncols=2, handletextpad=0.3)
    if len(smoothed):
        _smoothed(blocks[1], smoothed)
    return figure


def _layout(frame: pd.DataFrame) -> tuple[dict[tuple[str, str], float], dict[str, float], float]:
    places: dict[tuple[str, str], float] = {}
    headings: dict[str, float] = {}
    y = 0.0
    for group, part in frame.groupby("group", sort=False):
        headings[str(group)] = y
        y += 1.0
        for row in dict.fromkeys(part["row"]):
            places[str(group), row] = y
            y += 1.0
        y += 0.4
    return places, headings, y - 0.4


def _rows(ax: Axes, part: pd.DataFrame, places: dict[tuple[str, str], float]) -> None:
    styles = style.styles_of(part)
    ax.axvline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)
    for row in each(part):
        y = places[row.group, row.row]
        own = bool(row.run)
        color, marker = (styles[row.arm].color, styles[row.arm].marker) if own else (PUBLISHED, "o")
        if own and np.isfinite(row.low):
            ax.plot([row.low, row.high], [y, y], color=color, linewidth=1.8, solid_capstyle="butt", zorder=2)
        hollow = (own and row.failed > 0) or not row.same_source
        ax.plot(
            row.difference, y, marker, markersize=6, zorder=3, markerfacecolor="white" if hollow else color,
            markeredgecolor=color if hollow else "white", markeredgewidth=1.3 if hollow else 0.5,
        )  # fmt: skip
    ax.margins(x=0.06)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _smoothed(block: Any, frame: pd.DataFrame) -> None:
    styles = style.styles_of(frame)
    ax = block.subplots()
    ax.set_xscale("log", base=2)
    ax.axhline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)
    theirs, own = frame[frame["run"] == ""], frame[frame["run"] != ""]
    for place, (name, part) in enumerate(theirs.groupby("row", sort=False)):
        ax.plot(part["temperature"], part["difference"], marker=MARKS[place % len(MARKS)], color="#8a8a8a",
                linestyle="--", linewidth=0.9, markersize=5, markerfacecolor="white", label=name)  # fmt: skip
    for run, part in own.sort_values("temperature").groupby("run", sort=False):
        color = styles[part["arm"].iloc[len(part) // 2]].color
        ax.plot(part["temperature"], part["difference"], color=color, marker="o", linewidth=1.6, zorder=3,
                label=f"this run: {run}")  # fmt: skip
        ax.vlines(part["temperature"], part["low"], part["high"], color=color, linewidth=1.6, zorder=3)
    values = sorted({float(value) for value in frame["temperature"]})
    ax.set_xticks(values, [f"{value:g}" if value not in (3.0,) or 4.0 not in values else "" for value in values])
    ax.set_xticks([], minor=True)
    ax.set_title("KD from a teacher with label smoothing 0.1 − from a plain teacher", fontsize=10)
    ax.set_xlabel("temperature")
    ax.set_ylabel("percentage points")
    block.legend(loc="outside right center", handlelength=2.4)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Where published numbers were found, what the run's own are, n, intervals, data."""
    own = frame[frame["run"] != ""]
    smoothed = (
        " Below: dashed lines are from Chandrasegaran et al. 2022 (their repository's tables)."
        if (frame["panel"] == "smoothed teacher").any()
        else ""
    )
    return (
        "Grey: as found in the official repository's README and its issue 6 (the paper's CIFAR-100 numbers as quoted "
        "by a user, and users' own runs), in a third party's summary of the paper (KD on ImageNet; MultiNLI), in the "
        "READMEs of CRD (CIFAR-100: KD and student alone) and MMRazor, and in a pull request of PaddleClas; the source "
        f"of each is in the CSV, none is from memory, and none came with an error.{smoothed} Coloured: this run, "
        f"accuracy on n = {sizes(own['n_samples'].astype(int))} {' and '.join(dict.fromkeys(own['split']))} rows after "
        f"the last epoch, mean over {sizes(own['n_replicas'].astype(int))} paired replicas with the 95 % t interval "
        "over replicas; rows name the teacher's regime. Student alone: the cross-entropy arm."
        f"{taken_note(runs)} {conditions_in(own, runs)}"
    )


FIGURE = Figure(
    name="published",
    title="Beside published numbers",
    how_to_read="Grey marks have no bar because none was published. Data, networks, schedules and teachers differ from "
    "row to row, so compare signs and orders of magnitude, not values; hollow marks subtract numbers of two sources, "
    "whose code and teachers differ too.",
    needs="a WSL arm beside KD with the same teacher, or beside cross-entropy",
    collect=collect,
    draw=draw,
    caption=caption,
)
