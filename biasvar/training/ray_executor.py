"""Tasks of a study on the machines of a Ray cluster, which share the run directory and the data by their paths.

What travels to a machine is a study, a path, a function and plain values; results go to disk, as in `workers`. A task
whose worker or machine was lost is submitted again, and goes on from its checkpoint.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableSequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from biasvar.errors import BiasvarError
from biasvar.files import remove_leftovers
from biasvar.interrupts import ending_held
from biasvar.messages import first_few, note, one_line
from biasvar.study import Study
from biasvar.training import workers
from biasvar.training.drivers import driving
from biasvar.training.far_worker import about, there
from biasvar.training.memory import lost_workers
from biasvar.training.ranks import ONE, Ranks

INSTALL = "pip install 'biasvar[cluster]'"
SECONDS_TO_ANSWER = 20.0  # for a cluster that is there
SECONDS_TO_START = 120.0  # for one that is begun on this machine
SECONDS_ASKED = 1.0  # between two looks: of a worker for its driver, of the driver at what tasks tell
SECONDS_WITHOUT = 15.0  # between two looks whether the head is there, and a machine that takes a task
OBJECTS = 100 * 2**20  # bytes of Ray's object store on this machine: only small values travel
PASSED_ON = ("BIASVAR_", "OMP_", "MKL_", "OPENBLAS_", "CUBLAS_", "PYTORCH_", "TORCH_")  # variables of the environment


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        address: As it was given.
        cpus, gpus: What a task takes of a machine.
        slots: Tasks that the machines take at a time, as they are now.
        head: HOST:PORT of what must be there for as long as it is used; None for a Ray client, who is told.
    """

    address: str
    cpus: float
    gpus: float
    slots: int
    head: str | None = None

    @contextmanager
    def executor(
        self, study: Study, directory: Path, device: torch.device, jobs: int, ranks: Ranks = ONE
    ) -> Iterator[workers.Executor]:
        """An executor with `jobs` tasks at a time, on one device each. It ends with the block, and its tasks too."""
        assert ranks.world == 1
        directory = directory.resolve()
        with driving(directory) as word:
            tasks = _Tasks(self, study, directory, device, jobs, word)
            try:
                yield tasks
            finally:
                tasks.stop()
        remove_leftovers(directory)


@contextmanager
def connected(address: str, *, cpus: float, gpus: float) -> Iterator[Cluster]:
    """The cluster at an address, for the time of the block.

    Args:
        address: "ray" for one that is begun on this machine and ends with the block, "auto" for one that runs on it,
            "HOST:PORT" for the one whose head that is, "ray://HOST:PORT" for a Ray client.
        cpus, gpus: What a task takes of a machine; a part of a GPU for several tasks on one.

    Raises:
        BiasvarError: Ray is not installed, the cluster does not answer, or none of its machines is large enough.
    """
    place_of(address)  # a wrong address is one with or without Ray
    ray = _ray()
    leave = threading.Event()
    try:
        _connect(ray, address, cpus, leave)
        slots = _slots(ray, cpus, gpus)
        if not slots:
            raise BiasvarError(
                f"no machine of the Ray cluster {address} takes a task of {_amount(cpus, gpus)}: there is "
                f"{_machines_in_words(ray)}; lower --cpus-per-task or --gpus-per-task, or add a machine"
            )
        head = None if address.startswith("ray://") else ray.get_runtime_context().gcs_address
        yield Cluster(address, cpus, gpus, slots, head)
    finally:
        _leave(ray)
        leave.set()


def _ray() -> Any:
    """Ray, imported only where it is asked for."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise BiasvarError(f"--executor needs Ray, which cannot be imported ({error}): {INSTALL}") from None
    return ray


def _connect(ray: Any, address: str, cpus: float, leave: threading.Event) -> None:
    """Connect this process, within a time that is bounded, until it is to leave."""
    local = address == "ray"
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    options["runtime_env"] = {"env_vars": passed}
    if local:
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves workers beside any other program
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": OBJECTS}
        options |= {"num_cpus": max(_cores(), math.ceil(cpus))}
    else:
        options["address"] = address
        _knock(address)
    answered = threading.Event()
    failed: list[BaseException] = []

    def connect() -> None:
        try:
            ray.init(**options)
        except BaseException as error:
            failed.append(error)
        answered.set()
        leave.wait()  # Ray's processes on this machine end with the thread that began them

    # In a thread, which leaves the signals to this one, and can be left behind where nobody answers.
    with ending_held():
        threading.Thread(target=connect, daemon=True).start()
    seconds = SECONDS_TO_START if local else SECONDS_TO_ANSWER
    if not answered.wait(seconds):
        raise BiasvarError(f"{_called(address)} did not answer within {seconds:.0f} s; is that its address?")
    if failed:
        raise BiasvarError(f"{_called(address)} cannot be used: {_first_words(failed[0])}") from failed[0]
    _keep_quiet()


def _leave(ray: Any) -> None:
    """Disconnect, but wait for no cluster that is gone."""
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    with ending_held():
        thread.start()
    thread.join(SECONDS_TO_ANSWER)


def _called(address: str) -> str:
    return "Ray on this machine" if address in ("ray", "auto") else f"the Ray cluster at {address}"


def place_of(address: str) -> str | None:
    """The HOST:PORT of an address, None of "ray" and "auto"; BiasvarError for what is none."""
    if address in ("ray", "auto"):
        return None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise BiasvarError(
            f"--executor {address}: no address of a Ray cluster; allowed are ray, auto, HOST:PORT and ray://HOST:PORT"
        )
    return f"{host}:{port}"


def _knock(address: str) -> None:
    """Raise unless somebody listens at HOST:PORT: Ray itself waits for a minute or more."""
    place = place_of(address)
    if place is None:
        return
    try:
        _call(place)
    except OSError as error:
        raise BiasvarError(
            f"{_called(address)} does not answer ({error}); start it there (ray start --head), or give its address"
        ) from None


def _call(place: str) -> None:
    """OSError unless somebody listens at HOST:PORT."""
    host, _, port = place.rpartition(":")
    socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER / 2).close()


def _keep_quiet() -> None:
    """Keep Ray from printing the last lines of a lost machine's log on stdout, which `log_to_driver` does not."""
    module = sys.modules.get("ray._private.worker")
    if hasattr(module, "print_to_stdstream"):
        module.print_to_stdstream = lambda *_, **__: None  # type: ignore[union-attr]


def _first_words(error: BaseException) -> str:
    """What an error of Ray says, without the traceback and advice that follow."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return one_line(lines[0])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _amount(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs" + (f" and {gpus:g} of a GPU" if gpus else "")


def _machines(ray: Any) -> list[tuple[str, float, float]]:
    """Name, CPUs and GPUs of each machine that is there."""
    return [
        (node.get("NodeManagerHostname") or "?", node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    ]


def _machines_in_words(ray: Any) -> str:
    return first_few(f"{name} ({_amount(cpus, gpus)})" for name, cpus, gpus in _machines(ray)) or "none"


def _slots(ray: Any, cpus: float, gpus: float) -> int:
    """Tasks that the machines take at a time."""
    return sum(min(int(has / cpus), _on_gpus(of_gpus, gpus)) for _, has, of_gpus in _machines(ray))


def _on_gpus(has: float, gpus: float) -> int:
    """Tasks that a machine's GPUs take: no task has parts of two."""
    if not gpus:
        return sys.maxsize
    return int(has) * int(1 / gpus) if gpus < 1 else int(has / gpus)


class _Board:
    """An actor that keeps what tasks tell of themselves: by place, the attempt and the three numbers of `tell`."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[int, list[float]]] = {}

    def tell(self, place: int, attempt: int, numbers: list[float]) -> None:
        self._told[place] = attempt, numbers

    def read(self) -> dict[int, tuple[int, list[float]]]:
        return self._told


def _run(
    known: dict[str, Any], board: Any, place: int, attempt: int, function: Callable, arguments: tuple[Any, ...]
) -> tuple[str, Any, str]:
    """What Ray calls on a machine."""
    return there(known, lambda numbers: board.tell.remote(place, attempt, numbers), function, arguments)


def placed(ray: Any, cluster: Cluster, function: Callable) -> Any:
    """A function as Ray runs it, where there is room for a task of the cluster; never again by Ray itself.

    What it takes is said here, not by `options` later: only then Ray begins a new process for each task on a GPU, as it
    must, since a process stays on the one that it met first.
    """
    return ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=0)(function)


def beside_driver(ray: Any, actor: type) -> Any:
    """An actor on the driver's machine, without which nobody would ask it: others may be lost meanwhile.

    Nowhere else, since Ray takes another machine as it likes where it may (`soft`).
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    beside = NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(actor).options(num_cpus=0, max_restarts=-1, scheduling_strategy=beside).remote()


@dataclass
class _UnderWay:
    """A task that was submitted: where it tells, what it is, the future that waits for it, and its attempt."""

    place: int
    function: Callable
    arguments: tuple[Any, ...]
    future: Future = field(default_factory=Future)
    attempt: int = 0
    losses: int = 0


class _Tasks:
    """Gives tasks to a cluster, and waits for them in a thread."""

    def __init__(
        self, cluster: Cluster, study: Study, directory: Path, device: torch.device, jobs: int, word: str
    ) -> None:
        self._ray, self._cluster, self._settings = _ray(), cluster, (study, directory, jobs)
        self.told: list[MutableSequence[float]] = [[0.0, 0.0, 0.0] for _ in range(jobs)]
        known = about(study, directory, device, word)
        remote = placed(self._ray, cluster, _run)
        self._board = beside_driver(self._ray, _Board)
        self._begin = lambda task: remote.remote(
            known, self._board, task.place, task.attempt, task.function, task.arguments
        )
        self._attempts = itertools.count()
        self._under_way: dict[Any, _UnderWay] = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._asked: Any = None
        self._asked_at = self._fitted_at = time.monotonic()
        self._unheard = 0  # looks for the head in a row that found none
        self._thread = threading.Thread(target=self._watch, daemon=True)
        with ending_held():
            self._thread.start()

    def submit(self, place: int, function: Callable, /, *args: Any) -> Future:
        task = _UnderWay(place, function, args)
        self._submit(task)
        return task.future

    def restart(self) -> None:
        raise AssertionError("a task that is lost is submitted again by itself")

    def stop(self) -> None:
        """End what is under way; what is on disk is whole."""
        self._ended.set()
        self._thread.join()
        for ref in self._under_way:
            self._ray.cancel(ref, force=True)

    def _submit(self, task: _UnderWay) -> None:
        task.attempt = next(self._attempts)
        self.told[task.place][:] = [0.0, 0.0, 0.0]
        with self._lock:
            self._under_way[self._begin(task)] = task

    def _watch(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                refs = list(self._under_way)
            if not refs:
                self._ended.wait(0.02)
                continue
            try:
                for ref in self._ray.wait(refs, num_returns=1, timeout=0.2)[0]:
                    self._settle(ref)
                self._look()
            except Exception as error:  # the connection to the cluster, or an error here: nobody else would hear of it
                self._give_up(error)
                return

    def _settle(self, ref: Any) -> None:
        """Hand on how a task ended, or submit it again where its worker was lost."""
        lost = self._ray.exceptions
        with self._lock:
            task = self._under_way.pop(ref)
        try:
            kind, outcome, said = self._ray.get(ref)
        except (lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError, lost.LocalRayletDiedError) as error:
            machine = isinstance(error, lost.NodeDiedError)
            task.losses += not machine  # machines come and go; a task that takes its workers with it does not end
            if task.losses > workers.MOST_LOSSES:
                study, directory, jobs = self._settings
                task.future.set_exception(lost_workers(study, directory, jobs, task.losses))
                return
            note(f"{'a machine' if machine else 'a worker'} was lost; what it had in hand goes on from its checkpoint")
            self._submit(task)
        except lost.RayError as error:
            task.future.set_exception(_in_our_words(error))
        else:
            if kind == "done":
                task.future.set_result(outcome)
            else:
                failed = pickle.loads(outcome)
                failed.__cause__ = _There(said)
                task.future.set_exception(failed)

    def _look(self) -> None:
        """Take over what tasks told, and say if no machine is left that takes one."""
        now = time.monotonic()
        if self._asked is None and now - self._asked_at >= SECONDS_ASKED:
            self._asked, self._asked_at = self._board.read.remote(), now
        elif self._asked is not None and self._ray.wait([self._asked], timeout=0)[0]:
            asked, self._asked = self._asked, None
            try:
                told = self._ray.get(asked)
            except self._ray.exceptions.RayError:  # its process was lost: it begins anew
                told = {}
            with self._lock:
                places = {(task.place, task.attempt) for task in self._under_way.values()}
            for place, (attempt, numbers) in told.items():
                if (place, attempt) in places:
                    self.told[place][:] = numbers
        if now - self._fitted_at >= SECONDS_WITHOUT:
            self._fitted_at = now
            cluster = self._cluster
            if self._hears_head() and not _slots(self._ray, cluster.cpus, cluster.gpus):
                asked = _amount(cluster.cpus, cluster.gpus)
                note(f"no machine of the cluster takes a task of {asked}; waiting for one")

    def _hears_head(self) -> bool:
        """Whether the head is there; raises if it was not before either: Ray waits for it, and ends the process."""
        try:
            if self._cluster.head is not None:
                _call(self._cluster.head)
        except OSError:
            self._unheard += 1
            if self._unheard > 1:
                raise
            return False
        self._unheard = 0
        return True

    def _give_up(self, error: Exception) -> None:
        with self._lock:
            tasks, self._under_way = list(self._under_way.values()), {}
        directory = self._settings[1]
        lost = BiasvarError(
            f"the connection to {_called(self._cluster.address)} was lost ({_first_words(error)}); {directory} is "
            "whole so far, the same command goes on from here"
        )
        lost.__cause__ = error
        for task in tasks:
            task.future.set_exception(lost)


class _There(Exception):
    """The traceback of an error on another machine."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _in_our_words(error: Exception) -> BiasvarError:
    """An error of Ray about a task that did not come to run."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ImportError) or "ModuleNotFoundError" in str(error):
        return BiasvarError(
            f"a machine of the cluster cannot import biasvar as it is here ({_first_words(cause)}): install the same "
            "there, then the same command goes on from what was recorded"
        )
    return BiasvarError(f"Ray could not run a task: {_last_words(error)}")


def _last_words(error: BaseException) -> str:
    """What a wrapped error says at its end."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return one_line(lines[-1])
