"""The soft labels that a study gives its students as data: tables by sample id, made from (seed, sample_id)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from biasvar.analysis.soft_labels.random import add_noise, partial_labels, random_soft_labels
from biasvar.analysis.soft_labels.revision import revise_labels
from biasvar.analysis.soft_labels.transforms import project_to_simplex, smooth_labels, tempered
from biasvar.data.human_labels import load_people
from biasvar.seeding import generator, uniforms
from biasvar.study import soft_labels as kinds
from biasvar.training.context import StudyContext
from biasvar.training.lookups import SoftTargets
from biasvar.training.loop import predict
from biasvar.training.soft_label_files import read_soft_label_file
from biasvar.training.student_networks import trained_students
from biasvar.training.teachers import teacher_logits

Maker = Callable[[StudyContext, Any, str], np.ndarray]
_MAKERS: dict[type[kinds.SoftLabel], Maker] = {}


def makes(kind: type[kinds.SoftLabel]) -> Callable[[Maker], Maker]:
    """Marks the function that makes the table of a kind: (P, C), or (R, P, C) where each replica has its own."""

    def mark(maker: Maker) -> Maker:
        _MAKERS[kind] = maker
        return maker

    return mark


def soft_targets(context: StudyContext, name: str, replicas: Sequence[int]) -> SoftTargets:
    """The targets of these replicas (those that only choose a learning rate borrow another's)."""
    source = context.study.soft_labels[name]
    if source.redrawn:

        def redraw(epoch: int) -> torch.Tensor:
            return torch.stack([_table(context, _noisy(context, source, (r, epoch))) for r in replicas])

        return SoftTargets(torch.empty(0), redraw)
    values = np.asarray(soft_label_table(context, name), dtype=np.float32)
    if values.ndim == 3:
        values = values[[r % len(values) for r in replicas]]
    assert values.shape[-2] == len(context.blocks["student"])
    return SoftTargets(_table(context, values))


def soft_label_table(context: StudyContext, name: str) -> np.ndarray:
    """The soft labels of the students' pool, (P, C), or (R, P, C) where each replica has its own.

    Of noise that is drawn anew it is the first epoch's. Rows without a label are 0 throughout.
    """
    source = context.study.soft_labels[name]
    return _MAKERS[type(source)](context, source, name)


@makes(kinds.Label)
def _labels(context: StudyContext, source: kinds.Label, name: str) -> np.ndarray:
    return _where_labelled(context, source.labelled, _one_hot(context), 0.0)


@makes(kinds.Smoothing)
def _smoothed(context: StudyContext, source: kinds.Smoothing, name: str) -> np.ndarray:
    return smooth_labels(_pool_labels(context), context.dataset.num_classes, source.smoothing)


@makes(kinds.OfTeacher)
def _of_teacher(context: StudyContext, source: kinds.OfTeacher, name: str) -> np.ndarray:
    soft = _teacher_says(context, source.teacher, source.temperature)
    return _hard(soft) if source.hard else soft


@makes(kinds.Revision)
def _revised(context: StudyContext, source: kinds.Revision, name: str) -> np.ndarray:
    soft = _teacher_says(context, source.teacher, source.temperature)
    margin = 0.2 if source.margin is None else source.margin
    labels = _pool_labels(context)
    if soft.ndim == 2:
        return revise_labels(soft, labels, margin=margin, rows=source.rows)
    return np.stack([revise_labels(own, labels, margin=margin, rows=source.rows) for own in soft])


@makes(kinds.Partial)
def _partial(context: StudyContext, source: kinds.Partial, name: str) -> np.ndarray:
    made = partial_labels(
        _pool_labels(context), context.dataset.num_classes, drop=source.unreliability, add=source.ambiguity,
        seed=context.study.seed, sample_ids=context.blocks["student"],
    )  # fmt: skip
    return _where_labelled(context, source.labelled, np.asarray(made.soft_labels), 0.0)


@makes(kinds.Noise)
def _noise(context: StudyContext, source: kinds.Noise, name: str) -> np.ndarray:
    return _noisy(context, source, (0, 1))


@makes(kinds.Votes)
def _votes(context: StudyContext, source: kinds.Votes, name: str) -> np.ndarray:
    people = load_people(source.people, context.dataset).take(context.blocks["student"])
    if source.votes not in (None, "all"):
        return smooth_labels(people.hard_labels(source.votes or ""), context.dataset.num_classes, 0.0)
    return people.soft_labels(concentration=source.concentration or 0.0)


@makes(kinds.Random)
def _random(context: StudyContext, source: kinds.Random, name: str) -> np.ndarray:
    return random_soft_labels(
        context.blocks["student"], context.dataset.num_classes, seed=context.study.seed,
        concentration=source.concentration or 1.0,
    )  # fmt: skip


@makes(kinds.File)
def _of_file(context: StudyContext, source: kinds.File, name: str) -> np.ndarray:
    values = read_soft_label_file(source, name, context.dataset, context.blocks["student"])
    return project_to_simplex(values) if source.project else values


@makes(kinds.Pattern)
def _pattern(context: StudyContext, source: kinds.Pattern, name: str) -> np.ndarray:
    classes = context.dataset.num_classes
    return np.asarray(source.mass)[(np.arange(classes) - _pool_labels(context)[:, None]) % classes]


@makes(kinds.Mixture)
def _mixed(context: StudyContext, source: kinds.Mixture, name: str) -> np.ndarray:
    u = uniforms(context.study.seed, "mixture", context.blocks["student"], 1)[:, 0]
    part = np.searchsorted(np.cumsum([*source.shares.values()])[:-1], u, side="right")
    tables = np.broadcast_arrays(*(soft_label_table(context, other) for other in source.shares))
    return np.select([(part == i)[:, None] for i in range(len(tables))], tables)


@makes(kinds.OfStudent)
def _of_students(context: StudyContext, source: kinds.OfStudent, name: str) -> np.ndarray:
    """One-hot labels of the labelled rows; of the others what each replica of another arm says."""
    ids = torch.as_tensor(context.blocks["student"], device=context.device)
    students = trained_students(context, source.arm, range(context.study.replicas))
    answers = [predict(context.replicas([student]), context.inputs, ids)[0].cpu().numpy() for student in students]
    soft = tempered(np.stack(answers), source.temperature or 1.0, values="logits")
    return _where_labelled(context, source.labelled, _one_hot(context), _hard(soft) if source.hard else soft)


def _pool_labels(context: StudyContext) -> np.ndarray:
    return context.dataset.labels[context.blocks["student"]]


def _one_hot(context: StudyContext) -> np.ndarray:
    return smooth_labels(_pool_labels(context), context.dataset.num_classes, 0.0)


def _teacher_says(context: StudyContext, teacher: str, temperature: float | None) -> np.ndarray:
    """The softmax on the pool of a teacher, (P, C), or (R, P, C) of the network that each replica learns from."""
    pool = torch.as_tensor(context.blocks["student"], device=context.device)
    soft = tempered(teacher_logits(context, teacher)[..., pool, :].cpu().numpy(), temperature or 1.0, values="logits")
    return soft if soft.ndim == 2 else soft[[r % len(soft) for r in range(context.study.replicas)]]


def labelled(context: StudyContext, number: int) -> np.ndarray:
    """bool (P,): the rows of the pool that carry their label; more of them contain fewer of them."""
    pool = context.blocks["student"]
    if number > len(pool):
        raise ValueError(f"labelled: {number} rows asked for, the students' pool has {len(pool)}")
    chosen = generator(context.study.seed, "labelled").permutation(len(pool))[:number]
    return np.isin(np.arange(len(pool)), chosen)


def _where_labelled(
    context: StudyContext, number: int | None, truth: np.ndarray, other: np.ndarray | float
) -> np.ndarray:
    return truth if number is None else np.where(labelled(context, number)[:, None], truth, other)


def _hard(soft: np.ndarray) -> np.ndarray:
    return np.eye(soft.shape[-1])[soft.argmax(-1)]


def _noisy(context: StudyContext, source: Any, draw: tuple[int, int]) -> np.ndarray:
    """One-hot labels with noise, (P, C): of the study, or of (replica, epoch)."""
    ids, truth = context.blocks["student"], _one_hot(context)
    epoch = draw[1] * 100_000 + draw[0] if source.redraw else None  # each replica sees noise of its own
    scores = add_noise(truth, source.scale, seed=context.study.seed, sample_ids=ids, epoch=epoch)
    return project_to_simplex(scores) if source.project else scores


def _table(context: StudyContext, values: np.ndarray) -> torch.Tensor:
    """Rows of the pool, laid out by sample id on the device."""
    table = np.full((*values.shape[:-2], len(context.labels), values.shape[-1]), np.nan, dtype=np.float32)
    table[..., context.blocks["student"], :] = values
    return torch.as_tensor(table, device=context.device)
