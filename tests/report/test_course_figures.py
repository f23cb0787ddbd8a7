"""Figures of what has a course, for narrow screens: as wide as the screen, with nothing outside the picture."""

from __future__ import annotations

import pytest

from biasvar.report.figures import load
from tests.report.test_narrow_screens import fits, published

PLACES = {
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
