"""Soft labels as data: what a study file may say of the sources that students learn from."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from biasvar.study.sections import Section

Kind = Literal["label", "smoothing", "teacher", "revision", "partial", "noise", "votes", "random", "student"]
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
}


LABELLED_SPLIT = {"cifar10h": "test", "cifar10n": "train"}
"""The official split of CIFAR-10 that these people labelled."""


class SoftLabel(Section):
    """One row of class probabilities (or scores) for every training row, fixed before a student sees it.

    Kinds: `label` (one-hot), `smoothing`, `teacher` (softmax of its logits / temperature; one-hot of its first class if
    `hard`), `revision` (Lan 2024: beta p + (1 - beta) onehot, beta = (1 - margin) / (p_max - p_true + 1)), `partial`
    (the truth is dropped with probability `unreliability`, each wrong label added with probability `ambiguity`; uniform
    on the candidates), `noise` (onehot + scale times standard normal noise), `votes` (people's: the
    share of `all`, Dirichlet-smoothed by `concentration`; or one-hot: the `majority`, first class of a tie, or one of
    CIFAR-10N's own), `random` (a Dirichlet
    draw that knows nothing), `student` (of the same replica of another arm).

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
    people: Literal["cifar10h", "cifar10n"] | None = None
    votes: Literal["all", "majority", "random1", "random2", "random3", "aggregate", "worst"] | None = None
    concentration: float | None = Field(None, ge=0)
    arm: str | None = None
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
        if self.votes not in (None, "all", "majority") and self.people != "cifar10n":
            raise ValueError(f"votes: {self.votes} is of cifar10n; cifar10h has all and majority")
        return self
