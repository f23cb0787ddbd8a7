"""Names of arms in figures: long ones are shortened in the picture alone, and crowded points have rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matplotlib.text import Text

from biasvar.report import style
from biasvar.report.arms.drawn import LONGEST_NAME, with_short_names
from biasvar.report.figures import load
from biasvar.report.marks.labels import shortened
from tests.report.test_narrow_screens import drawn, fits, published

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

LONG = "a student of the teacher that was trained with one more layer on twice the rows, and its label is "
PLANES = ("methods", "costs")


def texts(drawing: Drawing) -> list[str]:
    return [text.get_text() for text in drawing.findobj(Text) if text.get_text()]


def with_long_names(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with arms whose names of about a hundred letters differ at their end."""
    looks = {arm: style.Look(look.color, look.marker, look.linestyle, LONG + look.label)
             for arm, look in frame.attrs["styles"].items()}  # fmt: skip
    long = frame.assign(label=LONG + frame["label"].astype(str))
    return style.with_looks(long, looks)


def test_a_name_is_shortened_in_its_middle() -> None:
    assert shortened("KD", 2) == "KD"
    said = shortened("a network that others teach", 12)
    assert said == "a netwo…each"
    assert len(said) == 12


def test_short_names_differ_and_the_table_keeps_the_whole_ones() -> None:
    frame = published("methods", "all_methods")
    long = with_long_names(frame)
    middles = long.assign(label=[f"{LONG}{arm}{LONG}" for arm in long["arm"]])
    for given in (long, middles):
        before = list(given["label"])
        short = with_short_names(given)
        assert short["label"].str.len().max() <= LONGEST_NAME
        assert short["label"].nunique() == given["label"].nunique() > 5
        assert list(given["label"]) == before
    assert with_short_names(frame) is frame


@pytest.mark.parametrize("name", [*PLANES, "bias_variance", "for_whom"])
def test_long_names_leave_the_layout_whole(name: str) -> None:
    frame = with_long_names(published(name, "all_methods"))
    fits(lambda: load(name).draw(frame))
    assert not any(LONG in text for text in texts(drawn(lambda: load(name).draw(frame), narrow=False)))


@pytest.mark.parametrize("name", PLANES)
def test_many_points_have_rows_on_a_narrow_screen(name: str) -> None:
    frame = published(name, "all_methods")
    narrow, wide = drawn(lambda: load(name).draw(frame)), drawn(lambda: load(name).draw(frame), narrow=False)
    left, right = narrow.get_axes()
    assert left.get_ylim() == right.get_ylim()
    names = [text.get_text().partition(": loss ")[0] for text in left.texts]
    assert sorted(names) == sorted(frame["label"].unique())
    assert set(frame["label"]) <= set(texts(wide))
    few = frame[frame["arm"].isin(frame["arm"].unique()[:4])]
    few.attrs = frame.attrs
    assert set(few["label"]) <= set(texts(drawn(lambda: load(name).draw(few))))
