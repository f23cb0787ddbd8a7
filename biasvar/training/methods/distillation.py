"""Distillation, with the soft labels as they are or with weights of an earlier arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from biasvar.data.draws import Rows
from biasvar.losses import DistillationLoss
from biasvar.records import open_run
from biasvar.study.arms import Distillation
from biasvar.training.context import StudyContext
from biasvar.training.hooks import Fault
from biasvar.training.methods.base import Batch, Method, Need, Result
from biasvar.training.permuting import check_permuted, non_target_orders, permuted
from biasvar.training.recorded import check_recorded, recorded_means


@dataclass(frozen=True)
class StoredWeights:
    """Weights that another arm's record holds, and in which order the teacher's classes stand.

    Attributes:
        by_sample: (R, N) by sample id, or None.
        by_epoch: (R, epochs), or None.
        orders: (N, C) orders of the teacher's classes, or None where they stay; beside weights or without.
    """

    orders: torch.Tensor | None = None
    by_sample: torch.Tensor | None = None
    by_epoch: torch.Tensor | None = None


class DistillationMethod(Method):
    """Hinton 2015: `biasvar.losses.DistillationLoss`.

    With `weights_from`, each sample's soft label gets the mean WSL weight that the other arm recorded for the same
    replica and sample; with `alpha_from`, all of an epoch get that arm's mean weight of the same replica and epoch.
    With `permute`, the teacher's classes change places sample by sample (`biasvar.training.permuting`).
    """

    Settings = Distillation
    splits = True

    def __init__(self, settings: Distillation) -> None:
        super().__init__(settings)
        self._loss = DistillationLoss(temperature=settings.temperature, alpha=settings.alpha, reduction="none")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"teacher"})

    def check(self, context: StudyContext) -> None:
        if self.settings.permute:
            check_permuted(context)
        if self.settings.weights_from:
            check_recorded(context, self.settings.weights_from, "weights_from")

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> StoredWeights:
        orders = non_target_orders(context) if self.settings.permute else None
        return replace(self._stored_weights(context, replicas), orders=orders)

    def _stored_weights(self, context: StudyContext, replicas: Sequence[int]) -> StoredWeights:
        """The weights of another arm that the settings name, for these replicas."""
        if self.settings.weights_from:
            means = recorded_means(context, self.settings.weights_from, "wsl_weight", "weights_from")
            weights = means[list(replicas)].astype(np.float32)
            weights[np.isnan(weights).all(1)] = 1.0  # a replica that failed in the other arm has no record there
            self._check_rows(weights, context.rows(replicas))
            return StoredWeights(by_sample=torch.as_tensor(weights, device=context.device))
        if self.settings.alpha_from:
            metrics = open_run(context.directory).metrics
            metrics = metrics[(metrics["arm"] == self.settings.alpha_from) & (metrics["view"] == "augmented")]
            means = metrics.pivot(index="replica", columns="epoch", values="loss_weight")
            epochs = range(1, context.study.schedule.epochs + 1)
            # None is noted of a loss that weights nothing, in an epoch without record, and of a replica that failed.
            table = np.array(means.reindex(index=list(replicas), columns=epochs).fillna(1.0), dtype=np.float32)
            return StoredWeights(by_epoch=torch.as_tensor(table, device=context.device))
        return StoredWeights()

    def _check_rows(self, weights: np.ndarray, rows: Rows) -> None:
        """Raise a Fault where the other arm was trained on a selection, and rows of this one have no weight."""
        lacking = np.isnan(np.take_along_axis(weights, rows.ids, axis=1)).sum(1)
        if lacking.any():
            first = int(np.argmax(lacking > 0))
            raise Fault(
                f"weights_from: arm {self.settings.weights_from} recorded no weight of {lacking[first]} of the "
                f"{rows.ids.shape[1]} rows that replica {rows.replicas[first]} is trained on; take the weights of an "
                "arm that is trained on all rows of its draw"
            )

    def loss(self, state: StoredWeights, batch: Batch) -> Result:
        weights = None
        if state.by_sample is not None:
            weights = state.by_sample.gather(1, batch.ids)
        elif state.by_epoch is not None:
            weights = state.by_epoch[:, batch.epoch - 1, None].expand(batch.ids.shape)
        teacher = permuted(batch.asked_teacher(), state.orders, batch.ids)
        return self._loss(batch.logits, teacher, batch.labels, weights), weights
