"""Arrays of any kind in, float64 out: what the other modules of `biasvar.analysis` share.

NumPy arrays and torch tensors go through the array API (array-api-compat), so that there is one implementation and
results stay in the caller's namespace and on the caller's device. Python lists become NumPy arrays. Nothing here
imports torch.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from biasvar.messages import first_few

# An array of any namespace that follows the array API; no common type exists that mypy could check.
Array = Any

# Soft labels saved as float32 over 1,000 classes sum to one within about 1e-6; anything beyond this is a mistake, not
# rounding.
SUM_TOLERANCE = 1e-5
# The namespace depends on the type alone; looking it up anew for every chunk of rows takes a seventh of the time.
_NAMESPACES: dict[type, Any] = {}


def as_array(x: Any) -> Array:
    """`x` itself if it is an array (a tensor without its graph), else a NumPy array of it."""
    if not array_api_compat.is_array_api_obj(x):
        try:
            return np.asarray(x)
        except ValueError:
            sizes = [np.size(row) for row in x]
            odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
            if odd is None:
                raise
            raise ValueError(
                f"rows must be of one length; row {odd} has {sizes[odd]} entries, row 0 {sizes[0]}"
            ) from None
    return x.detach() if hasattr(x, "detach") else x


def namespace(x: Array) -> Any:
    """The array API namespace of `x`."""
    kind = type(x)
    if kind not in _NAMESPACES:
        _NAMESPACES[kind] = array_api_compat.array_namespace(x)
    return _NAMESPACES[kind]


def like(x: Any, reference: Array) -> Array:
    """`x` as an array in the namespace and on the device of `reference`."""
    x = as_array(x)
    xp = namespace(reference)
    device = array_api_compat.device(reference)
    if namespace(x) is not xp and hasattr(x, "cpu"):
        x = x.cpu()
    return xp.asarray(x, device=device)


def to_numpy(x: Array) -> np.ndarray:
    """`x` as a NumPy array on this machine's memory."""
    return np.asarray(x.cpu() if hasattr(x, "cpu") else x)


def on_cpu(x: Array) -> bool:
    """Whether `x` lies in main memory (chunks should then fit the processor's cache)."""
    return str(array_api_compat.device(x)).startswith("cpu")


def as_logits(x: Any, name: str, shape: str) -> Array:
    """`x` as a real array with the axes of `shape` (such as "(R, N, C)") and at least two classes; dtype untouched."""
    x = as_array(x)
    ndim = shape.count(",") + 1
    if x.ndim != ndim:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(x.shape)}")
    check_real(x, name)
    if x.shape[-1] < 2 or 0 in x.shape:
        raise ValueError(
            f"{name} of shape {shape} need at least two classes and one of everything else, got {tuple(x.shape)}"
        )
    return x


def check_real(x: Array, name: str) -> None:
    """Refuse arrays that hold no real numbers (booleans, complex numbers, objects)."""
    xp = namespace(x)
    if x.dtype == object or not xp.isdtype(x.dtype, ("integral", "real floating")):
        raise ValueError(f"{name} must hold real numbers, got dtype {x.dtype}")


def as_labels(labels: Any, reference: Array, shape: tuple[int, ...], num_classes: int, name: str = "labels") -> Array:
    """`labels` as int64 beside `reference`, of exactly `shape`, every one in 0 .. num_classes - 1."""
    labels = like(labels, reference)
    xp = namespace(labels)
    if tuple(labels.shape) != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)} to match the other input, got {tuple(labels.shape)}")
    if not xp.isdtype(labels.dtype, "integral"):
        raise ValueError(f"{name} must be integers (class numbers), got dtype {labels.dtype}")
    labels = xp.astype(labels, xp.int64)
    bad = (labels < 0) | (labels >= num_classes)
    if bool(xp.any(bad)):
        rows = named(bad)
        value = int(labels[bad][0])
        raise ValueError(f"{name} must lie in 0 .. {num_classes - 1}; row {rows} does not (the first is {value})")
    return labels


def as_soft_labels(soft_labels: Any, name: str = "soft_labels") -> Array:
    """Distributions over classes as float64 `(N, C)`, checked: finite, not negative, rows summing to one within 1e-5.

    Rows are divided by their sum, so that what rounding left over does not enter the identities.
    """
    soft_labels = as_logits(soft_labels, name, "(N, C)")
    xp = namespace(soft_labels)
    soft_labels = xp.astype(soft_labels, xp.float64)
    finite = xp.all(xp.isfinite(soft_labels), axis=-1)
    if not bool(xp.all(finite)):
        raise ValueError(f"{name} must be finite; row {named(~finite)} holds NaN or infinity")
    negative = xp.any(soft_labels < 0, axis=-1)
    if bool(xp.any(negative)):
        raise ValueError(
            f"{name} are probabilities and cannot be negative; row {named(negative)} holds a negative entry"
        )
    total = xp.sum(soft_labels, axis=-1)
    off = xp.abs(total - 1.0) > SUM_TOLERANCE
    if bool(xp.any(off)):
        raise ValueError(
            f"every row of {name} must sum to 1 within {SUM_TOLERANCE:g}; row {named(off)} does not"
            f" (the first sums to {float(total[off][0]):.6g})"
        )
    return soft_labels / total[:, None]


def named(bad: Array) -> str:
    """The first few positions where the boolean array `bad` is true, for an error message."""
    positions = np.argwhere(to_numpy(bad))
    return first_few(int(p[0]) if len(p) == 1 else tuple(p.tolist()) for p in positions)


def pick(x: Array, labels: Array) -> Array:
    """The entry of every row of `x` `(..., C)` at its label `(...)`."""
    xp = namespace(x)
    return xp.take_along_axis(x, labels[..., None], axis=-1)[..., 0]


def exponentials(x: Array) -> tuple[Array, Array, Array]:
    """`x` minus its maximum, the exponentials of that, and their sum over all but one of the largest; on the last axis.

    Softmax is `exponentials / (1 + others)` and log-softmax `shifted - log1p(others)`: `others` keeps its full relative
    precision when one class has almost all the mass, where a sum over all classes would round it away.
    """
    xp = namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    values = xp.exp(shifted)
    is_top = shifted == 0.0
    below = xp.sum(xp.where(is_top, 0.0, values), axis=-1)
    return shifted, values, below + (xp.sum(is_top, axis=-1, dtype=values.dtype) - 1.0)


def log1p_others(x: Array) -> tuple[Array, Array]:
    """`x` minus its maximum, and the logarithm of the sum of the exponentials of that, over the last axis."""
    shifted, _, others = exponentials(x)
    return shifted, namespace(x).log1p(others)


def log_softmax(x: Array) -> Array:
    """Log-softmax over the last axis, cast to float64 first, to full relative precision at the largest entry."""
    xp = namespace(x)
    shifted, rest = log1p_others(xp.astype(x, xp.float64, copy=False))
    return shifted - rest[..., None]
