"""Data sets from files: images decoded once, or features, kept as .npy files and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from biasvar.data.cache import cached
from biasvar.data.contents import Columns, Contents
from biasvar.data.dataset import Dataset, Measured, measure
from biasvar.data.decode import Decoder, Mode, converted
from biasvar.data.layout import KNOWN, Known, cache_folder
from biasvar.data.sizes import how_made, made_smaller
from biasvar.data.sources import find_source
from biasvar.data.vectors import write_vectors

FORMAT = 2  # of what is kept; a change makes every data set be decoded anew
SCALE = 255.0
CHUNK = 4096  # images converted at a time


def load_images(
    name: str, path: Path, *, columns: Columns, mode: Mode | None, size: int | None, by_name: bool
) -> Dataset:
    """The data set in the file or folder at `path`; see :func:`biasvar.data.load_dataset`."""
    source = find_source(path)
    known = KNOWN.get(name) if by_name and columns.label is None else None
    classes = None if known is None else known.num_classes
    choices: list[Any] = [columns.image, columns.label, mode, classes]
    choices += [[columns.feature, size]] if columns.feature or size else []
    key = hashlib.sha256(json.dumps([FORMAT, choices, *source.identity()]).encode()).hexdigest()
    place = cache_folder() / "decoded" / f"{re.sub(r'[^A-Za-z0-9_-]', '-', name)}-{key[:16]}"

    def fill(folder: Path) -> None:
        contents = source.read(columns)
        if contents.lists is not None or (contents.arrays is not None and contents.arrays.ndim == 2):
            if mode or size:
                raise ValueError(f"{name} holds features, not images: size and mode are for images; leave them out")
            _copy_into(folder, contents)
        elif contents.arrays is not None:
            _convert_into(folder, contents, contents.arrays, mode, size, name)
        else:
            _decode_into(folder, contents, mode, size, name, known is not None)

    kept, images, labels, original_index, files = cached(place, fill, _read)
    train = kept["train_rows"]
    split = None if train is None else np.where(np.arange(len(labels)) < train, "train", "test")
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        class_names=tuple(kept["class_names"]),
        scale=1.0 if images.ndim == 2 else SCALE,
        note=_note(name, known, kept, images.shape, mode, _source(path) or kept["source"]),
        split=split,
        original_index=original_index,
        files=files,
        _measured=Measured(np.array(kept["mean"]), np.array(kept["std"]), kept["fingerprint"]),
    )


def _decode_into(
    folder: Path, contents: Contents, mode: Mode | None, size: int | None, name: str, is_known: bool
) -> None:
    names = class_names(contents, KNOWN[name].num_classes if is_known else None)
    decoder = Decoder(mode=mode, locate=contents.where)
    assert contents.encoded is not None
    with open(folder / "images.npy", "wb") as file, decoder.threads() as pool:
        for encoded in contents.encoded():
            decoded = decoder.decode(encoded, pool)
            if file.tell() == 0 and is_known:
                _check_known(name, contents.place, decoder.shape, len(names), converted=mode is not None)
            images = made_smaller(name, decoded, size)
            if file.tell() == 0:
                _header(file, (len(contents.labels), *images.shape[1:]))
            file.write(np.ascontiguousarray(images).data)
    about = {"formats": dict(sorted(decoder.formats.items())), "pixels": list(decoder.shape[:2])}
    _keep(folder, contents, names, SCALE, about)


def _convert_into(
    folder: Path, contents: Contents, images: np.ndarray, mode: Mode | None, size: int | None, name: str
) -> None:
    names = class_names(contents, None)
    pixels = list(images.shape[1:3])
    with open(folder / "images.npy", "wb") as file:
        for start in range(0, len(images), CHUNK):
            made = made_smaller(name, converted(images[start : start + CHUNK], mode), size)
            if not start:
                _header(file, (len(images), *made.shape[1:]))
            file.write(np.ascontiguousarray(made).data)
    _keep(folder, contents, names, SCALE, {"formats": {}, "pixels": pixels})


def _copy_into(folder: Path, contents: Contents) -> None:
    names = class_names(contents, None)
    with open(folder / "images.npy", "wb") as file:
        if contents.arrays is not None:
            np.save(file, contents.arrays)
        else:
            write_vectors(file, contents)
    _keep(folder, contents, names, 1.0, {"formats": {}})


def _keep(folder: Path, contents: Contents, names: list[str], scale: float, about: dict[str, Any]) -> None:
    """Write what goes with the images or features of a folder."""
    np.save(folder / "labels.npy", contents.labels)
    if contents.original_index is not None:
        np.save(folder / "original_index.npy", contents.original_index)
    if contents.files is not None:
        (folder / "files.json").write_text(json.dumps(contents.files) + "\n", encoding="utf-8")
    train = contents.train_rows
    split = None if train is None else np.where(np.arange(len(contents.labels)) < train, "train", "test")
    measured = measure(np.load(folder / "images.npy", mmap_mode="r"), contents.labels, split, scale)
    kept = {
        "format": FORMAT,
        "class_names": names,
        "train_rows": train,
        "validation": contents.validation,
        "source": contents.source,
        "mean": measured.mean.tolist(),
        "std": measured.std.tolist(),
        "fingerprint": measured.fingerprint,
        **about,
    }
    (folder / "about.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _read(
    place: Path,
) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray | None, tuple[str, ...] | None]:
    kept = json.loads((place / "about.json").read_text(encoding="utf-8"))
    images = np.asarray(np.load(place / "images.npy", mmap_mode="c"))
    labels = np.load(place / "labels.npy")
    index = place / "original_index.npy"
    if len(images) != len(labels) or not {"mean", "std", "fingerprint", "class_names", "train_rows"} <= kept.keys():
        raise ValueError(f"{place} is damaged")
    files = place / "files.json"
    named = tuple(json.loads(files.read_text(encoding="utf-8"))) if files.exists() else None
    return kept, images, labels, np.load(index) if index.exists() else None, named


def class_names(contents: Contents, num_classes: int | None) -> list[str]:
    """The class names; ValueError for labels that are none of them."""
    labels = contents.labels
    if contents.class_names is not None:
        names, count = list(contents.class_names), f"{len(contents.class_names)} class names"
    elif num_classes is not None:
        names, count = [str(c) for c in range(num_classes)], f"{num_classes} classes"
    else:  # more classes than rows: a number that is no label, not a data set of so many classes
        names = [str(c) for c in range(min(int(labels.max()) + 1, len(labels)))]
        count = f"{len(labels)} rows without class names"
        if len(labels) and labels.min() == 1 and len(np.unique(labels)) == labels.max() > 1:
            raise ValueError(
                f"{contents.place}: the labels run from 1 to {labels.max()}, and classes are numbered from 0: "
                "subtract 1; or, if a class 0 is there of which no row is, name the classes in the file's metadata "
                "(class_names, or the ClassLabel of Hugging Face)"
            )
    if labels.max() >= len(names):
        i = int(np.argmax(labels >= len(names)))
        raise ValueError(
            f"{contents.where(i)} has label {labels[i]}, out of range; allowed with {count}: 0 .. {len(names) - 1}"
        )
    return names


def _check_known(name: str, path: Path, shape: tuple[int, ...], num_classes: int, *, converted: bool) -> None:
    known = KNOWN[name]
    as_known = shape[:2] == known.shape[:2] if converted else shape == known.shape
    if not as_known or num_classes != known.num_classes:
        raise ValueError(
            f"{path} is not {name}: it holds {_size((0, *shape))} images of {num_classes} classes, {known.title} has "
            f"{_size((0, *known.shape))} images of {known.num_classes} classes; give the file's path to load it anyway"
        )


def _note(
    name: str, known: Known | None, kept: dict[str, Any], shape: Sequence[int], mode: Mode | None, source: str
) -> str:
    train, formats = kept["train_rows"], Counter(kept["formats"])
    rows = f"{shape[0]:,}" if train is None else f"{train:,} train and {shape[0] - train:,} test"
    what = f"rows, {shape[1]:,} features each" if len(shape) == 2 else f"images, {_size(shape)}"
    made = how_made(mode, kept.get("pixels", shape[1:3]), shape[1:3])
    what += f" ({made})" if made else ""
    parts = [f"{known.title if known else name}: {rows} {what}, {len(kept['class_names'])} classes"]
    if formats["JPEG"]:
        part = "" if formats["JPEG"] == shape[0] else f"{formats['JPEG']:,} of them "
        parts.append(f"{part}JPEG copies, not the original pixels" if known else f"{part}stored as JPEG")
    if kept["validation"]:
        parts.append(f"the files' validation rows are {kept['validation']} rows")
    if source:
        parts.append(f"from {source}")
    return "; ".join(parts)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]}x{shape[1]} {'colour' if len(shape) == 4 else 'grey'}"


def _source(path: Path) -> str:
    """Where `fetch` had a folder from."""
    try:
        about = json.loads((path / "source.json").read_text(encoding="utf-8"))
        return f"huggingface.co/datasets/{about['repository']} at {str(about['commit'])[:10]}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
