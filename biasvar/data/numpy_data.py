"""Data sets in NumPy files: an .npz of images or features and labels, or .npy files side by side."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from biasvar.data.contents import USUAL, Columns, Contents, coded, in_order
from biasvar.data.layout import split_of
from biasvar.messages import first_few

VALUES = ("images", "image", "features", "x", "data")
LABELS = ("labels", "label", "y", "target", "targets")
_OTHER = ("split", "class_names")
_PARTS = ("train", "validation", "test")
_CURE = "numpy.savez('data.npz', images=images, labels=labels)"


def numpy_files(path: Path) -> list[Path]:
    """The files of the data set at a path: one .npz; an .npy and that of its labels; all .npy files of a folder.

    The labels of `faces.npy` are `faces_labels.npy`, or else `labels.npy`, beside it.

    Raises:
        ValueError: There are no labels to an .npy file.
    """
    if path.is_dir():
        return sorted(path.glob("*.npy"))
    if path.suffix == ".npz":
        return [path]
    beside = [path.with_name(f"{path.stem}_labels.npy"), path.with_name("labels.npy")]
    labels = next((other for other in beside if other.is_file() and other != path), None)
    if labels is None:
        raise ValueError(
            f"{path} holds one array, and a data set has labels too: put {beside[0].name} beside it (or labels.npy), "
            f"or save both in one file, {_CURE}"
        )
    return [path, labels]


def read_numpy(path: Path, *, columns: Columns = USUAL) -> Contents:
    """The data set in NumPy files.

    Arrays are known by name: `images`, `features`, `x` or `data`, and `labels`, `y` or `target`; `split` (the words
    train and test) and `class_names` may be beside them. Or the splits are arrays of their own, such as `x_train`,
    `y_train`, `x_test`, `y_test`, or `train_images`, `train_labels` and so on. Rows of an array of two dimensions are
    features, others are images.

    Raises:
        ValueError: Arrays that are missing, of other shapes or types, or of another number of rows.
    """
    arrays = _arrays(path)
    names = _words(path, arrays, "class_names")
    parts: list[tuple[str, np.ndarray, np.ndarray]] = []
    for split, found in _by_split(path, arrays, columns).items():
        values = checked_values(found["values"], f"{path}: {found['values_name']}")
        labels = checked_labels(found["labels"], f"{path}: {found['labels_name']}", len(values))
        parts.append((split, values, labels))
    if len({labels.dtype.kind for _, _, labels in parts}) > 1:
        raise ValueError(f"{path}: labels are words in some arrays and numbers in others")
    shapes = {values.shape[1:] for _, values, _ in parts}
    if len(shapes) > 1:
        raise ValueError(f"{path}: rows of another shape in one split than in another: {first_few(sorted(shapes))}")
    values = parts[0][1] if len(parts) == 1 else np.concatenate([values for _, values, _ in parts])
    labels = np.concatenate([labels for _, _, labels in parts])
    if not len(labels):
        raise ValueError(f"{path}: the arrays are empty; needed: at least one row")
    splits = np.repeat([name or "" for name, _, _ in parts], [len(own) for _, _, own in parts])
    first = np.cumsum([0, *(len(own) for _, _, own in parts)])

    def stands(row: int) -> str:
        part = int(np.searchsorted(first, row, side="right")) - 1
        return f"{path}: row {row - first[part]}" + (f" of {parts[part][0]}" if len(parts) > 1 else "")

    if "split" in arrays:
        splits = _split_column(path, arrays["split"], len(labels), several=len(parts) > 1)
    if labels.dtype.kind == "U":
        labels, names = coded(labels.tolist(), names, where=stands)
    elif (labels < 0).any():
        row = int(np.argmax(labels < 0))
        raise ValueError(f"{stands(row)} has label {labels[row]}, out of range; labels are integers from 0")
    order = in_order(splits, stands)
    straight = np.array_equal(order.rows, np.arange(len(labels)))
    return Contents(
        place=path, where=lambda i: stands(int(order.rows[i])), labels=labels[order.rows], class_names=names,
        train_rows=order.train_rows, validation=order.validation, arrays=values if straight else values[order.rows],
    )  # fmt: skip


def checked_values(values: np.ndarray, name: str) -> np.ndarray:
    """The images as uint8 (N, H, W) or (N, H, W, 3), or the features as float32 (N, D).

    Args:
        values: Whole numbers 0 .. 255 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), or finite numbers (N, D).
        name: What they are, for errors.

    Raises:
        TypeError: They are no numbers.
        ValueError: Another shape, numbers that are no pixels, or features that are not finite.

    >>> checked_values(np.array([[0.5, 2.0]]), "x")
    array([[0.5, 2. ]], dtype=float32)
    """
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, not {values.dtype}")
    if values.ndim == 2:
        return _features(values, name)
    shape = values.shape
    if values.ndim == 4 and shape[3] == 1:
        values = values[..., 0]
    elif values.ndim == 4 and shape[1] in (1, 3) and shape[3] != 3:
        raise ValueError(
            f"{name} has shape {shape}, channels first; needed: channels last, as numpy.moveaxis(x, 1, -1) gives"
        )
    elif not (values.ndim == 3 or (values.ndim == 4 and shape[3] == 3)):
        raise ValueError(f"{name} has shape {shape}; needed: images (N, H, W) or (N, H, W, 3), or features (N, D)")
    if 0 in values.shape[1:]:
        raise ValueError(f"{name} has shape {shape}: images without pixels")
    if values.dtype == np.uint8:
        return values
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if values.dtype.kind not in "iu" or low < 0 or high > 255:
        raise ValueError(
            f"{name} holds {values.dtype} from {low:g} to {high:g}; needed: pixels as whole numbers 0 .. 255, such as "
            "numpy.rint(255 * images).astype(numpy.uint8) of those in [0, 1]; or give vectors of features, "
            "images.reshape(len(images), -1)"
        )
    return values.astype(np.uint8)


def _features(values: np.ndarray, name: str) -> np.ndarray:
    if not values.shape[1]:
        raise ValueError(f"{name} has shape {values.shape}: no feature")
    with np.errstate(over="ignore"):
        features = np.asarray(values, dtype=np.float32)
    wrong = ~np.isfinite(features).all(axis=1)
    if wrong.any():
        raise ValueError(f"{name}: row {int(np.argmax(wrong))} has a feature that is not finite in float32")
    return features


def checked_labels(labels: np.ndarray, name: str, rows: int) -> np.ndarray:
    """(N,) labels as int64, or as words.

    Raises:
        TypeError: Neither integers nor words.
        ValueError: Another shape, or another number than `rows`.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        more = " (of one-hot rows, argmax(1))" if labels.ndim == 2 else ""
        raise ValueError(f"{name} has shape {labels.shape}; needed: one label a row, (N,){more}")
    if len(labels) != rows:
        raise ValueError(f"{name} has {len(labels):,} labels for {rows:,} rows; needed: one a row")
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name} holds {labels.dtype}; needed: integers from 0, or words")
    return labels.astype(np.int64)


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays by name, in small letters; of .npy files the name is the file's."""
    files = numpy_files(path)
    if path.is_dir():
        return {file.stem.lower(): _load(file) for file in files}
    if path.suffix == ".npy":
        return {VALUES[0]: _load(files[0]), LABELS[0]: _load(files[1])}
    try:
        with path.open("rb") as opened:
            found = np.load(opened, allow_pickle=False)
            if isinstance(found, np.ndarray):
                raise ValueError("it holds one array alone, as an .npy file does")
            return {name.lower(): found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None


def _load(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False, mmap_mode="r"))
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError | PermissionError):
        return error
    if path.suffix == ".npz" and not _begins_as_numpy(path):
        return ValueError(f"{path} is no whole NumPy file (it is no .npz, which is a zip archive); save it by {_CURE}")
    if "allow_pickle" in str(error) or "pickled" in str(error):
        return ValueError(
            f"{path} holds Python objects, which are not read; save arrays of numbers and of words ({_CURE})"
        )
    return ValueError(
        f"{path} is no whole NumPy file ({str(error).splitlines()[0] if str(error) else 'it ends early'})"
    )


def _begins_as_numpy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x93NUMPY", b"PK"))


def _by_split(path: Path, arrays: Mapping[str, np.ndarray], columns: Columns) -> dict[str, dict]:
    """The arrays of values and of labels of each split; "" for arrays of the whole data set."""
    own = columns.image or columns.feature
    wanted = {
        "values": (own.lower(),) if own else VALUES, "labels": (columns.label.lower(),) if columns.label else LABELS
    }  # fmt: skip
    found: dict[str, dict] = {}
    for name, array in arrays.items():
        base, split = _apart(name)
        for role, names in wanted.items():
            if base in names and role in found.setdefault(split, {}):
                raise ValueError(f"{path}: {found[split][f'{role}_name']} and {name} are both {role}; give one of them")
            if base in names:
                found[split] |= {role: array, f"{role}_name": name}
    found = {split: parts for split, parts in found.items() if parts}
    has = first_few((f"{name} {array.shape}" for name, array in arrays.items() if name not in _OTHER), 8) or "no array"
    if not found or ("" in found and len(found) > 1):
        why = "arrays of the whole data set beside arrays of a split" if found else "no images, features or labels"
        raise ValueError(f"{path}: {why}; it has {has}; needed: {_needed(wanted)}")
    for split, parts in found.items():
        lacks = [role for role in wanted if role not in parts]
        if lacks:
            of = f" of {split}" if split else ""
            raise ValueError(f"{path}: no {lacks[0]}{of}; it has {has}; needed: {_needed(wanted)}")
    return {split: found[split] for split in ("", *_PARTS) if split in found}


def _needed(wanted: Mapping[str, tuple[str, ...]]) -> str:
    values, labels = (" or ".join(names[:4]) for names in wanted.values())
    return f"{values}, and {labels}, each once or for every split (x_train, y_train, x_test, y_test)"


def _apart(name: str) -> tuple[str, str]:
    """The name of an array without the split that it names, and that split.

    >>> _apart("x_train"), _apart("val_images"), _apart("labels")
    (('x', 'train'), ('images', 'validation'), ('labels', ''))
    """
    first, _, rest = name.partition("_")
    before, _, last = name.rpartition("_")
    if rest and (split := split_of(first)):
        return rest, split
    if before and (split := split_of(last)):
        return before, split
    return name, ""


def _words(path: Path, arrays: Mapping[str, np.ndarray], name: str) -> tuple[str, ...] | None:
    if name not in arrays:
        return None
    words = arrays[name]
    if words.dtype.kind != "U" or words.ndim != 1:
        raise ValueError(f"{path}: {name} must be an array of words, not {words.dtype} of shape {words.shape}")
    return tuple(words.tolist())


def _split_column(path: Path, words: np.ndarray, rows: int, *, several: bool) -> np.ndarray:
    if several or words.dtype.kind != "U" or words.shape != (rows,):
        raise ValueError(
            f"{path}: split must be {rows:,} words, 'train' or 'test', of arrays that are not split already"
        )
    split = [split_of(word) for word in words.tolist()]
    if None in split:
        row = split.index(None)
        raise ValueError(f"{path}: row {row} has split {str(words[row])!r}; allowed: 'train', 'validation', 'test'")
    return np.array(split, dtype="<U10")
