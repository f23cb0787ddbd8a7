"""Arrays of any namespace, float64 arithmetic on them: what the other modules of `biasvar.analysis` compute with.

NumPy arrays and torch tensors go through the array API (array-api-compat), so that there is one implementation and
results stay in the caller's namespace and on the caller's device. Nothing here imports torch, and nothing is checked:
`biasvar.analysis.inputs` is the way in.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from biasvar.messages import first_few

# An array of any namespace that follows the array API; no common type exists that mypy could check.
Array = Any
# The namespace depends on the type alone; looking it up anew for every chunk of rows takes a seventh of the time.
_NAMESPACES: dict[type, Any] = {}
# Whether a type of device holds float64, tried once.
_FLOAT64: dict[str, bool] = {"cpu": True}


def as_float64(x: Array) -> Array:
    """`x` in float64 where it is, or on the processor if its device has none; nothing is checked."""
    xp = namespace(x)
    return xp.astype(x if holds_float64(x) else x.cpu(), xp.float64, copy=False)


def holds_float64(x: Array) -> bool:
    """True if the device of `x` holds float64; Apple's does not."""
    kind = str(x.device).partition(":")[0]
    if kind not in _FLOAT64:
        try:
            namespace(x).zeros(1, dtype=namespace(x).float64, device=array_api_compat.device(x))
            _FLOAT64[kind] = True
        except (TypeError, RuntimeError):
            _FLOAT64[kind] = False
    return _FLOAT64[kind]


def namespace(x: Array) -> Any:
    """The array API namespace of `x`."""
    kind = type(x)
    if kind not in _NAMESPACES:
        _NAMESPACES[kind] = array_api_compat.array_namespace(x)
    return _NAMESPACES[kind]


def to_numpy(x: Array) -> np.ndarray:
    """`x` as a NumPy array on this machine's memory; bfloat16, which NumPy lacks, as float32."""
    if not hasattr(x, "detach"):
        return np.asarray(x)
    x = x.detach().cpu()
    return np.asarray(x.float() if str(x.dtype) == "torch.bfloat16" else x)


def on_cpu(x: Array) -> bool:
    """Whether `x` lies in main memory (chunks should then fit the processor's cache)."""
    return str(array_api_compat.device(x)).startswith("cpu")


def named(bad: Array, start: int = 0) -> str:
    """The first few positions where the boolean array `bad` is true, for an error message.

    `start` is the place of the chunk in the whole along the last axis.
    """
    positions = np.argwhere(to_numpy(bad)).tolist()
    return first_few(p[0] + start if len(p) == 1 else (*p[:-1], p[-1] + start) for p in positions)


def pick(x: Array, labels: Array) -> Array:
    """The entry of every row of `x` `(..., C)` at its label `(...)`."""
    xp = namespace(x)
    return xp.take_along_axis(x, labels[..., None], axis=-1)[..., 0]


def exponentials(x: Array) -> tuple[Array, Array, Array, Array]:
    """The maximum `(...)` of `x` `(..., C)`; `x` less it; exponentials of that; their sum over all but one largest.

    Softmax is `exponentials / (1 + others)` and log-softmax `shifted - log1p(others)`: `others` keeps its full relative
    precision when one class has almost all the mass, where a sum over all classes would round it away.
    """
    xp = namespace(x)
    top = xp.max(x, axis=-1)
    shifted = x - top[..., None]
    values = xp.exp(shifted)
    ones = xp.astype(shifted == 0.0, values.dtype)  # where an exponential is one; taking them off is quicker than where
    below = xp.sum(values - ones, axis=-1)
    return top, shifted, values, below + (xp.sum(ones, axis=-1) - 1.0)


def log1p_others(x: Array) -> tuple[Array, Array, Array]:
    """The maximum of `x`, `x` less it, and the logarithm of the sum of exponentials of that; over the last axis."""
    top, shifted, _, others = exponentials(x)
    return top, shifted, namespace(x).log1p(others)


def log_softmax(x: Array) -> Array:
    """Log-softmax over the last axis, cast to float64 first, to full relative precision at the largest entry."""
    xp = namespace(x)
    _, shifted, rest = log1p_others(xp.astype(x, xp.float64, copy=False))
    return shifted - rest[..., None]
