"""The entries of a study's manifest: of the run as a whole, and of each arm."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from biasvar.records.manifest import read_manifest
from biasvar.study import Study
from biasvar.study.label_noise import LabelNoise
from biasvar.study.streaming import Streamed
from biasvar.training.checkpoints import file_hashes
from biasvar.training.context import StudyContext
from biasvar.training.continuing import begun, fingerprints_of_people, session
from biasvar.training.custom_networks import source_hashes
from biasvar.training.divided import divided_entry


def study_manifest(study: Study, context: StudyContext) -> dict[str, Any]:
    """The manifest of a run: the study, its data, the versions and the device."""
    only = study.data.split
    return {
        "kind": "study",
        "name": study.name,
        "title": study.title,
        "study_hash": _known_hash(study, context.directory),
        "seed": study.seed,
        "num_classes": context.dataset.num_classes,
        "class_names": list(context.dataset.class_names),
        "replicas": study.replicas,
        "draw": {**study.draw.model_dump(), "pool": len(context.blocks["student"])},
        "data": {
            "name": context.dataset.name,
            "path": str(context.dataset.path) if context.dataset.path else None,
            "split": only,
            "note": context.dataset.note + (f"; all rows, test rows too, from its {only} split" if only else ""),
            "fingerprint": context.dataset.fingerprint,
            "size": study.data.size,
            "mode": study.data.mode,
            **({"streamed": _crop(study.data.streamed)} if study.data.streamed else {}),
            "features": context.dataset.images.shape[1] if context.dataset.is_vectors else None,
            **({"held_out": list(context.held_out.class_names)} if context.held_out else {}),
            "test_is_whole_split": _whole_test_split(context),
        },
        **({"views": [view.name for view in study.data.shown]} if study.data.views else {}),
        "reference_teacher": study.reference_teacher,
        "soft_label_files": {
            name: {"path": source.get("path"), "sha256": source.get("sha256")}
            for name, source in study.soft_labels.items()
            if source.get("path")
        },
        "claims": study.claims,
        "arms": {name: {"label": arm.label, "status": "waiting"} for name, arm in study.arms.items()},
        "people": fingerprints_of_people(context),
        "sources": source_hashes(study),
        **begun(study, context.directory),
        **session(study, context, _commit()),
        **divided_entry(context),
    }


def _crop(settings: Streamed) -> dict[str, int]:
    """What is shown of an image in an evaluation, by which a report finds it again."""
    return {"size": settings.image_size, "resize": settings.resize}


def _whole_test_split(context: StudyContext) -> bool:
    """True if the test rows are all of the official test split, the same ones whatever the seed."""
    split = context.dataset.split
    if split is None or context.study.data.split is not None:
        return False
    return len(context.blocks["test"]) == int((split == "test").sum())


def _known_hash(study: Study, directory: Path) -> str:
    """The identity by which a run directory knows the study: an earlier version's where it was begun with that."""
    try:
        begun = read_manifest(directory).get("study_hash")
    except (FileNotFoundError, NotADirectoryError):
        begun = None
    return begun if begun in study.hashes else study.hash


def arm_entry(context: StudyContext, name: str, rates: dict[str, float]) -> dict[str, Any]:
    """The entry of an arm before it is trained."""
    study = context.study
    arm = study.arms[name]
    return {
        **arm.model_dump(mode="json", exclude={"record", "predictions"}),
        "plays": arm.plays,
        **({"own_teacher": True} if arm.own_teacher else {}),
        "regime": study.regime(name),
        "scored_against": study.scored_against(name),
        "record_temperature": arm.tau or study.reference_temperature,
        "uses": study.uses(name),
        "replicas": study.replicas,
        "epochs": study.schedule.epochs,
        "learning_rate": rates[arm.family],
        **_wrong_labels(context, arm.label_noise),
    }


def _wrong_labels(context: StudyContext, noise: LabelNoise | None) -> dict[str, float]:
    """The share of the students' pool whose label is wrong, of an arm with label noise."""
    if noise is None:
        return {}
    ids = context.blocks["student"]
    return {"wrong_labels": float((context.observed(noise)[ids] != context.dataset.labels[ids]).mean())}


def arm_outcome(directory: Path, name: str, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """What is added to the entry of an arm that is done.

    `group_seconds` and `group_processor_seconds` are those of each group of replicas that trained together, from its
    first step to its files; null for a group that went on from a checkpoint or was taken over from another run, and of
    the processor for one that several processes trained.
    """
    failed = [item for group in groups for item in group["failed_replicas"]]
    return {
        "status": "complete",
        "failed_replicas": sorted(failed, key=lambda item: item["replica"]),
        "weights_sha256": file_hashes(directory / "weights" / f"arm={name}"),
        "seconds": round(sum(group["seconds"] for group in groups), 2),
        "group_seconds": [_rounded(group.get("seconds_from_start")) for group in groups],
        "group_processor_seconds": [_rounded(group.get("processor_seconds")) for group in groups],
        "shared_from": sorted({group["shared_from"] for group in groups if group.get("shared_from")}),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _commit() -> str | None:
    """The commit of the source tree this package runs from, with "+changes" if it has any; None outside one."""
    root = Path(__file__).parents[2]
    try:
        text = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"],
            cwd=root, capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return text or None
