"""A teacher of which only the k largest entries of each row are kept, as stores for large vocabularies do."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np

from biasvar.analysis.arrays import Array, log_softmax, named, namespace, on_cpu, to_numpy
from biasvar.analysis.inputs import as_array, as_where, check_real, like, sum_tolerance
from biasvar.arguments import checked

_CURE = "of logits give tail= (the mass of the classes left out), or values - logsumexp over all classes"
_ROUNDING = 1e-2  # of the mass of a row, in a coarse dtype


class TopK:
    """A teacher's k largest entries of each row, taken by the recorder, the terms and the losses as `teacher_logits`.

    With tail mass t and C classes, k of them listed, the teacher's distribution is

        q_i = exp(values_i)                             for listed classes, where tail is None: then t = 1 - sum_i q_i
        q_i = (1 - t) exp(values_i) / sum_j exp(values_j)    for listed classes, where tail is given
        q_i = t / (C - k)                               for all others

    divided by its sum, and a temperature divides ln q as it does logits (above 1 an even tail over many classes gains
    mass that the teacher's own would not: keep enough of them). Where t is computed, what rounding of the
    values' dtype hides (its machine epsilon) is the least that it can be, so that no class has probability 0.

    Args:
        indices: `(..., k)` class numbers, different ones in a row, in any order; -1 marks a place without an entry.
        values: `(..., k)` log-probabilities of the whole softmax at temperature 1; with `tail` logits will do.
        tail: `(...)`, or one number: the mass of all classes that are not listed, from 0 to below 1. With 0 they have
            probability 0, and a label among them an infinite loss, which no record holds.
        where: bool `(...)`, True for the rows that count; what the others hold is not looked at, and becomes uniform.

    Attributes:
        indices: as given, int64.
        log_probs: `(..., k)` ln q_i of the listed classes, float64; -inf at places without an entry.
        tail: `(...)` t, float64.

    Raises:
        ValueError: naming the row and the cure: a mass above 1 (within 1e-3), which logits have; a class twice;
            numbers out of range or not finite. Of tensors on an accelerator only shapes are looked at here, so that
            nothing waits; the recorder names such rows when the epoch ends.

    >>> teacher = TopK([[2, 0]], np.log([[0.6, 0.2]]))
    >>> np.exp(teacher.dense(4)).round(3).tolist()
    [[0.2, 0.1, 0.6, 0.1]]
    """

    def __init__(self, indices: Any, values: Any, tail: Any = None, *, where: Any = None) -> None:
        values = as_array(values, "values")
        check_real(values, "values")
        places = like(indices, values, "indices")
        xp = namespace(values)
        if not xp.isdtype(places.dtype, "integral"):
            raise ValueError(f"indices must be integers (class numbers), got dtype {places.dtype}")
        if tuple(places.shape) != tuple(values.shape) or values.ndim < 1 or values.shape[-1] < 1:
            raise ValueError(
                "indices and values must both have shape (..., k), at least one entry a row, got "
                f"{tuple(places.shape)} and {tuple(values.shape)}"
            )
        self.kept = None if where is None else as_where(where, values, tuple(values.shape[:-1]))
        places, logs = xp.astype(places, xp.int64), xp.astype(values, xp.float64)
        if self.kept is not None:  # uniform over the first k classes
            kept, k = self.kept[..., None], values.shape[-1]
            places = xp.where(kept, places, xp.arange(k, dtype=xp.int64, device=array_api_compat.device(values)))
            logs = xp.where(kept, logs, -math.log(k))
        given = places >= 0
        logs = xp.where(given, logs, -float("inf"))
        with np.errstate(all="ignore"):  # what is odd is refused below
            if tail is None:
                floating = xp.isdtype(values.dtype, "real floating")
                mass = xp.sum(xp.exp(logs), axis=-1)
                rest = xp.clip(1.0 - mass, float(xp.finfo(values.dtype).eps) if floating else 0.0, None)
            else:
                rest = _tail(tail, values, self.kept)
                mass = 1.0 - rest
                logs = log_softmax(logs) + xp.log(mass)[..., None]
        self.indices, self.log_probs, self.tail = places, logs, rest
        if on_cpu(values):
            self._check(mass, given, sum_tolerance(values), tail is not None)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the rows `(...)`."""
        return tuple(self.tail.shape)

    @checked
    def dense(self, num_classes: int, *, reference: Array = None, dtype: Any = None) -> Array:
        """ln q of all classes, `(..., C)`, float64, or of a `dtype`; beside `reference` where one is given.

        Raises:
            ValueError: for class numbers that are not below `num_classes`, fewer classes than entries, or a row that
                lists all classes and leaves mass (above 1e-2) to others.

        >>> TopK([1], [0.0], 0.5).dense(3).round(3).tolist()
        [-1.386, -0.693, -1.386]
        """
        self.check_classes(num_classes)
        parts = (self.indices, self.log_probs, self.tail)
        if reference is not None:
            parts = tuple(like(part, reference) for part in parts)
        return dense_log_probs(*parts, num_classes, dtype)

    def check_classes(self, num_classes: int) -> None:
        """Refuse class numbers beyond `num_classes`, and tails without a class, of arrays in main memory."""
        k = self.indices.shape[-1]
        if not k <= num_classes <= 10**9:
            raise ValueError(
                f"num_classes must be at least {k}, the entries of a row, and at most 10^9; it is {num_classes}"
            )
        if not on_cpu(self.indices):
            return
        bad = (self.indices >= num_classes).any(-1)
        if bool(bad.any()):
            raise ValueError(
                f"indices must lie in 0 .. {num_classes - 1} (-1: no entry); row {named(bad)} has "
                f"{int(self.indices.max())}"
            )
        _refuse(
            ~_tail_has_classes(self.indices, self.tail, num_classes),
            f"tail is the mass of classes that are not listed, and all {num_classes} are; give tail=0, or values that "
            "are log-probabilities whose mass is 1",
            "has mass left over",
        )

    def _check(self, mass: Array, given: Array, tolerance: float, has_tail: bool) -> None:
        """Refuse rows that are no distributions; in main memory."""
        xp = namespace(mass)
        _refuse((self.indices < -1).any(-1), "indices must be class numbers from 0 on (-1: no entry)", "has others")
        _refuse(_twice(self.indices), "indices of a row must be different classes", "has a class twice")
        _refuse(~given.any(-1), "every row needs an entry", "has none; leave it out with where=")
        if has_tail:
            _refuse(~((self.tail >= 0) & (self.tail < 1)), "tail is a mass from 0 to below 1", "has another")
        else:
            _refuse(
                mass > 1.0 + tolerance,
                "values are log-probabilities, whose mass exp(values) sums to 1 at most",
                f"sums to {_shown(mass, mass > 1.0 + tolerance)}; {_CURE}",
            )
        _refuse((xp.isnan(self.log_probs) | (self.log_probs == float("inf"))).any(-1), "values must be finite",
                "holds NaN or infinity")  # fmt: skip


def dense_log_probs(indices: Array, log_probs: Array, tail: Array, num_classes: int, dtype: Any = None) -> Array:
    """ln q of all classes `(..., C)` of the parts of a `TopK`: listed classes theirs, the others ln(t / (C - k)).

    Nothing is checked, and on an accelerator nothing waits for it.
    """
    xp = namespace(log_probs)
    dtype = xp.float64 if dtype is None else dtype
    others = xp.clip(num_classes - xp.sum(xp.astype(indices >= 0, xp.float64), axis=-1), 1.0, None)
    with np.errstate(divide="ignore"):
        left = xp.astype(xp.log(tail / others), dtype)
    # One class more takes the places without an entry, and goes.
    whole = xp.astype(xp.broadcast_to(left[..., None], (*left.shape, num_classes + 1)), dtype, copy=True)
    places = xp.where(indices >= 0, indices, num_classes)
    if hasattr(whole, "scatter"):
        whole = whole.contiguous().scatter(-1, places, log_probs.to(dtype))
    else:
        np.put_along_axis(whole, places, log_probs.astype(dtype), axis=-1)
    return whole[..., :num_classes]


def sound_rows(indices: Array, log_probs: Array, tail: Array, num_classes: int) -> Array:
    """True for rows `(...)` that are distributions: what the recorder asks of an accelerator's when an epoch ends."""
    xp = namespace(log_probs)
    mass = xp.sum(xp.exp(log_probs), axis=-1)
    inside = ((indices >= -1) & (indices < num_classes)).all(-1) & (indices >= 0).any(-1)
    inside = inside & _tail_has_classes(indices, tail, num_classes)
    return inside & ~_twice(indices) & (tail >= 0) & (tail < 1) & (mass > 0) & (mass + tail <= 1.0 + _ROUNDING)


def _tail_has_classes(indices: Array, tail: Array, num_classes: int) -> Array:
    """False for rows that list every class and leave mass to others, more than rounding."""
    xp = namespace(tail)
    return (xp.sum(xp.astype(indices >= 0, xp.int64), axis=-1) < num_classes) | (tail <= _ROUNDING)


def _twice(indices: Array) -> Array:
    xp = namespace(indices)
    ordered = xp.sort(indices, axis=-1)
    return ((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)).any(-1)


def _tail(tail: Any, values: Array, kept: Array | None) -> Array:
    xp, lead = namespace(values), tuple(values.shape[:-1])
    given = like(tail, values, "tail")
    check_real(given, "tail")
    if tuple(given.shape) not in ((), lead):
        raise ValueError(f"tail must be one number or have the shape of the rows, {lead}, got {tuple(given.shape)}")
    given = xp.asarray(xp.broadcast_to(xp.astype(given, xp.float64), lead), copy=True)
    return given if kept is None else xp.where(kept, given, 0.0)


def _refuse(bad: Array, rule: str, breach: str) -> None:
    if bool(bad.any()):
        several = "rows" if int(to_numpy(bad).sum()) > 1 else "row"
        raise ValueError(f"{rule}; {several} {named(bad)}: {breach}" if bad.ndim else f"{rule}; it {breach}")


def _shown(mass: Array, bad: Array) -> str:
    return f"{float(to_numpy(mass[bad])[0]):.4g}" if bool(bad.any()) else ""
