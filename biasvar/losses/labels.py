"""Losses of a label alone: cross-entropy and label smoothing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.analysis.soft_labels.virtual_teacher import check_variant
from biasvar.arguments import checked
from biasvar.losses.inputs import Inputs
from biasvar.losses.settings import Reduction, check_reduction, number
from biasvar.losses.terms import true_class

__all__ = ["CrossEntropyLoss", "LabelSmoothingLoss", "SquaredErrorLoss"]


class CrossEntropyLoss(nn.Module):
    """Cross-entropy with the label, -log softmax(z)_i, in nats.

    >>> CrossEntropyLoss(reduction="none")(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(
        self, student_logits: torch.Tensor, labels: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        truth = true_class(F.log_softmax(given.logits, -1), given.labels(labels))
        return given.reduced(-truth, self.reduction)


class LabelSmoothingLoss(nn.Module):
    """Cross-entropy with a smoothed label, in nats.

    A smoothed label gives every class something: a class that is masked with a logit of -inf makes the loss infinite
    (with a finite gradient), unless smoothing is 0.

    Args:
        smoothing: s in [0, 1).
        variant: "paper": (1 - s) onehot + s / C (Szegedy 2016, section 7; Yuan 2020, equation 1). "code": 1 - s at the
            label and s / (C - 1) at the others, as in the code of Yuan 2020: the paper's with s C / (C - 1).
        reduction: Over all samples.

    >>> LabelSmoothingLoss(smoothing=0.1)(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    @checked
    def __init__(
        self, *, smoothing: float, variant: Literal["paper", "code"] = "paper", reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.smoothing = number(smoothing, "smoothing", "lie in [0, 1)", lambda found: 0 <= found < 1)
        check_variant(variant)
        self.variant = variant
        self.reduction = check_reduction(reduction)

    def forward(
        self, student_logits: torch.Tensor, labels: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        truth, log_probs = given.labels(labels), F.log_softmax(given.logits, -1)
        values = -(1 - self.smoothing) * true_class(log_probs, truth)
        if self.smoothing:
            values = values - self.smoothing * self._spread(log_probs, truth)
        return given.reduced(values, self.reduction)

    def _spread(self, log_probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean log-probability (...) of the classes among which what is smoothed is spread."""
        if self.variant == "paper":
            return log_probs.mean(-1)
        return log_probs.scatter(-1, labels.unsqueeze(-1), 0.0).sum(-1) / (log_probs.shape[-1] - 1)


class SquaredErrorLoss(nn.Module):
    """Squared error of the class probabilities with the label, the Brier score, between 0 and 2.

    sum_j (p_j - onehot_j)^2 with p = softmax(z), as Yang et al. 2020 (arXiv:2002.11328) train their networks; the
    gradient flows through the softmax as a whole. Computed as (sum_{j != i} p_j)^2 + sum_{j != i} p_j^2, i the label,
    so that nothing cancels where the student is sure: 1 - p_i is not taken of a p_i that rounds to 1.

    >>> SquaredErrorLoss(reduction="none")(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([0.7500, 0.7500])
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(
        self, student_logits: torch.Tensor, labels: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        truth = given.labels(labels).unsqueeze(-1)
        others = F.softmax(given.logits, -1).scatter(-1, truth, 0.0)
        return given.reduced(others.sum(-1).square() + others.square().sum(-1), self.reduction)
