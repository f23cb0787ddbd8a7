"""Bias, variance, risk and error over the numbers that a study sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from biasvar.report import published, style
from biasvar.report.arms import drawn
from biasvar.report.arms.sweep import WORDS, drawn_curves, is_geometric, most_apart
from biasvar.report.figure import Figure
from biasvar.report.marks import arrows, blocks, legends, lines, looks, scales
from biasvar.report.statistics.estimates import COLUMNS as ESTIMATES
from biasvar.report.statistics.estimates import columns
from biasvar.report.statistics.sweep_terms import sweep_terms
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = ["run", "key", "curve", "base", "value", "decomposed", "published", *ESTIMATES[1:]]
PANELS = {"bias": "Bias", "variance": "Variance", "risk": "Risk (sum)"}
UNITS = {"cross_entropy": "nats", "squared_error": "squared error"}
PALETTE = ("#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f")
FAILED = "replicas at chance or not finite"
HIGH = 1.5  # inches of a panel without its title and axis, about
DASHES = ("-", "--", ":")
MOST_LINES = 7  # of a panel
MOST_BANDS = 3  # of a panel: more would lie over one another, and intervals are bars
WIDEST_OF_THREE = 24  # letters of a curve's name, for three of them side by side
WIDEST_AT_END = 20  # letters of a curve's name, for names at the ends of the lines
TICKS_APART = 0.2  # of a panel's width
ABREAST_OF = {False: 4, True: 2}
"""Panels beside one another, by whether the screen is narrow."""


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, swept key, curve, arm and number, with the 95 % interval over replicas."""
    rows = []
    for run in runs:
        for curve in drawn_curves(run):
            about = {"key": curve.key, "curve": curve.name, "base": curve.base}
            for arm, value in zip(curve.arms, curve.values, strict=True):
                for loss, row in sweep_terms(run, arm):
                    rows.append({**about, "value": value, "decomposed": loss, **columns(row, ESTIMATES)})
        rows += _published(run)
    return pd.DataFrame(rows, columns=COLUMNS).assign(published=lambda frame: frame["published"].fillna(""))


def _published(run: Run) -> list[dict[str, Any]]:
    """What was published of the run's network and data over its width, beside the curves of the same label noise.

    Those of students trained by squared error, as the published ones were, where the run has any.
    """
    study = run.study or {}
    model = (study.get("student") or {}).get("model", "")
    found = published.over_widths((study.get("data") or {}).get("name", ""), model)
    rows = []
    curves = [curve for curve in drawn_curves(run) if curve.key == "student.width"]
    squared = [curve for curve in curves if run.entry(curve.arms[0]).loss == "squared_error"]
    for curve in squared or curves:
        share = curve.others.get("data.label_noise.share", 0.0)
        about = {"run": run.name, "key": curve.key, "curve": curve.name, "base": curve.base, "failed": 0}
        for one in found[found["share"] == share].to_dict("records"):
            loss = "accuracy" if one["quantity"] == "accuracy" else "squared_error"
            known = {"value": one["value"], "quantity": one["quantity"], "estimate": one["estimate"]}
            rows.append({**about, **known, "decomposed": loss, "published": one["who"]})
    return rows


def line_looks(names: list[str]) -> dict[str, style.Look]:
    """A colour and a pattern for each curve, in its order."""
    return {
        name: style.Look(PALETTE[i % len(PALETTE)], "o", DASHES[i // len(PALETTE) % len(DASHES)], name)
        for i, name in enumerate(names)
    }


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run and key bias, variance and risk by each decomposition in a row, and the error beside the first."""
    frame = _shown(frame.assign(published=frame["published"].astype(object).fillna("")))  # as a CSV may have it
    blocks_of = list(dict.fromkeys(zip(frame["run"], frame["key"], strict=True)))
    several = frame["run"].nunique() > 1
    heads = [f"{run}: {WORDS.get(key, key)}" if several else f"over {WORDS.get(key, key)}" for run, key in blocks_of]
    counts = [frame[(frame["run"] == run) & (frame["key"] == key)]["decomposed"] for run, key in blocks_of]
    down = 4 // ABREAST_OF[style.narrow()]
    heights = [2.1 * down * sum(loss in set(there) for loss in UNITS) + 0.3 for there in counts]
    looked = line_looks(list(dict.fromkeys(frame["curve"])))
    marks = [legends.dot("x", who) for who in dict.fromkeys(frame["published"]) if who]
    marks += [legends.dot("o", FAILED, hollow=True)] * bool((frame["failed"] > 0).any())
    entries = [*([] if at_ends(looked) else legends.lines(looked, markers=True)), *marks]
    columns = 3 if max((len(entry.get_label()) for entry in entries), default=0) <= WIDEST_OF_THREE else 2
    figure, block_of = blocks.stacked(heads, heights, more=0.25 + 0.19 * -(-len(entries) // style.abreast(columns)))
    for (run, key), block in zip(blocks_of, block_of.values(), strict=True):
        part = frame[(frame["run"] == run) & (frame["key"] == key)]
        _draw_block(block, looks.put_on(part, looked, by="curve", hollow="failed"), key)
    legends.below(figure, entries, columns=columns)
    return figure


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are drawn: of each run and key at most `MOST_LINES` curves."""
    kept = [
        part[part["curve"].isin(most_apart(list(dict.fromkeys(part["curve"])), MOST_LINES))]
        for _, part in frame.groupby(["run", "key"], sort=False)
    ]
    return pd.concat(kept, ignore_index=True)


def at_ends(looked: dict[str, style.Look]) -> bool:
    """Whether curves are named at the ends of their lines: where their names are short and the screen is not narrow."""
    return not style.narrow() and max(map(len, looked)) <= WIDEST_AT_END


def _draw_block(block: Any, part: pd.DataFrame, key: str) -> None:
    losses = [loss for loss in UNITS if (part["decomposed"] == loss).any()]
    across = ABREAST_OF[style.narrow()]
    axes = block.subplots(4 * len(losses) // across, across, squeeze=False).reshape(len(losses), 4)
    for row, loss in zip(axes, losses, strict=True):
        for ax, (quantity, title) in zip(row, PANELS.items(), strict=False):
            there = part[(part["decomposed"] == loss) & (part["quantity"] == quantity)]
            _panel(ax, there, key, title, UNITS[loss] if quantity == "bias" else "")
    error = part[part["decomposed"] == "accuracy"]
    error = error.assign(
        estimate=100 * (1 - error["estimate"]), low=100 * (1 - error["high"]), high=100 * (1 - error["low"])
    )
    _panel(axes[0, 3], error, key, "Error (%)", "")
    looked = line_looks(list(dict.fromkeys(part["curve"])))
    own = error[error["published"] == ""]
    if at_ends(looked) and len(own):
        names = {name: look.label for name, look in looked.items()}
        lines.name_ends(axes[0, 3], own, names, x="value", line="curve", high=72 * HIGH)
    for row in axes[1:]:
        row[3].set_axis_off()
    for ax in axes[-1, :3]:
        ax.set_xlabel(WORDS.get(key, key))
    axes[0, 3].set_xlabel(WORDS.get(key, key))


def _panel(ax: Axes, rows: pd.DataFrame, key: str, title: str, unit: str) -> None:
    """One quantity over the key, a line with its band for every curve."""
    ax.set_title(title)
    ax.set_ylabel(unit)
    if rows.empty:
        ax.set_axis_off()
        return
    if is_geometric(rows["value"]):
        scales.doublings(ax, rows["value"], apart=TICKS_APART)
    marks, rows = rows[rows["published"] != ""], rows[rows["published"] == ""]
    limits = scales.limits(pd.concat([rows, marks]))
    failed = rows["hollow"].astype(bool)
    rows = rows.assign(low=rows["low"].mask(failed), high=rows["high"].mask(failed))  # these do not set the scale
    ax.scatter(marks["value"], marks["estimate"], s=16, marker="x", c=marks["color"].tolist(), linewidths=0.9, zorder=2)
    few = rows["curve"].nunique() <= MOST_BANDS
    look: dict[str, Any] = {} if few else {"band": 0.0, "bars": 0.8}
    lines.draw(ax, rows.assign(hollow=False), x="value", line="curve", markers=True, size=3.2, width=1.3, **look)
    beyond = ~rows["estimate"].between(*limits)
    inside = rows[failed & ~beyond]
    ax.scatter(inside["value"], inside["estimate"], s=14, c="white", edgecolors=inside["color"].tolist(), zorder=4)
    arrows.upright(ax, rows[failed & beyond], limits, x="value")
    ax.set_ylim(*limits)


def peaks(frame: pd.DataFrame) -> str:
    """Where the variance of each curve is largest, as a sentence with a space before it."""
    said = []
    frame = frame[frame["published"] == ""]
    own = frame["loss"].where(frame["loss"] == "squared_error", "cross_entropy")
    there = frame[(frame["quantity"] == "variance") & (frame["decomposed"] == own)]
    for names, part in there.groupby(["run", "key", "curve"], sort=False):
        run, key, curve = map(str, names)
        best = part.sort_values("estimate").iloc[-1]
        where = f"{run}, {curve}" if frame["run"].nunique() > 1 else curve
        said.append(
            f"{where}: {best['estimate']:.3f} ± {best['stderr']:.3f} at {WORDS.get(key, key)} {best['value']:g}"
            + (" (squared error)" if best["decomposed"] == "squared_error" else "")
        )
    return f" Largest variance, in nats with its standard error over replicas: {'; '.join(said)}." if said else ""


def _left_to_csv(frame: pd.DataFrame) -> str:
    """How many curves are drawn, as a sentence with a space before it; empty if all are."""
    every, there = (part.groupby(["run", "key"])["curve"].nunique().sum() for part in (frame, _shown(frame)))
    return f" Drawn are {there} of {every} curves; the CSV has all." if there < every else ""


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, decompositions, correction, intervals, peaks, what was published, failures, draw and data."""
    marked = " and ".join(who for who in dict.fromkeys(frame["published"]) if who)
    frame = frame[frame["published"] == ""]
    squared = (
        " Second row: the same of squared error, |probabilities - one-hot label|² summed over classes."
        if (frame["decomposed"] == "squared_error").any()
        else ""
    )
    return (
        f"n = {sizes(frame['n_samples'])} {' and '.join(dict.fromkeys(frame['split']))} rows after the last epoch, "
        "against the true labels at temperature 1; all arms of a sweep share rows, draws and splits. First row: terms "
        f"of cross-entropy, in nats, which sum to the risk.{squared} Terms are corrected for the finite number of "
        "replicas, so that small ones can be negative. Bands, or bars where there are more than "
        f"{MOST_BANDS} curves, are 95 % t intervals over replicas for these rows, not adjusted for their number; "
        f"standard errors over replicas and over rows are in the CSV.{_left_to_csv(frame)}"
        f"{peaks(frame)}"
        + (f" Crosses: {marked}, read off their plots, whose students were trained by squared error." if marked else "")
        + f"{drawn.hollow_note(frame)} {conditions_in(frame, runs)}"
    )


FIGURE = Figure(
    name="sweep",
    title="Bias, variance and risk over what was swept",
    how_to_read="Lower is better in every panel. Where the variance has a hump, the risk may fall, rise and fall "
    "again, if the hump is high beside the fall of the bias.",
    needs="arms of a `sweep`, with predictions of at least two replicas on test or validation rows",
    collect=collect,
    draw=draw,
    caption=caption,
)
