"""Students that learn from given soft labels and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from biasvar.losses.soft_labels import CandidateSetLoss, ScoreLoss, SoftLabelLoss, top_candidates
from biasvar.study.arms import SoftLabelOnly
from biasvar.training.context import StudyContext
from biasvar.training.lookups import SoftTargets
from biasvar.training.methods.base import Batch, Method, Result
from biasvar.training.soft_targets import soft_targets

_LOSSES = {"cross_entropy": SoftLabelLoss, "squared_error": ScoreLoss, "candidates": CandidateSetLoss}


class SoftLabelMethod(Method):
    """The losses of `biasvar.losses.soft_labels`; the mean over a batch is over its rows that have a soft label."""

    Settings = SoftLabelOnly

    def __init__(self, settings: SoftLabelOnly) -> None:
        super().__init__(settings)
        self._loss: nn.Module = _LOSSES[settings.measure or "cross_entropy"](reduction="none")

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> SoftTargets:
        return soft_targets(context, self.settings.soft_label, replicas)

    def loss(self, state: SoftTargets, batch: Batch) -> Result:
        targets = state.at(batch.ids, batch.epoch)
        there = (targets != 0).any(-1)
        share = there.sum(-1, keepdim=True).clamp(min=1) / there.shape[-1]
        return self._loss(batch.logits, self._aim(targets)) * there / share, None

    def _aim(self, targets: torch.Tensor) -> torch.Tensor:
        if self.settings.measure != "candidates":
            return targets
        return targets > 0 if self.settings.k is None else top_candidates(targets, self.settings.k)
