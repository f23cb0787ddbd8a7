"""What a notebook shows of a result: one line with the number and its error, never the arrays."""

from __future__ import annotations

import numpy as np

import biasvar
from biasvar.analysis import paired_change

RNG = np.random.default_rng(0)
LABELS = np.arange(400) % 4
SOFT = RNG.dirichlet(np.ones(4), size=400)
LOGITS = RNG.normal(size=(6, 400, 4))


def test_a_decomposition_shows_its_totals_and_not_its_arrays():
    plain = biasvar.decompose(LOGITS, LABELS)
    shown = repr(plain.corrected())
    assert "400 samples" in shown
    assert "6 replicas" in shown
    assert "corrected" in shown
    assert len(shown) < 250
    assert f"bias {plain.corrected().totals().bias.value:.4g} ± " in shown
    assert "plug-in" in repr(plain)
    assert f"variance {0:.4g} ± " in repr(paired_change(plain, plain))


def test_an_indicator_shows_value_interval_and_where_it_is_worst():
    gamma = biasvar.ambiguity(SOFT, LABELS, k=1)
    assert isinstance(gamma.worst, tuple)
    true, wrong = gamma.worst
    assert str(gamma) == f"{gamma.interval}; worst: class {true}, label {wrong}"
    assert f"{gamma.value:.4g} (95 % {gamma.interval.low:.4g} to {gamma.interval.high:.4g}, n 400)" in repr(gamma)
    assert str(biasvar.unreliability(SOFT, LABELS, k=1)).split("worst: ")[1].isdecimal()


def test_ties_are_shown():
    even = np.full((400, 4), 0.25)
    assert str(biasvar.unreliability(even, LABELS, k=1, ties="include")).endswith("400 ties")


def test_indicators_and_conditions_show_what_they_are_of():
    assert repr(biasvar.measure_indicators(SOFT, LABELS, ks=[1, 2])) == (
        "<Indicators of 400 soft labels over 4 classes: k = 1, k = 2>"
    )
    guarantee = biasvar.measure_indicators(SOFT, LABELS, ks=[1]).guarantee()
    assert "not shown for" in repr(guarantee) or "fails" in repr(guarantee)
    assert len(repr(guarantee)) < 200
    condition = biasvar.student_condition(SOFT, LABELS)
    assert condition.per_class in repr(condition)
    assert len(repr(condition)) < 200
