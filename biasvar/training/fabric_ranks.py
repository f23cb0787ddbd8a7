"""Processes that train together by Lightning Fabric, which is imported here alone, once several devices are asked for.

Fabric places each process on its device, adds up gradients, hands values around, and runs the precision, the backward
pass and the clipping. A network is not wrapped: its gradients are added up in one piece, by the rows of each share.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from biasvar.errors import BiasvarError
from biasvar.messages import one_line
from biasvar.training.context import StudyContext
from biasvar.training.memory import is_out_of_memory
from biasvar.training.ranks import flat_gradients, put_gradients

PATIENCE = timedelta(hours=12)  # for a process that evaluates or writes while others wait for it

T = TypeVar("T")


class Disconnected(BiasvarError):
    """Another process does not answer: it ended, or failed, and says why in its own words."""


@contextmanager
def _connected() -> Iterator[None]:
    """Errors of a connection in the block as `Disconnected`, which no method or network is to blame for."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise Disconnected(f"the processes lost their connection: {one_line(error)}") from error


class FabricRanks:
    """One of several processes that train together, by Fabric."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.rank, self.world = int(fabric.global_rank), int(fabric.world_size)

    def beside(self, task: str, arguments: tuple[Any, ...]) -> AbstractContextManager[None]:
        return nullcontext()

    def broadcast(self, value: T) -> T:
        with _connected():
            return self._fabric.broadcast(value)

    def gather(self, value: T) -> list[T]:
        gathered: list[Any] | None = [None] * self.world if self.rank == 0 else None
        with _connected():
            distributed.gather_object(value, gathered)
        return gathered or []

    def add_up(self, parameters: Sequence[nn.Parameter]) -> None:
        flat = flat_gradients(parameters)
        with _connected():
            flat = self._fabric.all_reduce(flat, reduce_op="sum")
        put_gradients(parameters, flat)

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        return self._fabric.autocast() if device.type == "cuda" else nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        self._fabric.backward(loss)

    def clip(self, network: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> None:
        self._fabric.clip_gradients(network, optimizer, max_norm=max_norm, error_if_nonfinite=False)


Joined = TypeVar("Joined", bound=FabricRanks)


def fabric() -> Any:
    """Lightning's Fabric, and what says to it where a process stands."""
    try:
        from lightning.fabric import Fabric
        from lightning.fabric.plugins.environments import ClusterEnvironment
        from lightning.fabric.strategies import DDPStrategy
    except ImportError as error:
        raise BiasvarError(f"several devices need Lightning Fabric ({error}): pip install 'biasvar[fabric]'") from None
    return Fabric, ClusterEnvironment, DDPStrategy


@contextmanager
def joined(context: StudyContext, rank: int, world: int, store: Any, ranks: type[Joined]) -> Iterator[Joined]:
    """This process as one of those that train together; the connections end with the block."""
    Fabric, ClusterEnvironment, DDPStrategy = fabric()

    class Here(ClusterEnvironment):  # type: ignore[misc, valid-type]
        """One machine, whose processes are started by biasvar."""

        creates_processes_externally = True
        main_address, main_port = "127.0.0.1", store.port

        @staticmethod
        def detect() -> bool:
            return True

        def world_size(self) -> int:
            return world

        def set_world_size(self, size: int) -> None: ...

        def global_rank(self) -> int:
            return rank

        def set_global_rank(self, rank: int) -> None: ...

        def local_rank(self) -> int:
            return rank

        def node_rank(self) -> int:
            return 0

    kind = context.device.type
    mixed = kind == "cuda" and context.study.schedule.precision == "bf16"
    backend = "gloo" if kind == "cpu" else "nccl"
    if kind == "cuda":
        torch.cuda.set_device(rank)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        with _unchanged_environment(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
            here = Fabric(
                accelerator=kind, devices=world, strategy=DDPStrategy(), plugins=[Here()],
                precision="bf16-mixed" if mixed else "32-true",
            )  # fmt: skip
            here.launch()
        torch.set_num_threads(context.study.threads)
        yield ranks(here)
    finally:
        distributed.destroy_process_group()


@contextmanager
def _unchanged_environment() -> Iterator[None]:
    """The environment is afterwards what it was: workers of later runs start with it."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
