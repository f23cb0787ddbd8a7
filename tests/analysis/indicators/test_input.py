"""What indicators refuse, and how they say it: the row in the whole data, and the rule."""

import numpy as np
import pandas as pd
import pytest
import torch

from biasvar.analysis import (
    IndicatorAccumulator,
    add_noise,
    ambiguity,
    effectiveness,
    measure_indicators,
    unreliability,
)

EYE, ALL = np.eye(3), [0, 1, 2]


def test_rows_are_counted_through_batches():
    accumulator = IndicatorAccumulator(3, ks=[1])
    accumulator.update(EYE, ALL)
    for soft, labels, message in (
        (EYE * 0.5, ALL, r"sum to 1 within 0.001; row 3, 4, 5 does not \(the first sums to 0.5\); normalize=True"),
        (np.where(EYE == 1, np.nan, 0), ALL, "finite; row 3, 4, 5"),
        (EYE - 0.1, ALL, "negative; row 3, 4, 5"),
        (EYE, [0, 7, 1], r"labels must lie in 0 .. 2; row 4 does not \(the first is 7\)"),
        (EYE, [0, -1, 1], "row 4"),
    ):
        with pytest.raises(ValueError, match=message):
            accumulator.update(soft, labels)
    assert accumulator.result().counts().n == 3  # nothing was added
    with pytest.raises(ValueError, match="row 3, 4, 5, 6, 7 and 2 more"):
        accumulator.update(np.zeros((7, 3)), [0] * 7)
    with pytest.raises(ValueError, match=r"row 1000 does"):
        measure_indicators(np.concatenate([np.tile(EYE, (333, 1)), [[1, 0, 0], [1, 1, 0]]]), [0, 1, 2] * 333 + [0, 0])


def test_normalize_only_when_asked_for():
    votes = np.array([[3, 1, 0], [0, 2, 0], [1, 1, 4]])
    with pytest.raises(ValueError, match="row 0, 1, 2"):
        unreliability(votes, ALL, k=1)
    assert unreliability(votes, ALL, k=1, normalize=True).value == 0
    assert ambiguity(votes, ALL, threshold=0.2, normalize=True).worst == (0, 1)
    assert ambiguity(torch.tensor(votes), ALL, threshold=0.25, normalize=True).value == 1
    with pytest.raises(ValueError, match="positive sum to be normalized; row 1 is all zero"):
        unreliability([[1, 0], [0, 0]], [0, 1], k=1, normalize=True)
    with pytest.raises(ValueError, match="negative; row 1"):
        unreliability([[1, 0], [2, -1]], [0, 1], k=1, normalize=True)


def test_raw_scores():
    scores = add_noise(EYE, 1.0, seed=0)
    with pytest.raises(ValueError, match="pass scores=True"):
        unreliability(scores, ALL, k=1)
    shifted = effectiveness(scores - 5, ALL, ks=[1, 2], scores=True)
    pd.testing.assert_frame_equal(shifted, effectiveness(scores, ALL, ks=[1, 2], scores=True), rtol=1e-12)
    assert unreliability(scores, ALL, threshold=-50, scores=True).value == 0
    with pytest.raises(ValueError, match="finite; row 1"):
        unreliability([[1, 0], [np.inf, 0]], [0, 1], k=1, scores=True)
    with pytest.raises(ValueError, match="scores=True says they are none"):
        unreliability(EYE, ALL, k=1, scores=True, normalize=True)
    with pytest.raises(ValueError, match="zero is a value like any other"):
        unreliability(scores, ALL, k=1, scores=True, ties="exclude_zero")
    with pytest.raises(ValueError, match="threshold must be a finite number"):
        unreliability(scores, ALL, threshold=np.inf, scores=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: unreliability(EYE, ALL), "either k or threshold"),
        (lambda: unreliability(EYE, ALL, k=1, threshold=0.1), "either k or threshold"),
        (lambda: unreliability(EYE, ALL, threshold=1.5), "a mass in 0 .. 1"),
        (lambda: unreliability(EYE, ALL, threshold=True), "threshold must be a number or None, not True"),
        (lambda: unreliability(EYE, ALL, threshold="0.5"), "threshold must be a number or None, not '0.5'"),
        (lambda: unreliability(EYE, ALL, k="1"), "k must be a whole number or None, not '1'"),
        (lambda: unreliability(EYE, ALL, k=True), "k must be a whole number or None, not True"),
        (lambda: unreliability(EYE, ALL, k=np.nan), "k must be a whole number or None, not nan"),
        (lambda: unreliability(EYE, ALL, k=1, interval="wald"), "exact, hoeffding"),
        (lambda: unreliability(EYE, ALL, k=1, seed=-1), "seed must be"),
        (lambda: unreliability(EYE[0], ALL, k=1), r"soft_labels must have shape \(N, K\)"),
        (lambda: unreliability(EYE[:, :1], ALL, k=1), "at least two classes"),
        (lambda: unreliability(EYE[:0], [], k=1), r"with rows and classes"),
        (lambda: unreliability(EYE, [0, 1], k=1), r"labels must have shape \(3,\)"),
        (lambda: unreliability(EYE, [0.0, 1.0, 2.0], k=1), r"labels must be integers \(class numbers\)"),
        (lambda: unreliability(EYE, ALL, k=1, sample_ids=[1, 2]), r"sample_ids must have shape \(3,\)"),
        (lambda: unreliability(EYE, ALL, k=1, sample_ids=[1, 2, 0.5]), "sample_ids must be integers"),
        (lambda: unreliability(np.array([["a", "b"]]), [0], k=1), "real numbers"),
        (lambda: ambiguity(EYE, [0, 1, 1], k=1), "class 2 has no samples"),
        (lambda: effectiveness(EYE, [0, 1, 1], ks=1), "class 2 has no samples"),
        (lambda: effectiveness(EYE, None, ks=1), "labels are missing"),
        (lambda: effectiveness(3, None, ks=1), "labels are missing"),
        (lambda: effectiveness([(EYE, ALL)], ks=1, labels=None, interval="bootstrap"), "need arrays"),
        (lambda: measure_indicators([]), "labels are missing|no batches"),
        (lambda: measure_indicators(iter([])), "no batches"),
        (lambda: measure_indicators([EYE]), "every part must be a tuple"),
        (lambda: measure_indicators([(EYE, [0, 1])]), r"labels must have shape \(3,\)"),
        (lambda: measure_indicators([(EYE, ALL), (np.eye(2), [0, 1])]), "3 classes, got shape"),
        (lambda: measure_indicators(EYE, ALL, ks=[], thresholds=[]), "at least one k or threshold"),
        (lambda: measure_indicators(EYE, ALL, ks=[1]).counts(k=2), "one k or one threshold that was counted: k = 1"),
        (lambda: measure_indicators(EYE, ALL, ks=1, mean_labels=False).student_condition(), "mean_labels=True"),
        (lambda: measure_indicators(EYE, ALL, ks=1).ambiguity(version="x"), "class, marginal"),
        (lambda: IndicatorAccumulator(1), "num_classes must be"),
        (lambda: IndicatorAccumulator(3).result(), "no samples yet"),
        (lambda: IndicatorAccumulator(3).merge(IndicatorAccumulator(3, ks=[1])), "merge only with others"),
        (lambda: IndicatorAccumulator(3).merge(None), "merge only with others"),
        (lambda: IndicatorAccumulator(3).update(np.zeros((2, 4)), [0, 0]), "must have 3 classes"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_merge_keeps_means_out_where_they_were_not_asked_for():
    parts = [IndicatorAccumulator(3, ks=[1], mean_labels=False) for _ in range(2)]
    for part in parts:
        part.update(EYE, ALL)
    parts[0].merge(parts[1])
    assert parts[0].result().counts().n == 6
    assert parts[0].result().means is None


def test_rows_of_unequal_length_are_named():
    with pytest.raises(ValueError, match="rows of soft_labels must be of one length; row 1 has 1 entries, row 0 2"):
        unreliability([[0.5, 0.5], [1.0]], [0, 1], k=1)
