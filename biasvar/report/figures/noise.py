"""Additive noise on true labels: its scale against the indicators and the students' accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.indicators.learnability import additive_noise_indicators, learnability_exponent
from biasvar.report import style
from biasvar.report.arms import soft_labels
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
from biasvar.report.marks import blocks, legends, lines, looks, scatter
from biasvar.report.statistics import label_indicators
from biasvar.report.statistics.changes import each
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "part", "arm", "label", "quantity", "scale", "drawn", "fit", "k", "estimate", "low", "high", "stderr",
    "n_replicas", "n",
]  # fmt: skip
THEORY, MEASURED, STUDENT, TRUTH = "theory", "measured", "students", "true labels"
LEAST = 3  # scales
FIXED, REDRAWN = "fixed", "redrawn"
APART = 1.04  # factor between the points of either way to draw and their scale
RAW, PROJECTED = "squared error, raw scores", "cross-entropy, projected"
PANELS = {"delta": "Unreliability Δ", "gamma": "Ambiguity γ", "sum": "Δ + γ", "kappa": "Exponent κ"}
DRAWN = {
    FIXED: style.Look("#d55e00", "o", "-", "noise drawn once for a row"),
    REDRAWN: style.Look("#0072b2", "^", "-", "noise redrawn every epoch"),
}
FORMULA = "#b5b5b5"
FITS = {RAW: "-", PROJECTED: "--"}


def collect(runs: list[Run]) -> pd.DataFrame:
    """Indicators by formula and as measured, and accuracies, by scale."""
    return pd.DataFrame([row for run in runs for row in _of_run(run)], columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    arms = [arm for arm in soft_labels.finished_arms(run) if soft_labels.kind(run, arm) == "noise"]
    raw = {str(run.entry(arm).soft_label): arm for arm in arms if not soft_labels.definition(run, arm).get("project")}
    scales = sorted({float(soft_labels.definition(run, arm)["scale"]) for arm in raw.values()} - {0.0})
    if len(scales) < LEAST:
        return []
    rows = _theory(run, scales)
    for name, arm in raw.items():
        rows += _measured(run, name, soft_labels.definition(run, arm))
    for arm in arms:
        said = soft_labels.definition(run, arm)
        about: dict[str, Any] = {"run": run.name, "part": STUDENT, "arm": arm, "label": arm_label(run, arm)}
        about |= {"quantity": "accuracy", "scale": float(said["scale"]), "drawn": _drawn(said)}
        fit = PROJECTED if said.get("project") else RAW
        rows.append({**about, "fit": fit, **soft_labels.accuracy(run, arm)})
    truth = soft_labels.truth_arm(run)
    if truth is not None:
        about = {"run": run.name, "part": TRUTH, "arm": truth, "label": arm_label(run, truth)}
        rows.append({**about, **soft_labels.accuracy(run, truth)})
    return rows


def _drawn(said: dict[str, Any]) -> str:
    return REDRAWN if said.get("redraw") else FIXED


def _best(num_classes: int, scale: float) -> tuple[int, float, float, float]:
    """The k with the smallest Delta + gamma by formula, both there, and the largest kappa over k."""
    pairs = [additive_noise_indicators(num_classes, k, scale) for k in range(1, num_classes)]
    k = int(np.argmin([delta + gamma for delta, gamma in pairs]))
    return k + 1, *pairs[k], max(learnability_exponent(*pair) for pair in pairs)


def _theory(run: Run, scales: list[float]) -> list[dict[str, Any]]:
    rows = []
    for scale in np.geomspace(scales[0] / 1.15, scales[-1] * 1.15, 60):
        k, delta, gamma, kappa = _best(run.num_classes, float(scale))
        values = {"delta": delta, "gamma": gamma, "sum": delta + gamma, "kappa": kappa}
        rows += [
            {"run": run.name, "part": THEORY, "quantity": name, "scale": float(scale), "k": k, "estimate": value}
            for name, value in values.items()
        ]
    return rows


def _measured(run: Run, name: str, said: dict[str, Any]) -> list[dict[str, Any]]:
    """Indicators of the raw scores at the k that is best by formula, so that both are of the same sets."""
    table, scale = label_indicators.table(run, name), float(said["scale"])
    k = _best(run.num_classes, scale)[0] if scale else 1
    row = table[table["k"] == k].iloc[0]
    best = table.iloc[int(table["kappa"].argmax())]
    rows = []
    for quantity, one in (("delta", row), ("gamma", row), ("sum", row), ("kappa", best)):
        values = {"estimate": one[quantity], "low": one[f"{quantity}_low"], "high": one[f"{quantity}_high"]}
        about = {"run": run.name, "part": MEASURED, "quantity": quantity, "scale": scale, "drawn": _drawn(said)}
        rows.append({**about, "k": int(one["k"]), "n": int(one["n"]), **{key: float(v) for key, v in values.items()}})
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run a panel for each indicator, and below one of students' accuracy."""
    runs = list(dict.fromkeys(frame["run"]))
    across = style.abreast(len(PANELS), on_narrow=2)
    heights = [2.1 * len(PANELS) / across, 2.9 + 0.2 * 5 / style.abreast(2)]
    figure, block_of = blocks.stacked(runs, [sum(heights) + blocks.HEAD] * len(runs))
    block: Any
    for run, block in block_of.items():
        rows = frame[frame["run"] == run]
        top, bottom = block.subfigures(2, 1, height_ratios=heights)
        axes = list(top.subplots(len(PANELS) // across, across, squeeze=False).flat)
        for ax, (quantity, title) in zip(axes, PANELS.items(), strict=True):
            _indicator(ax, rows[rows["quantity"] == quantity])
            ax.set_title(title)
        students = bottom.subplots()
        legends.below(bottom, _accuracy(students, rows), columns=style.abreast(2))
        ticks = [scale for scale in sorted(rows.loc[rows["part"] == STUDENT, "scale"].unique()) if scale]
        for ax in (*axes, students):
            ax.set_xscale("log")
            ax.set_xticks(ticks, [f"{scale:g}" for scale in ticks])
            ax.minorticks_off()
            ax.set_xlabel("scale of the noise")
    return figure


def _indicator(ax: Axes, rows: pd.DataFrame) -> None:
    """An indicator by formula as a grey line, with a jump where the best k changes, and as measured beside it."""
    theory, measured = rows[rows["part"] == THEORY], rows[rows["part"] == MEASURED]
    jumps = theory["k"].where(theory["quantity"].isin(["delta", "gamma"]), 0).astype(int)
    for _, piece in theory.groupby(jumps, sort=False):
        ax.plot(piece["scale"], piece["estimate"], color=FORMULA, linewidth=2.4, zorder=1)
    beside = measured.assign(scale=measured["scale"] * np.where(measured["drawn"] == REDRAWN, APART, 1 / APART))
    points = looks.put_on(beside, DRAWN, by="drawn")
    scatter.draw(ax, points, x="scale", y="estimate", low="low", high="high", size=6.0, edge=0.6)
    ax.set_ylim(-0.03, max(1.04, float(measured[["estimate", "high"]].to_numpy().max()) + 0.03))
    if set(rows["quantity"]) == {"sum"}:
        ax.axhline(1.0, color=style.BAD, linewidth=1.0)


def _accuracy(ax: Axes, rows: pd.DataFrame) -> list[Any]:
    """Students' accuracy by scale, a line for each way to draw the noise and to fit; returns entries of the legend."""
    students = rows[rows["part"] == STUDENT]
    students = looks.put_on(students.assign(line=students["fit"] + students["drawn"]), DRAWN, by="drawn", scale=100.0)
    students["linestyle"] = students["fit"].map(FITS)
    lines.draw(ax, students, x="scale", line="line", markers=True, band=0.15, size=5.0)
    shown = [(drawn, look) for drawn, look in DRAWN.items() if (students["drawn"] == drawn).any()]
    entries = legends.lines(dict(shown), markers=True)
    fits = {fit: style.Look(style.MUTED, "", line, fit) for fit, line in FITS.items() if (students["fit"] == fit).any()}
    entries += legends.lines(fits)
    entries += legends.lines({THEORY: style.Look(FORMULA, "", "-", "indicators by formula")}, width=2.4)
    for row in each(rows[rows["part"] == TRUTH]):
        ax.axhspan(100 * row.low, 100 * row.high, color=style.FAINT, linewidth=0)
        entries.append(legends.patch(style.FAINT, "students of true labels"))
    ax.set_ylim(0, 103)
    ax.set_title("Students")
    ax.set_ylabel("test accuracy (%)")
    return entries


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what is measured on what, intervals, the formula."""
    measured, students = frame[frame["part"] == MEASURED], frame[frame["part"] == STUDENT]
    return (
        "One-hot truth plus a normal error of that scale in every entry, drawn once for a row or redrawn in every "
        "epoch (indicators of the first). Above: Δ and γ of the raw scores' top-k sets over "
        f"n = {sizes(measured['n'])} training rows, at the k at which Δ + γ is smallest by "
        "formula; curves by that formula (derived, not the paper's: normal errors, wrong labels alike), with jumps "
        "where that k changes; bars 95 % Clopper-Pearson for all k at once. Measured γ is the largest of all pairs of "
        "classes, so it lies above the curve. Red: Δ + γ = 1. Below: test accuracy on n = "
        f"{sizes(students['n'])} rows, means over "
        f"{sizes(students['n_replicas'])} replicas with 95 % t intervals; students fit the "
        "raw scores by squared error, or the scores' projection to the simplex by cross-entropy."
        f"{_ends(students)} {conditions_in(frame, runs)}"
    )


def _ends(students: pd.DataFrame) -> str:
    """Accuracies at the largest scale, with a space before it."""
    said = []
    for run, part in students.groupby("run", sort=False):
        last = part[part["scale"] == part["scale"].max()]
        each_one = [
            f"{100 * row.estimate:.1f} % ({100 * row.low:.1f} to {100 * row.high:.1f}; {row.drawn}, {row.fit})"
            for row in each(last)
        ]
        where = f"At scale {last['scale'].iloc[0]:g}" + (f" of {run}" if students["run"].nunique() > 1 else "")
        said.append(f" {where}: {'; '.join(each_one)}.")
    return "".join(said)


FIGURE = Figure(
    name="noise",
    title="Additive noise: indicators and students by its scale",
    how_to_read="By formula Δ + γ stays below 1 at every scale, so the condition never fails; what falls is κ, and "
    "with it how much a row teaches. Measured Δ + γ lies higher, for γ is the largest of many pairs of classes. "
    "Redrawn noise averages out over epochs, fixed noise can be learned by heart.",
    needs="true labels with additive noise of three or more scales, students that fit the raw scores among them",
    collect=collect,
    draw=draw,
    caption=caption,
)
