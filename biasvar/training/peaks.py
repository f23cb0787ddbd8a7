"""How much memory a piece of work takes at its highest: measured on a CUDA device, and of the process on a CPU."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """The highest memory since `begin`, bytes above what there was then.

    On a CUDA device what PyTorch has allocated. On a CPU the resident pages of the process, whose highest number Linux
    lets a process set back; where that cannot be, the highest of its whole life: a piece of work that takes less than
    one before it shows nothing.

    Attributes:
        resets: False where the highest number is that of the whole life of the process.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self.resets = device, True
        self._base = 0

    def begin(self) -> None:
        """Count from here."""
        if self._device.type == "cpu":
            _give_back_freed()
        self._base = self._now()
        self.again()

    def again(self) -> None:
        """Forget what was highest, but not from where it counts."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        try:
            _CLEAR.write_text("5")
        except OSError:
            self.resets = False

    def above(self) -> int:
        """Bytes that are taken now."""
        return max(0, self._now() - self._base)

    def highest(self) -> int:
        """Bytes that were taken at the highest."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._base
        return max(0, _resident("VmHWM") - self._base)

    def _now(self) -> int:
        return torch.cuda.memory_allocated(self._device) if self._device.type == "cuda" else _resident("VmRSS")


def _give_back_freed() -> None:
    """Have the C library hand freed memory back, so that it is seen when it is taken again."""
    with suppress(OSError, AttributeError):
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).malloc_trim(0)


def _resident(key: str) -> int:
    """Bytes of the process in memory: now ("VmRSS"), or at the highest ("VmHWM")."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))
    except (OSError, StopIteration):
        import resource  # no Linux: the highest of the whole life is all that is known

        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else 1024 * highest
