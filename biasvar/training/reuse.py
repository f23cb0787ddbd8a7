"""Reuse of arms of other runs: the same settings give the same numbers, so their files are copied.

An arm's identity is a hash of everything that its numbers depend on. Of two studies with the same seed, replica r of an
arm is the same training however many replicas each of them has, as long as replicas train one by one.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import biasvar
from biasvar.data.human_labels import load_people
from biasvar.errors import BiasvarError
from biasvar.files import write_bytes
from biasvar.records import Run, RunWriter, open_run
from biasvar.records.schema import (
    method_table_path,
    metrics_path,
    prediction_path,
    record_path,
    view_prediction_path,
    weights_path,
)
from biasvar.records.stored_files import SAMPLE_FOLDERS, StoredFile, stored_files
from biasvar.study import Study, Teacher
from biasvar.study.arms import Predictions, Record
from biasvar.study.identity import in_order
from biasvar.study.import_path import source_hash
from biasvar.study.schema import JACKKNIFE_GROUPS
from biasvar.study.sections import Section
from biasvar.training.context import StudyContext

# Parts of the package that decide no number of an arm. A part that is not named counts, a new one above all.
NO_NUMBERS = (
    "__init__.py",  # the list of public names
    *("errors.py", "files.py", "interrupts.py", "messages.py"),  # words, and files written whole
    *("run.py", "report"),  # the command, and what is drawn afterwards
    # How a study file is read: an arm's identity holds its settings as they were resolved. What the settings mean (the
    # channels of a network, which copy of a teacher a replica meets) counts.
    *(f"study/{name}.py" for name in ("__init__", "checks", "choosing", "claims", "crossing", "defaults", "identity")),
    *("study/keys.py", "study/meanings.py"),
    *(f"study/{name}.py" for name in ("import_path", "places", "reading", "statements", "sweep", "yaml_text")),
    # Where pixels come from and how they are decoded: the identity holds the fingerprint of the pixels.
    *(f"data/{name}.py" for name in ("cache", "decode", "hub", "images", "layout", "parquet", "sizes", "vectors")),
    *(f"data/{name}.py" for name in ("class_folders", "contents", "numpy_data", "saved_datasets", "sources")),
    *(f"data/{name}.py" for name in ("table_files", "writing")),
    # What is only estimated from finished records.
    *("analysis/decomposition", "analysis/statistics/jackknife.py", "analysis/statistics/verdicts.py"),
    *(f"training/{name}.py" for name in ("checks", "completeness", "continuing", "cost", "from_python", "manifest")),
    *("training/memory.py", "training/template.py"),
    *("training/drivers.py", "training/far_worker.py", "training/ray_executor.py"),  # where it is computed
    "training/reuse.py",
    "records/manifest.py",  # a shape that a file must have
)


@cache
def code_hash() -> str:
    """SHA-256 of the code that decides an arm's numbers; comments, docstrings and layout do not count."""
    return hash_sources(Path(biasvar.__file__).parent)


def hash_sources(root: Path) -> str:
    """SHA-256 of the statements of a package's modules, without those of `NO_NUMBERS`.

    What counts of a module is its name and its syntax tree without docstrings. A tree is written differently by other
    versions of Python, under which arms are then trained anew.

    Args:
        root: The folder of the package.
    """
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not any(name == part or name.startswith(f"{part}/") for part in NO_NUMBERS):
            digest.update(f"{name}\0{_statements(path.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()


def _statements(source: str) -> str:
    """The syntax tree of a module as text, without statements that are only a string.

    >>> _statements("x = 1  # one") == _statements("'A module.'; x = 1")
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_string(statement)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_string(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def identity_of(context: StudyContext, name: str, rate: float, others: dict[str, str] | None = None) -> str:
    """Identity of an arm at a learning rate; `others` are the identities of the arms whose record it uses."""
    study = context.study
    arm = study.arms[name]
    together = study.backend == "batched" or study.draw.kind == "disjoint" or study.replicas > JACKKNIFE_GROUPS
    scored = study.scored_against(name)
    depends = {
        "code": code_hash(),
        "packages": [version("torch"), version("numpy")],
        "sources": {path: value for path in _own_code(study, name) if (value := source_hash(path)) is not None},
        "device": context.device.type,
        **({"devices": context.ranks.world} if context.ranks.world > 1 else {}),
        "fingerprint": context.dataset.fingerprint,
        "study": study.model_dump(
            mode="json",
            include={"seed", "backend", "threads", "data", "student", "draw", "schedule", "evaluate_every"},
        ),
        "replicas": study.replicas if together else None,
        "name": name,
        "arm": _described(study, arm, {"label", "role", "family", "record", "predictions", "swept"}),
        "teacher": [scored, _teacher(study, scored) if scored in study.teachers else None],
        "reference_temperature": None if arm.tau else study.reference_temperature,
        "rate": rate,
        "uses": {other: (others or {}).get(other) for other in study.uses(name)},
    }
    people = {name for section in _sections(study, arm) if (name := section.get("people"))}
    if people:  # what they said is read from files of their own
        depends["people"] = {name: load_people(name, context.dataset).fingerprint for name in sorted(people)}
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:24]


def _own_code(study: Study, name: str) -> list[str]:
    """The method and the networks that decide an arm's numbers; arms that it uses have an identity of their own."""
    arm = study.arms[name]
    scored = study.teachers.get(study.scored_against(name) or "")
    sections = [part for section in (arm, *([scored] if scored else [])) for part in _sections(study, section)]
    taught = {section.model for section in sections if isinstance(section, Teacher)}
    return sorted({arm.loss, (arm.student or study.student).model, *arm.models, *taught})


def _sections(study: Study, section: Section) -> Iterator[Section]:
    """A section, and the teachers and soft labels that it names, through ensembles and mixtures."""
    yield section
    for _, mark, other in section.references():
        if mark.to == "soft label":
            yield from _sections(study, study.soft_labels[other])
        elif other in study.teachers and mark.to != "arm":
            yield from _sections(study, study.teachers[other])


def _described(study: Study, section: Section, shown: set[str]) -> dict[str, Any]:
    """A section without what is only shown, and with the teachers and soft labels that it names; of a file, its
    content."""
    named = {
        other: _teacher(study, other) if other in study.teachers else None
        for _, mark, other in section.references()
        if mark.to in ("teacher", "taught by")
    }
    named |= {
        other: _described(study, study.soft_labels[other], {"name", "path"})
        for _, mark, other in section.references()
        if mark.to == "soft label"
    }
    described = section.model_dump(mode="json", exclude=shown)
    return {**described, **in_order(described), "named": named}


def _teacher(study: Study, name: str) -> dict[str, Any]:
    """A teacher, and those that an ensemble is made of."""
    return _described(study, study.teachers[name], {"label", "checkpoint", "logits"})


def shared_runs(directory: Path, study: Study) -> list[Run]:
    """The runs beside this one that the study shares arms with, as far as they are there."""
    found = []
    for name in study.share:
        try:
            run = open_run(directory.resolve().parent / name)
            is_study = run.study is not None
        except (FileNotFoundError, BiasvarError):
            continue  # nothing to take over: the arm is trained
        if is_study:
            found.append(run)
    return found


def take_over(writer: RunWriter, study: Study, name: str, number: int, identity: str) -> dict[str, Any] | None:
    """Copy one group of an arm from a run that holds it; None if no run does.

    The run must hold at least the epochs of records and predictions that this study keeps.
    """
    mine = study.arms[name]
    for run in shared_runs(writer.directory, study):
        entry = run.manifest["arms"].get(name, {})
        if entry.get("identity") != identity or entry.get("status") != "complete":
            continue
        theirs, epochs = run.study["arms"][name], study.schedule.epochs  # type: ignore[index]
        record, kept = Record(**theirs["record"]), Predictions(**theirs["predictions"])
        assert mine.record is not None  # written out when the study was resolved
        assert mine.predictions is not None
        if not (
            mine.record.selected(epochs) <= record.selected(epochs)
            and mine.record.kept(epochs) <= record.kept(epochs)
            and mine.predictions.selected(epochs) <= kept.selected(epochs)
            and (record.clean_train or not mine.record.clean_train)
            and (kept.train or not mine.predictions.train)
            and mine.predictions.splits(last=True) <= kept.splits(last=True)
        ):
            continue
        named = [metrics_path(run.directory, name, number), weights_path(run.directory, name, number)]
        named += [method_table_path(run.directory, table, name, number) for table in study.tables_of(name)]
        files = [path for path in named if path.is_file()]
        for folder in SAMPLE_FOLDERS:
            there = (run.directory / folder / f"arm={name}").is_dir()
            found: list[StoredFile] = stored_files(run.directory, folder, arm=name) if there else []
            files += [file.path for file in found if file.group == number]
        if not all(path.is_file() for path in needed_files(run.directory, study, name, number)):
            continue  # it has fewer replicas, or files were taken away
        for path in files:
            write_bytes(writer.directory / path.relative_to(run.directory), path.read_bytes())
        replicas = set(pd.read_parquet(files[0], columns=["replica"])["replica"].tolist())
        failed = [item for item in entry.get("failed_replicas", []) if item["replica"] in replicas]
        return {"failed_replicas": failed, "seconds": 0.0, "shared_from": run.name}
    return None


def needed_files(directory: Path, study: Study, name: str, number: int) -> list[Path]:
    """The files that a group of an arm leaves in a run directory, whichever replicas it has."""
    arm, epochs = study.arms[name], study.schedule.epochs
    views = [view.name for view in study.data.shown]
    assert arm.record is not None  # written out when the study was resolved
    assert arm.predictions is not None
    recorded = ("train", "test") if arm.record.clean_train else ("test",)
    of_whom = ("students", "teacher") if arm.own_teacher else ("students",)
    return [
        metrics_path(directory, name, number),
        weights_path(directory, name, number),
        *(method_table_path(directory, table, name, number) for table in study.tables_of(name)),
        *(record_path(directory, name, split, "clean", epochs, number) for split in recorded),
        *(record_path(directory, name, "train", "augmented", e, number) for e in arm.record.kept(epochs)),
        *(
            prediction_path(directory, name, split, membership, e, number, of=of)
            for of in of_whom
            for e in arm.predictions.selected(epochs)
            for split in sorted(arm.predictions.splits(last=e == epochs))
            for membership in (("member", "nonmember") if split == "train" else ("all",))
        ),
        *(view_prediction_path(directory, name, "test", view, epochs, number) for view in views),
        *(record_path(directory, name, "test", view, epochs, number, views=views) for view in views),
    ]


def tuned_elsewhere(context: StudyContext, family: str, identities: list[str]) -> pd.DataFrame | None:
    """The learning-rate trials of a family from a run that made the same ones."""
    for run in shared_runs(context.directory, context.study):
        if run.manifest.get("tuning", {}).get(family) == identities and run.tuning is not None:
            return run.tuning.query("family == @family")
    return None
