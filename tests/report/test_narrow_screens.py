"""Figures for narrow screens: as wide as the screen, and laid out without a part that has no room."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from biasvar.report import style
from biasvar.report.figures import load

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

ROOT = Path(__file__).parents[2]
PUBLISHED = {
    "layers": "dfa/drift",
    "predictors": "biased_soft_labels/which_indicator",
    "truth": "converged/people",
    "views": "bias_variance/corruptions",
}
MANY = {
    "bad_teacher": [f"biased_soft_labels/bad_teacher_{data}" for data in ("digits", "features", "fashion_mnist")],
    "noise": ["biased_soft_labels/additive_noise"],
    "partial": ["biased_soft_labels/partial_labels"],
    "people": ["biased_soft_labels/people_cifar10h", "biased_soft_labels/people"],
    "revision": ["label_revision/features", "label_revision/four_classes"],
}
PLACES = list(PUBLISHED.items())
PLACES += [(name, place) for name, places in MANY.items() for place in places]


def redraw() -> Any:
    """The script that draws published figures from their numbers."""
    spec = importlib.util.spec_from_file_location("redraw", ROOT / "experiments" / "redraw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published(name: str, place: str) -> pd.DataFrame:
    script, folder = redraw(), ROOT / "figures" / place
    runs = script.described(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["runs"])
    return style.styled(script.read_frame(folder / f"{name}.csv"), runs)


def for_a_narrow_screen(name: str, frame: pd.DataFrame) -> Drawing:
    """The figure, laid out; a layout that does not fit warns, which is an error."""
    with style.context(), style.for_narrow_screens():
        drawing = load(name).draw(frame)
        style.lay_out(drawing)
    return drawing


def inside(drawing: Drawing) -> bool:
    """Whether all that is drawn lies in the picture, to a hundredth of an inch."""
    with style.context():
        box = drawing.get_tightbbox()
    width, height = drawing.get_size_inches()
    return bool(box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_published_figure_fits_a_narrow_screen(name: str, place: str) -> None:
    drawing = for_a_narrow_screen(name, published(name, place))
    assert drawing.get_size_inches()[0] == style.NARROW_WIDTH
    assert inside(drawing)
