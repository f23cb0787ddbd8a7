"""The blocks of a study along a data set's official split, and whether every class is in every one of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from biasvar.data.dataset import Dataset
from biasvar.data.draws import stratified_order
from biasvar.seeding import generator


def split_official(
    dataset: Dataset,
    *,
    test: int | float | None = None,
    validation: int | float | None = 0,
    reserved: int | None = 0,
    student: int | None = None,
    split: str | None = None,
    seed: int,
) -> dict[str, np.ndarray]:
    """Disjoint, near-stratified blocks: "test" from the official test split, the others from the official train split.

    Each class of a split is shuffled and spread evenly over one order of the split's rows; blocks are consecutive
    pieces of that order. A block of n rows so holds every class within one or two of its proportional count, and a
    smaller study's test rows are among a larger one's with the same seed. Without an official split all four are cut
    from all rows, as :func:`split_rows` does; with `split` all four are cut from that official split.

    Args:
        dataset: With or without a `split`.
        test: Rows of the test split, or a share of them below 1, None for all. Where there is no official split it is
            needed, and is of all rows.
        validation: Rows of the train split (or of all), or their share.
        reserved, student: Rows of the train split; of the three at most one is None, for all that remain.
        split: "train" or "test", to cut all four blocks, test rows too, from that official split; `test` is a number.
        seed: Of the study.

    Returns:
        Sorted sample ids of "test", "validation", "reserved" and "student".

    Raises:
        ValueError: More rows than there are, no row for the students, more than one None, or a `split` that there is
            not.

    >>> from biasvar.data import load_dataset
    >>> blocks = split_official(load_dataset("digits"), test=497, validation=200, student=900, seed=0)
    >>> {name: len(ids) for name, ids in blocks.items()}
    {'test': 497, 'validation': 200, 'reserved': 0, 'student': 900}
    """
    sizes = {"validation": validation, "reserved": reserved, "student": student}
    labels = dataset.labels
    if split is not None:
        rows = np.arange(0) if dataset.split is None else np.flatnonzero(dataset.split == split)
        if not len(rows):
            raise ValueError(f"{dataset.name} has no official {split} split to cut all rows from: leave split out")
        if test is None:
            raise ValueError(f"all rows are cut from the {split} split of {dataset.name}: give the number of test rows")
        where = f"the {split} split of "
        return _cut(dataset, rows, {"test": test, **sizes}, generator(seed, "split", "only", split), where)
    if dataset.split is None:
        if test is None:
            raise ValueError(
                f"{dataset.name} has no official test split: give the number of test rows, or their share "
                "(data.test: 0.2 in a study)"
            )
        rows = np.arange(len(labels))
        return _cut(dataset, rows, {"test": test, **sizes}, generator(seed, "split"), "")
    train, held_out = (np.flatnonzero(dataset.split == name) for name in ("train", "test"))
    tests = _cut(dataset, held_out, {"test": test}, generator(seed, "split", "test"), "the test split of ")
    return tests | _cut(dataset, train, sizes, generator(seed, "split"), "the train split of ")


def check_classes(dataset: Dataset, blocks: Mapping[str, np.ndarray]) -> None:
    """Refuse blocks in which a class has no row; an empty block is no block.

    Raises:
        ValueError: Names the class and the block.

    >>> from biasvar.data import load_dataset
    >>> check_classes(load_dataset("digits"), {"test": np.arange(30), "validation": np.arange(9)})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: validation (9 rows of digits) has no row of class 9 ('9'); every split needs rows of every class: ...
    """
    if dataset.num_classes < 2:
        raise ValueError(f"{dataset.name} has rows of one class only, {dataset.class_names[0]!r}; needed: two or more")
    for name, ids in blocks.items():
        counts = np.bincount(dataset.labels[ids], minlength=dataset.num_classes)
        missing = np.flatnonzero(counts == 0)
        if len(ids) and len(missing):
            which = f"class {missing[0]} ({dataset.class_names[missing[0]]!r})"
            if len(missing) > 1:
                which = f"{len(missing)} of {dataset.num_classes} classes, such as {which.removeprefix('class ')}"
            cure = "take more rows (twice the number of classes is enough in even data), or data that has the class"
            if not np.isin(missing, dataset.labels).all():
                cure = "the data set has none at all: number its classes from 0 up without a gap"
            raise ValueError(
                f"{name} ({len(ids):,} rows of {dataset.name}) has no row of {which}; every split needs rows of every "
                f"class: {cure}"
            )


def _cut(
    dataset: Dataset, rows: np.ndarray, given: Mapping[str, int | float | None], rng: np.random.Generator, where: str
) -> dict[str, np.ndarray]:
    """Consecutive pieces of one stratified order of `rows`; the block of size None takes what the others leave."""
    asked = ", ".join(f"{name} {'all that remain' if size is None else size}" for name, size in given.items())
    sizes = {name: round(size * len(rows)) if isinstance(size, float) else size for name, size in given.items()}
    fixed = {name: size for name, size in sizes.items() if size is not None}
    rest = len(rows) - sum(fixed.values())
    if len(sizes) - len(fixed) > 1:
        raise ValueError(f"{asked}: only one block can take all rows that remain; give the others a number")
    counts = {name: rest if size is None else size for name, size in sizes.items()}
    if rest < 0 or min(counts.values()) < 0 or counts.get("student") == 0:
        raise ValueError(
            f"cannot take {asked} out of the {len(rows):,} rows of {where}{dataset.name}"
            f"{' and leave any for the students' if 'student' in sizes else ''}"
        )
    order = rows[stratified_order(dataset.labels[rows], rng)]
    blocks, start = {}, 0
    for name in [*fixed, *(sizes.keys() - fixed.keys())]:  # a size changes no block before it
        blocks[name] = np.sort(order[start : start + counts[name]])
        start += counts[name]
    return {name: blocks[name] for name in sizes}
