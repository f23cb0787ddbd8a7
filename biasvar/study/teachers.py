"""The settings of a teacher in a study file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from biasvar.study.networks import Width, check_model
from biasvar.study.places import FILE_SUFFIXES, hash_of
from biasvar.study.sections import MOST, Section, TeacherName

SEVERAL = ("copies", "crossed", "mean_of", "space")
"""The keys that say how many networks a teacher is, not how each of them is trained."""


class BadTeacher(Section):
    """A teacher that is wrong on purpose: `biasvar.losses.BadTeacherLoss`."""

    k: int = Field(3, ge=2)
    punishment: float = Field(1.0, ge=0)
    compensation: float = Field(1.0, ge=0)
    rivals: float = Field(1.0, ge=0)
    redraw: bool = False  # rivals drawn anew in every epoch, not once a sample


class Teacher(Section):
    """A network that is trained before the students, copies of it, one for each replica, or an ensemble of others.

    `stop: k` leaves it as it is after k epochs of its whole schedule, at the learning rate that it has by then: a poor
    teacher (Yuan et al. 2020, De-KD), the same network that the whole schedule would go on with. `epochs: k` is another
    one, whose rate has fallen to its end after k epochs.

    Copy t, and the teacher of replica t, starts from weights of its own and visits its rows in an order of its own. Of
    a number of `rows` each takes its own. Number 0 is the teacher that there would be without copies. Two teachers with
    the same settings are the same networks unless they count from another number, `first`: the members of an ensemble.

    One that was trained elsewhere is given as a file: the weights of its network (`checkpoint`), or what it says of
    every sample of the study (`logits`), where it cannot be run here and images are not augmented.
    """

    label: str = ""
    model: str = "mlp"
    hidden: list[Width] = Field([256, 256], min_length=1)  # of model mlp
    draw: Literal["fixed", "per_replica"] = "fixed"
    rows: Literal["all", "reserved", "own"] | Annotated[int, Field(ge=1, strict=True)] = "all"
    epochs: int = Field(60, ge=1, le=MOST)
    stop: int | None = Field(None, ge=1)  # after so many epochs of its schedule, which is that of all `epochs`
    batch_size: int = Field(100, ge=1)
    learning_rate: float = Field(0.05, gt=0)
    weight_decay: float | None = Field(None, ge=0)  # none given: the schedule's
    augment: bool = True  # crops and flips of the data in its own training; false: it sees the images as they are
    smoothing: float = Field(0.0, ge=0, lt=1)
    bad: BadTeacher | None = None
    follow: bool = False  # keep accuracy, unreliability and ambiguity on the pool and held-out rows by epoch
    train_mode: bool = False  # BatchNorm on batch statistics while it teaches, as in the code released with WSL
    copies: int = Field(1, ge=1)  # draw fixed: so many are trained, and replica r learns from number r mod copies
    first: int = Field(0, ge=0)  # copies are counted from it: copy t is network number first + t
    crossed: bool = False  # copies: every arm that the teacher teaches is trained with each copy for each replica
    mean_of: list[TeacherName] | None = Field(None, min_length=2)  # an ensemble of these teachers, not trained itself
    space: Literal["probabilities", "logits"] = "probabilities"  # mean_of: whose mean the ensemble's soft label is
    # The network is not trained: .safetensors file of its weights, relative to the study file. It is given
    # what students are: images standardised by channel over the training rows (an mlp: pixels from 0 to 1, flattened);
    # one that was trained on another scale needs a network of one's own that undoes that first.
    checkpoint: str | None = None
    # Instead of a network: .npy, .npz or .parquet file of logits by `sample_id`, or with row i for sample i.
    logits: str | None = None
    sha256: str | None = None  # of that file; written out when the study is read, and checked where it is given

    @model_validator(mode="after")
    def _regime(self) -> Self:
        check_model(self.model)
        self._check_given()
        if self.bad and self.smoothing:
            raise ValueError("bad: its loss has no label smoothing; leave smoothing out")
        if self.rows == "own" and self.draw != "per_replica":
            raise ValueError("rows: own (each replica's own rows) needs draw: per_replica")
        if self.stop is not None and self.stop > self.epochs:
            raise ValueError(f"stop: must be an epoch of its {self.epochs} epochs, not {self.stop}")
        if self.copies > 1 and self.draw == "per_replica":
            raise ValueError("copies: draw: per_replica has a teacher for each replica already; leave copies out")
        if self.first and self.rows == "own":
            raise ValueError(
                "first: with rows: own a teacher has the rows and the number of its replica; leave first out"
            )
        if self.crossed and self.copies == 1:
            raise ValueError("crossed: needs copies: 2 or more, each of which then meets every replica")
        if self.mean_of is not None:
            self._check_ensemble(self.mean_of)
        elif self.space != "probabilities":
            raise ValueError("space: only an ensemble (mean_of) has it; leave it out")
        return self

    def _check_given(self) -> None:
        """Raise ValueError for keys that a teacher given as a file cannot have."""
        if self.file is None:
            if self.sha256 is not None:
                raise ValueError("sha256: of the file of a teacher that is given (checkpoint or logits); leave it out")
            return
        key, path = self.file
        if self.checkpoint is not None and self.logits is not None:
            raise ValueError("checkpoint: and logits are two teachers; give one of them")
        suffixes = {"checkpoint": (".safetensors",), "logits": FILE_SUFFIXES}[key]
        if not path.lower().endswith(suffixes):
            cure = "" if key == "logits" else "; safetensors.torch.save_file(network.state_dict(), path) writes one"
            raise ValueError(f"{key}: {path} must end in {', '.join(suffixes)}{cure}")
        takes = {"label", key, "sha256"} | ({"model", "hidden", "train_mode"} if key == "checkpoint" else set())
        given = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        wrong = sorted(given - takes)
        if wrong:
            raise ValueError(
                f"{key}: a teacher that is given is not trained; leave out {', '.join(wrong)} (it takes "
                f"{', '.join(sorted(takes))})"
            )

    @property
    def file(self) -> tuple[str, str] | None:
        """The key and the path of the file that a teacher is given as; None for one that is trained, or an ensemble."""
        if self.checkpoint is not None:
            return "checkpoint", self.checkpoint
        return None if self.logits is None else ("logits", self.logits)

    @property
    def is_trained(self) -> bool:
        """True for a teacher that the study trains: no ensemble, and not given as a file."""
        return self.mean_of is None and self.file is None

    @property
    def is_network(self) -> bool:
        """True for a teacher with weights of its own: no ensemble and no file of logits."""
        return self.mean_of is None and self.logits is None

    def with_hash(self) -> Self:
        """With the hash of its file; raises ValueError where that is missing, or another than was given."""
        if self.file is None:
            return self
        key, path = self.file
        return self.model_copy(update={"sha256": hash_of(path, key, self.sha256)})

    def _check_ensemble(self, members: list[str]) -> None:
        own = {"label", "mean_of", "space"}
        given = [key for key, field in type(self).model_fields.items() if getattr(self, key) != field.default]
        if set(given) - own:
            raise ValueError(
                f"mean_of: an ensemble is not trained itself; leave out {', '.join(sorted(set(given) - own))}"
            )
        twice = [name for name in dict.fromkeys(members) if members.count(name) > 1]
        if twice:
            raise ValueError(f"mean_of: names {twice[0]} more than once")

    @property
    def regime(self) -> str:
        """The teacher regime, as captions and claims name it."""
        if self.mean_of is not None:
            return f"ensemble of {len(self.mean_of)}"
        if self.file is not None:
            return "fixed, trained elsewhere"
        return self._regime_of_rows + (f", stopped after {self.stop} of {self.epochs} epochs" if self.stop else "")

    @property
    def _regime_of_rows(self) -> str:
        if self.rows == "own":
            return "per replica"
        named = {"all": "all training rows", "reserved": "disjoint rows"}
        rows = named.get(str(self.rows), f"{self.rows} training rows")
        each = "per replica" if self.draw == "per_replica" else "fixed"
        return f"{each}, {rows}" + (f", {self.copies} copies" if self.copies > 1 else "")

    def described(self) -> dict[str, Any]:
        """Its keys and their values: of an ensemble, and of one that is given as a file, those that it has."""
        ensemble, given = {"mean_of", "space"}, {"checkpoint", "logits", "sha256"}
        if self.mean_of:
            return self.model_dump(include={"label", *ensemble})
        if self.logits is not None:
            return self.model_dump(include={"label", "logits", "sha256"})
        if self.checkpoint is not None:
            return self.model_dump(include={"label", "model", "hidden", "train_mode", "checkpoint", "sha256"})
        return self.model_dump(exclude=ensemble | given)
