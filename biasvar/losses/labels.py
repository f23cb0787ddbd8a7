"""Losses of a label alone: cross-entropy and label smoothing."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.arguments import checked
from biasvar.losses.inputs import Inputs
from biasvar.losses.settings import Reduction, check_reduction, number
from biasvar.losses.terms import true_class

__all__ = ["CrossEntropyLoss", "LabelSmoothingLoss"]


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
    """Cross-entropy with (1 - smoothing) onehot + smoothing / C (Szegedy 2016, section 7), in nats.

    A smoothed label gives every class something: a class that is masked with a logit of -inf makes the loss infinite
    (with a finite gradient), unless smoothing is 0.

    >>> LabelSmoothingLoss(smoothing=0.1)(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    @checked
    def __init__(self, *, smoothing: float, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.smoothing = number(smoothing, "smoothing", "lie in [0, 1)", lambda found: 0 <= found < 1)
        self.reduction = check_reduction(reduction)

    def forward(
        self, student_logits: torch.Tensor, labels: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        log_probs = F.log_softmax(given.logits, -1)
        values = -(1 - self.smoothing) * true_class(log_probs, given.labels(labels))
        if self.smoothing:
            values = values - self.smoothing * log_probs.mean(-1)
        return given.reduced(values, self.reduction)
