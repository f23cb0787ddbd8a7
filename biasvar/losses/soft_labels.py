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
from biasvar.losses.inputs import BOOL, REALS, Inputs, check_dtype, check_tensor
from biasvar.losses.settings import Reduction, check_reduction, one_of, whole
from biasvar.losses.terms import expected, if_finite, log_sum_exp

OUTPUTS = ("probabilities", "logits")

__all__ = ["CandidateAverageLoss", "CandidateSetLoss", "ScoreLoss", "SoftLabelLoss", "top_candidates"]


@checked
def top_candidates(soft_labels: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest entries as a set of candidates, bool (..., C); the lower class first where entries are equal.

    Raises:
        TypeError: `soft_labels` is no tensor of real numbers, or `k` no number.
        ValueError: `k` is not in 1 .. C.

    >>> top_candidates(torch.tensor([[0.5, 0.1, 0.4], [0.2, 0.4, 0.4]]), 2).int().tolist()
    [[1, 0, 1], [0, 1, 1]]
    """
    check_tensor(soft_labels, "soft_labels")
    check_dtype(soft_labels, "soft_labels", REALS)
    if soft_labels.ndim < 1:
        raise ValueError("soft_labels must have shape (..., C), got ()")
    classes = soft_labels.shape[-1]
    k = whole(k, "k", 1, classes, rule=f"lie in 1 .. {classes} (the number of classes)")
    first = soft_labels.argsort(stable=True, dim=-1, descending=True)[..., :k]
    return torch.zeros_like(soft_labels, dtype=torch.bool).scatter(-1, first, True)


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

    def forward(
        self, student_logits: torch.Tensor, soft_labels: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        soft_labels = given.like_logits(soft_labels, "soft_labels", REALS)
        return given.reduced(-expected(soft_labels, F.log_softmax(given.logits, -1)), self.reduction)


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
        self.output = one_of(output, "output", OUTPUTS)
        self.reduction = check_reduction(reduction)

    def forward(
        self, student_logits: torch.Tensor, scores: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        scores = given.like_logits(scores, "scores", REALS).detach()
        if self.output == "probabilities":
            return given.reduced((F.softmax(given.logits, -1) - scores).square().sum(-1), self.reduction)
        return given.reduced(_distance(given.logits, scores), self.reduction)


def _distance(logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """sum_k (z_k - s_k)^2 (...), in which a class that is masked in both, -inf less -inf, is no difference."""

    def masked() -> torch.Tensor:
        both = (logits == -torch.inf) & (scores == -torch.inf)
        return (logits.masked_fill(both, 0.0) - scores.masked_fill(both, 0)).square().sum(-1)

    return if_finite((logits - scores).square().sum(-1), masked)


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

    def forward(
        self, student_logits: torch.Tensor, candidates: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        share = given.like_logits(candidates, "candidates", BOOL).to(student_logits.dtype)
        share = share / share.sum(-1, keepdim=True).clamp(min=1)
        return given.reduced(-expected(share, F.log_softmax(given.logits, -1)), self.reduction)


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

    def forward(
        self, student_logits: torch.Tensor, candidates: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        candidates = given.like_logits(candidates, "candidates", BOOL)
        inside, outside = (log_sum_exp(given.logits.masked_fill(out, -torch.inf)) for out in (~candidates, candidates))
        values = torch.where(candidates.any(-1), -F.logsigmoid(inside - outside), torch.zeros_like(inside))
        return given.reduced(values, self.reduction)
