"""Votes counted from tables with gaps: one table in every container and every mark of a gap, and entries refused."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from biasvar.analysis import count_votes, from_votes

GAP = -1
TABLE = np.array([[0, 1, GAP], [2, GAP, GAP], [1, 1, 2], [GAP, 0, 2]])
VOTES = [[1, 1, 0], [0, 0, 1], [0, 2, 1], [1, 0, 1]]
NAMES = ["cat", "dog", "emu"]


def with_gaps(mark):
    return [[mark if entry == GAP else int(entry) for entry in row] for row in TABLE]


def words(mark):
    return [[mark if entry == GAP else NAMES[entry] for entry in row] for row in TABLE]


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        TABLE.astype(np.int8),
        np.where(TABLE == GAP, math.nan, TABLE),
        torch.tensor(TABLE),
        with_gaps(None),
        with_gaps(math.nan),
        with_gaps(""),
        with_gaps(pd.NA),
        with_gaps("NA"),
        [["" if entry == GAP else f" {entry}.0" for entry in row] for row in TABLE],
        pd.DataFrame(with_gaps(None)),
        pd.DataFrame(with_gaps(None), dtype="Int64"),
        pd.DataFrame(with_gaps(""), dtype=object),
        pd.DataFrame(TABLE, index=[3, 1, 2, 0]),
        pa.table({f"a{i}": pa.array([row[i] for row in with_gaps(None)]) for i in range(3)}),
    ],
    ids=lambda table: type(table).__name__,
)
def test_every_container_and_gap_gives_the_same_votes(table):
    votes = count_votes(table, 3)
    assert votes.tolist() == VOTES
    assert votes.dtype in (np.int64, torch.int64)
    np.testing.assert_allclose(from_votes(votes)[2], [0, 2 / 3, 1 / 3])


@pytest.mark.parametrize("mark", ["", None, math.nan, "nan", -1])
def test_words_are_mapped_by_the_class_names(mark):
    assert count_votes(words(mark), class_names=NAMES).tolist() == VOTES
    assert count_votes(pd.DataFrame(words(mark)).astype("category"), class_names=NAMES).tolist() == VOTES
    assert count_votes(TABLE, class_names=NAMES).tolist() == VOTES  # numbers beside names are class numbers
    assert count_votes([["NA", "yes"], ["", "NA"]], class_names=["NA", "yes"]).tolist() == [[1, 1], [1, 0]]


def test_samples_that_nobody_labelled():
    table = [[0, 1], [None, None], [1, -1]]
    with pytest.raises(ValueError, match=r'nobody labelled row 1; leave them out, or keep them with empty="zero"'):
        count_votes(table, 2)
    votes = count_votes(table, 2, empty="zero")
    assert votes.tolist() == [[1, 1], [0, 0], [0, 1]]
    with pytest.raises(ValueError, match="row 1 has no votes"):
        from_votes(votes)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ([[0, 1], [1, 3]], {}, "row 1 holds 3; .*if classes start at 1, subtract 1"),
        ([[0, 1], [1, 7]], {}, r"row 1 holds 7; allowed are classes 0 .. 2"),
        ([[0, 1], [1, -2]], {}, "row 1 holds -2"),
        ([[0, 1], [1, 0.5]], {}, "row 1 holds 0.5"),
        ([[0, 1], [1, math.inf]], {}, "row 1 holds inf"),
        ([[True, False]], {}, "row 0 holds True"),
        ([["cat", "dog"]], {}, "row 0 holds 'cat'; .*class_names="),
        ([["cat", "dgo"]], {"class_names": NAMES}, "row 0 holds 'dgo'; .*did you mean 'dog'"),
        ([0, 1], {}, r"must have shape \(N, A\)"),
        (np.array([0, 1]), {}, r"must have shape \(N, A\)"),
        (np.zeros((0, 2), int), {}, r"must have shape \(N, A\)"),
        ([[0, 1], [1]], {}, "row 1 has 1 entries, row 0 2; mark gaps with None"),
        ([[0, 1]], {"num_classes": None}, "say how many classes"),
        ([[0, 1]], {"num_classes": 1}, "num_classes must be at least 2"),
        ([[0, 1]], {"num_classes": 4, "class_names": NAMES}, "as many as class_names"),
        ([[0, 1]], {"class_names": ["a", "a", "b"]}, "different names"),
        ([[0, 1]], {"empty": "drop"}, "empty must be one of refuse, zero"),
        (np.ma.masked_array([[0, 1]], [[True, False]]), {}, "masked array"),
    ],
)
def test_entries_that_are_no_class_are_refused(table, options, message):
    with pytest.raises(ValueError, match=message):
        count_votes(table, **({"num_classes": 3} | options))


def test_tensors_in_lists_and_tensors_without_values():
    assert count_votes([torch.tensor([0, 1]), torch.tensor([1, 1])], 2).tolist() == [[1, 1], [0, 2]]
    with pytest.raises(ValueError, match=r"must have shape \(N, A\)"):
        count_votes([torch.tensor(1.0), torch.tensor(0.0)], 2)
    with pytest.raises(ValueError, match="sparse, quantized or meta"):
        count_votes(torch.zeros((2, 2), device="meta"), 2)


def test_counts_taken_for_annotations_are_refused():
    counts = np.random.default_rng(0).multinomial(2, [0.5, 0.3, 0.2], 20)
    for table in (counts, counts.tolist(), pd.DataFrame(counts), np.eye(3, dtype=int)[counts.argmax(1)]):
        with pytest.raises(ValueError, match=r"annotations look like counts of votes.*from_votes"):
            count_votes(table, 3)
    said = np.column_stack([counts, np.full(20, GAP)])  # the way out that the message names
    assert count_votes(said, 3).sum(axis=1).tolist() == [3] * 20
    assert count_votes(counts[:19], 3).sum() == 57  # few rows may have one sum by chance
    assert count_votes(np.tile([1, 1, 1], (20, 1)), 3)[:, 1].tolist() == [3] * 20  # all agree, on one class always
    assert count_votes(np.random.default_rng(1).integers(0, 3, (20, 3)), 3).sum() == 60
