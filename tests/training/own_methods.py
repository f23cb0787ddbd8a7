"""Methods of one's own, as a study names them by import path: one that is a loss, one that uses every hook."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.data.draws import Rows
from biasvar.losses import DistillationLoss
from biasvar.study import Arm, TaughtArm, TaughtBy
from biasvar.training.methods import Batch, Method, Phase, Step
from biasvar.training.replicas import Replicas


class FocalSettings(Arm):
    gamma: float = 0.0
    balance: bool = False


class Focal(Method):
    """(1 - p)^gamma times cross-entropy."""

    Settings = FocalSettings

    def loss(self, state, batch):
        log_prob = F.log_softmax(batch.logits, -1).gather(-1, batch.labels[..., None])[..., 0]
        return -((1 - log_prob.exp()) ** self.settings.gamma) * log_prob, None


class SplitFocal(Focal):
    """The same, which says that its batches may be divided."""

    splits = True


class Kept(SplitFocal):
    """One that keeps something of its own."""

    def saved(self, state):
        return {"steps": torch.zeros(1)}


class Projected(SplitFocal):
    """Cross-entropy of logits that a module trained beside the student maps; gradients are clipped."""

    batched = False
    max_norm = 0.2

    def prepare(self, context, replicas):
        classes = context.dataset.num_classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(replicas[0])
            return [nn.Linear(classes, classes) for _ in replicas]

    def modules(self, state):
        return state

    def loss(self, state, batch):
        return F.cross_entropy(state[0](batch.logits[0]), batch.labels[0], reduction="none")[None], None


class OnlyHere(SplitFocal):
    """Fails in a process that another one has started, in the second epoch."""

    def loss(self, state, batch):
        if multiprocessing.parent_process() is not None and batch.epoch == 2:
            raise ArithmeticError("of this process alone")
        return super().loss(state, batch)


class HalfSettings(TaughtArm):
    plays = "weighting"


class Half(Method):
    """Distillation in which every second sample, by its id, keeps its soft label."""

    Settings = HalfSettings

    @property
    def needs(self):
        return frozenset({"teacher"})

    def loss(self, state, batch):
        weights = (batch.ids % 2).to(batch.logits.dtype)
        loss = DistillationLoss(temperature=self.settings.temperature, alpha=self.settings.alpha, reduction="none")
        return loss(batch.logits, batch.asked_teacher(), batch.labels, weights), weights


class EverySettings(Arm):
    teacher: TaughtBy
    rows: int = 60


@dataclass
class EveryState:
    projectors: list[nn.Module]
    steps: torch.Tensor
    calls: list[str] = field(default_factory=list)


class EveryHook(Method):
    """Trains a projector beside each student, counts its steps, takes the first rows of each draw, has two phases."""

    Settings = EverySettings
    batched = False
    features = ("layers.0",)

    @property
    def needs(self):
        return frozenset({"teacher", "clean teacher", "random keys"})

    def prepare(self, context, replicas):
        width, classes = context.study.student.hidden[0], context.dataset.num_classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(replicas[0])
            projectors = [nn.Linear(width, classes) for _ in replicas]
        return EveryState(projectors, torch.zeros(1))

    def modules(self, state: EveryState) -> Sequence[nn.Module]:
        return state.projectors

    def saved(self, state: EveryState) -> dict[str, torch.Tensor]:
        return {"steps": state.steps}

    def restore(self, state: EveryState, tensors: Mapping[str, torch.Tensor]) -> None:
        state.steps.copy_(tensors["steps"])

    def before_forward(self, state: EveryState, students: Replicas, step: Step) -> None:
        assert students.network.training
        assert step.inputs.shape[:2] == step.labels.shape
        state.calls.append("forward")

    def before_step(self, state: EveryState, batch: Batch) -> None:
        assert batch.keys.shape == batch.ids.shape
        torch.testing.assert_close(batch.teacher_logits, batch.clean_teacher_logits)  # nothing is augmented
        state.calls.append("before")

    def after_step(self, state: EveryState, batch: Batch) -> None:
        state.steps += 1
        state.calls.append("after")

    def rows(self, context, replicas):
        rows = context.rows(replicas)
        return Rows(rows.ids[:, : self.settings.rows], None, replicas)

    def student(self, network: nn.Module) -> nn.Module:
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
        return network

    def phases(self, epochs: int) -> Sequence[Phase]:
        return Phase("with", epochs // 2), Phase("without", epochs - epochs // 2, rate=0.5)

    def loss(self, state: EveryState, batch: Batch):
        truth = F.cross_entropy(batch.logits[0], batch.labels[0], reduction="none")[None]
        if batch.phase == "without":
            return truth + 0.001 * state.steps, None  # what was saved decides the numbers of a resumed training
        said = state.projectors[0](batch.features["layers.0"][0])
        target = F.softmax(batch.teacher_logits[0], -1)
        return truth - (target * F.log_softmax(said, -1)).sum(-1)[None], None


class NoSettings(Method):
    """Lacks its settings."""


class NotAMethod:
    Settings = FocalSettings


class WrongPhases(Focal):
    def phases(self, epochs):
        return (Phase("half", epochs // 2),)
