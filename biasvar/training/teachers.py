"""Teachers of a study: their training rows, their trained networks and their logits."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from biasvar.data.draws import Rows
from biasvar.errors import StudyError
from biasvar.files import write_bytes
from biasvar.records import open_run
from biasvar.seeding import generator
from biasvar.training.checkpoints import check_fit, of_replica, read_weights
from biasvar.training.context import StudyContext
from biasvar.training.given_teachers import given_network
from biasvar.training.hooks import named, rows_of
from biasvar.training.lookups import Views
from biasvar.training.methods import method_of
from biasvar.training.replicas import groups_of
from biasvar.training.student_networks import trained_students


class Ensemble(nn.Module):
    """The mean of several networks, as logits (B, C).

    In the space of logits z = mean_m z_m; of probabilities z = ln mean_m softmax(z_m), whose softmax is the mean of the
    members' at temperature 1 and is tempered like any teacher's.

    >>> network = Ensemble([nn.Identity(), nn.ReLU()], "probabilities")
    >>> network(torch.tensor([[0.0, -1.0]])).softmax(-1)
    tensor([[0.6155, 0.3845]])
    """

    def __init__(self, members: Sequence[nn.Module], space: str) -> None:
        super().__init__()
        self.members, self.space = nn.ModuleList(members), space

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.stack([member(x).float() for member in self.members])
        if self.space == "logits":
            return logits.mean(0)
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(self.members))


def teacher_rows(context: StudyContext, name: str, numbers: Sequence[int] | None = None) -> Rows:
    """The training rows of a teacher's networks, or of those with these numbers.

    The networks of a teacher are one for all replicas, its copies, or one for each replica, and are counted from 0.

    Raises:
        ValueError: There are not so many rows.
    """
    study = context.study
    numbers = list(range(study.teacher_count(name)) if numbers is None else numbers)
    if name not in study.teachers:  # an arm, whose students teach
        with named(name, study.arms[name]):
            return rows_of(context, method_of(study.arms[name]), numbers)
    if study.teachers[name].rows == "own":
        return context.rows(numbers)
    numbers = network_numbers(context, name, numbers)
    return Rows(np.stack([_rows_of_one(context, name, number) for number in numbers]), None, numbers)


def network_numbers(context: StudyContext, name: str, copies: Sequence[int]) -> list[int]:
    """The numbers by which a teacher's copies draw their weights, rows and orders: those from its `first` on."""
    return [context.study.teachers[name].first + copy for copy in copies]


def _rows_of_one(context: StudyContext, name: str, number: int) -> np.ndarray:
    """The sample ids that one network of a teacher is trained on; a number of rows is drawn for each network anew."""
    rows = context.study.teachers[name].rows
    if rows == "all":
        return context.train_ids
    if rows == "reserved":
        return context.blocks["reserved"]
    which = (number,) if number else ()  # the first is the teacher that there is without copies
    order = generator(context.study.seed, "teacher rows", *which).permutation(context.train_ids)
    if int(rows) > len(order):
        raise ValueError(f"teachers.{name}.rows: {rows} rows asked for, the train split has {len(order)}")
    return np.sort(order[: int(rows)])


def teacher_groups(context: StudyContext, name: str) -> list[list[int]]:
    """Which of a teacher's networks train together; none for an ensemble or a given one, which are not trained."""
    if not context.study.teachers[name].is_trained:
        return []
    return groups_of(context.study.backend, range(context.study.teacher_count(name)))


def teacher_members(context: StudyContext, name: str) -> np.ndarray:
    """bool (T, N): the training rows of a teacher's T networks, by sample id; of an ensemble those of any member.

    None of one that is given as a file: which rows it was trained on is not known.
    """
    teacher = context.study.teachers.get(name)
    if teacher is None or teacher.is_trained:
        return teacher_rows(context, name).members(len(context.labels))
    member = np.zeros((context.study.teacher_count(name), len(context.labels)), dtype=bool)
    for other in teacher.mean_of or ():
        member |= teacher_members(context, other)
    return member


def teacher_weights_path(directory: Path, name: str, number: int) -> Path:
    """The trained weights of one group of a teacher's replicas, names "<replica>.<parameter>"."""
    return directory / "weights" / f"teacher={name}" / f"group={number:03d}.safetensors"


def teacher_networks(context: StudyContext, name: str, replicas: Sequence[int]) -> list[nn.Module]:
    """The trained teacher of each of these replicas, frozen; only one where it is the same for all replicas.

    Where an arm's students teach, each replica has the student of its own number.
    """
    if name not in context.study.teachers:  # an arm, whose students teach
        return trained_students(context, name, [r % context.study.replicas for r in replicas])
    teacher, count = context.study.teachers[name], context.study.teacher_count(name)
    if teacher.mean_of:
        members = [teacher_networks(context, other, replicas) for other in teacher.mean_of]
        return [
            Ensemble([networks[i % len(networks)] for networks in members], teacher.space)
            for i in range(max(map(len, members)))
        ]
    if teacher.logits is not None:
        raise StudyError(
            f"teachers.{name}.logits: a file has no network to ask; give the network itself, as checkpoint"
        )
    if teacher.checkpoint is not None:
        return [given_network(context, name)]
    wanted = [0] if count == 1 else [r % count for r in replicas]
    networks: dict[int, nn.Module] = {}
    for number, group in enumerate(teacher_groups(context, name)):
        here = [r for r in dict.fromkeys(wanted) if r in group]
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
    """A trained teacher's clean logits by sample id: (N, C), or (T, N, C) of its T networks."""
    if name not in context.teacher_tables:
        stored = open_run(context.directory).teacher(name)
        logits = np.asarray(stored.logits, dtype=np.float32)
        table = np.full((*logits.shape[:-2], len(context.labels), logits.shape[-1]), np.nan, dtype=np.float32)
        table[..., stored.sample_ids, :] = logits
        context.teacher_tables[name] = torch.as_tensor(table, device=context.device)
    return context.teacher_tables[name]


def views_path(directory: Path, teacher: str, replica: int, number: int) -> Path:
    """The path of what a network of a teacher says of the views of one replica, while a study runs."""
    return directory / "checkpoints" / f"views={teacher}" / f"replica={replica:03d},network={number:03d}.npy"


@torch.no_grad()
def write_views(context: StudyContext, teacher: str, replica: int, number: int) -> None:
    """Write a teacher network's logits of every augmented view that a replica is trained on, for arms that share it.

    What a sample looks like depends on (seed, replica, epoch, sample) alone, so all arms that share a teacher ask it
    about the same views, in the same batches: it is asked once, and the arms read what it said.
    """
    path = views_path(context.directory, teacher, replica, number)
    if path.exists():
        return
    study, rows = context.study, context.rows([replica])
    (network,) = teacher_networks(context, teacher, [number])
    table = np.empty((study.schedule.epochs, rows.ids.shape[1], context.dataset.num_classes), dtype=np.float32)
    for epoch in range(1, len(table) + 1):
        order = rows.orders(study.seed, epoch)[0]
        starts = range(0, len(order), study.schedule.batch_size)
        batches = [slice(start, start + study.schedule.batch_size) for start in starts]
        on_host = rows.ids[:, order]
        ids = torch.as_tensor(on_host, device=context.device)
        for places, x in zip(
            batches, context.inputs.training_pass(ids, on_host, [replica], epoch, batches), strict=True
        ):
            at = order[places]
            table[epoch - 1, at] = network(x[0]).float().cpu().numpy()
    content = io.BytesIO()
    np.save(content, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())


def open_views(
    context: StudyContext, teacher: str, replicas: Sequence[int], numbers: Sequence[int]
) -> list[Views] | None:
    """What the teacher's networks of these numbers say of the views of these replicas; None where it is not kept."""
    paths = [views_path(context.directory, teacher, r, n) for r, n in zip(replicas, numbers, strict=True)]
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
