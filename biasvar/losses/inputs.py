"""The check at the head of every loss: do these tensors belong together, and which rows count?

Shapes, dtypes and devices are looked at, never values, so that nothing waits for a device: tensors of shapes that
broadcast would else train a product of all rows with all. Labels alone are also looked at for their range, and on the
CPU only; elsewhere the device's own check has to do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.masked import MaskedTensor

from biasvar.analysis.soft_labels.top_k_teacher import TopK
from biasvar.losses.settings import Reduction
from biasvar.losses.terms import read

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
INTEGERS = frozenset(
    {torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64}
)
BOOL = frozenset({torch.bool})
# torch multiplies no others; class numbers become int64 first.
REALS = FLOATS | {torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8}

_KINDS = {
    FLOATS: ("floating-point", "; logits are real numbers, not counts or class numbers"),
    INTEGERS: ("integers (class numbers)", ""),
    BOOL: ("bool", ""),
    REALS: ("real numbers", "; a set of candidates goes to CandidateAverageLoss or CandidateSetLoss"),
    REALS | BOOL: ("real numbers", ""),
}
"""How a set of dtypes is called, and the cure that a message names."""

_MASK = "its mask would be ignored; give all rows, and leave some out by where= (bool, True = counts)"


class Inputs:
    """The student's logits (..., C) of a loss and what comes with them, checked, with the rows left out emptied.

    Values of rows that `where` leaves out are replaced by 0 before anything is computed, so that NaN, infinite logits
    and labels such as -100 there reach neither the loss nor a gradient.

    Args:
        logits: floating-point (..., C), at least two classes.
        where: bool (...), True where a row counts; None: all count.
        name: Of the logits, for messages.

    Attributes:
        logits: As given; 0 in rows left out.
        shape: (...), that of the rows.
        where: As given.

    Raises:
        TypeError: No tensors, or of a dtype that cannot be meant.
        ValueError: A shape or a device that does not fit.
    """

    def __init__(self, logits: Any, where: Any = None, *, name: str = "student_logits") -> None:
        check_tensor(logits, name)
        check_dtype(logits, name, FLOATS)
        if logits.ndim < 1 or logits.shape[-1] < 2:
            raise ValueError(
                f"{name} must have shape (..., C) with at least two classes, got {tuple(logits.shape)}"
                + ("; of a single sigmoid output z give the two logits (0, z)" if logits.shape[-1:] == (1,) else "")
            )
        self.shape = logits.shape[:-1]
        self._by_row = ("the shape of the logits without classes,", self.shape)
        self._given = logits
        self.where = where
        if where is not None:
            check_like(where, "where", BOOL, logits, *self._by_row)
        self.logits: torch.Tensor = self._emptied(logits)

    def like_logits(self, x: Any, name: str, dtypes: frozenset[torch.dtype] = FLOATS) -> torch.Tensor:
        """A tensor (..., C) of exactly the logits' shape."""
        check_like(x, name, dtypes, self._given, "the shape of the logits,")
        return self._emptied(x)

    def teacher(self, teacher_logits: Any) -> torch.Tensor:
        """A teacher's logits (..., C), without gradient, in the student's precision where theirs is lower.

        Those of a `TopK` are dense here, as large as the student's.
        """
        if isinstance(teacher_logits, TopK):
            teacher_logits = self._dense(teacher_logits)
        logits = self.like_logits(teacher_logits, "teacher_logits").detach()
        return logits.to(torch.promote_types(logits.dtype, self._given.dtype))

    def _dense(self, teacher: TopK) -> torch.Tensor:
        if teacher.shape != self.shape:
            raise ValueError(f"teacher_logits must have {self._by_row[0]} {tuple(self.shape)}, got {teacher.shape}")
        dtype = torch.promote_types(self._given.dtype, torch.float32)
        dense: torch.Tensor = teacher.dense(self._given.shape[-1], reference=self._given, dtype=dtype)
        return dense

    def by_row(self, x: Any, name: str) -> torch.Tensor:
        """Numbers (...), one for each row."""
        check_like(x, name, REALS | BOOL, self._given, *self._by_row)
        return self._emptied(x)

    def labels(self, labels: Any) -> torch.Tensor:
        """Class numbers (...), int64, of any integers."""
        check_like(labels, "labels", INTEGERS, self._given, *self._by_row)
        return self._classes(labels, "labels")

    def classes(self, classes: Any, name: str, number: int | None = None) -> torch.Tensor:
        """Class numbers (..., n), int64; `number` fixes n, else it is at least 1."""
        check_tensor(classes, name)
        n = classes.shape[-1] if number is None and classes.ndim else number
        check_like(classes, name, INTEGERS, self._given, "shape", (*self.shape, n or 1))
        return self._classes(classes, name)

    def reduced(self, values: torch.Tensor, reduction: Reduction) -> torch.Tensor:
        """The mean or the sum of the values (...) over the rows that count, or the values themselves, 0 where not.

        The mean of no rows is 0, with a gradient of 0.
        """
        if self.where is not None:
            values = values.masked_fill(~self.where, 0.0)
        if reduction == "none":
            return values
        if reduction == "sum" or values.numel() == 0:
            return values.sum()
        if self.where is None:
            return values.mean()
        # In the precision in which `mean` adds: a sum of half-precision values may overflow.
        wide = torch.promote_types(values.dtype, torch.float32)
        return (values.sum(dtype=wide) / self.where.sum().clamp(min=1)).to(values.dtype)

    def _emptied(self, x: torch.Tensor) -> torch.Tensor:
        """`x` (..., or with more axes) with 0 in the rows left out."""
        if self.where is None:
            return x
        left_out = ~self.where
        return x.masked_fill(left_out[..., None] if x.ndim > left_out.ndim else left_out, 0)

    def _classes(self, classes: torch.Tensor, name: str) -> torch.Tensor:
        classes = self._emptied(classes.to(torch.int64))
        check_range(classes, self._given.shape[-1], name)
        return classes


def check_like(
    x: Any, name: str, dtypes: frozenset[torch.dtype], reference: torch.Tensor, whose: str, shape: Any = None
) -> None:
    """Refuse what is no tensor of this shape (None: the reference's), of these dtypes and on the reference's device."""
    check_tensor(x, name)
    shape = reference.shape if shape is None else shape
    if x.shape != shape:
        raise ValueError(f"{name} must have {whose} {tuple(shape)}, got {tuple(x.shape)}")
    check_dtype(x, name, dtypes)
    if x.device != reference.device:
        raise ValueError(f"{name} must be on the device of the logits, {reference.device}, not on {x.device}")


def check_tensor(x: Any, name: str) -> None:
    """TypeError for anything else than a dense tensor."""
    if not isinstance(x, torch.Tensor):
        if hasattr(x, "mask") and hasattr(x, "filled"):
            raise TypeError(f"{name} must be a torch.Tensor, not a masked array: {_MASK}")
        kind = f"{type(x).__module__}.{type(x).__qualname__}".removeprefix("builtins.")
        cure = "" if x is None else f"; torch.as_tensor({name}) makes one of an array or a list of numbers"
        raise TypeError(f"{name} must be a torch.Tensor, not {kind}{cure}")
    if isinstance(x, MaskedTensor):
        raise TypeError(f"{name} must be a plain torch.Tensor, not a MaskedTensor: {_MASK}")
    if x.is_nested or x.layout is not torch.strided:
        kind = "nested" if x.is_nested else str(x.layout).removeprefix("torch.")
        raise TypeError(f"{name} must be a dense tensor, not a {kind} one")


def check_dtype(x: torch.Tensor, name: str, dtypes: frozenset[torch.dtype]) -> None:
    """TypeError for a tensor of another dtype, with the likely cure."""
    if x.dtype in dtypes:
        return
    what, cure = _KINDS[dtypes]
    raise TypeError(f"{name} must be {what}, not {str(x.dtype).removeprefix('torch.')}{cure}")


def check_range(classes: torch.Tensor, num_classes: int, name: str, *, cure: str = "") -> None:
    """ValueError for class numbers (...) out of range, of tensors on the CPU whose values can be read.

    Elsewhere the device would have to be waited for, and under `torch.compile` and `torch.func.vmap` there is nothing
    to read; an index out of range then is the device's or torch's own error.
    """
    found = read(*torch.aminmax(classes)) if classes.numel() else None
    if found is None or (found[0] >= 0 and found[1] < num_classes):
        return
    row = tuple(((classes < 0) | (classes >= num_classes)).nonzero()[0].tolist())
    value = int(classes[row])
    where = f"row {row[0] if len(row) == 1 else row} has" if row else "it is"
    if not cure:
        cure = _cure(name, value, found, num_classes)
    raise ValueError(f"{name} must lie in 0 .. {num_classes - 1}; {where} {value}{cure}")


def _cure(name: str, value: int, extremes: list[int | float | bool], num_classes: int) -> str:
    """What to do about a class number out of range."""
    if name == "labels" and extremes == [1, num_classes]:
        return ". They seem to start at 1: subtract 1"
    if name == "labels" and (value < 0 or value == 255):
        return f". Rows to leave out are named by where=, here where=(labels != {value})"
    return ". Rows to leave out are named by where="
