"""Training of a study's teachers; their weights may be kept for other studies, their logits go into the run."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from biasvar.analysis.indicators.accumulator import measure_indicators
from biasvar.data.layout import cache_folder
from biasvar.errors import StudyError
from biasvar.files import write_bytes, write_json
from biasvar.messages import first_few
from biasvar.records import RunWriter
from biasvar.seeding import generator
from biasvar.study import Study, Teacher
from biasvar.study.arms import CrossEntropy, LabelSmoothing
from biasvar.study.import_path import source_hash
from biasvar.study.schema import STUDENTS_TEACH
from biasvar.study.teachers import SEVERAL
from biasvar.training.checkpoints import check_kept_teacher, file_hashes, weights_file
from biasvar.training.context import StudyContext
from biasvar.training.evaluation import CleanPass, evaluation_metrics
from biasvar.training.given_teachers import given_logits
from biasvar.training.loop import predict, train
from biasvar.training.methods import Method, method_of
from biasvar.training.methods.bad_teacher import BadTeacherMethod
from biasvar.training.objective import Objective
from biasvar.training.replicas import Replicas
from biasvar.training.teachers import (
    network_numbers,
    teacher_groups,
    teacher_members,
    teacher_networks,
    teacher_rows,
    teacher_weights_path,
)


def train_teacher(
    context: StudyContext, name: str, replicas: Sequence[int], on_epoch: Callable[[Replicas, int], None] | None = None
) -> Replicas:
    """Train a teacher, or some of its replicas; `on_epoch` sees it after each epoch.

    All teachers start from the same weights (where the shape allows) and visit their rows in the same order, so
    that two that differ in one setting differ by that setting only.
    """
    teacher = context.study.teachers[name]
    context = context.observing(context.study.data.label_noise)
    numbers = network_numbers(context, name, replicas)
    models = [context.model(teacher.model, teacher.hidden, "teacher init", number) for number in numbers]
    net = context.replicas(models, teacher.weight_decay)
    inputs = context.inputs if teacher.augment else context.inputs.plain()
    method = _method(teacher)
    rows = teacher_rows(context, name, replicas)
    train(
        net, rows, Objective(method, method.prepare(context, replicas)), inputs, context.labels,
        epochs=teacher.stop or teacher.epochs,
        batch_size=teacher.batch_size, rate_of=context.rate_of(teacher.learning_rate, teacher.epochs),
        seed=int(generator(context.study.seed, "teacher").integers(2**31)), ranks=context.ranks,
        on_epoch=None if on_epoch is None else lambda epoch, _: on_epoch(net, epoch),
    )  # fmt: skip
    return net


def _method(teacher: Teacher) -> Method:
    """The method of a teacher: cross-entropy, label smoothing, or the loss of bad teachers."""
    if teacher.bad:
        return BadTeacherMethod(teacher.bad)
    if teacher.smoothing:
        return method_of(LabelSmoothing(loss="label_smoothing", smoothing=teacher.smoothing))
    return method_of(CrossEntropy(loss="cross_entropy"))


def train_and_keep(context: StudyContext, name: str, number: int) -> None:
    """Train some replicas of a teacher and save their weights; taken from the cache where the study keeps teachers."""
    path = teacher_weights_path(context.directory, name, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    replicas = teacher_groups(context, name)[number]
    kept = cached_teacher(context, name, replicas) if context.study.keep_teachers else None
    epochs = path.with_suffix(".parquet")  # until the teacher is finished
    follow = context.study.teachers[name].follow
    if kept is not None and kept.exists():
        teacher = context.study.teachers[name]
        network = context.model(teacher.model, teacher.hidden, "teacher init", replicas[0])
        check_kept_teacher(kept, network, replicas, what=f"teacher {name} ({teacher.model})")
    if kept is not None and kept.exists() and (kept.with_suffix(".parquet").exists() or not follow):
        if follow:
            write_bytes(epochs, kept.with_suffix(".parquet").read_bytes())
        if kept.with_suffix(".json").exists():  # how long it took when it was trained
            write_bytes(_time_path(context, name, number), kept.with_suffix(".json").read_bytes())
        write_bytes(path, kept.read_bytes())
        context.ranks.broadcast(True)  # done
        return
    context.ranks.broadcast(False)
    frames: list[pd.DataFrame] = []
    began, processor_began = time.perf_counter(), time.process_time()
    net = train_teacher(context, name, replicas, partial(_follow, context, replicas, frames) if follow else None)
    if frames:
        content = io.BytesIO()
        pd.concat(frames, ignore_index=True).to_parquet(content)
        write_bytes(epochs, content.getvalue())
    weights = weights_file(net, replicas)
    took = {"seconds": time.perf_counter() - began}
    if context.ranks.world == 1:  # else this would be one process's part of them
        took["processor_seconds"] = time.process_time() - processor_began
    write_json(_time_path(context, name, number), took)
    write_bytes(path, weights)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept.with_suffix(".json"), took)
        if frames:
            write_bytes(kept.with_suffix(".parquet"), epochs.read_bytes())
        write_bytes(kept, weights)


def _time_path(context: StudyContext, name: str, number: int) -> Path:
    """Where it is noted, while a study runs, how long the training of a group of a teacher's networks took."""
    path = context.directory / "checkpoints" / f"teacher={name}" / f"group={number:03d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _seconds(context: StudyContext, name: str) -> dict[str, float]:
    """The seconds that all networks of a teacher took together, by the clock and of the processor.

    Nothing where those of one are not known.
    """
    groups = teacher_groups(context, name) if name in context.study.teachers else []
    paths = [_time_path(context, name, number) for number in range(len(groups))]
    if not paths or not all(path.exists() for path in paths):
        return {}
    taken = [json.loads(path.read_text()) for path in paths]
    known = [key for key in ("seconds", "processor_seconds") if all(key in one for one in taken)]
    return {key: round(sum(one[key] for one in taken), 4) for key in known}


def _follow(
    context: StudyContext, replicas: Sequence[int], frames: list[pd.DataFrame], net: Replicas, epoch: int
) -> None:
    """Accuracy and indicators of a teacher's top-k sets after an epoch: on the students' pool and on held-out rows."""
    for split, block in (("train", "student"), ("validation", "validation"), ("test", "test")):
        ids = context.blocks[block]
        logits = predict(net, context.inputs, torch.as_tensor(ids, device=context.device)).cpu().numpy()
        labels = context.dataset.labels[ids]
        for r, own in zip(replicas, logits, strict=True):
            frame = _indicators_by_k(own, labels)
            frames.append(frame.assign(replica=r, epoch=epoch, split=split, n=len(ids)))


def _indicators_by_k(logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Accuracy, unreliability and class-conditional ambiguity of the top-k sets of logits (n, C), for every k < C.

    Unreliability and ambiguity with their exact 95 % intervals at that k.
    """
    table = measure_indicators(logits, labels, ks=range(1, logits.shape[1]), scores=True, mean_labels=False).table()
    names = {"delta": "unreliability", "gamma": "ambiguity"}
    columns = {f"{short}{end}": f"{name}{end}" for short, name in names.items() for end in ("", "_low", "_high")}
    return table[["k", *columns]].rename(columns=columns).assign(accuracy=1.0 - table["delta"].iloc[0])


def write_teacher(context: StudyContext, writer: RunWriter, name: str) -> dict[str, Any]:
    """Write the clean logits of a trained teacher; returns what the manifest says of it.

    A teacher of the study, or an arm whose students teach other arms.
    """
    teacher = context.study.teachers.get(name)
    count = context.study.teacher_count(name)
    fixed = count == 1
    ids = context.used_ids
    where = torch.as_tensor(ids, device=context.device)
    if teacher is not None and teacher.logits is not None:
        logits = given_logits(context, name)[None]
    else:
        networks = teacher_networks(context, name, range(count))
        logits = np.stack([_clean_logits(context, network, where) for network in networks])
    if teacher is None and not np.isfinite(logits).all():
        lost = np.flatnonzero(~np.isfinite(logits).all(axis=(1, 2)))
        raise StudyError(
            f"arms.{name}: its students teach, but those of replicas {first_few(lost)} are not finite; give it a lower "
            "learning rate, or another teacher to those that it teaches"
        )
    member = teacher_members(context, name)[:, ids]
    writer.teacher(name, ids, logits[0] if fixed else logits, member[0] if fixed else member)
    followed = sorted((writer.directory / "weights" / f"teacher={name}").glob("*.parquet"))
    if followed:
        writer.teacher_epochs(name, pd.concat([pd.read_parquet(path) for path in followed], ignore_index=True))
        for path in followed:
            path.unlink()
    labels = context.dataset.labels[ids]
    folder = f"arm={name}" if teacher is None else f"teacher={name}"
    entry: dict[str, Any] = {
        **(_students_entry(context.study, name) if teacher is None else teacher.described()),
        "regime": STUDENTS_TEACH if teacher is None else teacher.regime,
        **({"training_rows": int(member.sum(1).mean())} if member.any() else {}),
        "weights_sha256": file_hashes(writer.directory / "weights" / folder),
        **_seconds(context, name),
    }
    for split in ("test", "validation"):
        rows = np.isin(ids, context.blocks[split])
        numbers = evaluation_metrics(CleanPass.of(logits[:, rows].astype(np.float64)), labels[rows])
        entry.update({f"{key}_{split}": float(value.mean()) for key, value in numbers.items()})
    if member.any():
        right = (logits.argmax(-1) == labels) & member
        entry["accuracy_train"] = float((right.sum(1) / member.sum(1)).mean())
    return entry


def _students_entry(study: Study, name: str) -> dict[str, Any]:
    """The entry of an arm whose students teach."""
    arm, schedule = study.arms[name], study.schedule
    network = arm.student or study.student
    return {
        "label": f"students of {arm.label}", "arm": name, "model": network.model, "hidden": network.layers,
        "draw": "per_replica", "rows": "own", "epochs": schedule.epochs, "batch_size": schedule.batch_size,
    }  # fmt: skip


@torch.no_grad()
def _clean_logits(context: StudyContext, network: torch.nn.Module, ids: torch.Tensor) -> np.ndarray:
    network.train(False)
    return torch.cat([network(x).float() for _, x in context.inputs.clean_pass(ids)]).cpu().numpy()


def cached_teacher(context: StudyContext, name: str, replicas: Sequence[int]) -> Path:
    """The path of kept weights, named by a hash of everything that they depend on."""
    study, teacher = context.study, context.study.teachers[name]
    members = teacher_members(context, name)[list(replicas)]
    left_out = {"label", "train_mode", *SEVERAL} | (set() if teacher.first else {"first"})
    depends = {
        "data": context.dataset.fingerprint,
        "rows": hashlib.sha256(members.tobytes()).hexdigest(),
        "teacher": teacher.model_dump(mode="json", exclude=left_out),
        "source": source_hash(teacher.model),
        "schedule": study.schedule.decisive(),
        "draw": study.draw.model_dump(mode="json") if teacher.rows == "own" else None,
        "view": [study.data.crop, study.data.flip, *study.data.train_views],
        "seed": study.seed,
        "replicas": list(replicas),
        "device": context.device.type,
        "threads": study.threads,
        "torch": torch.__version__,
        **({"devices": context.ranks.world} if context.ranks.world > 1 else {}),
    }
    if study.data.label_noise is not None:
        depends["label_noise"] = study.data.label_noise.model_dump(mode="json")
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder() / "teachers" / f"{key}.safetensors"
