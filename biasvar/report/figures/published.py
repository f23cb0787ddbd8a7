"""What weighted soft labels gain here, beside what was published and what others reproduced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import published, style
from biasvar.report.arms.contrasts import SMOOTHED, WEIGHTING, contrasts
from biasvar.report.arms.roles import COMPARED, core_arms, reference_arms, taken_note, taken_over
from biasvar.report.figure import Figure
from biasvar.report.figures.effects import difference
from biasvar.report.marks import forest, legends, lines, looks, scales
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "panel", "group", "row", "arm", "against", "control", "regime", "temperature", "difference", "low", "high",
    "stderr", "n_replicas", "n_samples", "split", "failed", "same_source", "source",
]  # fmt: skip
AGAINST = ("KD", "student alone")
GROUPS = {"authors": "Published by the authors", "others": "Reproduced by others"}
PUBLISHED = style.Look("#5a5a5a", "o", "", "published")
FAINTER = "#8a8a8a"  # published, beside lines
MARKERS = ("o", "s", "^", "D", "P")


def collect(runs: list[Run]) -> pd.DataFrame:
    """Differences in percentage points: rows of run "" are published ones; empty where no run has a WSL pair."""
    own = [row for run in runs for row in _own(run) if not {row["arm"], row["control"]} <= taken_over(run, runs)]
    if not any(row["panel"] == "weighting" for row in own):
        return style.styled(pd.DataFrame(columns=COLUMNS), runs)
    rows = []
    for row in published.weighting().to_dict("records"):
        name = f"{row['data']}, {row['pair']}" + (f" ({row['who']})" if row["who"] else "")
        kept = {key: row[key] for key in ("against", "difference", "same_source", "source")}
        rows.append({"run": "", "panel": "weighting", "group": GROUPS[row["by"]], "row": name, **kept})
    if any(row["panel"] == "smoothed teacher" for row in own):
        for row in published.smoothed_teacher().to_dict("records"):
            kept = {key: row[key] for key in ("temperature", "difference", "source")}
            rows.append({"run": "", "panel": "smoothed teacher", "row": f"{row['data']}, {row['pair']}", **kept})
    return style.styled(pd.DataFrame(rows + own, columns=COLUMNS), runs)


def _own(run: Run) -> list[dict[str, Any]]:
    rows = []
    for one in contrasts(run):
        wanted = one.question == SMOOTHED and run.entry(one.treatment).plays == "distillation"
        wanted &= run.entry(one.control).teacher == run.manifest.get("reference_teacher")
        if wanted and _smoothing(run, one.treatment) == 0.1:
            row = _row(run, one.treatment, one.control)
            temperature = run.entry(one.treatment).temperature
            rows += [{**row, "panel": "smoothed teacher", "temperature": temperature}] if row else []
    core = core_arms(run)
    pairs = {one.treatment: one.control for one in contrasts(run) if one.question == WEIGHTING}
    alone = reference_arms(run).get("cross-entropy")
    for arm in core:
        if run.entry(arm).plays != "weighting":
            continue
        for against, control in zip(AGAINST, (pairs.get(arm), alone), strict=True):
            row = _row(run, arm, control) if control else None
            rows += [{**row, "panel": "weighting", "against": against}] if row else []
    return rows


def _smoothing(run: Run, arm: str) -> float:
    teacher = (run.manifest.get("teachers") or {}).get(run.entry(arm).teacher) or {}
    return float(teacher.get("smoothing") or 0.0)


def _row(run: Run, arm: str, control: str) -> dict[str, Any] | None:
    gap = difference(run, arm, control)
    if gap is None:
        return None
    kept = {
        name: gap[name] for name in ("arm", "control", "regime", "stderr", "n_replicas", "n_samples", "split", "failed")
    }
    points = {new: 100 * gap[old] for new, old in (("difference", "estimate"), ("low", "low"), ("high", "high"))}
    kept["stderr"] = 100 * kept["stderr"]
    about = {
        "run": run.name,
        "group": f"This run: {run.name}",
        "row": style.regime_label(gap["regime"]).capitalize(),
    }
    return {**about, **kept, **points, "same_source": True}


def draw(frame: pd.DataFrame) -> Drawing:
    """A row for each pair of networks, published ones above; below, a smoothed teacher against the temperature."""
    weighting, smoothed = (frame[frame["panel"] == panel] for panel in ("weighting", "smoothed teacher"))
    where = forest.places(weighting, group="group", row="row", gap=0.4, headed=True)
    heights = [forest.ROW_HEIGHT * where.total + 0.75] + ([3.1] if len(smoothed) else [])
    figure = style.new_figure(height=sum(heights) + 0.5)
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = parts[0].subplots(1, len(AGAINST))
    rows = where.on(_dressed(weighting, style.styles_of(frame)))
    for ax, against in zip(axes, AGAINST, strict=True):
        forest.draw(ax, rows[rows["against"] == against], reference=0.0, size=6.0)
        ax.margins(x=0.06)
        ax.set_title(f"WSL − {against}", fontsize=10)
        scales.values(ax, "percentage points", ticks=5)
    forest.name_rows(axes, where, [name for _, name in where.heights])
    entries = [legends.dot("o", "published, both numbers from one source")]
    legends.below(parts[0], [*entries, legends.dot("o", "numbers from two sources", hollow=True)])
    if len(smoothed):
        _smoothed(parts[1], smoothed, style.styles_of(frame))
    return figure


def _dressed(weighting: pd.DataFrame, styles: Mapping[str, style.Look]) -> pd.DataFrame:
    """The rows in the looks of their arms; published ones are grey, those of two sources hollow."""
    own = weighting["run"] != ""
    uncertain = (weighting["failed"] > 0) | weighting["same_source"].eq(False)
    named = weighting.assign(arm=weighting["arm"].where(own, ""), estimate=weighting["difference"], open=uncertain)
    return looks.put_on(named, {**styles, "": PUBLISHED}, by="arm", hollow="open")


def _smoothed(block: Any, smoothed: pd.DataFrame, styles: Mapping[str, style.Look]) -> None:
    """The effect of a teacher's label smoothing on KD against the temperature: a line for each source and each run."""
    named = smoothed.assign(name=smoothed["row"].where(smoothed["run"] == "", smoothed["run"]))
    shown: dict[str, style.Look] = {}
    for (run, name), rows in named.groupby(["run", "name"], sort=False):
        if run:
            arms = rows.sort_values("temperature")["arm"]
            shown[str(name)] = style.Look(styles[arms.iloc[len(arms) // 2]].color, "o", "-", f"this run: {name}")
        else:
            shown[str(name)] = style.Look(FAINTER, MARKERS[len(shown) % len(MARKERS)], "--", str(name))
    named = looks.put_on(named.assign(estimate=named["difference"], theirs=named["run"] == ""), shown, by="name",
                         hollow="theirs")  # fmt: skip
    ax = block.subplots()
    ax.axhline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)
    for theirs, rows in named.groupby("theirs", sort=False):
        bars, width = (0.0, 0.9) if theirs else (1.6, 1.6)
        lines.draw(ax, rows, x="temperature", line="name", markers=True, band=0.0, bars=bars, width=width, size=5.0)
    scales.doublings(ax, named["temperature"])
    ax.set_title("KD from a teacher with label smoothing 0.1 − from a plain teacher", fontsize=10)
    ax.set_xlabel("temperature")
    ax.set_ylabel("percentage points")
    entries = legends.lines(shown, markers=True, hollow=set(named.loc[named["theirs"], "name"]), width=1.5)
    block.legend(handles=entries, loc="outside right center", handlelength=2.4)


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
        f"accuracy on n = {sizes(own['n_samples'])} {' and '.join(dict.fromkeys(own['split']))} rows after "
        f"the last epoch, mean over {sizes(own['n_replicas'])} paired replicas with the 95 % t interval "
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
    roles=COMPARED,
)
