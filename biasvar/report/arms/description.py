"""What an arm is, from its entry in the run's manifest: its label, and the settings that tell it from other arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biasvar.records import ArmEntry, Run
from biasvar.records.arms import settings_of

OF_THE_TEACHER = ("teacher", "temperature", "alpha")
"""The settings that have a column of their own in the table of arms; what is left tells arms of one loss apart."""

PLAIN = ("distillation", "weighting")
"""The parts whose arms may take all of a teacher's soft labels as they are."""
_WORDS = {
    "shuffle": "weights shuffled",
    "weights_from": "weights from {value}",
    "alpha_from": "α scaled by {value}",
}


_OF_ARMS = ("weights_from", "alpha_from", "search")
"""Settings that name another arm."""


def arm_label(run: Run, arm: str) -> str:
    """The label of an arm, its name if it has none."""
    return run.entry(arm).label


def is_plain(entry: ArmEntry) -> bool:
    """True if an arm's soft labels are its teacher's as the loss takes them: not masked, shuffled, stored, rescaled."""
    return set(entry.settings) <= {"loss", *OF_THE_TEACHER, "learning_rate", "epochs"}


def same_but(run: Run, arm: str, *, plays: str | None = None, **other: Any) -> str | None:
    """The first arm with the settings of `arm` except for those given; its learning rate may differ.

    Rates are chosen per loss, so that two losses compared at equal settings may each have their own. With `plays`, an
    arm whose method plays that part, whatever its loss.
    """
    ignored = {"learning_rate"} if plays is None else {"learning_rate", "loss"}
    wanted = _without(settings_of({**run.entry(arm).settings, **other}), ignored)
    for candidate in run.arms:
        entry = run.entry(candidate)
        if candidate == arm or not entry.loss or plays not in (None, entry.plays):
            continue
        if _without(entry.settings, ignored) == wanted:
            return candidate
    return None


def _without(settings: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def loss_in_words(entry: ArmEntry, labels: Mapping[str, str] | None = None) -> str:
    """The loss of an arm with all settings but its teacher's, "masked distillation, keep other".

    With the labels of arms, settings that name an arm do so by its label.
    """
    name = entry.loss or entry.family or "not said"
    loss = name if ":" in name else name.replace("_", " ")  # a user's own is an import path
    shown = {"loss", name, "learning_rate", "epochs", "num_samples", *OF_THE_TEACHER}
    if name in entry.settings:  # the soft label of loss soft_label
        loss += f" {entry.settings[name]}"
    named = {key: (labels or {}).get(entry.settings[key]) for key in _OF_ARMS if key in entry.settings}
    extras = [_in_words(key, named.get(key) or value) for key, value in entry.settings.items() if key not in shown]
    return ", ".join([loss, *extras])


def _in_words(key: str, value: Any) -> str:
    if key in _WORDS:
        return _WORDS[key].format(value=value)
    name = key.replace("_", " ")
    return name if value is True else f"{name} {_said(value)}"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        said = {
            key: inner for key, inner in value.items() if not (inner is None or inner is False or inner in ([], {}))
        }
        return " and ".join(f"{key} {_said(inner)}" for key, inner in said.items())
    if isinstance(value, list | tuple):
        return " and ".join(map(_said, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
