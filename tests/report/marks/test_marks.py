"""The five marks: what lies on the axes is the frame, in the looks given; matplotlib's settings stay as they are."""

import subprocess
import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from biasvar.report import style
from biasvar.report.marks import blocks, forest, heat, images, legends, lines, looks, scales, scatter

LOOKS = {"a": style.Look("#112233", "o", "-", "A"), "b": style.Look("#aa3344", "s", "--", "B")}


@pytest.fixture(autouse=True)
def in_style() -> Iterator[None]:
    with style.context():
        before = dict(mpl.rcParams)
        yield
        assert dict(mpl.rcParams) == before, "a mark changed the settings of matplotlib"


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": ["r", "r", "s"], "arm": ["a", "b", "a"], "estimate": [0.5, 9.0, 0.25], "low": [0.4, 8.0, 0.2],
            "high": [0.6, 10.0, np.nan], "failed": [0, 2, 0],
        }
    )  # fmt: skip


def axes() -> mpl.axes.Axes:
    return style.new_figure(height=3.0).subplots()


def test_looks_are_put_on_by_name_and_values_are_scaled(frame: pd.DataFrame) -> None:
    drawn = looks.put_on(frame, LOOKS, by="arm", hollow="failed", scale=100.0)
    assert drawn["color"].tolist() == ["#112233", "#aa3344", "#112233"]
    assert drawn["marker"].tolist() == ["o", "s", "o"]
    assert drawn["hollow"].tolist() == [False, True, False]
    assert drawn["estimate"].tolist() == [50.0, 900.0, 25.0]
    assert "color" not in frame
    with pytest.raises(KeyError, match="b"):
        looks.put_on(frame, {"a": LOOKS["a"]}, by="arm")


def test_a_forest_has_a_place_for_every_row_and_a_heading_for_every_group(frame: pd.DataFrame) -> None:
    where = forest.places(frame)
    assert where.heights == {("r", "a"): 1.0, ("r", "b"): 2.0, ("s", "a"): 4.5}
    assert (where.headings, where.total) == ({"r": 0.0, "s": 3.5}, 5.5)
    assert forest.places(frame[:2]).heights == {("r", "a"): 0.0, ("r", "b"): 1.0}
    assert where.on(frame, shift=0.2)["y"].tolist() == [1.2, 2.2, 4.7]
    ax, other = style.new_figure(height=3.0).subplots(1, 2)
    forest.name_rows([ax, other], where, ["A", "B †", "A"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B †", "A"]
    assert [text.get_text() for text in ax.texts] == ["r", "s"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_a_forest_draws_every_row_and_points_at_what_lies_outside(frame: pd.DataFrame) -> None:
    ax = axes()
    drawn = forest.places(frame).on(looks.put_on(frame, LOOKS, by="arm", hollow="failed"))
    forest.draw(ax, drawn, limits=scales.limits(frame, anchor=0.0), reference=0.0)
    bars, dots = ax.collections
    assert [segment.tolist() for segment in bars.get_segments()] == [[[0.4, 1.0], [0.6, 1.0]]]  # no bar without an end
    assert dots.get_offsets().tolist() == [[0.5, 1.0], [0.25, 4.5]]
    assert [to_hex(color) for color in dots.get_facecolors()] == ["#112233", "#112233"]
    line, arrow = ax.get_lines()
    assert line.get_xdata() == [0.0, 0.0]
    assert (arrow.get_ydata()[0], arrow.get_markeredgecolor()) == (2.0, "#aa3344")
    assert arrow.get_marker().vertices[:, 0].argmax() == 3  # its point, at the right
    assert [text.get_text() for text in ax.texts] == ["9"]


def test_a_bar_that_is_cut_ends_in_an_arrowhead_at_the_edge(frame: pd.DataFrame) -> None:
    ax = axes()
    drawn = forest.places(frame).on(looks.put_on(frame, LOOKS, by="arm"))
    forest.draw(ax, drawn[:1], limits=(0.45, 1.0))  # of a bar from 0.4 to 0.6
    (head,) = ax.get_lines()
    assert (head.get_marker(), head.get_xydata().tolist(), head.get_color()) == ("<", [[0.0, 1.0]], "#112233")
    ax = axes()
    forest.draw(ax, drawn[:1], limits=(0.0, 1.0))
    assert not ax.get_lines()


def test_a_hollow_dot_on_the_edge_is_an_arrow_with_its_number_and_a_full_one_is_whole(frame: pd.DataFrame) -> None:
    at_edge = forest.places(frame).on(looks.put_on(frame, LOOKS, by="arm"))[:1].assign(estimate=0.995)
    ax = axes()
    forest.draw(ax, at_edge.assign(hollow=True), limits=(0.0, 1.0))
    assert ([text.get_text() for text in ax.texts], len(ax.get_lines()), len(ax.collections)) == (["0.995"], 1, 0)
    ax = axes()
    forest.draw(ax, at_edge.assign(hollow=False), limits=(0.0, 1.0))
    assert (len(ax.texts), len(ax.get_lines()), len(ax.collections)) == (0, 0, 2)


def test_dots_of_failed_replicas_are_hollow(frame: pd.DataFrame) -> None:
    ax = axes()
    forest.draw(ax, forest.places(frame).on(looks.put_on(frame, LOOKS, by="arm", hollow="failed")))
    dots = ax.collections[1]
    assert dots.get_offsets()[:, 0].tolist() == [0.5, 9.0, 0.25]
    assert [to_hex(color) for color in dots.get_facecolors()] == ["#112233", "#ffffff", "#112233"]
    assert [to_hex(color) for color in dots.get_edgecolors()] == ["#ffffff", "#aa3344", "#ffffff"]


def test_limits_are_those_of_sound_rows(frame: pd.DataFrame) -> None:
    assert scales.limits(frame, anchor=0.0) == (0.0, pytest.approx(0.6 + 0.06 * 0.6))
    assert scales.limits(frame.assign(failed=1))[1] > 10
    assert scales.limits(frame[:0]) == (-1.0, 1.0)


def course() -> pd.DataFrame:
    epochs = [1, 2, 3]
    rows = [
        {"epoch": epoch, "arm": arm, "panel": panel, "row": "only", "estimate": epoch + shift}
        for panel in ("left", "right")
        for arm, shift in (("b", 1.0), ("a", 0.0))
        for epoch in reversed(epochs)
    ]
    frame = pd.DataFrame(rows)
    return looks.put_on(frame.assign(low=frame["estimate"] - 0.1, high=frame["estimate"] + 0.1), LOOKS, by="arm")


def test_lines_run_through_the_estimates_within_their_bands() -> None:
    ax, frame = axes(), course()
    lines.draw(ax, frame[frame["panel"] == "left"])
    found = {to_hex(line.get_color()): line for line in ax.get_lines()}
    assert found["#112233"].get_xydata().tolist() == [[1, 1], [2, 2], [3, 3]]
    assert found["#aa3344"].get_xydata().tolist() == [[1, 2], [2, 3], [3, 4]]
    assert found["#112233"]._dash_pattern[1] is None
    assert found["#aa3344"]._dash_pattern[1]
    assert all(line.get_marker() in ("", None, "None") for line in found.values())
    edges = {round(float(y), 6) for band in ax.collections for path in band.get_paths() for y in path.vertices[:, 1]}
    assert edges == {0.9, 1.1, 1.9, 2.1, 2.9, 3.1, 3.9, 4.1}
    assert not ax.figure.legends


def test_lines_have_bars_in_place_of_bands_and_hollow_markers() -> None:
    ax, frame = axes(), course()
    lines.draw(ax, frame[frame["arm"] == "a"].assign(hollow=True), line="panel", markers=True, band=0.0, bars=1.2)
    ends = [segment[:, 1].tolist() for bars in ax.collections for segment in bars.get_segments()]
    assert sorted(ends[:3]) == [pytest.approx([level - 0.1, level + 0.1]) for level in (1, 2, 3)]
    assert {line.get_markerfacecolor() for line in ax.get_lines()} == {"white"}


def test_a_single_point_has_its_marker() -> None:
    ax, frame = axes(), course()
    lines.draw(ax, frame[(frame["panel"] == "left") & ((frame["arm"] == "a") | (frame["epoch"] == 1))])
    markers = {to_hex(line.get_color()): line.get_marker() for line in ax.get_lines()}
    assert markers["#aa3344"] == "s"
    assert markers["#112233"] != "o"


def test_lines_against_a_setting_stand_side_by_side_and_point_at_what_is_outside() -> None:
    ax = axes()
    rows = [("a", 1.0, 5.0, 0), ("a", 2.0, 6.0, 0), ("a", 4.0, 90.0, 3), ("b", 1.0, 5.5, 0), ("b", 2.0, 5.8, 2)]
    rows += [("b", 8.0, np.nan, 1)]
    frame = pd.DataFrame(rows, columns=["arm", "value", "estimate", "failed"])
    frame = frame.assign(low=frame["estimate"] - 0.5, high=frame["estimate"] + 0.5)
    lines.against(ax, looks.put_on(frame, LOOKS, by="arm", hollow="failed"), line="arm")
    first, second, arrow = ax.get_lines()
    left, right = 2.0**-0.045, 2.0**0.045
    np.testing.assert_allclose(first.get_xydata(), [[left, 5.0], [2 * left, 6.0]])
    np.testing.assert_allclose(second.get_xydata(), [[right, 5.5], [2 * right, 5.8]])
    assert arrow.get_xdata()[0] == pytest.approx(4 * left)
    assert arrow.get_marker().vertices[3].tolist() == [0.0, 1.0]  # its point, upwards
    bars, dots = ax.collections
    assert sorted(segment[0, 1] for segment in bars.get_segments()) == [4.5, 5.0, 5.5]  # none for the hollow one
    assert len(dots.get_offsets()) == 4
    assert ax.get_ylim() == scales.limits(frame)
    lines.level(ax, 2.0, 1.0, np.nan, color="#112233")
    assert ax.get_ylim()[0] < 1.0
    assert ax.get_lines()[-1].get_ydata() == [2.0, 2.0]  # without an upper end it has no edges that mislead
    count = len(ax.get_lines())
    lines.level(ax, 2.0, 1.0, 4.0, color="#112233")
    assert [line.get_ydata()[0] for line in ax.get_lines()[count:]] == [2.0, 1.0, 4.0]
    assert not ax.patches  # bands of two levels would overlap in a colour of neither


def test_doublings_have_ticks_that_do_not_touch() -> None:
    ax = axes()
    scales.doublings(ax, [1, 2, 4, 4.1])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "4"]
    for settings in ([0, 1, 2], [0]):  # such as alpha, of which 0 is one
        ax = axes()
        scales.doublings(ax, settings)
        assert [label.get_text() for label in ax.get_xticklabels()] == [str(value) for value in settings]
        places = ax.transData.transform([(value, 0.0) for value in (*ax.get_xlim(), *settings)])[:, 0]
        assert np.all(np.isfinite(places))
        assert places[0] < places[2] <= places[-1] < places[1]


def test_heat_shows_each_cell_once_and_none_where_there_is_no_value() -> None:
    cells = pd.DataFrame([[np.nan, 2.0], [1.0, np.nan], [0.5, 0.0]], index=["x", "y", "z"], columns=["u", "v"])
    ax = axes()
    drawn = heat.draw(ax, cells, top=2.0, texts=cells.map(lambda value: f"{value:.1f}"), under="#cccccc")
    values = drawn.get_array().reshape(3, 2)
    np.testing.assert_array_equal(values.mask, cells.isna())
    assert values[0, 1] == 2.0
    assert drawn.get_clim() == (0.0, 2.0)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y", "z"]
    assert [text.get_text() for text in ax.texts] == ["2.0", "1.0", "0.5", "0.0"]
    assert to_hex(ax.get_facecolor()) == "#cccccc"


def test_scatter_draws_points_with_their_bars(frame: pd.DataFrame) -> None:
    ax, drawn = axes(), looks.put_on(frame, LOOKS, by="arm", hollow="failed").assign(x=[1.0, 2.0, np.nan])
    scatter.draw(ax, drawn, x="x", y="estimate", low="low", high="high")
    bars, dots = ax.collections
    assert dots.get_offsets().tolist() == [[1.0, 0.5], [2.0, 9.0]]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[0.4, 0.6], [8.0, 10.0]]
    assert to_hex(dots.get_facecolors()[1]) == "#ffffff"
    scatter.draw(ax, drawn[2:], x="x", y="estimate")
    assert len(ax.collections) == 2


def test_images_show_their_pixels() -> None:
    first, second, third = style.new_figure(height=3.0).subplots(1, 3)
    grey = np.array([[0.0, 1.0], [2.0, 4.0]])
    images.draw(first, grey, top=8.0)
    np.testing.assert_array_equal(first.images[0].get_array(), grey)
    assert first.images[0].get_clim() == (0.0, 8.0)
    images.draw(second, np.full((2, 2, 3), 255, dtype=np.uint8), top=255.0)
    assert float(second.images[0].get_array().max()) == 1.0
    images.draw(second, grey[..., np.newaxis])
    assert second.images[1].get_array().shape == (2, 2)
    images.draw(third, None)
    assert [text.get_text() for text in third.texts] == ["no\nimage"]
    with pytest.raises(ValueError, match=r"\(H, W, 1\) or \(H, W, 3\), not \(2, 2, 4\)"):
        images.draw(third, np.zeros((2, 2, 4)))


def test_blocks_are_headed_where_there_are_several() -> None:
    figure, parts = blocks.stacked(["r", "s"], [1.0, 3.0], more=0.5)
    assert figure.get_size_inches()[1] == 4.5
    assert [part.get_suptitle() for part in parts.values()] == ["r", "s"]
    alone = blocks.stacked(["r"], [1.0])[1]["r"]
    assert not alone.get_suptitle()


def test_an_empty_legend_is_none() -> None:
    figure = style.new_figure(height=3.0)
    legends.below(figure, [])
    assert not figure.legends
    legends.below(figure, [legends.dot("o", "x")])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x"]


def test_legends_name_looks() -> None:
    entries = legends.lines(LOOKS, markers=True)
    assert [(entry.get_label(), entry.get_color(), entry.get_marker()) for entry in entries] == [
        ("A", "#112233", "o"), ("B", "#aa3344", "s"),
    ]  # fmt: skip
    assert legends.dot("o", "x", hollow=True).get_markerfacecolor() == "white"


@pytest.mark.parametrize("module", ["biasvar.report.__main__", "biasvar.report.marks"])
def test_seaborn_is_imported_only_to_draw(module: str) -> None:
    code = f"import sys, {module}; print(*({{'seaborn', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_texts_of_a_heat_map_are_light_on_dark_cells() -> None:
    ax = axes()
    cells = pd.DataFrame([[0.0, 1.0], [float("nan"), 0.1]])
    heat.draw(ax, cells, top=1.0, colors="viridis", texts=cells.astype(str), ink=None)
    assert [to_hex(text.get_color()) for text in ax.texts] == ["#ffffff", to_hex(style.INK), "#ffffff"]
