"""What a reader sees of a drawn figure: its texts, those that are cut, hollow dots, intervals."""

import warnings

import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text

from biasvar.report import style
from biasvar.report.figures import load


def drawn(name: str, frame: pd.DataFrame, *, narrow: bool = False) -> Drawing:
    with style.context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        if not narrow:
            drawing = load(name).draw(frame)
            style.lay_out(drawing)
            return drawing
        with style.for_narrow_screens():
            drawing = load(name).draw(frame)
            style.lay_out(drawing)
        return drawing


def cut_texts(drawing: Drawing) -> list[str]:
    """The texts that reach over an edge of the picture by more than a pixel."""
    with style.context():
        drawing.draw_without_rendering()
    width, height = drawing.bbox.width, drawing.bbox.height
    beyond = set()
    for axis in (axis for ax in drawing.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        outside = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
        beyond |= {label for tick in outside for label in (tick.label1, tick.label2)}
    found = []
    for text in set(drawing.findobj(Text)) - beyond:
        if not text.get_visible() or not text.get_text().strip():
            continue
        box = text.get_window_extent()
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(text.get_text())
    return found


def hollow_dots(drawing: Drawing) -> int:
    dots = [dots for ax in drawing.axes for dots in ax.collections if len(dots.get_offsets())]
    faces = [to_hex(color) for one in dots for color in one.get_facecolors()]
    return faces.count("#ffffff") + sum(
        line.get_markerfacecolor() == "white" for ax in drawing.axes for line in ax.get_lines()
    )


def texts(drawing: Drawing) -> str:
    return "\n".join(text.get_text() for text in drawing.findobj(Text))


def intervals(drawing: Drawing) -> list[int]:
    """How many bars each panel has."""
    return [sum(len(bars.get_segments()) for bars in ax.collections if hasattr(bars, "get_segments"))
            for ax in drawing.axes]  # fmt: skip
