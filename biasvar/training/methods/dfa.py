"""Distillation of features by weights of the teacher's layers that stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.losses import RevisedDistillationLoss
from biasvar.records import open_run
from biasvar.seeding import generator
from biasvar.study.feature_arms import Dfa, FeatureArm
from biasvar.training.aggregation import (
    Connectors,
    TeacherFeatures,
    check_norm,
    distance,
    make_connectors,
    teacher_of,
)
from biasvar.training.context import StudyContext
from biasvar.training.feature_groups import FeatureGroup, feature_groups
from biasvar.training.methods.base import Batch, Method, Need, Result, Step
from biasvar.training.selecting import Selected, check_selection, select


@dataclass
class DfaState:
    """What distillation of features needs for one replica.

    Attributes:
        groups, connectors, targets: Its groups, its connectors and the aggregated features.
        selected: The rows that have the distance; None for all.
    """

    groups: Sequence[FeatureGroup]
    connectors: Connectors
    targets: TeacherFeatures
    selected: Selected | None = None


class DfaMethod(Method):
    """Guan 2020, second stage: CE(y, s) + distill_weight x sum_i mean (F_s(S_i) - A_i)^2, A_i = sum_j a_ij T_ij.

    S_i are the student's features of group i, T_ij the teacher's (evaluation mode, constant), F_s a 1x1 connector that
    trains with the student, a_ij constants on the simplex. The mean is over the channels and pixels of a sample.
    Weights `last` put all on the teacher's last layer of each group: ordinary distillation of that feature. `random`
    draws them uniformly on the simplex, the same for all replicas.

    With `selection` the teacher sees the selected rows alone and the others have the cross-entropy only; with
    `revision` the rows that it sees have label_weight x tau^2 KL(p' || s) too, p' its revised label (Lan 2024).
    """

    Settings = Dfa
    batched = False

    def __init__(self, settings: Dfa) -> None:
        super().__init__(settings)
        revision = settings.revision
        self._revised = None
        if revision is not None:
            self._revised = RevisedDistillationLoss(
                eta=revision.eta, rows=revision.rows, temperature=settings.label_temperature,
                alpha=settings.label_weight, ce=0.0, reduction="none",
            )  # fmt: skip

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset() if self._revised is None else frozenset({"teacher"})

    def check(self, context: StudyContext) -> None:
        settings: Dfa = self.settings
        check_selection(context, settings)
        groups = feature_groups(context, settings)
        if settings.connector_norm:
            rows = [context.rows([r]).ids.shape[1] for r in range(context.study.replicas)]
            check_norm(groups, rows, context.study.schedule.batch_size, some=settings.selection is not None)
        if isinstance(settings.weights, list):
            sizes, given = [len(group.teacher) for group in groups], [len(row) for row in settings.weights]
            if sizes != given:
                raise ValueError(f"weights: the groups have {sizes} layers of the teacher, the lists {given} weights")
        if settings.search is not None:
            _check_search(context, settings, groups)

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> DfaState:
        (replica,) = replicas
        settings: Dfa = self.settings
        groups = feature_groups(context, settings)
        self.features = tuple(group.student for group in groups)
        network = teacher_of(context, settings.teacher, settings.teacher_shift, replica)
        weights = [
            torch.as_tensor(row, dtype=torch.get_default_dtype(), device=context.device)
            for row in layer_weights(context, settings, groups, replica)
        ]
        selected = select(context, settings, replicas)
        shown = context.rows(replicas).ids[0] if selected is None else np.flatnonzero(selected.chosen[0])
        targets = TeacherFeatures(context, network, groups, torch.as_tensor(shown, device=context.device), weights)
        connectors = make_connectors(context, groups, replica, norm=settings.connector_norm)
        return DfaState(groups, connectors, targets, selected)

    def asks(self, state: DfaState, step: Step) -> np.ndarray | None:
        return None if state.selected is None else state.selected.on_host(step)

    def tables(self, state: DfaState) -> Mapping[str, Mapping[str, Any]]:
        return {} if state.selected is None else state.selected.tables()

    def modules(self, state: DfaState) -> Sequence[nn.Module]:
        return [state.connectors]

    def loss(self, state: DfaState, batch: Batch) -> Result:
        truth = F.cross_entropy(batch.logits[0], batch.labels[0], reduction="none")
        if state.selected is None:
            return (truth + self._taught(state, batch, slice(None)))[None], None
        chosen = state.selected.on_host(batch)[0]
        weights = torch.as_tensor(chosen, device=truth.device).to(truth.dtype)[None]
        if not chosen.any():
            return truth[None], weights
        places = torch.as_tensor(np.flatnonzero(chosen), device=truth.device)
        return truth.index_add(0, places, self._taught(state, batch, places))[None], weights

    def _taught(self, state: DfaState, batch: Batch, places: torch.Tensor | slice) -> torch.Tensor:
        """(n,) what the rows at these places of the batch learn from the teacher."""
        targets = state.targets.at(batch.ids[0][places], batch.inputs[0][places])
        parts = [
            distance(connect(batch.features[group.student][0][places].float()), target)
            for group, connect, target in zip(state.groups, state.connectors.student, targets, strict=True)
        ]
        features: torch.Tensor = self.settings.distill_weight * torch.stack(parts).sum(0)
        if self._revised is None:
            return features
        teacher = batch.asked_teacher()[0][places]
        label: torch.Tensor = self._revised(batch.logits[0][places], teacher, batch.labels[0][places])
        return features + label.to(features.dtype)


def layer_weights(
    context: StudyContext, settings: Dfa, groups: Sequence[FeatureGroup], replica: int
) -> list[np.ndarray]:
    """a_i (J_i,) of each group for one replica, by what the arm's `weights` says."""
    sizes = [len(group.teacher) for group in groups]
    if isinstance(settings.weights, list):
        return [np.array(row) for row in settings.weights]
    if settings.weights == "last":
        return [np.eye(size)[-1] for size in sizes]
    if settings.weights == "average":
        return [np.full(size, 1.0 / size) for size in sizes]
    if settings.weights == "random":
        assert settings.number is not None  # an arm without is refused when it is read
        draw = generator(context.study.seed, "layer weights", settings.number)
        return [draw.dirichlet(np.ones(size)) for size in sizes]
    assert settings.search is not None
    found = open_run(context.directory).method_table("feature_weights", settings.search)
    found = found[(found["epoch"] == found["epoch"].max()) & (found["replica"] == replica)]
    by_group = found.groupby("group")["weight"]
    return [np.array(by_group.get_group(i)) for i in range(len(groups))]


def _check_search(context: StudyContext, settings: Dfa, groups: Sequence[FeatureGroup]) -> None:
    """Raise ValueError unless the arm that is named searched the weights of these layers."""
    other = context.study.arms[str(settings.search)]
    if not isinstance(other, FeatureArm) or "feature_weights" not in other.tables:
        raise ValueError(f"search: arm {settings.search!r} has loss {other.loss}, which searches no weights of layers")
    theirs = feature_groups(context, other)
    mine, found = ([(group.student, group.teacher) for group in some] for some in (groups, theirs))
    if mine != found:
        raise ValueError(
            f"search: arm {settings.search!r} searched the weights of other groups ({_in_words(found)}) than this "
            f"arm's ({_in_words(mine)}); give both the same teacher's network and groups"
        )


def _in_words(groups: list[tuple[str, tuple[str, ...]]]) -> str:
    return "; ".join(f"{student} from {', '.join(teacher)}" for student, teacher in groups)
