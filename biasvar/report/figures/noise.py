"""Additive noise on true labels: its scale against the indicators and the students' accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.analysis.indicators.learnability import additive_noise_indicators, learnability_exponent
from biasvar.report import style
from biasvar.report.arms import label_sources
from biasvar.report.arms.description import arm_label
from biasvar.report.figure import Figure
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
RAW, PROJECTED = "squared error, raw scores", "cross-entropy, projected"
INDICATORS = {"delta": ("Δ", "#0072b2", "o"), "gamma": ("γ", "#d55e00", "s"), "sum": ("Δ + γ", style.INK, "D")}
FITS = {RAW: ("#9c4fb3", "o"), PROJECTED: ("#009e73", "s")}


def collect(runs: list[Run]) -> pd.DataFrame:
    """Indicators by formula and as measured, and accuracies, by scale."""
    return pd.DataFrame([row for run in runs for row in _of_run(run)], columns=COLUMNS)


def _of_run(run: Run) -> list[dict[str, Any]]:
    arms = [arm for arm in label_sources.finished(run) if label_sources.kind(run, arm) == "noise"]
    raw = {str(run.arm(arm)["soft_label"]): arm for arm in arms if not label_sources.source(run, arm).get("project")}
    scales = sorted({float(label_sources.source(run, arm)["scale"]) for arm in raw.values()} - {0.0})
    if len(scales) < LEAST:
        return []
    found = _theory(run, scales)
    for name, arm in raw.items():
        found += _measured(run, name, label_sources.source(run, arm))
    for arm in arms:
        said = label_sources.source(run, arm)
        about: dict[str, Any] = {"run": run.name, "part": STUDENT, "arm": arm, "label": arm_label(run, arm)}
        about |= {"quantity": "accuracy", "scale": float(said["scale"]), "drawn": _drawn(said)}
        fit = PROJECTED if said.get("project") else RAW
        found.append({**about, "fit": fit, **label_sources.accuracy(run, arm)})
    truth = label_sources.truth_arm(run)
    if truth is not None:
        about = {"run": run.name, "part": TRUTH, "arm": truth, "label": arm_label(run, truth)}
        found.append({**about, **label_sources.accuracy(run, truth)})
    return found


def _drawn(said: dict[str, Any]) -> str:
    return REDRAWN if said.get("redraw") else FIXED


def _best(num_classes: int, scale: float) -> tuple[int, float, float, float]:
    """The k with the smallest Delta + gamma by formula, both there, and the largest kappa over k."""
    pairs = [additive_noise_indicators(num_classes, k, scale) for k in range(1, num_classes)]
    k = int(np.argmin([delta + gamma for delta, gamma in pairs]))
    return k + 1, *pairs[k], max(learnability_exponent(*pair) for pair in pairs)


def _theory(run: Run, scales: list[float]) -> list[dict[str, Any]]:
    found = []
    for scale in np.geomspace(scales[0] / 1.15, scales[-1] * 1.15, 60):
        k, delta, gamma, kappa = _best(run.num_classes, float(scale))
        values = {"delta": delta, "gamma": gamma, "sum": delta + gamma, "kappa": kappa}
        found += [
            {"run": run.name, "part": THEORY, "quantity": name, "scale": float(scale), "k": k, "estimate": value}
            for name, value in values.items()
        ]
    return found


def _measured(run: Run, name: str, said: dict[str, Any]) -> list[dict[str, Any]]:
    """Indicators of the raw scores at the k that is best by formula, so that both are of the same sets."""
    table, scale = label_indicators.table(run, name), float(said["scale"])
    k = _best(run.num_classes, scale)[0] if scale else 1
    row = table[table["k"] == k].iloc[0]
    best = table.iloc[int(table["kappa"].argmax())]
    found = []
    for quantity, one in (("delta", row), ("gamma", row), ("sum", row), ("kappa", best)):
        values = {"estimate": one[quantity], "low": one[f"{quantity}_low"], "high": one[f"{quantity}_high"]}
        about = {"run": run.name, "part": MEASURED, "quantity": quantity, "scale": scale, "drawn": _drawn(said)}
        found.append({**about, "k": int(one["k"]), "n": int(one["n"]), **{key: float(v) for key, v in values.items()}})
    return found


def draw(frame: pd.DataFrame) -> Drawing:
    """For each run two panels of indicators and one of accuracy."""
    runs = list(dict.fromkeys(frame["run"]))
    figure = style.new_figure(height=5.6 * len(runs))
    for block, run in zip(figure.subfigures(len(runs), 1, squeeze=False)[:, 0], runs, strict=True):
        part = frame[frame["run"] == run]
        top, bottom = block.subfigures(2, 1, height_ratios=[2.7, 2.9])
        first, second = top.subplots(1, 2)
        _indicators(first, part, list(INDICATORS))
        first.axhline(1.0, color=style.BAD, linewidth=1.0)
        first.set_title((f"{run}: " if len(runs) > 1 else "") + "Δ and γ of the scores, best k")
        top.legend(handles=_indicator_handles(), loc="outside lower left", ncols=5, columnspacing=1.2)
        _indicators(second, part, ["kappa"])
        second.set_title("Exponent κ, largest over k")
        ax = bottom.subplots()
        handles = _accuracy(ax, part)
        bottom.legend(handles=handles, loc="outside right upper")
        for one in (first, second, ax):
            one.set_xscale("log")
            scales = sorted(part.loc[part["part"] == STUDENT, "scale"].unique())
            one.set_xticks([scale for scale in scales if scale], [f"{scale:g}" for scale in scales if scale])
            one.minorticks_off()
            one.set_xlabel("scale of the noise")
    return figure


def _indicators(ax: Axes, part: pd.DataFrame, names: list[str]) -> None:
    for name in names:
        _, color, marker = INDICATORS.get(name, ("κ", "#00808a", "^"))
        curve = part[(part["part"] == THEORY) & (part["quantity"] == name)]
        for _, piece in curve.groupby("k", sort=False) if name in ("delta", "gamma") else [(0, curve)]:
            ax.plot(piece["scale"], piece["estimate"], color=color, linewidth=1.2)  # a jump where the best k changes
        for row in each(part[(part["part"] == MEASURED) & (part["quantity"] == name)]):
            x = row.scale * (0.97 if row.drawn == FIXED else 1.03)
            face = color if row.drawn == FIXED else "white"
            ax.plot([x, x], [row.low, row.high], color=color, linewidth=1.2, alpha=0.7)
            ax.plot(x, row.estimate, marker, color=color, markerfacecolor=face, markersize=4.5)
    ends = part.loc[(part["part"] == MEASURED) & part["quantity"].isin(names), ["estimate", "high"]]
    ax.set_ylim(-0.03, max(1.04, float(ends.to_numpy().max()) + 0.03))


def _indicator_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, marker=marker, markersize=4.5, linewidth=1.2, label=label)
        for label, color, marker in INDICATORS.values()
    ]
    hollow = {"linestyle": "none", "marker": "o", "color": style.MUTED, "markerfacecolor": "white"}
    return [*handles, Line2D([], [], label="redrawn", **hollow)]  # type: ignore[arg-type]


def _accuracy(ax: Axes, part: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for row in each(part[part["part"] == TRUTH]):
        ax.axhspan(100 * row.low, 100 * row.high, color=style.FAINT, linewidth=0)
        handles.append(Patch(color=style.FAINT, label="true labels"))
    students = part[part["part"] == STUDENT]
    for (fit, drawn), one in students.groupby(["fit", "drawn"], sort=False):
        one = one.sort_values("scale")
        color, marker = FITS[str(fit)]
        look: dict[str, Any] = {"color": color, "linestyle": "-" if drawn == FIXED else "--"}
        ax.fill_between(one["scale"], 100 * one["low"], 100 * one["high"], color=color, alpha=0.15, linewidth=0)
        look |= {"marker": marker, "markerfacecolor": color if drawn == FIXED else "white"}
        ax.plot(one["scale"], 100 * one["estimate"], **look)
        handles.append(Line2D([], [], label=f"{drawn}:\n{str(fit).replace(', ', ',' + chr(10))}", **look))
    ax.set_ylim(0, 103)
    ax.set_title("Students")
    ax.set_ylabel("test accuracy (%)")
    return handles


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """n, what is measured on what, intervals, the formula."""
    measured, students = frame[frame["part"] == MEASURED], frame[frame["part"] == STUDENT]
    return (
        "One-hot truth plus a normal error of that scale in every entry: fixed, drawn once for a sample (filled), or "
        "redrawn in every epoch (hollow; indicators of the first). Above: Δ and γ of the raw scores' top-k sets over "
        f"n = {sizes(int(n) for n in measured['n'].unique())} training rows, at the k at which Δ + γ is smallest by "
        "formula; curves by that formula (derived, not the paper's: normal errors, wrong labels alike), with jumps "
        "where that k changes; bars 95 % Clopper-Pearson for all k at once. Measured γ is the largest of all pairs of "
        "classes, so it lies above the curve. Red: Δ + γ = 1. Below: test accuracy on n = "
        f"{sizes(int(n) for n in students['n'].unique())} rows, means over "
        f"{sizes(int(n) for n in students['n_replicas'].unique())} replicas with 95 % t intervals; students fit the "
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
