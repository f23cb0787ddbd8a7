"""Rows to leave out, sums that are off by the rounding of a float16, and labels that are no class numbers."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from biasvar.analysis import (
    IndicatorAccumulator,
    ambiguity,
    effectiveness,
    label_quality,
    measure_indicators,
    student_condition,
    unreliability,
)
from biasvar.analysis.batches import ENTRIES, checked_batch

RNG = np.random.default_rng(0)
KEPT = np.arange(90) % 3 != 1
SOFT = RNG.dirichlet(np.ones(4), 90)
LABELS = RNG.integers(0, 4, 90)
# What a row that is left out may hold: a mark for a label, and no distribution.
MARKED = np.where(KEPT, LABELS, -100)
SPOILT = np.where(KEPT[:, None], SOFT, [math.nan, math.inf, -1.0, 7.0])
MEASURES = {
    "unreliability": lambda *data, **o: unreliability(*data, k=2, **o).value,
    "bootstrap": lambda *data, **o: unreliability(*data, k=2, interval="bootstrap", **o).interval,
    "ambiguity": lambda *data, **o: ambiguity(*data, k=2, **o).value,
    "marginal": lambda *data, **o: ambiguity(*data, k=2, version="marginal", **o).value,
    "effectiveness": lambda *data, **o: effectiveness(*data, **o).to_json(),
    "measure_indicators": lambda *data, **o: measure_indicators(*data, thresholds=[0.3], **o).table().to_json(),
    "student_condition": lambda *data, **o: student_condition(*data, **o).to_frame().to_json(),
    "label_quality": lambda *data, **o: label_quality(*data, **o).entropy.tolist(),
}


@pytest.mark.parametrize("name", MEASURES)
def test_rows_that_do_not_count_are_not_looked_at(name):
    measure = MEASURES[name]
    expected = measure(SOFT[KEPT], LABELS[KEPT])
    assert measure(SPOILT, MARKED, where=KEPT) == expected
    assert measure(torch.tensor(SPOILT), pd.Series(MARKED), where=torch.tensor(KEPT)) == expected
    assert measure(SOFT, LABELS, where=np.ones(90, bool)) == measure(SOFT, LABELS)
    with pytest.raises(ValueError, match=r"-100 marks rows to leave out: say so with where=labels != -100"):
        measure(SOFT, MARKED)
    with pytest.raises(ValueError, match=r"where must (be a bool array of|have) shape"):
        measure(SOFT, LABELS, where=KEPT[:5])
    with pytest.raises(ValueError, match="where must be a bool array"):
        measure(SOFT, LABELS, where=KEPT.astype(int))
    with pytest.raises(ValueError, match=r"masked array.*where=~mask"):
        measure(np.ma.masked_array(SOFT, SOFT < 0.1), LABELS)


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "label_quality"])
def test_no_rows_that_count_are_refused(name):
    with pytest.raises(ValueError, match="where leaves no"):
        MEASURES[name](SOFT, LABELS, where=np.zeros(90, bool))


def test_rows_keep_their_number_in_ties_and_messages():
    tied, labels = np.full((40, 4), 0.25), np.arange(40) % 4
    kept = np.arange(40) >= 7
    ids = np.arange(40)[kept]
    with pytest.warns(UserWarning, match="ties"):
        ours = unreliability(tied, labels, k=2, where=kept).value
    with pytest.warns(UserWarning, match="ties"):
        assert ours == unreliability(tied[kept], labels[kept], k=2, sample_ids=ids).value
    accumulator = IndicatorAccumulator(4, ks=[2])
    for part in (slice(0, 13), slice(13, 40)):
        accumulator.update(tied[part], labels[part], where=kept[part])
    assert accumulator.result().counts().delta == ours
    wrong = tied.copy()
    wrong[30] *= 2
    with pytest.raises(ValueError, match="row 30 does not"):
        unreliability(wrong, labels, k=2, where=kept)
    with pytest.raises(ValueError, match="row 31 does not"):
        unreliability(tied, np.where(np.arange(40) == 31, 9, labels), k=2, where=kept)
    with pytest.raises(ValueError, match="where and sample_ids go with arrays"):
        measure_indicators([(tied, labels)], where=kept)


def test_rows_are_numbered_through_parts_that_leave_rows_out():
    n = ENTRIES // 4 + 10  # the second part begins at the last ten rows
    soft, labels = np.tile(np.eye(4), (n // 4 + 1, 1))[:n], np.arange(n) % 4
    labels[-1] = 5
    with pytest.raises(ValueError, match=f"row {n - 1} does not"):
        unreliability(soft, labels, k=1, where=np.arange(n) % 2 == (n - 1) % 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3, 4], "they seem to start at 1: subtract 1"),
        ([0, 1, 255, 2], "255 marks rows to leave out"),
        (["cat", "dog", "cat", "dog"], "words are mapped by their place in a list of class names"),
        (np.eye(4), r"for one-hot labels pass labels.argmax\(-1\)"),
        ([True, False, True, True], r"must be integers \(class numbers\), got dtype bool"),
        ([0.0, 1.0, 2.0, 3.0], r"must be integers \(class numbers\), got dtype float64"),
    ],
)
def test_labels_that_are_no_class_numbers(labels, message):
    for measure in MEASURES.values():
        with pytest.raises(ValueError, match=message):
            measure(np.eye(4), labels)


def test_sums_within_a_thousandth_are_divided_where_sizes_enter():
    exact = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]])
    off = exact * np.array([[0.9992], [1.0008], [1.0]])
    found = label_quality(off, [0, 1, 2])
    np.testing.assert_allclose(found.true_mass, [0.5, 0.6, 0.7], rtol=1e-14)
    np.testing.assert_allclose(found.entropy, label_quality(exact, [0, 1, 2]).entropy, rtol=1e-14)
    np.testing.assert_allclose(student_condition(off, [0, 1, 2]).margins, [0.2, 0.4, 0.5], rtol=1e-12)
    # 0.3 and 0.2 of a row that sums to 0.9992: by size, the threshold 0.2 - 1e-4 holds both.
    assert ambiguity(off, [0, 1, 2], threshold=0.1999, version="class").value == 1.0
    for sum_of_rows, message in ((1.002, "within 0.001"), (0.998, "within 0.001")):
        with pytest.raises(ValueError, match=message):
            unreliability(exact * sum_of_rows, [0, 1, 2], k=1)


def test_what_goes_by_rank_is_not_divided():
    low = np.float32(0.3)
    row = np.array([[low, np.nextafter(low, np.float32(1)), np.float32(0.4005)]])
    batch = checked_batch(row, [0])
    np.testing.assert_array_equal(batch.values, row)
    assert batch.mass.dtype == np.float32
    assert abs(batch.mass.sum() - 1) < 1e-6
    assert unreliability(row, [1], k=2).ties == 0
    near = np.array([[0.1, 0.2, 0.7]], dtype=np.float32)  # rounding of float32: mass is what was given
    batch = checked_batch(near, [0])
    assert batch.mass is batch.values


def test_half_precision_is_read():
    soft = torch.softmax(torch.tensor(RNG.normal(size=(50, 100))), dim=1)
    labels = torch.arange(50)
    expected = unreliability(soft, labels, k=5).value
    for made in (soft.half(), soft.bfloat16(), soft.float().requires_grad_()):
        assert abs(unreliability(made, labels, k=5, ties="include").value - expected) <= 0.1
    assert unreliability([*soft.float().requires_grad_()], labels, k=5).value == expected
    frame = pd.DataFrame(soft.numpy())
    assert unreliability(frame, pd.Series(labels.numpy()), k=5).value == expected
