"""Sample ids of tokens: a token is a sample of its own, told by its sequence and its place in it."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from biasvar.analysis.arrays import Array, named, namespace
from biasvar.analysis.inputs import as_array, like
from biasvar.arguments import checked

_LARGEST = int(np.iinfo(np.int64).max)


@checked
def token_ids(sequence_ids: Any, length: int, *, positions: Any = None, num_samples: int | None = None) -> Array:
    """The sample id of each token: sequence_id * length + position, int64.

    Args:
        sequence_ids: `(...)` whole numbers from 0 on, one a sequence, as `(B,)`; or, where `positions` are given, one a
            token, as in packed sequences.
        length: T, the longest sequence of the whole data: the same number in every call, or ids meet.
        positions: where sequences do not begin at 0 or are packed, whole numbers from 0 to T - 1: `(t,)` for all
            sequences, or `(..., t)`. Default 0 to T - 1.
        num_samples: what `Recorder` was given; ids beyond it are refused here already.

    Returns:
        `(..., T)`, or `(..., t)` of given positions; in the kind of array that the sequence ids are, on their device.

    Raises:
        ValueError: for numbers that are no whole numbers, out of range, or whose ids do not fit int64.

    >>> token_ids([0, 2], 3).tolist()
    [[0, 1, 2], [6, 7, 8]]
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    sequences = _integers(as_array(sequence_ids, "sequence_ids"), "sequence_ids")
    xp, device = namespace(sequences), array_api_compat.device(sequences)
    if bool(xp.any(sequences < 0)):
        row = f"row {named(sequences < 0)}" if sequences.ndim else "it"
        raise ValueError(f"sequence_ids must be whole numbers from 0 on; {row} is negative")
    if positions is None:
        places = xp.arange(length, dtype=xp.int64, device=device)
    else:
        places = _integers(like(positions, sequences, "positions"), "positions")
    lead, own = tuple(sequences.shape), tuple(places.shape)
    if own == lead and positions is not None and own:
        pass  # one sequence id a token
    elif own and own[:-1] in ((), lead):
        sequences = sequences[..., None]
    else:
        raise ValueError(f"positions must have shape (t,) or (*{lead}, t), with sequence_ids of {lead}, got {own}")
    bad = (places < 0) | (places >= length)
    if bool(xp.any(bad)):
        raise ValueError(
            f"positions must lie in 0 .. {length - 1}; row {named(bad)} does not: give the longest sequence's length"
        )
    highest = int(xp.max(sequences)) if 0 not in lead else 0
    needed = (highest + 1) * length
    if needed - 1 > _LARGEST:
        raise ValueError(
            f"sequence_ids up to {highest} times length {length} do not fit int64: number the sequences from 0 on"
        )
    if num_samples is not None and needed > num_samples:
        raise ValueError(
            f"sequence_ids up to {highest} of length {length} need num_samples={needed} or more, got {num_samples}"
        )
    return sequences * length + places


def _integers(x: Array, name: str) -> Array:
    xp = namespace(x)
    if not xp.isdtype(x.dtype, "integral"):
        raise ValueError(f"{name} must be integers, got dtype {x.dtype}")
    if xp.isdtype(x.dtype, "unsigned integer") and x.dtype.itemsize == 8 and x.size and int(x.max()) > _LARGEST:
        raise ValueError(f"{name} must fit int64, got {int(x.max())}")
    return xp.astype(x, xp.int64)
