"""Incomplete supervision: pseudo-labels from round to round, and the measured map from one round to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import jackknife_interval, mean_interval, paired_mean_difference
from biasvar.report import style
from biasvar.report.arms import soft_labels
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, lines, looks, scatter
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import interval_columns
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "series", "labelled", "arm", "round", "replica", "before", "after", "estimate", "low", "high",
    "stderr", "n_replicas", "n", "moved",
]  # fmt: skip
ACCURACY, TRUTH, REPLICA, MEAN, GAIN, SLOPE = "students", "true labels", "replica", "mean", "gain", "slope"
COLORS = ("#d55e00", "#0072b2", "#009e73", "#9c4fb3", "#a87400", "#56b4e9")
MARKERS = "osD^vP"
MOST_CLOSE_UPS = 4
STILL = 0.0005  # the narrowest half width of a close-up


def collect(runs: list[Run]) -> pd.DataFrame:
    """Accuracy of students by round, and pseudo-labels' accuracy before and after each round."""
    return pd.DataFrame([row for run in runs for row in _of_run(run)], columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for chain in chains(run):
        rows += _of_chain(run, chain)
    truth = soft_labels.truth_arm(run)
    if rows and truth is not None:
        about = {"run": run.name, "part": TRUTH, "arm": truth, "series": arm_label(run, truth)}
        rows.append({**about, **soft_labels.accuracy(run, truth)})
    return rows


def chains(run: Run) -> list[list[str]]:
    """The arms of each series of rounds: one of few labels, then one taught by the students of the one before."""
    arms = soft_labels.finished_arms(run)
    after: dict[str, list[str]] = {}
    for arm in arms:
        said = soft_labels.definition(run, arm)
        if said["kind"] == "student":
            after.setdefault(str(said["arm"]), []).append(arm)
    paths: list[list[str]] = []

    def follow(path: list[str]) -> None:
        taught = after.get(path[-1], [])
        for arm in taught:
            follow([*path, arm])
        if not taught and len(path) > 1:
            paths.append(path)

    for arm in arms:
        said = soft_labels.definition(run, arm)
        if said["kind"] == "label" and said.get("labelled"):
            follow([arm])
    return paths


def _of_chain(run: Run, chain: list[str]) -> list[dict[str, Any]]:
    labelled = int(soft_labels.definition(run, chain[0])["labelled"])
    # Rounds of one start that differ otherwise (soft or hard, say) are named by their last arm.
    several = sum(other[0] == chain[0] for other in chains(run)) > 1
    series = arm_label(run, chain[-1] if several else chain[0])
    about = {"run": run.name, "series": series, "labelled": labelled}
    found = [
        {**about, "part": ACCURACY, "arm": arm, "round": i, **soft_labels.accuracy(run, arm)}
        for i, arm in enumerate(chain)
    ]
    answers = pseudo_accuracy(run, chain)
    if answers is None:
        return found
    values, rows = answers
    for i in range(len(values) - 1):
        step = {**about, "round": i + 1, "n": rows}
        before, after = values[i], values[i + 1]
        moved = int((before != after).sum())
        pairs = enumerate(zip(before, after, strict=True))
        found += [{**step, "part": REPLICA, "replica": r, "before": a, "after": b} for r, (a, b) in pairs]
        means = {"before": float(before.mean()), "after": float(after.mean())}
        found.append({**step, "part": MEAN, **means, **interval_columns(mean_interval(after))})
        gain = interval_columns(paired_mean_difference(after, before))
        found.append({**step, "part": GAIN, **means, "moved": moved, **gain})
    if np.ptp(values[0]) > 0 and len(values[0]) > 3:
        whole, deleted = _slope(values[0], values[1]), _deleted_slopes(values[0], values[1])
        interval = interval_columns(jackknife_interval(whole, deleted))
        found.append({**about, "part": SLOPE, "round": 1, "n": rows, **interval})
    return found


def pseudo_accuracy(run: Run, chain: list[str]) -> tuple[np.ndarray, int] | None:
    """Accuracy on the pool's unlabelled rows of what each round but the last taught the next, (rounds, R), and n.

    The last students' own comes from their record of the training rows, where there is one.
    """
    first = run.soft_labels(str(run.entry(chain[0]).soft_label))
    free = ~(first.values != 0).any(axis=-1)
    if first.values.ndim != 2 or not free.any():
        return None
    by_round = []
    for arm in chain[1:]:
        stored = run.soft_labels(str(run.entry(arm).soft_label))
        values = stored.values if stored.values.ndim == 3 else stored.values[None]
        by_round.append((values[:, free].argmax(axis=-1) == stored.labels[free]).mean(axis=1))
    last = _recorded(run, chain[-1], first.sample_ids[free])
    if last is not None and len(last) == len(by_round[0]):
        by_round.append(last)
    return (np.stack(by_round), int(free.sum())) if len(by_round) > 1 else None


def _recorded(run: Run, arm: str, ids: np.ndarray) -> np.ndarray | None:
    if (arm, "train", "clean") not in run.recorded():
        return None
    last = run.record_epochs(arm, "train", "clean")[-1]
    columns = ["sample_id", "replica", "label", "student_prediction"]
    frame = run.records(columns, epochs=last, samples=ids, arm=arm, split="train", view="clean")
    right = (frame["student_prediction"] == frame["label"]).groupby(frame["replica"])
    counts = right.size().to_numpy()
    return right.mean().to_numpy(dtype=float) if len(counts) and (counts == len(ids)).all() else None


def _slope(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.cov(before, after)[0, 1] / np.var(before, ddof=1))


def _deleted_slopes(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    kept = ~np.eye(len(before), dtype=bool)
    return np.array([_slope(before[one], after[one]) for one in kept])


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run: students by round, the map between rounds, and a close-up of the map for each number of labels."""
    runs = list(dict.fromkeys(frame["run"]))
    figure, block_of = blocks.stacked(runs, [sum(_heights(frame[frame["run"] == run])) for run in runs])
    block: Any
    for run, block in block_of.items():
        rows = frame[frame["run"] == run]
        series = rows.loc[rows["part"] == ACCURACY, "series"].drop_duplicates()
        own = {name: style.Look(COLORS[i % 6], MARKERS[i % 6], "-", name) for i, name in enumerate(series)}
        chains_of_run = looks.put_on(rows[rows["series"].isin(own)], own, by="series")
        of_part = {name: chains_of_run[chains_of_run["part"] == name] for name in (ACCURACY, REPLICA, MEAN, GAIN)}
        close = _close_ups(rows)
        top, bottom = block.subfigures(2, 1, height_ratios=_heights(rows)) if close else (block, None)
        across = style.abreast(2)
        first, second = top.subplots(2 // across, across)
        truth = rows[rows["part"] == TRUTH]
        _by_round(first, of_part[ACCURACY], truth)
        _map(second, of_part[REPLICA], of_part[MEAN])
        entries = legends.lines(own, markers=True, width=1.6)
        entries += [legends.patch(style.FAINT, "all true labels")] if len(truth) else []
        legends.below(top, entries, columns=5, columnspacing=1.2, handlelength=2.0)
        if bottom is not None:
            across = style.abreast(len(close), on_narrow=2)
            axes = bottom.subplots(-(-len(close) // across), across, squeeze=False)
            for place, ax in enumerate(axes.flat):
                if place >= len(close):
                    ax.set_axis_off()
                    continue
                name = close[place]
                _close_up(ax, of_part[GAIN][of_part[GAIN]["series"] == name].sort_values("round"))
                ax.set_title(style.panel_title(name, width=18) if style.narrow() else name, weight="normal")
                ax.set_ylabel("after (%)" if place % across == 0 else "")
            bottom.supxlabel("pseudo-labels' accuracy before (%)", fontsize=9.5)
    return figure


def _close_ups(rows: pd.DataFrame) -> list[str]:
    """The series of a run whose steps are drawn large."""
    gains = set(rows.loc[rows["part"] == GAIN, "series"])
    series = rows.loc[rows["part"] == ACCURACY, "series"].drop_duplicates()
    return [str(name) for name in series if name in gains][:MOST_CLOSE_UPS]


def _heights(rows: pd.DataFrame) -> tuple[float, float]:
    """Inches of the upper panels of a run, with their legend, and of its close-ups."""
    close = len(_close_ups(rows))
    if not style.narrow():
        return (3.5, 2.2) if close else (5.7, 0.0)
    entries = rows.loc[rows["part"] == ACCURACY, "series"].nunique() + 1
    return 5.6 + 0.21 * entries, 1.75 * -(-close // 2) + 0.3 * (close > 0)


def _by_round(ax: Axes, students: pd.DataFrame, truth: pd.DataFrame) -> None:
    percent = students.assign(**{name: 100.0 * students[name] for name in ("estimate", "low", "high")})
    lines.draw(ax, percent, x="round", line="series", markers=True, band=0.15, width=1.6, size=5.0)
    for row in each(truth):
        ax.axhspan(100 * row.low, 100 * row.high, color=style.FAINT, linewidth=0)
    ax.set_xticks(range(int(students["round"].max()) + 1))
    ax.set_title("Students by round")
    ax.set_xlabel("round (0: the labels alone)")
    ax.set_ylabel("test accuracy (%)")


def _map(ax: Axes, replicas: pd.DataFrame, means: pd.DataFrame) -> None:
    """Pseudo-labels' accuracy after a round against that before: small for replicas, large for their means."""
    if replicas.empty:
        ax.set_axis_off()
        return
    small, large = (
        part.assign(before=100.0 * part["before"], after=100.0 * part["after"]) for part in (replicas, means)
    )
    scatter.draw(ax, small, x="before", y="after", size=3.4, edge=0.0, alpha=0.45)
    scatter.draw(ax, large, x="before", y="after", size=8.0, edge=0.6, alpha=1.0)
    values = pd.concat([small, large])[["before", "after"]]
    _diagonal(ax, float(values.min().min()) - 3, float(values.max().max()) + 3)
    ax.set_title("The map from round to round")
    ax.set_xlabel("pseudo-labels' accuracy before (%)")
    ax.set_ylabel("after (%)")


def _percent(steps: pd.DataFrame) -> pd.DataFrame:
    return steps.assign(before=100.0 * steps["before"], after=100.0 * steps["after"])


def _diagonal(ax: Axes, low: float, high: float) -> None:
    """The line of no change, and axes that reach as far as it does."""
    ax.plot([low, high], [low, high], color=style.MUTED, linewidth=1.0, zorder=1)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")


def _close_up(ax: Axes, gains: pd.DataFrame) -> None:
    """The cobweb of the means, large: bars are intervals of what a round gains."""
    low, high = (gains["before"] + gains[end] for end in ("low", "high"))
    shown = gains.assign(
        before=100.0 * gains["before"], after=100.0 * gains["after"], low=100.0 * low, high=100.0 * high
    )
    before, after = shown["before"].to_numpy(), shown["after"].to_numpy()
    corners = np.stack([np.repeat(before, 2), np.stack([before, after], axis=1).ravel()], axis=1)
    path = np.vstack([corners, [after[-1], after[-1]]])
    ax.plot(path[:, 0], path[:, 1], color=shown["color"].iloc[0], linewidth=0.9, alpha=0.7)
    scatter.draw(ax, shown, x="before", y="after", low="low", high="high", size=6.0, width=1.5)
    values = shown[["before", "after", "low", "high"]].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    middle = (values.min() + values.max()) / 2
    half = 1.12 * max(100 * STILL, (values.max() - values.min()) / 2)
    _diagonal(ax, middle - half, middle + half)
    ax.locator_params(nbins=3)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what the map is, where it meets the diagonal, with intervals."""
    students, gains = frame[frame["part"] == ACCURACY], frame[frame["part"] == GAIN]
    replicas = sizes(students["n_replicas"])
    text = (
        f"Left: accuracy on n = {sizes(students['n'])} test rows by round, means over "
        f"{replicas} replicas with 95 % t intervals; in each round a new student learns from the few labels and from "
        "what the student of the round before says of the pool's other rows. "
    )
    if len(gains):
        text += (
            "Right: accuracy of those pseudo-labels before and after a round, on the pool's "
            f"{sizes(gains['n'])} rows without a label; small: replicas, large: means, line: "
            "no change. Below: the means close up, with the steps from round to round; bars: 95 % t interval of what a "
            f"round adds, paired by replica. {_crossings(frame)} "
        )
    return text + conditions_in(frame, runs)


def _crossings(frame: pd.DataFrame) -> str:
    """Where each series stays: the last gain and level with intervals, and how level depends on where it began."""
    said = []
    for (run, name), part in frame.groupby(["run", "series"], sort=False):
        gains = part[part["part"] == GAIN].sort_values("round")
        if gains.empty:
            continue
        last = gains.iloc[-1]
        level = part[(part["part"] == MEAN) & (part["round"] == last["round"])].iloc[0]
        where = f"{100 * level['estimate']:.1f} % ({100 * level['low']:.1f} to {100 * level['high']:.1f})"
        added = f"{signed(100 * last['estimate'], 2)} points"
        if last["moved"]:
            added += f" ({signed(100 * last['low'], 2)} to {signed(100 * last['high'], 2)})"
            crosses = last["low"] <= 0 <= last["high"]
            text = f"{name}: {'on' if crosses else 'not yet on'} the line at {where}, the last round adding {added}"
        else:
            text = f"{name}: on the line at {where}, where no replica moves any more"
        slope = part[part["part"] == SLOPE]
        for row in each(slope):
            text += f"; slope over replicas {row.estimate:.2f} ({row.low:.2f} to {row.high:.2f})"
        said.append((f"{run}, " if frame["run"].nunique() > 1 else "") + text)
    slopes = (
        " (Slope: of the first step; 1 means that a replica keeps the level it began with, so that every level is a "
        "fixed point and none draws the others to it.)"
    )
    return ". ".join(said) + "." + (slopes if (frame["part"] == SLOPE).any() else "")


FIGURE = Figure(
    name="rounds",
    title="Few labels: pseudo-labels from round to round",
    how_to_read="Above the line a round makes the pseudo-labels better, below it worse; where the map meets the line, "
    "rounds change nothing more.",
    needs="arms of few labels, each followed by rounds that learn from the students before",
    collect=collect,
    draw=draw,
    caption=caption,
)
