"""What would decide a test, in words: the numbers are those of `plan`, one standard error to either side."""

import math

import pytest

from biasvar.analysis import Component, Crossed, combined, plan
from biasvar.report.claims.needs import would_decide


def crossed(**parts: tuple[float, float, int]) -> Crossed:
    return combined(0.0, {name: Component(*part) for name, part in parts.items()})


@pytest.mark.parametrize(
    ("gap", "parts", "said"),
    [
        (0.05, {"replicas": (0.02, 7, 8)}, "about 10 (8 to 30) replicas would decide"),
        (0.015, {"replicas": (0.02, 7, 8)}, "about 100 (20 or more) replicas would decide"),
        (
            0.05,
            {"replicas": (0.001, 7, 8), "rows": (0.02, 199, 200)},
            "about 300 (200 to 700) test rows would decide; more replicas alone would not",
        ),
        (
            0.02,
            {"teachers": (0.02, 1, 2), "rows": (0.004, 40, 200)},
            "about 30 (7 or more) teachers would decide; more test rows alone would not",
        ),
        (0.0004, {"redraws": (0.02, 8, 9)}, "more than 100,000 redraws would decide"),
        (0.0, {"redraws": (0.02, 8, 9)}, "what would decide is more than can be said: the estimate lies at the"),
        (math.nan, {"redraws": (0.02, 8, 9)}, "what would decide cannot be said"),
        (0.1, {"replicas": (math.nan, 0, 1)}, "what would decide cannot be said"),
    ],
)
def test_words(gap, parts, said):
    assert would_decide(gap, crossed(**parts), 0.95).startswith(said)
    assert would_decide(-gap, crossed(**parts), 0.95) == would_decide(gap, crossed(**parts), 0.95)


def test_the_numbers_are_those_of_the_plan():
    effect = crossed(replicas=(0.02, 7, 8), rows=(0.003, 199, 200))
    numbers = [plan(effect, 0.03 + shift * effect.stderr).alone["replicas"] for shift in (0, 1, -1)]
    assert numbers == [33, 13, 1030]
    assert would_decide(0.03, effect, 0.95).startswith("about 30 (10 to 1,000) replicas would decide")


def test_where_no_factor_alone_would_do():
    effect = crossed(replicas=(0.02, 7, 8), rows=(0.02, 40, 200))
    together = plan(effect, 0.03).together
    assert plan(effect, 0.03).alone == {"replicas": None, "rows": None}
    assert 55 < together["replicas"] < 65
    said = would_decide(0.03, effect, 0.95)
    assert said.startswith("about 60 (20 to 20,000) replicas and 1,000 (400 to more than 100,000) test rows together")
    assert said.endswith("would decide; more of one alone would not")


def test_a_stricter_level_takes_more():
    effect = crossed(replicas=(0.02, 7, 8))
    assert would_decide(0.05, effect, 0.999).startswith("about 30 ")
    with pytest.raises(ValueError, match=r"level must be that of an interval, such as .95 \(1 - alpha\), got 0.05"):
        would_decide(0.05, effect, 0.05)
