"""Label revision and data selection: the teacher is corrected by the truth, and teaches a selection of the rows."""

from __future__ import annotations

import torch

from biasvar.losses import CrossEntropyLoss, PortedRevisionLoss, RevisedDistillationLoss
from biasvar.study.arms import LabelRevision
from biasvar.training.methods.base import Batch, Need, Result
from biasvar.training.methods.selecting import SelectingMethod
from biasvar.training.selecting import Selected


class LabelRevisionMethod(SelectingMethod):
    """Lan 2024: `biasvar.losses.RevisedDistillationLoss` with a weight of its own for each part of the rows.

    Set I, the rows that are not selected: ce_rest L_ce. Set II: ce_selected L_ce + distill D. The teacher is asked
    about Set II alone. The weight of a soft label is 0 in Set I and 1 in Set II. With `preset: rld_port` the loss of
    the one public port, which selects nothing.
    """

    Settings = LabelRevision

    def __init__(self, settings: LabelRevision) -> None:
        super().__init__(settings)
        revision = settings.revision
        self._distance = RevisedDistillationLoss(
            eta=None if revision is None else revision.eta, rows="all" if revision is None else revision.rows,
            temperature=settings.temperature, distance=settings.distance, ce=0.0, reduction="none",
        )  # fmt: skip
        self._label = CrossEntropyLoss(reduction="none")
        self._port = PortedRevisionLoss(reduction="none") if settings.preset == "rld_port" else None

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"teacher"})

    @property
    def splits(self) -> bool:
        return self._port is None

    def loss(self, state: Selected | None, batch: Batch) -> Result:
        teacher, settings = batch.asked_teacher(), self.settings
        if self._port is not None:
            return self._port(batch.logits, teacher, batch.labels, batch.counts), None
        chosen = torch.ones_like(batch.labels, dtype=torch.bool) if state is None else state.at(batch.ids)
        weights = chosen.to(batch.logits.dtype)
        truth = self._label(batch.logits, batch.labels)
        label = settings.ce_selected * weights + settings.ce_rest * (1.0 - weights)
        apart = self._distance(batch.logits, teacher, batch.labels, weights)
        return label * truth + settings.distill * apart, None if state is None else weights
