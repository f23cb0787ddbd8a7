"""The one way in for arrays, labels, distributions and rows that count: what is no such thing is refused by name.

Arrays stay in their namespace and on their device; Python lists and frames become NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from biasvar.analysis.arrays import Array, holds_float64, named, namespace, to_numpy
from biasvar.columns import Kind, class_order

# Rounding of float16 over a thousand classes stays below this; types with a coarser step have their own tolerance.
SUM_TOLERANCE = 1e-3


def as_array(x: Any, name: str = "values") -> Array:
    """`x` itself if it is an array (a tensor without its graph), else a NumPy array of it: the one way in.

    Tensors on a device without float64 come to the processor, since every term is float64.

    Raises:
        TypeError: for None, words and other things that no array can be made of.
        ValueError: for masked arrays, ragged rows, objects, and tensors that hold no values.
    """
    refuse_masked(x, name)
    if not array_api_compat.is_array_api_obj(x):
        return _made(x, name)
    if hasattr(x, "detach"):
        x = x.detach()
        if str(getattr(x, "layout", "torch.strided")) != "torch.strided" or x.is_meta or x.is_quantized:
            raise ValueError(
                f"{name} must be a dense tensor that holds values, got one that is sparse, quantized or meta"
            )
        return x if holds_float64(x) else x.cpu()
    if x.dtype.kind == "V" and x.dtype.names is None:  # bfloat16 and its like, which NumPy knows from outside
        return _float32_of(x, name)
    return _without_objects(x, name)


def as_names(x: Any, name: str) -> np.ndarray:
    """`x` as `(n,)` names of rows on this machine's memory: numbers, or texts."""
    if isinstance(x, list | tuple) and all(isinstance(entry, str) for entry in x):
        return np.array(x, dtype=object)
    dtype = getattr(x, "dtype", None)
    column = dtype is not None and not array_api_compat.is_array_api_obj(x)  # of a frame: texts, categories
    found = np.asarray(x) if column or getattr(dtype, "kind", "") == "O" else to_numpy(as_array(x, name))
    if found.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {tuple(found.shape)}")
    return found


def refuse_masked(x: Any, name: str) -> None:
    """Refuse masked arrays: every computation here would read what the mask hides.

    Raises:
        ValueError: naming the cure.
    """
    if isinstance(x, np.ma.MaskedArray) or type(x).__name__ == "MaskedTensor":  # torch's, which is not imported here
        raise ValueError(
            f"{name} is a masked array, and masks are not read: give its data with where=~mask (True where it counts), "
            "or only the rows that count"
        )


def _made(x: Any, name: str) -> np.ndarray:
    """A NumPy array of a list, a frame, or a number."""
    if x is None or isinstance(x, str | bytes | dict | set | frozenset):
        kind = "missing (None)" if x is None else f"a {type(x).__name__}"
        raise TypeError(f"{name} must be an array, a tensor or a list of numbers; it is {kind}")
    plain = _plain(x, name)
    try:
        made = np.asarray(plain)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        sizes = [np.size(row) for row in x] if isinstance(x, list | tuple) else []
        odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
        if odd is None:
            raise ValueError(f"{name} cannot be read as one array of numbers: {error}") from None
        raise ValueError(
            f"the rows of {name} must be of one length; row {odd} has {sizes[odd]} entries, row 0 {sizes[0]}"
        ) from None
    return _without_objects(made, name)


def _is_frame(x: Any) -> bool:
    return hasattr(x, "columns") and hasattr(x, "dtypes") and hasattr(x, "to_numpy")


def _of_frame(x: Any, name: str) -> np.ndarray:
    """A frame's class columns, in the order of the classes."""
    labels = list(x.columns)
    if len(labels) < 2:
        return np.asarray(x.to_numpy())
    kinds = [(str(label), _column_kind(str(dtype))) for label, dtype in zip(labels, x.dtypes, strict=True)]
    place = {kind[0]: label for kind, label in zip(kinds, labels, strict=True)}
    return np.asarray(x[[place[column] for column in class_order(kinds, name)]].to_numpy())


def _column_kind(dtype: str) -> Kind:
    word = dtype.lower().lstrip("u")
    return "whole" if word.startswith("int") else "real" if word.startswith(("float", "double")) else "other"


def _plain(x: Any, name: str) -> Any:
    """Lists with their tensors as NumPy arrays: NumPy reads no bfloat16, no graph, and nothing on a device."""
    refuse_masked(x, name)
    if isinstance(x, list | tuple):
        # Rows of plain numbers are left alone: they are many.
        return x if x and isinstance(x[0], int | float) else [_plain(part, name) for part in x]
    if _is_frame(x):
        return _of_frame(x, name)
    return to_numpy(x) if array_api_compat.is_array_api_obj(x) else x


def _without_objects(x: np.ndarray, name: str) -> np.ndarray:
    """`x`, unless it is an array of objects: then an error that says of what."""
    if x.dtype != object:
        return x
    odd = next((value for value in x.flat if not isinstance(value, int | float | np.number)), None)
    gap = odd is None or type(odd).__name__ in ("NAType", "NaTType")
    what = "gaps (None, NA) or numbers beyond 64 bits" if gap else f"entries of type {type(odd).__name__}"
    cure = OF_WORDS if isinstance(odd, str) else ""
    raise ValueError(f"{name} must hold real numbers of one dtype, got dtype object with {what}{cure}")


def _float32_of(x: np.ndarray, name: str) -> np.ndarray:
    try:
        return x.astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold real numbers, got dtype {x.dtype}") from None


def like(x: Any, reference: Array, name: str = "values") -> Array:
    """`x` as an array in the namespace and on the device of `reference`."""
    x = as_array(x, name)
    xp = namespace(reference)
    device = array_api_compat.device(reference)
    if namespace(x) is not xp:
        x = to_numpy(x)
        # torch warns of arrays it may not write to, and reads neither words nor NumPy's wider types.
        if hasattr(reference, "detach"):
            if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
                raise ValueError(f"{name} must hold real numbers, got dtype {x.dtype}")
            x = x if x.flags.writeable else x.copy()
    return xp.asarray(x, device=device)


def as_logits(x: Any, name: str, shape: str) -> Array:
    """`x` as a real array with the axes of `shape` (such as "(R, N, C)") and at least two classes; dtype untouched."""
    x = as_array(x, name)
    ndim = shape.count(",") + 1
    if x.ndim != ndim:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(x.shape)}{_likely(x, ndim)}")
    check_real(x, name)
    if x.shape[-1] == 1 and 0 not in x.shape:
        raise ValueError(f"{name} of shape {shape} need at least two classes, got {tuple(x.shape)}; {ONE_COLUMN}")
    if x.shape[-1] < 2 or 0 in x.shape:
        raise ValueError(
            f"{name} of shape {shape} need at least two classes and one of everything else, got {tuple(x.shape)}"
        )
    return x


def as_rows(x: Any, name: str) -> Array:
    """`x` as a real array `(..., C)` with at least two classes; dtype untouched."""
    x = as_array(x, name)
    check_real(x, name)
    if x.ndim < 1 or x.shape[-1] < 2:
        cause = f"; {ONE_COLUMN}" if x.ndim and x.shape[-1] == 1 else ""
        raise ValueError(f"{name} must have shape (..., C) with at least two classes, got {tuple(x.shape)}{cause}")
    return x


_ROWS_ALONE = " (or, without where=, give the other rows alone)"
OF_WORDS = "; words are mapped by their place in a list of class names: [names.index(word) for word in labels]"
ONE_COLUMN = "for one column of a sigmoid give two: 1 - p and p of probabilities, 0 and z of logits"


def _likely(x: Array, ndim: int) -> str:
    """The likely cause of one axis too few."""
    if x.ndim != ndim - 1:
        return ""
    return f"; {ONE_COLUMN}" if ndim == 2 else "; for a single replica add an axis: x[None]"


def check_real(x: Array, name: str) -> None:
    """Refuse arrays that hold no real numbers (booleans, complex numbers, words)."""
    xp = namespace(x)
    if not xp.isdtype(x.dtype, ("integral", "real floating")):
        raise ValueError(f"{name} must hold real numbers, got dtype {x.dtype}")


def as_labels(
    labels: Any,
    reference: Array,
    shape: tuple[int, ...],
    num_classes: int,
    name: str = "labels",
    where: Array | None = None,
    start: int = 0,
) -> Array:
    """`labels` as int64 beside `reference`, of exactly `shape`, every one in 0 .. num_classes - 1.

    Where the bool `where` of that shape is False they may be anything, and become 0. `start` is the place of the first
    row in the whole, for the message.
    """
    labels = as_array(labels, name)
    check_label_shape(labels, shape, num_classes, name)
    if not namespace(labels).isdtype(labels.dtype, "integral"):
        raise ValueError(f"{name} must be integers (class numbers), got dtype {labels.dtype}{_other_dtype(labels)}")
    labels = like(labels, reference, name)
    xp = namespace(labels)
    labels = xp.astype(labels, xp.int64)
    bad = (labels < 0) | (labels >= num_classes)
    if where is not None:
        bad = bad & where
    if bool(xp.any(bad)):
        value = int(labels[bad][0])
        cause = label_cause(to_numpy(labels if where is None else labels[where]), num_classes)
        raise ValueError(
            f"{name} must lie in 0 .. {num_classes - 1}; row {named(bad, start)} does not (the first is {value}){cause}"
        )
    return labels if where is None else xp.where(where, labels, 0)


def check_label_shape(labels: Array, shape: tuple[int, ...], num_classes: int, name: str = "labels") -> None:
    """Refuse labels of another shape than `shape`, with the cure for one-hot labels."""
    found = tuple(labels.shape)
    if found != tuple(shape):
        one_hot = "; for one-hot labels pass labels.argmax(-1)" if found == (*shape, num_classes) else ""
        raise ValueError(f"{name} must have shape {tuple(shape)} to match the other input, got {found}{one_hot}")


def label_cause(labels: np.ndarray, num_classes: int) -> str:
    """The likely cause of labels out of 0 .. num_classes - 1, and its cure, as the end of a message; "" if none is.

    >>> label_cause(np.array([0, 1, -100]), 2)
    '; -100 marks rows to leave out: say so with where=labels != -100 (or, without where=, give the other rows alone)'
    >>> label_cause(np.array([1, 2, 3]), 3)
    '; they seem to start at 1: subtract 1'
    """
    out = np.unique(labels[(labels < 0) | (labels >= num_classes)])
    for mark in (-100, -1, 255):
        if out.tolist() == [mark]:
            return f"; {mark} marks rows to leave out: say so with where=labels != {mark}{_ROWS_ALONE}"
    if out.tolist() == [num_classes] and labels.min() == 1:
        return "; they seem to start at 1: subtract 1"
    return ""


def _other_dtype(labels: Array) -> str:
    """The likely cause of labels that are no integers."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "USOT":
        return OF_WORDS
    if namespace(labels).isdtype(labels.dtype, "real floating"):
        return "; whole numbers that a gap (NaN) made floats are left out with where= and cast to int64"
    return ""


def as_where(where: Any, reference: Array, shape: tuple[int, ...], name: str = "where") -> Array:
    """Which rows count, bool of exactly `shape` beside `reference`.

    Raises:
        ValueError: for another dtype or shape.
    """
    where = like(where, reference, name)
    if tuple(where.shape) != tuple(shape) or not namespace(where).isdtype(where.dtype, "bool"):
        raise ValueError(
            f"{name} must be a bool array of shape {tuple(shape)}, got {where.dtype} of shape {tuple(where.shape)}"
        )
    return where


def positive(number: float, name: str, *, zero: bool = False) -> float:
    """A finite number above 0 (`zero`: or 0) as a float.

    Raises:
        ValueError: for a number out of range, or NaN.
    """
    number = float(number)
    if not (number >= 0.0 if zero else number > 0.0) or number == float("inf"):
        raise ValueError(f"{name} must be a finite number {'from 0 up' if zero else 'above 0'}, got {number}")
    return number


def sum_tolerance(x: Array) -> float:
    """How far from 1 a distribution of the dtype of `x` may sum: 1e-3, or the step of a dtype that is coarser."""
    xp = namespace(x)
    floating = xp.isdtype(x.dtype, "real floating")
    return max(SUM_TOLERANCE, float(xp.finfo(x.dtype).eps)) if floating else SUM_TOLERANCE


def as_soft_labels(soft_labels: Any, name: str = "soft_labels") -> Array:
    """Distributions over classes as float64 `(N, C)`, checked: finite, not negative, rows summing to one within 1e-3.

    Rows are divided by their sum, so that what rounding left over does not enter the identities.
    """
    soft_labels = as_logits(soft_labels, name, "(N, C)")
    xp = namespace(soft_labels)
    finite = xp.all(xp.isfinite(xp.astype(soft_labels, xp.float64)), axis=-1)
    if not bool(xp.all(finite)):
        raise ValueError(f"{name} must be finite; row {named(~finite)} holds NaN or infinity")
    return divided_by_sum(soft_labels, name)


def divided_by_sum(p: Array, name: str, start: int = 0) -> Array:
    """Probabilities `(..., C)` as float64, each row divided by its sum; rows that hold NaN stay NaN.

    Raises:
        ValueError: for negative entries, or a sum that is not 1 within 1e-3, naming the first few rows.
    """
    tolerance = sum_tolerance(p)
    xp = namespace(p)
    p = xp.astype(p, xp.float64)
    negative = xp.any(p < 0, axis=-1)
    if bool(xp.any(negative)):
        raise ValueError(
            f"{name} are probabilities and cannot be negative; row {_rows(negative, start)} holds a negative entry"
            " (logarithms of probabilities are logits; what a difference left a rounding below 0 is raised to 0 first)"
        )
    total = xp.sum(p, axis=-1)
    off = xp.abs(total - 1.0) > tolerance
    if bool(xp.any(off)):
        raise ValueError(
            f"every row of {name} must sum to 1 within {tolerance:g}; row {_rows(off, start)} does not"
            f" (the first sums to {float(total[off][0]):.6g}); votes become soft labels with from_votes, other weights"
            " by dividing each row by its sum"
        )
    return p / total[..., None]


def _rows(bad: Array, start: int) -> str:
    return named(bad[None] if bad.ndim == 0 else bad, start)
