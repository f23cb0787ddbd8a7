"""The settings of label revision and data selection (Lan et al. 2024): of the arm itself, and for other arms to add.

Which score, whose parameters, which direction and which weights the paper takes was not found. A setting without a
default is a choice that a study must make; defaults are the paper's constants, known at second hand, or those of its
one public port (`biasvar.losses.revision`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from biasvar.study.arm import Arm, Temperature, Weight
from biasvar.study.sections import NAME, Refers, Section, TaughtBy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from biasvar.study.soft_labels import SoftLabel

OF_A_HEAD = ("influence", "self_influence", "gradient_norm")
"""Scores that need the features which the last, linear layer of a network is given."""
OF_A_HESSIAN = ("influence", "self_influence")
OF_A_RECORD = ("bias_gradient", "variance_gradient", "wsl_weight")
"""Scores that are the mean of what an arm recorded of the sample."""
OF_A_TEACHER = ("variance_gradient", "wsl_weight")
"""Those of them that are recorded against a teacher."""
SCORES_TABLE = "selection_scores"


class TeacherRevision(Section):
    """The teacher's labels are mixed with the truth so that it leads (`biasvar.losses.revise_logits`)."""

    eta: float = Field(0.8, gt=0, le=1)  # the truth leads a wrong teacher's first class by 1 - eta
    rows: Literal["all", "wrong"] = "all"  # wrong: only where the teacher's first class is not the label

    def __str__(self) -> str:
        return f"by eta {self.eta:g} where the teacher is wrong" if self.rows == "wrong" else f"by eta {self.eta:g}"


class Selection(Section):
    """Which of a replica's rows learn from the teacher, chosen once before training (`biasvar.analysis.SCORES`)."""

    # What rows are ordered by; bias_gradient, variance_gradient and wsl_weight are what an arm recorded.
    score: Literal[
        "influence", "self_influence", "gradient_norm", "loss", "margin", "bias_gradient", "variance_gradient",
        "wsl_weight", "random",
    ]  # fmt: skip
    keep: float = Field(gt=0, le=1)  # the share that is chosen
    which: Literal["highest", "lowest"] | None = None  # end of the scores; needed by all but random
    per_class: bool = False  # that share of every class, not of all rows
    model: Literal["teacher", "student"] = "teacher"  # whose answers are scored
    # Model student: the arm whose students are scored, replica by replica. Of recorded scores: the arm that recorded.
    arm: Annotated[str, StringConstraints(pattern=NAME)] | None = None
    seed: int = Field(0, ge=0, lt=2**32)  # of random scores, with the study's, and of the order of equal ones
    damping: float = Field(0.01, gt=0)  # of the Hessian, by which influence and self_influence are solved

    @model_validator(mode="after")
    def _sound(self) -> Self:
        score = self.score
        if score != "random" and self.which is None:
            raise ValueError("which: needed, highest or lowest: the end of the scores that is chosen")
        if score == "random" and self.which is not None:
            raise ValueError("which: random scores have no end that says anything; leave it out")
        if self.model == "student" and (score == "random" or score in OF_A_RECORD):
            raise ValueError(f"model: score {score} asks no network; leave model out")
        if self.arm is None and score in OF_A_RECORD:
            raise ValueError(f"arm: needed for score {score}: the arm whose record it is the mean of")
        if self.arm is None and self.model == "student":
            raise ValueError("arm: needed for model student: the arm whose trained students are scored")
        if self.arm is not None and self.model == "teacher" and score not in OF_A_RECORD:
            raise ValueError(f"arm: not used by score {score} of the teacher; leave it out, or give model: student")
        if self.damping != 0.01 and score not in OF_A_HESSIAN:
            raise ValueError(f"damping: score {score} has no Hessian; only {' and '.join(OF_A_HESSIAN)} have one")
        return self

    def __str__(self) -> str:
        end = f"{self.which} " if self.which else ""
        whose = f" of {self.arm}" if self.arm else ""
        said = f"{self.keep:g} by {end}{self.score}{whose}"
        return f"{said} in each class" if self.per_class else said


class Selecting(Arm):
    """An arm whose teacher's labels may be revised, and left to a selection of the rows.

    Rows that are not selected (Set I) are never shown to the teacher; it is asked for the others (Set II) alone.
    """

    revision: TeacherRevision | None = Field(None, title="revised {}")
    selection: Selection | None = Field(None, title="selected {}")

    @property
    def tables(self) -> tuple[str, ...]:
        return (SCORES_TABLE,) if self.selection is not None else ()

    def references(self) -> Iterator[tuple[str, Refers, str]]:
        yield from super().references()
        if self.selection is not None and self.selection.arm is not None:
            yield "selection.arm", Refers("arm", weights=self.selection.score in OF_A_TEACHER), self.selection.arm


class LabelRevision(Selecting):
    """Set I: ce_rest L_ce. Set II: ce_selected L_ce + distill D, D the distance from the revised label.

    Without `selection` all rows are Set II; without `revision` D is the distance from the teacher's label as it is.
    """

    plays = "revision"

    loss: Literal["label_revision"]
    teacher: TaughtBy
    temperature: Temperature = 1.0  # of teacher and student; the teacher is revised at it
    distance: Literal["kl", "mse_logits", "mse_probabilities"] = "kl"
    ce_rest: Weight = 1.0
    ce_selected: Weight = 1.0
    distill: Weight = 1.0
    preset: Literal["rld_port"] | None = None  # biasvar.losses.PortedRevisionLoss, with its constants

    def faults(self, soft_labels: Mapping[str, SoftLabel]) -> Iterator[tuple[str, str]]:
        if self.preset is not None:
            for key in ("revision", "selection", "temperature", "distance", "ce_rest", "ce_selected", "distill"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    yield key, f"preset {self.preset} has constants of its own, and all rows; leave {key} out"
            return
        if self.revision is None and self.selection is None:
            yield "revision", "needed, or selection, or preset: rld_port; without all of them take loss: distillation"
        if self.selection is None and self.ce_rest != 1.0:
            yield "ce_rest", "without a selection no row is left out; leave it out, or give a selection"
        if self.distill == 0:
            yield "distill", "0 leaves nothing to learn from the teacher; take loss: cross_entropy"
