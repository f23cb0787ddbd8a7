"""The rows of a replica that learn from the teacher, chosen once before training by a score of its drawn rows.

The score is computed of every row that a replica drew, each once however often it was drawn, on inputs without
augmentation: the teacher is asked about each row once for it, where the score is the teacher's, and afterwards only
about the rows that are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from biasvar.analysis.selection.choice import kept_rows, select_rows
from biasvar.analysis.selection.scores import SCORES, Evidence
from biasvar.analysis.selection.softmax_head import SoftmaxHead
from biasvar.records.schema import METHOD_TABLES
from biasvar.seeding import generator
from biasvar.study.selecting import OF_A_HEAD, OF_A_RECORD, OF_A_TEACHER, SCORES_TABLE, Selecting, Selection
from biasvar.training.context import StudyContext
from biasvar.training.heads import head_of, head_pass
from biasvar.training.hooks import Fault
from biasvar.training.methods.base import Step
from biasvar.training.recorded import check_recorded, recorded_means
from biasvar.training.student_networks import new_students, trained_students
from biasvar.training.teachers import teacher_networks


@dataclass(frozen=True)
class Selected:
    """Which rows learn from the teacher (Set II), and by which scores.

    Attributes:
        chosen: bool (R, N) by sample id; False for all others (Set I, and rows of no draw).
        members: The same on the device.
        table: The columns of `selection_scores`: replica, sample_id, label, score, selected.
    """

    chosen: np.ndarray
    members: torch.Tensor
    table: Mapping[str, np.ndarray]

    def at(self, ids: torch.Tensor) -> torch.Tensor:
        """bool (R, B) of (R, B) sample ids."""
        return self.members.gather(1, ids)

    def on_host(self, step: Step) -> np.ndarray:
        """bool (R, B) of the samples of a step, as an array."""
        ids = step.ids.cpu().numpy() if step.ids_on_host is None else step.ids_on_host
        return np.take_along_axis(self.chosen, ids, axis=1)

    def tables(self) -> dict[str, Mapping[str, np.ndarray]]:
        return {SCORES_TABLE: self.table}


def select(context: StudyContext, arm: Selecting, replicas: Sequence[int]) -> Selected | None:
    """The selection that an arm makes of each replica's drawn rows; None for an arm without one.

    Raises:
        Fault: A row has no score, or the selection is of one class only.
    """
    selection = arm.selection
    if selection is None:
        return None
    members = np.zeros((len(replicas), len(context.labels)), dtype=bool)
    tables = []
    for i, replica in enumerate(replicas):
        ids = drawn_rows(context, replica)
        scores = scored(context, arm, selection, replica, ids)
        chosen = _choose(context, selection, scores, ids, replica)
        members[i, ids[chosen]] = True
        tables.append((np.full(len(ids), replica), ids, context.dataset.labels[ids], scores, chosen))
    columns = (np.concatenate(column) for column in zip(*tables, strict=True))
    names = METHOD_TABLES[SCORES_TABLE][0].names
    return Selected(members, torch.as_tensor(members, device=context.device), dict(zip(names, columns, strict=True)))


def drawn_rows(context: StudyContext, replica: int) -> np.ndarray:
    """int (n,) sample ids that a replica drew, each once."""
    return np.flatnonzero(context.rows([replica]).members(len(context.labels))[0])


def _choose(
    context: StudyContext, selection: Selection, scores: np.ndarray, ids: np.ndarray, replica: int
) -> np.ndarray:
    """bool (n,): the rows that a replica's scores choose."""
    try:
        return select_rows(
            scores, context.dataset.labels[ids], keep=selection.keep, which=selection.which or "highest",
            per_class=selection.per_class, sample_ids=ids, seed=selection.seed,
        )  # fmt: skip
    except ValueError as error:
        raise Fault(f"selection: of replica {replica}: {error}") from error


def scored(context: StudyContext, arm: Selecting, selection: Selection, replica: int, ids: np.ndarray) -> np.ndarray:
    """(n,) scores of a replica's rows; arms that go by the same ones share them.

    Raises:
        Fault: A row has no record, or a network no linear last layer.
    """
    teacher = (arm.teacher_name, arm.teacher_shift or 0)
    key = (selection.score, selection.model, selection.arm, selection.seed, selection.damping, teacher, replica)
    if key not in context.scores:
        try:
            evidence = _evidence(context, arm, selection, replica, ids)
            context.scores[key] = SCORES[selection.score](evidence)
        except ValueError as error:
            raise Fault(f"selection.score {selection.score}: {error}") from error
    return context.scores[key]


def _evidence(context: StudyContext, arm: Selecting, selection: Selection, replica: int, ids: np.ndarray) -> Evidence:
    """What a score of a replica's rows goes by."""
    labels = context.dataset.labels[ids].astype(np.int64)
    if selection.score == "random":  # of each replica anew, so that no result hangs on one lucky subset
        seed = int(generator(context.study.seed, "random selection", selection.seed, replica).integers(2**62))
        return Evidence(ids, labels, seed=seed)
    if selection.score in OF_A_RECORD:
        return Evidence(ids, labels, recorded=_recorded(context, selection, replica, ids))
    network = _network(context, arm, selection, replica)
    if selection.score not in OF_A_HEAD:
        return Evidence(ids, labels, logits=_answers(context, network, ids))
    features, logits, bias = head_pass(network, context.inputs, torch.as_tensor(ids, device=context.device))
    held_out = None
    if selection.score == "influence":
        rows = context.blocks["validation"]
        others = head_pass(network, context.inputs, torch.as_tensor(rows, device=context.device))
        held_out = SoftmaxHead(others[0], others[1], context.dataset.labels[rows].astype(np.int64), bias)
    return Evidence(
        ids, labels, logits=logits, features=features, held_out=held_out, bias=bias, damping=selection.damping
    )


@torch.no_grad()
def _answers(context: StudyContext, network: nn.Module, ids: np.ndarray) -> np.ndarray:
    """(n, C) logits of a network in evaluation mode."""
    network.eval()
    seen = context.inputs.clean_pass(torch.as_tensor(ids, device=context.device))
    return torch.cat([network(x) for _, x in seen]).cpu().numpy()


def _network(context: StudyContext, arm: Selecting, selection: Selection, replica: int) -> nn.Module:
    """The trained network whose answers are scored for a replica."""
    if selection.model == "student":
        assert selection.arm is not None  # a selection without is refused when it is read
        return trained_students(context, selection.arm, [replica])[0]
    teacher = arm.teacher_name
    assert teacher is not None  # every arm that selects has one
    number = (replica + (arm.teacher_shift or 0)) % context.study.teacher_count(teacher)
    return teacher_networks(context, teacher, [number])[0]


def _recorded(context: StudyContext, selection: Selection, replica: int, ids: np.ndarray) -> np.ndarray:
    """(n,) the mean of what the other arm recorded of a replica's rows through its training."""
    assert selection.arm is not None  # a selection without is refused when it is read
    values = recorded_means(context, selection.arm, selection.score, "selection.arm")[replica]
    lacking = np.isnan(values[ids])
    if lacking.any():
        raise Fault(
            f"selection.arm: arm {selection.arm} recorded no {selection.score} of {int(lacking.sum())} of the "
            f"{len(ids)} rows that replica {replica} drew; name an arm that is trained on all rows of its draw and did "
            "not fail"
        )
    return values[ids]


def check_selection(context: StudyContext, arm: Selecting) -> None:
    """Raise ValueError, "key: what is wrong", for a selection that cannot be made, as far as it is known beforehand.

    Whether scores choose one class only is known when they are computed, but for random ones.
    """
    selection = arm.selection
    if selection is None:
        return
    for replica in range(context.study.replicas):
        _check_kept(selection, context.dataset.labels[drawn_rows(context, replica)], replica)
    if selection.score == "random":
        select(context, arm, range(context.study.replicas))
    if selection.score in OF_A_TEACHER and not _scored(context, str(selection.arm)):
        raise ValueError(
            f"selection.arm: arm {selection.arm} is recorded without a teacher, so it has no {selection.score}"
        )
    if selection.score in OF_A_RECORD:
        check_recorded(context, str(selection.arm), "selection.arm")
    if selection.score in OF_A_HEAD:
        _check_head(context, arm, selection)


def _check_kept(selection: Selection, labels: np.ndarray, replica: int) -> None:
    """Raise ValueError where a replica's rows are too few for two classes to be kept of them, whatever their scores."""
    sizes = np.unique(labels, return_counts=True)[1] if selection.per_class else np.array([len(labels)])
    kept = [kept_rows(int(size), selection.keep) for size in sizes]
    if sum(kept) < 2 or (selection.per_class and np.count_nonzero(kept) < 2):
        what = "nothing" if not sum(kept) else "rows of one class"
        raise ValueError(
            f"selection.keep: {selection.keep:g} of the {len(labels)} rows of replica {replica} keeps {what}; take a "
            "larger share"
        )


def _scored(context: StudyContext, arm: str) -> bool:
    """True if an arm is recorded with a teacher: one of the study's, or its own."""
    return context.study.scored_against(arm) is not None or context.study.arms[arm].own_teacher


def _check_head(context: StudyContext, arm: Selecting, selection: Selection) -> None:
    """Raise ValueError unless the network that is scored ends in a linear layer."""
    whose = selection.arm if selection.model == "student" else arm.teacher_name
    teacher = context.study.teachers.get(str(whose))
    if teacher is not None and teacher.mean_of:
        raise ValueError(
            f"selection.score: {selection.score} is of the last, linear layer, and {whose} is an ensemble, which has "
            f"none; take score loss or margin, or teach by one of {', '.join(teacher.mean_of)}"
        )
    if teacher is None:
        network = new_students(context, str(whose), [0])[0]
    else:
        network = context.model(teacher.model, teacher.hidden, "teacher init", 0)
    try:
        head_of(network, context.inputs.clean(torch.as_tensor(context.used_ids[:1], device=context.device)))
    except ValueError as error:
        raise ValueError(
            f"selection.score: {selection.score} is of the last, linear layer, and the network of {whose}, {error}; "
            "take score loss or margin, or a network that ends in torch.nn.Linear"
        ) from error
