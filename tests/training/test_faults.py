"""Memory that runs out, networks that do not take the data, kept weights that do not fit: each in plain words."""

from __future__ import annotations

import errno
import multiprocessing
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from biasvar.errors import BiasvarError, DiskFullError, OutOfMemoryError, RecordError, StudyError
from biasvar.files import disk_full
from biasvar.study import resolve_study
from biasvar.training import tasks
from biasvar.training.checks import check_fit, check_kept_teacher, check_networks
from biasvar.training.execute import run_study
from biasvar.training.faults import is_out_of_memory, lost_workers, out_of_memory
from biasvar.training.memory import keep_freed_memory
from biasvar.training.replicas import SequentialReplica
from biasvar.training.resnets import build_network, source_hash
from biasvar.training.weights import weights_file

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


def wrong_classes(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes + 1))


def wants_32(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 32 * 32, num_classes))


@pytest.mark.parametrize(
    ("key", "model", "shape", "message"),
    [
        ("student", f"{__name__}:wrong_classes", (12, 12, 3), r"student.model: network .*:wrong_classes.* gave shape "
         r"\(2, 6\) for images of shape \(2, 3, 12, 12\); expected \(2, 5\)"),
        ("teacher", f"{__name__}:wrong_classes", (12, 12), r"teachers.main.model: network .* expected \(2, 5\)"),
        ("student", f"{__name__}:wants_32", (12, 12, 3), r"student.model: .*failed on images of shape \(2, 3, 12"),
        ("student", f"{__name__}:no_such", (12, 12, 3), "student.model: .* has no 'no_such'"),
        ("teacher", "resnet8", (7, 9), "teachers.main.model: resnet8 takes images of at least 8x8 pixels, those of "
         "digits have 9x7; use model mlp"),
    ],
)  # fmt: skip
def test_networks_are_tried_before_anything_is_written(tiny_study, key, model, shape, message):
    chosen = {"student": "mlp", "teacher": "mlp", key: model}
    tiny_study["backend"] = "sequential"
    tiny_study["student"] = {"model": "mlp", "hidden": [4]} if chosen["student"] == "mlp" else {"model": model}
    tiny_study["teachers"] = {"main": {"model": chosen["teacher"], **({"hidden": [4]} if key == "student" else {})}}
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}}
    before = torch.random.get_rng_state()
    with pytest.raises(StudyError, match=message):
        check_networks(resolve_study(tiny_study), shape, 5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    path = tmp_path / "kept.safetensors"
    network = build_network("resnet8", in_channels=3, num_classes=10)
    sgd = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0}
    path.write_bytes(weights_file(SequentialReplica([network], **sgd), [4]))
    check_kept_teacher(path, build_network("resnet8", in_channels=3, num_classes=10), [4], what="teacher a (resnet8)")
    for name, classes, found in (
        ("resnet8", 7, r".*4.fc.weight has shape \(10, 64\), expected \(7, 64\)"),
        ("resnet14", 10, r".*4.layer1.1.\S+ is missing;.* and \d+ more"),
    ):
        other = build_network(name, in_channels=3, num_classes=classes)
        with pytest.raises(RecordError, match=rf"kept.safetensors does not fit teacher a: {found}.*Delete the file"):
            check_kept_teacher(path, other, [4], what="teacher a")
    with pytest.raises(RecordError, match=r"0.conv1.weight is missing"):
        check_kept_teacher(path, network, [0], what="teacher a")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordError, match=r"kept.safetensors is damaged .* delete it"):
        check_kept_teacher(path, network, [4], what="teacher a")


def test_a_tensor_too_many_is_no_fit():
    one = torch.zeros(1)
    with pytest.raises(RecordError, match=r"w does not fit x: b is not expected. Was the network changed since"):
        check_fit({"a": one, "b": one}, {"a": one}, path=Path("w"), what="x")


OWN = """
from torch import nn
def make(in_channels, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear({width}), nn.ReLU(), nn.Linear({width}, num_classes))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A network of one's own whose source can be changed, and a study with a kept teacher of that kind."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))

    def write(width: int) -> None:
        (tmp_path / "changing_network.py").write_text(OWN.format(width=width))
        sys.modules.pop("changing_network", None)

    write(8)
    yield write
    sys.modules.pop("changing_network", None)


@pytest.fixture
def kept_study(tiny_study):
    tiny_study |= {"backend": "sequential", "keep_teachers": True, "replicas": 2}
    tiny_study["student"] = {"model": "changing_network:make"}
    tiny_study["teachers"] = {"main": {"model": "changing_network:make", "epochs": 1}}
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    return tiny_study


def test_a_kept_teacher_is_for_one_source_of_its_network(own, kept_study, tmp_path):
    study, teachers = resolve_study(kept_study), tmp_path / "cache" / "teachers"
    run_study(study, tmp_path / "one", device="cpu")
    (first,) = teachers.iterdir()
    before = source_hash("changing_network:make")
    own(9)
    assert source_hash("changing_network:make") != before
    run_study(study, tmp_path / "two", device="cpu")
    assert len(list(teachers.iterdir())) == 2  # the other width was trained, not taken

    own(8)
    first.write_bytes(max(teachers.iterdir(), key=lambda path: path != first).read_bytes())
    with pytest.raises(RecordError, match=r"does not fit teacher main \(changing_network:make\).*Delete the file"):
        run_study(study, tmp_path / "three", device="cpu")
    first.write_bytes(b"damaged")
    with pytest.raises(RecordError, match=r"is damaged .*delete it and run the study again"):
        run_study(study, tmp_path / "three", device="cpu")
    first.unlink()
    run = run_study(study, tmp_path / "three", device="cpu")
    assert run.manifest["status"] == "complete"
    assert (tmp_path / "three/metrics/arm=kd/group=000.parquet").read_bytes() == (
        tmp_path / "one/metrics/arm=kd/group=000.parquet"
    ).read_bytes()


def test_a_network_that_changes_under_a_run_is_refused(own, kept_study, tmp_path, monkeypatch):
    study = resolve_study(kept_study)
    real, calls = tasks.train_group, []

    def once(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr("biasvar.training.execute.train_group", once)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "run", device="cpu")
    monkeypatch.undo()
    own(9)
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(RecordError, match="source of network changing_network:make was changed since"):
            run_study(study, tmp_path / "run", device="cpu")
        own(8)
        assert run_study(study, tmp_path / "run", device="cpu").manifest["status"] == "complete"
    finally:
        sys.path.remove(str(tmp_path))


def in_a_worker_too_large(in_channels: int, num_classes: int) -> nn.Module:
    """Takes the data in the parent and fails in a worker, as on a machine on which one more is one too many."""
    if multiprocessing.parent_process() is not None:
        raise MemoryError("no room for one more")
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def test_a_worker_that_cannot_be_set_up_says_why_once(tiny_study, tmp_path, capfd):
    tiny_study |= {"backend": "sequential", "replicas": 2, "teachers": {}}
    tiny_study["student"] = {"model": f"{__name__}:in_a_worker_too_large"}
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}}
    with pytest.raises(ValueError, match="MemoryError: no room for one more"):
        run_study(resolve_study(tiny_study), tmp_path / "run", device="cpu", jobs=2)
    assert "Traceback" not in capfd.readouterr().err
