"""Figures in a plane: what the drawn regions, points and colours say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.text import Text

from biasvar.report import style
from biasvar.report.figures import changes, gradients, load
from biasvar.report.marks import roots
from tests.report.test_narrow_screens import drawn as laid_out
from tests.report.test_narrow_screens import fits, inside, published

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

OF_RUNS = {
    "study_run": ("changes", "gradients", "indicators", "methods"),
    "recorder_run": ("weights",),
    "imported_run": ("bias_against_variance", "data_map", "reliability", "term_histograms"),
}
CASES = [(fixture, name) for fixture, names in OF_RUNS.items() for name in names]


@pytest.mark.parametrize(("fixture", "name"), CASES)
def test_a_plane_fits_a_narrow_screen(fixture: str, name: str, request: pytest.FixtureRequest) -> None:
    drawing = drawn(name, request.getfixturevalue(fixture), narrow=True)
    assert drawing.get_size_inches()[0] == style.NARROW_WIDTH


def drawn(name: str, run: Run, *, narrow: bool) -> Drawing:
    frame = load(name).collect([run])
    drawing = laid_out(lambda: load(name).draw(frame), narrow=narrow)
    assert inside(drawing)
    return drawing


@pytest.mark.parametrize("narrow", [False, True])
def test_corners_of_changes_are_named_with_their_shares(study_run: Run, narrow: bool) -> None:
    frame = changes.collect([study_run])
    shares = frame[frame["kind"] == "quadrant"].groupby(["arm", "rows"], sort=False)
    axes = [ax for ax in drawn("changes", study_run, narrow=narrow).axes if ax.texts]
    seen = [sorted(text.get_text().replace("\n", " ") for text in ax.texts) for ax in axes]
    wanted = [
        sorted(f"{changes.NAMED[row.quadrant]} {100 * row.share:.0f} %".replace("\n", " ") for row in part.itertuples())
        for _, part in shares
    ]
    assert sorted(seen) == sorted(wanted)
    assert len(seen) > 3


@pytest.mark.parametrize("narrow", [False, True])
def test_every_sample_of_changes_lies_inside_and_under_no_word(study_run: Run, narrow: bool) -> None:
    frame = changes.collect([study_run])
    count = 0
    for ax in drawn("changes", study_run, narrow=narrow).axes:
        words = [text.get_window_extent() for text in ax.texts]
        for points in ax.collections:
            places = ax.transData.transform(points.get_offsets())
            count += len(places)
            for x, y in places:
                assert ax.bbox.contains(x, y)
                assert not any(box.contains(x, y) for box in words)
    assert count == (frame["kind"] == "sample").sum()


@pytest.mark.parametrize("narrow", [False, True])
def test_the_region_of_gradients_is_named_with_its_share(study_run: Run, narrow: bool) -> None:
    whole = gradients.collect([study_run]).query("kind == 'panel'")
    axes = [ax for ax in drawn("gradients", study_run, narrow=narrow).axes if ax.texts]
    assert len(axes) == len(whole)
    said = sorted(ax.texts[0].get_text().split("\n")[-1] for ax in axes)
    assert said == sorted(f"{100 * share:.0f} %" for share in whole["share"])
    for ax in axes:
        region = ax.patches[0].get_xy()
        assert (region[:, 1] >= region[:, 0]).all()
    heads = {ax.texts[0].get_text().rsplit("\n", 1)[0] for ax in axes}
    assert heads == {"regularization\nsamples, b > |a|:", "b > |a| if taught\nfrom here on:"}  # of KD and of CE


def test_cells_of_gradients_hold_every_row_and_lie_inside(study_run: Run) -> None:
    frame = gradients.collect([study_run])
    meshes = [(ax, mesh) for ax in drawn("gradients", study_run, narrow=False).axes if ax.texts
              for mesh in ax.collections]  # fmt: skip
    assert sum(mesh.get_array().sum() for _, mesh in meshes) == frame["count"].sum()
    for ax, mesh in meshes:
        rows = np.flatnonzero((~np.ma.getmaskarray(np.ma.masked_invalid(mesh.get_array()))).any(axis=1))
        heights = mesh.get_coordinates()[:, 0, 1]
        low, high = ax.get_ylim()
        assert low <= heights[rows.min()]
        assert heights[rows.max() + 1] <= high


def test_rows_that_are_many_are_dark() -> None:
    shades = gradients.colors()(np.linspace(0, 1, 33))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(shades) < 0).all()
    assert shades[0] > 0.75
    assert shades[-1] < 0.2


def test_signed_roots_are_undone_and_ticks_lie_inside() -> None:
    values = np.array([-3.0, -0.05, -0.002, 0.0, 0.004, 0.7])
    assert roots.square(roots.root(values)) == pytest.approx(values, abs=1e-12)
    with style.context():
        ax = style.new_figure(height=2).subplots()
        roots.put_on(ax, "x", -0.5, 5.0)
    ticks = ax.get_xticks()
    assert {0.0, 1.0, 4.0} <= set(ticks)
    assert min(ticks) >= -0.5
    assert max(ticks) <= 5.0


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("costs", "all_methods"),
        ("for_whom", "all_methods"),
        ("methods", "label_revision/four_classes"),
        ("teachers", "digits"),
        ("teachers", "converged/teachers_features"),
        ("weights", "converged/features"),
    ],
)
def test_a_published_plane_fits_a_narrow_screen(name: str, place: str) -> None:
    fits(lambda: load(name).draw(published(name, place)))


def test_teachers_without_a_value_are_not_named_after_reading_a_table() -> None:
    drawing = laid_out(lambda: load("teachers").draw(published("teachers", "converged/teachers_features")))
    assert not [text for text in drawing.findobj(Text) if text.get_text() == "nan"]
