"""Soft labels as data: what a study file may say of the sources that students learn from, one class a kind.

A kind is two files: its class here, and the function that makes its table in `biasvar/training/soft_targets.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from biasvar.analysis.soft_labels.top_k import Rest
from biasvar.study.places import FILE_SUFFIXES, hash_of
from biasvar.study.sections import ArmName, Section, SoftLabelName, TeacherName
from biasvar.votes import PEOPLE

if TYPE_CHECKING:
    People = str
    VotesOf = str
else:  # the names in the records of people's labels
    People = Literal[tuple(PEOPLE)]
    VotesOf = Literal[tuple(dict.fromkeys(vote for source in PEOPLE.values() for vote in source.votes))]

Share = Annotated[float, Field(ge=0, le=1)]
Rows = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(gt=0)]
Concentration = Annotated[float, Field(ge=0)]


class SoftLabel(Section):
    """One row of class probabilities (or scores) for every training row, fixed before a student sees it.

    `labelled` rows, the same for all replicas, carry their label (`label`, `student`) or candidates (`partial`); the
    other rows have nothing, or what the student of another arm says (`student`).
    """

    mixable: ClassVar[bool] = True  # may be a part of a mixture

    kind: str
    name: str = ""  # in figures

    @property
    def raw(self) -> bool:
        """True if they are scores, which need not be distributions."""
        return False

    @property
    def redrawn(self) -> bool:
        """True if they are drawn anew in every epoch."""
        return False

    def with_hash(self) -> Self:
        """With the hash of the file that they lie in, where there is one."""
        return self


class Label(SoftLabel):
    """One-hot labels."""

    kind: Literal["label"]
    labelled: Rows | None = None


class Smoothing(SoftLabel):
    """(1 - smoothing) onehot + smoothing / C."""

    kind: Literal["smoothing"]
    smoothing: float = Field(ge=0, lt=1)


class OfTeacher(SoftLabel):
    """Softmax of a teacher's logits / temperature; one-hot of its first class if `hard`."""

    kind: Literal["teacher"]
    teacher: TeacherName
    temperature: Temperature | None = None
    hard: bool = False


class Revision(SoftLabel):
    """Lan 2024: beta p + (1 - beta) onehot, beta = (1 - margin) / (p_max - p_true + 1)."""

    kind: Literal["revision"]
    teacher: TeacherName
    temperature: Temperature | None = None
    margin: float | None = Field(None, ge=0, lt=1)  # by which the truth is to lead; 0.2 in the paper (its eta is 0.8)
    rows: Literal["all", "wrong"] = "all"  # wrong: only where the teacher's first class is not the label


class Partial(SoftLabel):
    """Uniform on candidates: the truth is dropped with probability `unreliability`, each wrong label added with
    probability `ambiguity`."""

    kind: Literal["partial"]
    unreliability: Share
    ambiguity: Share
    labelled: Rows | None = None


class Noise(SoftLabel):
    """Onehot + scale times standard normal noise: raw scores, unless projected."""

    kind: Literal["noise"]
    scale: float = Field(ge=0)
    redraw: bool = False  # anew in every epoch, not once a sample
    project: bool = False  # onto the nearest distribution

    @property
    def raw(self) -> bool:
        return not self.project

    @property
    def redrawn(self) -> bool:
        return self.redraw


class Votes(SoftLabel):
    """People's labels: the share of `all`, Dirichlet-smoothed by `concentration`; or one-hot: the `majority` (first
    class of a tie), or one that the set of votes names."""

    kind: Literal["votes"]
    people: People
    votes: VotesOf | None = None
    concentration: Concentration | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.votes and self.votes not in PEOPLE[self.people].votes:
            of = ", ".join(name for name, source in PEOPLE.items() if self.votes in source.votes)
            *others, last = PEOPLE[self.people].votes
            raise ValueError(f"votes: {self.votes} is of {of}; {self.people} has {', '.join(others)} and {last}")
        return self


class Random(SoftLabel):
    """A Dirichlet draw that knows nothing."""

    kind: Literal["random"]
    concentration: Concentration | None = None


class OfStudent(SoftLabel):
    """What the student of the same replica of another arm says."""

    mixable = False

    kind: Literal["student"]
    arm: ArmName
    labelled: Rows
    hard: bool = False
    temperature: Temperature | None = None


class File(SoftLabel):
    """Rows by `sample_id`; without that column, and in .npy and .npz, row i is sample i of the data set."""

    kind: Literal["file"]
    path: str  # .npy, .npz or .parquet; relative to the study file that names it
    sha256: str | None = None  # of that file; written out when the study is read, and checked where it is given
    temperature: Temperature | None = None
    normalize: bool = False  # divide rows by their sum
    scores: bool = False  # raw scores, no distributions; with `temperature` the numbers are logits
    project: bool = False  # onto the nearest distribution
    rest: Rest | None = None  # of a file of the largest entries only: what the other classes get

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if Path(self.path).suffix.lower() not in FILE_SUFFIXES:
            raise ValueError(f"path: {self.path} must end in {', '.join(FILE_SUFFIXES)}")
        if self.normalize + self.scores + (self.temperature is not None) > 1:
            raise ValueError("normalize: rows are divided by their sum, or are scores, or logits at a temperature")
        if self.project and not self.scores:
            raise ValueError("project: for scores: true; distributions are their own projection")
        if self.rest and (self.normalize or self.scores or self.temperature is not None):
            raise ValueError("rest: makes distributions: no normalize, scores or temperature beside it")
        return self

    @property
    def raw(self) -> bool:
        return self.scores and not self.project

    def with_hash(self) -> Self:
        """With the hash of the file it names; raises ValueError where that is missing, or another than was given."""
        return self.model_copy(update={"sha256": hash_of(self.path, "path", self.sha256)})


class Pattern(SoftLabel):
    """`mass[j]` on class y + j, counted round: the truth first, then its wrong labels in an order of the class."""

    kind: Literal["pattern"]
    mass: list[float]  # one for each class

    @model_validator(mode="after")
    def _sums(self) -> Self:
        _check_sum("mass", self.mass)
        return self


class Mixture(SoftLabel):
    """Each row from one of the other soft labels, drawn by `shares` once a sample; a larger first share keeps a
    smaller one's."""

    mixable = False

    kind: Literal["mixture"]
    shares: dict[SoftLabelName, float]  # soft label -> its share of the rows

    @model_validator(mode="after")
    def _sums(self) -> Self:
        _check_sum("shares", [*self.shares.values()])
        return self


def _check_sum(key: str, values: list[float]) -> None:
    if min(values, default=-1) < 0 or abs(sum(values) - 1) > 1e-9:
        raise ValueError(f"{key}: must be numbers from 0 up that sum to 1, not {values}")


KINDS: dict[str, type[SoftLabel]] = {
    get_args(found.model_fields["kind"].annotation)[0]: found
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, SoftLabel) and get_args(found.model_fields["kind"].annotation)
}
"""The class of every kind by its name."""
