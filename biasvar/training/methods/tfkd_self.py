"""Tf-KD_self: the answers of the same network, trained before, as teacher; and of any other teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from biasvar.losses import SelfDistillationLoss
from biasvar.study.arms import TfkdSelf
from biasvar.training.context import StudyContext
from biasvar.training.methods.base import Batch, Method, Need, Result
from biasvar.training.permuting import check_permuted, non_target_orders, permuted


class TfkdSelfMethod(Method):
    """Yuan 2020: `biasvar.losses.SelfDistillationLoss`; the teacher's non-target classes may be permuted."""

    Settings = TfkdSelf
    splits = True

    def __init__(self, settings: TfkdSelf) -> None:
        super().__init__(settings)
        self._loss = SelfDistillationLoss(
            alpha=settings.alpha, temperature=settings.temperature, variant=settings.variant,
            multiplier=settings.multiplier or 1.0, reduction="none",
        )  # fmt: skip

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"teacher"})

    def check(self, context: StudyContext) -> None:
        if self.settings.permute:
            check_permuted(context)

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> torch.Tensor | None:
        return non_target_orders(context) if self.settings.permute else None

    def loss(self, state: torch.Tensor | None, batch: Batch) -> Result:
        teacher = permuted(batch.asked_teacher(), state, batch.ids)
        return self._loss(batch.logits, teacher, batch.labels), None
