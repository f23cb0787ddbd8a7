"""What an arm is, from its entry in the run's manifest: its label, and the settings that tell it from other arms."""

from __future__ import annotations

from typing import Any

from biasvar.records import Run

BOOKKEEPING = frozenset(
    {
        *("label", "role", "family", "record", "predictions", "regime", "scored_against", "record_temperature", "uses"),
        *("replicas", "identity", "status", "failed_replicas", "weights_sha256", "seconds", "shared_from"),
        *("files", "values", "clip"),
    }
)
"""Keys of an entry that say how an arm is named, read and kept. All others decide what its students learn."""

OF_THE_TEACHER = ("teacher", "temperature", "alpha")
"""The settings that have a column of their own in the table of arms; what is left tells arms of one loss apart."""

PLAIN_LOSSES = ("distillation", "weighted_soft_label")
_WORDS = {
    "shuffle": "weights shuffled",
    "weights_from": "weights from {value}",
    "alpha_from": "α scaled by {value}",
}


def arm_label(run: Run, arm: str) -> str:
    """The label of an arm, its name if it has none."""
    return str(run.arm(arm).get("label") or arm)


def settings(entry: dict[str, Any]) -> dict[str, Any]:
    """The settings of an arm that are not at "none" or "no": what its students learn, and how.

    They are read off the entry, not off a list of losses, so that a setting of a new or of a user's own method counts.
    """
    known = {key: _frozen(value) for key, value in entry.items() if key not in BOOKKEEPING}
    return {key: value for key, value in known.items() if not (value is None or value is False or value in ("", ()))}


def _frozen(value: Any) -> Any:
    """A value that can be a key: lists and objects as tuples."""
    if isinstance(value, dict):
        return tuple((key, _frozen(inner)) for key, inner in sorted(value.items()))
    return tuple(_frozen(inner) for inner in value) if isinstance(value, list | tuple) else value


def is_plain(entry: dict[str, Any]) -> bool:
    """True if an arm's soft labels are its teacher's as the loss takes them: not masked, shuffled, stored, rescaled."""
    return set(settings(entry)) <= {"loss", *OF_THE_TEACHER, "learning_rate", "epochs"}


def same_but(run: Run, arm: str, **other: Any) -> str | None:
    """The first arm with the settings of `arm` except for those given; its learning rate may differ.

    Rates are chosen per loss, so that two losses compared at equal settings may each have their own.
    """
    wanted = _but_rate(run.arm(arm) | other)
    for candidate in run.arms:
        entry = run.arm(candidate)
        if candidate != arm and entry.get("loss") and _but_rate(entry) == wanted:
            return candidate
    return None


def _but_rate(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings(entry).items() if key != "learning_rate"}


def loss_in_words(entry: dict[str, Any]) -> str:
    """The loss of an arm with all settings but its teacher's, "masked distillation, keep other"."""
    name = str(entry.get("loss") or entry.get("family") or "not said")
    loss = name if ":" in name else name.replace("_", " ")  # a user's own is an import path
    shown = {"loss", name, "learning_rate", "epochs", *OF_THE_TEACHER}
    if name in entry:  # the soft label of loss soft_label
        loss += f" {entry[name]}"
    extras = [_in_words(key, entry[key]) for key in settings(entry) if key not in shown]
    return ", ".join([loss, *extras])


def _in_words(key: str, value: Any) -> str:
    if key in _WORDS:
        return _WORDS[key].format(value=value)
    name = key.replace("_", " ")
    return name if value is True else f"{name} {_said(value)}"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return " and ".join(f"{key} {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return " and ".join(map(_said, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
