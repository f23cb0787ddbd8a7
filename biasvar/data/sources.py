"""What files a data set is in, whatever their kind, and what reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biasvar.data.class_folders import image_files, read_class_folders
from biasvar.data.contents import Columns, Contents
from biasvar.data.layout import Shard, shards
from biasvar.data.numpy_data import numpy_files, read_numpy
from biasvar.data.parquet import read_contents
from biasvar.data.saved_datasets import is_saved_dataset, saved_shards

ALLOWED = (
    "a .parquet or .csv file, an .npz or .npy file, a folder of Parquet or CSV shards (train*, test*), of .npy files, "
    "of images in one folder a class, or of a Hugging Face dataset saved to disk"
)
"""What a data set may be in."""


@dataclass(frozen=True)
class Source:
    """A data set on disk.

    Attributes:
        files: What its content depends on, each with what else counts of it: its split or its name.
        read: Reads everything but encoded images and lists.
    """

    files: Sequence[tuple[Any, Path]]
    read: Callable[[Columns], Contents]

    def identity(self) -> list[list[Any]]:
        """What tells changed files from those that were read before. SHA-256 takes about 1 ms a megabyte."""
        return [_identity(said, path) for said, path in self.files]


def find_source(path: Path) -> Source:
    """The data set in a file or folder.

    Raises:
        FileNotFoundError: There is none, or a folder without any data.
        ValueError: A file of another kind, or files that are no one data set.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder of data at {path}; a data set is {ALLOWED}")
    if path.is_file():
        if path.suffix in (".npz", ".npy"):
            return _arrays(path)
        if path.suffix in (".parquet", ".csv") or _is_parquet(path):
            return _tables([Shard(path, None)])
        raise ValueError(
            f"{path} is no file that can be read as a data set, which is {ALLOWED}; biasvar.data.from_arrays writes "
            "one from any arrays"
        )
    if is_saved_dataset(path):
        return _tables(saved_shards(path))
    for suffix in (".parquet", ".csv"):
        if any(path.rglob(f"*{suffix}")):
            return _tables(shards(path, suffix))
    if any(path.glob("*.npy")):
        return _arrays(path)
    images = image_files(path)
    if not images:
        raise FileNotFoundError(f"{path} holds no data that can be read; a data set is {ALLOWED}")
    return Source(
        [(file.relative_to(path).as_posix(), file) for file in images],
        lambda columns: read_class_folders(path, columns=columns),
    )


def _arrays(path: Path) -> Source:
    files = [(file.stem, file) for file in numpy_files(path)]
    return Source(files, lambda columns: read_numpy(path, columns=columns))


def _tables(found: Sequence[Shard]) -> Source:
    return Source([(shard.split, shard.path) for shard in found], lambda columns: read_contents(found, columns=columns))


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _identity(said: Any, path: Path) -> list[Any]:
    with path.open("rb") as file:
        return [said, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]
