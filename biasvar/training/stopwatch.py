"""The clock by which a dry run measures: of the processor where one thread works, else of the wall."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


class Stopwatch:
    """Seconds of work on a device.

    One thread on a CPU is measured by the processor's time, which other programs on the machine do not lengthen.
    Several threads, and a CUDA device, are measured by the wall clock, once the device has done what it was given.

    Args:
        device: Where the work is done.
        threads: Of the process.

    >>> Stopwatch(torch.device("cpu"), 1).took(lambda: sum(range(10_000))) > 0
    True
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._device = device
        self.of_processor = device.type == "cpu" and threads == 1

    def now(self) -> float:
        if self.of_processor:
            return time.process_time()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def took(self, work: Callable[[], object]) -> float:
        """Seconds of a call."""
        began = self.now()
        work()
        return self.now() - began
