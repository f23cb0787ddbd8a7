"""The independent pieces of a study, and the executor that works them off: in this process, or in several.

A task is a function of plain values; the study, the data and the run directory are set up once a process. Only names
and numbers travel, results go to disk, so any executor with `submit(function, *args) -> Future` can stand in.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from biasvar.analysis.indicators.accumulator import measure_indicators
from biasvar.files import write_bytes, write_json
from biasvar.records import RunWriter
from biasvar.records.schema import metrics_path, prediction_path, record_path, weights_path
from biasvar.records.writer import read_manifest
from biasvar.study import Study
from biasvar.training.arm import ArmRun, train_arm_group, tune_once
from biasvar.training.checks import check_kept_teacher
from biasvar.training.evaluate import evaluation_metrics
from biasvar.training.faults import lost_workers
from biasvar.training.loop import predict
from biasvar.training.memory import keep_freed_memory
from biasvar.training.replicas import Replicas, groups_of
from biasvar.training.views import write_views
from biasvar.training.weights import cached_teacher, file_hashes, weights_file
from biasvar.training.workbench import Workbench, teacher_weights_path

TUNING_REPLICAS_FROM = 1_000_000  # replicas on which a learning rate is chosen are no replicas of the study
MOST_LOSSES = 3  # workers that may be lost before a run gives up

_bench: Workbench | None = None
_writer: RunWriter | None = None
_fault: Exception | None = None  # why a worker could not be set up


class Executor(Protocol):
    """What runs tasks."""

    def submit(self, function: Callable, /, *args: Any) -> Future: ...

    def restart(self) -> None:
        """Start anew after a worker was lost; what was under way has to be submitted again."""


class _Inline:
    """Runs a task where it is submitted."""

    def submit(self, function: Callable, /, *args: Any) -> Future:
        future: Future = Future()
        future.set_result(function(*args))
        return future

    def restart(self) -> None:
        raise AssertionError("there is no worker to lose")


class _Pool:
    """Worker processes that set the study up once each."""

    def __init__(self, study: Study, directory: Path, device: torch.device, jobs: int) -> None:
        self._directory, self._settings, self._jobs = directory, (study, directory, str(device)), jobs
        self._losses = 0
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._jobs, context, initializer=_set_up_worker, initargs=self._settings)

    def submit(self, function: Callable, /, *args: Any) -> Future:
        try:
            return self._pool.submit(function, *args)
        except BrokenProcessPool as error:  # a worker was lost between two tasks: told like one lost during a task
            future: Future = Future()
            future.set_exception(error)
            return future

    def restart(self) -> None:
        self._losses += 1
        if self._losses > MOST_LOSSES:
            study, directory, _ = self._settings
            raise lost_workers(study, directory, self._jobs, self._losses)
        self.stop()
        self._pool = self._start()

    def stop(self) -> None:
        """End the workers where they are; what is on disk is whole."""
        for process in list((getattr(self._pool, "_processes", None) or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def make_executor(study: Study, directory: Path, device: torch.device, jobs: int) -> Iterator[Executor]:
    """An executor of `jobs` processes; with one, tasks run in this process. It ends with the block, done or not."""
    if jobs <= 1:
        _set_up(study, directory, str(device))
        yield _Inline()
        return
    pool = _Pool(study, directory, device, jobs)
    try:
        yield pool
    finally:
        pool.stop()


def _set_up_worker(study: Study, directory: Path, device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _fault
    try:
        _set_up(study, directory, device)
    except Exception as error:  # raised again by the first task, since an initializer that fails only breaks the pool
        _fault = error


def _end_with_parent() -> None:
    """A worker whose parent was killed has nobody to work for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _set_up(study: Study, directory: Path, device: str) -> None:
    global _bench, _writer
    torch.set_num_threads(study.threads)
    keep_freed_memory()
    _bench = Workbench.open(study, directory, torch.device(device))
    _writer = RunWriter(directory, manifest=read_manifest(directory), resume=True)


def _here() -> tuple[Workbench, RunWriter]:
    if _fault is not None:
        raise _fault
    assert _bench is not None
    assert _writer is not None
    return _bench, _writer


def train_teacher_group(name: str, number: int) -> None:
    """Train some replicas of a teacher and save their weights; taken from the cache where the study keeps teachers."""
    bench, writer = _here()
    path = teacher_weights_path(writer.directory, name, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    replicas = bench.teacher_groups(name)[number]
    kept = cached_teacher(bench, name, replicas) if bench.study.keep_teachers else None
    epochs = path.with_suffix(".parquet")  # until the teacher is finished
    follow = bench.study.teachers[name].follow
    if kept is not None and kept.exists():
        teacher = bench.study.teachers[name]
        network = bench.model(teacher.model, teacher.hidden, "teacher init", replicas[0])
        check_kept_teacher(kept, network, replicas, what=f"teacher {name} ({teacher.model})")
    if kept is not None and kept.exists() and (kept.with_suffix(".parquet").exists() or not follow):
        if follow:
            write_bytes(epochs, kept.with_suffix(".parquet").read_bytes())
        write_bytes(path, kept.read_bytes())
        return
    found: list[pd.DataFrame] = []
    net = bench.train_teacher(name, replicas, partial(_follow, bench, replicas, found) if follow else None)
    if found:
        content = io.BytesIO()
        pd.concat(found, ignore_index=True).to_parquet(content)
        write_bytes(epochs, content.getvalue())
    weights = weights_file(net, replicas)
    write_bytes(path, weights)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        if found:
            write_bytes(kept.with_suffix(".parquet"), epochs.read_bytes())
        write_bytes(kept, weights)


def _follow(bench: Workbench, replicas: Sequence[int], found: list[pd.DataFrame], net: Replicas, epoch: int) -> None:
    """Accuracy and indicators of a teacher's top-k sets after an epoch: on the students' pool and on held-out rows."""
    for split, block in (("train", "student"), ("validation", "validation"), ("test", "test")):
        ids = bench.blocks[block]
        logits = predict(net, bench.inputs, torch.as_tensor(ids, device=bench.device)).cpu().numpy()
        labels = bench.dataset.labels[ids]
        for r, one in zip(replicas, logits, strict=True):
            frame = _indicators_by_k(one, labels)
            found.append(frame.assign(replica=r, epoch=epoch, split=split, n=len(ids)))


def _indicators_by_k(logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Accuracy, unreliability and class-conditional ambiguity of the top-k sets of logits (n, C), for every k < C.

    Unreliability and ambiguity with their exact 95 % intervals at that k.
    """
    found = measure_indicators(logits, labels, ks=range(1, logits.shape[1]), scores=True, mean_labels=False).table()
    names = {"delta": "unreliability", "gamma": "ambiguity"}
    columns = {f"{short}{end}": f"{name}{end}" for short, name in names.items() for end in ("", "_low", "_high")}
    return found[["k", *columns]].rename(columns=columns).assign(accuracy=1.0 - found["delta"].iloc[0])


def finish_teacher(name: str) -> dict[str, Any]:
    """Write the clean logits of a trained teacher; returns what the manifest says of it."""
    bench, writer = _here()
    teacher = bench.study.teachers[name]
    fixed = teacher.draw == "fixed"
    ids = bench.used_ids
    where = torch.as_tensor(ids, device=bench.device)
    networks = bench.teacher_networks(name, range(1 if fixed else bench.study.replicas))
    logits = np.stack([_clean_logits(bench, network, where) for network in networks])
    member = bench.teacher_members(name)[:, ids]
    writer.teacher(name, ids, logits[0] if fixed else logits, member[0] if fixed else member)
    followed = sorted((writer.directory / "weights" / f"teacher={name}").glob("*.parquet"))
    if followed:
        writer.teacher_epochs(name, pd.concat([pd.read_parquet(path) for path in followed], ignore_index=True))
        for path in followed:
            path.unlink()
    labels = bench.dataset.labels[ids]
    entry: dict[str, Any] = {
        **teacher.model_dump(),
        "regime": teacher.regime,
        "training_rows": int(member.sum(1).mean()),
        "weights_sha256": file_hashes(writer.directory / "weights" / f"teacher={name}"),
    }
    for split in ("test", "validation"):
        rows = np.isin(ids, bench.blocks[split])
        numbers = evaluation_metrics(logits[:, rows].astype(np.float64), labels[rows])
        entry.update({f"{key}_{split}": float(value.mean()) for key, value in numbers.items()})
    right = (logits.argmax(-1) == labels) & member
    entry["accuracy_train"] = float((right.sum(1) / member.sum(1)).mean())
    return entry


@torch.no_grad()
def _clean_logits(bench: Workbench, network: torch.nn.Module, ids: torch.Tensor) -> np.ndarray:
    network.train(False)
    return (
        torch.cat([network(bench.inputs.clean(piece)).float() for piece in ids.split(bench.inputs.chunk)]).cpu().numpy()
    )


def tune_rate(arm: str, rate: float, replicas: int) -> dict[str, Any]:
    """Validation accuracy and loss of an arm at one learning rate, by replica."""
    bench, _ = _here()
    numbers = range(TUNING_REPLICAS_FROM, TUNING_REPLICAS_FROM + replicas)
    parts = [tune_once(bench, arm, rate, group) for group in groups_of(bench.study.backend, numbers)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def ask_teacher(name: str, replica: int) -> None:
    """Keep a teacher's logits of the views of one replica."""
    write_views(_here()[0], name, replica)


def train_group(name: str, number: int, rate: float) -> dict[str, Any]:
    """Train a group of an arm's replicas to its end, once: which failed, and how long it took."""
    bench, writer = _here()
    done = writer.directory / "checkpoints" / f"arm={name}" / f"group={number:03d}.json"
    epoch = bench.study.schedule.epochs
    left_behind = (
        weights_path(writer.directory, name, number),
        metrics_path(writer.directory, name, number),
        prediction_path(writer.directory, name, "test", "all", epoch, number),
        record_path(writer.directory, name, "test", "clean", epoch, number),
    )
    if done.exists() and all(path.exists() for path in left_behind):
        return json.loads(done.read_text())
    began = time.perf_counter()
    failed = train_arm_group(ArmRun(writer, bench, name, rate), number)
    outcome = {"failed_replicas": failed, "seconds": time.perf_counter() - began}
    done.parent.mkdir(parents=True, exist_ok=True)
    write_json(done, outcome)
    return outcome
