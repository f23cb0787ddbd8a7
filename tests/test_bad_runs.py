"""Runs that cannot be, from the command line: bad data, too little memory, a disk that fills up.

Each is one line on stderr and exit status 2; what was recorded before stays readable, and the same command goes on.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
import yaml
from torch import nn

from biasvar import Recorder, files, import_predictions, open_run
from biasvar.run import main
from tests.data.made import encode, pictures, write
from tests.training.test_execute import contents

NETWORK = "resnet8"


def refused(capsys: pytest.CaptureFixture, arguments: list[str]) -> str:
    """The one line that the command prints."""
    capsys.readouterr()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("biasvar: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    return tmp_path


# Data and networks that do not go together


def image_study(**changes: object) -> dict:
    study = {
        "name": "bad",
        "replicas": 2,
        "backend": "sequential",
        "data": {"name": "images.parquet", "validation": 10},
        "student": {"model": NETWORK},
        "draw": {"kind": "subsample", "rows": 20},
        "schedule": {"epochs": 1, "batch_size": 10},
        "learning_rate": {"value": 0.05},
        "teachers": {"main": {"model": NETWORK, "epochs": 1}},
        "arms": {"kd": {"loss": "distillation", "teacher": "main", "temperature": 4, "alpha": 1}},
    }
    return {**study, **changes}


def seven_classes(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(7))


def only_square(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 12 * 12, num_classes))


def images(path: Path, *, size=(12, 12), cell=None, labels=None) -> None:
    labels = [0, 1, 2] * 30 if labels is None else labels
    made = [*pictures(90, size=size)]
    if cell is not None:
        made[41] = cell
    write(path, made, labels, split=["train"] * 60 + ["test"] * 30, metadata={"class_names": ["a", "b", "c"]})


@pytest.mark.parametrize(
    ("data", "study", "words"),
    [
        ({"cell": encode(pictures(1, size=(12, 9))[0])}, {}, ["images.parquet", "row 41 is 9x12 pixels, the first"]),
        ({"cell": b"no image"}, {}, ["images.parquet", "row 41 is no image that can be read"]),
        ({"labels": [0, 1, 2] * 29 + [0, 1, 3]}, {}, ["row 89 has label 3", "0 .. 2"]),
        ({"labels": [0, 1, 2] * 20 + [0, 1] * 15}, {}, ["test (30 rows of images) has no row of class 2 ('c')"]),
        ({"size": (6, 5)}, {}, ["student.model: resnet8 takes images of at least 8x8 pixels", "have 5x6"]),
        ({"size": (12, 9)}, {"student": {"model": f"{__name__}:only_square"}}, ["only_square", "(2, 3, 12, 9)"]),
        ({}, {"student": {"model": f"{__name__}:seven_classes"}}, ["student.model", "gave shape (2, 7)", "(2, 3)"]),
        (
            {},
            {"teachers": {"main": {"model": f"{__name__}:seven_classes"}}},
            ["teachers.main.model", "seven_classes", "gave shape (2, 7)", "expected (2, 3)"],
        ),
    ],
)
@pytest.mark.parametrize("how", [["--jobs", "1"], ["--dry-run"]])
def test_data_and_networks_that_do_not_fit_leave_nothing(here, capsys, data, study, words, how):
    images(here / "images.parquet", **data)
    (here / "study.yaml").write_text(yaml.safe_dump(image_study(**study)))
    said = refused(capsys, ["study.yaml", "--device", "cpu", *how])
    assert not [word for word in words if word not in said], said
    assert not (here / "runs").exists()


def test_a_teacher_with_other_classes_is_refused_by_the_recorder_and_the_importer(tmp_path):
    recorder = Recorder(tmp_path / "own", num_samples=4, num_classes=3, temperature=2.0)
    with pytest.raises(ValueError, match=r"teacher_logits has shape \(4, 5\), expected \(4, 3\)"):
        recorder.update(torch.arange(4), torch.zeros(4, 3), torch.zeros(4, dtype=torch.long), torch.zeros(4, 5))
    labels = np.array([0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"has 5 classes, the files before it 3"):
        import_predictions([3 * np.eye(4, 3), 3 * np.eye(4, 5)], labels, directory=tmp_path / "import")
    import_predictions([3 * np.eye(4, 3)] * 2, labels, directory=tmp_path / "import")
    with pytest.raises(ValueError, match=r"num_classes"):
        import_predictions([3 * np.eye(4, 5)] * 2, labels, directory=tmp_path / "import", arm="other", resume=True)
    assert open_run(tmp_path / "import").arms == ["predictions"]


# A disk that fills up


def readable(directory: Path) -> None:
    """Every file of a run is whole, and the reader makes something of them."""
    for path in directory.rglob("*.parquet"):
        pq.read_table(path)
    for path in directory.rglob("*.safetensors"):
        safetensors.numpy.load_file(path)
    assert not list(directory.rglob(".*.tmp"))
    if (directory / "manifest.json").exists():
        run = open_run(directory)
        assert run.metrics.empty or {"arm", "epoch", "accuracy"} <= {*run.metrics.columns}
        run.records()


@pytest.fixture
def small_study(tiny_study):
    tiny_study |= {"replicas": 2, "backend": "sequential", "keep_teachers": True, "checkpoint_every": 1}
    tiny_study["schedule"] |= {"epochs": 2}
    tiny_study["record"] = {"epochs": "last"}
    tiny_study["teachers"] = {"main": {"hidden": [8], "epochs": 1}}
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd")}
    return tiny_study


class Disk:
    """Stands in for `open`: notes which files are written, and from the n-th on takes half a file and fails."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.full_from = 10**9
        self.error = errno.ENOSPC

    def __call__(self, path: Path, mode: str) -> io.FileIO:
        self.written.append(path.name)
        full, error = len(self.written) >= self.full_from, self.error

        class File(io.FileIO):
            def write(self, data: bytes) -> int:
                if full:
                    super().write(memoryview(data)[: len(data) // 2])
                    raise OSError(error, os.strerror(error))
                return super().write(data)

        return File(path, mode)


def test_any_file_may_be_the_one_that_finds_the_disk_full(here, small_study, capsys, monkeypatch):
    (here / "study.yaml").write_text(yaml.safe_dump(small_study))
    disk = Disk()
    monkeypatch.setattr(files, "open", disk, raising=False)
    command = ["study.yaml", "--jobs", "1", "--device", "cpu", "--out"]
    assert main([*command, "reference"]) == 0
    reference, number = contents(here / "reference"), len(disk.written)
    kinds = ("manifest.json", "samples.parquet", "membership.parquet", "main.parquet", "study.yaml", "0.safetensors")
    assert all(any(kind in name for name in disk.written) for kind in kinds)

    shutil.rmtree(here / "cache")
    disk.written, disk.full_from = [], 1
    said = refused(capsys, [*command, "run"])
    assert "No space left on the file system at /" in said
    assert "run/manifest.json was not written; " in said
    assert "free some space, then the same command goes on" in said
    attempts = 0
    for room in np.arange(1, number) ** 2:  # files that fit: 1, 4, 9, ...; each attempt gets further than the last
        error = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)[attempts % 3]
        disk.written, disk.full_from, disk.error = [], 1 + room, error
        attempts += 1
        status = main([*command, "run"])
        readable(here / "run")
        if status == 0:
            break
        captured = capsys.readouterr().err
        assert captured.count("\n") == 1
        assert " was not written; " in captured
        assert ("BIASVAR_CACHE" in captured) == (str(here / "cache") in captured)
    assert attempts > 5
    assert contents(here / "run") == reference


def test_a_cache_without_room_for_decoded_images_says_so(here, capsys, monkeypatch):
    images(here / "images.parquet")
    (here / "study.yaml").write_text(yaml.safe_dump(image_study()))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("biasvar.data.images.np.lib.format.write_array_header_1_0", full)
    said = refused(capsys, ["study.yaml", "--jobs", "1", "--device", "cpu"])
    assert f"cannot keep decoded images in {here / 'cache' / 'decoded'} (No space left on device)" in said
    assert "BIASVAR_CACHE" in said
    assert not (here / "runs").exists()


FULL = """
set -e
mount -t tmpfs -o size={size}k none {disk}
set +e
{python} -m biasvar.run study.yaml --jobs {jobs} --device cpu --out {disk}/run > out 2> err
echo $? > status
cp -r {disk}/run full
set -e
mount -o remount,size=64m {disk}
{python} -m biasvar.run study.yaml --jobs {jobs} --device cpu --out {disk}/run
cp -r {disk}/run whole
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_real_disk_fills_up(here, small_study, jobs):
    """A small file system in memory, mounted for this test alone; skipped where that is not allowed."""
    disk = here / "disk"
    disk.mkdir()
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    small_study["keep_teachers"] = False
    (here / "study.yaml").write_text(yaml.safe_dump(small_study))
    script = FULL.format(disk=disk, python=sys.executable, jobs=jobs, size=300)
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (here / "status").read_text() == "2\n"
    said = (here / "err").read_text()
    assert said.startswith("biasvar: error: ")
    assert said.count("\n") == 1
    assert f"No space left on the file system at {disk} (" in said
    shutil.copytree(here / "full", here / "opened", ignore=shutil.ignore_patterns(".*.tmp"))
    readable(here / "opened")
    assert list((here / "opened").rglob("*.parquet"))
    assert main(["study.yaml", "--jobs", "1", "--device", "cpu", "--out", "reference"]) == 0
    assert contents(here / "whole") == contents(here / "reference")


# Memory that runs out

# The processes that train may take so much address space more than they have once everything is imported.
LIMITED = """
import re, resource, sys
import sklearn.datasets, torch, torch._dynamo
import biasvar.training.execute
from biasvar.run import main
if (__name__ == "__main__") == ("1" in sys.argv):  # a worker imports this file under another name
    used = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are those of Linux")
@pytest.mark.parametrize("jobs", [1, 2])
def test_too_little_memory_names_what_to_lower(here, tiny_study, jobs):
    tiny_study |= {"replicas": 2, "backend": "sequential"}
    tiny_study["teachers"] = {"main": {"hidden": [8], "epochs": 1}}
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}, "kd": {"loss": "distillation"}}
    tiny_study["draw"] = {"kind": "subsample", "rows": 1147}
    # The hidden layer of a batch takes 287 MiB, its ReLU as much again, and the gradient of each too.
    tiny_study["student"] = {"model": "mlp", "hidden": [65_536, 8]}
    tiny_study["schedule"] = {"epochs": 1, "batch_size": 1147}
    (here / "limited.py").write_text(LIMITED)
    (here / "study.yaml").write_text(yaml.safe_dump(tiny_study))
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}

    def command(*more: str) -> subprocess.CompletedProcess[str]:
        arguments = ["limited.py", "study.yaml", "--jobs", str(jobs), "--device", "cpu", *more]
        return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)

    done = command("--out", "large")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "the CPU's memory is too small for this study" in done.stderr
    assert "large is whole so far" in done.stderr
    assert "schedule.batch_size (1147)" in done.stderr
    assert ("--jobs 1 takes less" in done.stderr) == (jobs == 2)
    readable(here / "large")
    assert open_run(here / "large").manifest["status"] == "running"
    small = command("--out", "small", "--set", "student.hidden=[64]")
    assert small.returncode == 0, small.stderr  # the limit leaves room for a study of less
