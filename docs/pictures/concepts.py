"""The pictures of docs/concepts.md, each computed by biasvar itself; `python docs/pictures/concepts.py` draws them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import biasvar
from biasvar.data import draw_members
from biasvar.report import style

CELLS = {"edgecolors": "white", "linewidth": 1, "rasterized": True}
WIDTH = 4.2  # inches: readable on a telephone
BLUE, ORANGE, GREEN, GREY = "#1f78c1", "#d55e00", "#009e73", "#777777"


def log_probabilities(of_truth: list[float], classes: int = 3) -> np.ndarray:
    """Logits (R, 1, C) of replicas that give the true class, 0, so much and share the rest evenly."""
    truth = np.array(of_truth)[:, None]
    return np.log(np.concatenate([truth, np.repeat((1 - truth) / (classes - 1), classes - 1, axis=1)], axis=1))[:, None]


def spread_on_a_line(ax: Any, of_truth: list[float], *, term: str) -> None:
    """The replicas' probabilities of the truth as dots, their mean prediction as a diamond, and one term in words."""
    found = biasvar.decompose(log_probabilities(of_truth), [0], errors=False)
    mean = float(np.exp(-found.bias[0]))
    ax.axhline(0, color=style.FAINT, zorder=0)
    ax.plot(of_truth, np.zeros(len(of_truth)), "o", color=BLUE, alpha=0.75, ms=8, clip_on=False)
    ax.plot([mean], [0], "D", color=style.INK, ms=7, clip_on=False)
    ax.plot([1], [0], marker="*", color=ORANGE, ms=15, clip_on=False, zorder=5)
    ax.set(xlim=(0, 1.02), ylim=(-1, 1.6), yticks=[])
    ax.grid(False)
    ax.spines["left"].set_visible(False)
    if term == "bias":
        ax.annotate("", (1, 0.55), (mean, 0.55), arrowprops={"arrowstyle": "<->", "color": ORANGE, "lw": 1.6})
        ax.text((1 + mean) / 2, 0.75, f"bias {found.bias[0]:.2f}", ha="center", color=ORANGE, weight="bold")
    else:
        low, high = min(of_truth), max(of_truth)
        ax.annotate("", (high, 0.55), (low, 0.55), arrowprops={"arrowstyle": "<->", "color": BLUE, "lw": 1.6})
        ax.text((low + high) / 2, 0.75, f"variance {found.variance[0]:.3f}", ha="center", color=BLUE, weight="bold")


def two_lines(samples: dict[str, list[float]], term: str) -> Any:
    figure = style.new_figure(height=2.9, width=WIDTH)
    axes = figure.subplots(2, 1, sharex=True)
    for ax, (title, of_truth) in zip(axes, samples.items(), strict=True):
        spread_on_a_line(ax, of_truth, term=term)
        ax.set_title(title)
    axes[1].set_xlabel("probability of the true class\n● replicas   ◆ mean prediction   ★ the label")
    return figure


def bias() -> Any:
    return two_lines(
        {"little bias": [0.86, 0.9, 0.93, 0.88], "much bias: all miss it together": [0.28, 0.33, 0.36, 0.3]}, "bias"
    )


def variance() -> Any:
    return two_lines(
        {
            "little variance": [0.56, 0.6, 0.63, 0.58],
            "much variance: each says something else": [0.15, 0.5, 0.75, 0.95],
        },
        "variance",
    )


def noise() -> Any:
    """The loss of one sample as the sum of its three terms, against its label and against people's votes."""
    logits = np.log([[[0.9, 0.06, 0.04]], [[0.5, 0.3, 0.2]], [[0.7, 0.2, 0.1]], [[0.8, 0.1, 0.1]]])
    targets = {
        "the label:\nall for class 0": [[1.0, 0.0, 0.0]],
        "people's votes:\n7 of 10 for class 0": [[0.7, 0.3, 0.0]],
    }
    figure = style.new_figure(height=2.4, width=WIDTH)
    ax = figure.subplots()
    for place, target in enumerate(targets.values()):
        found = biasvar.decompose(logits, target, errors=False)
        start = 0.0
        for name, color in (("noise", GREY), ("bias", ORANGE), ("variance", BLUE)):
            value = float(getattr(found, name)[0])
            ax.barh(place, value, left=start, color=color, height=0.55)
            if value > 0.1:
                ax.text(start + value / 2, place, f"{name}\n{value:.2f}", ha="center", va="center", color="white")
            elif value > 0:
                ax.text(start + value + 0.01, place, f"{name}\n{value:.2f}", va="center", color=color)
            start += value
    ax.set_yticks(range(2), list(targets))
    ax.set(xlabel="mean loss of the four replicas, nats", xlim=(0, 1.1), ylim=(1.5, -0.5))
    ax.grid(False)
    return figure


def regularization_sample() -> Any:
    """Where a sample is a regularization sample, over what teacher and student give the truth, at temperature 1."""
    at = np.linspace(0.01, 0.99, 41)
    teacher, student = (np.stack([part, 1 - part], axis=-1) for part in np.meshgrid(at, at))
    labels = np.zeros(teacher.shape[:-1], dtype=int)
    terms = biasvar.tradeoff_terms(np.log(student), np.log(teacher), labels, temperature=1.0)
    flagged = biasvar.regularization_samples(terms)
    weights = biasvar.wsl_weights(np.log(student), np.log(teacher), labels)
    figure = style.new_figure(height=3.9, width=WIDTH)
    ax = figure.subplots()
    filled = ax.contourf(at, at, weights, levels=np.linspace(0, 1, 11), cmap="cividis")
    ax.contour(at, at, flagged.astype(float), levels=[0.5], colors="white", linewidths=2)
    ax.text(
        0.3,
        0.82,
        "regularization samples:\nthe student is surer\nthan the teacher",
        color="white",
        ha="center",
        va="center",
    )
    ax.text(0.7, 0.2, "the teacher is surer\nthan the student", ha="center", va="center")
    ax.set(xlabel="teacher's probability of the true class", ylabel="student's", aspect="equal")
    ax.grid(False)
    figure.colorbar(filled, ax=ax, label="weight of the soft label in WSL", ticks=[0, 0.5, 1], shrink=0.8)
    return figure


SOFT_LABELS = np.array([
    [0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.2, 0.7, 0.1], [0.2, 0.5, 0.3], [0.3, 0.1, 0.6], [0.5, 0.4, 0.1],
])  # fmt: skip
LABELS = [0, 0, 1, 1, 2, 2]


def unreliability() -> Any:
    """Six soft labels, the two likeliest classes of each, and the one whose truth is not among them."""
    figure = style.new_figure(height=3.6, width=WIDTH)
    ax = figure.subplots()
    ax.imshow(SOFT_LABELS, cmap="Greys", vmin=0, vmax=2.6, aspect="auto")
    chosen = np.argsort(-SOFT_LABELS, axis=1)[:, :2]
    for row, label in enumerate(LABELS):
        for column, value in enumerate(SOFT_LABELS[row]):
            inside = column in chosen[row]
            ax.text(column, row, f"{value:.1f}", ha="center", va="center", weight="bold" if inside else "normal",
                    color=BLUE if inside else style.MUTED)  # fmt: skip
        color = GREEN if label in chosen[row] else style.BAD
        ax.add_patch(_box(label, row, color))
        ax.text(2.6, row, "in the set" if label in chosen[row] else "missed", va="center", color=color, weight="bold")
    delta = biasvar.unreliability(SOFT_LABELS, LABELS, k=2).value
    ax.set_xticks(range(3), ["class 0", "class 1", "class 2"])
    ax.set(yticks=[], ylabel="six soft labels", title=f"Δ = 1 missed of 6 = {delta:.2f}, for k = 2")
    ax.set_xlabel("blue: the two largest; framed: the true class")
    ax.grid(False)
    return figure


def ambiguity() -> Any:
    """How often each wrong label is in the set, by true class; the largest is the ambiguity."""
    chosen = np.argsort(-SOFT_LABELS, axis=1)[:, :2]
    share = np.array([[np.mean([other in row for row in chosen[np.array(LABELS) == true]]) for other in range(3)]
                      for true in range(3)])  # fmt: skip
    found = biasvar.ambiguity(SOFT_LABELS, LABELS, k=2)
    figure = style.new_figure(height=3.3, width=WIDTH)
    ax = figure.subplots()
    shown = np.where(np.eye(3, dtype=bool), np.nan, share)
    ax.imshow(shown, cmap="Oranges", vmin=0, vmax=1.4)
    for true in range(3):
        for other in range(3):
            ax.text(other, true, "" if true == other else f"{share[true, other]:.1f}", ha="center", va="center")
    worst = found.worst
    assert isinstance(worst, tuple)
    ax.add_patch(_box(worst[1], worst[0], style.BAD))
    ax.set_xticks(range(3), ["label 0", "label 1", "label 2"])
    ax.set_yticks(range(3), ["class 0", "class 1", "class 2"])
    ax.set(xlabel="share of the class's sets that hold this wrong label", ylabel="true class")
    ax.set_title(f"γ = the largest = {found.value:.2f}, for k = 2")
    ax.grid(False)
    return figure


def draw() -> Any:
    """Which of 24 rows each of four replicas trains on, by kind of draw."""
    kinds = {
        "disjoint": ("disjoint parts", None),
        "subsample": ("subsample of 12", 12),
        "bootstrap": ("bootstrap (darker: more than once)", None),
        "seed_only": ("all rows, another seed", None),
    }
    figure = style.new_figure(height=4.6, width=WIDTH)
    for ax, (kind, (title, rows)) in zip(figure.subplots(4, 1, sharex=True), kinds.items(), strict=True):
        members = draw_members(kind, np.arange(24), rows, replicas=range(4), seed=2026)
        ax.pcolormesh(
            np.minimum(members, 3), cmap=_colors("#f2f2f2", "#86bdea", BLUE, "#0b3c6f"), vmin=0, vmax=3, **CELLS
        )
        ax.set(yticks=[0.5, 3.5], yticklabels=["replica 1", "replica 4"], ylim=(4, 0), title=title)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelbottom=False)
    ax.set_xlabel("24 training rows")
    return figure


def teacher_regime() -> Any:
    """Whose rows the teacher was trained on, beside the rows of two students."""
    students = draw_members("subsample", np.arange(24), 12, replicas=range(2), seed=2026)
    nobody, reserved = np.zeros((1, 8), dtype=int), np.ones((1, 8), dtype=int)
    every = np.ones((1, 24), dtype=int)
    panels = {
        "one teacher, all training rows": [("teacher", every, nobody)],
        "one teacher, rows that no student has": [("teacher", 0 * every, reserved)],
        "a teacher per replica, the student's rows": [
            ("teacher 1", students[:1], nobody), ("teacher 2", students[1:], nobody),
        ],
    }  # fmt: skip
    figure = style.new_figure(height=4.9, width=WIDTH)
    for ax, (title, teachers) in zip(figure.subplots(3, 1, sharex=True), panels.items(), strict=True):
        lines = [("student 1", students[:1], nobody, 1), ("student 2", students[1:], nobody, 1)]
        lines += [(name, rows, kept, 2) for name, rows, kept in teachers]
        lines += [("", 0 * every, nobody, 0)] * (2 - len(teachers))
        cells = np.concatenate([np.concatenate([rows, kept], axis=1) * code for _, rows, kept, code in lines])
        ax.pcolormesh(cells, cmap=_colors("#f2f2f2", BLUE, ORANGE), vmin=0, vmax=2, **CELLS)
        ax.axvline(24, color=style.INK, lw=1.2)
        names = [name for name, *_ in lines if name]
        ax.set_yticks(np.arange(len(names)) + 0.5, names)
        ax.set(ylim=(len(names), 0), title=title)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    ax.set_xticks([12, 28], ["24 rows of the students' pool", "8 reserved"])
    return figure


def _box(column: int, row: int, color: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor=color, linewidth=2)


def _colors(*colors: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(colors)


PICTURES: dict[str, Callable[[], Any]] = {
    "bias": bias, "variance": variance, "noise": noise, "regularization_sample": regularization_sample,
    "unreliability": unreliability, "ambiguity": ambiguity, "draw": draw, "teacher_regime": teacher_regime,
}  # fmt: skip


def draw_all(folder: str | Path) -> list[Path]:
    """Draw every picture as NAME.svg into the folder; their paths."""
    paths = [Path(folder) / f"{name}.svg" for name in PICTURES]
    for path, picture in zip(paths, PICTURES.values(), strict=True):
        with style.context():
            figure = picture()
            style.lay_out(figure)
            style.save(figure, path, "svg")
    return paths


if __name__ == "__main__":
    print(*draw_all(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent), sep="\n")
