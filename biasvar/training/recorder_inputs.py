"""What a step gives to the recorder, as tensors: checked at once in what the host knows, without asking a device."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array, refuse_masked
from biasvar.analysis.soft_labels.top_k_teacher import TopK

Values = torch.Tensor | np.ndarray | Sequence[Any]
Teacher = Values | TopK
TOP_K = ("top_indices", "top_values", "top_tail")
"""Columns of a step whose teacher is a `TopK`, in place of "teacher"."""
# Kinds of integers that torch stores but does not compute with.
_WIDE = tuple(getattr(torch, name) for name in ("uint16", "uint32", "uint64") if hasattr(torch, name))
_INT64 = np.iinfo(np.int64).max


def as_tensor(values: Values, name: str) -> torch.Tensor:
    """`values` as a tensor without its graph: the one way in for all that `Recorder.update` takes.

    Raises:
        TypeError: None, words, and other things that no array can be made of.
        ValueError: Masked arrays, ragged rows, objects, dtypes that hold no numbers, tensors that are not dense.
    """
    if not isinstance(values, torch.Tensor):
        return _from_numpy(to_numpy(as_array(values, name)), name)
    refuse_masked(values, name)
    if values.is_nested or values.layout != torch.strided or values.is_quantized:
        raise ValueError(f"{name} must be a dense tensor, got one that is nested, sparse or quantized")
    values = values.detach()
    if values.dtype in _WIDE:
        return values.long()  # beyond int64 it turns negative, and is refused as out of range
    return values.float() if values.is_floating_point() and values.element_size() == 1 else values


def _from_numpy(array: np.ndarray, name: str) -> torch.Tensor:
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "biufc":
        words = "; words are mapped by their place in a list of class names" if kind in "USOT" else ""
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}{words}")
    if kind == "u" and size > 1:
        if array.size and int(array.max()) > _INT64:
            raise ValueError(f"{name} must fit int64, got {int(array.max())} ({array.dtype})")
        array = array.astype(np.int64)
    elif kind == "f" and size > 8:
        array = array.astype(np.float64)
    # The copy is one that torch takes without a warning, whatever the array's strides, flags and byte order.
    return torch.as_tensor(np.array(array, dtype=array.dtype.newbyteorder("=")))


def integers(values: Values, name: str) -> torch.Tensor:
    """`values` as a tensor of integers; ValueError for anything else."""
    tensor = as_tensor(values, name)
    if tensor.dtype == torch.bool or tensor.is_floating_point() or tensor.is_complex():
        cure = (
            "; cast whole numbers to int64, and leave rows without one out with where="
            if tensor.dtype.is_floating_point
            else ""
        )
        raise ValueError(f"{name} must be integers, not {_dtype(tensor)}{cure}")
    return tensor


def real_numbers(values: Values, name: str, *, flags: bool = False) -> torch.Tensor:
    """`values` as a tensor of real numbers, or of bool where `flags`; ValueError for anything else."""
    tensor = as_tensor(values, name)
    if tensor.is_complex() or (tensor.dtype == torch.bool and not flags):
        raise ValueError(f"{name} must hold real numbers, not {_dtype(tensor)}")
    return tensor


def check_shape(tensor: torch.Tensor, shape: tuple[int, ...], name: str) -> torch.Tensor:
    """`tensor`, if it has that shape; else ValueError."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    return tensor


def step_tensors(
    prefix: str,
    replicas: int | None,
    num_classes: int,
    sample_ids: Values,
    student_logits: Values,
    labels: Values,
    teacher_logits: Teacher | None,
    loss_weight: Values | None,
    member: Values | None,
    where: Values | None,
) -> dict[str, torch.Tensor]:
    """The arguments of `Recorder.update` by column, all of the right kind and shape; what is None is left out.

    `replicas` is their number where several train together, else None. Messages begin with `prefix`.
    """
    ids = integers(sample_ids, f"{prefix}sample_ids")
    student = real_numbers(student_logits, f"{prefix}student_logits")
    lead, own = tuple(ids.shape), () if replicas is None else (replicas,)
    tokens = len(lead) - len(own) == 2
    if len(lead) == len(own) + 1 and student.ndim == len(lead) + 2:
        raise ValueError(
            f"{prefix}sample_ids has shape {lead} and student_logits {tuple(student.shape)}: of tokens give ids "
            f"{tuple(student.shape[:-1])}, as biasvar.token_ids(sequence_ids, T) makes them"
        )
    if lead[: len(own)] != own or (len(lead) != len(own) + 1 and not (tokens and student.ndim == len(lead) + 1)):
        expected = (
            "(B,) or, of tokens, (B, T)" if replicas is None else f"(R, B) or, of tokens, (R, B, T), R {replicas}"
        )
        raise ValueError(f"{prefix}sample_ids has shape {lead}, expected {expected}")
    step = {"sample_id": ids}
    top_k = isinstance(teacher_logits, TopK)
    if isinstance(teacher_logits, TopK):
        step |= _top_k(teacher_logits, f"{prefix}teacher_logits", lead, num_classes)
    dense = (("student", student), ("teacher", None if top_k else teacher_logits))
    for column, values in dense:
        if column == "student" or values is not None:
            name = f"{prefix}{column}_logits"
            step[column] = check_shape(real_numbers(values, name), (*lead, num_classes), name)  # type: ignore[arg-type]
    step["label"] = check_shape(integers(labels, f"{prefix}labels"), lead, f"{prefix}labels")
    if loss_weight is not None:
        name = f"{prefix}loss_weight"
        step["loss_weight"] = check_shape(real_numbers(loss_weight, name, flags=True), lead, name)
    if member is not None:
        name = f"{prefix}member"
        step["member"] = check_shape(real_numbers(member, name, flags=True), lead, name)
        if step["member"].is_floating_point():
            raise ValueError(f"{name} must be bool (or integers 0 and 1), not {_dtype(step['member'])}")
    if where is not None:
        name = f"{prefix}where"
        step["where"] = check_shape(real_numbers(where, name, flags=True), lead, name)
        if step["where"].dtype != torch.bool:
            raise ValueError(f"{name} must be bool, True for the rows that count, not {_dtype(step['where'])}")
    if tokens:
        _refuse_repeats(prefix, ids, step.get("where"))
    empty = [column for column, tensor in step.items() if tensor.is_meta and not step["student"].is_meta]
    if empty:
        raise ValueError(f"{prefix}tensors must hold values; {empty[0]} is on the device meta, which has none")
    return step


def _top_k(teacher: TopK, name: str, lead: tuple[int, ...], num_classes: int) -> dict[str, torch.Tensor]:
    if teacher.shape != lead:
        raise ValueError(f"{name} has rows of shape {teacher.shape}, expected {lead}")
    try:
        teacher.check_classes(num_classes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    parts = (teacher.indices, teacher.log_probs, teacher.tail)
    return {column: as_tensor(part, name) for column, part in zip(TOP_K, parts, strict=True)}


def _refuse_repeats(prefix: str, ids: torch.Tensor, where: torch.Tensor | None) -> None:
    """Refuse an id that comes twice in a sequence `(..., T)`, in main memory; elsewhere the epoch's end finds it."""
    if ids.device.type != "cpu" or (where is not None and where.device.type != "cpu"):
        return
    order = ids.argsort(dim=-1, stable=True)
    there = ids.gather(-1, order)
    same = there[..., 1:] == there[..., :-1]
    if where is None:
        bad = same
    elif bool(same.any()):  # rare: what does not count is told by an id of its own, below all others
        place = torch.arange(ids.shape[-1]).expand(ids.shape)
        there = torch.where(where, ids, -1 - place).sort(-1).values
        bad = (there[..., 1:] == there[..., :-1]) & (there[..., 1:] >= 0)
    else:
        return
    if bool(bad.any()):
        row = tuple(bad.nonzero()[0, :-1].tolist())
        shown = row[0] if len(row) == 1 else row
        raise ValueError(
            f"{prefix}sample_ids of sequence {shown} repeat {int(there[..., 1:][bad][0])}: a token is a sample, and "
            "its id is sequence_id * T + position, as biasvar.token_ids(sequence_ids, T) makes it"
        )


def replica_numbers(replica: Any) -> tuple[bool, list[int]]:
    """True if several replicas train together, and their numbers."""
    shown = " ".join(reprlib.repr(replica).split())
    message = f"replica must be a whole number from 0 on, or several different ones, not {shown}"
    try:
        numbers = to_numpy(as_array(replica, "replica"))
    except (TypeError, ValueError, RuntimeError):  # nothing that has numbers
        raise ValueError(message) from None
    whole = numbers.dtype.kind in "iu" and numbers.ndim <= 1 and numbers.size > 0
    if not whole or (numbers < 0).any() or (numbers >= 2**31).any() or len(np.unique(numbers)) < numbers.size:
        raise ValueError(message)
    return numbers.ndim == 1, [int(number) for number in numbers.reshape(-1)]


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
