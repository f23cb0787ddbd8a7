"""The settings of distillation of features: DFA's search of layer weights, and the distillation by weights.

Guan et al. 2020, "Differentiable Feature Aggregation Search for Knowledge Distillation" (DFA). A group holds the layers
of equal height and width in both networks: student features S_i, and teacher features T_i1 ... T_iJ whose weighted sum
A_i = sum_j a_ij T_ij, a_i on the simplex, is what the student's features are brought near to. What the paper, as far as
it is known here, does not say is a setting with the mark "[not in the paper]".
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from biasvar.messages import first_few
from biasvar.study.arm import Arm, Temperature, Weight
from biasvar.study.sections import ArmName, Section, TaughtBy
from biasvar.study.selecting import Selecting

Path = Annotated[str, Field(min_length=1)]
NEAR_ONE = 1e-6  # by which weights that a study gives may miss a sum of 1


class TapGroup(Section):
    """One group: a module of the student and those of the teacher, by module path."""

    student: Path
    teacher: list[Path] = Field(min_length=1)

    def __repr__(self) -> str:
        return f"{self.student} from {' + '.join(self.teacher)}"


class FeatureArm(Arm):
    """What arms with tapped features share.

    A tap is a module path as `named_modules` names it, such as layer1.0; its output (B, C, H, W) is the feature. With
    neither groups nor taps the taps are those that the network itself names (`feature_taps`), and a group is made of
    those of equal height and width in both networks, in which the student's last one counts.
    """

    plays = "features"

    teacher: TaughtBy
    groups: list[TapGroup] | None = Field(None, min_length=1)
    student_taps: list[Path] | None = Field(None, min_length=1)  # to be grouped by size
    teacher_taps: list[Path] | None = Field(None, min_length=1)
    # BatchNorm after the 1x1 convolution of a connector [not in the paper; as in the first author's framework].
    connector_norm: bool = True

    @model_validator(mode="after")
    def _grouped_once(self) -> Self:
        given = [key for key in ("student_taps", "teacher_taps") if getattr(self, key) is not None]
        if self.groups is not None and given:
            raise ValueError(f"groups: name all taps themselves; leave out {' and '.join(given)}")
        return self


class DfaSearch(FeatureArm):
    """The search of the weights a_ij = softmax(beta_i)_j, in first order: weights w and beta take steps in turn."""

    loss: Literal["dfa_search"]
    objective: Literal["bridge", "student"] = "bridge"
    searched: Literal["in_turn", "together"] = "in_turn"  # groups one by one, in equal parts of the epochs, or all
    gamma_st: Weight = Field(1.0, title="student to teacher {}")  # of ||F_s(S_i) - A_i||^2 [not in the paper]
    gamma_ts: Weight = Field(1.0, title="teacher to student {}")  # of the label's part [not in the paper]
    split: float = Field(0.5, gt=0, lt=1)  # share of the rows that train w; the others train beta [not in the paper]
    # Adam's, of beta [not in the paper; DARTS's values, as remembered].
    beta_rate: float = Field(3e-4, gt=0)
    beta_decay: float = Field(1e-3, ge=0)
    beta_momenta: tuple[float, float] = (0.5, 0.999)
    entropy: float = 0.0  # R(beta) = entropy x sum_i H(a_i), added for beta; 0: no R [its form is not in the paper]

    @property
    def tables(self) -> tuple[str, ...]:
        return ("feature_weights",)

    @property
    def at_chance(self) -> str:
        if self.objective == "bridge":
            return "the bridge loss trains the student's head on the teacher's features only"
        return ""

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        if not all(0 <= momentum < 1 for momentum in self.beta_momenta):
            raise ValueError(f"beta_momenta: must be two numbers from 0 up and below 1, not {list(self.beta_momenta)}")
        if self.gamma_st == 0 and (self.gamma_ts == 0 or self.objective == "student"):
            raise ValueError("gamma_st: 0 leaves nothing that depends on the layer weights; give it a value above 0")
        return self


class Dfa(FeatureArm, Selecting):
    """Cross-entropy and the distance to the aggregated features, by weights that stay as they are.

    With `selection` only the rows that it chooses have the distance; with `revision` these learn from the teacher's
    revised label beside it.
    """

    loss: Literal["dfa"]
    # One list a group, in the order of the groups, gives the weights themselves: such as those of another data set.
    weights: Literal["searched", "last", "average", "random"] | list[list[Annotated[float, Field(ge=0)]]] = "searched"
    search: ArmName | None = None  # weights searched: the arm that searched them, replica by replica
    number: int | None = Field(None, ge=0)  # weights random: which draw
    distill_weight: float = Field(1.0, ge=0)  # of the sum over groups [not in the paper]
    label_weight: Weight = Field(1.0, title="revised labels {}")  # of tau^2 KL from the revised label, with `revision`
    label_temperature: Temperature = 1.0  # tau

    @property
    def settings(self) -> dict[str, Any]:
        """The method's own keys with their values; of revised labels only where there are any."""
        unused = () if self.revision is not None else ("label_weight", "label_temperature")
        return {key: value for key, value in super().settings.items() if key not in unused}

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        for key in ("label_weight", "label_temperature"):
            if self.revision is None and getattr(self, key) != 1.0:
                raise ValueError(f"{key}: without revision no label of the teacher is learned from; leave it out")
        for key, needed_by in (("search", "searched"), ("number", "random")):
            if (getattr(self, key) is not None) != (self.weights == needed_by):
                named = self.weights if isinstance(self.weights, str) else "given as lists"
                fault = (
                    f"needed for weights {needed_by}" if self.weights == needed_by else f"not used by weights {named}"
                )
                raise ValueError(f"{key}: {fault}")
        if isinstance(self.weights, list):
            wrong = [row for row in self.weights if not row or abs(math.fsum(row) - 1.0) > NEAR_ONE]
            if wrong or not self.weights:
                raise ValueError(
                    "weights: one list a group, each of weights that sum to 1"
                    + (f", not {first_few(wrong, 1)}, which sums to {math.fsum(wrong[0]):g}" if wrong else "")
                )
        return self
