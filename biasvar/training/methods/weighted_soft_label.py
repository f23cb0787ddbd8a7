"""Weighted soft labels, and the control whose weights are shuffled."""

from __future__ import annotations

from typing import Any

from biasvar.losses import WeightedSoftLabelLoss
from biasvar.losses.distillation import shuffle_within_batch
from biasvar.study.arms import WeightedSoftLabel
from biasvar.training.methods.base import Batch, Method, Need, Result


class WeightedSoftLabelMethod(Method):
    """Zhou 2021: `biasvar.losses.WeightedSoftLabelLoss`; `shuffle` gives each weight to another sample of the batch."""

    Settings = WeightedSoftLabel

    def __init__(self, settings: WeightedSoftLabel) -> None:
        super().__init__(settings)
        self._loss = WeightedSoftLabelLoss(temperature=settings.temperature, alpha=settings.alpha, reduction="none")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"teacher", "random keys"} if self.settings.shuffle else {"teacher"})

    def loss(self, state: Any, batch: Batch) -> Result:
        teacher = batch.asked_teacher()
        weights = self._loss.weights(batch.logits, teacher, batch.labels)
        if self.settings.shuffle and weights is not None:
            weights = shuffle_within_batch(weights, batch.keys)
        return self._loss(batch.logits, teacher, batch.labels, weights), weights
