"""Images in folders, one a class: CLASS/image.png, or train/CLASS/image.png and test/CLASS/image.png."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from biasvar.data.contents import USUAL, Columns, Contents, coded, in_order
from biasvar.data.layout import split_of
from biasvar.messages import first_few

IMAGES = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_AT_ONCE = 1024


def image_files(path: Path) -> list[Path]:
    """The image files in the folders of a folder, by path; hidden ones and other files are passed over."""
    return [file for file in _files(path) if file.suffix.lower() in IMAGES]


def read_class_folders(path: Path, *, columns: Columns = USUAL) -> Contents:
    """The images in the folders of classes, in the order of their paths; classes are numbered in the order of names.

    Raises:
        ValueError: No folders of classes, only one or an empty one, images that are in none, or formats other than PNG
            and JPEG.
    """
    if columns != USUAL:
        raise ValueError(f"{path} is a folder of images, whose classes are its folders: it has no columns to name")
    files = image_files(path)
    is_split = has_splits(path)
    parts = [split_and_class(path, file, is_split=is_split) for file in files]
    other = next((file for file in _files(path) if file.suffix.lower() in OTHER_IMAGES), None)
    if other is not None:
        raise ValueError(f"{other} is neither PNG nor JPEG; convert it (PIL.Image.open(file).convert('RGB').save(...))")
    check_filled(path, {file.parent.relative_to(path).as_posix() for file in files}, is_split=is_split)
    names = sorted({name for _, name in parts})
    if len(names) < 2:
        raise ValueError(
            f"{path} has images of one class only, {names[0]!r}; needed: two folders of classes or more, such as "
            "cats/1.png and dogs/1.png (or train/cats/1.png and so on)"
        )
    order = in_order(np.array([split for split, _ in parts]), lambda i: str(files[i]))
    labels, classes = coded([name for _, name in parts], names)
    files = [files[i] for i in order.rows]

    def encoded() -> Iterator[list[bytes | None]]:
        for start in range(0, len(files), _AT_ONCE):
            yield [file.read_bytes() for file in files[start : start + _AT_ONCE]]

    return Contents(
        place=path, where=lambda i: str(files[i]), labels=labels[order.rows], train_rows=order.train_rows,
        class_names=classes, encoded=encoded, validation=order.validation,
        files=tuple(file.relative_to(path).as_posix() for file in files),
    )  # fmt: skip


def _files(path: Path) -> list[Path]:
    found = [file for file in path.rglob("*") if not any(p.startswith(".") for p in file.relative_to(path).parts)]
    return sorted((file for file in found if file.is_file()), key=lambda file: file.relative_to(path).parts)


def split_and_class(path: Path, file: Path, *, is_split: bool) -> tuple[str, str]:
    """The split ("" for none) and the class of an image, from the folders that it lies in."""
    folders = file.relative_to(path).parts[:-1]
    if not folders:
        raise ValueError(
            f"{file} lies in no folder of a class; needed: one folder a class, such as cats/1.png and dogs/1.png"
        )
    split = split_of(folders[0]) if is_split else None
    if split is None:
        return "", folders[0]
    if len(folders) == 1:
        raise ValueError(f"{file} lies in no folder of a class; needed: {folders[0]}/CLASS/{file.name}")
    return split, folders[1]


def check_filled(path: Path, filled: Iterable[str], *, is_split: bool) -> None:
    """Raise ValueError for a folder of a class that holds no file at all, as one that is not copied yet.

    Args:
        path: The data set's folder.
        filled: The folders in it that hold images, as posix paths.
        is_split: As of `split_and_class`.
    """
    depth = 2 if is_split else 1
    known = {"/".join(name.split("/")[:depth]) for name in filled}
    folders = [folder.relative_to(path) for folder in path.glob("/".join("*" * depth)) if folder.is_dir()]
    shown = [folder.as_posix() for folder in folders if not any(part.startswith(".") for part in folder.parts)]
    empty = sorted(name for name in {*shown} - known if not any(files for _, _, files in os.walk(path / name)))
    if empty:
        are = "is" if len(empty) == 1 else "are"
        raise ValueError(f"{path}: {first_few(empty)} {are} empty; copy the images again, or remove what has none")


def has_splits(path: Path) -> bool:
    """True if the folders are those of splits, which hold those of classes."""
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    named = [folder for folder in folders if split_of(folder.name)]
    mixed = first_few(folder.name for folder in folders if folder not in named)
    nested = [folder for folder in named if any(inner.is_dir() for inner in folder.iterdir())]
    if nested and mixed:
        raise ValueError(
            f"{path}: {nested[0].name} holds folders as a split does, beside {mixed}; move them into a split"
        )
    return bool(nested)
