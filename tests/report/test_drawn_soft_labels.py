"""What the figures on soft labels draw of published numbers: places, colours and shapes of single marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_hex

from biasvar.report import style
from biasvar.report.figures import load
from biasvar.report.figures import people as people_figure
from tests.report.test_narrow_screens import published

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

PEOPLE, NOISE = "biased_soft_labels/people", "biased_soft_labels/additive_noise"
BAD, PARTIAL = "biased_soft_labels/bad_teacher_digits", "biased_soft_labels/partial_labels"


def panels(name: str, frame: pd.DataFrame) -> list[Axes]:
    with style.context():
        drawing = load(name).draw(frame)
        style.lay_out(drawing)
    return [ax for ax in drawing.get_axes() if ax.axison]


def points(ax: Axes) -> np.ndarray:
    return np.concatenate([np.asarray(part.get_offsets()) for part in ax.collections if len(part.get_offsets()) > 1])


def faces(ax: Axes) -> set[str]:
    return {to_hex(color) for part in ax.collections for color in part.get_facecolors() if len(part.get_offsets()) > 1}


@pytest.mark.parametrize(
    ("name", "place"), [("people", PEOPLE), ("noise", NOISE), ("bad_teacher", BAD), ("partial", PARTIAL)]
)
def test_no_dot_is_hollow_for_no_replica_failed(name: str, place: str) -> None:
    axes = panels(name, published(name, place))
    assert "#ffffff" not in {color for ax in axes for color in faces(ax)}
    for line in (line for ax in axes for line in ax.get_lines() if line.get_marker() not in ("", "None", None)):
        assert line.get_markerfacecolor() == line.get_color()


def test_bias_stands_in_the_row_of_its_source_darker_the_more_people_disagree() -> None:
    frame = published("people", PEOPLE)
    accuracy, bias, _ = panels("people", frame)
    students = frame[frame["part"] == people_figure.STUDENT]
    np.testing.assert_allclose(points(accuracy)[:, 0], 100 * students["estimate"])
    binned = frame[(frame["part"] == people_figure.BY_ENTROPY) & (frame["quantity"] == "bias")]
    drawn = points(bias)
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(binned["estimate"]))
    np.testing.assert_allclose(drawn[:, 1].round() - np.repeat(np.arange(7), 3)[np.argsort(np.argsort(drawn[:, 1]))], 0)
    shades = people_figure._shades(people_figure._binned(frame))
    light = [sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in shades]
    assert len(shades) == 3
    assert light == sorted(light, reverse=True)
    first = binned[binned["arm"] == binned["arm"].iloc[0]].sort_values("entropy")
    heights = [drawn[np.isclose(drawn[:, 0], value), 1].item() for value in first["estimate"]]
    assert heights == sorted(heights)


def test_each_indicator_of_noise_has_a_panel_and_each_way_to_draw_a_shape() -> None:
    frame = published("noise", NOISE)
    *indicators, students = panels("noise", frame)
    assert [ax.get_title(loc="left") for ax in indicators] == ["Unreliability Δ", "Ambiguity γ", "Δ + γ", "Exponent κ"]
    for ax, name in zip(indicators, ("delta", "gamma", "sum", "kappa"), strict=True):
        measured = frame[(frame["part"] == "measured") & (frame["quantity"] == name)]
        np.testing.assert_allclose(np.sort(points(ax)[:, 1]), np.sort(measured["estimate"]))
        assert faces(ax) == {"#d55e00", "#0072b2"}
    drawn = [line for line in students.get_lines() if len(line.get_xdata()) > 2]
    assert {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in drawn} == {
        ("#d55e00", "o", "-"), ("#d55e00", "o", "--"), ("#0072b2", "^", "-"), ("#0072b2", "^", "--"),
    }  # fmt: skip


def test_students_stand_in_the_panel_of_their_teacher_beside_true_labels() -> None:
    axes = panels("bad_teacher", published("bad_teacher", BAD))
    students = {ax.get_title(loc="left"): ax for ax in axes if ax.get_xlabel() == "epoch of the student"}
    assert {title: len(ax.get_lines()) for title, ax in students.items()} == {
        "Bad teacher": 4, "Bad, rivals redrawn": 2, "Good teacher": 3, "Chance": 3,
    }  # fmt: skip
    for ax in students.values():
        assert ax.get_lines()[-1].get_color() == style.INK
    ends = axes[-4]
    assert " ".join(ends.get_xlabel().split()) == "Δ + γ of its soft labels"
    assert "Good teacher" in [tick.get_text() for tick in ends.get_yticklabels()]


def test_a_cell_of_partial_labels_says_its_accuracy_and_the_sums_lie_on_their_side_of_one() -> None:
    frame = published("partial", PARTIAL)
    first, *_, by_sum, _ = panels("partial", frame)
    cells = frame[(frame["part"] == "grid") & (frame["fit"] == frame["fit"].iloc[0])]
    corner = cells[(cells["asked_delta"] == 0.7) & (cells["asked_gamma"] == 0.1)].iloc[0]
    half = 50 * (corner["high"] - corner["low"])
    assert first.texts[1].get_text() == f"{100 * corner['estimate']:.0f}\n±{half:.0f}"
    grid = frame[frame["part"] == "grid"]
    drawn = points(by_sum)
    assert len(drawn) == len(grid)
    assert (drawn[:, 0] > 1).sum() == (grid["sum"] > 1).sum()


def test_the_lowest_panel_of_each_column_has_ticks_and_a_name() -> None:
    frame = published("bad_teacher", "biased_soft_labels/bad_teacher_features")  # of three kinds of students
    with style.context(), style.for_narrow_screens():
        drawing = load("bad_teacher").draw(frame)
        style.lay_out(drawing)
    named = [ax for ax in drawing.get_axes() if ax.axison and ax.get_xlabel() == "epoch of the\nstudent"]
    assert [ax.get_title(loc="left") for ax in named] == ["Good teacher", "Chance"]
    assert all(any(tick.label1.get_visible() for tick in ax.xaxis.get_major_ticks()) for ax in named)
