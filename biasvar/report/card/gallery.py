"""The worst samples as images, each with the labels that its soft label names most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.card.collect import Samples, Worst

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

ACROSS = 6
LABELS = 3
TRUE_COLOR, OTHER_COLOR = "#7fb6e6", "#d9d9d9"


def worst_table(worst: tuple[Worst, ...], samples: Samples, names: list[str]) -> pd.DataFrame:
    """One row per kind, sample and label it names most (the truth among them): what the pictures and the page show."""
    rows: list[dict[str, Any]] = []
    for one in worst:
        for place, (row, value, soft) in enumerate(zip(one.rows, one.values, one.soft_labels, strict=True)):
            truth = int(samples.labels[row])
            order = np.argsort(-soft, kind="stable")
            listed = [label for label in order[:LABELS].tolist() if soft[label] != 0.0 or label == truth]
            if truth not in listed:
                listed.append(truth)
            rank = int(np.flatnonzero(order == truth)[0]) + 1
            about = {"kind": one.title, "place": place, "row": int(row), "sample_id": int(samples.ids[row]),
                     "true": truth, "true_name": names[truth], "measure": one.measure, "value": float(value),
                     "rank_of_truth": rank}  # fmt: skip
            rows += [
                {**about, "label": label, "label_name": names[label], "mass": float(soft[label])} for label in listed
            ]
    return pd.DataFrame(rows)


def draw_gallery(table: pd.DataFrame, images: dict[int, np.ndarray]) -> Drawing:
    """A row of images for each kind; under each the labels with most mass, the truth's in blue."""
    kinds = list(dict.fromkeys(table["kind"]))
    figure = style.new_figure(height=2.55 * len(kinds) + 0.1)
    parts: Any = figure.subfigures(len(kinds), 1, squeeze=False)
    top = max((float(np.max(image)) for image in images.values()), default=1.0)
    for part, kind in zip(parts[:, 0], kinds, strict=True):
        part.suptitle(kind, x=0.01, ha="left", weight="bold", fontsize=10)
        axes = part.subplots(2, ACROSS, squeeze=False, height_ratios=[1.25, 1.0])
        mine = table[(table["kind"] == kind) & (table["place"] < ACROSS)]
        for column in range(ACROSS):
            upper, lower = axes[:, column]
            one = mine[mine["place"] == column]
            for ax in (upper, lower):
                ax.grid(visible=False)
                ax.set_xticks([])
                ax.set_yticks([])
                for side in ax.spines.values():
                    side.set_visible(False)
            if len(one):
                _picture(upper, images[int(one["row"].iloc[0])], top)
                upper.set_title(_clipped(str(one["true_name"].iloc[0])), fontsize=9.5, loc="center")
                _bars(lower, one)
    return figure


def _picture(ax: Any, image: np.ndarray, top: float) -> None:
    if image.ndim == 3:
        scale = 255.0 if top > 1.0 else 1.0
        ax.imshow(np.clip(image.astype(np.float64) / scale, 0.0, 1.0), interpolation="nearest")
    else:
        ax.imshow(image, cmap="gray_r", vmin=0.0, vmax=max(top, 1e-12), interpolation="nearest")


def _bars(ax: Any, one: pd.DataFrame) -> None:
    """Bars with their names written on them, since there is no room beside them."""
    span = max(1.0, float(one["mass"].abs().max()))
    for place, (label, name, mass, true) in enumerate(
        zip(one["label"], one["label_name"], one["mass"], one["true"], strict=True)
    ):
        mine = label == true
        ax.barh(-place, max(mass, 0.0) / span, color=TRUE_COLOR if mine else OTHER_COLOR, height=0.86)
        ax.text(0.02, -place, _clipped(str(name)), va="center", fontsize=8, weight="bold" if mine else "normal")
        ax.text(1.0, -place, f"{mass:.2f}", va="center", ha="right", fontsize=8)
    ax.set_xlim(0.0, 1.02)
    ax.set_ylim(-LABELS - 0.5, 0.5)


def _clipped(name: str) -> str:
    return name if len(name) <= 11 else name[:10] + "…"
