"""Cross-entropy of students with InfoDrop, who are then trained on without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from biasvar.losses import CrossEntropyLoss
from biasvar.messages import note
from biasvar.modules import infodrops_in, insert_infodrop
from biasvar.seeding import generator
from biasvar.study.arms import InfoDropArm
from biasvar.training.context import StudyContext
from biasvar.training.hooks import Fault
from biasvar.training.methods.base import Batch, Method, Result, Step
from biasvar.training.replicas import Replicas
from biasvar.training.schedules import Phase

WITH, WITHOUT = "with InfoDrop", "without"


def _count(places: dict[str, int], path: str, drop: nn.Module, inputs: tuple[torch.Tensor, ...], _: object) -> None:
    """A forward hook of InfoDrop that notes how many places its activations have."""
    places[path] = inputs[0].shape[2:].numel()


@dataclass(frozen=True)
class Streams:
    """What the random numbers of a replica's drops depend on, beside the epoch, the step and the layer."""

    seed: int
    arm: str
    replica: int


class InfoDropMethod(Method):
    """Shi 2020: `biasvar.modules.InfoDrop` behind the convolutions of `layers`, and cross-entropy.

    The last `finetune_epochs` of the schedule are trained without it, and so are trained students asked. With none,
    the students keep it, and evaluation does what `eval` says.
    """

    Settings = InfoDropArm
    batched = False

    def __init__(self, settings: InfoDropArm) -> None:
        super().__init__(settings)
        self._own = settings.dropping
        self._loss = CrossEntropyLoss(reduction="none")

    def check(self, context: StudyContext) -> None:
        network = self.settings.student or context.study.student
        made = context.student(network, "init", 0)
        one = torch.as_tensor(context.train_ids[:1], device=context.device)
        places: dict[str, int] = {}
        with torch.no_grad():
            try:
                student = self.student(made).eval()
                for path, drop in zip(self._own.layers, infodrops_in(student), strict=True):
                    drop.register_forward_hook(partial(_count, places, path))
                    drop.active, drop.evaluation = True, "random"  # as it is in training
                student(context.inputs.clean(one))
            except ValueError as error:
                raise Fault(f"dropping: {error} (network {network.in_words()})") from error
        for path, number in places.items():
            if self._own.rate * number < 1:
                note(
                    f"dropping.rate: {self._own.rate:g} of {number} places is less than one draw behind {path}, which "
                    f"drops nothing; it takes {1 / number:.3g} or more"
                )

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> Streams:
        (name,) = (name for name, arm in context.study.arms.items() if arm is self.settings)
        (replica,) = replicas
        return Streams(context.study.seed, name, replica)

    def student(self, network: nn.Module) -> nn.Module:
        drops = insert_infodrop(network, self._own.layers, after=self._own.after, **self._own.settings)
        for drop in drops:
            drop.active = self._own.finetune_epochs == 0
        return network

    def phases(self, epochs: int) -> Sequence[Phase]:
        rest = self._own.finetune_epochs
        if rest >= epochs:
            raise Fault(
                f"dropping.finetune_epochs must be less than the schedule's {epochs} epochs, of which they are the "
                f"last, not {rest}"
            )
        with_it = Phase(WITH, epochs - rest)
        return (with_it, Phase(WITHOUT, rest, self._own.finetune_rate)) if rest else (with_it,)

    def before_forward(self, state: Streams, students: Replicas, step: Step) -> None:
        assert students.network is not None  # a study of several replicas in one pass is refused when it is read
        for layer, drop in enumerate(infodrops_in(students.network)):
            drop.active = step.phase == WITH
            key = (state.arm, state.replica, step.epoch, step.number, layer)
            drop.streams = (generator(state.seed, "infodrop", *key),)

    def loss(self, state: Streams, batch: Batch) -> Result:
        return self._loss(batch.logits, batch.labels), None
