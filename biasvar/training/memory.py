"""Memory of a training process: keeping freed blocks, and what to lower when it runs out.

A changed batch size, back end or number of rows changes numbers and so makes another study with a run directory of its
own; fewer processes change none, and the run goes on.
"""

from __future__ import annotations

import ctypes
import errno
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from biasvar.errors import BiasvarError, OutOfMemoryError
from biasvar.files import in_bytes, memory_of_machine
from biasvar.study import Study

_SIZES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_ASKED = re.compile(r"allocate ([\d.]+) (bytes|[KMGT]iB)")
# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have the C library keep freed blocks for the next allocation, in this process, from now on.

    Each training step frees and takes the same activations, megabytes each. By default glibc hands such blocks back to
    the system and gets them again as fresh pages, which have to be cleared one page fault at a time. Without that, a
    ResNet-8 step (64 images, channels_last, one core) took 82.3 ms instead of 94.3 ms. No number that is computed
    changes; the process stays as large as it was at its largest.

    Returns:
        Whether it was done: False where the C library is not glibc (macOS, Windows, musl).

    >>> keep_freed_memory() in (True, False)
    True
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def is_out_of_memory(error: BaseException) -> bool:
    """True if an error means that memory ran out: of Python, NumPy, Arrow, PyTorch on the CPU, or a CUDA device.

    PyTorch's CPU allocator has no class of error of its own, so its words decide.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = ("DefaultCPUAllocator: can't allocate memory", "not enough memory: you tried to allocate", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def out_of_memory(
    error: BaseException, study: Study, directory: Path, device: torch.device, jobs: int
) -> OutOfMemoryError:
    """The error message for memory that ran out: of which device, and which settings to lower.

    Args:
        error: What was raised, in this process or in a worker.
        study, directory, device, jobs: The run that raised it.
    """
    asked = _asked(error)
    more = f" ({asked})" if asked else ""
    processes = f" of {jobs} processes" if jobs > 1 else ""
    return OutOfMemoryError(
        f"{_place(device)} is too small for this study{processes}{more}; {advice(study, directory, jobs)}"
    )


def check_networks_fit(
    models: Sequence[nn.Module], slots: int, study: Study, directory: Path, device: torch.device
) -> None:
    """Raise OutOfMemoryError where the networks that train together are too large by themselves, whatever the batch.

    Args:
        models: The networks.
        slots: How many numbers an optimiser keeps of each weight.
        study, directory, device: The run.
    """
    weights = sum(value.numel() * value.element_size() for model in models for value in model.parameters())
    needed, there = weights * (2 + slots), _memory_of(device)
    if needed > there:
        raise _networks_too_large(
            f"{in_bytes(needed)} with gradients and what the optimiser keeps, of {in_bytes(there)}", study, directory,
            device,
        )  # fmt: skip


@contextmanager
def making_networks(study: Study, directory: Path, device: torch.device) -> Iterator[None]:
    """Memory that runs out in the block ran out for networks: no batch is there yet that could be smaller."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if isinstance(error, BiasvarError) or not is_out_of_memory(error):
            raise
        raise _networks_too_large(_asked(error), study, directory, device) from error


def _networks_too_large(how: str, study: Study, directory: Path, device: torch.device) -> OutOfMemoryError:
    smaller = "take smaller networks (student.width or student.hidden, model; those of the teachers likewise)"
    if study.backend == "batched":
        smaller = f"set backend: sequential (one replica at a time instead of {study.replicas}), or {smaller}"
    return OutOfMemoryError(
        f"{_place(device)} is too small for the networks of this study{f' ({how})' if how else ''}; "
        f"{_so_far(directory)}: {smaller}: that makes it another study, with its own --out"
    )


def _memory_of(device: torch.device) -> int:
    """Bytes of memory that a device has."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else memory_of_machine()


def _place(device: torch.device) -> str:
    return "the CPU's memory" if device.type == "cpu" else f"the memory of {device}"


def _asked(error: BaseException) -> str:
    """How much more was asked for, in words; "" where that is not said."""
    asked = _ASKED.search(str(error))
    return f"{in_bytes(float(asked[1]) * _SIZES[asked[2]])} more were asked for" if asked else ""


def _so_far(directory: Path) -> str:
    return f"{directory} is whole so far" if (directory / "manifest.json").exists() else "nothing was written"


def lost_workers(study: Study, directory: Path, jobs: int, losses: int) -> OutOfMemoryError:
    """The error for worker processes that were lost repeatedly: on Linux mostly killed for lack of memory."""
    return OutOfMemoryError(
        f"worker processes were lost {losses} times, most likely killed by the system for lack of memory; "
        f"{advice(study, directory, jobs)}"
    )


def advice(study: Study, directory: Path, jobs: int) -> str:
    """The settings to lower, the cheapest first."""
    sizes = [f"schedule.batch_size ({study.schedule.batch_size})"]
    # Only a teacher's batches that are at least as large as the students' can be the ones that did not fit.
    sizes += [
        f"teachers.{name}.batch_size ({teacher.batch_size})"
        for name, teacher in study.teachers.items()
        if teacher.batch_size >= study.schedule.batch_size
    ]
    if len(sizes) > 4:
        sizes = [*sizes[:4], "the other teachers' batch_size"]
    if study.data.student is not None:
        sizes.append(f"data.student ({study.data.student})")
    lower = f"lower {', '.join(sizes)}"
    if study.backend == "batched":
        lower = f"set backend: sequential (one replica at a time instead of {study.replicas}), or {lower}"
    fewer = f"--jobs {jobs - 1} takes less and goes on with this run; else " if jobs > 1 else ""
    return f"{_so_far(directory)}: {fewer}{lower}: that makes it another study, with its own --out"
