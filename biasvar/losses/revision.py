r"""Label revision (Lan et al. 2024): distillation from soft labels in which the truth always leads.

With p = softmax(z_teacher / tau), true class i and

    beta  = eta / (p_max - p_i + 1)
    p'    = beta p + (1 - beta) onehot(i)                       the revised label

a wrong teacher's first class is led by the truth by exactly 1 - eta. The distance of a student's answer s = softmax(z /
tau) from the revised label is one of

    kl                  tau^2 sum_k p'_k (ln p'_k - ln s_k)
    mse_logits          1/K sum_k (z_k - z'_k)^2                z' = tau (ln p' + logsumexp(z_teacher / tau))
    mse_probabilities   1/K sum_k (s_k - p'_k)^2

z' are logits whose softmax at tau is the revised label; where nothing is revised they are the teacher's own. What the
paper's distance, its weights and its temperature are is not known: all are settings here, and the one public port of
the method (github.com/zju-SWJ/RLD, `REVISION`), whose constants agree with what is known of the paper, is
`RevisedDistillationLoss.rld_port()`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.analysis.soft_labels.revision import ROWS
from biasvar.arguments import checked
from biasvar.losses.inputs import Inputs
from biasvar.losses.settings import Reduction, check_reduction, check_temperature, from_zero_up, number, one_of
from biasvar.losses.terms import if_finite, scaled, true_class, weighted

DISTANCES = ("kl", "mse_logits", "mse_probabilities")

__all__ = ["DISTANCES", "PortedRevisionLoss", "RevisedDistillationLoss", "revise_logits"]


def check_eta(value: float) -> float:
    """An eta: above 0 and at most 1, where the truth ties with a wrong teacher's first class."""
    return number(value, "eta", "lie in (0, 1]; it is 1 less the margin of the truth", lambda eta: 0 < eta <= 1)


@checked
def revise_logits(
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    eta: float = 0.8,
    temperature: float = 1.0,
    rows: Literal["all", "wrong"] = "all",
) -> torch.Tensor:
    """Logits (..., C) whose softmax at a temperature is the revised label; the teacher's own where none is revised.

    They are z' = tau (ln p' + logsumexp(z / tau)), computed from log-probabilities, so that a class of probability
    1e-30 keeps its place among the wrong ones. A teacher with these logits can be given to any loss with a teacher.

    Args:
        teacher_logits: floating-point (..., C).
        labels: Classes (...).
        eta: As in `RevisedDistillationLoss`.
        temperature: At which the teacher is revised.
        rows: "all", or "wrong": those that the teacher has wrong.

    Raises:
        TypeError, ValueError: Tensors that do not belong together, or a setting out of range.

    >>> revise_logits(torch.tensor([[0.0, 2.2]]), torch.tensor([0])).softmax(-1)
    tensor([[0.6000, 0.4000]])
    """
    given = Inputs(teacher_logits, name="teacher_logits")
    truth = given.labels(labels)
    revised = _revised(given.logits, truth, check_eta(eta), check_temperature(temperature), one_of(rows, "rows", ROWS))
    return _as_logits(given.logits, revised, temperature)


class RevisedDistillationLoss(nn.Module):
    """ce L_ce + alpha w D with D the distance of the student from the revised label (Lan et al. 2024), in nats for kl.

    Args:
        eta: In (0, 1]; the truth leads a wrong teacher's first class by 1 - eta. The paper takes 0.8. None: the
            teacher's labels stay as they are.
        temperature: tau > 0, for teacher and student alike; the teacher is revised at it.
        distance: "kl", "mse_logits" or "mse_probabilities".
        rows: Which soft labels are revised: "all", or "wrong": those whose first class is not the label.
        alpha: Weight of the distance.
        ce: Weight of the cross-entropy with the label.

    `forward(student_logits, teacher_logits, labels, weights=None, *, where=None)`: `weights` (...) multiplies alpha
    sample by sample. No gradient flows into beta, the revised label or the weights.

    >>> loss = RevisedDistillationLoss(distance="mse_probabilities")
    >>> loss(torch.zeros(1, 2), torch.tensor([[0.0, 50.0]]), torch.tensor([0])) - torch.log(torch.tensor(2.0))
    tensor(0.0100)
    """

    @checked
    def __init__(
        self,
        *,
        eta: float | None = 0.8,
        temperature: float = 1.0,
        distance: Literal["kl", "mse_logits", "mse_probabilities"] = "kl",
        rows: Literal["all", "wrong"] = "all",
        alpha: float = 1.0,
        ce: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.eta = None if eta is None else check_eta(eta)
        self.temperature = check_temperature(temperature)
        self.distance = one_of(distance, "distance", DISTANCES)
        self.rows = one_of(rows, "rows", ROWS)
        self.alpha, self.ce = from_zero_up(alpha, "alpha"), from_zero_up(ce, "ce")
        self.reduction = check_reduction(reduction)

    @staticmethod
    def rld_port(
        *, eta: float = 0.8, right: float = 4.0, wrong: float = 1.0, reduction: Reduction = "mean"
    ) -> PortedRevisionLoss:
        """The loss of the one public port, with its constants: see `PortedRevisionLoss`."""
        return PortedRevisionLoss(eta=eta, right=right, wrong=wrong, reduction=reduction)

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
        if weights is not None:
            weights = given.by_row(weights, "weights")
        apart = self._distance(student, teacher, truth)
        if weights is not None:
            apart = weighted(weights, apart)
        label = -true_class(F.log_softmax(student, -1), truth)
        return given.reduced(scaled(self.ce, label) + scaled(self.alpha, apart), self.reduction)

    def _distance(self, student: torch.Tensor, teacher: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """The distance (...) of students (..., C) from the revised labels."""
        tau = self.temperature
        revised = _revised(teacher, truth, self.eta, tau, self.rows)
        if self.distance == "mse_logits":
            return _mean_square(student, _as_logits(teacher, revised, tau))
        if self.distance == "mse_probabilities":
            return _brier(student / tau, revised)
        log_probs = F.log_softmax(student / tau, -1)
        mass = revised.exp()
        plain = (mass * (revised - log_probs)).sum(-1)
        return tau**2 * if_finite(plain, lambda: weighted(mass, revised - log_probs).sum(-1))


class PortedRevisionLoss(nn.Module):
    """Label revision as RLD's `REVISION` computes it, a third party's port, not the authors' code.

    With n rows in a batch, of which the teacher has n_r right and n_w wrong,

        L = 1/n_r sum over right rows of (L_ce + right 1/K |z_student - z_teacher|^2)
          + wrong 1/n_w sum over wrong rows of 1/K |softmax(z_student) - p'|^2

    where p' is the revised label at temperature 1. Wrong rows get no cross-entropy, and a part without rows counts 0.
    Means over its own rows make the loss one of a batch: the last dimension of the labels. `reduction="none"` gives
    each row n / n_r, or n / n_w, times its term, whose mean over the batch is L.

    Args:
        eta: In (0, 1].
        right: Weight of the logits' distance on rows that the teacher has right (lambda 1 of the port).
        wrong: Weight of the probabilities' distance on rows that it has wrong (lambda 2).

    `forward(student_logits, teacher_logits, labels, weights=None, *, where=None)`: `weights` (...) says how often a row
    is there, such as in a bootstrap draw; means are then over all of them.

    >>> loss = PortedRevisionLoss()
    >>> loss(torch.zeros(2, 2), torch.tensor([[0.0, 50.0], [1.0, 0.0]]), torch.tensor([0, 0])).round(decimals=4)
    tensor(2.7031)
    """

    @checked
    def __init__(
        self, *, eta: float = 0.8, right: float = 4.0, wrong: float = 1.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.eta = check_eta(eta)
        self.right, self.wrong = from_zero_up(right, "right"), from_zero_up(wrong, "wrong")
        self.reduction = check_reduction(reduction)

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
        times = (
            torch.ones_like(student[..., 0]) if weights is None else given.by_row(weights, "weights").to(student.dtype)
        )
        if where is not None:
            times = times * where
        right = teacher.argmax(-1) == truth
        label = -true_class(F.log_softmax(student, -1), truth)
        known = label + scaled(self.right, _mean_square(student, teacher))
        revised = _revised(teacher, truth, self.eta, 1.0, "all")
        other = scaled(self.wrong, _brier(student, revised))
        values = weighted(_share(times, right), known) + weighted(_share(times, ~right), other)
        if weights is None or self.reduction == "none":
            return given.reduced(values, self.reduction)
        total = (times * values).sum()
        return total if self.reduction == "sum" else total / times.sum().clamp(min=1)


def _share(times: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """For the rows of a part the number of all rows in the batch by that of the part's, and 0 for the others (...)."""
    own = times * part
    if times.ndim == 0:
        return part.to(times.dtype)
    every, mine = (x.sum(-1, keepdim=True) for x in (times, own))
    return part * every / torch.where(mine > 0, mine, torch.ones_like(mine))


def _revised(teacher: torch.Tensor, truth: torch.Tensor, eta: float | None, tau: float, rows: str) -> torch.Tensor:
    """ln of the revised labels (..., C), without gradient: ln beta + ln p, and at the truth the rest on top."""
    log_probs = F.log_softmax(teacher.detach() / tau, -1)
    if eta is None:
        return log_probs
    index = truth.unsqueeze(-1)
    probs = log_probs.exp()
    beta = eta / (probs.amax(-1, keepdim=True) - probs.gather(-1, index) + 1)
    mixed = log_probs + beta.log()
    at_truth = torch.logaddexp(mixed.gather(-1, index), torch.log1p(-beta))
    revised = mixed.scatter(-1, index, at_truth)
    if rows == "all":
        return revised
    return torch.where((teacher.argmax(-1) == truth).unsqueeze(-1), log_probs, revised)


def _as_logits(teacher: torch.Tensor, revised: torch.Tensor, tau: float) -> torch.Tensor:
    """Logits (..., C) of revised labels given by their ln, on the teacher's scale."""
    return tau * (revised + (teacher.detach() / tau).logsumexp(-1, keepdim=True))


def _mean_square(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1/K sum_k (z_k - t_k)^2 (...), over the classes that are not masked, -inf less -inf, in both.

    Where a class is masked in one of them the value is infinite, with a gradient of 0 from that class: not NaN, so that
    a row that has no weight has no gradient either.
    """

    def masked() -> torch.Tensor:
        both = (logits == -torch.inf) & (target == -torch.inf)
        apart = logits.masked_fill(both, 0.0) - target.masked_fill(both, 0.0)
        one = apart.isinf()
        squares = apart.masked_fill(one, 0.0).square().masked_fill(one, torch.inf)
        return squares.sum(-1) / (~both).sum(-1).clamp(min=1)

    return if_finite((logits - target).square().mean(-1), masked)


def _brier(logits: torch.Tensor, log_target: torch.Tensor) -> torch.Tensor:
    """1/K sum_k (softmax(z)_k - q_k)^2 (...) with ln q given, over the classes that are not masked in both."""
    squares = (F.softmax(logits, -1) - log_target.exp()).square()
    there = ((logits > -torch.inf) | (log_target > -torch.inf)).sum(-1)
    return squares.sum(-1) / there.clamp(min=1)
