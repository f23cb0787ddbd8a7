"""Run a study from its resolved description to a finished run directory; start it again and it goes on.

The order is: samples and draws, teachers, learning rates, arms. Each piece is skipped when it is on disk already, an
arm that was cut off goes on from its last checkpoint, and what comes out is the same, byte for byte on a CPU with the
same number of threads.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

import biasvar
from biasvar.records import Run, RunWriter, open_run
from biasvar.study import Study
from biasvar.training.replicas import groups_of
from biasvar.training.tasks import (
    Executor,
    finish_teacher,
    make_executor,
    train_group,
    train_teacher_group,
    tune_rate,
)
from biasvar.training.weights import file_hashes
from biasvar.training.workbench import Workbench, teacher_weights_path


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def run_study(study: Study, directory: str | Path, *, device: torch.device | str | None = None, jobs: int = 1) -> Run:
    """Train every arm of a study that `directory` does not hold yet.

    Args:
        study: A validated study.
        directory: The run directory, made when absent.
        device: Default: CUDA where there is one, else the CPU.
        jobs: Processes that train side by side, each a teacher or a group of replicas at a time; changes no number.

    Raises:
        RecordError: The directory holds another study.
        BiasvarError: A worker process was lost.
    """
    device = torch.device(device) if device is not None else default_device()
    torch.set_num_threads(study.threads)
    bench = Workbench.open(study, directory, device)
    writer = RunWriter(directory, manifest=_manifest(study, bench), resume=True)
    left = [name for name in study.order() if not _is_complete(writer, name)]
    if writer.manifest["status"] == "complete" and not left:
        return open_run(directory)
    writer.update_manifest(status="running")
    writer.study(study.to_yaml())
    _write_samples(writer, bench)
    groups = len(groups_of(study.backend, range(study.replicas)))
    teachers = [name for name in study.teachers if name not in writer.manifest.get("teachers", {})]
    families = {} if _tuning_path(writer).exists() else study.learning_rate.families
    teaching = _teacher_tasks(bench, teachers)
    total = len(teaching) + len(families) * len(study.learning_rate.grid) + len(left) * groups
    jobs = min(jobs, total)
    with (
        make_executor(study, writer.directory, device, jobs) as executor,
        tqdm(total=total, disable=None, unit="training", dynamic_ncols=True) as progress,
    ):
        work = partial(_work, executor, jobs, progress)
        for key, entry in work(teaching):
            if isinstance(key, str):
                writer.update_manifest(teachers={**writer.manifest.get("teachers", {}), key: entry})
        rates = _learning_rates(writer, study, work)
        _train_arms(writer, study, left, groups, rates, work)
    writer.update_manifest(status="complete")
    return open_run(directory)


def _is_complete(writer: RunWriter, arm: str) -> bool:
    """Whether an arm was trained to its end and its files are still there; a folder taken away is made again."""
    entry = writer.manifest["arms"].get(arm, {})
    parts = ("records", "predictions", "metrics", "weights")
    there = all((writer.directory / part / f"arm={arm}").is_dir() for part in parts)
    return entry.get("status") == "complete" and there


@dataclass(frozen=True)
class Task:
    """A call for the executor, to be made once the tasks it needs are done."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    needs: frozenset[Any] = frozenset()


Work = Callable[[dict[Any, Task]], Iterator[tuple[Any, Any]]]


def _work(executor: Executor, jobs: int, progress: tqdm, tasks: dict[Any, Task]) -> Iterator[tuple[Any, Any]]:
    """(key, result) of each task as it is done, `jobs` of them under way at a time.

    Tasks that were under way when a worker was lost are submitted again: they go on from their checkpoints.
    """
    waiting = dict(tasks)
    running: dict[Future, Any] = {}
    while waiting or running:
        pending = {*waiting, *running.values()}
        ready = [key for key, task in waiting.items() if not task.needs & pending]
        for key in ready[: jobs - len(running)]:
            task = waiting.pop(key)
            progress.set_postfix_str(" ".join(map(str, key)) if isinstance(key, tuple) else str(key))
            running[executor.submit(task.function, *task.arguments)] = key
        done = wait(running, return_when=FIRST_COMPLETED).done
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            executor.restart()
            waiting = {key: tasks[key] for key in running.values()} | waiting
            running = {}
            continue
        for future in done:
            yield running.pop(future), future.result()
            progress.update()


def _teacher_tasks(bench: Workbench, names: list[str]) -> dict[Any, Task]:
    """Training each group of a teacher's replicas, unless its weights are there, and then its logits, by name."""
    tasks: dict[Any, Task] = {}
    for name in names:
        parts = [(name, number) for number in range(len(bench.teacher_groups(name)))]
        left = [part for part in parts if not teacher_weights_path(bench.directory, *part).exists()]
        tasks |= {part: Task(train_teacher_group, part) for part in left}
        tasks[name] = Task(finish_teacher, (name,), frozenset(left))
    return tasks


def _train_arms(
    writer: RunWriter, study: Study, left: list[str], groups: int, rates: dict[str, float], work: Work
) -> None:
    """Train the arms that are left, group by group, each once the arms whose record it uses are done."""
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in left}
    tasks = {
        (name, number): Task(
            train_group,
            (name, number, rates[study.arms[name].family]),
            frozenset((other, n) for other in study.arms[name].uses for n in range(groups)),
        )
        for name in left
        for number in range(groups)
    }
    for name in left:
        writer.update_arm(name, **_arm_entry(study, name, rates))
    for (name, _), outcome in work(tasks):
        outcomes[name].append(outcome)
        if len(outcomes[name]) == groups:
            writer.update_arm(name, **_outcome(writer, name, outcomes[name]))
            shutil.rmtree(writer.directory / "checkpoints" / f"arm={name}", ignore_errors=True)


def _outcome(writer: RunWriter, name: str, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """What the manifest says of an arm that is done."""
    failed = [item for group in groups for item in group["failed_replicas"]]
    return {
        "status": "complete",
        "failed_replicas": sorted(failed, key=lambda item: item["replica"]),
        "weights_sha256": file_hashes(writer.directory / "weights" / f"arm={name}"),
        "seconds": round(sum(group["seconds"] for group in groups), 2),
    }


def _manifest(study: Study, bench: Workbench) -> dict[str, Any]:
    packages = ("torch", "numpy", "pyarrow", "scikit-learn")
    versions = {"biasvar": biasvar.__version__, "python": platform.python_version()}
    return {
        "kind": "study",
        "name": study.name,
        "title": study.title,
        "study_hash": study.hash,
        "seed": study.seed,
        "num_classes": bench.dataset.num_classes,
        "class_names": list(bench.dataset.class_names),
        "replicas": study.replicas,
        "draw": {**study.draw.model_dump(), "pool": len(bench.blocks["student"])},
        "data": {
            "name": bench.dataset.name,
            "path": str(bench.dataset.path) if bench.dataset.path else None,
            "note": bench.dataset.note,
            "fingerprint": bench.dataset.fingerprint,
        },
        "reference_teacher": study.reference_teacher,
        "claims": study.claims,
        "arms": {name: {"label": arm.label, "status": "waiting"} for name, arm in study.arms.items()},
        "versions": {**versions, **{name: version(name) for name in packages}},
        "commit": _commit(),
        "device": bench.device.type,
        "threads": study.threads,
    }


def _commit() -> str | None:
    """The commit of the source tree this package runs from, with "+changes" if it has any; None outside one."""
    root = Path(__file__).parents[2]
    try:
        text = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"],
            cwd=root, capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return text or None


def _write_samples(writer: RunWriter, bench: Workbench) -> None:
    if (writer.directory / "membership.parquet").exists():
        return
    ids = bench.used_ids
    split = np.full(len(ids), "train", dtype=object)
    pool = np.full(len(ids), None, dtype=object)
    for name, block in bench.blocks.items():
        held_out = name in ("test", "validation")
        (split if held_out else pool)[np.isin(ids, block)] = name
    writer.samples(ids, bench.dataset.labels[ids], split, pool)
    writer.membership(bench.blocks["student"], bench.draw(range(bench.study.replicas)))


def _tuning_path(writer: RunWriter) -> Path:
    return writer.directory / "tuning.parquet"


def _learning_rates(writer: RunWriter, study: Study, work: Work) -> dict[str, float]:
    """The rate of each family: given, or the best of the grid on the validation split (accuracy, then loss)."""
    settings = study.learning_rate
    if settings.value is not None:
        return {arm.family: settings.value for arm in study.arms.values()}
    if not _tuning_path(writer).exists():
        tasks = {
            (family, arm, rate): Task(tune_rate, (arm, rate, settings.replicas))
            for family, arm in settings.families.items()
            for rate in settings.grid
        }
        results = dict(work(tasks))
        keys = ("family", "arm", "learning_rate")
        frame = pd.concat([pd.DataFrame({**dict(zip(keys, key, strict=True)), **results[key]}) for key in tasks])
        means = frame.groupby(["family", "learning_rate"])[["accuracy", "nll"]].mean().reset_index()
        order = means.sort_values(["accuracy", "nll"], ascending=[False, True])
        best = order.groupby("family").first()["learning_rate"]
        writer.tuning(frame.assign(chosen=frame["learning_rate"] == frame["family"].map(best)))
    chosen = pd.read_parquet(_tuning_path(writer)).query("chosen")
    return dict(zip(chosen["family"], chosen["learning_rate"].astype(float), strict=True))


def _arm_entry(study: Study, name: str, rates: dict[str, float]) -> dict[str, Any]:
    """What the manifest says of an arm."""
    arm = study.arms[name]
    return {
        **arm.model_dump(exclude={"record"}),
        "regime": study.teachers[arm.teacher].regime if arm.teacher else "none",
        "scored_against": arm.teacher or study.reference_teacher,
        "record_temperature": arm.temperature or study.reference_temperature,
        "uses": arm.uses,
        "replicas": study.replicas,
        "epochs": study.schedule.epochs,
        "learning_rate": rates[arm.family],
    }
