"""Tf-KD_reg: a virtual teacher that is always right."""

from __future__ import annotations

from typing import Any

from biasvar.losses import VirtualTeacherLoss
from biasvar.study.arms import TfkdReg
from biasvar.training.methods.base import Batch, Method, Result


class TfkdRegMethod(Method):
    """Yuan 2020: `biasvar.losses.VirtualTeacherLoss`."""

    Settings = TfkdReg

    def __init__(self, settings: TfkdReg) -> None:
        super().__init__(settings)
        self._loss = VirtualTeacherLoss(
            alpha=settings.alpha, temperature=settings.temperature, variant=settings.variant,
            multiplier=settings.multiplier or 1.0, correct=settings.correct_probability, reduction="none",
        )  # fmt: skip

    def loss(self, state: Any, batch: Batch) -> Result:
        return self._loss(batch.logits, batch.labels), None
