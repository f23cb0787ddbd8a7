"""A figure whose only panel are axes that are there already, so that what draws a figure of its own draws in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLOSE = 0.08  # inches between the axes' names and a legend


class GivenAxes:
    """What `style.new_figure` makes in the place of a figure: whoever asks it for a panel gets the given axes.

    Everything else is that of the figure around them. Names and legends of the whole are those of the axes.
    """

    def __init__(self, ax: Axes) -> None:
        self._ax = ax
        self.root = root_of(ax)
        self._legend: dict[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.root, name)

    def add_subplot(self, *_: Any, **__: Any) -> Axes:
        """The axes."""
        return self._ax

    def subplots(self, *_: Any, squeeze: bool = True, **__: Any) -> Any:
        """The axes, or an array (1, 1) of them."""
        return self._ax if squeeze else _alone(self._ax)

    def subfigures(self, *_: Any, squeeze: bool = True, **__: Any) -> Any:
        """This, or an array (1, 1) of it."""
        return self if squeeze else _alone(self)

    def supxlabel(self, text: str, **look: Any) -> None:
        """Names the horizontal axis."""
        self._ax.set_xlabel(text, **look)

    def supylabel(self, text: str, **look: Any) -> None:
        """Names the vertical axis."""
        self._ax.set_ylabel(text, **look)

    def suptitle(self, text: str, **_: Any) -> None:
        """Names the axes."""
        self._ax.set_title(text)

    def legend(self, **entries: Any) -> None:
        """Keeps a legend for `finish`, when it is known where the axes' names end."""
        self._legend = entries

    def get_layout_engine(self) -> Any:
        """What lays out, for those who want it done at once: the figure around."""
        return self

    def execute(self, _: Any) -> None:
        """Lays out the figure around, with the legend."""
        self.finish()

    def finish(self) -> None:
        """Puts the legend above or below the axes and their names, in as many columns as are no wider than the axes."""
        from matplotlib.transforms import ScaledTranslation

        self.root.draw_without_rendering()
        if self._legend is None:
            return
        inside, around = self._ax.bbox, self._ax.get_tightbbox()
        assert around is not None
        entries, self._legend = self._legend, None
        below = "lower" in entries.pop("loc")
        room = (inside.y0 - around.y0 if below else around.y1 - inside.y1) / self.root.dpi + CLOSE
        move = ScaledTranslation(0.0, -room if below else room, self.root.dpi_scale_trans)
        beside, at = ("upper left", (0.0, 0.0)) if below else ("lower left", (0.0, 1.0))
        where = {"bbox_to_anchor": at, "bbox_transform": self._ax.transAxes + move, "borderaxespad": 0.0}
        for columns in range(entries.pop("ncols", 1), 0, -1):
            made = self._ax.legend(**{"loc": beside, "ncols": columns, **where, **entries})
            if made.get_window_extent().width <= inside.width:
                break
        else:
            made.set_in_layout(False)  # the axes would shrink to nothing
        self.root.draw_without_rendering()


def root_of(part: Any) -> Figure:
    """The whole figure that axes, or parts of a figure, are in."""
    figure: Figure = getattr(part, "figure", part).canvas.figure
    return figure


def _alone(panel: Any) -> np.ndarray:
    found = np.empty((1, 1), dtype=object)
    found[0, 0] = panel
    return found
