"""Rows that lack classes, as 500 rows of 1,000 classes do: means over rows are given, maxima over classes are not."""

import math

import numpy as np
import pandas as pd
import pytest

from biasvar.analysis import (
    IndicatorAccumulator,
    ambiguity,
    effectiveness,
    learnability,
    measure_indicators,
    student_condition,
    unreliability,
)

# Classes 0, 1 and 3 of four; class 0 is missed in one of two rows.
SOFT = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]])
LABELS = [0, 0, 1, 3]


@pytest.mark.parametrize("interval", ["exact", "hoeffding", "bootstrap"])
def test_unreliability_is_the_share_of_rows_and_nan_in_classes_without_rows(interval):
    found = unreliability(SOFT, LABELS, k=1, interval=interval)
    assert found.value == 0.25
    assert found.worst == 0
    np.testing.assert_array_equal(found.per_class, [0.5, 0.0, math.nan, 0.0])
    assert found.interval.low <= 0.25 <= found.interval.high
    assert found.interval.stderr == pytest.approx(math.sqrt(0.25 * 0.75 / 4))


def test_a_thousand_classes_and_five_hundred_rows():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 500)
    soft = rng.dirichlet(np.ones(1000), 500)
    soft[::2] = np.eye(1000)[labels[::2]]
    found = unreliability(soft, labels, k=1)
    assert found.value == np.mean(soft.argmax(axis=1) != labels)
    assert np.isnan(found.per_class).sum() == 1000 - len(np.unique(labels))
    mean = pd.Series(soft.argmax(axis=1) != labels).groupby(labels).mean()
    np.testing.assert_allclose(found.per_class[mean.index], mean)
    assert ambiguity(soft, labels, k=1, version="marginal").value > 0
    with pytest.raises(ValueError, match="a maximum over all classes may be there"):
        ambiguity(soft, labels, k=1)


def test_tables_leave_gaps_where_a_class_has_no_rows():
    accumulator = IndicatorAccumulator(4, ks=[1])
    accumulator.update(SOFT, LABELS)
    found = accumulator.result()
    assert found.unreliability().value == 0.25
    table = found.per_class()
    assert table["n"].tolist() == [2, 1, 0, 1]
    assert table.loc[2].drop(["class", "n"]).isna().all()
    assert table.loc[[0, 1, 3]].notna().all(axis=None)
    pairs = found.pairs(top=100)
    assert len(pairs) == 9
    assert 2 not in set(pairs["true"])
    assert pairs.iloc[0][["true", "wrong", "share"]].tolist() == [0, 1, 0.5]
    assert np.isnan(found.counts().rates()[2]).all()
    full = measure_indicators(np.eye(3), [0, 1, 2], ks=[1]).per_class()
    assert full.dtypes["rival"] == np.int64


def test_what_needs_each_class_is_refused():
    for call in (
        lambda: ambiguity(SOFT, LABELS, k=1),
        lambda: effectiveness(SOFT, LABELS, ks=1),
        lambda: measure_indicators(SOFT, LABELS, ks=1).table(),
        lambda: measure_indicators(SOFT, LABELS, ks=1).best(),
    ):
        with pytest.raises(ValueError, match="class 2 has no samples"):
            call()
    with pytest.raises(ValueError, match=r"samples of at least two classes"):
        ambiguity(SOFT, [0] * 4, k=1, version="marginal")
    with pytest.raises(ValueError, match=r"delta must lie .* leave out classes without samples \(NaN\)"):
        learnability(unreliability(SOFT, LABELS, k=1).per_class, [0.1] * 4)


def test_the_students_condition_is_undecided_without_every_class():
    condition = student_condition(SOFT, LABELS)
    assert math.isnan(condition.margins[2])
    assert condition.per_class == "undecided"
    assert "class 0" in repr(condition)
