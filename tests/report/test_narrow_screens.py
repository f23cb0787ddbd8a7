"""Figures for narrow screens: as wide as the screen, and laid out without a part that has no room."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from biasvar.records import Run, import_predictions, open_run
from biasvar.report import style
from biasvar.report.card import draw as card_drawings
from biasvar.report.card import render
from biasvar.report.card.collect import collect
from biasvar.report.card.options import CardOptions
from biasvar.report.card.source import open_source
from biasvar.report.card.tabulate import tabulate
from biasvar.report.figures import load
from biasvar.report.pictures import with_pictures
from tests.report.test_selection_figure import LOWEST, MARGIN
from tests.report.test_selection_figure import make as make_selection

if TYPE_CHECKING:
    from collections.abc import Callable

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
    frame: pd.DataFrame = redraw().frame_of(ROOT / "figures" / place, name)
    return frame


def drawn(make: Callable[[], Drawing], *, narrow: bool = True) -> Drawing:
    """The drawing, laid out; a layout that does not fit warns, which is an error."""
    with style.context(), style.for_narrow_screens() if narrow else nullcontext():
        drawing = make()
        style.lay_out(drawing)
    return drawing


def inside(drawing: Drawing) -> bool:
    """Whether all that is drawn lies in the picture, to a hundredth of an inch."""
    with style.context():
        box = drawing.get_tightbbox()
    width, height = drawing.get_size_inches()
    return bool(box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01)


def fits(make: Callable[[], Drawing]) -> None:
    narrow = drawn(make)
    assert narrow.get_size_inches()[0] == style.NARROW_WIDTH
    assert inside(narrow)
    assert inside(drawn(make, narrow=False))


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_published_figure_fits_a_narrow_screen(name: str, place: str) -> None:
    frame = published(name, place)
    fits(lambda: load(name).draw(frame))


@pytest.mark.parametrize(
    ("name", "place", "most"),
    [
        ("paths", "prokt/features", 12.0),
        ("predictors", "biased_soft_labels/which_indicator", 18.0),
        ("bad_teacher", "biased_soft_labels/bad_teacher_digits", 14.5),
    ],
)
def test_long_figures_stay_short_on_a_narrow_screen(name: str, place: str, most: float) -> None:
    frame = redraw().frame_of(ROOT / "figures" / place, name)
    fits(lambda: load(name).draw(frame))
    assert drawn(lambda: load(name).draw(frame)).get_size_inches()[1] < most


@pytest.mark.parametrize("count", [1, 4])
def test_selected_scores_fit_a_narrow_screen(count: int, tmp_path: Path) -> None:
    by = {f"arm_{keep}": (LOWEST if keep % 2 else MARGIN) | {"keep": 0.2 * keep} for keep in range(1, count + 1)}
    frame = load("selection").collect([make_selection(tmp_path / "run", by)[0]])
    assert frame["arm"].nunique() == count
    fits(lambda: load("selection").draw(frame))


def pictured(directory: Path, names: list[str]) -> Run:
    """Two arms of predictions on samples with images of six by six pixels."""
    random, count = np.random.default_rng(3), len(names)
    labels = np.arange(60) % count
    for size, arm in enumerate(("one", "two"), start=1):
        answers = [2 * size * np.eye(count)[labels] + random.normal(size=(60, count)) for _ in range(4)]
        import_predictions(
            answers, labels, directory=directory / "run", arm=arm, resume=size > 1, class_names=names
        )  # fmt: skip
    np.save(directory / "images.npy", random.integers(0, 256, (60, 6, 6, 3), dtype=np.uint8))
    run = open_run(directory / "run")
    compared = {**run.manifest["arms"], "two": {**run.arm("two"), "control": "one"}}
    run = Run(run.directory, {**run.manifest, "arms": compared})
    return with_pictures(run, str(directory / "images.npy"), ["test"])


@pytest.mark.parametrize("names", [list("0123456789"), ["airplane", "automobile", "a long kind of bird", "cat"]])
@pytest.mark.parametrize("name", ["gallery", "strongest"])
def test_images_fit_a_narrow_screen(name: str, names: list[str], tmp_path: Path) -> None:
    frame = load(name).collect([pictured(tmp_path, names)])
    assert len(frame.attrs["images"]) > 4
    fits(lambda: load(name).draw(frame))


@pytest.mark.parametrize("classes", [2, 4, 10, 20])
def test_the_drawings_of_a_card_fit_a_narrow_screen(classes: int, tmp_path: Path) -> None:
    random = np.random.default_rng(classes)
    labels = np.arange(600) % classes
    logits = random.normal(size=(600, classes)) + 2.0 * np.eye(classes)[labels]
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.save(tmp_path / "soft.npy", soft)
    np.save(tmp_path / "labels.npy", labels)
    options = CardOptions(str(tmp_path / "soft.npy"), labels=str(tmp_path / "labels.npy"))
    source = open_source(options)
    names = [f"a kind of animal {place}" for place in range(classes)]
    collected = collect(source, options)
    tables = tabulate(collected, names)
    figures = {name: make for name, make, _ in render._figures(collected, tables, names, None)}
    assert {"indicators", "thresholds", "entropy", "calibration"} < set(figures)
    images = {int(row): random.integers(0, 256, (8, 8, 3), dtype=np.uint8) for row in tables.worst["row"]}
    for make in (*figures.values(), lambda: card_drawings.draw_worst(tables.worst, images)):
        fits(make)


def test_samples_stand_two_or_three_abreast_on_a_narrow_screen_as_large_as_on_a_wide_one(tmp_path: Path) -> None:
    frame = load("strongest").collect([pictured(tmp_path, list("0123456789"))])
    per_list = frame.groupby("row", sort=False)["place"].nunique()
    sizes = {}
    for narrow in (False, True):
        drawing = drawn(lambda: load("strongest").draw(frame), narrow=narrow)
        shown = [ax for ax in drawing.get_axes() if ax.images]
        assert len(shown) == per_list.sum()
        assert len({round(ax.get_position().x0, 2) for ax in shown}) == (3 if narrow else 6)
        sizes[narrow] = min(ax.get_window_extent().width for ax in shown)
    assert sizes[True] == pytest.approx(sizes[False], rel=0.1)


def test_cells_of_a_card_are_numbered_where_there_is_room() -> None:
    assert [card_drawings._in_two_digits(value) for value in (0.0, 0.02, 9.96, 99.4, 99.5)] == [
        "",
        "·",
        "10",
        "99",
        "99+",
    ]
