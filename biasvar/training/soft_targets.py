"""The soft labels that a study gives its students as data: tables by sample id, made from (seed, sample_id)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from biasvar.analysis.soft_labels.random import add_noise, partial_labels, random_soft_labels
from biasvar.analysis.soft_labels.revision import revise_labels
from biasvar.analysis.soft_labels.transforms import project_to_simplex, smooth_labels, tempered
from biasvar.data.human_labels import load_people
from biasvar.seeding import generator, uniforms
from biasvar.study import SoftLabel
from biasvar.training.checkpoints import of_replica, read_weights
from biasvar.training.context import StudyContext
from biasvar.training.lookups import SoftTargets
from biasvar.training.loop import predict
from biasvar.training.soft_label_files import read_soft_label_file
from biasvar.training.teachers import teacher_logits


def soft_targets(context: StudyContext, name: str, replicas: Sequence[int]) -> SoftTargets:
    """The targets of these replicas (those that only choose a learning rate borrow another's)."""
    source = context.study.soft_labels[name]
    rows = context.blocks["student"]
    if source.redraw:

        def redraw(epoch: int) -> torch.Tensor:
            tables = [_table(context, _noisy(context, source, name, (r, epoch))) for r in replicas]
            return torch.stack(tables)

        return SoftTargets(torch.empty(0), redraw)
    values = np.asarray(soft_label_table(context, name), dtype=np.float32)
    if values.ndim == 3:
        values = values[[r % len(values) for r in replicas]]
    assert values.shape[-2] == len(rows)
    return SoftTargets(_table(context, values))


def soft_label_table(context: StudyContext, name: str) -> np.ndarray:
    """The soft labels of the students' pool, (P, C), or (R, P, C) where each replica has its own.

    Of noise that is drawn anew it is the first epoch's. Rows without a label are 0 throughout.
    """
    source, labels = context.study.soft_labels[name], context.dataset.labels[context.blocks["student"]]
    classes, seed, ids = context.dataset.num_classes, context.study.seed, context.blocks["student"]
    match source.kind:
        case "label":
            return _where_labelled(context, source, smooth_labels(labels, classes, 0.0), 0.0)
        case "smoothing":
            return smooth_labels(labels, classes, source.smoothing or 0.0)
        case "teacher" | "revision":
            assert source.teacher is not None
            logits = (
                teacher_logits(context, source.teacher)[..., torch.as_tensor(ids, device=context.device), :]
                .cpu()
                .numpy()
            )
            soft = tempered(logits, source.temperature or 1.0)
            if source.kind == "revision":
                return revise_labels(soft, labels, margin=source.margin or 0.2)
            return _hard(soft) if source.hard else soft
        case "partial":
            made = partial_labels(
                labels, classes, drop=source.unreliability or 0.0, add=source.ambiguity or 0.0, seed=seed,
                sample_ids=ids,
            )  # fmt: skip
            return _where_labelled(context, source, np.asarray(made.soft_labels), 0.0)
        case "noise":
            return _noisy(context, source, name, (0, 1))
        case "votes":
            people = load_people(source.people or "", context.dataset).take(ids)
            if source.votes not in (None, "all"):
                return smooth_labels(people.hard_labels(source.votes or ""), classes, 0.0)
            return people.soft_labels(concentration=source.concentration or 0.0)
        case "random":
            return random_soft_labels(ids, classes, seed=seed, concentration=source.concentration or 1.0)
        case "file":
            values = read_soft_label_file(source, name, context.dataset, ids)
            return project_to_simplex(values) if source.project else values
        case "pattern":
            return np.asarray(source.mass)[(np.arange(classes) - labels[:, None]) % classes]
        case "mixture":
            shares = source.shares or {}
            u = uniforms(seed, "mixture", ids, 1)[:, 0]
            part = np.searchsorted(np.cumsum([*shares.values()])[:-1], u, side="right")
            tables = np.broadcast_arrays(*(soft_label_table(context, other) for other in shares))
            return np.select([(part == i)[:, None] for i in range(len(tables))], tables)
    return _where_labelled(context, source, smooth_labels(labels, classes, 0.0), _of_students(context, source))


def labelled(context: StudyContext, number: int) -> np.ndarray:
    """bool (P,): the rows of the pool that carry their label; more of them contain fewer of them."""
    pool = context.blocks["student"]
    if number > len(pool):
        raise ValueError(f"labelled: {number} rows asked for, the students' pool has {len(pool)}")
    chosen = generator(context.study.seed, "labelled").permutation(len(pool))[:number]
    return np.isin(np.arange(len(pool)), chosen)


def _where_labelled(
    context: StudyContext, source: SoftLabel, truth: np.ndarray, other: np.ndarray | float
) -> np.ndarray:
    if source.labelled is None:
        return truth
    return np.where(labelled(context, source.labelled)[:, None], truth, other)


def _of_students(context: StudyContext, source: SoftLabel) -> np.ndarray:
    """What each replica of another arm says of the pool."""
    folder = context.directory / "weights" / f"arm={source.arm}"
    ids = torch.as_tensor(context.blocks["student"], device=context.device)
    answers: dict[int, np.ndarray] = {}
    for path in sorted(folder.glob("group=*.safetensors")):
        saved = read_weights(path)[0]
        for r in sorted({int(name.partition(".")[0]) for name in saved}):
            student = context.study.student
            network = context.model(student.model, student.hidden, "init", r)
            network.load_state_dict(of_replica(saved, r))
            answers[r] = predict(context.replicas([network]), context.inputs, ids)[0].cpu().numpy()
    soft = tempered(np.stack([answers[r] for r in sorted(answers)]), source.temperature or 1.0)
    return _hard(soft) if source.hard else soft


def _hard(soft: np.ndarray) -> np.ndarray:
    return np.eye(soft.shape[-1])[soft.argmax(-1)]


def _noisy(context: StudyContext, source: SoftLabel, name: str, draw: tuple[int, int]) -> np.ndarray:
    """One-hot labels with noise, (P, C): of the study, or of (replica, epoch)."""
    ids = context.blocks["student"]
    truth = smooth_labels(context.dataset.labels[ids], context.dataset.num_classes, 0.0)
    epoch = draw[1] * 100_000 + draw[0] if source.redraw else None  # each replica sees noise of its own
    scores = add_noise(truth, source.scale or 0.0, seed=context.study.seed, sample_ids=ids, epoch=epoch)
    return project_to_simplex(scores) if source.project else scores


def _table(context: StudyContext, values: np.ndarray) -> torch.Tensor:
    """Rows of the pool, laid out by sample id on the device."""
    table = np.full((*values.shape[:-2], len(context.labels), values.shape[-1]), np.nan, dtype=np.float32)
    table[..., context.blocks["student"], :] = values
    return torch.as_tensor(table, device=context.device)
