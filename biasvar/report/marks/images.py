"""Pictures of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAD = 0.3  # inches, of a list's name


class Images(dict[tuple[str, int], np.ndarray]):
    """Images by run and sample id, never changed: pandas copies `attrs` deeply with every row it hands out."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Images:
        return self


def lists(
    counts: Sequence[tuple[str, int]], *, across: int, on_narrow: int, height: float, ratios: Sequence[float],
    more: float = 0.0,
) -> tuple[Figure, list[list[list[Axes]]]]:  # fmt: skip
    """A figure of named lists of samples under one another, and by list and sample the axes of its parts from above.

    Args:
        counts: the name of each list and how many samples it has.
        across: samples side by side.
        on_narrow: the same on a narrow screen.
        height: inches of one sample.
        ratios: the heights of its parts beside one another.
        more: inches under everything, for a legend.
    """
    wide = style.abreast(across, on_narrow=on_narrow)
    down = [max(-(-count // wide), 1) for _, count in counts]
    figure = style.new_figure(height=sum(HEAD + rows * height for rows in down) + more)
    parts: Any = figure.subfigures(len(counts), 1, squeeze=False, height_ratios=[HEAD + rows * height for rows in down])
    found = []
    for part, (name, count), rows in zip(parts[:, 0], counts, down, strict=True):
        part.suptitle(name, x=0.01, ha="left", weight="bold", fontsize=10)
        axes = part.subplots(rows * len(ratios), wide, squeeze=False, height_ratios=list(ratios) * rows)
        places = [[axes[row * len(ratios) + i, column] for i in range(len(ratios))] for row in range(rows)
                  for column in range(wide)]  # fmt: skip
        for ax in (ax for place in places[count:] for ax in place):
            ax.set_axis_off()
        found.append(places[:count])
    return figure, found


def bare(ax: Axes, *, frame: bool = False) -> None:
    """Takes ticks and grid off the axes, and the frame or leaves a thin one."""
    ax.grid(visible=False)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set(visible=frame, color=style.FAINT)


def draw(ax: Axes, image: np.ndarray | None, *, top: float | None = None, frame: bool = False) -> None:
    """An image of one sample, without ticks; "no image" where there is none.

    Args:
        ax: the axes to draw on.
        image: (H, W) or (H, W, 1) for grey, dark being high, or (H, W, 3) for colours; None where it is not at hand.
        top: the largest value of a pixel in all pictures that are to share a scale; colours are from 0 to 255 where it
            is above 1. Without it an image is scaled by itself.
        frame: whether the picture has a thin frame.

    Raises:
        ValueError: the image has none of these shapes.
    """
    bare(ax, frame=frame)
    if image is None:
        ax.text(0.5, 0.5, "no\nimage", ha="center", va="center", color=style.MUTED, fontsize=9, transform=ax.transAxes)
        return
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 2:
        low, high = (None, None) if top is None else (0.0, max(top, 1e-12))
        ax.imshow(image, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
    elif image.ndim == 3 and image.shape[2] == 3:
        scaled = image if top is None else np.clip(image.astype(np.float64) / (255.0 if top > 1.0 else 1.0), 0.0, 1.0)
        ax.imshow(scaled, interpolation="nearest")
    else:
        raise ValueError(f"an image has shape (H, W), (H, W, 1) or (H, W, 3), not {image.shape}")
