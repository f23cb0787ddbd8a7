"""What a method of training is: one class a method, in one room, given exactly what it says it needs.

The least that a method has is its settings and its loss:

    class MyMethod(Method):
        Settings = MySettings                      # a subclass of biasvar.study.Arm with the method's keys

        def loss(self, state, batch):
            values = ...                           # (R, B) from batch.logits (R, B, C) and batch.labels (R, B)
            return values, None

All other hooks are optional. The loop, the recorder, resuming, identities, the dry run and the report know no method
by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from biasvar.data.draws import Rows
from biasvar.study import Arm
from biasvar.training.schedules import Phase

if TYPE_CHECKING:
    from biasvar.training.context import StudyContext
    from biasvar.training.inputs import Inputs
    from biasvar.training.replicas import Replicas

Need = Literal["teacher", "clean teacher", "random keys"]
"""What a loss may ask the loop for: the teacher's logits of the views that the student sees; its logits of the samples
without augmentation; a random number for each sample and epoch, the same whatever the batch size."""

Result = tuple[torch.Tensor, torch.Tensor | None]
"""Per-sample losses (R, B), and the weights (R, B) that the loss gave the soft labels; None: 1 for all."""


def mean_over_rows(
    values: torch.Tensor, counts: torch.Tensor | None, whole: torch.Tensor | int | None = None
) -> torch.Tensor:
    """(R,) means of (R, B) values, each sample as often as it was drawn: (R, B) counts, None where all are 1.

    `whole`: what the counts of a whole batch sum up to, (R,) or a number, where these rows are a share of it: the
    shares then give parts that add up to the mean of the batch.
    """
    if counts is None:
        return values.mean(-1) if whole is None else values.sum(-1) / whole
    total = counts.sum(-1) if whole is None else torch.as_tensor(whole)
    return (counts * values).sum(-1) / total.clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is known of a step before the students see its inputs, for R replicas that train together.

    Attributes:
        ids: int (R, B) sample ids.
        inputs: (R, B, ...) what the students are given.
        labels: int (R, B).
        epoch: Counted from 1.
        number: Of the step within its epoch, counted from 0.
        rate: The learning rate of the step.
        counts: (R, B) multiplicities of a bootstrap draw; None where all are 1.
        phase: Name of the phase of the training, "" where there is one only.
        ids_on_host: The ids as an array, so that who chooses by them need not wait for the device; None: not given.
    """

    ids: torch.Tensor
    inputs: torch.Tensor
    labels: torch.Tensor
    epoch: int
    number: int = 0
    rate: float
    counts: torch.Tensor | None = None
    phase: str = ""
    ids_on_host: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Batch(Step):
    """What a method, and whoever records, sees of a step before the update.

    Attributes:
        logits: (R, B, C) what the students answered.
        teacher_logits: (R, B, C), if the method needs "teacher", gives its own, or the epoch is recorded; else None.
        clean_teacher_logits: (R, B, C), if the method needs "clean teacher".
        keys: (R, B) random numbers in [0, 1), if the method needs "random keys".
        features: (R, B, ...) outputs of the student's modules that the method names, by path.
    """

    logits: torch.Tensor
    teacher_logits: torch.Tensor | None = None
    clean_teacher_logits: torch.Tensor | None = None
    keys: torch.Tensor | None = None
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def asked_teacher(self) -> torch.Tensor:
        """The teacher's logits (R, B, C) of a method that needs "teacher"."""
        assert self.teacher_logits is not None  # a study whose arm has no teacher is refused when it is read
        return self.teacher_logits


class Method:
    """One way to train students.

    Attributes:
        Settings: Its settings class, a subclass of `biasvar.study.Arm` whose own keys a study file gives.
        batched: True if the loss takes R replicas in one pass; with False a study needs `backend: sequential` (R = 1).
        features: Paths of student modules whose outputs the loss sees, as `named_modules` names them; R = 1 only.
        max_norm: The students' gradients are clipped to this norm, each replica's by itself; None: they are not.
        settings: The arm's entry in the study.
    """

    Settings: ClassVar[type[Arm]]
    batched: ClassVar[bool] = True
    features: tuple[str, ...] = ()
    max_norm: float | None = None

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @property
    def needs(self) -> frozenset[Need]:
        """What the loss asks the loop for."""
        return frozenset()

    @property
    def splits(self) -> bool:
        """True if a batch may be divided over several devices.

        The loss of a row then depends on no other row of its batch, random numbers come from `batch.keys` alone, and
        training changes nothing of the state but `modules`.
        """
        return False

    def check(self, context: StudyContext) -> None:
        """Raise ValueError, "key: what is wrong", where settings do not go with the study's data and networks.

        Asked before anything is trained, by --dry-run too.
        """

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> Any:
        """The state of these replicas, made once before they train: tensors, modules, tables; handed to every hook."""
        return None

    def loss(self, state: Any, batch: Batch) -> Result:
        """Per-sample losses (R, B) and the weights (R, B) of their soft labels, None where all are 1."""
        raise TypeError(f"{type(self).__name__} has no loss: define loss(self, state, batch)")

    def modules(self, state: Any) -> Sequence[nn.Module]:
        """Modules in the state that the loss trains beside the students, by the same schedule; one for each replica."""
        return ()

    def saved(self, state: Any) -> dict[str, torch.Tensor]:
        """What else training changes in the state: goes into every checkpoint."""
        return {}

    def restore(self, state: Any, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `saved` gave."""

    def tables(self, state: Any) -> Mapping[str, Mapping[str, Any]]:
        """Columns of the tables that the settings name (`Arm.tables`), written once the replicas are trained."""
        return {}

    def before_forward(self, state: Any, students: Replicas, step: Step) -> None:
        """Called before the students see a batch, such as for the step of a teacher that trains along.

        A method that asks the students here puts them back into training mode.
        """

    def teacher_logits(self, state: Any, step: Step) -> torch.Tensor | None:
        """(R, B, C) logits of a teacher that the method has itself, after `before_forward`; None: the study's teacher.

        They are what the batch holds and what is recorded.
        """
        return None

    def asks(self, state: Any, step: Step) -> np.ndarray | None:
        """bool (R, B): the samples that the study's teacher is asked about; the logits of others are 0. None: all.

        For a method that needs "teacher" for some rows only: the others cost no pass of the teacher. Where an epoch is
        recorded, the teacher is asked about them too, apart from those that the loss sees, for the record.
        """
        return None

    def clean_teacher(self, state: Any, inputs: Inputs, ids: torch.Tensor) -> torch.Tensor | None:
        """(R, n, C) what a teacher that the method has itself answers to n samples, the same for every replica.

        Kept wherever the students' predictions are, if the settings say `own_teacher`.
        """
        return None

    def measured(self, state: Any) -> Mapping[str, torch.Tensor]:
        """(R,) numbers of the epoch that ends, by their column of the metrics; called once after each."""
        return {}

    def before_step(self, state: Any, batch: Batch) -> None:
        """Called with every batch before the loss."""

    def after_step(self, state: Any, batch: Batch) -> None:
        """Called with every batch after the students' update, such as for a teacher's own step."""

    def rows(self, context: StudyContext, replicas: Sequence[int]) -> Rows:
        """The training rows of these replicas: all of their draw, or a selection of it."""
        return context.rows(replicas)

    def student(self, network: nn.Module) -> nn.Module:
        """The student that this method trains, made of a fresh one; wherever students are loaded too."""
        return network

    def phases(self, epochs: int) -> Sequence[Phase]:
        """The phases of a training of so many epochs."""
        return (Phase("", epochs),)
