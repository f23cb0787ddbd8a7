"""Threads that stand for the processes of one training: `Ranks` without a library, for tests."""

from __future__ import annotations

import threading
from contextlib import nullcontext

from biasvar.training.ranks import One, flat_gradients, put_gradients

BUILDING = threading.Lock()
"""For what draws from torch's random numbers, which all threads share: networks, before they train together."""


class Thread(One):
    """One of `world` threads, that meet wherever processes would talk."""

    def __init__(self, rank, world, meeting, given):
        self.rank, self.world, self._meeting, self._given = rank, world, meeting, given

    def _exchange(self, value):
        self._given[self.rank] = value
        self._meeting.wait()
        all_of_them = list(self._given)
        self._meeting.wait()
        return all_of_them

    def broadcast(self, value):
        return self._exchange(value)[0]

    def gather(self, value):
        found = self._exchange(value)
        return found if self.rank == 0 else []

    def add_up(self, parameters):
        put_gradients(parameters, sum(self._exchange(flat_gradients(parameters))))

    def beside(self, task, arguments):
        return nullcontext()


def together(world, work):
    """What `work(ranks)` gives in each of `world` threads."""
    meeting, given = threading.Barrier(world, timeout=60), [None] * world
    results, errors = [None] * world, []

    def one(rank):
        try:
            results[rank] = work(Thread(rank, world, meeting, given))
        except BaseException as error:
            errors.append(error)
            meeting.abort()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)] or errors
    if first:
        raise first[0]
    return results
