"""Tf-KD_reg: a virtual teacher that is always right."""

from __future__ import annotations

from typing import Any

from biasvar.analysis.soft_labels.virtual_teacher import check_correct
from biasvar.losses import VirtualTeacherLoss
from biasvar.study.arms import TfkdReg
from biasvar.training.context import StudyContext
from biasvar.training.methods.base import Batch, Method, Result


class TfkdRegMethod(Method):
    """Yuan 2020: `biasvar.losses.VirtualTeacherLoss`."""

    Settings = TfkdReg
    splits = True

    def __init__(self, settings: TfkdReg) -> None:
        super().__init__(settings)
        self._loss = VirtualTeacherLoss(
            alpha=settings.alpha, temperature=settings.temperature, variant=settings.variant,
            multiplier=settings.multiplier or 1.0, correct=settings.correct_probability, reduction="none",
        )  # fmt: skip

    def check(self, context: StudyContext) -> None:
        check_correct(self.settings.correct_probability, context.dataset.num_classes, "correct_probability:")

    def loss(self, state: Any, batch: Batch) -> Result:
        return self._loss(batch.logits, batch.labels), None
