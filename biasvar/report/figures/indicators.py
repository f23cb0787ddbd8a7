"""Unreliability and ambiguity of every soft label, against k."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis import effectiveness, tempered
from biasvar.report import style
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, lines, looks
from biasvar.report.statistics.changes import bare, each
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
COLORS = ("#1f78c1", "#9c4fb3", "#a87400", "#00808a", "#c2447a", "#4d4d4d")  # as arms have them, by their teachers
OF_REGIMES = {"fixed, disjoint rows": "#0b3c6f", "per replica": "#66acdf"}
SMALLEST: dict[str, Any] = {"color": style.INK, "marker": "o", "markersize": 3.4, "zorder": 5}
OTHER = style.Look("#a9a9a9", "", "-", "other teachers")
APART = (style.Look("#6b6b6b", "", (0, (5, 2)), ""), style.Look("#6b6b6b", "", (0, (2, 1.5)), ""))
BORDER = style.Look(style.BAD, "", "-", "Δ + γ = 1: below it at one k is enough")
STANDS_OUT = 0.09  # of the largest unreliability: how far a line that stands out starts from the next


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
    tables = [effectiveness(tempered(of_one[place], 1.0, values="logits"), labels, ks=ks) for of_one in logits]
    whole = pd.concat(tables, ignore_index=True)
    rows = []
    for k, at_k in whole.groupby("k"):
        first = at_k.iloc[0]
        several = len(at_k) > 1
        row = {
            "run": run.name,
            "teacher": name,
            "label": _label(str(entry.get("label") or name)),
            "regime": entry.get("regime"),
            "used_by": _used_by(run, name),
            "k": k,
            **{column: float(at_k[column].mean()) for column in MEANS},
            "worst_true": math.nan if several else first["worst_true"],
            "worst_wrong": math.nan if several else first["worst_wrong"],
            "ties": int(at_k["ties"].sum()),
            "n_samples": len(labels),
            "n_teachers": len(at_k),
            "accuracy": float(np.mean(logits[:, place].argmax(axis=2) == labels)),
        }
        for column in ("delta", "gamma"):
            low, high = first[f"{column}_low"], first[f"{column}_high"]
            if several:
                low, high = at_k[column].min(), at_k[column].max()
            row |= {f"{column}_low": float(low), f"{column}_high": float(high)}
        rows.append(row)
    return rows


def _label(label: str) -> str:
    return label if label.lower().startswith("teacher") else f"Teacher, {label}"


def _used_by(run: Run, name: str) -> str:
    """The most important role among the arms that this teacher teaches."""
    roles = [run.entry(arm).role for arm in run.arms if run.entry(arm).teacher == name]
    return next((role for role in ("main", "regime", "control", "teacher sweep") if role in roles), "")


def _smoothed(run: Run, k: int, n: int) -> dict[str, Any]:
    """Label smoothing: the truth is always first and every wrong label equally often among the rest, in expectation."""
    gamma = (k - 1) / (run.num_classes - 1)
    exact = {"delta": 0.0, "delta_low": 0.0, "delta_high": 0.0, "gamma": gamma, "gamma_low": gamma, "gamma_high": gamma}
    values = {**exact, "sum": gamma, "ties": n if k > 1 else 0, "n_samples": n, "n_teachers": 0, "accuracy": 1.0}
    return {"run": run.name, "teacher": SMOOTHED, "label": SMOOTHED, "used_by": "reference", "k": k, **values}


def draw(frame: pd.DataFrame) -> Drawing:
    """A row of three panels for each run."""
    frame = bare(frame)
    runs = list(dict.fromkeys(frame["run"]))
    across = style.abreast(len(PANELS))
    below = len(PANELS) // across
    figure, block_of = blocks.stacked(
        runs, [(2.5 if style.narrow() else 3.0) * below] * len(runs), more=1.6 if style.narrow() else 0.9
    )
    shown: dict[str, style.Look] = {}
    for run, block in block_of.items():
        rows = frame[frame["run"] == run]
        own = _looks(rows)
        rows = looks.put_on(rows, own, by="teacher").assign(thin=rows["teacher"].map(own).map(_thin).to_numpy())
        axes = block.subplots(below, across, squeeze=False).flat
        for ax, (quantity, title) in zip(axes, PANELS.items(), strict=True):
            _panel(ax, rows, quantity)
            ax.set_title(title)
            ax.set_xlabel("k (labels in the top set)")
        block.supylabel("probability over test rows", fontsize=9.5)
        shown |= {look.label: look for look in sorted(own.values(), key=lambda look: look == OTHER)}
    thin = [name for name, look in shown.items() if _thin(look)]
    entries = [
        *legends.lines({name: look for name, look in shown.items() if name not in thin}, markers=True),
        *legends.lines({name: shown[name] for name in thin}, width=1.2),
        *legends.lines({"": BORDER}),
        legends.dot("o", "smallest sum, which is what counts", color=style.INK, size=SMALLEST["markersize"]),
        legends.patch("#e4e4e4", "95 % over rows"),
    ]
    legends.below(figure, entries, columnspacing=1.4, handletextpad=0.8)
    return figure


def _looks(rows: pd.DataFrame) -> dict[str, style.Look]:
    """Colours for the teachers of main arms and of other regimes; the others are thin and grey."""
    labels = dict(zip(rows["teacher"], rows["label"], strict=True))
    chosen = list(dict.fromkeys(rows.loc[rows["used_by"].isin(["main", "regime"]), "teacher"]))
    own = dict.fromkeys(labels, OTHER) | {SMOOTHED: style.Look(style.INK, "", ":", SMOOTHED)}
    regimes = dict(zip(rows["teacher"], rows["regime"].astype(str), strict=True))
    others, spent = itertools.cycle(COLORS), set()
    for name in chosen:
        usual = OF_REGIMES.get(regimes[name])
        color = next(others) if usual is None or usual in spent else usual
        spent.add(color)
        own[name] = style.Look(color, style.regime_marker(regimes[name]), "-", str(labels[name]))
    apart = _standing_out(rows[rows["k"] == rows["k"].min()], {name for name in own if own[name] == OTHER})
    return own | {name: replace(look, label=labels[name]) for name, look in zip(apart, APART, strict=False)}


def _standing_out(start: pd.DataFrame, others: set[str]) -> list[str]:
    """Of the two grey lines that start at the highest unreliability those that start where no other line does."""
    delta = start.set_index("teacher")["delta"]
    least = STANDS_OUT * float(delta.max())
    highest = delta[delta.index.isin(others)].nlargest(len(APART)).index
    return [name for name in highest if (delta.drop(name) - delta[name]).abs().min() >= least]


def _thin(look: style.Look) -> bool:
    return look == OTHER or look.color == APART[0].color


def _panel(ax: Axes, rows: pd.DataFrame, quantity: str) -> None:
    """The quantity against k; intervals where the table has them."""
    bounds = {end: rows.get(f"{quantity}_{end}", rows[quantity]) for end in ("low", "high")}
    rows = rows.assign(estimate=rows[quantity], **bounds)
    thin = rows["thin"]
    lines.draw(ax, rows[thin], x="k", line="teacher", band=0.0, width=0.9)
    lines.draw(ax, rows[~thin], x="k", line="teacher", markers=True, band=0.12, width=1.6, size=5.0)
    if quantity == "sum":
        _judge(ax, rows[rows["teacher"] != SMOOTHED], max(1.15, 1.05 * float(rows["sum"].max())))
    else:
        ax.set_ylim(*{"delta": (-0.01, None), "gamma": (-0.03, 1.03)}[quantity])
    ax.set_xticks(sorted(rows["k"].unique()))


def _judge(ax: Axes, rows: pd.DataFrame, top: float) -> None:
    """The line at 1, a dot at each teacher's smallest sum, and above all lines how many are below 1."""
    ax.axhline(1.0, color=style.BAD, linewidth=1.2)
    smallest = rows.loc[rows.groupby("teacher")["sum"].idxmin()]
    for row in each(smallest):
        ax.plot(row.k, row.sum, **SMALLEST)
    below, count = int((smallest["sum"] < 1.0).sum()), len(smallest)
    ax.text(
        0.03, 0.985, f"{below} of {count} teachers have their\nblack dot below the red line", transform=ax.transAxes,
        va="top", fontsize=9,
    )  # fmt: skip
    ax.set_yticks(np.arange(0.0, top, 0.25))  # none beside the words
    ax.set_ylim(-0.03, 1.22 * top)


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
    "is judged by the one k at which their sum is smallest (black dot): where it is above the red line for other k "
    "does not count.",
    needs="the logits of its teachers on test rows with every class among them",
    collect=collect,
    draw=draw,
    caption=caption,
)
