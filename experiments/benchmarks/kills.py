"""Kill -9 at random moments: what was acknowledged stays, nothing partial is seen, the end is the same to the byte.

Three writers are killed, each with all its processes, and started again until they are done: a training loop of one's
own with a `Recorder`, a study in one process (`--jobs 1`) and the same study in several (`--jobs 2`). Half of the kills
come at a moment drawn uniformly from the length of a whole run, half of them just as a file drawn at random appears.

After each kill every visible file is read: one that is not whole is `partial`; one that an earlier kill (or the
recorder's acknowledgement) left and that is gone or changed is `lost`. When a run is complete each of its files is
compared with those of a run that nobody killed, by SHA-256: `different` counts files that differ, are missing or too
many, temporary ones included. `failed` counts starts that ended in an error of their own. Of the manifest only the
seconds may differ; the metrics of an arm, checkpoints and the manifest grow while a run goes on, all else is final.

    python experiments/benchmarks/kills.py --kills 30 --seed 1
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import scipy.stats  # noqa: F401 - this, and what follows it so, are imported here once, not in every start anew
import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo

from biasvar import Recorder
from biasvar.study import resolve_study
from biasvar.training.execute import run_study

EPOCHS, SAMPLES, CLASSES = 24, 400, 4
GROWING = ("manifest.json", "metrics/", "checkpoints/")
STUDY: dict[str, Any] = {
    "name": "killed",
    "seed": 3,
    "replicas": 2,
    "backend": "sequential",
    "threads": 1,
    "data": {"name": "digits", "test": 300, "validation": 200, "reserved": 150},
    "student": {"model": "mlp", "hidden": [8]},
    "draw": {"kind": "subsample", "rows": 60},
    "schedule": {"epochs": 4, "batch_size": 30},
    "learning_rate": {"grid": [0.01, 0.1], "replicas": 1, "families": {"cross_entropy": "ce", "distillation": "kd"}},
    "evaluate_every": 2,
    "checkpoint_every": 1,
    "teachers": {
        "main": {"hidden": [8], "epochs": 4},
        "own": {"hidden": [8], "epochs": 4, "draw": "per_replica", "rows": "own"},
    },
    "defaults": {"teacher": "main", "temperature": 2, "alpha": 0.5},
    "arms": {
        "ce": {"loss": "cross_entropy"},
        "kd": {"loss": "distillation"},
        "kd_own": {"loss": "distillation", "teacher": "own"},
        "wsl_recorded": {"loss": "distillation", "weights_from": "kd", "family": "distillation"},
    },
}


def record(directory: Path, acknowledge: Callable[[int], None]) -> None:
    """A training loop of one's own, as far as the record sees it."""
    recorder = Recorder(
        directory, num_samples=SAMPLES, num_classes=CLASSES, temperature=2.0, arm="kd", resume=directory.exists()
    )
    while recorder.epoch <= EPOCHS:
        rng = np.random.default_rng([recorder.epoch, 7])
        labels = np.arange(SAMPLES) % CLASSES
        for ids in np.array_split(rng.permutation(SAMPLES), 4):
            student, teacher = rng.normal(size=(2, len(ids), CLASSES))
            recorder.update(ids, student, labels[ids], teacher)
        recorder.end_epoch()
        acknowledge(recorder.epoch - 1)


def train(jobs: int) -> Callable[[Path, Callable[[int], None]], None]:
    def run(directory: Path, acknowledge: Callable[[int], None]) -> None:
        run_study(resolve_study(STUDY), directory, device="cpu", jobs=jobs)

    return run


WRITERS = {"recorder": record, "jobs 1": train(1), "jobs 2": train(2)}
SHARES = {"recorder": 10, "jobs 1": 9, "jobs 2": 1}  # of the kills: workers take seconds to start


class Process:
    """A writer in a process group of its own, made by fork: nothing has to be imported again."""

    def __init__(self, writer: Callable[[Path, Callable[[int], None]], None], directory: Path, log: Path) -> None:
        self._reading, writing = os.pipe()
        self._began = time.monotonic()
        self.group = os.fork()
        if not self.group:
            self._run(writer, directory, log, writing)
        os.close(writing)

    def _run(self, writer: Any, directory: Path, log: Path, pipe: int) -> None:
        status = 1
        try:
            os.setsid()
            out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            os.dup2(out, 1)
            os.dup2(out, 2)
            torch.set_num_threads(1)
            writer(directory, lambda epoch: os.write(pipe, epoch.to_bytes(2, "little")))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def is_done(self) -> bool:
        """True once the writer has ended, which then still waits to be collected."""
        return os.waitid(os.P_PID, self.group, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def end(self) -> tuple[int, list[int]]:
        """Kill the group, wait until none of it is left; the first process's exit status, and what it acknowledged."""
        try:
            os.killpg(self.group, signal.SIGKILL)
        except ProcessLookupError:  # between fork and setsid there is no group yet
            os.kill(self.group, signal.SIGKILL)
        _, status = os.waitpid(self.group, 0)
        while True:  # its workers are this process's now: see `_adopt`
            try:
                os.waitpid(-self.group, 0)
            except ChildProcessError:
                break
        with os.fdopen(self._reading, "rb") as file:
            sent = file.read()
        return status, [int.from_bytes(sent[at : at + 2], "little") for at in range(0, len(sent), 2)]


def _adopt() -> None:
    """Make orphans of killed writers children of this process (Linux), so that it can wait until they are gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def names(directory: Path) -> list[str]:
    """Every file that is not hidden, by its path in the directory."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path.relative_to(directory).as_posix() for path in files)


def digest(path: Path) -> str:
    """SHA-256 of a file; of the manifest, without what may differ."""
    data = path.read_bytes()
    if path.name == "manifest.json":
        data = json.dumps(_timeless(json.loads(data))).encode()
    return hashlib.sha256(data).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(entry) for key, entry in sorted(value.items()) if not key.endswith("seconds")}
    return [_timeless(entry) for entry in value] if isinstance(value, list) else value


def is_whole(path: Path) -> bool:
    """True if a file can be read to its end."""
    try:
        if path.suffix == ".parquet":
            pq.ParquetFile(path).read(use_threads=False)
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".safetensors":
            with safetensors.safe_open(os.fspath(path), framework="np") as file:
                for name in file.keys():  # noqa: SIM118
                    file.get_tensor(name)
        else:
            return bool(path.read_bytes())
    except (ValueError, OSError, pa.ArrowException, safetensors.SafetensorError):
        return False
    return True


@dataclass
class Count:
    """What came of the kills of one writer."""

    kills: int = 0
    runs: int = 0
    files: int = 0
    lost: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        kinds = ("lost", "partial", "different", "failed")
        return [f"{kind}: {item}" for kind in kinds for item in getattr(self, kind)]

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.runs} runs, {self.files} files compared: {len(self.lost)} lost, "
            f"{len(self.partial)} partial, {len(self.different)} different, {len(self.failed)} failed"
        )


class Harness:
    """One writer, its uninterrupted run, and what the kills of others come to."""

    def __init__(self, name: str, folder: Path, rng: random.Random) -> None:
        self.name, self._folder, self._rng = name, folder, rng
        self._writer = WRITERS[name]
        self.count = Count()
        whole = folder / "whole"
        process = Process(self._writer, whole, folder / "log")
        while not process.is_done():
            time.sleep(0.001)
        self._seconds = process.seconds()
        status, _ = process.end()
        if status:
            raise RuntimeError(f"{name}: the uninterrupted run failed: {(folder / 'log').read_text()}")
        self._wanted = {name: digest(whole / name) for name in names(whole)}

    def run(self, kills: int) -> None:
        """Kill one run until it is complete, or until `kills` kills are reached, and then let it end."""
        number = self.count.runs
        directory = self._folder / f"run{number}" / "whole"  # the manifest holds the folder's name
        directory.parent.mkdir()
        seen: dict[str, str] = {}
        while True:
            process = Process(self._writer, directory, self._folder / "log")
            if self.count.kills < kills:
                self._wait(process, directory)
            else:
                while not process.is_done():
                    time.sleep(0.01)
            done = process.is_done()
            status, acknowledged = process.end()
            if done and status:
                said = (self._folder / "log").read_text().strip().splitlines()
                self.count.failed.append(f"{directory}: {said[-1] if said else status}")
                break
            self._check(directory, acknowledged, seen)
            if done:
                break
            self.count.kills += 1
        self.count.runs += 1
        self._compare(directory)

    def _wait(self, process: Process, directory: Path) -> None:
        """Until a moment drawn at random, or until the writer is done."""
        missing = [name for name in self._wanted if not (directory / name).exists()]
        if missing and self._rng.random() < 0.5:
            awaited = directory / self._rng.choice(missing)
            while not awaited.exists() and not process.is_done():
                time.sleep(0.0005)
            end = time.monotonic() + self._rng.uniform(0, 0.02)
        else:
            end = time.monotonic() + self._rng.uniform(0, self._seconds)
        while time.monotonic() < end and not process.is_done():
            time.sleep(0.0005)

    def _check(self, directory: Path, acknowledged: list[int], seen: dict[str, str]) -> None:
        there = names(directory) if directory.exists() else []
        self.count.partial += [f"{directory / name}" for name in there if not is_whole(directory / name)]
        final = {name: digest(directory / name) for name in there if not name.startswith(GROWING)}
        self.count.lost += [f"{directory / name}" for name, value in seen.items() if final.get(name) != value]
        seen.update(final)
        for epoch in acknowledged:
            if not any(f"/epoch={epoch:04d}/" in name for name in final):
                self.count.lost.append(f"{directory}: epoch {epoch}")

    def _compare(self, directory: Path) -> None:
        """All files of a complete run with those of the uninterrupted one."""
        there = {name: digest(directory / name) for name in names(directory)}
        self.count.files += len(there)
        wrong = sorted(name for name in {*there, *self._wanted} if there.get(name) != self._wanted.get(name))
        hidden = sorted(path.relative_to(directory).as_posix() for path in directory.rglob(".*"))
        self.count.different += [f"{directory / name}" for name in wrong + hidden]


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill writers at random moments and compare what they leave.")
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="kills in all (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument(
        "--writers", nargs="+", choices=WRITERS, default=list(WRITERS), metavar="NAME",
        help=f"which to kill: {', '.join(f'{name} ({share} parts)' for name, share in SHARES.items())} (default: all)",
    )  # fmt: skip
    options = parser.parse_args()
    _adopt()
    rng = random.Random(options.seed)
    began = time.monotonic()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        left, parts = options.kills, sum(SHARES[name] for name in options.writers)
        for name in options.writers:
            place = Path(folder) / name.replace(" ", "_")
            place.mkdir()
            kills = round(left * SHARES[name] / parts)
            left, parts = left - kills, parts - SHARES[name]
            harness = Harness(name, place, rng)
            while harness.count.kills < kills:
                harness.run(kills)
                if harness.count.runs % 10 == 0:
                    print(f"  {name}, so far: {harness.count}", flush=True)
            print(f"{name}: {harness.count} ({time.monotonic() - began:.0f} s)", flush=True)
            faults += harness.count.faults
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
