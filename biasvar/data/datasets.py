"""Data sets by name or path."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from biasvar.data.contents import Columns
from biasvar.data.crops import CentreCrop
from biasvar.data.dataset import Dataset
from biasvar.data.decode import Mode
from biasvar.data.images import load_images
from biasvar.data.layout import KNOWN, SUFFIXES, find_data
from biasvar.data.sizes import how_made, made_smaller
from biasvar.data.streaming import stream_images

DATASETS = ("digits", *KNOWN)
MODES: dict[str, Mode] = {"grey": "L", "colour": "RGB"}
"""The modes by the names that study files give them."""


def load_dataset(
    name_or_path: str | os.PathLike[str],
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    feature_column: str | None = None,
    mode: Mode | None = None,
    size: int | None = None,
    streamed: CentreCrop | None = None,
) -> Dataset:
    """The data set of that name, or in that file or folder.

    "digits" are the 1,797 handwritten 8x8 digits that scikit-learn ships (UCI Optical Recognition of Handwritten
    Digits, test part; Alpaydin and Kaynak 1998). Every other data set with a name is Parquet in the Hugging Face
    layout: a column of PNG or JPEG bytes, or of a struct with `bytes`, and a column of labels. It is looked for as
    `<name>.parquet`, or as a folder `<name>/` of shards `train*.parquet` and `test*.parquet`, in the folder named by
    BIASVAR_DATA, else in the cache folder (BIASVAR_CACHE, else ~/.cache/biasvar).

    Data of your own are given by path:

    - a Parquet or CSV file, or a folder of them: a column of images as above; or of features, lists of equally many
      numbers; or nothing but columns of numbers beside the label's, each a feature. Labels are integers from 0, or
      words, which are numbered in their order; a column `split` may say train and test.
    - an .npz file with `images` (uint8, (N, H, W) or (N, H, W, 3)) or `features` (N, D) and `labels`, or with such
      arrays of each split (`x_train`, `y_train`, `x_test`, `y_test`); an .npy file with one `labels.npy` beside it.
    - a folder with one folder of PNG or JPEG images a class, or with folders train and test of such folders. Samples
      are in the order of the paths, `files`.
    - a Hugging Face dataset saved to disk.

    Features are taken as float32.

    Images are decoded once and kept in the cache folder under the content of the files, so that a changed file is
    decoded anew; later calls map them into memory. The official split is the `split` column, else the name of the
    shard. Validation rows are train rows where there is a test split and test rows where there is none.

    Args:
        name_or_path: A name, or a path.
        image_column: Default "image" or "img"; of an .npz file, the name of the array.
        label_column: Default "label", "fine_label" or "labels", of columns of numbers also "target" or "class"; of an
            .npz file, the name of the array.
        feature_column: Default "features", where the file has no images.
        mode: "L" or "RGB" converts every image to grey (luma of ITU-R BT.601) or colour; by default they must all be
            the one or the other.
        size: Pixels of the shorter side of smaller images that are made of those in the file, after `mode`: each new
            pixel is the mean over the area that it covers, parts of pixels counted as parts, rounded.
        streamed: For a folder of classes or Parquet files that do not fit in memory: nothing is decoded now, and
            `images`, colour of any size in the files, are read one by one as they are indexed, each as this crop.
            The fingerprint is then of names, byte sizes and labels, and mean and deviation are those of ImageNet.

    Raises:
        FileNotFoundError: The data set is not there; says which file to put where, and how to fetch it.
        ValueError: No data set of that name, a file that does not fit (names the file, the row and what is allowed),
            or a `size` or `mode` that its data cannot be given.
        OSError: The cache folder cannot be written.

    >>> data = load_dataset("digits")
    >>> data.images.shape, data.num_classes
    ((1797, 8, 8), 10)
    """
    if mode not in (None, "L", "RGB"):
        raise ValueError(f"mode must be 'L', 'RGB' or None, not {mode!r}")
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    text = os.fspath(name_or_path)
    if text == "digits" and streamed is not None:
        raise ValueError("digits are one array in memory; leave streamed out")
    if text == "digits":
        return _digits(mode, size)
    is_name = text in KNOWN or not (text.endswith(SUFFIXES) or Path(text).name != text or Path(text).exists())
    path = find_data(text, images=streamed is not None) if is_name else Path(text).expanduser()
    name = text if is_name else _name_of(path.resolve())
    if streamed is not None:
        if mode or size:
            raise ValueError("streamed images are colour and of the size of their crop: leave size and mode out")
        columns = Columns(image_column, feature_column, label_column)
        data = stream_images(name, path, columns=columns, crop=streamed)
        return data if is_name else replace(data, path=text)
    data = load_images(
        name, path, columns=Columns(image_column, feature_column, label_column), mode=mode, size=size, by_name=is_name
    )
    return data if is_name else replace(data, path=text)


def _name_of(path: Path) -> str:
    """The name of a file or folder without what says its kind."""
    return path.stem if path.suffix in SUFFIXES else path.name


def _digits(mode: Mode | None, size: int | None) -> Dataset:
    images, labels = _digits_of_scikit_learn()
    images = np.repeat(images[..., None], 3, axis=-1) if mode == "RGB" else images
    made = made_smaller("digits", images, size)
    return Dataset(
        name="digits",
        images=made,
        labels=labels,
        class_names=tuple("0123456789"),
        scale=16.0,
        note="1,797 handwritten digits of 8x8 pixels, shipped with scikit-learn"
        + (f", {how_made(mode, (8, 8), made.shape[1:3])}" if mode == "RGB" or made.shape[1:3] != (8, 8) else ""),
    )


def _digits_of_scikit_learn() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8) uint8 and labels (1797,), from its file: its import takes longer than many a figure."""
    place = find_spec("sklearn")
    file = Path(place.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if place else None
    if file is None or not file.is_file():
        from sklearn.datasets import load_digits

        table = np.column_stack(load_digits(return_X_y=True))
    else:
        with gzip.open(file, "rt", encoding="ascii") as text:
            table = np.loadtxt(text, delimiter=",")
    return table[:, :-1].astype(np.uint8).reshape(-1, 8, 8), table[:, -1].astype(np.int64)
