r"""Losses of students that have nothing but soft labels, raw scores or sets of candidates to learn from.

In the style of `biasvar.losses`: `reduction="none"` gives the value of every sample; leading dimensions are
free, logits (..., C) with targets (..., C) give losses (...). No gradient flows into the targets. With p = softmax(z):

    SoftLabelLoss            -sum_j d_j ln p_j                        d: a distribution over classes
    ScoreLoss                sum_j (p_j - s_j)^2, or with z for p     s: any real scores
    CandidateAverageLoss     -1 / |S| sum over j in S of ln p_j       S: the classes the label may be
    CandidateSetLoss         -ln sum over j in S of p_j

What each converges to, where samples with the same x get different targets: SoftLabelLoss to p = E[d | x], ScoreLoss to
E[s | x] (projected to the simplex for probabilities), both right where the truth is largest *on average*. The two with
candidates use membership alone: CandidateAverageLoss converges to the mean of 1[j in S] / |S|, so it is SoftLabelLoss
with the uniform distribution on S, while CandidateSetLoss may put all of p on one class that is always in S.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.arguments import checked
from biasvar.losses.reduction import Reduction, check_reduction, reduced

OUTPUTS = ("probabilities", "logits")

__all__ = ["CandidateAverageLoss", "CandidateSetLoss", "ScoreLoss", "SoftLabelLoss", "top_candidates"]


@checked
def top_candidates(soft_labels: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest entries as a set of candidates, bool (..., C); the lower class first where entries are equal.

    Raises:
        ValueError: `k` is not in 1 .. C.

    >>> top_candidates(torch.tensor([[0.5, 0.1, 0.4], [0.2, 0.4, 0.4]]), 2).int().tolist()
    [[1, 0, 1], [0, 1, 1]]
    """
    if not 1 <= k <= soft_labels.shape[-1]:
        raise ValueError(f"k must lie in 1 .. {soft_labels.shape[-1]} (the number of classes), got {k}")
    first = soft_labels.argsort(stable=True, dim=-1, descending=True)[..., :k]
    return torch.zeros_like(soft_labels, dtype=torch.bool).scatter(-1, first, True)


def _check_shape(student_logits: torch.Tensor, target: torch.Tensor, name: str) -> None:
    if target.shape != student_logits.shape:
        raise ValueError(
            f"{name} must have the shape of the logits, {tuple(student_logits.shape)}, got {tuple(target.shape)}"
        )


class SoftLabelLoss(nn.Module):
    """Cross-entropy with a given soft label, -sum_j d_j ln p_j, in nats; its floor is the entropy of d.

    Rows of d have to be distributions. Where an entry is negative the loss is unbounded from below: for raw scores use
    `ScoreLoss`, or project them to the simplex first. This is not checked here, step by step.

    >>> loss = SoftLabelLoss(reduction="none")
    >>> loss(torch.zeros(2, 4), torch.tensor([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]]))
    tensor([1.3863, 1.3863])
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(self, student_logits: torch.Tensor, soft_labels: torch.Tensor) -> torch.Tensor:
        _check_shape(student_logits, soft_labels, "soft_labels")
        values = -(soft_labels.detach() * F.log_softmax(student_logits, -1)).sum(-1)
        return reduced(values, self.reduction)


class ScoreLoss(nn.Module):
    """Squared error with raw scores, summed over classes: bounded from below whatever their signs and sums.

    Args:
        output: "probabilities": sum_j (p_j - s_j)^2, the Brier score where s is a one-hot label. "logits": sum_j
            (z_j - s_j)^2, a regression whose argmax is the prediction; it follows scores outside [0, 1] too.

    >>> ScoreLoss(reduction="none")(torch.zeros(1, 2), torch.tensor([[1.5, -0.5]]))
    tensor([2.])
    """

    @checked
    def __init__(
        self, *, output: Literal["probabilities", "logits"] = "probabilities", reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, not {output!r}")
        self.output = output
        self.reduction = check_reduction(reduction)

    def forward(self, student_logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        _check_shape(student_logits, scores, "scores")
        output = F.softmax(student_logits, -1) if self.output == "probabilities" else student_logits
        return reduced((output - scores.detach()).square().sum(-1), self.reduction)


class CandidateAverageLoss(nn.Module):
    """Partial labels, every candidate alike: -1 / |S| sum over j in S of ln p_j (after Cour et al. 2011's average).

    `forward(student_logits, candidates)`: candidates bool (..., C). A sample without candidates says nothing: its loss
    and its gradient are 0, and it still counts in a mean.

    >>> CandidateAverageLoss()(torch.zeros(1, 4), torch.tensor([[True, False, True, False]]))
    tensor(1.3863)
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(self, student_logits: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        _check_candidates(student_logits, candidates)
        share = candidates.to(student_logits.dtype)
        share = share / share.sum(-1, keepdim=True).clamp(min=1)
        return reduced(-(share * F.log_softmax(student_logits, -1)).sum(-1), self.reduction)


class CandidateSetLoss(nn.Module):
    """Partial labels, any candidate will do: -ln sum over j in S of p_j, the set's likelihood (Jin, Ghahramani 2002).

    Computed as softplus(logsumexp outside S - logsumexp in S), exact in float32 however sure the student is. `forward`
    as for `CandidateAverageLoss`; a sample with all classes or with none has loss and gradient 0.

    >>> CandidateSetLoss()(torch.zeros(1, 4), torch.tensor([[True, False, True, False]]))
    tensor(0.6931)
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)

    def forward(self, student_logits: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        _check_candidates(student_logits, candidates)
        # A finite floor: with -inf the gradient of a set of all classes would be NaN.
        floor = torch.finfo(student_logits.dtype).min / 4
        inside = student_logits.masked_fill(~candidates, floor).logsumexp(-1)
        outside = student_logits.masked_fill(candidates, floor).logsumexp(-1)
        values = torch.where(candidates.any(-1), -F.logsigmoid(inside - outside), torch.zeros_like(inside))
        return reduced(values, self.reduction)


def _check_candidates(student_logits: torch.Tensor, candidates: torch.Tensor) -> None:
    _check_shape(student_logits, candidates, "candidates")
    if candidates.dtype != torch.bool:
        raise TypeError(f"candidates must be bool, not {str(candidates.dtype).removeprefix('torch.')}")
