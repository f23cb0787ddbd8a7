"""The settings of students whose teacher trains along (ProKT), of that teacher, and of the two losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from biasvar.study.arm import Arm, Temperature
from biasvar.study.networks import Width, check_model
from biasvar.study.sections import NAME, Refers, Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from biasvar.study.soft_labels import SoftLabel

SCRATCH = "scratch"


class JointTeacher(Section):
    """The network that trains along, one for each student replica."""

    init: Annotated[str, StringConstraints(pattern=NAME)] = SCRATCH  # or the name of a teacher whose weights it takes
    model: str | None = None  # init scratch: a network, as of students
    hidden: list[Width] = Field([])
    learning_rate: float | None = Field(None, gt=0)  # none given: rate_factor times the arm's
    rate_factor: float = Field(1.0, gt=0)
    weight_decay: float | None = Field(None, ge=0)  # none given: the schedule's

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.init != SCRATCH:
            if self.model is not None or self.hidden:
                raise ValueError(
                    f"init: the network is that of teacher {self.init}, whose weights it takes; leave model and hidden "
                    "out"
                )
        elif self.network == "mlp" and not self.hidden:
            raise ValueError("hidden: model mlp needs the widths of its hidden layers, such as [256, 256]")
        else:
            check_model(self.network)
            if self.network != "mlp" and self.hidden:
                raise ValueError(f"hidden: only model mlp has it, not {self.network}")
        if self.learning_rate is not None and self.rate_factor != 1.0:
            raise ValueError("rate_factor: learning_rate is given, which it would not change; leave one of them out")
        return self

    @property
    def network(self) -> str:
        """The name of its network; where it starts from a teacher's weights, that teacher has it."""
        return self.model or "mlp"

    def __str__(self) -> str:
        start = "-".join([self.network, *map(str, self.hidden)]) if self.init == SCRATCH else f"from {self.init}"
        rate = f"rate {self.learning_rate:g}" if self.learning_rate else f"{self.rate_factor:g} of the rate"
        return f"{start} at {rate}"


class StudentLoss(Section):
    """soft KL(t' || s) + hard CE of the students of a teacher that trains along."""

    soft: float = Field(1.0, ge=0)
    hard: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.soft or self.hard):
            raise ValueError("soft: must be above 0, or hard, for there to be something to learn")
        return self

    def __str__(self) -> str:
        return f"{self.soft:g} soft + {self.hard:g} hard"


class Dual(Section):
    """The dual form: KL(s || t) is to stay within a bound, and the multiplier moves by how far it is from it."""

    multiplier: float = Field(1.0, ge=0)  # before the first step
    rate: float = Field(1e-3, ge=0)
    bound: float = Field(1.0, ge=0)  # nats

    def __str__(self) -> str:
        return f"multiplier {self.multiplier:g} moved by {self.rate:g} towards a bound of {self.bound:g}"


class ProximalTeaching(Arm):
    plays = "joint distillation"
    own_teacher = True

    loss: Literal["prokt"]
    pull: float = Field(ge=0, lt=1)  # weight of KL(s || t) in the teacher's loss; lambda in the paper
    joint_teacher: JointTeacher = Field(title="teacher {}")  # the network that trains along, one for each replica
    temperature: Temperature = 1.0  # of the student's KL
    student_loss: StudentLoss = Field(StudentLoss(), title="{}")
    zero_heads: bool = True  # both classifiers start from 0, so that the first soft label is uniform
    max_norm: float | None = Field(1.0, gt=0, title="gradients up to {}")  # of both gradients; null: not clipped
    dual: Dual | None = Field(None, title="dual, {}")

    @property
    def models(self) -> list[str]:
        return [self.joint_teacher.network] if self.joint_teacher.init == SCRATCH else []

    def references(self) -> Iterator[tuple[str, Refers, str]]:
        yield from super().references()
        if self.joint_teacher.init != SCRATCH:
            yield "joint_teacher.init", Refers("teacher"), self.joint_teacher.init

    def faults(self, soft_labels: Mapping[str, SoftLabel]) -> Iterator[tuple[str, str]]:
        if self.dual is not None and self.pull:
            yield "dual", f"its multiplier takes the place of the pull; give pull: 0, not {self.pull:g}"
