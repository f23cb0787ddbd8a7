"""What an arm minimises: its loss, its teacher's logits by sample id, and the weights its soft labels get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from biasvar import losses
from biasvar.losses.bad_teacher import BadTeacherLoss, draw_rivals
from biasvar.losses.distillation import shuffle_within_batch
from biasvar.losses.soft_labels import CandidateSetLoss, ScoreLoss, SoftLabelLoss, top_candidates
from biasvar.study import Arm
from biasvar.training.lookups import SoftTargets, Views


@dataclass
class Rivals:
    """The random wrong labels of a bad teacher's other slots, by sample id: one draw, or one for every epoch."""

    labels: torch.Tensor
    num_classes: int
    k: int
    seed: int
    replicas: Sequence[int]
    redraw: bool
    _epoch: int = -1
    _drawn: torch.Tensor | None = None

    def at(self, ids: torch.Tensor, epoch: int) -> torch.Tensor:
        """int (R, B, k - 1) rivals of (R, B) samples."""
        when = epoch if self.redraw else None
        if self._drawn is None or (self.redraw and epoch != self._epoch):
            draws = [
                draw_rivals(self.labels, self.num_classes, self.k, seed=self.seed, epoch=when, replica=r)
                for r in self.replicas
            ]
            self._drawn, self._epoch = torch.stack(draws), epoch
        return self._drawn[torch.arange(len(ids), device=ids.device)[:, None], ids]


@dataclass(frozen=True)
class Objective:
    """The loss of one arm on a batch of R replicas.

    Attributes:
        loss: A module of `biasvar.losses` with reduction "none".
        teacher: (N, C) clean logits by sample id, or (R, N, C) when each replica has its own; also what an arm without
            a teacher in its loss is scored against; None without any teacher.
        networks: The teacher itself, once for all replicas or one each, where it has to see the student's augmented
            view; None where the clean logits serve, or `views` do.
        views: The teacher's logits of each replica's augmented views, where they are kept.
        recorded: (R, N) weights of a recorded run by sample id, or None.
        scale: (R, epochs) factor on alpha, or None.
        shuffle: Shuffle the loss's own weights within the batch.
        targets: The soft labels that are all a student learns from.
        rivals: What a bad teacher is to put beside the truth.
        k: Where the student learns from sets of candidates: the k largest entries, or all above 0 for None.
    """

    loss: nn.Module
    teacher: torch.Tensor | None = None
    networks: Sequence[nn.Module] | None = None
    views: Sequence[Views] | None = None
    recorded: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    shuffle: bool = False
    targets: SoftTargets | None = None
    rivals: Rivals | None = None
    k: int | None = None

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
        if self.targets is not None:
            return self._fitted(logits, self.targets.at(ids, epoch)), None
        if isinstance(self.loss, BadTeacherLoss):
            return self.loss(logits, labels, None if self.rivals is None else self.rivals.at(ids, epoch)), None
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

    def _fitted(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Losses (R, B) against targets (R, B, C); the mean over a batch is over its rows that have a target."""
        there = (targets != 0).any(-1)
        aim = targets
        if isinstance(self.loss, CandidateSetLoss):
            aim = targets > 0 if self.k is None else top_candidates(targets, self.k)
        share = there.sum(-1, keepdim=True).clamp(min=1) / there.shape[-1]
        return self.loss(logits, aim) * there / share


def make_loss(arm: Arm) -> nn.Module:
    """The loss module of an arm, per sample."""
    if arm.loss == "cross_entropy":
        return losses.CrossEntropyLoss(reduction="none")
    if arm.loss == "label_smoothing":
        assert arm.smoothing is not None
        return losses.LabelSmoothingLoss(smoothing=arm.smoothing, reduction="none")
    if arm.loss == "soft_label":
        if arm.measure == "squared_error":
            return ScoreLoss(reduction="none")
        return CandidateSetLoss(reduction="none") if arm.measure == "candidates" else SoftLabelLoss(reduction="none")
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
