"""Skillful but bad teachers: their indicators through training, how well their students do, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.proportions import clopper_pearson
from biasvar.report import style
from biasvar.report.arms import soft_labels
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, forest, legends, lines, looks, panels, scales
from biasvar.report.statistics import label_indicators, stored
from biasvar.report.statistics.changes import each
from biasvar.report.statistics.estimates import TERMS, columns, interval_columns, term_change
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import signed, sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import SubFigure

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "rows", "teacher", "arm", "label", "kind", "fit", "quantity", "epoch", "k", "estimate",
    "low", "high", "stderr", "n_replicas", "n", "sum", "sum_low", "sum_high",
]  # fmt: skip
TEACHER, TRAINING, STUDENT = "teacher", "students through training", "students at the end"
ROWS = {"train": "rows that it labels", "test": "test rows"}
INDICATORS = {"delta": "unreliability", "gamma": "ambiguity"}
PANELS = {"accuracy": "accuracy (%)", "delta": "unreliability Δ,\nk = {k} (%)", "gamma": "ambiguity γ,\nk = {k} (%)"}
ENDS = {
    "sum": ("Δ\u00a0+\u00a0γ of its soft labels", 1.0),
    "accuracy": ("test accuracy (%)", 100.0),
    "bias": ("change of bias (nats)", 1.0),
    "variance": ("change of variance (nats)", 1.0),
}
"""Axis and factor of the panels on students at the end."""
GOOD = ("#1f78c1", "#009e73", "#56b4e9")
BAD = ("#d55e00", "#9c4fb3", "#a87400", "#cc79a7")
FITS = {"whole": ("o", "-"), "tempered": ("^", "-."), "sets": ("s", "--"), "first class": ("D", ":")}
NAMES = {
    "whole": "whole soft label",
    "tempered": "divided by τ",
    "sets": "any of its top k",
    "first class": "first class alone",
}
CHANCE = "random"
ON_TOP = (0, (1, 1.6))  # dots, through which other lines show
ROW = 0.23  # inches
TEACHES_ILL = 30.0  # %: a bad teacher, in the paper, is below it


def collect(runs: list[Run]) -> pd.DataFrame:
    """Rows of three parts: teachers by epoch, students by epoch, students at the end."""
    rows = [row for run in runs for row in _of_run(run)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    truth, arms = soft_labels.truth_arm(run), [arm for arm in soft_labels.finished_arms(run) if _shown(run, arm)]
    bad = [arm for arm in arms if soft_labels.kind(run, arm) == "bad teacher"]
    followed = _followed(run)
    if truth is None or not bad or not followed:
        return []
    rows = [row for name, frame in followed.items() for row in _teacher(run, name, frame)]
    if not rows:
        return []
    for arm in arms:
        about = {"run": run.name, "arm": arm, "label": arm_label(run, arm), "kind": soft_labels.kind(run, arm)}
        about |= {"fit": _fit(run, arm), "teacher": str(soft_labels.definition(run, arm).get("teacher") or "")}
        rows += [{**about, "part": TRAINING, **row} for row in _training(run, arm)]
        rows += [{**about, "part": STUDENT, **row} for row in _ends(run, arm, truth)]
    return rows


def _shown(run: Run, arm: str) -> bool:
    said = soft_labels.definition(run, arm)
    return soft_labels.kind(run, arm) in ("label", "teacher", "bad teacher", "random") and not said.get("labelled")


def _fit(run: Run, arm: str) -> str:
    if soft_labels.fit(run, arm) == soft_labels.CANDIDATES:
        return "sets"
    said = soft_labels.definition(run, arm)
    if said.get("hard"):
        return "first class"
    return "whole" if said.get("temperature") in (None, 1) else "tempered"


def _followed(run: Run) -> dict[str, pd.DataFrame]:
    """The teachers that were followed through training, the bad ones among them at least one."""
    said = (run.study or {}).get("teachers") or {}
    frames = {name: run.teacher_epochs(name) for name in said}
    followed = {name: frame for name, frame in frames.items() if frame is not None}
    return followed if any(said[name].get("bad") for name in followed) else {}


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
    rows = []
    for (split, epoch), one in part.groupby(["split", "epoch"]):
        n = int(one["n"].iloc[0])
        here = {**about, "rows": split, "epoch": epoch, "n": n, "n_replicas": len(one)}
        right = float(one["accuracy"].mean())
        low, high = clopper_pearson(np.array([round(right * n)]), np.array([n]), 0.05)
        rows.append({**here, "quantity": "accuracy", "estimate": right, "low": float(low[0]), "high": float(high[0])})
        for quantity, column in INDICATORS.items():
            ends = {"low": float(one[f"{column}_low"].min()), "high": float(one[f"{column}_high"].max())}
            rows.append({**here, "quantity": quantity, "estimate": float(one[column].mean()), **ends})
    return rows


def _training(run: Run, arm: str) -> list[dict[str, Any]]:
    frame = stored.metrics_of(run, arm, "test", "clean")
    return [
        {"quantity": "accuracy", "epoch": epoch, "n": int(part["n"].iloc[0]), **_interval(part["accuracy"])}
        for epoch, part in frame.groupby("epoch")
    ]


def _interval(values: Any) -> dict[str, Any]:
    found = interval_columns(mean_interval(np.asarray(values)))
    return found | {end: float(np.clip(found[end], 0.0, 1.0)) for end in ("low", "high")}


def _ends(run: Run, arm: str, truth: str) -> list[dict[str, Any]]:
    name, k = str(run.entry(arm).soft_label), run.entry(arm).setting("k")
    best: dict[Any, Any] = label_indicators.best(run, name)
    if _fit(run, arm) == "sets" and k:
        best = label_indicators.table(run, name).query("k == @k").iloc[0].to_dict()
    about = {"k": best["k"]}
    about |= {key: float(best[key]) for key in ("sum", "sum_low", "sum_high")}
    rows = [{**about, **soft_labels.accuracy(run, arm)}]
    for term in TERMS:
        row = term_change(run, arm, truth, term) if arm != truth else None
        if row is not None:
            rows.append({"quantity": term, **about, **columns(row), "n": row.n_samples})
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run: its teachers through training, its students through training, and the students at the end."""
    runs = list(dict.fromkeys(frame["run"]))
    parts = [_heights(frame[frame["run"] == run]) for run in runs]
    figure, block_of = blocks.stacked(runs, [sum(heights) + blocks.HEAD for heights in parts])
    block: Any
    for (run, block), heights in zip(block_of.items(), parts, strict=True):
        rows = frame[frame["run"] == run]
        colors = _colors(rows)
        top, middle, bottom = block.subfigures(3, 1, height_ratios=heights)
        _teachers(top, rows[rows["part"] == TEACHER], colors)
        students = rows[rows["part"] != TEACHER]
        students = looks.put_on(students, _student_looks(students, colors), by="arm")
        _through(middle, students[students["part"] == TRAINING], _titles(rows))
        _at_end(bottom, students[students["part"] == STUDENT])
    return figure


def _heights(rows: pd.DataFrame) -> list[float]:
    """Inches of the three parts of a run."""
    students = rows[rows["part"] == STUDENT]
    panels_of_teachers = len(PANELS) if style.narrow() else len(ROWS)
    shown, (where, _) = _titles(rows), _places(students)
    lines_of_legend = -(-(students["fit"].nunique() + 1) // style.abreast(3))
    return [
        0.6
        + (1.15 if style.narrow() else 1.5) * panels_of_teachers
        + 0.2 * (1 + rows.loc[rows["part"] == TEACHER, "teacher"].nunique()) / style.abreast(2),
        0.6 + (1.5 if style.narrow() else 1.95) * -(-len(shown) // _across(shown)) + 0.2 * lines_of_legend,
        0.3 + forest.height(where, len(ENDS), on_narrow=len(ENDS), row=ROW),
    ]


def _places(students: pd.DataFrame) -> tuple[forest.Places, list[str]]:
    """The rows of the students at the end, and their names: on a narrow screen above them, for four panels abreast."""
    names = [str(label) for label in students.drop_duplicates("arm")["label"]]
    return forest.places(students).named(names, above=True, row=ROW), names


def _titles(rows: pd.DataFrame) -> dict[str, str]:
    """What stands over the panel of each teacher's students; "random" are those of no teacher."""
    students = rows[(rows["part"] == TRAINING) & (rows["kind"] != "label")]
    named = rows[rows["part"] == TEACHER].drop_duplicates("teacher").set_index("teacher")["label"].to_dict()
    return {name: named.get(name, "Chance" if name == CHANCE else name) for name in dict.fromkeys(_source(students))}


def _source(students: pd.DataFrame) -> pd.Series[str]:
    return students["teacher"].where(students["kind"] != "random", CHANCE)


def _across(shown: Mapping[str, str]) -> int:
    return style.abreast(min(len(shown), 4), on_narrow=2)


def _colors(rows: pd.DataFrame) -> dict[str, str]:
    """The colour of each teacher of a run, good or bad."""
    named = rows.drop_duplicates("teacher")
    colors: dict[str, str] = {}
    for kind, hues in (("teacher", GOOD), ("bad teacher", BAD)):
        for place, name in enumerate(named.loc[named["kind"] == kind, "teacher"]):
            colors[name] = hues[place % len(hues)]
    return colors


def _student_looks(students: pd.DataFrame, colors: Mapping[str, str]) -> dict[str, style.Look]:
    """The look of every arm: its teacher's colour, marker and line by the way to fit; true labels lie on top."""
    own = {}
    for row in each(students.drop_duplicates("arm")):
        color = {"label": style.INK, "random": "#8a8a8a"}.get(row.kind) or colors.get(row.teacher, style.MUTED)
        marker, line = FITS[row.fit]
        own[row.arm] = style.Look(color, marker, ON_TOP if row.kind == "label" else line, row.label)
    return own


def _teachers(top: SubFigure, rows: pd.DataFrame, colors: Mapping[str, str]) -> None:
    """Accuracy and the two indicators by epoch, of each kind of rows: beside one another, on a narrow screen below."""
    own = {
        row.teacher: style.Look(colors[row.teacher], "", "-", row.label)
        for row in each(rows.drop_duplicates("teacher"))
    }
    dressed = looks.put_on(rows, own, by="teacher", scale=100.0)
    shape = (len(ROWS), len(PANELS))
    axes: Any = top.subplots(*(reversed(shape) if style.narrow() else shape), sharex=True, sharey=True)
    by_rows = axes.T if style.narrow() else axes
    k = int(rows["k"].iloc[0])
    across, down = [text.format(k=k) for text in PANELS.values()], list(ROWS.values())
    if style.narrow():
        across, down = [panels.fitted(text, 10) for text in down], across
    for ax, text in zip(axes[0], across, strict=True):
        ax.set_title(text, weight="normal")
    for ax, text in zip(axes[:, 0], down, strict=True):
        ax.set_ylabel(text)
    for line, split in zip(by_rows, ROWS, strict=True):
        for ax, quantity in zip(line, PANELS, strict=True):
            here = dressed[(dressed["rows"] == split) & (dressed["quantity"] == quantity)]
            lines.draw(ax, here, line="teacher", band=0.15, width=1.1)
            if here.empty:  # a run from before these rows were followed
                ax.text(0.5, 0.5, "not kept", transform=ax.transAxes, ha="center", va="center", color=style.MUTED)
        line[0].axhline(TEACHES_ILL, color=style.BAD, linewidth=1.2, linestyle=":")
    for ax in axes[-1]:
        ax.set_xlabel("epoch of the teacher")
    axes[0][0].set_ylim(-2, 102)
    axes[0][0].set_yticks([0, 25, 50, 75, 100])
    top.suptitle("Teachers", x=0.01, ha="left", weight="bold", fontsize=10)
    called = style.Look(style.BAD, "", ":", f"accuracy of {TEACHES_ILL:.0f} %: a bad teacher is below")
    legends.below(top, legends.lines({**own, "called bad": called}, width=1.2), columns=style.abreast(2))


def _through(middle: SubFigure, rows: pd.DataFrame, shown: Mapping[str, str]) -> None:
    """Accuracy by epoch, a panel for each teacher's students, those of true labels in all of them."""
    percent = rows.assign(**{name: 100.0 * rows[name] for name in ("estimate", "low", "high")})
    truth = percent[percent["kind"] == "label"]
    across = _across(shown)
    axes = middle.subplots(-(-len(shown) // across), across, sharex=True, sharey=True, squeeze=False)
    for ax, (source, title) in zip(axes.flat, shown.items(), strict=False):
        here = percent[(_source(percent) == source) & (percent["kind"] != "label")]
        lines.draw(ax, pd.concat([here, truth]), band=0.15, width=1.6)
        ax.set_ylim(-2, 102)
        ax.set_title(panels.fitted(title, 16), weight="normal")
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    panels.name_feet(axes, panels.fitted("epoch of the student", 16))
    for ax in axes[:, 0]:
        ax.set_ylabel("test accuracy (%)")
    middle.suptitle("Students through training", x=0.01, ha="left", weight="bold", fontsize=10)
    fits = [fit for fit in FITS if (rows.loc[rows["kind"] != "label", "fit"] == fit).any()]
    named = {fit: style.Look(style.MUTED, "", FITS[fit][1], NAMES[fit]) for fit in fits}
    named["label"] = style.Look(style.INK, "", ON_TOP, "true labels")
    legends.below(middle, legends.lines(named, width=1.6), columns=style.abreast(3), columnspacing=1.2)


def _at_end(bottom: SubFigure, rows: pd.DataFrame) -> None:
    """Indicators of what they learned from, accuracy, and terms less those of true labels, one row an arm."""
    where, names = _places(rows)
    first = rows.drop_duplicates("arm")
    axes = forest.panels(bottom, where, names, len(ENDS), on_narrow=len(ENDS))
    for ax, (quantity, (name, scale)) in zip(axes, ENDS.items(), strict=True):
        if quantity == "sum":
            here = first.assign(estimate=first["sum"], low=first["sum_low"], high=first["sum_high"])
            ax.axvline(1.0, color=style.BAD, linewidth=1.2, zorder=1)
        else:
            here = rows[rows["quantity"] == quantity]
        here = where.on(here.assign(**{end: scale * here[end] for end in ("estimate", "low", "high")}))
        forest.draw(ax, here, reference=0.0 if quantity in TERMS else None, size=6.5)
        scales.values(
            ax, style.panel_title(name, width=10 if style.narrow() else 18), ticks=style.abreast(4, on_narrow=2)
        )
        if quantity == "accuracy":
            ax.set_xlim(0, 100)
    bottom.suptitle("Students at the end", x=0.01, ha="left", weight="bold", fontsize=10)


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
    replicas = sizes(ends["n_replicas"])
    return (
        f"Above: accuracy, Δ and γ of each teacher's k most probable labels after each epoch, {' and '.join(where)} "
        "(bands: exact 95 % intervals over rows, γ's for all pairs of classes together); dotted: 30 %, below which "
        "the paper calls a teacher bad. Middle: students that learned from soft labels alone, on the same test rows, "
        "mean over "
        f"{replicas} replicas and 95 % t interval. Circles: cross-entropy with the whole soft label; triangles: the "
        "same of logits divided by τ; squares: the probability of any of its k most probable labels; diamonds: its "
        "first class alone. Below: after the last epoch; Δ + γ on training rows, the smallest over k, of "
        "sets at their k, with exact 95 % "
        "intervals; bias and variance, corrected, less those of the students of true labels, paired by replica, "
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
        ends_of_arm = {row.quantity: row for row in each(part)}
        own = teachers.get((run, part["teacher"].iloc[0]))
        if own is None or not {"bias", "variance"} <= set(ends_of_arm) or part["fit"].iloc[0] == "first class":
            continue
        reached = 100 * ends_of_arm["accuracy"].estimate
        text = f"{ends_of_arm['accuracy'].label}, {own:.0f} % itself on test rows: students {reached:.1f} %"
        for name in ("bias", "variance"):
            row = ends_of_arm[name]
            text += f", {name} {signed(row.estimate, 2)} ({signed(row.low, 2)} to {signed(row.high, 2)})"
        said.append(text)
    return f" {'; '.join(said)} nats." if said else ""


FIGURE = Figure(
    name="bad_teacher",
    title="Teachers that are mostly wrong, and their students",
    how_to_read="A bad teacher is mostly wrong about the first class, yet keeps the truth among its first few (low Δ) "
    "beside changing company (γ well below 1). Students do well if they end near the true labels; the last two "
    "panels show whether what they lose is bias or variance.",
    needs="a teacher trained to be wrong and followed through its training, students of its soft labels alone and of "
    "true labels",
    collect=collect,
    draw=draw,
    caption=caption,
)
