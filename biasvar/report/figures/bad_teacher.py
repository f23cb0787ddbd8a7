"""Skillful but bad teachers: their indicators through training, how well their students do, and at what cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis import effectiveness, tempered
from biasvar.analysis.bounds import clopper_pearson
from biasvar.analysis.comparison import interval_from, mean_interval
from biasvar.report import cache, rows, sources, style, taught
from biasvar.report.changes import change, each
from biasvar.report.figure import Figure, conditions_in, signed, sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "teacher", "arm", "label", "kind", "fit", "quantity", "epoch", "k", "estimate", "low", "high",
    "stderr", "n_replicas", "n", "sum", "sum_low", "sum_high",
]  # fmt: skip
TEACHER, TRAINING, STUDENT = "teacher", "students through training", "students at the end"
PANELS = {"accuracy": "accuracy (%)", "delta": "unreliability Δ (%)", "gamma": "ambiguity γ (%)"}
ENDS = {"accuracy": "accuracy (%)", "bias": "change of bias", "variance": "change of variance"}
GOOD = ("#1f78c1", "#009e73", "#56b4e9")
BAD = ("#d55e00", "#9c4fb3", "#a87400", "#cc79a7")
FITS = {"whole": ("o", "-"), "sets": ("s", "--"), "first class": ("D", ":")}
TEACHES_ILL = 30.0  # %: a bad teacher, in the paper, is below it


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of three parts: teachers by epoch, students by epoch, students at the end."""
    found = [row for run in runs for row in _of_run(run)]
    return pd.DataFrame(found, columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    truth, arms = sources.truth_arm(run), [arm for arm in sources.finished(run) if _shown(run, arm)]
    bad = [arm for arm in arms if sources.kind(run, arm) == "bad teacher"]
    followed = _followed(run)
    if truth is None or not bad or not followed:
        return []
    found = [row for name, frame in followed.items() for row in _teacher(run, name, frame)]
    if not found:
        return []
    for arm in arms:
        about = {"run": run.name, "arm": arm, "label": style.arm_label(run, arm), "kind": sources.kind(run, arm)}
        about |= {"fit": _fit(run, arm), "teacher": str(sources.source(run, arm).get("teacher") or "")}
        found += [{**about, "part": TRAINING, **row} for row in _training(run, arm)]
        found += [{**about, "part": STUDENT, **row} for row in _ends(run, arm, truth)]
    return found


def _shown(run: Run, arm: str) -> bool:
    said = sources.source(run, arm)
    return sources.kind(run, arm) in ("label", "teacher", "bad teacher", "random") and not said.get("labelled")


def _fit(run: Run, arm: str) -> str:
    if sources.measure(run, arm) == sources.CANDIDATES:
        return "sets"
    return "first class" if sources.source(run, arm).get("hard") else "whole"


def _followed(run: Run) -> dict[str, pd.DataFrame]:
    """The teachers that were followed through training, the bad ones among them at least one."""
    said = (run.study or {}).get("teachers") or {}
    frames = {name: run.teacher_epochs(name) for name in said}
    found = {name: frame for name, frame in frames.items() if frame is not None and (frame["split"] == "test").any()}
    return found if any(said[name].get("bad") for name in found) else {}


def _top_k(run: Run) -> int:
    """The k that the first bad teacher was trained for."""
    said = (run.study or {}).get("teachers") or {}
    return next(int(one["bad"]["k"]) for one in said.values() if one.get("bad"))


def _teacher(run: Run, name: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Accuracy, Delta and gamma on test rows after each epoch, means over a teacher's replicas if it has several."""
    k = _top_k(run)
    said = run.study["teachers"][name] if run.study else {}
    part = frame[(frame["split"] == "test") & (frame["k"] == k)]
    label = str(run.manifest["teachers"][name].get("label") or name)
    about = {"run": run.name, "part": TEACHER, "teacher": name, "label": label, "k": k}
    about["kind"] = "bad teacher" if said.get("bad") else "teacher"
    found = []
    for epoch, one in part.groupby("epoch"):
        n = int(one["n"].iloc[0])
        for quantity, column in (("accuracy", "accuracy"), ("delta", "unreliability"), ("gamma", "ambiguity")):
            value = float(one[column].mean())
            row = {**about, "quantity": quantity, "epoch": epoch, "estimate": value, "n": n, "n_replicas": len(one)}
            if quantity != "gamma":
                low, high = clopper_pearson(np.array([round(value * n)]), np.array([n]), 0.05)
                row |= {"low": float(low[0]), "high": float(high[0])}
            elif epoch == part["epoch"].max():
                row |= _last_gamma(run, name, k)
            found.append(row)
    return found


def _last_gamma(run: Run, name: str, k: int) -> dict[str, float]:
    """The interval of gamma, which needs counts by class: from the logits of the finished teacher, if it is one."""
    teacher = run.teacher(name)
    if teacher.logits.ndim == 3:
        return {}
    held_out = run.samples[run.samples["split"] == "test"]
    place = np.searchsorted(teacher.sample_ids, held_out["sample_id"].to_numpy())
    soft = tempered(teacher.logits[place], 1.0)
    found = effectiveness(soft, held_out["label"].to_numpy(), ks=[k]).iloc[0]
    return {"low": float(found["gamma_low"]), "high": float(found["gamma_high"])}


def _training(run: Run, arm: str) -> list[dict[str, Any]]:
    frame = cache.metrics(run)
    frame = frame[(frame["arm"] == arm) & (frame["split"] == "test") & (frame["view"] == "clean")]
    return [
        {"quantity": "accuracy", "epoch": epoch, "n": int(part["n"].iloc[0]), **_interval(part["accuracy"])}
        for epoch, part in frame.groupby("epoch")
    ]


def _interval(values: Any) -> dict[str, Any]:
    return sources.numbers(mean_interval(np.asarray(values)))


def _ends(run: Run, arm: str, truth: str) -> list[dict[str, Any]]:
    name, k = str(run.arm(arm)["soft_label"]), run.arm(arm).get("k")
    best: dict[Any, Any] = taught.best(run, name)
    if _fit(run, arm) == "sets" and k:
        best = taught.table(run, name).query("k == @k").iloc[0].to_dict()
    about = {"n": sources.test_rows(run), "k": best["k"]}
    about |= {key: float(best[key]) for key in ("sum", "sum_low", "sum_high")}
    found = [{"quantity": "accuracy", **about, **sources.level(run, arm)}]
    moved = change(run, arm, truth) if arm != truth else None
    if moved is not None and moved.change.group_counts is not None:
        groups = len(moved.change.group_counts)
        for quantity in ("bias", "variance"):
            total = getattr(moved.totals, quantity)
            interval = interval_from(total.value, total.stderr_replicas, groups - 1, total.n_replicas)
            found.append({"quantity": quantity, **about, **sources.numbers(interval), "n": total.n_samples})
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run: its teachers through training, its students through training, and the students at the end."""
    runs = list(dict.fromkeys(frame["run"]))
    counts = [frame.loc[(frame["run"] == run) & (frame["part"] == STUDENT), "arm"].nunique() for run in runs]
    heights = [2.35 + 2.6 + 0.85 + 0.23 * count for count in counts]
    figure = style.new_figure(height=sum(heights))
    blocks = figure.subfigures(len(runs), 1, squeeze=False, height_ratios=heights)[:, 0]
    for block, run, height in zip(blocks, runs, heights, strict=True):
        part = frame[frame["run"] == run]
        top, middle, bottom = block.subfigures(3, 1, height_ratios=[2.35, 2.6, height - 4.95])
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
    axes = top.subplots(1, 3)
    k = int(part["k"].iloc[0])
    for ax, (quantity, name) in zip(axes, PANELS.items(), strict=True):
        for place, (teacher, one) in enumerate(part[part["quantity"] == quantity].groupby("teacher", sort=False)):
            color = colors[teacher]
            dashed = "--" if one["kind"].iloc[0] == "bad teacher" else "-"
            ax.plot(one["epoch"], 100 * one["estimate"], color=color, linestyle=dashed, label=one["label"].iloc[0])
            if quantity == "gamma":
                last = one.iloc[-1]
                at = last.epoch + 3.5 * place
                ax.plot([at, at], [100 * last.low, 100 * last.high], color=color, linewidth=2.2, solid_capstyle="butt")
            else:
                ax.fill_between(one["epoch"], 100 * one["low"], 100 * one["high"], color=color, alpha=0.15, linewidth=0)
        ax.set_ylim(-2, 102)
        ax.set_yticks([0, 25, 50, 75, 100])
        ax.set_xlabel("epoch of the teacher")
        ax.set_title(name if quantity == "accuracy" else name.replace(" (%)", f", k = {k} (%)"), weight="normal")
    axes[0].axhline(TEACHES_ILL, color=style.BAD, linewidth=1.0, linestyle=":")
    top.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
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
        face = color if first.fit == "whole" else "white"
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
            face = color if row.fit == "whole" else "white"
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
    tested = sizes(int(n) for n in teachers["n"].unique())
    return (
        f"Above: accuracy, Δ and γ of each teacher's k most probable labels on n = {tested} test rows after each epoch "
        "(bands: 95 % Clopper-Pearson over rows; γ, the largest of all pairs, has its interval at the last epoch); "
        "dotted: 30 %, below which the paper calls a teacher bad. Middle: students that learned from soft labels alone "
        f"on the same test rows, mean over {sizes(int(n) for n in ends['n_replicas'].unique())} replicas and 95 % t "
        "interval. Filled: cross-entropy with the whole soft label; squares: the probability of any of its k most "
        "probable labels; diamonds: its first class alone. Below: after the last epoch, in brackets Δ + γ on training "
        "rows, the smallest over k, of sets at their k; bias and variance, corrected, less those of the students of "
        f"true labels, paired by replica, 95 % jackknife t interval.{_answer(frame)} {conditions_in(frame, runs)}"
    )


def _answer(frame: pd.DataFrame) -> str:
    """Of students of bad teachers: the teacher's and their accuracy, and what moved, with a space before it."""
    last = frame[frame["part"] == TEACHER].query("quantity == 'accuracy'").groupby(["run", "teacher"]).tail(1)
    teachers = {(row.run, row.teacher): 100 * row.estimate for row in each(last)}
    said = []
    ends = frame[(frame["part"] == STUDENT) & (frame["kind"] == "bad teacher")]
    for (run, _), part in ends.groupby(["run", "arm"], sort=False):
        found = {row.quantity: row for row in each(part)}
        own = teachers.get((run, part["teacher"].iloc[0]))
        if own is None or not {"bias", "variance"} <= set(found) or part["fit"].iloc[0] == "first class":
            continue
        text = f"{found['accuracy'].label}, {own:.0f} % itself: students {100 * found['accuracy'].estimate:.1f} %"
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
