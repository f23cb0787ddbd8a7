"""The processes among which one training is divided: each takes a share of every batch, their gradients are added up.

The loop, the students and the teachers know these processes as `Ranks`, and no library by name. `ONE` is what they are
without any other process.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

T = TypeVar("T")


class Ranks(Protocol):
    """One process, and the others that train with it."""

    @property
    def rank(self) -> int:
        """The number of this process; 0 is the one that runs the study, and the only one that writes."""

    @property
    def world(self) -> int:
        """How many processes there are."""

    def beside(self, task: str, arguments: tuple[Any, ...]) -> AbstractContextManager[None]:
        """In the block, the others do their part of a task of this name."""

    def broadcast(self, value: T) -> T:
        """What process 0 gave."""

    def gather(self, value: T) -> list[T]:
        """What every process gave, by number, in process 0; an empty list in the others."""

    def add_up(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put into each parameter's gradient the sum of all processes' gradients."""

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """In the block, networks on a CUDA device run in bfloat16 where that is accurate enough."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a number to the parameters."""

    def clip(self, network: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> None:
        """Scale a network's gradients down to a norm of `max_norm` where they have a larger one."""


class One:
    """A process that trains alone."""

    rank, world = 0, 1

    def beside(self, task: str, arguments: tuple[Any, ...]) -> AbstractContextManager[None]:
        return nullcontext()

    def broadcast(self, value: T) -> T:
        return value

    def gather(self, value: T) -> list[T]:
        return [value]

    def add_up(self, parameters: Sequence[nn.Parameter]) -> None:
        return None

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        return torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def clip(self, network: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> None:
        nn.utils.clip_grad_norm_(network.parameters(), max_norm)


ONE = One()


def share_of(batch: slice, rank: int, world: int) -> slice:
    """The rows of a batch that a process takes: neighbours, as many as another's or one more, the first ones first.

    >>> [share_of(slice(10, 15), rank, 2) for rank in (0, 1)]
    [slice(10, 13, None), slice(13, 15, None)]
    >>> share_of(slice(10, 11), 1, 2)  # a batch with fewer rows than there are processes
    slice(11, 11, None)
    """
    each, more = divmod(batch.stop - batch.start, world)
    start = batch.start + rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def flat_gradients(parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """The gradients of parameters one after another, then 1 for each that has one and 0 for each that has none.

    One tensor, so that it is added up over processes in one piece; a parameter without gradient stays without one, and
    is not decayed, unless another process has one.
    """
    there = [float(p.grad is not None) for p in parameters]
    pieces = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    return torch.cat([*pieces, pieces[0].new_tensor(there)])


def put_gradients(parameters: Sequence[nn.Parameter], flat: torch.Tensor) -> None:
    """Give parameters the gradients that `flat_gradients` of all processes sum up to."""
    *pieces, there = flat.split([*(p.numel() for p in parameters), len(parameters)])
    for parameter, piece, count in zip(parameters, pieces, there.tolist(), strict=True):
        parameter.grad = piece.view_as(parameter) if count else None
