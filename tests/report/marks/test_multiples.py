"""Small multiples of courses: everything inside the frame, the control in grey in each, few lines, narrow and wide."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.figures import load
from biasvar.report.marks import multiples, scales

NAMES = ("training", "shares", "curves")


@pytest.fixture(scope="module")
def frames(study_run: Run) -> dict[str, pd.DataFrame]:
    """Of the small study; its epochs' terms are made, since it keeps predictions of the last one only."""
    made = {name: load(name).collect([study_run]) for name in ("shares", "curves")}
    rng = np.random.default_rng(4)
    rows: list[dict[str, Any]] = []
    for arm in ("ce", "kd", "wsl", "kd_own"):
        for kind in ("held-out", "member", "nonmember"):
            for epoch in (1, 5, 20, 60):
                for term, size in (("bias", 2.3), ("variance", 0.2)):
                    value = size / epoch + 0.01 * rng.random()
                    rows.append(
                        {"run": study_run.name, "arm": arm, "label": arm.upper(), "regime": "none", "rows": kind,
                         "term": term, "epoch": epoch, "value": value, "low": value - 0.3, "high": value + 0.3,
                         "stderr_replicas": 0.1, "stderr_samples": 0.1, "n_replicas": 4, "n": 97, "failed": 0,
                         "control": arm == "ce"}
                    )  # fmt: skip
    made["training"] = style.styled(pd.DataFrame(rows), [study_run])
    return made


def panels(frame: pd.DataFrame, name: str) -> list[Axes]:
    with style.context():
        drawing = load(name).draw(frame)
        style.lay_out(drawing)
    return [ax for ax in drawing.axes if ax.axison]


@pytest.mark.parametrize("name", NAMES)
def test_every_point_of_every_line_lies_inside_its_panel(name: str, frames: dict[str, pd.DataFrame]) -> None:
    found = panels(frames[name], name)
    assert len(found) >= 2
    for ax in found:
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        for line in ax.lines:
            x, y = (np.asarray(values, dtype=float) for values in line.get_data())
            assert np.all((x >= left) & (x <= right))
            assert np.all((y >= bottom) & (y <= top))


@pytest.mark.parametrize("name", NAMES)
def test_a_panel_has_its_arm_the_control_in_grey_and_few_lines(name: str, frames: dict[str, pd.DataFrame]) -> None:
    frame = frames[name]
    arms = frame["arm"].nunique()
    quantities = {"training": 2, "shares": 1, "curves": 2}[name]
    found = panels(frame, name)
    assert len(found) == arms * quantities
    assert sum(bool(ax.get_title("left")) for ax in found) == arms
    grey = 0
    for ax in found:
        colors = [line.get_color() for line in ax.lines]
        assert 1 <= len(colors) <= 5
        assert colors.count(multiples.GREY) <= 1
        assert len(set(colors) - {multiples.GREY}) == 1  # the arm's own
        grey += multiples.GREY in colors
    assert grey == (arms - 1) * quantities


@pytest.mark.parametrize("name", NAMES)
def test_on_a_narrow_screen_two_panels_stand_side_by_side(name: str, frames: dict[str, pd.DataFrame]) -> None:
    with style.context(), style.for_narrow_screens(), warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = load(name).draw(frames[name])
        style.lay_out(drawing)
        assert drawing.get_size_inches()[0] == style.NARROW_WIDTH
        lefts = {round(ax.get_position().x0, 2) for ax in drawing.axes if ax.axison}
        assert len(lefts) == 2
        renderer = FigureCanvasAgg(drawing).get_renderer()
        for text in drawing.findobj(Text):
            if text.get_text() and text.get_visible() and text.axes is not None and text.axes.axison:
                assert text.get_window_extent(renderer).x1 <= drawing.bbox.width + 2


def test_courses_say_how_many_rows_they_are_of(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["curves"]
    with style.context():
        said = [text.get_text() for legend in load("curves").draw(frame).legends for text in legend.get_texts()]
    counts = frame.drop_duplicates("split").set_index("split")["n"]
    assert f"test rows, n = {counts['test']}, with 95 % interval" in said
    assert f"validation rows, n = {counts['validation']} other rows" in said


def from_below(frame: pd.DataFrame) -> pd.DataFrame:
    """The courses with a first epoch at an accuracy of 10 %, and later ones above 90 %."""
    accuracy, first = frame["metric"] == "accuracy", frame["epoch"] == 1
    late = frame.assign(epoch=frame["epoch"].map({1: 1, 2: 20, 3: 40, 4: 60}))
    values = 0.9 + 0.001 * np.linspace(0.0, 1.0, int(accuracy.sum()))
    for column in ("value", "low", "high"):
        late.loc[accuracy, column] = values
    late.loc[accuracy & first, ["value", "low", "high"]] = 0.1
    late.attrs = frame.attrs
    return late


def test_an_axis_of_accuracy_begins_where_courses_settle_and_says_where_they_come_from(
    frames: dict[str, pd.DataFrame], study_run: Run
) -> None:
    late = from_below(frames["curves"])
    found = [ax for ax in panels(late, "curves") if ax.get_yscale() == "linear"]
    assert len(found) == late["arm"].nunique()
    for ax in found:
        bottom, top = ax.get_ylim()
        assert 0.89 < bottom < 0.9
        assert top < 0.91
        assert [text.get_text() for text in ax.texts] == ["from 10 %"]
        assert all(line.get_clip_on() for line in ax.lines)
        assert ax.yaxis.get_major_formatter()(0.9, 0) == "90"  # in percent
    assert "begins above 0" in load("curves").caption(late, [study_run])
    assert "begins above 0" not in load("curves").caption(frames["curves"], [study_run])


def test_an_axis_that_would_gain_little_holds_every_epoch() -> None:
    course = pd.DataFrame({"epoch": [1, 20, 40, 60], "estimate": [0.7, 0.8, 0.9, 1.0], "low": np.nan, "high": np.nan})
    assert multiples.settled(course) == multiples.whole(course)
    steep = course.assign(estimate=[0.1, 0.8, 0.9, 1.0])
    assert multiples.settled(steep) == multiples.whole(steep[1:])
    early = course.assign(estimate=[0.1, 0.8, 0.9, 0.8], epoch=[1, 2, 20, 60])
    assert multiples.settled(early) == multiples.whole(early[2:])
    high = pd.concat([early, course[:1].assign(estimate=1.0)])
    assert multiples.settled(high)[1] == multiples.whole(high)[1]


def test_many_arms_take_few_screens_on_a_narrow_one(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["curves"]
    copies = [frame.assign(arm=frame["arm"] + end, label=frame["label"] + end, control=False) for end in ("", "2", "3")]
    many = pd.concat(copies, ignore_index=True)
    looks = frame.attrs["styles"]
    many.attrs = {
        **frame.attrs,
        "styles": {f"{arm}{end}": look for arm, look in looks.items() for end in ("", "2", "3")},
    }
    with style.context(), style.for_narrow_screens():
        drawing = load("curves").draw(many)
        style.lay_out(drawing)
    assert many["arm"].nunique() == 15
    assert drawing.get_size_inches()[1] < 13
    assert len({round(ax.get_position().x0, 2) for ax in drawing.axes if ax.axison}) == multiples.DENSE
    assert min(ax.get_position().height * drawing.get_size_inches()[1] for ax in drawing.axes) > 0.4


def test_the_last_share_is_a_number_in_the_span_of_all_readings(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["shares"]
    last = frame[frame["epoch"] == frame.groupby("arm")["epoch"].transform("max")]
    said = [ax.texts[0].get_text() for ax in panels(frame, "shares")]
    default = last[last["criterion"] == "opposing"]
    assert said == [f"{100 * share:.0f} %" for share in default["share"]]
    for ax, (_, of_arm) in zip(panels(frame, "shares"), frame.groupby("arm", sort=False), strict=True):
        heights = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((of_arm["share"].min(), of_arm["share"].max()))


def test_without_a_control_every_arm_has_a_panel(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["training"]
    alone = frame[frame["arm"] == "ce"].copy()
    assert multiples.heads(alone) == ({"ce": "CE"}, None)
    assert multiples.heads(frame)[1] == "ce"
    assert multiples.heads(frame.assign(control=False))[1] is None
    assert multiples.heads(frame.assign(failed=(frame["arm"] == "kd").astype(int)))[0]["kd"] == "KD †"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 2.4, [0.0, 0.2, 0.5, 1.0, 2.0]),
        (-0.05, 0.3, [-0.05, 0.0, 0.02, 0.1, 0.2]),
        (0.46, 0.61, [0.48, 0.52, 0.56, 0.6]),
    ],
)
def test_a_root_scale_has_round_ticks_that_do_not_touch(low: float, high: float, ticks: list[float]) -> None:
    with style.context():
        ax = style.new_figure(height=2.0).subplots()
        scales.root(ax.yaxis, low, high)
    assert ax.get_ylim() == (low, high)
    assert ax.get_yticks().tolist() == pytest.approx(ticks)
    places = [ax.transData.transform((0, value))[1] for value in ticks]
    assert min(np.diff(places)) > 0


def test_the_committed_numbers_are_drawn_too() -> None:
    path = Path(__file__).parents[3] / "figures" / "converged" / "ablations" / "training.csv"
    frame = pd.read_csv(path)
    frame["control"] = frame["arm"] == "ce"
    assert len(panels(frame, "training")) == 8


@pytest.mark.parametrize(("arms", "wide"), [(1, 1), (4, 4), (5, 5), (6, 4), (8, 4), (10, 5)])
def test_no_arm_is_left_alone_where_all_fit_side_by_side(arms: int, wide: int) -> None:
    assert multiples.abreast(arms) == wide
    with style.for_narrow_screens():
        assert multiples.abreast(arms) == min(arms, 2)
