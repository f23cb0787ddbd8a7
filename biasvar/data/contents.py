"""What a data set says besides its pixels, whatever files it lies in: labels, splits and class names, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from biasvar.messages import first_few


@dataclass(frozen=True)
class Columns:
    """The names of columns, or of arrays, that the caller gives; None: the usual ones. Images before features."""

    image: str | None = None
    feature: str | None = None
    label: str | None = None


USUAL = Columns()


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All of a data set in the order of the sample ids: train rows, then test rows, each as in the files.

    One of `encoded`, `lists` and `arrays` holds its images or features.

    Attributes:
        place: The file, or the first of them.
        where: Where sample i stands, such as "faces.parquet: row 3".
        labels: int64 (N,).
        train_rows: How many of the first rows are the train split; None without an official split.
        class_names: The names that the files give, or None.
        encoded: The bytes of image files in order, some thousands at a time; None where a cell is empty.
        one: The bytes of the image file of one sample, read by themselves; it goes to other processes.
        lists: Lists of numbers in order, some thousands at a time.
        arrays: uint8 images (N, H, W) or (N, H, W, 3), or float32 features (N, D).
        column: The column of the features, for errors.
        original_index: int64 (N,) row in the original data set, -1 unknown; None where the files have none.
        validation: What became of validation rows, for captions: "", "test" or "train".
        source: Where the files say they come from, or "".
        files: The file of each sample, relative to the folder, where every sample is a file.
    """

    place: Path
    where: Callable[[int], str]
    labels: np.ndarray
    train_rows: int | None
    class_names: tuple[str, ...] | None
    encoded: Callable[[], Iterator[list[bytes | None]]] | None = None
    one: Callable[[int], bytes | None] | None = None
    lists: Callable[[], Iterator[pa.Array]] | None = None
    arrays: np.ndarray | None = None
    column: str = ""
    original_index: np.ndarray | None = None
    validation: str = ""
    source: str = ""
    files: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Order:
    """The rows of the files, train rows first.

    Attributes:
        rows: (N,) which row of the files each sample is.
        train_rows: How many of the first are train rows; None without an official split.
        validation: What became of validation rows: "", "test" or "train".
    """

    rows: np.ndarray
    train_rows: int | None
    validation: str


def in_order(split: np.ndarray, where: Callable[[int], str]) -> Order:
    """Train rows before test rows, each in the order of the files.

    Validation rows are train rows where there is a test split and test rows where there is none; of one split alone
    there is no official split.

    Args:
        split: (N,) "train", "validation", "test", or "" for none.
        where: Where row i of the files stands, for errors.

    Raises:
        ValueError: Some rows have a split and others none.
    """
    present = set(np.unique(split).tolist())
    if "" in present and len(present) > 1:
        raise ValueError(f"{where(int(np.argmax(split == '')))} has no split, rows elsewhere have one")
    if "train" not in present or len(present) == 1:
        return Order(np.arange(len(split)), None, "")
    both = "test" in present
    train = split != "test" if both else split == "train"
    validation = "" if "validation" not in present else "train" if both else "test"
    return Order(np.argsort(~train, kind="stable"), int(train.sum()), validation)


def coded(
    words: Sequence[str], names: Sequence[str] | None = None, *, where: Callable[[int], str] = "row {}".format
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels that are words as numbers, and the classes by number: in the order of the words unless names are given.

    Args:
        words: (N,) the class of every row.
        names: All classes in order.
        where: Where row i stands, for errors.

    Raises:
        ValueError: A word that is none of the names.

    >>> coded(["dog", "cat", "dog"])
    (array([1, 0, 1]), ('cat', 'dog'))
    """
    classes = tuple(names if names is not None else sorted(set(words)))
    number = {name: i for i, name in enumerate(classes)}
    unknown = next((i for i, word in enumerate(words) if word not in number), None)
    if unknown is not None:
        raise ValueError(
            f"{where(unknown)} has label {words[unknown]!r}, which is none of the classes {first_few(classes)}"
        )
    return np.array([number[word] for word in words], dtype=np.int64), classes
