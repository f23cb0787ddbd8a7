"""Decompositions of more logits than memory holds: chunk by chunk of rows, all replicas of a chunk together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.decomposition.groups import joined, warn_of_one
from biasvar.analysis.decomposition.result import Decomposition
from biasvar.analysis.decomposition.whole_array import decomposed
from biasvar.analysis.inputs import as_array
from biasvar.arguments import checked


@checked
def decompose_chunks(
    chunks: Iterable[Any],
    target: Any,
    *,
    loss: str | Bregman = "cross_entropy",
    groups: int = 16,
    errors: bool = True,
    values: Literal["logits", "probabilities"] | None = None,
) -> Decomposition:
    """The same as `decompose` of all rows, from chunks of them that are read one at a time.

    Memory is that of one chunk, and of the terms: 3 G + 4 numbers a row with errors, whatever the number of classes.
    Each chunk is checked by itself. Rows that other processes or machines decompose are put together by `join_rows`.

    Args:
        chunks: Consecutive rows each, `(R, n, C)`, in the order of `target`; the replicas are the same in all.
        target: `(N,)` class numbers, or `(N, C)` distributions, N being the rows of all chunks together.
        loss, groups, errors, values: As for `decompose`.

    Raises:
        ValueError: as `decompose` does, with the rows of the chunk named before; for chunks of different numbers of
            replicas or of classes, and where their rows are more or fewer than those of `target`.
        TypeError: chunks that are no series of arrays.

    >>> import numpy as np
    >>> logits = np.random.default_rng(0).normal(size=(4, 6, 3))
    >>> parts = (logits[:, start : start + 2] for start in (0, 2, 4))
    >>> decompose_chunks(parts, np.zeros(6, int)).bias.shape
    (6,)
    """
    if not isinstance(chunks, Iterable):
        raise TypeError(f"chunks must be arrays one after another (a list, a generator), not {type(chunks).__name__}")
    goal = as_array(target, "target")
    if goal.ndim == 0:
        raise ValueError("target must be class numbers (N,) or distributions (N, C), not a single number")
    rows, replicas, classes = 0, 0, 0
    found: list[Decomposition] = []
    for chunk in chunks:
        logits = as_array(chunk, f"chunk {len(found)}")
        if logits.ndim != 3:
            raise ValueError(f"chunk {len(found)} must have shape (R, n, C), got {tuple(logits.shape)}")
        if not logits.shape[1]:
            raise ValueError(f"chunk {len(found)} holds no rows: its shape is {tuple(logits.shape)}; leave it out")
        replicas = replicas or logits.shape[0]
        if logits.shape[0] != replicas:
            raise ValueError(f"chunk {len(found)} holds {logits.shape[0]} replicas, those before it {replicas}")
        classes = classes or logits.shape[2]
        if logits.shape[2] != classes:
            raise ValueError(f"chunk {len(found)} has {logits.shape[2]} classes, those before it {classes}")
        stop = rows + logits.shape[1]
        if stop > goal.shape[0]:
            raise ValueError(f"chunk {len(found)} ends at row {stop:,}, and target has {goal.shape[0]:,}")
        try:
            part = decomposed(
                logits, goal[rows:stop], loss=loss, where=None, groups=groups, errors=errors, values=values
            )
        except ValueError as error:
            raise ValueError(f"chunk {len(found)}, rows {rows:,} to {stop - 1:,}: {error}") from None
        found.append(part)
        rows = stop
    if not found or rows != goal.shape[0]:
        raise ValueError(f"the chunks hold {rows:,} rows, and target {goal.shape[0]:,}")
    whole = joined(found)
    warn_of_one(whole.counts, stacklevel=3)
    return whole


def join_rows(parts: Sequence[Decomposition]) -> Decomposition:
    """One `Decomposition` of the rows of all parts, in their order: of shards that were decomposed apart.

    Args:
        parts: Of different rows and the same replicas, by one loss, with or without errors all, corrected alike.

    Raises:
        ValueError: for no parts, or parts that differ in these.
        TypeError: for anything else than decompositions.

    >>> import numpy as np
    >>> from biasvar.analysis import decompose
    >>> logits = np.random.default_rng(0).normal(size=(4, 6, 3))
    >>> shards = [decompose(logits[:, rows], np.zeros(3, int)) for rows in (slice(0, 3), slice(3, 6))]
    >>> join_rows(shards).counts.tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    """
    if not isinstance(parts, Iterable):
        raise TypeError(f"parts must be a list of Decompositions, not {type(parts).__name__}")
    parts = list(parts)
    if not parts:
        raise ValueError("parts must hold at least one Decomposition")
    for number, part in enumerate(parts):
        if not isinstance(part, Decomposition):
            raise TypeError(
                f"part {number} must be a Decomposition, as `decompose` gives it, not {type(part).__name__}"
            )
        for field, mine in _kind(part).items():
            first = _kind(parts[0])[field]
            if mine != first:
                raise ValueError(f"part {number} differs from part 0 in {field}: {mine} and {first}")
    return joined(parts)


def _kind(part: Decomposition) -> dict[str, Any]:
    """What parts that are joined have in common."""
    return {
        "loss": part.loss,
        "correction": part.correction,
        "groups": None if part.group_counts is None else int(part.group_counts.shape[0]),
        "having sample ids": part.sample_ids is not None,
        "arrays": "NumPy" if isinstance(part.bias, np.ndarray) else type(part.bias).__name__,
    }
