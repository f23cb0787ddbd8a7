"""Where image data sets lie: their names, the two folders, the Parquet files of one data set and their split.

A data set is one file `<name>.parquet`, or a folder `<name>/` of shards `train*.parquet` and `test*.parquet`, in the
folder named by the environment variable BIASVAR_DATA, else in the cache folder (BIASVAR_CACHE, else ~/.cache/biasvar).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

IMAGE_COLUMNS = ("image", "img")
FEATURE_COLUMNS = ("features",)
LABEL_COLUMNS = ("label", "fine_label", "labels")
TARGET_COLUMNS = (*LABEL_COLUMNS, "target", "class")
"""What the labels of a table of numbers may be called."""
NO_FEATURES = ("split", "original_index", "sample_id", "__index_level_0__")
"""Columns of numbers that are never features; the last is the index that pandas writes."""
SUFFIXES = (".parquet", ".csv", ".npz", ".npy")
"""Of the files that are a data set of their own."""


@dataclass(frozen=True)
class Known:
    """A published data set: what its images must look like, the Hugging Face repository that has them, its rows."""

    title: str
    shape: tuple[int, ...]
    num_classes: int
    repository: str | None
    train: int
    test: int


KNOWN = {
    "cifar10": Known("CIFAR-10", (32, 32, 3), 10, "uoft-cs/cifar10", 50_000, 10_000),
    "cifar100": Known("CIFAR-100", (32, 32, 3), 100, "uoft-cs/cifar100", 50_000, 10_000),
    "fashion_mnist": Known("Fashion-MNIST", (28, 28), 10, "zalando-datasets/fashion_mnist", 60_000, 10_000),
    "cinic10": Known("CINIC-10", (32, 32, 3), 10, None, 180_000, 90_000),  # its validation rows are training rows here
    "imagenet": Known("ImageNet (ILSVRC 2012)", (224, 224, 3), 1000, None, 1_281_167, 50_000),
    "tiny_imagenet_32": Known("Tiny-ImageNet at 32x32", (32, 32, 3), 200, None, 100_000, 10_000),
}


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a data set, and the split that its name says: "train", "validation", "test" or None."""

    path: Path
    split: str | None


def cache_folder() -> Path:
    """Where decoded images are kept: BIASVAR_CACHE, else ~/.cache/biasvar. May be deleted at any time."""
    return Path(os.environ.get("BIASVAR_CACHE") or "~/.cache/biasvar").expanduser()


def data_folder() -> Path:
    """Where data sets are looked for by name: BIASVAR_DATA, else the cache folder."""
    given = os.environ.get("BIASVAR_DATA")
    return Path(given).expanduser() if given else cache_folder()


def find_data(name: str, *, images: bool = False) -> Path:
    """The file or folder of the data set of that name.

    Args:
        name: Of the data set.
        images: A folder with folders of images will do.

    Raises:
        FileNotFoundError: It is not in the data folder; says which file to put there, its layout, and how to fetch it.
        ValueError: Neither there nor a data set that biasvar knows.
    """
    folder = data_folder()
    for path in (folder / f"{name}.parquet", folder / name):
        if path.is_file() if path.suffix == ".parquet" else (images and path.is_dir()) or any(path.rglob("*.parquet")):
            return path
    if name not in KNOWN:
        raise ValueError(
            f"no data set named {name!r}; there is: digits, {', '.join(KNOWN)}; "
            f"or give the path of a file or folder of your own (./{name} if it lies beside the study file), or put "
            f"{name}.parquet into {folder}"
        )
    if images:
        raise FileNotFoundError(
            f"no data for {name!r}: put a folder {name}/ of images, {name}/train/CLASS/*.JPEG and "
            f"{name}/val/CLASS/*.JPEG, or of Parquet files, train*.parquet and validation*.parquet, into {folder}"
        )
    if (folder / name).is_dir():
        raise FileNotFoundError(
            f"{folder / name} holds no Parquet files; a folder of images of any size is read by a study with "
            "data.streamed, and one of images that are all alike by its path"
        )
    raise FileNotFoundError(f"no data for {name!r}: {by_hand(name, folder)}{_download(name)}")


def by_hand(name: str, folder: Path) -> str:
    """What to put where, for people without the network."""
    meaning = "the folder of BIASVAR_DATA" if os.environ.get("BIASVAR_DATA") else "BIASVAR_DATA names another folder"
    return (
        f"put the file {name}.parquet, or a folder {name}/ of shards train*.parquet and test*.parquet, into {folder} "
        f"({meaning}). Layout: a column {_either(IMAGE_COLUMNS)} of PNG or JPEG bytes (or a struct with 'bytes'), "
        f"a column {_either(LABEL_COLUMNS)} of integers and, for a single file, a column 'split' of 'train' and 'test'."
    )


def shards(path: Path, suffix: str = ".parquet") -> list[Shard]:
    """The Parquet files, or those of another suffix, of the data set at a path, sorted by name, each with its split.

    A single file is a data set of its own, whatever its name. In a folder the split is the first word of the file's
    name, or else the name of the folder it lies in: `train-00000-of-00002.parquet` and `train/0000.parquet` are train.

    Raises:
        FileNotFoundError: There is no such path, or the folder holds no Parquet file.
        ValueError: The folder holds more than one data set, or files with and without a split.
    """
    if path.is_file():
        return [Shard(path, None)]
    if not path.is_dir():
        raise FileNotFoundError(f"no Parquet file or folder of Parquet shards at {path}")
    found: list[Shard] = []
    homes: set[Path] = set()
    for file in sorted(path.rglob(f"*{suffix}")):
        if any(part.startswith(".") for part in file.relative_to(path).parts):
            continue
        split, home = split_of(file.name), file.parent
        if split is None and home != path and (split := split_of(home.name)):
            home = home.parent
        found.append(Shard(file, split))
        homes.add(home)
    if not found:
        raise FileNotFoundError(f"{path} holds no Parquet file; needed: shards train*.parquet and test*.parquet")
    if len(homes) > 1:
        names = ", ".join(sorted(str(home) for home in homes))
        raise ValueError(f"{path} holds more than one data set: {names}; give the path of one of them")
    without = [shard.path.name for shard in found if shard.split is None]
    if without and len(without) < len(found):
        raise ValueError(
            f"{path}: {without[0]} is neither train*, validation* nor test*{suffix}, other files there are"
        )
    return found


def split_of(text: str) -> str | None:
    """The split that a file name, a folder name or a cell starts with.

    >>> split_of("train-00000-of-00001.parquet"), split_of("val"), split_of("trained.parquet")
    ('train', 'validation', None)
    """
    match = re.match(r"(train|test|val|dev)(?:ing|idation|id)?(?![a-z])", text.lower())
    return {"train": "train", "test": "test", "val": "validation", "dev": "validation"}[match[1]] if match else None


def _download(name: str) -> str:
    if KNOWN[name].repository is None:
        return ""
    return (
        f" To download it: pip install 'biasvar[hub]', then "
        f"python -c \"from biasvar.data import fetch; fetch('{name}')\""
    )


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(repr(name) for name in names)
