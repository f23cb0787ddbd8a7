"""Teachers of a study: the rows they learn from, their trained networks, and what they say of a sample."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from biasvar.data.draws import Rows
from biasvar.files import write_bytes
from biasvar.records import open_run
from biasvar.seeding import generator
from biasvar.training.checkpoints import check_fit, of_replica, read_weights
from biasvar.training.context import StudyContext
from biasvar.training.lookups import Views
from biasvar.training.methods import method_of
from biasvar.training.replicas import groups_of
from biasvar.training.student_networks import trained_students


def teacher_rows(context: StudyContext, name: str) -> Rows:
    """A teacher's training rows: one set for a fixed teacher, each replica's own draw for one a replica."""
    if name not in context.study.teachers:  # an arm, whose students teach
        return method_of(context.study.arms[name]).rows(context, range(context.study.replicas))
    teacher = context.study.teachers[name]
    if teacher.draw == "per_replica":
        return context.rows(range(context.study.replicas))
    if teacher.rows == "all":
        ids = context.train_ids
    elif teacher.rows == "reserved":
        ids = context.blocks["reserved"]
    else:
        size = int(teacher.rows)
        order = generator(context.study.seed, "teacher rows").permutation(context.train_ids)
        if size > len(order):
            raise ValueError(f"teachers.{name}.rows: {size} rows asked for, the train split has {len(order)}")
        ids = np.sort(order[:size])
    return Rows(ids[None], None, [0])


def teacher_groups(context: StudyContext, name: str) -> list[list[int]]:
    """Which of a teacher's replicas train together: one for a fixed teacher, the study's for one a replica."""
    fixed = context.study.teachers[name].draw == "fixed"
    return groups_of(context.study.backend, range(1 if fixed else context.study.replicas))


def teacher_members(context: StudyContext, name: str) -> np.ndarray:
    """bool (T, N): the training rows of a teacher, by sample id."""
    return teacher_rows(context, name).members(len(context.labels))


def teacher_weights_path(directory: Path, name: str, number: int) -> Path:
    """The trained weights of one group of a teacher's replicas, names "<replica>.<parameter>"."""
    return directory / "weights" / f"teacher={name}" / f"group={number:03d}.safetensors"


def teacher_networks(context: StudyContext, name: str, replicas: Sequence[int]) -> list[nn.Module]:
    """The trained teacher for each of these replicas (one for all, if it is fixed), frozen.

    Where an arm's students teach, each replica has the student of its own number.
    """
    if name not in context.study.teachers:  # an arm, whose students teach
        return trained_students(context, name, [r % context.study.replicas for r in replicas])
    teacher = context.study.teachers[name]
    wanted = [0] if teacher.draw == "fixed" else [r % context.study.replicas for r in replicas]
    networks: dict[int, nn.Module] = {}
    for number, group in enumerate(teacher_groups(context, name)):
        here = [r for r in wanted if r in group]
        path = teacher_weights_path(context.directory, name, number)
        saved = read_weights(path)[0] if here else {}
        for r in here:
            network = context.model(teacher.model, teacher.hidden, "teacher init", r)
            mine = of_replica(saved, r)
            check_fit(mine, network.state_dict(), path=path, what=f"teacher {name} ({teacher.model})")
            network.load_state_dict(mine)
            networks[r] = network.train(teacher.train_mode).requires_grad_(False)
    return [networks[r] for r in wanted]


def teacher_logits(context: StudyContext, name: str) -> torch.Tensor:
    """A trained teacher's clean logits by sample id: (N, C), or (R, N, C) for a teacher a replica."""
    if name not in context.teacher_tables:
        stored = open_run(context.directory).teacher(name)
        logits = np.asarray(stored.logits, dtype=np.float32)
        table = np.full((*logits.shape[:-2], len(context.labels), logits.shape[-1]), np.nan, dtype=np.float32)
        table[..., stored.sample_ids, :] = logits
        context.teacher_tables[name] = torch.as_tensor(table, device=context.device)
    return context.teacher_tables[name]


def views_path(directory: Path, teacher: str, replica: int) -> Path:
    """Where the views of one replica lie while a study runs."""
    return directory / "checkpoints" / f"views={teacher}" / f"replica={replica:03d}.npy"


@torch.no_grad()
def write_views(context: StudyContext, teacher: str, replica: int) -> None:
    """Write a teacher's logits of every augmented view that a replica is trained on, for the arms that share them.

    What a sample looks like depends on (seed, replica, epoch, sample) alone, so all arms that share a teacher ask it
    about the same views, in the same batches: it is asked once, and the arms read what it said.
    """
    path = views_path(context.directory, teacher, replica)
    if path.exists():
        return
    study, rows = context.study, context.rows([replica])
    (network,) = teacher_networks(context, teacher, [replica])
    table = np.empty((study.schedule.epochs, rows.ids.shape[1], context.dataset.num_classes), dtype=np.float32)
    for epoch in range(1, len(table) + 1):
        order = rows.orders(study.seed, epoch)[0]
        for at in np.split(order, range(study.schedule.batch_size, len(order), study.schedule.batch_size)):
            ids = torch.as_tensor(rows.ids[:, at], device=context.device)
            x = context.inputs.training(ids, [replica], epoch)
            table[epoch - 1, at] = network(x[0]).float().cpu().numpy()
    content = io.BytesIO()
    np.save(content, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())


def open_views(context: StudyContext, teacher: str, replicas: list[int]) -> list[Views] | None:
    """The views of these replicas, or None where they are not kept."""
    paths = [views_path(context.directory, teacher, r) for r in replicas]
    if not all(path.exists() for path in paths):
        return None
    return [_views(context, path, ids) for path, ids in zip(paths, context.rows(replicas).ids, strict=True)]


def _views(context: StudyContext, path: Path, ids: np.ndarray) -> Views:
    """The views of these sample ids in a file (epochs, n, C)."""
    position = torch.full((len(context.labels),), -1, dtype=torch.int64)
    position[torch.as_tensor(ids)] = torch.arange(len(ids))

    def read(epoch: int) -> torch.Tensor:
        table = np.load(path, mmap_mode="r")  # one epoch of it is read
        return torch.as_tensor(np.array(table[epoch - 1]), device=context.device)

    return Views(position.to(context.device), read)
