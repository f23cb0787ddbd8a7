from __future__ import annotations

import numpy as np
import pytest
import torch

from biasvar import token_ids


def test_every_token_of_every_sequence_has_an_id_of_its_own():
    ids = token_ids(torch.arange(5), 7)
    assert isinstance(ids, torch.Tensor)
    assert ids.flatten().tolist() == list(range(35))
    replicas = token_ids(np.array([[0, 1], [3, 2]]), 4, num_samples=16)
    assert replicas.shape == (2, 2, 4)
    assert replicas[1, 0].tolist() == [12, 13, 14, 15]


def test_positions_of_windows_and_of_packed_sequences():
    assert token_ids([1], 10, positions=[4, 5]).tolist() == [[14, 15]]
    assert token_ids([1, 2], 10, positions=[[0, 1], [8, 9]]).tolist() == [[10, 11], [28, 29]]
    packed = token_ids([[0, 0, 3]], 10, positions=[[8, 9, 0]])
    assert packed.tolist() == [[8, 9, 30]]
    assert token_ids(2, 3).tolist() == [6, 7, 8]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: token_ids([9], 64, num_samples=600), "need num_samples=640 or more, got 600"),
        (lambda: token_ids([2**60], 64), "do not fit int64"),
        (lambda: token_ids([-1, 0], 64), "row 0 is negative"),
        (lambda: token_ids([0.0], 64), "sequence_ids must be integers"),
        (lambda: token_ids([0], 0), "length must be at least 1"),
        (lambda: token_ids([0], 4, positions=[3, 4]), r"positions must lie in 0 \.\. 3; row 1"),
        (lambda: token_ids([0, 1, 2], 4, positions=[[0], [1]]), "positions must have shape"),
    ],
)
def test_what_gives_no_ids_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
