"""Memory that runs out is told in plain words, and freed blocks are kept."""

from __future__ import annotations

import errno
import multiprocessing
import pickle
import sys

import numpy as np
import pytest
import torch

from biasvar.errors import BiasvarError, DiskFullError, OutOfMemoryError
from biasvar.files import disk_full
from biasvar.study import resolve_study
from biasvar.training.memory import (
    check_networks_fit,
    is_out_of_memory,
    keep_freed_memory,
    lost_workers,
    making_networks,
    out_of_memory,
)

CPU = torch.device("cpu")


def refused_allocation() -> RuntimeError:
    """The error of PyTorch's own CPU allocator for more than any machine has."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    return caught.value


def test_every_library_s_way_to_run_out_of_memory_is_known():
    with pytest.raises(MemoryError) as caught:
        np.empty(2**50, dtype=np.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(refused_allocation())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."))
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    for other in (RuntimeError("shapes"), OSError(errno.ENOSPC, "No space"), ValueError("out of memory")):
        assert not is_out_of_memory(other)


def test_it_is_said_what_ran_out_and_what_to_lower(tiny_study, tmp_path):
    study = resolve_study(tiny_study)
    said = str(out_of_memory(refused_allocation(), study, tmp_path / "run", CPU, 2))
    assert said.startswith("the CPU's memory is too small for this study of 2 processes (1024.0 TiB more were asked ")
    assert "nothing was written: --jobs 1 takes less" in said
    assert "set backend: sequential (one replica at a time instead of 4)" in said
    assert "schedule.batch_size (40), teachers.main.batch_size (100), teachers.own.batch_size (100)" in said
    assert said.endswith("that makes it another study, with its own --out")

    (tmp_path / "manifest.json").touch()
    cuda = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    tiny_study |= {"backend": "sequential", "teachers": {"main": {"hidden": [16], "batch_size": 20}}}
    tiny_study["data"]["student"] = 500
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}}
    said = str(out_of_memory(cuda, resolve_study(tiny_study), tmp_path, torch.device("cuda:1"), 1))
    assert said.startswith("the memory of cuda:1 is too small for this study (20.0 GiB more were asked for)")
    assert f"{tmp_path} is whole so far: lower schedule.batch_size (40), data.student (500)" in said
    assert "--jobs" not in said
    assert "backend" not in said  # it is sequential already
    assert "teachers.main" not in said  # its batches are smaller than the students'


@pytest.mark.parametrize("backend", ["batched", "sequential"])
def test_networks_that_do_not_fit_by_themselves_are_told_from_batches(tiny_study, tmp_path, backend, monkeypatch):
    tiny_study["backend"] = backend
    study = resolve_study(tiny_study)
    with pytest.raises(OutOfMemoryError) as caught, making_networks(study, tmp_path / "run", CPU):
        torch.empty(2**50, dtype=torch.uint8)
    said = [str(caught.value)]
    assert "(1024.0 TiB more were asked for)" in said[0]
    monkeypatch.setattr("biasvar.training.memory.memory_of_machine", lambda: 4 * 2**10)
    nets = [torch.nn.Linear(15, 32), torch.nn.Linear(15, 32)]  # 4 KiB of weights
    with pytest.raises(OutOfMemoryError) as caught:
        check_networks_fit(nets, 2, study, tmp_path / "run", CPU)
    said.append(str(caught.value))
    assert "(16.0 KiB with gradients and what the optimiser keeps, of 4.0 KiB)" in said[1]
    for line in said:
        assert line.startswith("the CPU's memory is too small for the networks of this study (")
        assert "nothing was written" in line
        assert "take smaller networks (student.width" in line
        assert ("backend: sequential" in line) == (backend == "batched")
        assert "batch_size" not in line
    monkeypatch.undo()
    check_networks_fit(nets, 2, study, tmp_path / "run", CPU)


def test_lost_workers_are_put_down_to_memory(tiny_study, tmp_path):
    said = str(lost_workers(resolve_study(tiny_study), tmp_path, 3, 4))
    assert said.startswith("worker processes were lost 4 times, most likely killed by the system for lack of memory")
    assert "--jobs 2 takes less and goes on with this run" in said


@pytest.mark.parametrize(
    "error",
    [OutOfMemoryError("too small"), disk_full(OSError(errno.ENOSPC, "No space left"), "/a/b"), DiskFullError("full")],
)
def test_errors_travel_between_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert isinstance(again, BiasvarError)


def test_freed_memory_is_kept_where_the_c_library_can():
    child = multiprocessing.get_context("spawn").Pool(1)
    with child:
        assert child.apply(keep_freed_memory) is (sys.platform == "linux" and "glibc" in "".join(_libc()))


def _libc() -> tuple[str, str]:
    import platform

    return platform.libc_ver()
