r"""Losses with soft labels, as torch modules; `reduction="none"` gives the value of every sample.

Every distillation loss here is  L = L_ce + alpha * w * L_kd  with, for logits z, temperature tau and true class i,

    L_ce = -log softmax(z_student)_i
    L_kd = -tau^2 * sum_k softmax(z_teacher / tau)_k * log softmax(z_student / tau)_k      (cross-entropy form, not KL)

and differs in the weight w that a sample's soft label gets. No gradient flows into the teacher or into w. Leading
dimensions are free: logits (..., C) with labels (...) give losses (...). The teacher's may be a `biasvar.TopK`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.analysis.arrays import as_float64
from biasvar.analysis.tradeoff import opposes, true_log_prob, wsl_weights_of_losses
from biasvar.arguments import checked
from biasvar.losses.inputs import BOOL, REALS, Inputs, check_dtype, check_like, check_tensor
from biasvar.losses.settings import Reduction, check_reduction, check_temperature, from_zero_up, one_of
from biasvar.losses.terms import expected, scaled, true_class, weighted

KEEP = ("other", "regularization", "random")

# torch's log-softmax in float64 is off by up to 2^-52, which moves the ratio of two losses in a WSL weight by 2^-52 /
# epsilon at most: less than float32's own rounding from this epsilon on. The authors' 1e-7 is above it.
_LEAST_EPSILON = 2.0**-28

__all__ = [
    "DistillationLoss",
    "MaskedDistillationLoss",
    "WeightedSoftLabelLoss",
]


class DistillationLoss(nn.Module):
    """L_ce + alpha L_kd (Hinton 2015; the form of Zhou 2021, figure 3), in nats.

    Args:
        temperature: tau > 0, for teacher and student alike; L_kd carries the factor tau^2.
        alpha: Weight of the soft label against the label's 1.

    `forward(student_logits, teacher_logits, labels, weights=None, *, where=None)`: `weights` (...) multiplies alpha
    sample by sample, for instance with the weights of a recorded run. Where alpha or a weight is 0 there is no L_kd,
    even an infinite one (of a class that is masked with -inf in the student alone).

    >>> loss = DistillationLoss(temperature=4.0, alpha=2.25)
    >>> loss(torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([0, 3])) / torch.log(torch.tensor(4.0))
    tensor(37.)
    """

    @checked
    def __init__(self, *, temperature: float, alpha: float, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.alpha = from_zero_up(alpha, "alpha")
        self.reduction = check_reduction(reduction)

    def weights(
        self,
        student_logits: torch.Tensor,
        teacher_logits: torch.Tensor,
        labels: torch.Tensor,
        *,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """The weight (...) that the loss gives to each sample's soft label, without gradient; None is 1 for all.

        Rows that `where` leaves out have weight 0.
        """
        return None

    def forward(
        self,
        student_logits: torch.Tensor,
        teacher_logits: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor | None = None,
        *,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        student, teacher, truth = given.logits, given.teacher(teacher_logits), given.labels(labels)
        if weights is None:  # a subclass's own weights need to know of `where` only if it is used
            weights = self.weights(student, teacher, truth, **({} if where is None else {"where": where}))
        if weights is not None:
            weights = given.by_row(weights, "weights")
        tau = self.temperature
        log_probs = F.log_softmax(student, -1)
        tempered = log_probs if tau == 1 else F.log_softmax(student / tau, -1)
        soft = -(tau**2) * expected(F.softmax(teacher / tau, -1), tempered)
        if weights is not None:
            soft = weighted(weights, soft)
        return given.reduced(-true_class(log_probs, truth) + scaled(self.alpha, soft), self.reduction)


class WeightedSoftLabelLoss(DistillationLoss):
    """L_ce + alpha w L_kd with w = 1 - exp(-L_ce^student / L_ce^teacher), both at temperature 1 (Zhou 2021, WSL).

    Args:
        epsilon: Added to the teacher's loss, as in the authors' code. At 0 the limits are those of
            `biasvar.wsl_weights`.

    >>> loss = WeightedSoftLabelLoss(temperature=4.0, alpha=2.25, epsilon=0.0)
    >>> loss.weights(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([0]))       # equal losses: 1 - 1/e
    tensor([0.6321])
    """

    @checked
    def __init__(
        self, *, temperature: float, alpha: float, epsilon: float = 1e-7, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(temperature=temperature, alpha=alpha, reduction=reduction)
        self.epsilon = from_zero_up(epsilon, "epsilon")

    @torch.no_grad()
    def weights(
        self,
        student_logits: torch.Tensor,
        teacher_logits: torch.Tensor,
        labels: torch.Tensor,
        *,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        teacher, truth = given.teacher(teacher_logits), given.labels(labels)
        log_prob = true_log_prob if self.epsilon < _LEAST_EPSILON else _plain_log_prob
        student_loss, teacher_loss = (-log_prob(logits, truth) for logits in (given.logits, teacher))
        weights: torch.Tensor = wsl_weights_of_losses(student_loss, teacher_loss, epsilon=self.epsilon)
        return given.by_row(weights.to(student_logits), "weights")


def _plain_log_prob(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The true class's log-probability (...), float64, exact to 2^-52 but not relative to itself: half the cost."""
    logits = as_float64(logits)
    return true_class(F.log_softmax(logits, -1), labels.to(logits.device))


class MaskedDistillationLoss(DistillationLoss):
    """L_ce + alpha w L_kd with w in {0, 1}: whole soft labels dropped or kept by the regularization-sample flag.

    The flag is the "opposing" criterion on the current student: softmax(z_s/tau)_i > softmax(z_t/tau)_i.

    Args:
        keep: "other": drop the soft labels of regularization samples. "regularization": keep only theirs. "random":
            keep as many as "other" would, chosen at random within the batch (the last dimension of labels).

    For "random", `weights(..., keys=)` takes uniform numbers (...) that order the batch; without them they are drawn
    from torch's global generator.

    >>> loss = MaskedDistillationLoss(temperature=4.0, alpha=2.25, keep="regularization")
    >>> loss.weights(torch.eye(2) * 3, torch.eye(2), torch.tensor([0, 0]))
    tensor([1., 0.])
    """

    @checked
    def __init__(
        self,
        *,
        temperature: float,
        alpha: float,
        keep: Literal["other", "regularization", "random"] = "other",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(temperature=temperature, alpha=alpha, reduction=reduction)
        self.keep = one_of(keep, "keep", KEEP)

    @torch.no_grad()
    def weights(
        self,
        student_logits: torch.Tensor,
        teacher_logits: torch.Tensor,
        labels: torch.Tensor,
        keys: torch.Tensor | None = None,
        *,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        teacher, truth = given.teacher(teacher_logits), given.labels(labels)
        if keys is not None:
            keys = given.by_row(keys, "keys")
        flagged = opposes(*(true_log_prob(logits, truth, self.temperature) for logits in (given.logits, teacher)))
        chosen = flagged if self.keep == "regularization" else ~flagged
        weights = given.by_row(chosen.to(student_logits), "weights")
        return shuffle_within_batch(weights, keys, where=where) if self.keep == "random" else weights


def shuffle_within_batch(
    values: torch.Tensor, keys: torch.Tensor | None = None, *, where: torch.Tensor | None = None
) -> torch.Tensor:
    """The values (..., B) in random order along the last dimension: the order that sorts `keys` (..., B).

    Values that `where` (bool, of the same shape, True = counts) leaves out stay where they are.

    >>> shuffle_within_batch(torch.tensor([1, 2, 3]), torch.tensor([0.2, 0.9, 0.1])).tolist()
    [3, 1, 2]
    """
    check_tensor(values, "values")
    check_dtype(values, "values", REALS | BOOL)
    keys = torch.rand(values.shape, device=values.device) if keys is None else keys
    check_like(keys, "keys", REALS, values, "the values")
    if where is None:
        return values.gather(-1, keys.argsort(-1))
    check_like(where, "where", BOOL, values, "the values")
    # Rows that count, by key, go to the places of rows that count, in order; the others lie behind in both lists.
    left_out = (~where).to(torch.uint8)
    by_key = keys.argsort(-1)
    source = by_key.gather(-1, left_out.gather(-1, by_key).argsort(dim=-1, stable=True))
    place = left_out.argsort(dim=-1, stable=True)
    return torch.where(where, values.scatter(-1, place, values.gather(-1, source)), values)
