"""Cross-entropy with the smoothed label."""

from __future__ import annotations

from typing import Any

from biasvar.losses import LabelSmoothingLoss
from biasvar.study.arms import LabelSmoothing
from biasvar.training.methods.base import Batch, Method, Result


class LabelSmoothingMethod(Method):
    """Szegedy 2016: `biasvar.losses.LabelSmoothingLoss`."""

    Settings = LabelSmoothing
    splits = True

    def __init__(self, settings: LabelSmoothing) -> None:
        super().__init__(settings)
        self._loss = LabelSmoothingLoss(
            smoothing=settings.smoothing, variant=settings.variant or "paper", reduction="none"
        )

    def loss(self, state: Any, batch: Batch) -> Result:
        return self._loss(batch.logits, batch.labels), None
