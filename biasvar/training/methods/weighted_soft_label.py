"""Weighted soft labels, the control whose weights are shuffled, and both with a revised or a selecting teacher."""

from __future__ import annotations

from biasvar.losses import WeightedSoftLabelLoss
from biasvar.losses.distillation import shuffle_within_batch
from biasvar.losses.revision import revise_logits
from biasvar.study.arms import WeightedSoftLabel
from biasvar.training.methods.base import Batch, Need, Result
from biasvar.training.methods.selecting import SelectingMethod
from biasvar.training.selecting import Selected


class WeightedSoftLabelMethod(SelectingMethod):
    """Zhou 2021: `biasvar.losses.WeightedSoftLabelLoss`; `shuffle` gives each weight to another sample of the batch.

    With `revision` the revised teacher takes the teacher's place, in the weights too; with `selection` the rows that
    are not selected have weight 0, and the teacher is not asked about them (Lan 2024).
    """

    Settings = WeightedSoftLabel

    def __init__(self, settings: WeightedSoftLabel) -> None:
        super().__init__(settings)
        self._loss = WeightedSoftLabelLoss(temperature=settings.temperature, alpha=settings.alpha, reduction="none")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"teacher", "random keys"} if self.settings.shuffle else {"teacher"})

    @property
    def splits(self) -> bool:
        return not self.settings.shuffle

    def loss(self, state: Selected | None, batch: Batch) -> Result:
        teacher, revision = batch.asked_teacher(), self.settings.revision
        if revision is not None:
            teacher = revise_logits(
                teacher, batch.labels, eta=revision.eta, temperature=self.settings.temperature, rows=revision.rows
            )
        weights = self._loss.weights(batch.logits, teacher, batch.labels)
        assert weights is not None  # this loss weighs every sample
        if self.settings.shuffle:
            weights = shuffle_within_batch(weights, batch.keys)
        if state is not None:
            weights = weights * state.at(batch.ids)
        return self._loss(batch.logits, teacher, batch.labels, weights), weights
