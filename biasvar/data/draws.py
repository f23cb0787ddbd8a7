"""Splits of the data, and each replica's draw of the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from biasvar.seeding import generator

SPLITS = ("train", "validation", "test")
DRAWS = ("disjoint", "subsample", "bootstrap", "seed_only")


def split_rows(labels: np.ndarray, sizes: Mapping[str, int], *, seed: int) -> dict[str, np.ndarray]:
    """Disjoint, near-stratified blocks of rows: the named sizes, and "student" for all rows that remain.

    Each class is shuffled and spread evenly over one order of all rows; the blocks are consecutive pieces of that
    order, so a block of n rows holds every class within one or two of its proportional count.

    Args:
        labels: (N,) class of each row.
        sizes: Rows per block, in order, such as {"test": 497, "validation": 200, "reserved": 300}.
        seed: Of the study.

    Returns:
        Sorted row numbers per block, "student" last.

    Raises:
        ValueError: A size is negative, or no row remains.

    >>> blocks = split_rows(np.arange(100) % 10, {"test": 30, "validation": 20}, seed=0)
    >>> {name: len(rows) for name, rows in blocks.items()}
    {'test': 30, 'validation': 20, 'student': 50}
    >>> np.bincount(blocks["test"] % 10).tolist()  # every class
    [3, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    """
    total = sum(sizes.values())
    if min(sizes.values(), default=0) < 0 or total >= len(labels):
        asked = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(f"cannot take {asked} out of {len(labels)} rows and leave any for the students")
    order = stratified_order(labels, generator(seed, "split"))
    blocks: dict[str, np.ndarray] = {}
    start = 0
    for name, size in [*sizes.items(), ("student", len(labels) - total)]:
        blocks[name] = np.sort(order[start : start + size])
        start += size
    return blocks


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of all rows in which every piece of n rows holds each class within one or two of its proportional count.

    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> sorted(labels[stratified_order(labels, np.random.default_rng(0))[:2]].tolist())
    [0, 1]
    """
    key = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        key[rows] = (rng.permutation(len(rows)) + rng.random(len(rows))) / len(rows)
    return np.argsort(key, kind="stable")


def draw_members(
    kind: str, pool: np.ndarray, rows: int | None, *, replicas: Sequence[int], seed: int, total: int | None = None
) -> np.ndarray:
    """The multiplicity of each pool row in each replica's training draw.

    Args:
        kind: "disjoint": replica r takes the r-th of `total` equal parts of one shuffled pool. "subsample": `rows` of
            the pool without replacement. "bootstrap": as many draws with replacement as the pool has rows (or `rows`);
            multiplicities are used as loss weights. "seed_only": the whole pool for every replica.
        pool: (P,) sample ids.
        rows: Rows per draw; needed for "subsample", at most the part size for "disjoint".
        replicas: Replica numbers.
        seed: Of the study.
        total: For "disjoint", how many parts there are; default the number of replicas.

    Returns:
        int (R, P) multiplicities; 0 is not in the draw.

    Raises:
        ValueError: An unknown kind, or more rows than the pool can give.

    >>> draw_members("disjoint", np.arange(6), None, replicas=range(3), seed=0).sum(axis=0).tolist()
    [1, 1, 1, 1, 1, 1]
    >>> draw_members("subsample", np.arange(6), 2, replicas=range(3), seed=0).sum(axis=1).tolist()
    [2, 2, 2]
    """
    size = len(pool)
    out = np.zeros((len(replicas), size), dtype=np.int64)
    if kind == "seed_only":
        out[:] = 1
    elif kind == "disjoint":
        parts = total or len(replicas)
        part = rows or size // parts
        if part * parts > size or part == 0:
            raise ValueError(
                f"draw 'disjoint': {parts} replicas of {part or 'at least 1'} rows need more than {size} rows"
            )
        order = generator(seed, "draw").permutation(size)
        for i, r in enumerate(replicas):
            slot = r % parts
            out[i, order[slot * part : (slot + 1) * part]] = 1
    elif kind == "subsample":
        if not rows or rows > size:
            raise ValueError(f"draw 'subsample': rows must be between 1 and the pool's {size}, not {rows}")
        for i, r in enumerate(replicas):
            out[i, generator(seed, "draw", r).choice(size, size=rows, replace=False)] = 1
    elif kind == "bootstrap":
        for i, r in enumerate(replicas):
            out[i] = np.bincount(generator(seed, "draw", r).integers(0, size, size=rows or size), minlength=size)
    else:
        raise ValueError(f"unknown draw {kind!r}; allowed: {', '.join(DRAWS)}")
    return out


@dataclass(frozen=True)
class Rows:
    """The training rows of each replica of a group, with their multiplicities.

    Attributes:
        ids: int (R, n) sample ids, each visited once an epoch.
        counts: (R, n) whole-number multiplicities used as loss weights, or None when all are 1.
        replicas: The R replica numbers, which seed each one's batch order.
    """

    ids: np.ndarray
    counts: np.ndarray | None
    replicas: Sequence[int]

    @staticmethod
    def from_members(pool: np.ndarray, multiplicity: np.ndarray, replicas: Sequence[int]) -> Rows:
        """From the (R, P) multiplicities of a draw.

        Where every replica draws equally many rows, once each, those are the rows. Else (bootstrap) all replicas visit
        the whole pool and the multiplicity, 0 included, is the weight: equally many steps for all.
        """
        sizes = (multiplicity > 0).sum(1)
        if multiplicity.max() == 1 and (sizes == sizes[0]).all():
            return Rows(np.stack([pool[row > 0] for row in multiplicity]), None, replicas)
        return Rows(np.tile(pool, (len(multiplicity), 1)), multiplicity, replicas)

    def members(self, total: int) -> np.ndarray:
        """bool (R, total) by sample id: True where a row counts."""
        member = np.zeros((len(self.ids), total), dtype=bool)
        for i, row in enumerate(self.ids):
            member[i, row if self.counts is None else row[self.counts[i] > 0]] = True
        return member

    def orders(self, seed: int, epoch: int, purpose: str = "order") -> np.ndarray:
        """(R, n) positions in the order of this epoch."""
        n = self.ids.shape[1]
        return np.stack([generator(seed, purpose, r, epoch).permutation(n) for r in self.replicas])
