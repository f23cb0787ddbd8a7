"""The tasks of a study that wait for one another, given to an executor as soon as they can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from biasvar.progress import InHand, Progress
from biasvar.training.workers import Executor


@dataclass(frozen=True)
class Task:
    """A call for the executor, to be made once the tasks it needs are done.

    Attributes:
        words: What is shown while it is under way.
        cost: In the unit of `training.cost`.
        counts: False where nothing is trained.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    words: str
    cost: float
    needs: frozenset[Any] = frozenset()
    counts: bool = True


Work = Callable[[dict[Any, Task]], Iterator[tuple[Any, Any]]]


def amount(tasks: dict[Any, Task]) -> tuple[float, int]:
    """What tasks cost together, and how many of them train."""
    return sum(task.cost for task in tasks.values()), sum(task.counts for task in tasks.values())


def work(executor: Executor, jobs: int, progress: Progress, tasks: dict[Any, Task]) -> Iterator[tuple[Any, Any]]:
    """(key, result) of each task as it is done, `jobs` of them under way at a time.

    Tasks that were under way when a worker was lost are submitted again: they go on from their checkpoints.
    """
    waiting = dict(tasks)
    running: dict[Future, tuple[Any, int]] = {}
    while waiting or running:
        pending = {*waiting, *(key for key, _ in running.values())}
        ready = [key for key, task in waiting.items() if not task.needs & pending]
        for key in ready[: jobs - len(running)]:
            task = waiting.pop(key)
            place = min(set(range(jobs)) - {place for _, place in running.values()})
            told = executor.told[place]
            told[0] = told[1] = told[2] = 0.0
            progress.begin(key, InHand(task.words, task.cost, told, task.counts))
            running[executor.submit(place, task.function, *task.arguments)] = key, place
        assert running, f"tasks that wait for one another: {', '.join(map(str, waiting))}"
        done = wait(running, return_when=FIRST_COMPLETED).done
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            executor.restart()
            for key, _ in running.values():
                progress.drop(key)
            waiting = {key: tasks[key] for key, _ in running.values()} | waiting
            running = {}
            continue
        for future in done:
            key, _ = running.pop(future)
            result = future.result()
            progress.end(key)
            yield key, result
