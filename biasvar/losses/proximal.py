r"""The two losses of proximal knowledge teaching (ProKT, Shi et al. 2021), where teacher and student train together.

In each step the teacher moves first, and is kept near what the student says; then the student moves towards what the
teacher says *after* its step. With t and s the distributions of teacher and student, y the label:

    teacher     (1 - l) (-ln t_y) + l KL(s || t)        `ProximalTeacherLoss`, s a constant, l the pull
    student     KL(t' || s)                             `LocalTargetLoss`, t' a constant, from after the teacher's step

The equations are those of the authors' code (github.com/wxsh1213/prokt_text, d213bde and 3d9b077). Sums are over
classes, means over rows; no factor tau^2 stands anywhere. As in `biasvar.losses`, values are in nats, leading
dimensions are free, and `where=` leaves rows out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from biasvar.arguments import checked
from biasvar.losses.inputs import Inputs
from biasvar.losses.settings import Reduction, check_reduction, check_temperature, from_zero_up, number, whole
from biasvar.losses.terms import expected, scaled, true_class
from biasvar.messages import did_you_mean

__all__ = ["LocalTargetLoss", "ProximalTeacherLoss", "PullConstraint"]


@dataclass(frozen=True)
class PullConstraint:
    """KL(s || t) <= bound instead of a fixed pull: the multiplier b of the dual form, and how it moves.

    Attributes:
        multiplier: b before the first step, 0 or more.
        rate: Step of b, 0 or more.
        bound: eps, nats, 0 or more.

    >>> PullConstraint.of({"bound": 0.5})
    PullConstraint(multiplier=1.0, rate=0.001, bound=0.5)
    """

    multiplier: float = 1.0
    rate: float = 1e-3
    bound: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, from_zero_up(_number(self, field.name), f"dual.{field.name}"))

    @staticmethod
    def of(value: Any) -> PullConstraint:
        """From a mapping of some of these keys, or itself.

        Raises:
            TypeError: It is neither.
            ValueError: A key that is none of these, or a number out of range.
        """
        if isinstance(value, PullConstraint):
            return value
        if not isinstance(value, Mapping):
            raise TypeError(f"dual must be a PullConstraint or a mapping of its keys, not {type(value).__name__}")
        known = [field.name for field in fields(PullConstraint)]
        for key in value:
            if key not in known:
                raise ValueError(
                    f"dual has no key {key!r}{did_you_mean(str(key), known) or ';'} there is: {', '.join(known)}"
                )
        return PullConstraint(**value)


def _number(constraint: PullConstraint, name: str) -> float:
    value = getattr(constraint, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"dual.{name} must be a number, not {value!r}")
    return value


class ProximalTeacherLoss(nn.Module):
    """The loss of a teacher that is held near its student (Shi 2021), in nats; no gradient flows into the student.

        (1 - pull) (-ln t_y) + pull KL(s || t)                          t, s: softmax of the logits, temperature 1
        -ln t_y + b (KL(s || t) - bound),  b <- max(0, b + rate (KL(s || t) - bound))        with `dual`

    The teacher's step on it is about one step of mirror descent: argmin over q of CE(y, q) + l / (1 - l) KL(s || q).

    Args:
        pull: l in [0, 1), the weight of the student; at 0 its logits are not needed. Left out with `dual`.
        dual: A `PullConstraint`, or a mapping of its keys: the multiplier b takes the place of the pull.
        replicas: So many teachers train together, each with a multiplier of its own: logits are then (R, ..., C).
        reduction: Of the values (...).

    Attributes:
        multiplier: b, () or (R,), a buffer in float64; None without `dual`. `update` moves it.

    `forward(teacher_logits, student_logits, labels, *, where=None)`; `student_logits` may be None where the pull is 0.

    Raises:
        ValueError: A pull outside [0, 1); neither or both of pull and dual.

    >>> loss = ProximalTeacherLoss(pull=0.5)
    >>> teacher, student = torch.zeros(1, 2), torch.tensor([[3.0, 3.0]])
    >>> loss(teacher, student, torch.tensor([0]))                    # half of ln 2: teacher and student agree
    tensor(0.3466)
    >>> bound = ProximalTeacherLoss(dual={"rate": 0.1, "bound": 0.2})
    >>> bound(teacher, student, torch.tensor([0]))                   # ln 2 + 1 (0 - 0.2)
    tensor(0.4931)
    >>> bound.update(bound.divergence(teacher, student).mean())
    >>> bound.multiplier
    tensor(0.9800, dtype=torch.float64)
    """

    multiplier: torch.Tensor | None

    @checked
    def __init__(
        self,
        *,
        pull: float | None = None,
        dual: PullConstraint | Mapping[str, float] | None = None,
        replicas: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if dual is None and pull is None:
            raise ValueError("pull must be given, a number in [0, 1), or dual in its place")
        if dual is not None and pull:
            raise ValueError("pull must be left out where dual is given, whose multiplier takes its place")
        self.pull = number(pull or 0.0, "pull", "lie in [0, 1)", lambda found: 0 <= found < 1)
        self.dual = None if dual is None else PullConstraint.of(dual)
        self.reduction = check_reduction(reduction)
        self.replicas = None if replicas is None else whole(replicas, "replicas", 1)
        start = None
        if self.dual is not None:
            shape = () if self.replicas is None else (self.replicas,)
            start = torch.full(shape, self.dual.multiplier, dtype=torch.float64)
        self.register_buffer("multiplier", start)

    @property
    def needs_student(self) -> bool:
        """False where the loss is the teacher's cross-entropy alone."""
        return self.dual is not None or self.pull > 0

    def divergence(
        self, teacher_logits: torch.Tensor, student_logits: torch.Tensor, *, where: torch.Tensor | None = None
    ) -> torch.Tensor:
        """KL(s || t) of every row (...), with a gradient for the teacher; 0 in rows that are left out."""
        given = Inputs(teacher_logits, where, name="teacher_logits")
        return given.reduced(self._divergence(given, student_logits), "none")

    def forward(
        self,
        teacher_logits: torch.Tensor,
        student_logits: torch.Tensor | None,
        labels: torch.Tensor,
        *,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given = Inputs(teacher_logits, where, name="teacher_logits")
        if labels is None:
            raise TypeError(
                "labels must be given, a torch.Tensor: the teacher's loss has a cross-entropy with them at any pull"
            )
        if self.needs_student and student_logits is None:
            raise TypeError("student_logits must be given, a torch.Tensor, where the pull is above 0, or with dual")
        entropy = -true_class(F.log_softmax(given.logits, -1), given.labels(labels))
        if not self.needs_student and student_logits is None:
            return given.reduced(entropy, self.reduction)
        divergence = self._divergence(given, student_logits)
        if self.dual is None:
            values = (1 - self.pull) * entropy + scaled(self.pull, divergence)
        else:
            values = entropy + self._multiplier_of(divergence) * (divergence - self.dual.bound)
        return given.reduced(values, self.reduction)

    @torch.no_grad()
    def update(self, divergence: torch.Tensor) -> None:
        """Move the multiplier by the mean KL(s || t) of the batch, () or (R,), as it was just before the step.

        Raises:
            ValueError: There is no `dual`, or the shape is not that of the multiplier.
        """
        if self.dual is None or self.multiplier is None:
            raise ValueError("update needs dual: a fixed pull has no multiplier to move")
        if divergence.shape != self.multiplier.shape:
            raise ValueError(
                f"divergence must have the shape of the multiplier, {tuple(self.multiplier.shape)}, got "
                f"{tuple(divergence.shape)}"
            )
        moved = self.multiplier + self.dual.rate * (divergence.to(self.multiplier) - self.dual.bound)
        self.multiplier.copy_(moved.clamp(min=0.0))

    def _divergence(self, given: Inputs, student_logits: Any) -> torch.Tensor:
        student = given.like_logits(student_logits, "student_logits").detach()
        log_student = F.log_softmax(student.to(torch.promote_types(student.dtype, given.logits.dtype)), -1)
        return expected(log_student.exp(), log_student - F.log_softmax(given.logits, -1))

    def _multiplier_of(self, rows: torch.Tensor) -> torch.Tensor:
        """b beside the rows (...), in their precision."""
        assert self.multiplier is not None
        if self.replicas is not None and rows.shape[:1] != (self.replicas,):
            raise ValueError(
                f"teacher_logits must have shape ({self.replicas}, ..., C), one for each of the replicas, got "
                f"{(*rows.shape, 'C')}".replace("'", "")
            )
        b = self.multiplier.to(rows)
        return b.reshape(b.shape + (1,) * (rows.ndim - b.ndim))


class LocalTargetLoss(nn.Module):
    """The loss of a student that follows a teacher's path (Shi 2021): soft KL(t' || s) + hard CE, in nats.

        soft sum_k t'_k (ln t'_k - ln s_k) + hard (-ln softmax(z)_y)     t', s at the temperature; no factor tau^2

    Args:
        temperature: tau > 0 of teacher and student in the KL. The authors' code has 1.
        soft: Weight of the KL.
        hard: Weight of the cross-entropy with the label; 0 in the authors' code.

    `forward(student_logits, teacher_logits, labels=None, *, where=None)`: labels are needed where `hard` is above 0;
    no gradient flows into the teacher, whose logits are those from after its own step.

    Raises:
        ValueError: Both weights are 0, or one is below.
        TypeError: Labels are missing where `hard` is above 0.

    >>> loss = LocalTargetLoss()
    >>> loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[20.0, -20.0]]))     # ln 2
    tensor(0.6931)
    """

    @checked
    def __init__(
        self, *, temperature: float = 1.0, soft: float = 1.0, hard: float = 0.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.soft, self.hard = from_zero_up(soft, "soft"), from_zero_up(hard, "hard")
        if not (self.soft or self.hard):
            raise ValueError("soft must be above 0, or hard, for there to be something to learn")
        self.reduction = check_reduction(reduction)

    def forward(
        self,
        student_logits: torch.Tensor,
        teacher_logits: torch.Tensor,
        labels: torch.Tensor | None = None,
        *,
        where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given = Inputs(student_logits, where)
        teacher = given.teacher(teacher_logits)
        log_target = F.log_softmax(teacher / self.temperature, -1)
        tempered = F.log_softmax(given.logits / self.temperature, -1)
        values = scaled(self.soft, expected(log_target.exp(), log_target - tempered))
        if labels is None and self.hard:
            raise TypeError(f"labels must be given, a torch.Tensor, where hard is above 0: it is {self.hard:g}")
        if labels is not None:
            truth = given.labels(labels)
            values = values + scaled(self.hard, -true_class(F.log_softmax(given.logits, -1), truth))
        return given.reduced(values, self.reduction)
