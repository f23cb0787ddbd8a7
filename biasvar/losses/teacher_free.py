r"""The losses of teacher-free knowledge distillation, as the paper writes them and as the released code has them.

Yuan et al. 2020 (Tf-KD). With a = alpha, tau = temperature, m = multiplier, K classes, s_tau = softmax(z_student /
tau), t_tau the same of the teacher, d the virtual teacher (`biasvar.analysis.virtual_teacher`) and KL(p || q) = sum_k
p_k ln(p_k / q_k):

    loss     variant   value of a sample, in nats
    self     paper     (1 - a) CE + a KL(t_tau || s_tau)                        equations 4 and 7
    self     code      (1 - a) CE + a m tau^2 KL(t_tau || s_tau) / K
    reg      paper     (1 - a) CE + a KL(d_tau || s_tau)                        equation 9
    reg      code      (1 - a) CE + a m KL(softmax(d / tau) || s_1) / K

The code's 1 / K is that of a mean over all N K elements; its reg tempers the teacher's probabilities, not their
logarithms, and leaves the student as it is. That makes the code's reg label smoothing by another name
(`VirtualTeacherLoss.equivalent_smoothing`). Ordinary, reversed and defective distillation are `SelfDistillationLoss`
with another teacher. No gradient flows into a teacher.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.analysis.soft_labels.virtual_teacher import check_variant, virtual_log_probabilities
from biasvar.arguments import checked
from biasvar.losses.inputs import Inputs
from biasvar.losses.settings import Reduction, check_reduction, check_temperature, number
from biasvar.losses.terms import divergence, scaled, true_class

__all__ = ["SelfDistillationLoss", "VirtualTeacherLoss"]


class _TeacherFreeLoss(nn.Module):
    """What both losses have in common: their settings, and (1 - alpha) CE + alpha m KL."""

    def __init__(self, alpha: float, temperature: float, variant: str, multiplier: float, reduction: Reduction) -> None:
        super().__init__()
        self.alpha = number(alpha, "alpha", "lie in [0, 1]", lambda found: 0 <= found <= 1)
        self.temperature = check_temperature(temperature)
        check_variant(variant)
        self.variant = variant
        self.multiplier = number(multiplier, "multiplier", "be above 0 and finite", lambda found: found > 0)
        if variant == "paper" and self.multiplier != 1:
            raise ValueError(
                f"multiplier must be 1 with variant 'paper', which has none, not {self.multiplier:g}; it belongs to "
                "variant 'code'"
            )
        self.reduction = check_reduction(reduction)

    def _total(self, log_probs: torch.Tensor, labels: torch.Tensor, factor: float, soft: torch.Tensor) -> torch.Tensor:
        hard = scaled(1 - self.alpha, -true_class(log_probs, labels))
        return hard + scaled(self.alpha * self.multiplier * factor, soft)


class SelfDistillationLoss(_TeacherFreeLoss):
    """(1 - alpha) CE + alpha KL with the answers of the same network, trained before, as teacher (Tf-KD_self), in nats.

    Args:
        alpha: Weight of the teacher, 0 to 1; the label has the rest.
        temperature: tau > 0, for teacher and student alike.
        variant: "paper": without tau^2. "code": with multiplier tau^2 / K before the KL.
        multiplier: m of the code's variant, above 0.
        reduction: Over all samples.

    `forward(student_logits, teacher_logits, labels, *, where=None)`; the teacher may be any network.

    Raises:
        ValueError: A setting out of range, or a multiplier with variant "paper".

    >>> loss = SelfDistillationLoss(alpha=0.5, temperature=1.0, variant="paper")
    >>> loss(torch.zeros(1, 2), torch.tensor([[0.0, 50.0]]), torch.tensor([1]))     # (ln 2 + ln 2) / 2
    tensor(0.6931)
    """

    @checked
    def __init__(
        self,
        *,
        alpha: float,
        temperature: float,
        variant: Literal["paper", "code"],
        multiplier: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(alpha, temperature, variant, multiplier, reduction)

    def forward(
        self,
        student_logits: torch.Tensor,
        teacher_logits: torch.Tensor,
        labels: torch.Tensor,
        *,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given, tau = Inputs(student_logits, where), self.temperature
        student, teacher, truth = given.logits, given.teacher(teacher_logits), given.labels(labels)
        log_probs = F.log_softmax(student, -1)
        tempered = log_probs if tau == 1 else F.log_softmax(student / tau, -1)
        soft = divergence(F.log_softmax(teacher / tau, -1), tempered)
        factor = tau**2 / student.shape[-1] if self.variant == "code" else 1.0
        return given.reduced(self._total(log_probs, truth, factor, soft), self.reduction)


class VirtualTeacherLoss(_TeacherFreeLoss):
    """(1 - alpha) CE + alpha KL with a virtual teacher that is always right (Tf-KD_reg), in nats.

    Every class gets something unless `correct` is 1: a class that is masked with a logit of -inf makes the loss
    infinite, as under label smoothing.

    Args:
        alpha: Weight of the virtual teacher, 0 to 1; the label has the rest.
        temperature: tau > 0; with variant "paper" of teacher and student, with "code" of the teacher alone.
        variant: "paper" or "code", see the top of this module.
        multiplier: m of the code's variant, above 0.
        correct: The virtual teacher's probability of the true class at temperature 1, from 1 / K to 1.
        reduction: Over all samples.

    `forward(student_logits, labels, *, where=None)`.

    Raises:
        ValueError: A setting out of range, or a multiplier with variant "paper"; in `forward`, `correct` below 1 / K.

    >>> loss = VirtualTeacherLoss(alpha=0.1, temperature=20.0, variant="code", multiplier=10.0)
    >>> loss(torch.zeros(1, 10), torch.tensor([3])) / torch.log(torch.tensor(10.0))        # the KL is almost 0
    tensor(0.9000)
    """

    @checked
    def __init__(
        self,
        *,
        alpha: float,
        temperature: float,
        variant: Literal["paper", "code"],
        multiplier: float = 1.0,
        correct: float = 0.99,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(alpha, temperature, variant, multiplier, reduction)
        self.correct = number(correct, "correct", "lie above 0 and be at most 1", lambda found: 0 < found <= 1)

    def equivalent_smoothing(self, num_classes: int) -> tuple[float, float]:
        """(eps, c): the code's variant has nearly the gradient of c times label smoothing with eps.

        With w = alpha m / K, c = 1 - alpha + w and eps = w / c: exactly so where its virtual teacher is uniform, and
        to about 1 / temperature of the smoothed part where it is not. The paper's variant tempers the student too,
        and is no label smoothing.

        Raises:
            ValueError: For variant "paper".

        >>> loss = VirtualTeacherLoss(alpha=0.1, temperature=20.0, variant="code", multiplier=100.0)
        >>> eps, scale = loss.equivalent_smoothing(100)
        >>> round(eps, 6), round(scale, 6)
        (0.1, 1.0)
        """
        if self.variant != "code":
            raise ValueError("variant 'paper' is no label smoothing: its student is tempered too; ask variant 'code'")
        weight = self.alpha * self.multiplier / num_classes
        scale = 1 - self.alpha + weight
        return weight / scale, scale

    def forward(
        self, student_logits: torch.Tensor, labels: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        given, tau = Inputs(student_logits, where), self.temperature
        truth, classes = given.labels(labels), student_logits.shape[-1]
        teacher = virtual_log_probabilities(classes, temperature=tau, correct=self.correct, variant=self.variant)
        log_probs = F.log_softmax(given.logits, -1)
        paper = self.variant == "paper" and tau != 1
        soft = _from_virtual(teacher, F.log_softmax(given.logits / tau, -1) if paper else log_probs, truth)
        factor = 1 / classes if self.variant == "code" else 1.0
        return given.reduced(self._total(log_probs, truth, factor, soft), self.reduction)


def _from_virtual(teacher: tuple[float, float], log_probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """KL(d || s) (...) of a virtual teacher, ln of its probability of the true class and of any other."""
    log_true, log_other = (torch.full_like(log_probs, value) for value in teacher)
    return divergence(log_other.scatter(-1, labels.unsqueeze(-1), log_true), log_probs)
