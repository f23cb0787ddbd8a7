"""Streaming equals the whole array, merges agree, and nothing is counted twice."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import Accumulator, decompose, decompose_groups
from tests.analysis import reference
from tests.analysis.reference import quick

FIELDS = ("noise", "bias", "variance", "counts", "group_counts", "deleted_bias", "deleted_variance")
LOSSES = ("cross_entropy", "squared_error")


def assert_same(ours, expected):
    for field in FIELDS:
        np.testing.assert_allclose(
            np.asarray(getattr(ours, field)), np.asarray(getattr(expected, field)), atol=1e-12, err_msg=field
        )


@quick
@given(st.integers(0, 10_000), st.sampled_from(LOSSES), st.sampled_from([2, 4, 16]), st.booleans())
def test_batches_in_any_order_give_the_whole(seed, loss, groups, soft):
    rng = np.random.default_rng(seed)
    logits, labels, q = reference.arrays(seed, replicas=7)
    target = q if soft else labels
    where = rng.random((7, 9)) < 0.8
    where[:, 0] = True
    accumulators = [Accumulator(9, 4, loss=loss, groups=groups) for _ in range(2)]
    batches = []
    for r in range(7):
        ids = rng.permutation(np.flatnonzero(where[r]))
        batches += [(r, part) for part in np.array_split(ids, 3) if len(part)]
    for position in rng.permutation(len(batches)):
        r, ids = batches[position]
        accumulators[position % 2].update(logits[r, ids], ids, replica=r)
    merged = accumulators[0].merge(accumulators[1])
    assert_same(merged.result(target), decompose(logits, target, loss=loss, where=where, groups=groups))
    assert merged.replicas == list(range(7))


@pytest.mark.parametrize("loss", LOSSES)
def test_whole_arrays_are_the_next_replica_in_any_namespace(loss):
    logits, labels, _ = reference.arrays(1, replicas=5)
    arrays, tensors = Accumulator(9, 4, loss=loss), Accumulator(9, 4, loss=loss)
    for replica in logits:
        arrays.update(replica)
        tensors.update(torch.as_tensor(replica))
    expected = decompose(logits, labels, loss=loss)
    assert_same(arrays.result(labels), expected)
    streamed = tensors.result(torch.as_tensor(labels))
    assert isinstance(streamed.bias, torch.Tensor)
    assert_same(streamed, expected)
    assert_same(Accumulator(9, 4, loss=loss).merge(tensors).result(labels), expected)
    mixed = Accumulator(9, 4, loss=loss)
    mixed.update(np.zeros((9, 4)), replica=9)
    assert isinstance(mixed.merge(tensors).result(labels).bias, np.ndarray)
    bare = arrays.result(labels, errors=False)
    assert bare.group_counts is None
    np.testing.assert_allclose(bare.variance, expected.variance, atol=1e-13)


@pytest.mark.filterwarnings("ignore:there is one replica")
def test_rows_nobody_has_seen_are_nan():
    accumulator = Accumulator(3, 2)
    accumulator.update([[0.0, -1.0]], [2], replica=4)
    result = accumulator.result([0, 0, 0])
    assert np.isnan(result.bias[:2]).all()
    assert result.bias[2] == pytest.approx(np.log1p(np.exp(-1.0)))
    assert result.counts.tolist() == [0, 0, 1]


def test_the_group_statistics_are_those_the_store_keeps():
    logits, labels, _ = reference.arrays(2, replicas=6)
    accumulator = Accumulator(9, 4, groups=4)
    for replica in logits:
        accumulator.update(replica)
    assert accumulator.counts[:, 0].tolist() == [2, 2, 1, 1]
    stored = decompose_groups(accumulator.counts, accumulator.mean_log_probs, labels)
    assert_same(stored, decompose(logits, labels, groups=4))
    squares = Accumulator(9, 4, loss="squared_error")
    squares.update(logits[0])
    with pytest.raises(ValueError, match="cross_entropy"):
        _ = squares.mean_log_probs


def spoiled():
    logits = np.zeros((4, 2))
    logits[[1, 3], 0] = np.nan, np.inf
    return logits


@pytest.mark.parametrize(
    ("logits", "ids", "replica", "message"),
    [
        (np.zeros(2), [0], 0, r"logits must have shape \(n, C\)"),
        (np.zeros((4, 3)), None, 0, "must have 2 classes"),
        (np.zeros((3, 2)), None, 0, "all 4 rows"),
        (np.zeros((2, 2)), [0, 4], 0, "0 .. 3, got 4"),
        (np.zeros((2, 2)), [0, -1], 0, "0 .. 3, got -1"),
        (np.zeros((2, 2)), [1, 1], 0, "must not repeat in a batch; 1 does"),
        (np.zeros((2, 2)), [1], 0, "2 integers, one a row"),
        (np.zeros((2, 2)), [1.0, 2.0], 0, "2 integers, one a row"),
        (np.zeros((2, 2)), [0, 1], None, "needs to say its replica"),
        (np.zeros((2, 2)), [0, 1], -1, "replica must be a whole number"),
        (np.zeros((2, 2)), [0, 1], True, "replica must be a whole number"),
        (np.zeros((2, 2)), [3, 2], 7, "replica 7 has already given sample 3, 2"),
        (spoiled(), None, 1, "replica 1 must be finite; those of sample 1, 3 are not"),
    ],
)
def test_bad_batches_are_refused_and_leave_no_trace(logits, ids, replica, message):
    accumulator = Accumulator(4, 2)
    accumulator.update(2.0 * np.eye(4, 2), replica=7)
    before = accumulator.mean_log_probs.copy()
    with pytest.raises(ValueError, match=message):
        accumulator.update(logits, ids, replica=replica)
    np.testing.assert_array_equal(accumulator.mean_log_probs, before)
    assert accumulator.replicas == [7]


def test_merges_that_would_count_twice_are_refused():
    one, other = Accumulator(4, 2), Accumulator(4, 2)
    one.update(np.zeros((2, 2)), [0, 1], replica=0)
    other.update(np.ones((2, 2)), [1, 2], replica=0)
    with pytest.raises(ValueError, match="replica 0 of sample 1"):
        one.merge(other)
    unnamed = [Accumulator(4, 2) for _ in range(2)]
    for each in unnamed:
        each.update(2.0 * np.eye(4, 2) - 1.0)
    with pytest.raises(
        ValueError, match=r"replica 0 of sample 0, .*; without replica= each.*update\(.*replica=\.\.\.\)"
    ):
        unnamed[0].merge(unnamed[1])
    assert one.merge(Accumulator(4, 2)) is one
    for options in ({"loss": "squared_error"}, {"groups": 3}):
        with pytest.raises(ValueError, match=f"differ in {next(iter(options))}"):
            one.merge(Accumulator(4, 2, **options))
    with pytest.raises(TypeError, match="merge takes another Accumulator, got str"):
        one.merge("x")


def test_an_accumulator_without_data_says_so():
    for ask in (lambda a: a.result([0]), lambda a: a.counts, lambda a: a.mean_log_probs):
        with pytest.raises(ValueError, match="no logits yet"):
            ask(Accumulator(1, 2))
    for sizes in ((0, 2), (1, 1), (7.5, 3), ("7", 3), (True, 3)):
        with pytest.raises(ValueError, match="num_samples must be a whole number"):
            Accumulator(*sizes)
    assert Accumulator(np.int64(3), 2.0).num_samples == 3
    with pytest.raises(ValueError, match="groups must be"):
        Accumulator(1, 2, groups=1.5)


def test_many_bad_ids_are_cut_short():
    with pytest.raises(ValueError, match="and 3 more"):
        Accumulator(1, 2).update(np.zeros((8, 2)), np.arange(1, 9), replica=0)
