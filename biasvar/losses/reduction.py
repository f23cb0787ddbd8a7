"""Helpers that all losses share: the reduction over samples, and the true class's log-probability."""

from __future__ import annotations

from typing import Literal

import torch

Reduction = Literal["none", "mean", "sum"]


def reduced(values: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """The mean or the sum of the values, or the values themselves for "none"."""
    if reduction == "none":
        return values
    return values.mean() if reduction == "mean" else values.sum()


def check_reduction(reduction: str) -> Reduction:
    """The reduction, if it is one; else ValueError."""
    if not isinstance(reduction, str) or reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', not {reduction!r}")
    return reduction  # type: ignore[return-value]


def true_class(log_probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The log-probability (...) of the true class, from those of all (..., C)."""
    return log_probs.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
