"""Run a study from its resolved description to a finished run directory; start it again and it goes on.

The order is: samples and draws, teachers, learning rates, arms. Each piece is skipped when it is on disk already, an
arm that was cut off goes on from its last checkpoint, and what comes out is the same, byte for byte on a CPU with the
same number of threads.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
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
from biasvar.training.tasks import Executor, make_executor, train_one_arm, train_teacher, tune_rate
from biasvar.training.workbench import Workbench


def default_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def run_study(study: Study, directory: str | Path, *, device: torch.device | str | None = None, jobs: int = 1) -> Run:
    """Train every arm of a study that `directory` does not hold yet.

    Args:
        study: A validated study.
        directory: The run directory, made when absent.
        device: Default: CUDA where there is one, else the CPU.
        jobs: Processes that train side by side, each one teacher or arm at a time. No number depends on it.

    Raises:
        RecordError: The directory holds another study.
        BiasvarError: A worker process was lost.
    """
    device = torch.device(device) if device is not None else default_device()
    torch.set_num_threads(study.threads)
    bench = Workbench.open(study, directory, device)
    writer = RunWriter(directory, manifest=_manifest(study, bench), resume=True)
    if writer.manifest["status"] == "complete":
        return open_run(directory)
    writer.study(study.to_yaml())
    _write_samples(writer, bench)
    arms = writer.manifest["arms"]
    left = [name for name in study.order() if arms.get(name, {}).get("status") != "complete"]
    teachers = [name for name in study.teachers if name not in writer.manifest.get("teachers", {})]
    families = {} if _tuning_path(writer).exists() else study.learning_rate.families
    total = len(teachers) + len(families) * len(study.learning_rate.grid) + len(left)
    with (
        make_executor(study, writer.directory, device, min(jobs, total)) as executor,
        tqdm(total=total, disable=None, unit="training", dynamic_ncols=True) as progress,
    ):
        for name, entry in _as_completed({executor.submit(train_teacher, name): name for name in teachers}, progress):
            writer.update_manifest(teachers={**writer.manifest.get("teachers", {}), name: entry})
        rates = _learning_rates(writer, study, executor, progress)
        _train_arms(writer, study, left, rates, executor, progress)
    writer.update_manifest(status="complete")
    return open_run(directory)


def _as_completed(futures: dict[Future, Any], progress: tqdm) -> Iterator[tuple[Any, Any]]:
    """(key, result) of each future as it is done."""
    for future in as_completed(futures):
        progress.set_postfix_str(str(futures[future]))
        yield futures[future], future.result()
        progress.update()


def _train_arms(
    writer: RunWriter, study: Study, left: list[str], rates: dict[str, float], executor: Executor, progress: tqdm
) -> None:
    """Train the arms that are left, each once the arms whose record it uses are done."""
    waiting = list(left)
    running: dict[Future, str] = {}
    while waiting or running:
        for name in list(waiting):
            if not set(study.arms[name].uses) & {*waiting, *running.values()}:
                waiting.remove(name)
                writer.update_arm(name, **_arm_entry(study, name, rates))
                running[executor.submit(train_one_arm, name, rates[study.arms[name].family])] = name
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name = running.pop(future)
            writer.update_arm(name, **future.result())
            progress.set_postfix_str(name)
            progress.update()


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
        "data": {"name": bench.dataset.name, "note": bench.dataset.note, "fingerprint": bench.dataset.fingerprint},
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
    n = len(bench.dataset.labels)
    split = np.full(n, "train", dtype=object)
    pool = np.full(n, None, dtype=object)
    for name, ids in bench.blocks.items():
        if name in ("test", "validation"):
            split[ids] = name
        else:
            pool[ids] = name
    writer.samples(np.arange(n), bench.dataset.labels, split, pool)
    writer.membership(bench.blocks["student"], bench.draw(range(bench.study.replicas)))


def _tuning_path(writer: RunWriter) -> Path:
    return writer.directory / "tuning.parquet"


def _learning_rates(writer: RunWriter, study: Study, executor: Executor, progress: tqdm) -> dict[str, float]:
    """The rate of each family: given, or the best of the grid on the validation split (accuracy, then loss)."""
    settings = study.learning_rate
    if settings.value is not None:
        return {arm.family: settings.value for arm in study.arms.values()}
    if not _tuning_path(writer).exists():
        futures = {
            executor.submit(tune_rate, arm, rate, settings.replicas): (family, arm, rate)
            for family, arm in settings.families.items()
            for rate in settings.grid
        }
        results = dict(_as_completed(futures, progress))
        keys = ("family", "arm", "learning_rate")
        frame = pd.concat(
            [pd.DataFrame({**dict(zip(keys, key, strict=True)), **results[key]}) for key in futures.values()]
        )
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
        "status": "running",
    }
