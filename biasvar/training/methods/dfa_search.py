"""DFA's search of the weights of a teacher's layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.data.draws import Rows
from biasvar.seeding import generator
from biasvar.study.feature_arms import DfaSearch
from biasvar.training.aggregation import (
    Connectors,
    TeacherFeatures,
    aggregated,
    check_norm,
    distance,
    make_connectors,
    teacher_of,
)
from biasvar.training.context import StudyContext
from biasvar.training.feature_groups import FeatureGroup, feature_groups
from biasvar.training.methods.base import Batch, Method, Result, Step
from biasvar.training.replicas import Replicas
from biasvar.training.schedules import Phase
from biasvar.training.taps import as_constant, replaced, tapped, without_trace

Call = Callable[..., torch.Tensor]
_NO_ANSWERS: dict[str, Any] = {"accuracy": math.nan, "rows": 0}


@dataclass
class SearchState:
    """The search of one replica.

    Attributes:
        context, groups, connectors, teacher: what it is made of.
        rows: those on which beta trains.
        betas: (J_i,) a group; the weights are their softmax.
        optimizer: Adam, of the betas.
        history: (epochs + 1, layers of all groups) weights after each epoch, before the first in row 0.
        answers: (epochs + 1, groups, 2) of an epoch's steps of beta: how many answers were right, and how many there
            were, of what the label's part of the group's loss classifies.
        network: the student, as the students' update leaves it.
    """

    context: StudyContext
    groups: Sequence[FeatureGroup]
    connectors: Connectors
    teacher: TeacherFeatures
    rows: Rows
    betas: list[torch.Tensor]
    optimizer: torch.optim.Adam
    history: torch.Tensor
    answers: torch.Tensor
    network: nn.Module | None = field(default=None)

    def weights(self, group: int) -> torch.Tensor:
        """a_i = softmax(beta_i), (J_i,)."""
        return self.betas[group].softmax(0)


class DfaSearchMethod(Method):
    """Guan 2020, first stage, in first order: beta takes a step on its rows, then w (student, connectors) on its own.

    Group i is searched by the bridge loss

        gamma_st mean (F_s(S_i) - A_i)^2 + gamma_ts CE(y, rest of the student on F_t(A_i)),    A_i = sum_j a_ij T_ij

    for w and for beta alike, or with `objective: student` by CE(y, s) + gamma_st mean (F_s(S_i) - A_i)^2, in which the
    label tells beta nothing. With `searched: in_turn` the epochs are cut into as many parts as there are groups, each
    with its own schedule of the learning rate, and in a part one group's loss is all that counts; `together` adds up
    those of all groups. The student is what trains w: what it knows at the end is not meant to be used.

    The beta step takes the student, its running means and the connectors as constants, the step of w the weights; the
    teacher is frozen, in evaluation mode, throughout. Normalisation layers use the batch. Betas start at 0.

    In the bridge loss the label reaches the student's head through the teacher's features only, so that a student that
    was searched by it answers at chance; whether the search has learned anything is told by the answers of the rest of
    the student on F_t(A_i), and with the student's loss by its own, on the rows that train beta: `accuracy` of the
    table.
    """

    Settings = DfaSearch
    batched = False
    _parts: int | None = None  # how many the epochs are cut into, once the networks are known

    def check(self, context: StudyContext) -> None:
        settings: DfaSearch = self.settings
        groups = feature_groups(context, settings)
        epochs, rows = context.study.schedule.epochs, context.rows([0]).ids.shape[1]
        if settings.searched == "in_turn" and epochs < len(groups):
            raise ValueError(
                f"searched: in_turn gives each of {len(groups)} groups epochs of its own, and the schedule has "
                f"{epochs}; give it {len(groups)} or more, or take searched: together"
            )
        trains = _first_part(settings.split, rows)
        if not 2 <= trains <= rows - 2:
            raise ValueError(
                f"split: {settings.split:g} of {rows} rows leaves {trains} for the student and {rows - trains} for the "
                "layer weights; each needs 2 or more, so take more rows (draw.rows) or another split"
            )
        if settings.connector_norm:
            drawn = [context.rows([r]).ids.shape[1] for r in range(context.study.replicas)]
            halves = [_first_part(settings.split, count) for count in drawn]
            check_norm(groups, halves, context.study.schedule.batch_size)

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> SearchState:
        (replica,) = replicas
        settings: DfaSearch = self.settings
        groups = feature_groups(context, settings)
        self.features = tuple(group.student for group in groups)
        self._parts = len(groups) if settings.searched == "in_turn" else 1
        network = teacher_of(context, settings.teacher, settings.teacher_shift, replica)
        ids = torch.as_tensor(context.rows(replicas).ids[0], device=context.device)
        betas = [torch.zeros(len(group.teacher), device=context.device, requires_grad=True) for group in groups]
        back = settings.objective == "bridge"
        connectors = make_connectors(context, groups, replica, norm=settings.connector_norm, back=back)
        start = torch.cat([beta.detach().softmax(0) for beta in betas])
        return SearchState(
            context, groups,
            connectors,
            TeacherFeatures(context, network, groups, ids),
            _halves(context, replicas, settings.split)[1],
            betas,
            torch.optim.Adam(
                betas, lr=settings.beta_rate, betas=settings.beta_momenta, weight_decay=settings.beta_decay
            ),
            start.repeat(context.study.schedule.epochs + 1, 1),
            torch.zeros(context.study.schedule.epochs + 1, len(groups), 2, device=context.device),
        )  # fmt: skip

    def rows(self, context: StudyContext, replicas: Sequence[int]) -> Rows:
        return _halves(context, replicas, self.settings.split)[0]

    def phases(self, epochs: int) -> Sequence[Phase]:
        parts = self._parts or 1
        ends = np.linspace(0, epochs, parts + 1).round().astype(int)
        return [Phase(f"{i}", int(n)) for i, n in enumerate(np.diff(ends))]

    def modules(self, state: SearchState) -> Sequence[nn.Module]:
        return [state.connectors]

    def before_forward(self, state: SearchState, students: Replicas, step: Step) -> None:
        """The step of beta."""
        network = state.network = students.network
        assert network is not None  # each replica trains by itself
        ids, counts = _batch(state.rows, state.context.study.seed, step, state.context.study.schedule.batch_size)
        ids = ids.to(step.ids.device)
        images = state.context.inputs.training(ids[None], state.rows.replicas, step.epoch)[0]
        labels = state.context.labels[ids]
        with tapped(network, self.features, of="student") as features:
            logits = as_constant(network, images)
            own = {path: output.detach() for path, output in features.items()}
        losses, answers = self._losses(state, step, ids, images, labels, own, logits, as_constant, trains_beta=True)
        for i, said in answers.items():
            state.answers[step.epoch, i, 0] += (said.argmax(-1) == labels).sum()
            state.answers[step.epoch, i, 1] += len(labels)
        loss = losses.mean() if counts is None else (counts.to(losses) * losses).sum() / counts.sum().clamp(min=1)
        for i in self._searched(state, step):
            weights = state.weights(i)
            loss = loss - self.settings.entropy * (weights * weights.log()).sum()
        state.optimizer.zero_grad()
        for i, gradient in zip(
            self._searched(state, step),
            torch.autograd.grad(loss, [state.betas[i] for i in self._searched(state, step)]),
            strict=True,
        ):
            state.betas[i].grad = gradient
        state.optimizer.step()
        state.history[step.epoch :] = torch.cat([state.weights(i).detach() for i in range(len(state.groups))])

    def loss(self, state: SearchState, batch: Batch) -> Result:
        """The loss of w."""
        own = {path: output[0] for path, output in batch.features.items()}
        ids, images, labels, logits = batch.ids[0], batch.inputs[0], batch.labels[0], batch.logits[0]
        losses, _ = self._losses(state, batch, ids, images, labels, own, logits, _as_it_is, trains_beta=False)
        return losses[None], None

    def _searched(self, state: SearchState, step: Step) -> list[int]:
        """The groups that a step searches."""
        return [int(step.phase)] if self.settings.searched == "in_turn" else list(range(len(state.groups)))

    def _losses(
        self, state: SearchState, step: Step, ids: torch.Tensor, images: torch.Tensor, labels: torch.Tensor,
        own: Mapping[str, torch.Tensor], logits: torch.Tensor, call: Call, *, trains_beta: bool,
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:  # fmt: skip
        """(B,) losses of the groups that a step searches, and by group the logits (B, C) that the label judges in it.

        Args:
            own: The student's features (B, C, H, W) by path.
            logits: (B, C), the student's.
            call: How a connector is asked, so that its weights are constants for beta.
        """
        settings: DfaSearch = self.settings
        layers = state.teacher.at(ids, images)
        total = torch.zeros(len(ids), device=ids.device)
        answers = dict.fromkeys(self._searched(state, step), logits)
        if settings.objective == "student":
            total = F.cross_entropy(logits, labels, reduction="none")
        for i in self._searched(state, step):
            weights = state.weights(i) if trains_beta else state.weights(i).detach()
            target = aggregated(layers[i], weights)
            mapped = call(state.connectors.student[i], own[state.groups[i].student].float())
            total = total + settings.gamma_st * distance(mapped, target)
            if settings.objective == "bridge":
                back = call(state.connectors.teacher[i], target)
                answers[i] = self._rest(state, i, back, images, constant=trains_beta)
                total = total + settings.gamma_ts * F.cross_entropy(answers[i], labels, reduction="none")
        return total, answers

    def _rest(
        self, state: SearchState, group: int, features: torch.Tensor, images: torch.Tensor, *, constant: bool
    ) -> torch.Tensor:
        """(B, C) logits of the student with its features of a group replaced; its running means stay as they are."""
        assert state.network is not None
        with replaced(state.network, state.groups[group].student, features):
            logits = as_constant(state.network, images) if constant else without_trace(state.network, images)
        return logits

    def saved(self, state: SearchState) -> dict[str, torch.Tensor]:
        tensors = {"history": state.history, "answers": state.answers}
        for i, beta in enumerate(state.betas):
            tensors[f"beta.{i}"] = beta
            adam = state.optimizer.state[beta]
            tensors[f"steps.{i}"] = torch.as_tensor(adam.get("step", 0.0))
            for name in ("exp_avg", "exp_avg_sq"):
                tensors[f"{name}.{i}"] = adam.get(name, torch.zeros_like(beta))
        return tensors

    def restore(self, state: SearchState, tensors: Mapping[str, torch.Tensor]) -> None:
        state.history.copy_(tensors["history"])
        state.answers.copy_(tensors["answers"])
        for i, beta in enumerate(state.betas):
            with torch.no_grad():
                beta.copy_(tensors[f"beta.{i}"])
            if tensors[f"steps.{i}"] > 0:
                adam = {name: tensors[f"{name}.{i}"].clone() for name in ("exp_avg", "exp_avg_sq")}
                state.optimizer.state[beta] = {"step": tensors[f"steps.{i}"].cpu().clone(), **adam}

    def tables(self, state: SearchState) -> Mapping[str, Mapping[str, Any]]:
        (replica,) = state.rows.replicas
        layers: list[dict[str, Any]] = [
            {
                "group": i, "layer": j, "student_module": group.student, "teacher_module": path,
                "height": group.height, "width": group.width,
            }
            for i, group in enumerate(state.groups)
            for j, path in enumerate(group.teacher)
        ]  # fmt: skip
        history, answers = state.history.double().cpu().numpy(), state.answers.double().cpu().numpy()
        distinct = state.rows.ids.shape[1]  # an epoch of many steps comes to the same rows again

        def answered(epoch: int, group: int) -> dict[str, Any]:
            right, count = answers[epoch, group]
            return {"accuracy": right / count, "rows": min(int(count), distinct)} if count else _NO_ANSWERS

        rows = [
            {"replica": replica, "epoch": epoch, **layer, "weight": weight, **answered(epoch, layer["group"])}
            for epoch, weights in enumerate(history)
            for layer, weight in zip(layers, weights, strict=True)
        ]
        return {"feature_weights": {name: [row[name] for row in rows] for name in rows[0]}}


def _as_it_is(module: nn.Module, features: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = module(features)
    return output


def _first_part(share: float, rows: int) -> int:
    return int(np.floor(share * rows))


def _halves(context: StudyContext, replicas: Sequence[int], share: float) -> tuple[Rows, Rows]:
    """The rows of a draw that train w, and those that train beta, shuffled by the replica."""
    rows = context.rows(replicas)
    count = rows.ids.shape[1]
    orders = np.stack([generator(context.study.seed, "search split", r).permutation(count) for r in replicas])
    parts = [np.sort(part, axis=1) for part in np.split(orders, [_first_part(share, count)], axis=1)]
    first, second = (
        replace(
            rows,
            ids=np.take_along_axis(rows.ids, part, axis=1),
            counts=None if rows.counts is None else np.take_along_axis(rows.counts, part, axis=1),
        )
        for part in parts
    )
    return first, second


def _batch(rows: Rows, seed: int, step: Step, size: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The sample ids (B,) of a step of beta, and their multiplicities; after the last row comes the first again."""
    count = rows.ids.shape[1]
    order = rows.orders(seed, step.epoch, "search order")[0]
    at = order[np.arange(step.number * size, step.number * size + min(size, count)) % count]
    counts = None if rows.counts is None else torch.as_tensor(rows.counts[0, at])
    return torch.as_tensor(rows.ids[0, at]), counts
