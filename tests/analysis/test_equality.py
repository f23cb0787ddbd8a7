"""Results equal their copies, on every version of Python."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from biasvar.analysis import interval_from, judge, learnability
from biasvar.analysis.decomposition.totals import Estimate, Totals
from biasvar.analysis.indicators.intervals import IndicatorIntervals

NAN = float("nan")
BROKEN = interval_from(0.5, NAN, 3.0, 4)
UNKNOWN = Estimate(0.5, NAN, 0.1, 1, 30)
RESULTS = [
    BROKEN,
    UNKNOWN,
    Totals(*[UNKNOWN] * 5),
    judge(0.5, NAN, 3.0, 4, direction="greater", smallest_effect=0.1),
    learnability(0.1, 0.2),
    IndicatorIntervals(*[BROKEN] * len(dataclasses.fields(IndicatorIntervals))),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_result_equals_its_copy_whatever_is_undefined_in_it(result):
    copy = pickle.loads(pickle.dumps(result))
    assert copy is not result
    assert copy == result
    assert hash(copy) == hash(result)
    assert len({copy, result}) == 1
    assert result != dataclasses.astuple(result)


def test_other_numbers_are_not_equal():
    for field in dataclasses.fields(BROKEN):
        assert dataclasses.replace(BROKEN, **{field.name: 7}) != BROKEN
    assert Totals(*[UNKNOWN] * 5) != Totals(*[UNKNOWN] * 4, Estimate(0, NAN, 0.1, 1, 30))
