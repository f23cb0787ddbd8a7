"""Skillful but bad teachers: their indicators through training, how well their students do, and at what cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.proportions import clopper_pearson
from biasvar.report import rows, style
from biasvar.report.arms import label_sources
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.statistics import label_indicators, stored
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import TERMS, columns, interval_columns, term_change
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "rows", "teacher", "arm", "label", "kind", "fit", "quantity", "epoch", "k", "estimate",
    "low", "high", "stderr", "n_replicas", "n", "sum", "sum_low", "sum_high",
]  # fmt: skip
TEACHER, TRAINING, STUDENT = "teacher", "students through training", "students at the end"
ROWS = {"train": "rows that it labels", "test": "test rows"}
INDICATORS = {"delta": "unreliability", "gamma": "ambiguity"}
PANELS = {"accuracy": "accuracy (%)", "delta": "unreliability Δ (%)", "gamma": "ambiguity γ (%)"}
ENDS = {"accuracy": "accuracy (%)", "bias": "change of bias", "variance": "change of variance"}
GOOD = ("#1f78c1", "#009e73", "#56b4e9")
BAD = ("#d55e00", "#9c4fb3", "#a87400", "#cc79a7")
FITS = {"whole": ("o", "-"), "tempered": ("^", "-."), "sets": ("s", "--"), "first class": ("D", ":")}
FILLED = ("whole", "tempered")
TEACHERS, STUDENTS = 3.9, 2.6  # heights, inches
TEACHES_ILL = 30.0  # %: a bad teacher, in the paper, is below it


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of three parts: teachers by epoch, students by epoch, students at the end."""
    found = [row for run in runs for row in _of_run(run)]
    return pd.DataFrame(found, columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    truth, arms = label_sources.truth_arm(run), [arm for arm in label_sources.finished(run) if _shown(run, arm)]
    bad = [arm for arm in arms if label_sources.kind(run, arm) == "bad teacher"]
    followed = _followed(run)
    if truth is None or not bad or not followed:
        return []
    found = [row for name, frame in followed.items() for row in _teacher(run, name, frame)]
    if not found:
        return []
    for arm in arms:
        about = {"run": run.name, "arm": arm, "label": arm_label(run, arm), "kind": label_sources.kind(run, arm)}
        about |= {"fit": _fit(run, arm), "teacher": str(label_sources.source(run, arm).get("teacher") or "")}
        found += [{**about, "part": TRAINING, **row} for row in _training(run, arm)]
        found += [{**about, "part": STUDENT, **row} for row in _ends(run, arm, truth)]
    return found


def _shown(run: Run, arm: str) -> bool:
    said = label_sources.source(run, arm)
    return label_sources.kind(run, arm) in ("label", "teacher", "bad teacher", "random") and not said.get("labelled")


def _fit(run: Run, arm: str) -> str:
    if label_sources.measure(run, arm) == label_sources.CANDIDATES:
        return "sets"
    said = label_sources.source(run, arm)
    if said.get("hard"):
        return "first class"
    return "whole" if said.get("temperature") in (None, 1) else "tempered"


def _followed(run: Run) -> dict[str, pd.DataFrame]:
    """The teachers that were followed through training, the bad ones among them at least one."""
    said = (run.study or {}).get("teachers") or {}
    frames = {name: run.teacher_epochs(name) for name in said}
    found = {name: frame for name, frame in frames.items() if frame is not None}
    return found if any(said[name].get("bad") for name in found) else {}


def _top_k(run: Run) -> int:
    """The k that the first bad teacher was trained for."""
    said = (run.study or {}).get("teachers") or {}
    return next(int(one["bad"]["k"]) for one in said.values() if one.get("bad"))


def _teacher(run: Run, name: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Accuracy, Delta and gamma after each epoch; of several teachers their means, and the widest interval."""
    k = _top_k(run)
    said = run.study["teachers"][name] if run.study else {}
    part = frame[frame["split"].isin(list(ROWS)) & (frame["k"] == k)]
    label = str(run.manifest["teachers"][name].get("label") or name)
    about = {"run": run.name, "part": TEACHER, "teacher": name, "label": label, "k": k}
    about["kind"] = "bad teacher" if said.get("bad") else "teacher"
    found = []
    for (split, epoch), one in part.groupby(["split", "epoch"]):
        n = int(one["n"].iloc[0])
        here = {**about, "rows": split, "epoch": epoch, "n": n, "n_replicas": len(one)}
        right = float(one["accuracy"].mean())
        low, high = clopper_pearson(np.array([round(right * n)]), np.array([n]), 0.05)
        found.append({**here, "quantity": "accuracy", "estimate": right, "low": float(low[0]), "high": float(high[0])})
        for quantity, column in INDICATORS.items():
            ends = {"low": float(one[f"{column}_low"].min()), "high": float(one[f"{column}_high"].max())}
            found.append({**here, "quantity": quantity, "estimate": float(one[column].mean()), **ends})
    return found


def _training(run: Run, arm: str) -> list[dict[str, Any]]:
    frame = stored.metrics(run)
    frame = frame[(frame["arm"] == arm) & (frame["split"] == "test") & (frame["view"] == "clean")]
    return [
        {"quantity": "accuracy", "epoch": epoch, "n": int(part["n"].iloc[0]), **_interval(part["accuracy"])}
        for epoch, part in frame.groupby("epoch")
    ]


def _interval(values: Any) -> dict[str, Any]:
    return interval_columns(mean_interval(np.asarray(values)))


def _ends(run: Run, arm: str, truth: str) -> list[dict[str, Any]]:
    name, k = str(run.arm(arm)["soft_label"]), run.arm(arm).get("k")
    best: dict[Any, Any] = label_indicators.best(run, name)
    if _fit(run, arm) == "sets" and k:
        best = label_indicators.table(run, name).query("k == @k").iloc[0].to_dict()
    about = {"k": best["k"]}
    about |= {key: float(best[key]) for key in ("sum", "sum_low", "sum_high")}
    found = [{**about, **label_sources.accuracy(run, arm)}]
    for term in TERMS:
        row = term_change(run, arm, truth, term) if arm != truth else None
        if row is not None:
            found.append({"quantity": term, **about, **columns(row), "n": row.n_samples})
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run: its teachers through training, its students through training, and the students at the end."""
    runs = list(dict.fromkeys(frame["run"]))
    counts = [frame.loc[(frame["run"] == run) & (frame["part"] == STUDENT), "arm"].nunique() for run in runs]
    heights = [TEACHERS + STUDENTS + 0.85 + 0.23 * count for count in counts]
    figure = style.new_figure(height=sum(heights))
    blocks = figure.subfigures(len(runs), 1, squeeze=False, height_ratios=heights)[:, 0]
    for block, run, height in zip(blocks, runs, heights, strict=True):
        part = frame[frame["run"] == run]
        top, middle, bottom = block.subfigures(3, 1, height_ratios=[TEACHERS, STUDENTS, height - TEACHERS - STUDENTS])
        _teachers(top, part[part["part"] == TEACHER], (f"{run}: " if len(runs) > 1 else "") + "Teachers")
        _through(middle, part[part["part"] == TRAINING], part)
        _at_end(bottom, part[part["part"] == STUDENT], part)
    return figure


def _colors(part: pd.DataFrame) -> dict[Any, str]:
    """The colour of each teacher of a run, good or bad."""
    named = part.drop_duplicates("teacher")
    found: dict[Any, str] = {}
    for kind, hues in (("teacher", GOOD), ("bad teacher", BAD)):
        for place, name in enumerate(named.loc[named["kind"] == kind, "teacher"]):
            found[name] = hues[place % len(hues)]
    return found


def _look(row: Any, colors: dict[Any, str]) -> tuple[str, str, str]:
    color = {"label": style.INK, "random": "#8a8a8a"}.get(row.kind) or colors.get(row.teacher, style.MUTED)
    return (color, *FITS[row.fit])


def _teachers(top: Any, part: pd.DataFrame, title: str) -> None:
    colors = _colors(part)
    grid = top.subplots(len(ROWS), len(PANELS), sharex=True, sharey=True)
    k = int(part["k"].iloc[0])
    for place, (split, where) in enumerate(ROWS.items()):
        axes = grid[place]
        for ax, (quantity, name) in zip(axes, PANELS.items(), strict=True):
            here = part[(part["rows"] == split) & (part["quantity"] == quantity)]
            for teacher, one in here.groupby("teacher", sort=False):
                dashed = "--" if one["kind"].iloc[0] == "bad teacher" else "-"
                look: dict[str, Any] = {"color": colors[teacher], "linestyle": dashed, "linewidth": 1.1}
                ax.plot(one["epoch"], 100 * one["estimate"], label=one["label"].iloc[0], **look)
                low, high = 100 * one["low"], 100 * one["high"]
                ax.fill_between(one["epoch"], low, high, color=colors[teacher], alpha=0.15, linewidth=0)
            if here.empty:  # a run from before these rows were followed
                ax.text(0.5, 0.5, "not kept", transform=ax.transAxes, ha="center", va="center", color=style.MUTED)
            if place == 0:
                title_of = name if quantity == "accuracy" else name.replace(" (%)", f", k = {k} (%)")
                ax.set_title(title_of, weight="normal")
            else:
                ax.set_xlabel("epoch of the teacher")
        axes[0].set_ylabel(where)
        axes[0].axhline(TEACHES_ILL, color=style.BAD, linewidth=1.0, linestyle=":")
    grid[0][0].set_ylim(-2, 102)
    grid[0][0].set_yticks([0, 25, 50, 75, 100])
    top.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=10)
    handles, labels = grid[-1][0].get_legend_handles_labels()
    top.legend(handles, labels, loc="outside lower left", ncols=3, columnspacing=1.2)


def _through(middle: Any, part: pd.DataFrame, whole: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    colors, ax = _colors(whole), middle.subplots()
    handles = []
    for _, one in part.groupby("arm", sort=False):
        first = next(iter(each(one)))
        color, marker, line = _look(first, colors)
        over: dict[str, Any] = (
            {"linestyle": (0, (1, 1.6)), "zorder": 4} if first.kind == "label" else {"linestyle": line}
        )
        ax.plot(one["epoch"], 100 * one["estimate"], color=color, **over)
        ax.fill_between(one["epoch"], 100 * one["low"], 100 * one["high"], color=color, alpha=0.15, linewidth=0)
        face = color if first.fit in FILLED else "white"
        look: dict[str, Any] = {"color": color, "linestyle": over["linestyle"], "marker": marker}
        handles.append(Line2D([], [], label=first.label, markersize=5, markerfacecolor=face, **look))
    ax.set_ylim(-2, 102)
    ax.set_title("Students through training")
    ax.set_xlabel("epoch of the student")
    ax.set_ylabel("test accuracy (%)")
    middle.legend(handles=handles, loc="outside right upper", handlelength=3.0)


def _at_end(bottom: Any, part: pd.DataFrame, whole: pd.DataFrame) -> None:
    colors = _colors(whole)
    axes = bottom.subplots(1, len(ENDS), width_ratios=[1.0, 1.0, 1.0])
    arms = list(dict.fromkeys(part["arm"]))
    for ax, (quantity, name) in zip(axes, ENDS.items(), strict=True):
        scale = 100.0 if quantity == "accuracy" else 1.0
        for row in each(part[part["quantity"] == quantity]):
            color, marker, _ = _look(row, colors)
            y = arms.index(row.arm)
            ax.plot([scale * row.low, scale * row.high], [y, y], color=color, linewidth=1.7, solid_capstyle="butt")
            face = color if row.fit in FILLED else "white"
            ax.plot(scale * row.estimate, y, marker, color=color, markerfacecolor=face, markersize=5.5)
        rows.scale(ax, name if quantity == "accuracy" else f"{name} (nats)", ticks=4)
        ax.set_ylim(len(arms) - 0.4, -0.6)
        ax.set_yticks(range(len(arms)), [""] * len(arms))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        if quantity != "accuracy":
            ax.axvline(0.0, color=style.MUTED, linewidth=0.9, zorder=1)
    labels = part.drop_duplicates("arm").set_index("arm")
    axes[0].set_yticks(range(len(arms)), [f"{labels.loc[arm, 'label']} ({labels.loc[arm, 'sum']:.2f})" for arm in arms])
    axes[0].set_xlim(0, 100)
    axes[0].set_title("Students at the end (Δ + γ of what they learned from)", x=-0.9)


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what is drawn, the numbers that answer the question, what the changes are against."""
    ends = frame[frame["part"] == STUDENT]
    teachers = frame[frame["part"] == TEACHER]
    counts = {split: part["n"].astype(int) for split, part in teachers.groupby("rows")}
    where = [f"on n = {sizes(counts['test'])} test rows"] if "test" in counts else []
    if "train" in counts:
        where.insert(
            0, f"on the n = {sizes(counts['train'])} rows of the students' pool, to which it gives soft labels"
        )
    replicas = sizes(int(n) for n in ends["n_replicas"].unique())
    return (
        f"Above: accuracy, Δ and γ of each teacher's k most probable labels after each epoch, {' and '.join(where)} "
        "(bands: exact 95 % intervals over rows, γ's for all pairs of classes together); dotted: 30 %, below which "
        "the paper calls a teacher bad. Middle: students that learned from soft labels alone, on the same test rows, "
        "mean over "
        f"{replicas} replicas and 95 % t interval. Circles: cross-entropy with the whole soft label; triangles: the "
        "same of logits divided by τ; squares: the probability of any of its k most probable labels; diamonds: its "
        "first class alone. Below: after the last epoch, in brackets Δ + γ on training rows, the smallest over k, of "
        "sets at their k; bias and variance, corrected, less those of the students of true labels, paired by replica, "
        "95 % jackknife t interval."
        f"{_answer(frame)} {conditions_in(frame, runs)}"
    )


def _answer(frame: pd.DataFrame) -> str:
    """Of students of bad teachers: the teacher's and their accuracy, and what moved, with a space before it."""
    accuracy = frame[frame["part"] == TEACHER].query("quantity == 'accuracy' and rows == 'test'")
    last = accuracy.groupby(["run", "teacher"]).tail(1)
    teachers = {(row.run, row.teacher): 100 * row.estimate for row in each(last)}
    said = []
    ends = frame[(frame["part"] == STUDENT) & (frame["kind"] == "bad teacher")]
    for (run, _), part in ends.groupby(["run", "arm"], sort=False):
        found = {row.quantity: row for row in each(part)}
        own = teachers.get((run, part["teacher"].iloc[0]))
        if own is None or not {"bias", "variance"} <= set(found) or part["fit"].iloc[0] == "first class":
            continue
        reached = 100 * found["accuracy"].estimate
        text = f"{found['accuracy'].label}, {own:.0f} % itself on test rows: students {reached:.1f} %"
        for name in ("bias", "variance"):
            row = found[name]
            text += f", {name} {signed(row.estimate, 2)} ({signed(row.low, 2)} to {signed(row.high, 2)})"
        said.append(text)
    return f" {'; '.join(said)} nats." if said else ""


FIGURE = Figure(
    name="bad_teacher",
    title="Teachers that are mostly wrong, and their students",
    how_to_read="A bad teacher is mostly wrong about the first class, yet keeps the truth among its first few (low Δ) "
    "beside changing company (γ well below 1). Students do well if they end near the row of true labels; the last two "
    "panels show whether what they lose is bias or variance.",
    needs="a teacher trained to be wrong and followed through its training, students of its soft labels alone and of "
    "true labels",
    collect=collect,
    draw=draw,
    caption=caption,
)
