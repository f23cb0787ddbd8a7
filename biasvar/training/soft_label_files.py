"""Soft labels that a study takes from a file: found by sample id, and checked before anything is trained."""

from __future__ import annotations

import numpy as np

from biasvar.analysis.batches import checked_batch
from biasvar.analysis.scale import ScaleEvidence
from biasvar.data import Dataset
from biasvar.errors import BiasvarError, StudyError
from biasvar.messages import first_few
from biasvar.records.soft_labels import open_soft_labels
from biasvar.study import Study
from biasvar.study.soft_labels import File


def check_soft_labels(study: Study, dataset: Dataset, pool: np.ndarray) -> None:
    """Raise StudyError where soft labels and data do not go together, as far as can be told before training."""
    for name, source in study.soft_labels.items():
        if isinstance(source, File):
            read_soft_label_file(source, name, dataset, pool)
        mass = source.get("mass")
        if mass is not None and len(mass) != dataset.num_classes:
            raise StudyError(
                f"soft_labels.{name}.mass: must hold one number for each of the {dataset.num_classes} classes of "
                f"{dataset.name}, not {len(mass)}"
            )


def read_soft_label_file(source: File, name: str, dataset: Dataset, pool: np.ndarray) -> np.ndarray:
    """The rows of a file for the students' pool, (P, C), as distributions (or scores, where the study says so).

    Args:
        source: of kind `file`.
        name: its name in the study.
        dataset: whose samples the rows are of.
        pool: sample ids, (P,).

    Raises:
        StudyError: Names the soft label, the file, the row (counted from 0) and the rule: for a file that is missing,
            was changed since the study was read, cannot be read or has another number of classes; for rows that are no
            distributions, samples of the pool that are missing, ids that are no samples or come twice, and labels in
            the file that are not the data set's.
    """
    return _rows(source, f"soft_labels.{name}", dataset, pool, "the students' pool")


def read_logits_file(path: str, name: str, dataset: Dataset, ids: np.ndarray) -> np.ndarray:
    """The logits of a teacher that is given as a file, (n, C), of these sample ids.

    Args:
        path: Of the file: rows by `sample_id`, or row i for sample i.
        name: The teacher's, in the study.
        dataset: Whose samples the rows are of.
        ids: Sample ids, (n,).

    Raises:
        StudyError: Names the teacher, the file and the row, as for soft labels; and for probabilities.
    """
    logits = _rows(File(kind="file", path=path, scores=True), f"teachers.{name}.logits", dataset, ids, "the study")
    evidence = ScaleEvidence()
    evidence.add(logits)
    if evidence.found() is not None:
        raise StudyError(
            f"teachers.{name}.logits: {path} holds {evidence.found()}; give their logarithms, whose softmax they are"
        )
    return logits


def _rows(source: File, place: str, dataset: Dataset, ids: np.ndarray, whose: str) -> np.ndarray:
    """The rows of a file for some samples; any fault is a StudyError that begins with a key of the study."""
    try:
        return _read(source, source.with_hash().path, dataset, ids, whose)
    except (BiasvarError, ValueError, OSError) as error:
        text = " ".join(str(error).split())
        file = f"{source.path}: " if str(source.path) not in text else ""
        for argument in ("normalize", "scores"):
            text = text.replace(f"{argument}=True", f"{argument}: true")
        text = text.replace("rest='uniform' or 'zero', and how many classes there are with num_classes=",
                            "rest: uniform, or rest: zero")  # fmt: skip
        raise StudyError(f"{place}: {file}{text}") from None


def _read(source: File, path: str, dataset: Dataset, pool: np.ndarray, whose: str) -> np.ndarray:
    total, classes = len(dataset.labels), dataset.num_classes
    found = open_soft_labels(
        path, temperature=source.temperature, class_names=dataset.class_names, rest=source.rest,
        num_classes=classes if source.rest else None,
    )  # fmt: skip
    known = total if dataset.split is None else int((dataset.split == "train").sum())  # training rows come first
    if found.num_classes != classes:
        raise ValueError(f"{path} has {found.num_classes} classes, {dataset.name} has {classes}")
    table = np.full((total, classes), np.nan)
    seen = np.zeros(total, dtype=bool)
    first = 0
    for values, labels, ids in found.parts():
        if ids is None and found.rows not in (total, known):
            samples = f"{total:,} samples" + ("" if known == total else f", {known:,} of them for training")
            raise ValueError(
                f"{path} has {found.rows:,} rows without a column 'sample_id', and {dataset.name} has {samples}: give "
                "every sample its row, in their order, or give a Parquet file with sample_id"
            )
        where = np.arange(first, first + len(values)) if ids is None else ids
        if where.dtype.kind not in "iu":
            raise ValueError(f"{path}: column 'sample_id' must hold whole numbers, not {where.dtype}")
        outside = (where < 0) | (where >= total)
        if outside.any():
            raise ValueError(
                f"sample_id {first_few(where[outside])} is no sample of {dataset.name}, which has {total:,}"
            )
        own, times = np.unique(where, return_counts=True)
        again = own[seen[own] | (times > 1)]
        if len(again):
            raise ValueError(f"sample_id {first_few(again)} comes more than once")
        truth = dataset.labels[where]
        if labels is not None and (labels != truth).any():
            wrong = np.flatnonzero(labels != truth)
            raise ValueError(
                f"row {first_few(first + wrong)} has another label than its sample in {dataset.name} (the first is "
                f"sample_id {where[wrong[0]]}, label {labels[wrong[0]]} here and {truth[wrong[0]]} there)"
            )
        checked = checked_batch(
            values, truth, first_row=first, num_classes=classes, normalize=source.normalize, scores=source.scores
        )
        table[where], seen[where] = checked.mass, True
        first += len(values)
    missing = pool[~seen[pool]]
    if len(missing):
        raise ValueError(f"{path} lacks {len(missing):,} of the {len(pool):,} samples of {whose}: "
                         f"sample_id {first_few(missing)}")  # fmt: skip
    return table[pool]
