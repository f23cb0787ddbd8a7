"""Figures of what has a course, for narrow screens: as wide as the screen, with nothing outside the picture."""

from __future__ import annotations

import pytest

from biasvar.report.figures import conditions, load
from tests.report.test_narrow_screens import fits, published

PLACES = {
    "conditions": "biased_soft_labels/which_indicator",
    "rounds": "biased_soft_labels/incomplete_supervision",
    "paths": "prokt/features",
    "temperatures": "converged/features",
    "ablations": "converged/ablations",
    "sweep": "bias_variance/digits",
    "sweep_samples": "bias_variance/digits",
}


@pytest.mark.parametrize(("name", "place"), PLACES.items())
def test_a_published_course_fits_a_narrow_screen(name: str, place: str) -> None:
    frame = published(name, place)
    fits(lambda: load(name).draw(frame))


def test_conditions_of_many_arms_draw_those_nearest_to_the_border_and_say_how_many_are_left() -> None:
    frame = published("conditions", PLACES["conditions"])
    shown = conditions._shown(conditions._by_fit(frame))
    sums, every = (part[part["quantity"] == conditions.SUM] for part in (shown, frame))
    assert len(sums) == 39
    assert (sums.groupby("run").size() == 13).all()
    assert (shown.groupby(["run", "arm"]).size() == 3).all()
    for run, part in every.groupby("run"):
        kept = set(sums.loc[sums["run"] == run, "arm"])
        near = (part.set_index("arm")["estimate"].astype(float) - 1).abs()
        assert {near.idxmin(), part.set_index("arm")["estimate"].idxmax()} <= kept
        assert kept >= set(part.loc[part["truth"].astype(bool), "arm"])
    assert f" Drawn are 39 of {len(every)} arms:" in conditions._left_to_csv(frame)
    few = frame[frame["arm"].isin(sorted(set(frame["arm"]))[:5])]
    assert conditions._left_to_csv(few) == ""
