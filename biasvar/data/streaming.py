"""Data sets of images that do not fit in memory: read from their files, one by one, as they are asked for."""

from __future__ import annotations

import hashlib
import operator
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from biasvar.data.class_folders import IMAGES, OTHER_IMAGES, check_filled, has_splits, split_and_class
from biasvar.data.contents import Columns, Contents, coded, in_order
from biasvar.data.crops import CentreCrop, RandomCrops
from biasvar.data.dataset import Dataset, Measured
from biasvar.data.decode import decode_colour
from biasvar.data.images import class_names
from biasvar.data.layout import Shard, shards
from biasvar.data.one_image import OneImage
from biasvar.data.parquet import read_contents
from biasvar.data.saved_datasets import is_saved_dataset, saved_shards
from biasvar.errors import BiasvarError
from biasvar.messages import first_few

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], by channel, as github.com/pytorch/examples (imagenet/main.py at 0221496) has them."""
FINGERPRINT = "names and byte sizes of the files, labels, split and crop"
"""What the fingerprint of a streamed data set is of; that of any other is of its pixels."""


_Found = tuple[Contents, Sequence[tuple[str, int]], Callable[[int], str]]


class UnreadableImage(BiasvarError, ValueError):
    """An image that cannot be read: names its file.

    Attributes:
        sample: Its sample id.
    """

    def __init__(self, message: str, sample: int = -1) -> None:
        super().__init__(message)
        self.sample = sample


class StreamedImages:
    """Images in their files, each shown as its centre crop; indexed like a uint8 array (N, size, size, 3).

    Args:
        crop: What is shown of an image.
        contents: Labels, splits, and how a sample is read.
        files: (name, bytes) of every file.
        name_of: The name of the file of a sample.

    Attributes:
        shape, ndim, dtype: Those of the array.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, crop: CentreCrop, contents: Contents, files: Sequence[tuple[str, int]], name_of: Callable[[int], str]
    ) -> None:
        assert contents.one is not None  # they are images
        self.crop, self.shape = crop, (len(contents.labels), crop.size, crop.size, 3)
        self._read, self._where = contents.one, contents.where
        self._labels, self._train_rows = contents.labels, contents.train_rows
        self._files, self.name_of = files, name_of

    def fingerprint(self, sizes: Mapping[str, int] | None = None) -> str:
        """SHA-256 over `FINGERPRINT`; with `sizes`, as if these files had as many bytes."""
        digest = hashlib.sha256(f"{FINGERPRINT}; {self.crop.resize} {self.crop.size}; {self._train_rows}".encode())
        for name, size in self._files:
            digest.update(f"{name}\0{(sizes or {}).get(name, size)}\0".encode(errors="surrogateescape"))
        digest.update(np.ascontiguousarray(self._labels, dtype="<i8").data)
        return digest.hexdigest()

    def size_of(self, name: str) -> int:
        """The bytes that a file had when the data set was opened."""
        return dict(self._files)[name]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: Any) -> np.ndarray:
        """The images of one sample id, of several, of a slice or of a mask, decoded now."""
        if isinstance(which, slice):
            which = np.arange(len(self))[which]
        if not isinstance(which, np.ndarray | list):
            return self.clean(operator.index(which))
        chosen = np.asarray(which)
        ids = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        pixels = [self.clean(int(i)) for i in ids]
        return np.stack(pixels) if pixels else np.empty((0, *self.shape[1:]), dtype=np.uint8)

    def clean(self, sample: int) -> np.ndarray:
        """uint8 (size, size, 3), the centre crop of a sample.

        Raises:
            UnreadableImage: Its file is damaged or gone.
        """
        return np.asarray(self.crop.of(self._image(sample)))

    def random(self, sample: int, crops: RandomCrops, numbers: np.ndarray) -> np.ndarray:
        """uint8 (size, size, 3), the random crop of a sample that `numbers` decide; errors as of `clean`."""
        return np.asarray(crops.of(self._image(sample), numbers))

    def _image(self, sample: int) -> Any:
        try:
            return decode_colour(self._read(sample), self._where(sample))
        except FileNotFoundError:
            raise UnreadableImage(f"{self._where(sample)} is gone; put it back", sample) from None
        except OSError as error:
            raise UnreadableImage(f"{self._where(sample)} cannot be read ({error.strerror or error})", sample) from None
        except ValueError as error:
            raise UnreadableImage(f"{error}; put a whole file in its place", sample) from None


@dataclass(frozen=True)
class _Files:
    """Files by sample, in as few objects as can be: a process that is forked from this one shares them.

    Attributes:
        root: The folder.
        names: The paths in it, UTF-8, one after another.
        ends: int64 (N,) where each ends.
    """

    root: str
    names: bytes
    ends: np.ndarray

    def where(self, sample: int) -> str:
        start = int(self.ends[sample - 1]) if sample else 0
        return os.path.join(self.root, os.fsdecode(self.names[start : int(self.ends[sample])]))

    def read(self, sample: int) -> bytes:
        with open(self.where(sample), "rb") as file:
            return file.read()


def stream_images(name: str, path: Path, *, columns: Columns, crop: CentreCrop) -> Dataset:
    """The data set in a folder of classes or in Parquet files, its images left where they are.

    See :func:`biasvar.data.load_dataset`.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder of images at {path}")
    found = _shards(path)
    contents, files, name_of = _of_shards(path, found, columns) if found else _of_folders(path, columns)
    names = class_names(contents, None)
    images = StreamedImages(crop, contents, files, name_of)
    train, count = contents.train_rows, len(contents.labels)
    split = None if train is None else np.where(np.arange(count) < train, "train", "test")
    return Dataset(
        name=name,
        images=cast(np.ndarray, images),
        labels=contents.labels,
        class_names=tuple(names),
        scale=255.0,
        note=_note(name, contents, names, crop),
        split=split,
        original_index=contents.original_index,
        files=contents.files,
        _measured=Measured(np.array(MEAN), np.array(STD), images.fingerprint()),
    )


def _shards(path: Path) -> list[Shard]:
    """The Parquet or Arrow files of a data set; none for a folder of classes."""
    if path.is_file():
        if path.suffix != ".parquet":
            raise ValueError(
                f"{path}: images are streamed from a folder with one folder of images a class, or from Parquet files; "
                "leave streamed out for data that are one array"
            )
        return [Shard(path, None)]
    if is_saved_dataset(path):
        return list(saved_shards(path))
    # Not the whole tree is looked through: of a million images that takes minutes.
    return shards(path) if any(path.glob("*.parquet")) or any(path.glob("*/*.parquet")) else []


def _of_shards(path: Path, found: Sequence[Shard], columns: Columns) -> _Found:
    """What the files say, their names and sizes, and which a sample is in.

    Raises:
        ValueError: One of them is missing, damaged, or holds labels that are none.
    """
    _check_all_there(path, found)
    contents = read_contents(found, columns=columns)
    if not isinstance(contents.one, OneImage):
        raise ValueError(f"{path} holds features, not images; leave streamed out")
    root = path if path.is_dir() else path.parent
    files = [(shard.path.relative_to(root).as_posix(), shard.path.stat().st_size) for shard in found]
    return contents, files, partial(_name_in, files, contents.one.file)


def _name_in(files: Sequence[tuple[str, int]], file: np.ndarray, sample: int) -> str:
    return files[int(file[sample])][0]


def _check_all_there(path: Path, found: Sequence[Shard]) -> None:
    """Raise ValueError where files that are numbered "00003-of-00014" lack some of their number."""
    numbered: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for shard in found:
        match = re.fullmatch(r"(.*?)(\d+)-of-(\d+)(?:-[0-9a-f]+)?", shard.path.stem)
        if match:
            numbered[match[1], int(match[3])].add(int(match[2]))
    for (start, total), there in numbered.items():
        missing = [f"{start}{number:05d}-of-{total:05d}" for number in range(total) if number not in there]
        if missing:
            said = f"{len(missing)} of {total} files are missing, {first_few(missing)}"
            raise ValueError(f"{path}: {said}; copy or download them again")


def _of_folders(path: Path, columns: Columns) -> _Found:
    """The images in folders of classes in the order of their paths, their names and sizes, and which is a sample's.

    Raises:
        ValueError: No folders of classes, only one or an empty one, an empty file, formats other than PNG and JPEG.
    """
    if any((columns.image, columns.label, columns.feature)):
        raise ValueError(f"{path} is a folder of images, whose classes are its folders: it has no columns to name")
    found = _scan(str(path), "")
    if not found:
        raise FileNotFoundError(f"{path} holds no images; needed: one folder of PNG or JPEG images a class")
    is_split = has_splits(path)
    parents: dict[str, tuple[str, str]] = {}
    for name, size in found:
        parent = name.rpartition("/")[0]
        if parent not in parents:
            parents[parent] = split_and_class(path, path / name, is_split=is_split)
        if not size:
            raise ValueError(f"{path / name} is empty; copy or download it again")
    check_filled(path, parents, is_split=is_split)
    placed = [parents[name.rpartition("/")[0]] for name, _ in found]
    classes = sorted({label for _, label in parents.values()})
    if len(classes) < 2:
        raise ValueError(f"{path} has images of one class only, {classes[0]!r}; needed: two folders of classes or more")
    order = in_order(np.array([split for split, _ in placed]), lambda i: str(path / found[i][0]))
    labels, _ = coded([label for _, label in placed], classes)
    names = tuple(found[i][0] for i in order.rows)
    encoded = [os.fsencode(name) for name in names]
    files = _Files(str(path), b"".join(encoded), np.cumsum([len(name) for name in encoded]))
    contents = Contents(
        place=path, where=files.where, labels=labels[order.rows], train_rows=order.train_rows,
        class_names=tuple(classes), one=files.read, validation=order.validation, files=names,
    )  # fmt: skip
    return contents, found, names.__getitem__


def _scan(root: str, inside: str) -> list[tuple[str, int]]:
    """(path in the folder, bytes) of every image below it, in the order of their paths; hidden ones are passed over."""
    found = []
    with os.scandir(os.path.join(root, inside)) as entries:
        for entry in sorted(entries, key=operator.attrgetter("name")):
            if entry.name.startswith("."):
                continue
            name = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_dir():
                found += _scan(root, name)
                continue
            ending = os.path.splitext(entry.name)[1].lower()
            if ending in IMAGES:
                found.append((name, entry.stat().st_size))
            elif ending in OTHER_IMAGES:
                raise ValueError(
                    f"{os.path.join(root, name)} is neither PNG nor JPEG; convert it "
                    "(PIL.Image.open(file).convert('RGB').save(...))"
                )
    return found


def _note(name: str, contents: Contents, names: Sequence[str], crop: CentreCrop) -> str:
    train, count = contents.train_rows, len(contents.labels)
    rows = f"{count:,}" if train is None else f"{train:,} train and {count - train:,} test"
    parts = [
        f"{name}: {rows} images, {len(names)} classes, read from their files as they are asked for",
        f"evaluated on the centre {crop.size}x{crop.size} pixels once the shorter side has {crop.resize}",
        "normalised by the mean and deviation of ImageNet",
    ]
    if contents.validation:
        parts.append(f"the files' validation rows are {contents.validation} rows")
    if contents.source:
        parts.append(f"from {contents.source}")
    return "; ".join([*parts, f"fingerprint of {FINGERPRINT}"])
