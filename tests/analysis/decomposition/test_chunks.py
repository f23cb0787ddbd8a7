"""Chunks of rows, and shards of them, give what the whole array gives."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biasvar.analysis import Decomposition, decompose, decompose_chunks, join_rows

R, N, C = 6, 23, 5


def made(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(R, N, C)) * 3, draw.integers(0, C, N)


def assert_same(found: Decomposition, expected: Decomposition) -> None:
    for field in fields(Decomposition):
        mine, theirs = getattr(found, field.name), getattr(expected, field.name)
        if theirs is None or isinstance(theirs, str):
            assert mine == theirs
        else:
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, N - 1), max_size=5, unique=True).map(sorted),
    loss=st.sampled_from(["cross_entropy", "squared_error", "zero_one"]),
    errors=st.booleans(),
)
def test_chunks_and_shards_give_what_the_whole_gives(cuts, loss, errors):
    logits, labels = made()
    options = {"loss": loss, "groups": 4, "errors": errors}
    expected = decompose(logits, labels, **options)
    edges = list(zip([0, *cuts], [*cuts, N], strict=True))
    assert_same(decompose_chunks((logits[:, a:b] for a, b in edges), labels, **options), expected)
    assert_same(join_rows([decompose(logits[:, a:b], labels[a:b], **options) for a, b in edges]), expected)


def test_chunks_are_read_one_at_a_time():
    """A chunk is asked for when what came before it is decomposed, and not kept."""
    logits, labels = made()
    alive: list[torch.Tensor] = []

    def chunks():
        for row in range(N):
            for kept in alive:
                assert torch.isnan(kept).all()
            chunk = torch.tensor(logits[:, row : row + 1])
            alive.append(chunk)
            yield chunk
            chunk.fill_(float("nan"))  # whatever was to be kept of it is kept by now

    found = decompose_chunks(chunks(), labels)
    np.testing.assert_allclose(found.bias, decompose(logits, labels).bias, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ([(R, 0, 10), (R, 10, 20)], "hold 20 rows, and target 23"),
        ([(R, 0, 20), (R, 10, 20)], "chunk 1 ends at row 30, and target has 23"),
        ([(R, 0, 20), (R - 1, 20, 23)], "chunk 1 holds 5 replicas, those before it 6"),
        ([], "hold 0 rows"),
        ([(R, 0, 20), (R, 20, 20), (R, 20, 23)], r"chunk 1 holds no rows: its shape is \(6, 0, 5\); leave it out"),
    ],
)
def test_chunks_that_do_not_fit_are_named(cut, message):
    logits, labels = made()
    with pytest.raises(ValueError, match=message):
        decompose_chunks((logits[:r, a:b] for r, a, b in cut), labels)


def test_a_bad_number_is_named_with_its_chunk():
    logits, labels = made()
    logits[2, 15] = np.nan
    with pytest.raises(ValueError, match=r"chunk 1, rows 12 to 22: logits must be finite; \(replica, row\) \(2, 3\)"):
        decompose_chunks((logits[:, a:b] for a, b in ((0, 12), (12, 23))), labels)
    with pytest.raises(ValueError, match="chunk 0 must have shape"):
        decompose_chunks([logits[0]], labels)


def test_chunks_of_other_classes_are_refused_though_the_labels_fit():
    logits, labels = made()
    wider = np.concatenate([logits[:, 12:], logits[:, 12:, :1]], axis=2)
    there = logits.shape[2]
    with pytest.raises(ValueError, match=f"chunk 1 has {there + 1} classes, those before it {there}"):
        decompose_chunks([logits[:, :12], wider], labels)


def test_what_is_no_series_of_chunks_and_no_target_is_named():
    logits, _ = made()
    with pytest.raises(TypeError, match=r"chunks must be arrays one after another .* not int"):
        decompose_chunks(5, np.zeros(5, int))
    with pytest.raises(ValueError, match=r"target must be class numbers \(N,\).* not a single number"):
        decompose_chunks([logits], 3)


def test_shards_that_differ_are_refused():
    logits, labels = made()
    first = decompose(logits[:, :10], labels[:10])
    for other, word in (
        (decompose(logits[:, 10:], labels[10:], loss="squared_error"), "loss"),
        (decompose(logits[:, 10:], labels[10:], groups=2), "groups"),
        (decompose(logits[:, 10:], labels[10:]).corrected(), "correction"),
    ):
        with pytest.raises(ValueError, match=f"part 1 differs from part 0 in {word}"):
            join_rows([first, other])
    with pytest.raises(ValueError, match="at least one"):
        join_rows([])
    with pytest.raises(TypeError, match="part 1 must be a Decomposition"):
        join_rows([first, 3])
