"""Soft labels as data: what a study file may say of the sources that students learn from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from biasvar.study.sections import Section
from biasvar.votes import PEOPLE

Kind = Literal[
    "label", "smoothing", "teacher", "revision", "partial", "noise", "votes", "random", "student", "file", "pattern",
    "mixture",
]  # fmt: skip
# What each kind takes beside `kind` and `name`: needed, optional.
SOFT_LABEL_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "label": (set(), {"labelled"}),
    "smoothing": ({"smoothing"}, set()),
    "teacher": ({"teacher"}, {"temperature", "hard"}),
    "revision": ({"teacher"}, {"temperature", "margin"}),
    "partial": ({"unreliability", "ambiguity"}, {"labelled"}),
    "noise": ({"scale"}, {"redraw", "project"}),
    "votes": ({"people"}, {"votes", "concentration"}),
    "random": (set(), {"concentration"}),
    "student": ({"arm", "labelled"}, {"hard", "temperature"}),
    "file": ({"path"}, {"sha256", "temperature", "normalize", "scores", "project"}),
    "pattern": ({"mass"}, set()),
    "mixture": ({"shares"}, set()),
}
# What a file may be: those that `biasvar.records.soft_labels.open_soft_labels` reads.
FILE_SUFFIXES = (".npy", ".npz", ".parquet")
if TYPE_CHECKING:
    People = str
    Votes = str
else:  # the names in the records of people's labels
    People = Literal[tuple(PEOPLE)]
    Votes = Literal[tuple(dict.fromkeys(vote for source in PEOPLE.values() for vote in source.votes))]


class SoftLabel(Section):
    """One row of class probabilities (or scores) for every training row, fixed before a student sees it.

    Kinds: `label` (one-hot), `smoothing`, `teacher` (softmax of its logits / temperature; one-hot of its first class if
    `hard`), `revision` (Lan 2024: beta p + (1 - beta) onehot, beta = (1 - margin) / (p_max - p_true + 1)), `partial`
    (the truth is dropped with probability `unreliability`, each wrong label added with probability `ambiguity`; uniform
    on the candidates), `noise` (onehot + scale times standard normal noise), `votes` (people's: the share of `all`,
    Dirichlet-smoothed by `concentration`; or one-hot: the `majority`, first class of a tie, or one of CIFAR-10N's own),
    `random` (a Dirichlet draw that knows nothing), `student` (of the same replica of another arm), `file` (rows by
    `sample_id`; without that column, and in .npy and .npz, row i is sample i of the data set), `pattern` (`mass[j]` on
    class y + j, counted round: the truth first, then its wrong labels in an order that is fixed for the class),
    `mixture` (each row from one of the other soft labels, drawn by `shares` once a sample; a larger first share keeps a
    smaller one's).

    `labelled` rows, the same for all replicas, carry their label (`label`, `student`) or candidates (`partial`); the
    other rows have nothing, or what the student of another arm says (`student`).
    """

    kind: Kind
    name: str = ""  # in figures
    teacher: str | None = None
    temperature: float | None = Field(None, gt=0)
    hard: bool = False
    margin: float | None = Field(None, gt=0, lt=1)  # by which the truth is to lead; 0.2 in the paper (its eta is 0.8)
    smoothing: float | None = Field(None, ge=0, lt=1)
    unreliability: float | None = Field(None, ge=0, le=1)
    ambiguity: float | None = Field(None, ge=0, le=1)
    scale: float | None = Field(None, ge=0)
    redraw: bool = False  # noise: anew in every epoch, not once a sample
    project: bool = False  # noise: onto the nearest distribution
    people: People | None = None
    votes: Votes | None = None
    concentration: float | None = Field(None, ge=0)
    arm: str | None = None
    path: str | None = None  # .npy, .npz or .parquet; relative to the study file that names it
    sha256: str | None = None  # of that file; written out when the study is read, and checked where it is given
    normalize: bool = False  # file: divide rows by their sum
    scores: bool = False  # file: raw scores, no distributions; with `temperature` the numbers are logits
    mass: list[float] | None = None  # one for each class
    shares: dict[str, float] | None = None  # soft label -> its share of the rows
    labelled: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _keys(self) -> Self:
        needed, optional = SOFT_LABEL_KEYS[self.kind]
        settings = {key: getattr(self, key) for key in set(SoftLabel.model_fields) - {"kind", "name"}}
        given = {key for key, value in settings.items() if value is not None and value is not False}
        if needed - given:
            raise ValueError(f"{min(needed - given)}: needed for kind {self.kind}")
        if given - needed - optional:
            takes = ", ".join(sorted(needed | optional)) or "nothing more"
            raise ValueError(f"{min(given - needed - optional)}: not used by kind {self.kind}, which takes {takes}")
        if self.votes and self.people and self.votes not in PEOPLE[self.people].votes:
            of = ", ".join(name for name, source in PEOPLE.items() if self.votes in source.votes)
            *others, last = PEOPLE[self.people].votes
            raise ValueError(f"votes: {self.votes} is of {of}; {self.people} has {', '.join(others)} and {last}")
        if self.path is not None and Path(self.path).suffix.lower() not in FILE_SUFFIXES:
            raise ValueError(f"path: {self.path} must end in {', '.join(FILE_SUFFIXES)}")
        if self.normalize + self.scores + (self.temperature is not None and self.kind == "file") > 1:
            raise ValueError("normalize: rows are divided by their sum, or are scores, or logits at a temperature")
        if self.kind == "file" and self.project and not self.scores:
            raise ValueError("project: for scores: true; distributions are their own projection")
        shares = None if self.shares is None else [*self.shares.values()]
        for key, values in (("mass", self.mass), ("shares", shares)):
            if values is not None and (min(values, default=-1) < 0 or abs(sum(values) - 1) > 1e-9):
                raise ValueError(f"{key}: must be numbers from 0 up that sum to 1, not {values}")
        return self

    @property
    def raw(self) -> bool:
        """Whether they are scores, which need not be distributions."""
        return (self.kind == "noise" or self.scores) and not self.project

    def with_hash(self) -> SoftLabel:
        """With the hash of the file it names; raises ValueError where that is missing, or another than was given."""
        if self.path is None:
            return self
        try:
            with open(self.path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ValueError(f"path: {self.path} cannot be read ({error.strerror})") from None
        if self.sha256 not in (None, found):
            raise ValueError(f"sha256: {self.path} is another file now: its SHA-256 is {found}, not {self.sha256}")
        return self.model_copy(update={"sha256": found})
