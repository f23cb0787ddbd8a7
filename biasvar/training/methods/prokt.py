"""Proximal knowledge teaching: a teacher that trains along, held near its student, which follows its path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from biasvar.losses import LocalTargetLoss, ProximalTeacherLoss
from biasvar.study.joint_teachers import SCRATCH, ProximalTeaching
from biasvar.training.context import StudyContext
from biasvar.training.hooks import Fault
from biasvar.training.inputs import Inputs
from biasvar.training.loop import predict
from biasvar.training.methods.base import Batch, Method, Result, Step, mean_over_rows
from biasvar.training.replicas import Replicas
from biasvar.training.teachers import teacher_networks


@dataclass
class JointTeaching:
    """A group of replicas' teachers.

    Attributes:
        teacher: The networks, one for each replica, with their optimiser.
        loss: The teachers' loss, with the multipliers of its dual form.
        rate: Their learning rate by step, from that of the students where none of their own is given.
        steps: In an epoch.
        answers: (R, B, C), what the teachers say of the batch after their step.
        distances: (R,) KL of student and teacher of each step of the epoch, summed up.
        counted: The steps behind it.
    """

    teacher: Replicas
    loss: ProximalTeacherLoss
    rate: Callable[[int, int], float] | None
    steps: int
    answers: torch.Tensor | None = None
    distances: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    counted: int = 0


class ProximalTeachingMethod(Method):
    """Shi 2021 (ProKT): `biasvar.losses.ProximalTeacherLoss` and `LocalTargetLoss`, in the order of the authors' code.

    One step: the student answers in evaluation mode; the teacher, in training mode, takes a step on the label and that
    answer; it answers again, in evaluation mode; the student, in training mode, takes a step towards this new answer.
    Nothing flows from one into the other. With a pull of 0 the student is not asked. The gradients of both are clipped
    to `max_norm`, replica by replica.
    """

    Settings = ProximalTeaching

    def __init__(self, settings: ProximalTeaching) -> None:
        super().__init__(settings)
        self.max_norm = settings.max_norm
        weights = settings.student_loss
        self._student_loss = LocalTargetLoss(
            temperature=settings.temperature, soft=weights.soft, hard=weights.hard, reduction="none"
        )

    def check(self, context: StudyContext) -> None:
        if self.settings.zero_heads:
            student = self.settings.student or context.study.student
            for network in (context.student(student, "init", 0), context.model(*self._network(context), "init", 0)):
                zero_head(network, context.dataset.num_classes)

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> JointTeaching:
        joint, study = self.settings.joint_teacher, context.study
        teacher = context.replicas(self._teachers(context, replicas), joint.weight_decay)
        dual = self.settings.dual
        loss = ProximalTeacherLoss(
            pull=None if dual else self.settings.pull, dual=dual.model_dump() if dual else None,
            replicas=len(replicas), reduction="none",
        )  # fmt: skip
        steps = math.ceil(context.rows(replicas).ids.shape[1] / study.schedule.batch_size)
        rate = None if joint.learning_rate is None else context.rate_of(joint.learning_rate, study.schedule.epochs)
        return JointTeaching(teacher, loss.to(context.device), rate, steps)

    def student(self, network: nn.Module) -> nn.Module:
        if self.settings.zero_heads:
            zero_head(network)
        return network

    def before_forward(self, state: JointTeaching, students: Replicas, step: Step) -> None:
        said = None
        if state.loss.needs_student:
            students.train(False)
            with torch.no_grad():
                said = students(step.inputs)
            students.train(True)
        state.teacher.train(True)
        answers = state.teacher(step.inputs)
        losses = state.loss(answers, said, step.labels)
        before = None
        if said is not None and self.settings.dual:
            before = mean_over_rows(state.loss.divergence(answers.detach(), said), step.counts)
        state.teacher.step(mean_over_rows(losses, step.counts), self._rate(state, step), max_norm=self.max_norm)
        if before is not None:
            state.loss.update(before)
        state.teacher.train(False)
        with torch.no_grad():
            state.answers = state.teacher(step.inputs)

    def teacher_logits(self, state: JointTeaching, step: Step) -> torch.Tensor | None:
        return state.answers

    def loss(self, state: JointTeaching, batch: Batch) -> Result:
        taught = batch.asked_teacher()
        with torch.no_grad():
            apart = state.loss.divergence(taught, batch.logits.detach())
            state.distances = state.distances.to(apart) + mean_over_rows(apart, batch.counts)
            state.counted += 1
        return self._student_loss(batch.logits, taught, batch.labels), None

    def measured(self, state: JointTeaching) -> dict[str, torch.Tensor]:
        """The mean over the steps of an epoch of KL(s || t'), s the student's answer of the training pass."""
        mean = state.distances / state.counted
        state.distances, state.counted = torch.zeros_like(state.distances), 0
        return {"teacher_divergence": mean}

    def clean_teacher(self, state: JointTeaching, inputs: Inputs, ids: torch.Tensor) -> torch.Tensor | None:
        return predict(state.teacher, inputs, ids)

    def saved(self, state: JointTeaching) -> dict[str, torch.Tensor]:
        multiplier = state.loss.multiplier
        kept = {f"teacher.{name}": value for name, value in state.teacher.state().items()}
        return kept if multiplier is None else {**kept, "multiplier": multiplier}

    def restore(self, state: JointTeaching, tensors: Mapping[str, torch.Tensor]) -> None:
        own = {name.removeprefix("teacher."): value for name, value in tensors.items() if name.startswith("teacher.")}
        state.teacher.load_state(own)
        if state.loss.multiplier is not None:
            state.loss.multiplier.copy_(tensors["multiplier"])

    def _rate(self, state: JointTeaching, step: Step) -> float:
        if state.rate is None:
            return step.rate * self.settings.joint_teacher.rate_factor
        return state.rate((step.epoch - 1) * state.steps + step.number, state.steps)

    def _network(self, context: StudyContext) -> tuple[str, Sequence[int]]:
        """The model and hidden widths of the teacher."""
        joint = self.settings.joint_teacher
        if joint.init == SCRATCH:
            return joint.network, joint.hidden
        teacher = context.study.teachers[joint.init]
        return teacher.model, teacher.hidden

    def _teachers(self, context: StudyContext, replicas: Sequence[int]) -> list[nn.Module]:
        """A teacher for each replica: fresh, from the weights of its teacher of that number, or trained."""
        model, hidden = self._network(context)
        networks = [context.model(model, hidden, "teacher init", r) for r in replicas]
        init = self.settings.joint_teacher.init
        if init != SCRATCH:
            trained = teacher_networks(context, init, replicas)
            for i, network in enumerate(networks):
                network.load_state_dict(trained[i % len(trained)].state_dict())
        for network in networks if self.settings.zero_heads else ():
            zero_head(network)
        return networks


@torch.no_grad()
def zero_head(network: nn.Module, num_classes: int | None = None) -> None:
    """Set weight and bias of the classifier, the last linear layer of a network by order of definition, to 0.

    Raises:
        Fault: It has none, or, where `num_classes` is given, one of another width.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers or num_classes not in (None, layers[-1].out_features):
        found = f"its last one has {layers[-1].out_features} outputs" if layers else "it has none"
        raise Fault(
            f"zero_heads sets the last linear layer of a network to 0, which must give the logits; {found} in "
            f"{type(network).__name__}; give zero_heads: false"
        )
    for parameter in layers[-1].parameters():
        parameter.zero_()
