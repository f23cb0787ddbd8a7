"""The identity of a study: a hash of what decides its numbers, by which a run directory knows the study it holds.

Version 2 hashes the keys that are not at their default, so that a key with a default can be added and no study changes.
Version 1, of runs begun before, hashed every key there was then, null or not; it stays recognised. A default that
changes needs a new version here: the same file would mean another study.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

VERSION = 2
SHOWN = ("title", "redraws", "claims_fixed", "designs_tried", "sweep")
"""Keys of a study that decide none of its numbers; more redraws leave those that are there as they are."""
NO_IDENTITY = {
    "arms": ("label", "swept"),
    "teachers": ("label", "checkpoint", "logits"),
    "soft_labels": ("name", "path"),
    "data": ("workers",),
}
"""Keys that say how something is shown or where it lies, or how it is read."""
KEPT = {"record": ("rows", "clean_train"), "predictions": ("beside",)}
"""Keys of a study and its arms that say what of the same numbers is kept."""

# The sections of version 1 in which a key counted at its default too, with all their keys of that time.
_ARM_V1: dict[str, Any] = {
    **dict.fromkeys(("teacher", "temperature", "alpha", "smoothing", "keep", "soft_label", "measure", "k")),
    **{"weights_from": None, "alpha_from": None, "shuffle": False},
    **dict.fromkeys(("loss", "role", "family", "record", "predictions")),
}
_SOFT_LABEL_V1: dict[str, Any] = {
    **dict.fromkeys(("kind", "teacher", "temperature", "margin", "smoothing", "unreliability", "ambiguity", "scale")),
    **dict.fromkeys(("people", "votes", "concentration", "arm", "labelled")),
    **dict.fromkeys(("hard", "redraw", "project"), False),
}
_TEACHER_V1 = (
    *("model", "hidden", "draw", "rows", "epochs", "batch_size", "learning_rate", "smoothing", "bad", "follow"),
    "train_mode",
)
_DATA_V1 = ("name", "test", "validation", "reserved", "student", "crop", "flip")
_SCHEDULE_V1 = (
    *("epochs", "batch_size", "momentum", "nesterov", "weight_decay", "decay", "milestones", "gamma", "warmup"),
    "precision",
)
_RATE_V1 = ("value", "grid", "replicas", "families")
_STUDY_V1 = (
    *("name", "seed", "replicas", "backend", "keep_teachers", "keep_views", "share", "threads", "student", "draw"),
    *("schedule", "learning_rate", "evaluate_every", "checkpoint_every", "record", "predictions", "reference_teacher"),
    *("reference_temperature", "claims"),
)
# Keys that version 1 left out where nobody set them.
_LATER_V1 = {
    "arms": (),
    "teachers": ("weight_decay", "augment"),
    "soft_labels": ("sha256", "normalize", "scores", "mass", "shares"),
}


def identity(chosen: dict[str, Any]) -> str:
    """The hash of a study, 16 characters, from its keys that are not at their default, in canonical JSON.

    Of a file of soft labels the content counts, not the place.
    """
    content = copy.deepcopy(chosen)
    for word in SHOWN:
        content.pop(word, None)
    for entry in content.get("soft_labels", {}).values():
        entry.update(in_order(entry))
    for section, words in NO_IDENTITY.items():
        for entry in content.get(section, {}).values():
            for word in words if isinstance(entry, dict) else ():
                entry.pop(word, None)
    _leave_out_kept(content)
    for key in KEPT:
        if not content.get(key, True):
            del content[key]
    return _hash({"version": VERSION, **content})


def _leave_out_kept(content: dict[str, Any]) -> None:
    for section in (content, *content.get("arms", {}).values()):
        for key, words in KEPT.items():
            for word in words:
                (section.get(key) or {}).pop(word, None)


def in_order(entry: dict[str, Any]) -> dict[str, Any]:
    """The keys of a soft label whose own order counts, as pairs: which rows a part of a mixture gets depends on it."""
    return {"shares": [*entry["shares"].items()]} if "shares" in entry else {}


def first_identity(every: dict[str, Any], chosen: dict[str, Any]) -> str | None:
    """The hash that version 1 gave a study; None if the study says something that studies could not say then.

    Args:
        every: All its keys.
        chosen: Those that are not at their default.
    """
    every = copy.deepcopy(every)
    _leave_out_kept(every)
    content: dict[str, Any] = {key: every.pop(key) for key in _STUDY_V1}
    content["student"] = _kept(content["student"], chosen.get("student", {}), ("model", "hidden"), ())
    content["data"] = _kept(every.pop("data"), chosen.get("data", {}), _DATA_V1, ("split",))
    content["learning_rate"] = _kept(content["learning_rate"], chosen.get("learning_rate", {}), _RATE_V1, ())
    content["schedule"] = _kept(content["schedule"], chosen.get("schedule", {}), _SCHEDULE_V1, ())
    keys = {"arms": tuple(_ARM_V1), "teachers": _TEACHER_V1, "soft_labels": tuple(_SOFT_LABEL_V1)}
    fill = {"arms": _ARM_V1, "teachers": {}, "soft_labels": _SOFT_LABEL_V1}
    for section, old in keys.items():
        shown = NO_IDENTITY[section]
        content[section] = {}
        for name, entry in every.pop(section).items():
            given = {key: value for key, value in chosen[section][name].items() if key not in shown}
            kept = _kept(entry, given, old, _LATER_V1[section])
            content[section][name] = None if kept is None else {**fill[section], **kept}
    sections = [content[key] for key in ("student", "data", "learning_rate", "schedule")]
    entries = [*sections, *(entry for section in keys for entry in content[section].values())]
    newer = set(every) & set(chosen) - {*SHOWN}
    return None if newer or None in entries else _hash(content)


def _kept(
    entry: dict[str, Any], chosen: dict[str, Any], old: tuple[str, ...], later: tuple[str, ...]
) -> dict[str, Any] | None:
    """The keys of an entry that version 1 hashed; None if it sets one that was not there then."""
    if set(chosen) - {*old, *later}:
        return None
    return {key: value for key, value in entry.items() if key in old or (key in later and key in chosen)}


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
