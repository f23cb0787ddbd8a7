"""Distillation in which some samples keep their soft label and the others lose it."""

from __future__ import annotations

from typing import Any

from biasvar.losses import MaskedDistillationLoss
from biasvar.study.arms import MaskedDistillation
from biasvar.training.methods.base import Batch, Method, Need, Result


class MaskedDistillationMethod(Method):
    """Zhou 2021, section 4: `biasvar.losses.MaskedDistillationLoss`."""

    Settings = MaskedDistillation

    def __init__(self, settings: MaskedDistillation) -> None:
        super().__init__(settings)
        self._loss = MaskedDistillationLoss(
            temperature=settings.temperature, alpha=settings.alpha, keep=settings.keep, reduction="none"
        )

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"teacher", "random keys"} if self.settings.keep == "random" else {"teacher"})

    @property
    def splits(self) -> bool:
        return self.settings.keep != "random"

    def loss(self, state: Any, batch: Batch) -> Result:
        teacher = batch.asked_teacher()
        weights = self._loss.weights(batch.logits, teacher, batch.labels, batch.keys)
        return self._loss(batch.logits, teacher, batch.labels, weights), weights
