"""What an arm minimises: its loss, its teacher's logits by sample id, and the weights its soft labels get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from biasvar.study import Arm
from biasvar.training import losses
from biasvar.training.losses import shuffle_within_batch
from biasvar.training.views import Views


@dataclass(frozen=True)
class Objective:
    """The loss of one arm on a batch of R replicas.

    Attributes:
        loss: A module of `biasvar.training.losses` with reduction "none".
        teacher: (N, C) clean logits by sample id, or (R, N, C) when each replica has its own; also what an arm without
            a teacher in its loss is scored against; None without any teacher.
        networks: The teacher itself, once for all replicas or one each, where it has to see the student's augmented
            view; None where the clean logits serve, or `views` do.
        views: The teacher's logits of each replica's augmented views, where they are kept.
        recorded: (R, N) weights of a recorded run by sample id, or None.
        scale: (R, epochs) factor on alpha, or None.
        shuffle: Shuffle the loss's own weights within the batch.
    """

    loss: nn.Module
    teacher: torch.Tensor | None = None
    networks: Sequence[nn.Module] | None = None
    views: Sequence[Views] | None = None
    recorded: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    shuffle: bool = False

    @property
    def random(self) -> bool:
        """Whether `__call__` needs random keys to order a batch by."""
        return self.shuffle or getattr(self.loss, "keep", None) == "random"

    @property
    def has_soft_label(self) -> bool:
        """Whether the loss itself learns from the teacher."""
        return isinstance(self.loss, losses.DistillationLoss)

    def seen(self, ids: torch.Tensor, x: torch.Tensor, epoch: int) -> torch.Tensor | None:
        """(R, B, C) teacher logits of the views x that the training pass of an epoch gives of (R, B) samples."""
        if self.views is not None:
            return torch.stack([view.at(epoch, row) for view, row in zip(self.views, ids, strict=True)])
        if self.networks is None:
            return self.teacher_logits(ids)
        with torch.no_grad():
            return torch.stack([self.networks[i % len(self.networks)](view) for i, view in enumerate(x)]).float()

    def teacher_logits(self, ids: torch.Tensor) -> torch.Tensor | None:
        """(R, B, C) teacher logits of (R, B) samples without augmentation."""
        if self.teacher is None or self.teacher.ndim == 2:
            return None if self.teacher is None else self.teacher[ids]
        return self.teacher[torch.arange(len(ids), device=ids.device)[:, None], ids]

    def __call__(
        self,
        ids: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        teacher_logits: torch.Tensor | None,
        epoch: int,
        keys: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Per-sample losses (R, B), and the weights (R, B) their soft labels got (None: all 1)."""
        if not isinstance(self.loss, losses.DistillationLoss):
            return self.loss(logits, labels), None
        assert teacher_logits is not None
        weights: torch.Tensor | None
        if self.recorded is not None:
            weights = self.recorded.gather(1, ids)
        elif self.scale is not None:
            weights = self.scale[:, epoch - 1, None].expand(ids.shape)
        elif isinstance(self.loss, losses.MaskedDistillationLoss):
            weights = self.loss.weights(logits, teacher_logits, labels, keys)
        else:
            weights = self.loss.weights(logits, teacher_logits, labels)
            if self.shuffle and weights is not None:
                weights = shuffle_within_batch(weights, keys)
        return self.loss(logits, teacher_logits, labels, weights), weights


def make_loss(arm: Arm) -> nn.Module:
    """The loss module of an arm, per sample."""
    if arm.loss == "cross_entropy":
        return losses.CrossEntropyLoss(reduction="none")
    if arm.loss == "label_smoothing":
        assert arm.smoothing is not None
        return losses.LabelSmoothingLoss(smoothing=arm.smoothing, reduction="none")
    assert arm.temperature is not None  # the study was validated
    assert arm.alpha is not None
    if arm.loss == "weighted_soft_label":
        return losses.WeightedSoftLabelLoss(temperature=arm.temperature, alpha=arm.alpha, reduction="none")
    if arm.loss == "masked_distillation":
        assert arm.keep is not None
        return losses.MaskedDistillationLoss(
            temperature=arm.temperature, alpha=arm.alpha, keep=arm.keep, reduction="none"
        )
    return losses.DistillationLoss(temperature=arm.temperature, alpha=arm.alpha, reduction="none")
