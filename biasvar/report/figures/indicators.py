"""Unreliability and ambiguity of every soft label, against k."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis import effectiveness, tempered
from biasvar.report import style
from biasvar.report.figure import Figure
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.text.captions import conditions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "teacher", "label", "regime", "used_by", "k", "delta", "delta_low", "delta_high", "gamma", "gamma_low",
    "gamma_high", "sum", "worst_class_sum", "kappa", "worst_true", "worst_wrong", "ties", "n_samples", "n_teachers",
    "accuracy",
]  # fmt: skip
MEANS = ("delta", "gamma", "sum", "worst_class_sum", "kappa")
MOST_K = 5
SMOOTHED = "smoothed true labels"
PANELS = {"delta": "unreliability Δ", "gamma": "ambiguity γ", "sum": "Δ + γ"}
COLORS = ("#1f78c1", "#d55e00", "#009e73", "#9c4fb3", "#a87400", "#00808a")


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, soft label and k."""
    rows = [row for run in runs for row in _of_run(run)]
    return style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)


def _of_run(run: Run) -> list[dict[str, Any]]:
    names = [name for name in run.manifest.get("teachers") or {} if _stored(run, name)]
    names.sort(key=lambda name: name != run.manifest.get("reference_teacher"))
    samples = run.samples
    held_out = samples[samples["split"] == "test"] if names else samples
    if not names or len(np.unique(held_out["label"])) < run.num_classes or run.num_classes < 3:
        return []
    ks = list(range(1, min(MOST_K, run.num_classes - 1) + 1))
    rows = [row for name in names for row in _of_teacher(run, name, held_out, ks)]
    return rows + [_smoothed(run, k, len(held_out)) for k in ks] if rows else []


def _stored(run: Run, name: str) -> bool:
    return (run.directory / "teachers" / f"{name}.parquet").is_file()


def _of_teacher(run: Run, name: str, held_out: pd.DataFrame, ks: list[int]) -> list[dict[str, Any]]:
    """The indicators on test rows; of teachers that differ by replica, their means and the range's ends."""
    teacher = run.teacher(name)
    entry = run.manifest["teachers"][name]
    ids = held_out["sample_id"].to_numpy()
    place = np.searchsorted(teacher.sample_ids, ids)
    if place.max(initial=0) >= len(teacher.sample_ids) or not np.array_equal(teacher.sample_ids[place], ids):
        return []
    labels = held_out["label"].to_numpy()
    logits = teacher.logits if teacher.logits.ndim == 3 else teacher.logits[None]
    members = teacher.member if teacher.member.ndim == 2 else teacher.member[None]
    if members[:, place].any() or not np.isfinite(logits[:, place]).all():
        return []  # in a teacher's own training rows the indicators say nothing of new ones
    # Temperature changes no order, so 1 serves for all.
    tables = [effectiveness(tempered(one[place], 1.0), labels, ks=ks) for one in logits]
    whole = pd.concat(tables, ignore_index=True)
    rows = []
    for k, part in whole.groupby("k"):
        first = part.iloc[0]
        several = len(part) > 1
        row = {
            "run": run.name,
            "teacher": name,
            "label": _label(str(entry.get("label") or name)),
            "regime": entry.get("regime"),
            "used_by": _used_by(run, name),
            "k": k,
            **{column: float(part[column].mean()) for column in MEANS},
            "worst_true": math.nan if several else first["worst_true"],
            "worst_wrong": math.nan if several else first["worst_wrong"],
            "ties": int(part["ties"].sum()),
            "n_samples": len(labels),
            "n_teachers": len(part),
            "accuracy": float(np.mean(logits[:, place].argmax(axis=2) == labels)),
        }
        for column in ("delta", "gamma"):
            ends = (
                (part[column].min(), part[column].max())
                if several
                else (first[f"{column}_low"], first[f"{column}_high"])
            )
            row[f"{column}_low"], row[f"{column}_high"] = map(float, ends)
        rows.append(row)
    return rows


def _label(label: str) -> str:
    return label if label.lower().startswith("teacher") else f"Teacher, {label}"


def _used_by(run: Run, name: str) -> str:
    """The most important role among the arms that this teacher teaches."""
    roles = [run.arm(arm).get("role") or "main" for arm in run.arms if run.arm(arm).get("teacher") == name]
    return next((role for role in ("main", "regime", "control", "teacher sweep") if role in roles), "")


def _smoothed(run: Run, k: int, n: int) -> dict[str, Any]:
    """Label smoothing: the truth is always first and every wrong label equally often among the rest, in expectation."""
    gamma = (k - 1) / (run.num_classes - 1)
    exact = {"delta": 0.0, "delta_low": 0.0, "delta_high": 0.0, "gamma": gamma, "gamma_low": gamma, "gamma_high": gamma}
    values = {**exact, "sum": gamma, "ties": n if k > 1 else 0, "n_samples": n, "n_teachers": 0, "accuracy": 1.0}
    return {"run": run.name, "teacher": SMOOTHED, "label": SMOOTHED, "used_by": "reference", "k": k, **values}


def draw(frame: pd.DataFrame) -> Drawing:
    """A row of three panels for each run."""
    _, frame = unstyled(frame)
    runs = list(dict.fromkeys(frame["run"]))
    figure = style.new_figure(height=3.0 * len(runs) + 0.9)
    axes = figure.subplots(len(runs), len(PANELS), squeeze=False)
    handles: dict[str, Any] = {}
    for row, run in zip(axes, runs, strict=True):
        part = frame[frame["run"] == run]
        for ax, (column, title) in zip(row, PANELS.items(), strict=True):
            handles |= _panel(ax, part, column)
            ax.set_title((f"{run}: " if len(runs) > 1 else "") + title)
            ax.set_xlabel("k (labels in the top set)")
        row[0].set_ylabel("probability over test rows")
    figure.legend(handles=list(handles.values()), loc="outside lower left", ncols=2, columnspacing=1.4)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, column: str) -> dict[str, Any]:
    handles = {}
    chosen = list(dict.fromkeys(part.loc[part["used_by"].isin(["main", "regime"]), "teacher"]))
    for teacher, one in part.groupby("teacher", sort=False):
        label = str(one["label"].iloc[0])
        if teacher == SMOOTHED:
            (line,) = ax.plot(one["k"], one[column], color=style.INK, linestyle=":", linewidth=1.4, label=label)
        elif teacher in chosen:
            place = chosen.index(str(teacher))
            color, marker = COLORS[place % len(COLORS)], "osD^vP"[place % 6]
            (line,) = ax.plot(one["k"], one[column], color=color, marker=marker, label=label, zorder=4)
            if column != "sum":
                low, high = one[f"{column}_low"], one[f"{column}_high"]
                ax.fill_between(one["k"], low, high, color=color, alpha=0.12, linewidth=0)
        else:
            (line,) = ax.plot(one["k"], one[column], color="#a9a9a9", linewidth=0.9, label="other teachers", zorder=2)
            label = "other teachers"
        handles[label] = line
    if column == "sum":
        ax.axhline(1.0, color=style.BAD, linewidth=1.2)
    top = {"delta": None, "gamma": 1.03, "sum": max(1.15, 1.05 * float(part["sum"].max()))}[column]
    if column == "delta":
        _name_extremes(ax, part, chosen)
    ax.set_ylim(-0.01 if column == "delta" else -0.03, top)
    ax.set_xticks(sorted(part["k"].unique()))
    return handles


def _name_extremes(ax: Axes, part: pd.DataFrame, chosen: list[str]) -> None:
    """Names the two thin lines that start highest, where nothing else is as near as its name would reach."""
    start = part[part["k"] == part["k"].min()]
    least = 0.09 * float(start["delta"].max())
    thin = start[~start["teacher"].isin([*chosen, SMOOTHED])]
    for row in each(thin.nlargest(2, "delta")):
        others = start.loc[start["teacher"] != row.teacher, "delta"]
        if ((others - row.delta).abs() < least).any():
            continue
        ax.annotate(
            str(row.label).removeprefix("Teacher, "), (row.k, row.delta), xytext=(6, 0), textcoords="offset points",
            fontsize=9, va="center", color=style.MUTED,
        )  # fmt: skip


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what the intervals are, ties."""
    real = frame[frame["teacher"] != SMOOTHED]
    sizes = " or ".join(f"{n:,}" for n in sorted(real["n_samples"].unique()))
    ties = int(real["ties"].sum())
    own = real.loc[real["n_teachers"] > 1, ["label", "n_teachers"]].drop_duplicates()
    several = "".join(f" {row.label}: mean of {row.n_teachers}, shaded from least to most." for row in each(own))
    below = real[real["sum"] < 1.0].groupby(["run", "teacher"]).size()
    return (
        f"Δ: share of test rows (n = {sizes}, in no teacher's training rows) whose true class is not among the k most "
        "probable; γ: the largest share, over true classes and wrong labels, of a class's rows that have that one "
        "wrong label among them. Temperature changes neither. Shaded: 95 % Clopper-Pearson over rows, for γ of the "
        f"largest of all pairs, which leans upwards.{several} Red: Δ + γ = 1, below which the labels are said to teach "
        f"well; {len(below)} of {real.groupby(['run', 'teacher']).ngroups} teachers lie below it at some k. "
        "Smoothed true labels: ties broken evenly, by formula. "
        + (f"{ties} ties at the edge of a set, drawn at random. " if ties else "No ties among the teachers' labels. ")
        + conditions(runs)
    )


FIGURE = Figure(
    name="indicators",
    title="Unreliability and ambiguity of the soft labels",
    how_to_read="Low is good. Unreliability falls with k, since more labels are let in; ambiguity rises. A soft label "
    "is judged by the k at which their sum is smallest.",
    needs="the logits of its teachers on test rows with every class among them",
    collect=collect,
    draw=draw,
    caption=caption,
)
