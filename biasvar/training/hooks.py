"""What the hooks of a method give, checked, and errors inside them in words: the arm, the method, where it happened."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import nn

from biasvar.data.draws import Rows
from biasvar.errors import BiasvarError, StudyError
from biasvar.messages import first_few
from biasvar.study import Arm
from biasvar.training.memory import is_out_of_memory
from biasvar.training.methods import Method
from biasvar.training.methods.base import Need

if TYPE_CHECKING:
    from biasvar.training.context import StudyContext


class Fault(ValueError):
    """A hook gave what it must not; `named` adds the arm and the method."""


@contextmanager
def named(name: str, arm: Arm) -> Iterator[None]:
    """Errors of an arm's method, or of a network of a user's own, as a `StudyError` that names both.

    What says itself what is wrong passes through, and so do a full disk and memory that ran out; of methods and
    networks of ours everything does but what their hooks must not give.
    """
    try:
        yield
    except Fault as error:
        raise StudyError(f"arms.{name}: method {arm.loss}: {error}") from error
    except (Exception, SystemExit) as error:
        own = ":" in arm.loss or (arm.student is not None and ":" in arm.student.model)
        if not own or isinstance(error, BiasvarError | OSError) or is_out_of_memory(error):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        source = getattr(sys.modules.get(arm.loss.partition(":")[0]), "__file__", None)
        where = ([frame for frame in frames if frame.filename == source] or frames)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise StudyError(
            f"arms.{name}: method {arm.loss} failed with {what} ({where.filename}, line {where.lineno})"
        ) from error


def checked_result(result: Any, shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What a loss gave: losses and weights of that shape.

    Raises:
        Fault: It is something else.
    """
    if not (isinstance(result, tuple) and len(result) == 2):
        raise Fault(f"loss must return (losses, weights or None), not {_said(result)}")
    for what, value in zip(("losses", "weights"), result, strict=True):
        if value is None and what == "weights":
            continue
        if not (isinstance(value, torch.Tensor) and value.shape == shape and value.is_floating_point()):
            raise Fault(f"loss must return floating-point {what} of shape {tuple(shape)}, not {_said(value)}")
    if not result[0].requires_grad:
        raise Fault("loss returned losses that do not depend on the students (no gradient); compute them from logits")
    return result


def checked_rows(rows: Any, shape: torch.Size) -> np.ndarray | None:
    """The rows that a method asks the teacher about: bool of that shape, or None.

    Raises:
        Fault: It is something else.
    """
    if rows is not None and not (isinstance(rows, np.ndarray) and rows.shape == shape and rows.dtype == bool):
        said = f"{rows.dtype} of {_shape(rows)}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise Fault(f"asks must return a bool array of shape {tuple(shape)}, or None for all rows, not {said}")
    return rows


def _said(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return type(value).__name__


def check_settings(method: Method, epochs: int) -> None:
    """Raise a `Fault` unless a method has a loss, and needs, features and phases that can be."""
    if type(method).loss is Method.loss:
        raise Fault("it has no loss; define loss(self, state, batch)")
    known = get_args(Need)
    needs = method.needs
    wrong = [needs] if isinstance(needs, str) else [need for need in needs if need not in known]
    if wrong:
        raise Fault(f"needs must be a set of {', '.join(map(repr, known))}, not {wrong[0]!r}")
    if isinstance(method.features, str):
        raise Fault(f"features must be a tuple of module paths, such as ({method.features!r},)")
    phases = list(method.phases(epochs))
    whole = all(isinstance(phase.epochs, int) and phase.epochs >= 1 for phase in phases)
    if not whole or sum(phase.epochs for phase in phases) != epochs:
        shown = ", ".join(f"{phase.name!r} {phase.epochs}" for phase in phases) or "none"
        raise Fault(
            f"its phases must be whole epochs from 1 up that sum to the schedule's {epochs} epochs, not {shown}"
        )
    for phase in phases:
        if not (isinstance(phase.rate, int | float) and 0 <= phase.rate < float("inf")):
            raise Fault(f"phase {phase.name!r}: rate must be a number from 0 up, not {phase.rate!r}")


def rows_of(context: StudyContext, method: Method, replicas: Sequence[int]) -> Rows:
    """The training rows that a method gives these replicas: their draw, or a selection of it.

    Raises:
        Fault: It gave something else.
    """
    rows = method.rows(context, replicas)
    if type(method).rows is Method.rows:
        return rows
    if not isinstance(rows, Rows):
        raise Fault(f"rows must return biasvar.data.draws.Rows, not {type(rows).__name__}")
    ids = rows.ids
    if not (isinstance(ids, np.ndarray) and ids.ndim == 2 and len(ids) == len(replicas) and ids.size):
        raise Fault(f"rows must give ids as an array of {len(replicas)} replicas x at least 1 row, not {_shape(ids)}")
    if rows.counts is not None and np.shape(rows.counts) != ids.shape:
        raise Fault(f"rows must give counts of the shape of ids {ids.shape}, not {_shape(rows.counts)}")
    if list(rows.replicas) != list(replicas):
        raise Fault(f"rows must name the replicas asked for, {first_few(replicas)}, not {first_few(rows.replicas)}")
    for r, own, drawn in zip(replicas, ids, context.rows(replicas).ids, strict=True):
        others = np.setdiff1d(own, drawn)
        if len(others) or len(np.unique(own)) < len(own):
            what = f"samples {first_few(others)} are not" if len(others) else "a sample is there twice"
            raise Fault(f"rows must select from replica {r}'s draw, each sample once: {what}")
    return rows


def _shape(value: Any) -> str:
    return f"shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def student_of(method: Method, network: nn.Module) -> nn.Module:
    """The student that a method makes of a fresh network; a `Fault` where it makes none."""
    student = method.student(network)
    if not isinstance(student, nn.Module):
        raise Fault(f"student must return a torch.nn.Module, not {type(student).__name__}")
    return student


def saved_of(method: Method, state: Any) -> dict[str, torch.Tensor]:
    """Copies of the tensors that a method saves, so that two may share memory; a `Fault` for anything else."""
    saved = method.saved(state)
    if not isinstance(saved, Mapping):
        raise Fault(f"saved must return tensors by name, not {type(saved).__name__}")
    for name, value in saved.items():
        if not (isinstance(name, str) and isinstance(value, torch.Tensor)):
            raise Fault(f"saved must return tensors by name, not {type(value).__name__} for {name!r}")
    return {name: value.detach().clone() for name, value in saved.items()}
