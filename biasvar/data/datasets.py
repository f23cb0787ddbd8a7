"""Data sets by name or path."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from biasvar.data.dataset import Dataset
from biasvar.data.decode import Mode
from biasvar.data.images import load_images
from biasvar.data.layout import KNOWN, find_data

DATASETS = ("digits", *KNOWN)


def load_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    mode: Mode | None = None,
) -> Dataset:
    """The data set of that name, or in that Parquet file or folder.

    "digits" are the 1,797 handwritten 8x8 digits that scikit-learn ships (UCI Optical Recognition of Handwritten
    Digits, test part; Alpaydin and Kaynak 1998). Every other data set is Parquet in the Hugging Face layout: a column
    of PNG or JPEG bytes, or of a struct with `bytes`, and a column of integer labels. By name it is looked for as
    `<name>.parquet`, or as a folder `<name>/` of shards `train*.parquet` and `test*.parquet`, in the folder named by
    BIASVAR_DATA, else in the cache folder (BIASVAR_CACHE, else ~/.cache/biasvar).

    The images are decoded once and kept in the cache folder under the content of the files, so that a changed file is
    decoded anew; later calls map them into memory. The official split is the `split` column, else the name of the
    shard. Validation rows are train rows where there is a test split and test rows where there is none.

    Args:
        name_or_path: A name, or the path of a Parquet file or of a folder of shards.
        image_column: Default "image" or "img".
        label_column: Default "label", "fine_label" or "labels".
        mode: "L" or "RGB" converts every image to grey or colour; by default they must all be one or the other.

    Raises:
        FileNotFoundError: The data set is not there; says which file to put where, and how to fetch it.
        ValueError: No data set of that name, or a file that does not fit; names the file, the row and what is allowed.
        OSError: The cache folder cannot be written.

    >>> data = load_dataset("digits")
    >>> data.images.shape, data.num_classes
    ((1797, 8, 8), 10)
    """
    if mode not in (None, "L", "RGB"):
        raise ValueError(f"mode must be 'L', 'RGB' or None, not {mode!r}")
    text = os.fspath(name_or_path)
    if text == "digits":
        return _digits()
    is_name = text in KNOWN or not (text.endswith(".parquet") or Path(text).name != text or Path(text).exists())
    path = find_data(text) if is_name else Path(text).expanduser()
    name = text if is_name else path.resolve().name.removesuffix(".parquet")
    data = load_images(
        name, path, image_column=image_column, label_column=label_column, mode=mode, by_name=is_name
    )  # fmt: skip
    return data if is_name else replace(data, path=text)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Dataset(
        name="digits",
        images=digits.images.astype(np.uint8),
        labels=digits.target.astype(np.int64),
        class_names=tuple(str(c) for c in digits.target_names),
        scale=16.0,
        note="1,797 handwritten digits of 8x8 pixels, shipped with scikit-learn",
    )
