"""The card's drawings: indicators by rule, co-occurrence, entropy, calibration, the worst samples as images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from biasvar.report import style
from biasvar.report.card.tabulate import CalibrationError, log_counts
from biasvar.report.marks import heat, images, masses, panels, reliability, scales

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.analysis.indicators.counts import SetCounts

BLUE, ORANGE = "#1f78c1", "#d55e00"
ACROSS = 6  # images in a row
INDICATORS = ("Unreliability Δ: truth left out", "Ambiguity γ: a wrong label let in", "Sum Δ + γ", "Exponent κ")
OVERALL, WORST = "over all classes", "of the worst class (sum), by class (κ)"
MOST_WITH_DECIMALS = 5  # classes whose cells have room for a decimal on a narrow screen
MOST_NUMBERED = 10  # classes whose cells have room for two digits on a narrow screen


def draw_indicators(table: pd.DataFrame) -> Drawing:
    """Delta, gamma, their sum and kappa of `effectiveness`'s table, against k or against the threshold."""
    by_k = bool(table["k"].notna().all())
    if by_k:
        x, ticks, name = table["k"].astype(int).to_numpy(), None, "k (labels in the top set)"
    else:
        x = np.arange(len(table))
        ticks = [f"≥ {value:g}" if value else "> 0" for value in table["threshold"]]
        name = "mass of the labels in the set"
    across = style.abreast(2)
    figure = style.new_figure(height=2.5 * 4 / across + 0.9)
    axes = figure.subplots(4 // across, across, sharex=not style.narrow(), squeeze=False)
    first, second = (BLUE, "-", "o"), (ORANGE, "--", "s")
    for ax, title, lines in zip(axes.flat, INDICATORS, (
        [("delta", OVERALL, first)],
        [("gamma", OVERALL, first), ("floor", "least γ that such sets can have", (style.MUTED, ":", ""))],
        [("sum", OVERALL, first), ("worst_class_sum", WORST, second)],
        [("kappa", OVERALL, first), ("kappa_classes", WORST, second)],
    ), strict=True):  # fmt: skip
        name_of_band = lines[0][0]
        if f"{name_of_band}_tie_low" in table and bool((table["ties"] > 0).any()):
            low, high = table[f"{name_of_band}_tie_low"], table[f"{name_of_band}_tie_high"]
            ax.fill_between(x, low, high, color="#e9e4d8", linewidth=0, label="what ties could make of it", zorder=1)
        for column, label, (color, line, marker) in lines:
            # Beside one another, so that intervals of both can be seen.
            moved = x + (0.1 if color == ORANGE else 0.0)
            ax.plot(moved, table[column], color=color, linestyle=line, marker=marker, label=label, zorder=3)
            if f"{column}_low" in table:
                ends = _around(table[column], table[f"{column}_low"], table[f"{column}_high"])
                ax.errorbar(moved, table[column], yerr=ends, color=color, fmt="none", zorder=2, elinewidth=1.1)
        ax.set_title(title)
        ax.set_ylim(*_limits(ax, title))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
        if ticks is None and len(x) > 12:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        else:
            ax.set_xticks(x, ticks)
        if len(x) == 1:
            ax.set_xlim(x[0] - 1, x[0] + 1)
        ax.set_xlabel(name if style.narrow() or ax in axes[-1] else "")
    axes.flat[2].axhline(1.0, color=style.BAD, linewidth=1.2, zorder=1, label="Δ + γ = 1")
    for ax in axes.flat[: 2 if style.narrow() else 1]:
        ax.set_ylabel("probability")
    handles = {said: handle for ax in axes.flat for handle, said in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=style.abreast(3))
    return figure


def _around(value: Any, low: Any, high: Any) -> np.ndarray:
    return np.maximum(np.stack([value - low, high - value]), 0.0)


def _limits(ax: Axes, title: str) -> tuple[float, float]:
    top = ax.get_ylim()[1]
    least = 1.08 if title.startswith("Sum") else 0.0
    top = max(top, least, 0.02)
    if title.startswith("Exponent"):
        top = min(max(top, 0.05), 1.03)
    return -0.03 * top, top


def draw_matrix(counts: SetCounts, classes: np.ndarray, names: list[str], rule: str) -> Drawing:
    """Pr(label j in the set | class c) in percent; wrong labels coloured by their largest, the truth's cells grey."""
    rates = 100.0 * counts.rates()[np.ix_(classes, classes)]
    size = len(classes)
    truth = np.eye(size, dtype=bool)
    top = float(np.max(rates[~truth]))
    short = [masses.short(names[c]) for c in classes]
    tall = 2.0 + 0.27 * size if style.narrow() else min(2.2 + 0.42 * size, 6.6)
    figure = style.new_figure(height=tall + 0.05 * max(map(len, short)))
    ax = figure.subplots()
    cells = pd.DataFrame(np.where(truth, np.nan, rates), index=short, columns=short)
    said = _in_two_digits if style.narrow() and size > MOST_WITH_DECIMALS else _percent
    texts, points = pd.DataFrame(rates, index=short, columns=short).map(said), 9 if size <= 12 else 8
    if style.narrow() and size > MOST_NUMBERED:
        texts[:] = ""
    picture = heat.draw(ax, cells, top=top, texts=texts, under=style.FAINT, size=points, ink=None)
    for i in range(size):
        ax.text(i + 0.5, i + 0.5, str(texts.iloc[i, i]), ha="center", va="center", fontsize=points, color=style.INK)
    ax.set_xlabel(f"label in the set ({rule})")
    ax.set_ylabel("true class")
    if top > 0.0:
        where = {"orientation": "horizontal", "aspect": 30} if style.narrow() else {"shrink": 0.7, "pad": 0.02}
        bar = figure.colorbar(picture, ax=ax, **where)
        bar.set_label(panels.fitted("wrong labels, % of the class's samples"))
        bar.outline.set_visible(False)
    return figure


def _percent(value: float) -> str:
    """A percentage, short enough for a cell; nothing for none.

    >>> _percent(12.3), _percent(1.83), _percent(0.0), _percent(99.97), _percent(100.0)
    ('12', '1.8', '', '>99.9', '100')
    """
    if value <= 0.0:
        return ""
    if value < 0.05:
        return "·"
    if 99.9 < value < 100.0:
        return ">99.9"
    return f"{value:.1f}" if value < 9.95 or 98.95 <= value < 100.0 else f"{value:.0f}"


def _in_two_digits(value: float) -> str:
    """A percentage of two digits, as far as it does not round to 100.

    >>> _in_two_digits(12.3), _in_two_digits(1.83), _in_two_digits(99.7), _in_two_digits(100.0)
    ('12', '1.8', '99+', '100')
    """
    return _percent(value) if value < 9.95 or value >= 100.0 else "99+" if value >= 99.5 else f"{value:.0f}"


def draw_entropy(table: pd.DataFrame) -> Drawing:
    """Entropies of samples whose largest entry is the truth, and of the others."""
    figure = style.new_figure(height=3.0)
    ax = figure.subplots()
    edges = np.append(table["low"], table["high"].iloc[-1])
    right, wrong = table["n_correct"].to_numpy(), (table["n"] - table["n_correct"]).to_numpy()
    logarithmic = log_counts(table)
    floor = 0.5 if logarithmic else 0.0
    for counts, color, label, fill in (
        (right, BLUE, "largest entry is the truth", True), (wrong, ORANGE, "largest entry is wrong", False),
    ):  # fmt: skip
        if counts.any():
            shown = np.maximum(counts, floor)
            ax.stairs(shown, edges, baseline=floor, fill=fill, color=color, alpha=0.35 if fill else 1.0, linewidth=0)
            ax.stairs(shown, edges, baseline=floor, color=color, linewidth=1.4, label=f"{label} ({counts.sum():,})")
    if logarithmic:
        scales.log_counts(ax)
    else:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    span = edges[-1]
    ax.axvline(span, color=style.MUTED, linestyle=":", linewidth=1.2)
    ax.text(span, 0.97, " ln K", transform=ax.get_xaxis_transform(), va="top", color=style.MUTED, fontsize=9)
    ax.set_xlim(-0.01 * span, 1.06 * span)
    ax.set_xlabel("entropy of the soft label, nats")
    ax.set_ylabel("samples" + (", log scale" if logarithmic else ""))
    figure.legend(loc="outside upper left", ncols=style.abreast(2))
    return figure


def draw_reliability(table: pd.DataFrame, error: CalibrationError) -> Drawing:
    """Accuracy against confidence in bins with intervals, and below how many samples each bin holds."""
    figure = style.new_figure(height=4.6, width=5.2)
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1.0])
    reliability.draw(ax, below, table, color=BLUE)
    title = f"ECE {error.value:.3f} ({error.low:.3f} to {error.high:.3f}), debiased {error.debiased:.3f}"
    ax.set_title(panels.fitted(title, 30))
    ax.set_ylabel("accuracy in the bin")
    below.set_ylabel("samples")
    below.set_xlabel("confidence: largest entry of the soft label")
    return figure


def draw_worst(table: pd.DataFrame, pictures: dict[int, np.ndarray]) -> Drawing:
    """A list of images for each kind; under each its id and the labels with most mass, the truth's in blue."""
    shown = table[table["place"] < ACROSS]
    kinds = list(shown.groupby("kind", sort=False))
    figure, places = images.lists(
        [(str(kind), mine["place"].nunique()) for kind, mine in kinds], across=ACROSS, on_narrow=ACROSS // 2,
        height=2.45, ratios=[1.25, 1.0], more=masses.LEGEND,
    )  # fmt: skip
    width = masses.room(figure, style.abreast(ACROSS, on_narrow=ACROSS // 2))
    top = max((float(np.max(image)) for image in pictures.values()), default=1.0)
    for of_kind, (_, mine) in zip(places, kinds, strict=True):
        for (upper, lower), (_, sample) in zip(of_kind, mine.groupby("place"), strict=True):
            images.draw(upper, pictures[int(sample["row"].iloc[0])], top=top)
            name = masses.short(str(sample["true_name"].iloc[0]), masses.WIDEST_BY_IMAGE)
            upper.set_title(name, fontsize=9.5, loc="center")
            upper.set_xlabel(f"id {sample['sample_id'].iloc[0]}", fontsize=9, labelpad=2)
            images.bare(lower)
            masses.draw(lower, list(sample["label_name"]), list(sample["mass"]),
                        list(sample["label"] == sample["true"]), width=width)  # fmt: skip
    masses.legend(figure, "mass of a soft label")
    return figure
