"""What a run's manifest says of an arm, as a type: who it is, how it was kept, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from biasvar.records.schema import check_name

BOOKKEEPING = frozenset(
    {
        *(
            "label",
            "role",
            "family",
            "plays",
            "record",
            "predictions",
            "regime",
            "scored_against",
            "own_teacher",
            "record_temperature",
            "uses",
            "swept",
            "wrong_labels",
        ),
        *("replicas", "identity", "status", "failed_replicas", "weights_sha256", "seconds", "shared_from"),
        *("group_seconds", "group_processor_seconds"),
        *("files", "values", "clip", "duplicates_dropped", "control", "kept_predictions", "recording", "warnings"),
    }
)
"""Keys of an entry that say how an arm is named, read and kept. All others decide what its students learn."""

PARTS = {
    "cross_entropy": "baseline", "label_smoothing": "smoothing", "distillation": "distillation",
    "weighted_soft_label": "weighting", "masked_distillation": "masking", "soft_label": "soft labels",
    "dfa": "features", "dfa_search": "features",
    "prokt": "joint distillation",
    "infodrop": "dropout",
    "tfkd_self": "distillation", "tfkd_reg": "smoothing",
    "label_revision": "revision",
}  # fmt: skip
"""The parts of the losses in runs from before an entry said what part its method plays in figures and contrasts."""


def described(name: str, *, label: str | None, loss: str | None, control: str | None) -> dict[str, Any]:
    """What somebody's own loop, or an import, says of an arm, as entries of the manifest; None is not said.

    Raises:
        ValueError: An arm that is its own control, empty words.
        RecordError: Names that cannot be those of arms.
    """
    for key, said in {"label": label, "loss": loss, "control": control}.items():
        if said is not None and not said.strip():
            raise ValueError(f"{key} of arm {name!r} must say something, not {said!r}")
    if control is not None:
        check_name(control, "control")
        if control == name:
            raise ValueError(f"control of arm {name!r} must be another arm, the one that it is compared with")
    plays = None if loss is None else PARTS.get(loss)
    words = {"label": label, "loss": loss, "plays": plays, "control": control}
    return {key: word for key, word in words.items() if word is not None}


@dataclass(frozen=True)
class FailedReplica:
    """A replica that ended at chance or not finite, and which of the two."""

    replica: int
    reason: str


@dataclass(frozen=True)
class ArmEntry:
    """An arm as the run's manifest describes it; a recorder, an import or an older version may say little.

    Attributes:
        name, label: The label is the name where there is none.
        status: "waiting", "complete" or None for one that is under way or that a recorder wrote.
        loss: None if the run does not say.
        plays: The part that its method plays in figures and contrasts, of `biasvar.study.arms.Part`; None for none.
        family: Arms of one family share a learning rate; None if the run does not say.
        role: "main" where none is said. regime: of its teacher, "none" without one.
        replicas: How many were to be trained; None if the run does not say.
        failed: The replicas that are at chance or not finite.
        shared_from: Runs from which the arm was taken over, untrained.
        settings: What its students learn and how, less what is at "none" or "no"; see `settings_of`.
        swept: Of an arm of a sweep, its values by the keys that were swept.
        control: The arm that it is compared with, where the run says so.
    """

    name: str
    label: str
    status: str | None
    loss: str | None
    plays: str | None
    family: str | None
    role: str
    regime: str
    replicas: int | None
    failed: tuple[FailedReplica, ...]
    shared_from: tuple[str, ...]
    settings: Mapping[str, Any]
    swept: Mapping[str, float]
    control: str | None = None

    @staticmethod
    def read(name: str, entry: Mapping[str, Any]) -> ArmEntry:
        """The entry of the arm of that name."""
        failed = entry.get("failed_replicas") or []
        return ArmEntry(
            name=name,
            label=str(entry.get("label") or name),
            status=entry.get("status"),
            loss=entry.get("loss") or None,
            plays=entry.get("plays") or PARTS.get(entry.get("loss") or ""),
            family=entry.get("family") or None,
            role=entry.get("role") or "main",
            regime=entry.get("regime") or "none",
            replicas=entry.get("replicas"),
            failed=tuple(FailedReplica(int(item["replica"]), str(item["reason"])) for item in failed),
            shared_from=tuple(entry.get("shared_from") or ()),
            settings=settings_of(entry),
            swept=dict(entry.get("swept") or {}),
            control=entry.get("control") or None,
        )

    @property
    def teacher(self) -> str | None:
        """The study's teacher that the arm learns from."""
        return self.setting("teacher")

    @property
    def temperature(self) -> float | None:
        """Of the soft label in the loss."""
        return self.setting("temperature")

    @property
    def alpha(self) -> float | None:
        """Weight of the soft label in the loss."""
        return self.setting("alpha")

    @property
    def learning_rate(self) -> float | None:
        """At which its students were trained."""
        return self.setting("learning_rate")

    @property
    def soft_label(self) -> str | None:
        """The study's soft label that is all that its students learn from."""
        return self.setting("soft_label")

    def setting(self, key: str) -> Any:
        """A setting of the arm's method, a user's own too; None where it has none or it is off."""
        return self.settings.get(key)

    def shares(self, other: ArmEntry, *keys: str) -> bool:
        """True if both arms have the same values of these settings."""
        return all(self.setting(key) == other.setting(key) for key in keys)


def settings_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an arm that are not at "none" or "no": what its students learn, and how.

    They are read off the entry, not off a list of losses, so that a setting of a new or of a user's own method counts.
    """
    nothing: tuple[Any, ...] = ("", [], {}, ())
    known = {key: value for key, value in entry.items() if key not in BOOKKEEPING}
    return {key: value for key, value in known.items() if not (value is None or value is False or value in nothing)}


def hashable(value: Any) -> Any:
    """A setting's value as a key: lists and objects as tuples."""
    if isinstance(value, Mapping):
        return tuple((key, hashable(inner)) for key, inner in sorted(value.items()))
    return tuple(hashable(inner) for inner in value) if isinstance(value, list | tuple) else value
