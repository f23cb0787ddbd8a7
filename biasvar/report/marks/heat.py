"""A grid of coloured cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # of red, green and blue to the eye


def draw(
    ax: Axes, cells: pd.DataFrame, *, top: float, colors: Any = "YlOrBr", texts: pd.DataFrame | None = None,
    under: str = "white", size: float = 9.0, ink: str | None = style.INK,
) -> Any:  # fmt: skip
    """The cells of a frame, its index downwards and its columns across; returns what a colour bar is made for.

    Args:
        ax: the axes to draw on.
        cells: a value for each cell from 0 to `top`; NaN for a cell that has none.
        top: the value of the darkest colour.
        colors: a colour map or its name.
        texts: what is written in each cell; without it nothing.
        under: colour of the cells that have no value.
        size: of the texts, points.
        ink: colour of the texts; None for white on dark cells and black on light ones.
    """
    import seaborn

    written: dict[str, Any] = {"fontsize": size} | ({"color": ink} if ink else {})

    ax.grid(visible=False)  # it would show in cells without a value
    ax.set_facecolor(under)
    seaborn.heatmap(
        cells, ax=ax, vmin=0.0, vmax=max(top, 1e-9), cmap=colors, cbar=False, linewidths=0.6, linecolor="#efefef",
        annot=None if texts is None else texts.to_numpy(), fmt="", annot_kws=written,
        xticklabels=False, yticklabels=False,
    )  # fmt: skip
    if texts is not None and ink is None:
        mesh: Any = ax.collections[-1]
        mesh.update_scalarmappable()
        known = ~np.ma.getmaskarray(mesh.get_array()).ravel()
        for text, color in zip(ax.texts, mesh.get_facecolors()[known], strict=True):
            text.set_color(style.INK if color[:3] @ BRIGHTNESS > 0.5 else "white")
    names = {"x": [str(name) for name in cells.columns], "y": [str(name) for name in cells.index]}
    turned = max(map(len, names["x"])) > 4
    ax.set_xticks([i + 0.5 for i in range(len(names["x"]))], names["x"], rotation=45 if turned else 0,
                  ha="right" if turned else "center", rotation_mode="anchor" if turned else None)  # fmt: skip
    ax.set_yticks([i + 0.5 for i in range(len(names["y"]))], names["y"])
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, which="both")
    return ax.collections[-1]
