"""Losses of a label alone: cross-entropy and label smoothing."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.arguments import checked
from biasvar.losses.reduction import Reduction, check_reduction, reduced, true_class

__all__ = ["CrossEntropyLoss", "LabelSmoothingLoss"]


class CrossEntropyLoss(nn.Module):
    """Cross-entropy with the label, -log softmax(z)_i, in nats.

    >>> CrossEntropyLoss(reduction="none")(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(self, student_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return reduced(-true_class(F.log_softmax(student_logits, -1), labels), self.reduction)


class LabelSmoothingLoss(nn.Module):
    """Cross-entropy with (1 - smoothing) onehot + smoothing / C (Szegedy 2016, section 7), in nats.

    >>> LabelSmoothingLoss(smoothing=0.1)(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    @checked
    def __init__(self, *, smoothing: float, reduction: Reduction = "mean") -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1), not {smoothing}")
        self.smoothing = smoothing
        self.reduction = check_reduction(reduction)

    def forward(self, student_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        log_probs = F.log_softmax(student_logits, -1)
        values = -(1 - self.smoothing) * true_class(log_probs, labels) - self.smoothing * log_probs.mean(-1)
        return reduced(values, self.reduction)
