"""Several devices of a machine that train one network together, a process each, joined by Lightning Fabric.

This process is number 0 and runs the study. The others are started here, open the study themselves, must find what
process 0 found, and then train their share of whatever process 0 trains (`biasvar.training.following`); none of them
writes. Lightning is imported here alone, once several devices are asked for.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from biasvar.errors import BiasvarError
from biasvar.interrupts import ending_held, hear_in_worker
from biasvar.messages import one_line
from biasvar.records.manifest import read_manifest
from biasvar.study import Study
from biasvar.training.checks import open_study
from biasvar.training.context import StudyContext
from biasvar.training.continuing import fingerprints_of_people
from biasvar.training.custom_networks import source_hashes
from biasvar.training.engine import engine_in
from biasvar.training.following import FOLLOW
from biasvar.training.memory import is_out_of_memory, keep_freed_memory
from biasvar.training.ranks import ONE, Ranks, flat_gradients, put_gradients
from biasvar.training.reuse import code_hash

T = TypeVar("T")

PATIENCE = timedelta(hours=12)  # for a process that evaluates or writes while others wait for it
LAST_WORDS = 10.0  # seconds that a process which failed has to say why


@contextmanager
def over_devices(context: StudyContext, devices: int) -> Iterator[Ranks]:
    """The processes that train on so many devices, until the end of the block; with one device this one alone.

    Raises:
        BiasvarError: Lightning is not there; a process cannot open the study, or finds other data, settings or code
            than this one; a process is lost later, or fails.
    """
    if devices == 1:
        yield ONE
        return
    _fabric()  # so that one that is not there is known before anything is started
    store = distributed.TCPStore("127.0.0.1", 0, devices, is_master=True, wait_for_workers=False)
    others = [_Other(context, number, devices, store.port) for number in range(1, devices)]
    finished = False
    try:
        _agree(context, others)
        for other in others:
            other.send("join")
        with _joined(context, 0, devices, store) as ranks:
            ranks.others = others
            yield ranks
            for other in others:
                other.send(None)
            finished = True
    finally:
        for other in others:
            other.end(finished)


class _Other:
    """A process that trains beside this one, as this one sees it."""

    def __init__(self, context: StudyContext, number: int, devices: int, port: int) -> None:
        self.number, self.name = number, f"process {number} of {devices} (numbered from 0)"
        method = multiprocessing.get_context("spawn")
        self._pipe, theirs = method.Pipe()
        device = str(context.device) if context.device.type == "cpu" else f"{context.device.type}:{number}"
        self._process = method.Process(
            target=_follow, args=(theirs, context.study, context.directory, device, number, devices, port), daemon=True
        )
        with ending_held():
            self._process.start()
        theirs.close()

    def send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            raise self.lost() from None

    def answer(self) -> Any:
        """What it says next.

        Raises:
            BiasvarError: It failed, or ended.
        """
        wait([self._pipe, self._process.sentinel])
        if not self._pipe.poll():
            raise self.lost()
        try:
            kind, said = self._pipe.recv()
        except EOFError:
            raise self.lost() from None
        if kind == "failed":
            raise BiasvarError(f"{self.name} failed: {said}; {GOES_ON}")
        return said

    def fate(self) -> BiasvarError | None:
        """Why it cannot go on, if it has said so or ended by now."""
        try:
            while self._pipe.poll() or not self._process.is_alive():
                self.answer()
        except BiasvarError as error:
            return error
        return None

    def lost(self) -> BiasvarError:
        self._process.join(LAST_WORDS)
        code = self._process.exitcode
        how = f"by signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"with status {code}"
        return BiasvarError(f"{self.name} was lost, it ended {how}; {GOES_ON}")

    def end(self, finished: bool) -> None:
        """Wait for its end, or end it where it is: it writes nothing."""
        if finished:
            self._process.join(LAST_WORDS)
        self._process.terminate()
        self._process.join(LAST_WORDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()


GOES_ON = "the same command goes on from what was recorded"


def _agree(context: StudyContext, others: Sequence[_Other]) -> None:
    """Raise BiasvarError unless all processes found the same study, data and code; nothing is written before."""
    here = facts_of(context)
    for other in others:
        there = other.answer()
        for what, value in here.items():
            if there.get(what) != value:
                raise BiasvarError(
                    f"{other.name} found another {what} than process 0: {_short(there.get(what))}, not "
                    f"{_short(value)}; nothing was written. Do all see the same files, and are these not being changed?"
                )


def facts_of(context: StudyContext) -> dict[str, Any]:
    """What must be the same in all processes, by its name in words."""
    study = context.study
    return {
        "study": study.hash,
        "fingerprint of the data": context.dataset.fingerprint,
        "fingerprint of people's labels": fingerprints_of_people(context),
        "source of methods and networks": source_hashes(study),
        "biasvar": code_hash(),
        "torch": torch.__version__,
    }


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def _follow(pipe: Connection, study: Study, directory: Path, device: str, rank: int, world: int, port: int) -> None:
    """What such a process does, from its start to its end."""
    hear_in_worker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        torch.set_num_threads(study.threads)
        keep_freed_memory()
        context = open_study(study, directory, torch.device(device))
        pipe.send(("ready", facts_of(context)))
        if pipe.recv() != "join":
            return
        store = distributed.TCPStore("127.0.0.1", port, world, is_master=False)
        with _joined(context, rank, world, store) as context.ranks:
            while (message := pipe.recv()) is not None:
                task, arguments = message
                context.engine = engine_in(read_manifest(directory))  # settled by process 0 before its first task
                FOLLOW[task](context, *arguments)
                pipe.send(("done", None))
    except EOFError:  # process 0 is gone
        return
    except Exception as error:
        said = f"{'' if isinstance(error, BiasvarError) else f'{type(error).__name__}: '}{one_line(error)}"
        pipe.send(("failed", said))
        pipe.close()
        os._exit(1)  # the others hear of it by the connections that end


def _end_with_parent() -> None:
    """End this process when process 0 has ended, however it did."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _fabric() -> Any:
    """Lightning's Fabric, and what says to it where a process stands."""
    try:
        from lightning.fabric import Fabric
        from lightning.fabric.plugins.environments import ClusterEnvironment
        from lightning.fabric.strategies import DDPStrategy
    except ImportError as error:
        raise BiasvarError(f"several devices need Lightning Fabric ({error}): pip install 'biasvar[fabric]'") from None
    return Fabric, ClusterEnvironment, DDPStrategy


@contextmanager
def _joined(context: StudyContext, rank: int, world: int, store: Any) -> Iterator[FabricRanks]:
    """This process as one of those that train together; the connections end with the block."""
    Fabric, ClusterEnvironment, DDPStrategy = _fabric()

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
            fabric = Fabric(
                accelerator=kind, devices=world, strategy=DDPStrategy(), plugins=[Here()],
                precision="bf16-mixed" if mixed else "32-true",
            )  # fmt: skip
            fabric.launch()
        torch.set_num_threads(context.study.threads)
        yield FabricRanks(fabric)
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


class FabricRanks:
    """One of several processes, by Fabric; in process 0 it also tells the others what to train."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.rank, self.world = int(fabric.global_rank), int(fabric.world_size)
        self.others: list[_Other] = []

    @contextmanager
    def beside(self, task: str, arguments: tuple[Any, ...]) -> Iterator[None]:
        if task not in FOLLOW:
            yield
            return
        for other in self.others:
            other.send((task, arguments))
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error) or isinstance(error, BiasvarError):
                raise
            raise self._whose(error) from error
        for other in self.others:
            other.answer()

    def _whose(self, error: RuntimeError) -> Exception:
        """The error of the process that failed first, where this one only lost its connection."""
        wait([other._process.sentinel for other in self.others], LAST_WORDS)
        fates = [fate for other in self.others if (fate := other.fate()) is not None]
        return fates[0] if fates else error

    def broadcast(self, value: T) -> T:
        return self._fabric.broadcast(value)

    def gather(self, value: T) -> list[T]:
        gathered: list[Any] | None = [None] * self.world if self.rank == 0 else None
        distributed.gather_object(value, gathered)
        return gathered or []

    def add_up(self, parameters: Sequence[nn.Parameter]) -> None:
        put_gradients(parameters, self._fabric.all_reduce(flat_gradients(parameters), reduce_op="sum"))

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        return self._fabric.autocast() if device.type == "cuda" else nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        self._fabric.backward(loss)

    def clip(self, network: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> None:
        self._fabric.clip_gradients(network, optimizer, max_norm=max_norm, error_if_nonfinite=False)
