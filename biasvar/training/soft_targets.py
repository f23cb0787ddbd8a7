"""The soft labels that a study gives its students as data: tables by sample id, made from (seed, sample_id)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from biasvar.analysis.soft_labels.random import add_noise, partial_labels, random_soft_labels
from biasvar.analysis.soft_labels.revision import revise_labels
from biasvar.analysis.soft_labels.transforms import project_to_simplex, smooth_labels, tempered
from biasvar.data.people import load_people
from biasvar.seeding import generator, uniforms
from biasvar.training.loop import predict
from biasvar.training.soft_label_files import read_soft_label_file
from biasvar.training.weights import read_weights

if TYPE_CHECKING:
    from biasvar.study import SoftLabel
    from biasvar.training.workbench import Workbench


@dataclass
class SoftTargets:
    """What students learn from, by sample id.

    Attributes:
        values: (N, C), or (R, N, C) where each replica has its own; NaN in rows that are no training rows.
        redraw: (epoch, replica) -> (N, C), where they are drawn anew in every epoch.
    """

    values: torch.Tensor
    redraw: Redraw | None = None
    _epoch: int = field(default=0, repr=False)

    def at(self, ids: torch.Tensor, epoch: int) -> torch.Tensor:
        """(R, B, C) targets of (R, B) samples in an epoch, counted from 1."""
        if self.redraw is not None and epoch != self._epoch:
            self.values, self._epoch = self.redraw(epoch), epoch
        if self.values.ndim == 2:
            return self.values[ids]
        return self.values[torch.arange(len(ids), device=ids.device)[:, None], ids]


@dataclass(frozen=True)
class Redraw:
    """Noise drawn anew for every epoch and replica."""

    bench: Workbench
    source: SoftLabel
    name: str
    replicas: Sequence[int]

    def __call__(self, epoch: int) -> torch.Tensor:
        tables = [_table(self.bench, _noisy(self.bench, self.source, self.name, (r, epoch))) for r in self.replicas]
        return torch.stack(tables)


def soft_targets(bench: Workbench, name: str, replicas: Sequence[int]) -> SoftTargets:
    """The targets of these replicas (those that only choose a learning rate borrow another's)."""
    source = bench.study.soft_labels[name]
    rows = bench.blocks["student"]
    if source.redraw:
        return SoftTargets(torch.empty(0), Redraw(bench, source, name, replicas))
    values = np.asarray(soft_label_table(bench, name), dtype=np.float32)
    if values.ndim == 3:
        values = values[[r % len(values) for r in replicas]]
    assert values.shape[-2] == len(rows)
    return SoftTargets(_table(bench, values))


def soft_label_table(bench: Workbench, name: str) -> np.ndarray:
    """The soft labels of the students' pool, (P, C), or (R, P, C) where each replica has its own.

    Of noise that is drawn anew it is the first epoch's. Rows without a label are 0 throughout.
    """
    source, labels = bench.study.soft_labels[name], bench.dataset.labels[bench.blocks["student"]]
    classes, seed, ids = bench.dataset.num_classes, bench.study.seed, bench.blocks["student"]
    match source.kind:
        case "label":
            return _where_labelled(bench, source, smooth_labels(labels, classes, 0.0), 0.0)
        case "smoothing":
            return smooth_labels(labels, classes, source.smoothing or 0.0)
        case "teacher" | "revision":
            assert source.teacher is not None
            logits = bench.teacher(source.teacher)[..., torch.as_tensor(ids, device=bench.device), :].cpu().numpy()
            soft = tempered(logits, source.temperature or 1.0)
            if source.kind == "revision":
                return revise_labels(soft, labels, margin=source.margin or 0.2)
            return _hard(soft) if source.hard else soft
        case "partial":
            made = partial_labels(
                labels, classes, drop=source.unreliability or 0.0, add=source.ambiguity or 0.0, seed=seed,
                sample_ids=ids,
            )  # fmt: skip
            return _where_labelled(bench, source, np.asarray(made.soft_labels), 0.0)
        case "noise":
            return _noisy(bench, source, name, (0, 1))
        case "votes":
            people = load_people(source.people or "", bench.dataset).take(ids)
            if source.votes not in (None, "all"):
                return smooth_labels(people.hard_labels(source.votes or ""), classes, 0.0)
            return people.soft_labels(concentration=source.concentration or 0.0)
        case "random":
            return random_soft_labels(ids, classes, seed=seed, concentration=source.concentration or 1.0)
        case "file":
            values = read_soft_label_file(source, name, bench.dataset, ids)
            return project_to_simplex(values) if source.project else values
        case "pattern":
            return np.asarray(source.mass)[(np.arange(classes) - labels[:, None]) % classes]
        case "mixture":
            shares = source.shares or {}
            u = uniforms(seed, "mixture", ids, 1)[:, 0]
            part = np.searchsorted(np.cumsum([*shares.values()])[:-1], u, side="right")
            tables = np.broadcast_arrays(*(soft_label_table(bench, other) for other in shares))
            return np.select([(part == i)[:, None] for i in range(len(tables))], tables)
    return _where_labelled(bench, source, smooth_labels(labels, classes, 0.0), _of_students(bench, source))


def labelled(bench: Workbench, number: int) -> np.ndarray:
    """bool (P,): the rows of the pool that carry their label; more of them contain fewer of them."""
    pool = bench.blocks["student"]
    if number > len(pool):
        raise ValueError(f"labelled: {number} rows asked for, the students' pool has {len(pool)}")
    chosen = generator(bench.study.seed, "labelled").permutation(len(pool))[:number]
    return np.isin(np.arange(len(pool)), chosen)


def _where_labelled(bench: Workbench, source: SoftLabel, truth: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    if source.labelled is None:
        return truth
    return np.where(labelled(bench, source.labelled)[:, None], truth, other)


def _of_students(bench: Workbench, source: SoftLabel) -> np.ndarray:
    """What each replica of another arm says of the pool."""
    folder = bench.directory / "weights" / f"arm={source.arm}"
    ids = torch.as_tensor(bench.blocks["student"], device=bench.device)
    answers: dict[int, np.ndarray] = {}
    for path in sorted(folder.glob("group=*.safetensors")):
        saved = read_weights(path)[0]
        for r in sorted({int(name.partition(".")[0]) for name in saved}):
            student = bench.study.student
            network = bench.model(student.model, student.hidden, "init", r)
            network.load_state_dict({k.partition(".")[2]: v for k, v in saved.items() if k.partition(".")[0] == str(r)})
            answers[r] = predict(bench.replicas([network]), bench.inputs, ids)[0].cpu().numpy()
    soft = tempered(np.stack([answers[r] for r in sorted(answers)]), source.temperature or 1.0)
    return _hard(soft) if source.hard else soft


def _hard(soft: np.ndarray) -> np.ndarray:
    return np.eye(soft.shape[-1])[soft.argmax(-1)]


def _noisy(bench: Workbench, source: SoftLabel, name: str, draw: tuple[int, int]) -> np.ndarray:
    """One-hot labels with noise, (P, C): of the study, or of (replica, epoch)."""
    ids = bench.blocks["student"]
    truth = smooth_labels(bench.dataset.labels[ids], bench.dataset.num_classes, 0.0)
    epoch = draw[1] * 100_000 + draw[0] if source.redraw else None  # each replica sees noise of its own
    scores = add_noise(truth, source.scale or 0.0, seed=bench.study.seed, sample_ids=ids, epoch=epoch)
    return project_to_simplex(scores) if source.project else scores


def _table(bench: Workbench, values: np.ndarray) -> torch.Tensor:
    """Rows of the pool, laid out by sample id on the device."""
    table = np.full((*values.shape[:-2], len(bench.labels), values.shape[-1]), np.nan, dtype=np.float32)
    table[..., bench.blocks["student"], :] = values
    return torch.as_tensor(table, device=bench.device)
