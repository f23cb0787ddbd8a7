"""The summary of a record against a loop over its rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biasvar.records import summarise
from biasvar.records.summary import calibration_error

from .conftest import record_columns


def by_hand(columns, replica):
    rows = [index for index, number in enumerate(columns["replica"]) if number == replica]

    def mean(value):
        return sum(float(value(index)) for index in rows) / len(rows)

    a, b, norm_a, norm_b = (
        columns[name] for name in ("bias_gradient", "variance_gradient", "bias_gradient_norm", "variance_gradient_norm")
    )
    return {
        "replica": replica,
        "n": len(rows),
        "accuracy": mean(lambda i: columns["student_prediction"][i] == columns["label"][i]),
        "nll": mean(lambda i: columns["student_loss"][i]),
        "share_opposing": mean(lambda i: columns["opposing"][i]),
        "share_literal": mean(lambda i: b[i] > a[i]),
        "share_magnitude": mean(lambda i: abs(b[i]) > abs(a[i])),
        "share_norm": mean(lambda i: norm_b[i] > norm_a[i]),
        "wsl_weight": mean(lambda i: columns["wsl_weight"][i]),
        "loss_weight": mean(lambda i: columns["loss_weight"][i]),
    }


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sets(st.integers(0, 10**9), min_size=1, max_size=4), st.booleans())
def test_against_a_loop(seed, replicas, shuffle):
    columns = record_columns(seed, replicas=sorted(replicas), ids=range(7))
    if shuffle:
        order = np.random.default_rng(seed).permutation(len(columns["replica"]))
        columns = {name: values[order] for name, values in columns.items()}
    found = summarise(columns)
    expected = [by_hand(columns, replica) for replica in sorted(replicas)]
    assert list(found) == list(expected[0])
    for name, values in found.items():
        np.testing.assert_allclose(values, [row[name] for row in expected], rtol=1e-12, atol=1e-12)


def test_without_teacher_or_rows():
    found = summarise({**record_columns(teacher=False), "opposing": None})
    assert all(np.isnan(found[name]).all() for name in ("share_opposing", "share_literal", "share_norm", "wsl_weight"))
    assert np.isfinite(found["nll"]).all()
    empty = summarise({name: values[:0] for name, values in record_columns().items()})
    assert all(len(values) == 0 for values in empty.values())


def test_nan_stays_visible():
    columns = record_columns()
    columns["student_loss"][0] = np.nan
    assert np.isnan(summarise(columns)["nll"]).tolist() == [True, False, False]


@given(st.lists(st.tuples(st.integers(0, 999), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_against_a_loop(drawn):
    pairs = [((step + 0.5) / 1000, correct) for step, correct in drawn]  # never on the edge of a bin
    total = 0.0
    for index in range(15):
        inside = [(p, c) for p, c in pairs if index / 15 < p <= (index + 1) / 15]
        if inside:
            confidence, accuracy = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            total += len(inside) / len(pairs) * abs(accuracy - confidence)
    assert calibration_error(*zip(*pairs, strict=True)) == pytest.approx(total, abs=1e-12)


def test_calibration_error_of_known_cases():
    assert calibration_error([1.0, 1.0], [True, True]) == 0
    assert calibration_error([1.0, 1.0], [False, False]) == 1
    assert calibration_error([0.0], [False]) == 0


def test_words_among_numbers_are_named():
    columns = {"replica": [0, 0], "label": [0, 1], "student_prediction": [0, 1]}
    with pytest.raises(ValueError, match="student_loss must hold a number for each of the 2 rows"):
        summarise({**columns, "student_loss": np.array([0.5, "x"], dtype=object)})
