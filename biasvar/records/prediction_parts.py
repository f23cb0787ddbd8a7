"""Mean log-probabilities of an arm by parts of rows, for predictions larger than memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

WHOLE = 2**24
"""Numbers of all groups that are still written in one piece: 128 MB."""
_PART = 2**25  # of all groups together, what a part of rows holds: 256 MB


@dataclass(frozen=True)
class Part:
    """Some rows of one group: counts (n,) and mean log-probabilities (n, C), in nats."""

    group: int
    rows: slice
    counts: np.ndarray
    means: np.ndarray


def rows_of_a_part(groups: int, classes: int) -> int:
    """How many rows of all groups are worked on at a time."""
    return max(1, _PART // (groups * classes))


def row_parts(rows: int, step: int) -> Iterator[slice]:
    """The rows 0 .. rows - 1 in parts of at most ``step``."""
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def in_one_if_small(tables: Iterable[pa.Table], classes: int) -> Iterator[pa.Table]:
    """The tables joined while they hold no more than `WHOLE` numbers: a small file is one row group."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.num_rows for part in waiting) * classes > WHOLE:
            yield from waiting
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()
