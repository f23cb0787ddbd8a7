from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biasvar.data import draw_members, load_dataset, split_rows
from biasvar.seeding import generator


def test_digits_are_scikit_learns_and_stay_the_same():
    data = load_dataset("digits")
    assert data.images.dtype == np.uint8
    assert data.features().max() == 1.0
    assert data.features().shape == (1797, 64)
    assert data.fingerprint == load_dataset("digits").fingerprint
    with pytest.raises(ValueError, match="no data set named 'mnist'; there is: digits"):
        load_dataset("mnist")


@given(seed=st.integers(0, 2**31), test=st.integers(0, 60), validation=st.integers(0, 60))
def test_splits_are_disjoint_complete_and_near_stratified(seed, test, validation):
    labels = np.repeat(np.arange(5), [40, 40, 40, 20, 60])
    blocks = split_rows(labels, {"test": test, "validation": validation}, seed=seed)
    everyone = np.concatenate(list(blocks.values()))
    assert sorted(everyone) == list(range(200))
    assert len(blocks["test"]) == test
    for ids in blocks.values():
        share = np.bincount(labels[ids], minlength=5)
        assert (np.abs(share - len(ids) * np.array([0.2, 0.2, 0.2, 0.1, 0.3])) <= 2.5).all()


def test_splits_that_cannot_be():
    for sizes in ({"test": 10}, {"test": -1}, {"test": 5, "validation": 5}):
        with pytest.raises(ValueError, match="cannot take"):
            split_rows(np.zeros(10, dtype=int), sizes, seed=0)


@given(st.integers(0, 1000), st.integers(0, 20))
def test_a_replicas_draw_does_not_depend_on_who_else_is_drawn(seed, replica):
    pool = np.arange(100, 180)
    for kind, rows in (("subsample", 30), ("bootstrap", None), ("disjoint", None), ("seed_only", None)):
        many = draw_members(kind, pool, rows, replicas=range(21), seed=seed, total=21)
        alone = draw_members(kind, pool, rows, replicas=[replica], seed=seed, total=21)
        np.testing.assert_array_equal(many[replica], alone[0])


def test_what_each_draw_takes():
    pool = np.arange(60)
    subsample = draw_members("subsample", pool, 20, replicas=range(5), seed=1)
    assert (subsample.sum(1) == 20).all()
    assert subsample.max() == 1
    disjoint = draw_members("disjoint", pool, None, replicas=range(5), seed=1)
    assert (disjoint.sum(0) == 1).all()
    assert (disjoint.sum(1) == 12).all()
    bootstrap = draw_members("bootstrap", pool, None, replicas=range(5), seed=1)
    assert (bootstrap.sum(1) == 60).all()
    assert bootstrap.max() > 1
    assert (draw_members("seed_only", pool, None, replicas=range(5), seed=1) == 1).all()


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("subsample", 61, "between 1 and the pool's 60"),
        ("subsample", None, "between 1 and the pool's 60"),
        ("disjoint", 20, "5 replicas of 20 rows need more than 60"),
        ("jackknife", None, "unknown draw 'jackknife'; allowed: disjoint"),
    ],
)
def test_draws_that_cannot_be(kind, rows, message):
    with pytest.raises(ValueError, match=message):
        draw_members(kind, np.arange(60), rows, replicas=range(5), seed=0)


def test_generators_differ_by_purpose_and_keys():
    values = {generator(1, purpose, *keys).random() for purpose in ("a", "b") for keys in ((), (0,), (1,), ("x",))}
    assert len(values) == 8
