from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biasvar.data import Dataset, check_classes, load_dataset, split_official, split_rows

SHARES = np.array([0.2, 0.2, 0.2, 0.1, 0.3])


def made(train: int = 400, test: int = 100) -> Dataset:
    """Five uneven classes, with an official split."""
    labels = np.concatenate([np.repeat(np.arange(5), np.rint(n * SHARES).astype(int)) for n in (train, test)])
    split = np.array(["train"] * train + ["test"] * test)
    images = np.zeros((train + test, 2, 2), dtype=np.uint8)
    return Dataset("made", images, labels, ("a", "b", "c", "d", "e"), 255.0, "made up", split=split)


def near(labels: np.ndarray, ids: np.ndarray) -> bool:
    return bool((np.abs(np.bincount(labels[ids], minlength=5) - len(ids) * SHARES) <= 2.5).all())


@given(
    st.integers(0, 2**31), st.one_of(st.none(), st.integers(1, 100)), st.integers(0, 100), st.integers(0, 100),
    st.one_of(st.none(), st.integers(1, 200)),
)  # fmt: skip
def test_blocks_follow_the_official_split(seed, test, validation, reserved, student):
    data = made()
    blocks = split_official(
        data, test=test, validation=validation, reserved=reserved, student=student, seed=seed
    )  # fmt: skip
    assert list(blocks) == ["test", "validation", "reserved", "student"]
    rest = 400 - validation - reserved
    assert [len(ids) for ids in blocks.values()] == [test or 100, validation, reserved, student or rest]
    everyone = np.concatenate(list(blocks.values()))
    assert len(set(everyone.tolist())) == len(everyone)
    assert (data.split[blocks["test"]] == "test").all()
    for name, ids in blocks.items():
        assert name == "test" or (data.split[ids] == "train").all()
        assert (np.diff(ids) > 0).all()
        assert near(data.labels, ids)


@given(st.integers(0, 2**31), st.sampled_from(["train", "test"]), st.integers(1, 40), st.integers(0, 30))
def test_every_block_from_one_official_split(seed, split, test, validation):
    data = made()
    blocks = split_official(data, test=test, validation=validation, reserved=5, student=20, split=split, seed=seed)
    assert [len(ids) for ids in blocks.values()] == [test, validation, 5, 20]
    everyone = np.concatenate(list(blocks.values()))
    assert len(set(everyone.tolist())) == len(everyone)
    assert (data.split[everyone] == split).all()
    assert all(near(data.labels, ids) for ids in blocks.values())


def test_one_official_split_that_cannot_be():
    with pytest.raises(ValueError, match="all rows are cut from the test split of made: give the number of test rows"):
        split_official(made(), split="test", seed=0)
    with pytest.raises(ValueError, match="out of the 100 rows of the test split of made and leave any for"):
        split_official(made(), test=60, validation=40, split="test", seed=0)
    with pytest.raises(ValueError, match="digits has no official test split to cut all rows from: leave split out"):
        split_official(load_dataset("digits"), test=60, split="test", seed=0)


@given(st.integers(0, 2**31), st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_without_an_official_split_it_is_split_rows(seed, test, validation, reserved):
    data, sizes = load_dataset("digits"), {"test": test, "validation": validation, "reserved": reserved}
    found = split_official(data, **sizes, student=None, seed=seed)
    expected = split_rows(data.labels, sizes, seed=seed)
    assert list(found) == list(expected)
    for name, ids in expected.items():
        np.testing.assert_array_equal(found[name], ids)
    part = split_official(data, **sizes, student=100, seed=seed)
    assert len(part["student"]) == 100
    assert set(part["student"]) <= set(expected["student"])


def test_a_smaller_study_lies_inside_a_larger_one():
    data = made()
    small = split_official(data, test=20, validation=40, reserved=30, student=50, seed=7)
    large = split_official(data, test=60, validation=40, reserved=30, student=None, seed=7)
    for name in small:
        assert set(small[name]) <= set(large[name])
    np.testing.assert_array_equal(small["validation"], large["validation"])
    other = split_official(data, test=20, validation=40, reserved=30, student=50, seed=8)
    assert set(other["test"]) != set(small["test"])


def test_any_one_block_can_take_the_rest():
    blocks = split_official(made(), validation=50, reserved=None, student=100, seed=0)
    assert {name: len(ids) for name, ids in blocks.items()} == {
        "test": 100, "validation": 50, "reserved": 250, "student": 100,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"test": 101}, "cannot take test 101 out of the 100 rows of the test split of made$"),
        (
            {"validation": 400},
            "cannot take validation 400, reserved 0, student all that remain out of the 400 rows of ",
        ),
        ({"validation": 200, "student": 201}, "out of the 400 rows of the train split of made and leave any for the s"),
        ({"validation": -1}, "cannot take validation -1"),
        ({"student": 0}, "cannot take .* student 0"),
        ({"reserved": None}, "only one block can take all rows that remain; give the others a number"),
    ],
)
def test_sizes_that_cannot_be(sizes, message):
    with pytest.raises(ValueError, match=message):
        split_official(made(), **sizes, seed=0)


def test_all_test_rows_of_data_without_a_test_split():
    with pytest.raises(ValueError, match="digits has no official test split: give the number of test rows"):
        split_official(load_dataset("digits"), seed=0)
    with pytest.raises(ValueError, match="out of the 1,797 rows of digits and leave any for the students"):
        split_official(load_dataset("digits"), test=1797, seed=0)


def test_a_missing_class_is_named_with_its_block():
    data = made()
    check_classes(data, split_official(data, test=None, validation=40, reserved=0, student=60, seed=0))
    labels = np.where((data.labels == 3) & (data.split == "test"), 2, data.labels)
    blocks = split_official(replace(data, labels=labels), validation=40, seed=0)
    with pytest.raises(ValueError, match=r"test \(100 rows of made\) has no row of class 3 \('d'\); every split needs"):
        check_classes(replace(data, labels=labels), blocks)
    with pytest.raises(
        ValueError, match=r"student \(2 rows of made\) has no row of 4 of 5 classes, such as 1 \('b'\);"
    ):
        check_classes(data, {"reserved": np.arange(0), "student": np.arange(2)})
    gap = replace(data, labels=np.where(data.labels == 3, 2, data.labels))
    with pytest.raises(ValueError, match="the data set has none at all: number its classes from 0 up without a gap"):
        check_classes(gap, {"test": np.flatnonzero(gap.split == "test")})
    alone = replace(data, labels=np.zeros_like(data.labels), class_names=["a"])
    with pytest.raises(ValueError, match="made has rows of one class only, 'a'; needed: two or more"):
        check_classes(alone, {"test": np.arange(3)})
