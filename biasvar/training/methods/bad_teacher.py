"""Teachers that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from biasvar.losses.bad_teacher import BadTeacherLoss, draw_rivals
from biasvar.study.teachers import BadTeacher
from biasvar.training.context import StudyContext
from biasvar.training.methods.base import Batch, Method, Result


@dataclass
class Rivals:
    """The random wrong labels of a bad teacher's other slots, by sample id: one draw, or one for every epoch.

    They are drawn on the host, from `labels` there, so that no step waits for the device.
    """

    labels: torch.Tensor
    num_classes: int
    k: int
    seed: int
    replicas: Sequence[int]
    redraw: bool
    _epoch: int = -1
    _drawn: torch.Tensor | None = None

    def at(self, ids: torch.Tensor, epoch: int) -> torch.Tensor:
        """int (R, B, k - 1) rivals of (R, B) samples."""
        when = epoch if self.redraw else None
        if self._drawn is None or (self.redraw and epoch != self._epoch):
            draws = [
                draw_rivals(self.labels, self.num_classes, self.k, seed=self.seed, epoch=when, replica=r)
                for r in self.replicas
            ]
            self._drawn, self._epoch = torch.stack(draws).to(ids.device), epoch
        return self._drawn[torch.arange(len(ids), device=ids.device)[:, None], ids]


class BadTeacherMethod(Method):
    """Yuan 2023: `biasvar.losses.BadTeacherLoss`; a teacher's `bad` section, not an arm's loss."""

    splits = True

    def __init__(self, settings: BadTeacher) -> None:
        super().__init__(settings)
        self._loss = BadTeacherLoss(
            k=settings.k, punishment=settings.punishment, compensation=settings.compensation,
            rivals=settings.rivals, reduction="none",
        )  # fmt: skip

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> Rivals:
        settings = self.settings
        labels = torch.as_tensor(np.array(context.dataset.labels))
        return Rivals(labels, context.dataset.num_classes, settings.k, context.study.seed, replicas, settings.redraw)

    def loss(self, state: Rivals, batch: Batch) -> Result:
        return self._loss(batch.logits, batch.labels, state.at(batch.ids, batch.epoch)), None
