"""What people say the images of a data set show: votes and hard labels, matched to a data set's samples.

Which sets of people's labels there are, what their files hold and how to get them, say the records of `biasvar.votes`.
Rows are matched to samples by their row in the original data set (`Dataset.original_index`, else the place within the
split), and the true labels on both sides must agree row by row.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from biasvar.data.dataset import Dataset
from biasvar.data.layout import data_folder
from biasvar.messages import first_few
from biasvar.votes import PEOPLE, PeopleSource

__all__ = ["AGREEMENT", "PEOPLE", "PeopleLabels", "load_people"]

AGREEMENT = 0.75  # of most votes with the true label: 99 % in CIFAR-10H, 91 % in CIFAR-10N, 10 % in another order


@dataclass(frozen=True, eq=False)
class PeopleLabels:
    """People's labels of some samples of a data set, row i those of sample `sample_ids[i]`.

    Attributes:
        name: Of the people's labels, such as "cifar10h".
        sample_ids: int64 (N,), of the data set they were loaded for; ascending as loaded.
        labels: int64 (N,), true classes.
        counts: int64 (N, C), votes for each class.
        annotators: int64 (N, A), what each of the A people said; None where only counts are published. Column a is the
            a-th label of an image, not one person: different people labelled different images.
        named: Further hard labels (N,) by name, such as "aggregate" and "worst" of CIFAR-10N.
        class_names: C names.
        note: For captions.
        fingerprint: SHA-256 over the votes and the sample ids that they belong to.
    """

    name: str
    sample_ids: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    annotators: np.ndarray | None
    named: Mapping[str, np.ndarray]
    class_names: tuple[str, ...]
    note: str

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.name.encode())
        for array in (self.sample_ids, self.labels, self.counts, *(self.named[key] for key in sorted(self.named))):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def soft_labels(self, *, concentration: float = 0.0) -> np.ndarray:
        """float64 (N, C): the votes' relative frequency, or Dirichlet-smoothed with `concentration` votes in all.

        (votes + concentration / C) / (all votes + concentration): see
        :func:`biasvar.analysis.soft_labels.transforms.from_votes`.

        Raises:
            ValueError: A negative concentration.
        """
        from biasvar.analysis.soft_labels.transforms import from_votes

        return np.asarray(from_votes(self.counts.astype(np.float64), concentration=concentration))

    def entropy(self, *, concentration: float = 0.0) -> np.ndarray:
        """float64 (N,) entropy of `soft_labels` in nats: how much people disagree about an image.

        Of relative frequencies it is low by about (classes named - 1) / (2 votes) (Miller 1955): 0.01 for 50 votes and
        two classes. Three votes can only give 0, 0.637 or 1.099.
        """
        from biasvar.analysis.statistics.calibration import entropy

        return entropy(self.soft_labels(concentration=concentration))

    def hard_labels(self, which: str) -> np.ndarray:
        """int64 (N,): "clean" (the true class), "majority" (most votes, the first class of a tie), or one of `named`.

        Raises:
            ValueError: There are none of that name; says which there are.
        """
        if which == "clean":
            return self.labels
        if which == "majority":
            return self.counts.argmax(axis=1)
        if which not in self.named:
            raise ValueError(
                f"{self.name} has no labels named {which!r}; there is: {', '.join(('clean', 'majority', *self.named))}"
            )
        return self.named[which]

    def take(self, sample_ids: Any) -> PeopleLabels:
        """The labels of these samples, in their order.

        Raises:
            ValueError: A sample that these people did not label; names the first.
        """
        wanted = np.asarray(sample_ids, dtype=np.int64).reshape(-1)
        order = np.argsort(self.sample_ids)
        place = np.searchsorted(self.sample_ids, wanted, sorter=order)
        place = order[np.minimum(place, len(order) - 1)]
        missing = self.sample_ids[place] != wanted
        if missing.any():
            raise ValueError(
                f"{self.name} has no labels of sample {wanted[np.argmax(missing)]} ({missing.sum():,} of "
                f"{len(wanted):,} asked for); it has {len(order):,} samples of {self.sample_ids.min()} .. "
                f"{self.sample_ids.max()}, the {PEOPLE[self.name].split} split"
            )
        return replace(
            self, sample_ids=wanted, labels=self.labels[place], counts=self.counts[place],
            annotators=None if self.annotators is None else self.annotators[place],
            named=MappingProxyType({key: value[place] for key, value in self.named.items()}),
        )  # fmt: skip


def load_people(name: str, dataset: Dataset, *, path: str | os.PathLike[str] | None = None) -> PeopleLabels:
    """People's labels of the samples of `dataset`, matched by row of the original data set and checked by true label.

    Args:
        name: "cifar10h", "cifar10n" or another of `PEOPLE`.
        dataset: The data set that was labelled, as :func:`biasvar.data.load_dataset` gives it, or some of its images
            with `original_index`.
        path: Of the file; default `<name>.npz` in the folder of BIASVAR_DATA, else in the cache folder.

    Returns:
        The labels of every sample of the split that the people labelled.

    Raises:
        FileNotFoundError: The file is not there; says which file to put where, and which project it is from.
        ValueError: An unknown name, a file that does not hold what it should, or a data set whose true labels are
            others (names the first row that differs).

    >>> from biasvar.data import load_dataset
    >>> load_people("cifar10h", load_dataset("digits"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: cifar10h labels the 10 classes airplane, ... of CIFAR-10; digits has the classes 0, 1, 2, ...
    """
    if name not in PEOPLE:
        raise ValueError(f"no people's labels named {name!r}; there is: {', '.join(PEOPLE)}")
    source = PEOPLE[name]
    _check_classes(name, source, dataset)
    file = Path(path).expanduser() if path is not None else data_folder() / f"{name}.npz"
    truth, annotators, counts, named = _parse(file, _read(source, file), source)
    sample_ids, rows = _match(name, source, dataset)
    labels = dataset.labels[sample_ids]
    if truth is not None:
        _check_truth(name, dataset, sample_ids, rows, truth, file)
    _check_agreement(dataset, counts[rows], labels, file)
    return PeopleLabels(
        name=name, sample_ids=sample_ids, labels=labels, counts=counts[rows],
        annotators=None if annotators is None else annotators[rows],
        named=MappingProxyType({key: value[rows] for key, value in named.items()}),
        class_names=dataset.class_names, note=_note(source, counts[rows], labels),
    )  # fmt: skip


def _check_classes(name: str, source: PeopleSource, dataset: Dataset) -> None:
    """The number of classes, and their names where the data set has words for them; labels are compared later."""
    wanted = source.class_names
    words = any(not word.isdigit() for word in dataset.class_names)
    if dataset.num_classes != len(wanted) or (words and dataset.class_names != wanted) or dataset.name == "digits":
        raise ValueError(
            f"{name} labels the {len(wanted)} classes {', '.join(wanted)} of {source.dataset_title}; "
            f"{dataset.name} has the classes {first_few(dataset.class_names, 10)}"
        )


def _read(source: PeopleSource, file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        meaning = "the folder of BIASVAR_DATA" if os.environ.get("BIASVAR_DATA") else "BIASVAR_DATA names another"
        raise FileNotFoundError(
            f"no {source.title} at {file}: put the file {file.name} into {file.parent} ({meaning}). It is made from "
            f"the files of the GitHub project {source.project}: {source.recipe}"
        )
    try:
        # Opened here, so that it is closed again where NumPy finds no archive in it.
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key in (*source.needed, source.truth)}
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{file} is no whole npz file of plain arrays ({first}); make it again: {source.recipe}"
        ) from None


Parsed = tuple[np.ndarray | None, np.ndarray | None, np.ndarray, dict[str, np.ndarray]]


def _parse(file: Path, arrays: Mapping[str, np.ndarray], source: PeopleSource) -> Parsed:
    """True labels and each person's labels (None where the file has none), votes, and further hard labels."""
    counts = annotators = truth = None
    if source.counts:
        counts = _array(file, arrays, source, source.counts, source.num_classes)
        empty = counts.sum(axis=1) == 0
        if empty.any():
            raise ValueError(f"{file}: row {int(np.argmax(empty))} of {source.counts!r} has no vote")
    named = {name: _array(file, arrays, source, key) for name, key in source.named.items()}
    if source.truth_needed or source.truth in arrays:
        truth = _array(file, arrays, source, source.truth)
    if source.annotators:
        annotators = np.stack([named[name] for name in source.annotators], axis=1)
    if counts is None:
        assert annotators is not None, f"{source.title} has neither votes nor annotators"
        counts = (annotators[:, :, None] == np.arange(source.num_classes)).sum(axis=1)
    return truth, annotators, counts, named


def _array(
    file: Path, arrays: Mapping[str, np.ndarray], source: PeopleSource, key: str, columns: int | None = None
) -> np.ndarray:
    shape = (source.rows,) if columns is None else (source.rows, columns)
    if key not in arrays:
        needed = ", ".join(map(repr, source.needed))
        raise ValueError(f"{file} has no array {key!r}; needed: {needed}. Make it again: {source.recipe}")
    values = arrays[key]
    if values.shape != shape or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{file}: {key!r} holds {values.dtype} {values.shape}; {source.title} has integers {shape}")
    values = values.astype(np.int64)
    wrong = values < 0 if columns else (values < 0) | (values >= source.num_classes)
    if wrong.any():
        row = int(np.argmax(wrong.reshape(len(values), -1).any(axis=1)))
        allowed = "votes are 0 or more" if columns else f"classes are 0 .. {source.num_classes - 1}"
        raise ValueError(f"{file}: row {row} of {key!r} has {values[row].tolist()}; {allowed}")
    return values


def _match(name: str, source: PeopleSource, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Sample ids of the split the people labelled, and each one's row in the original split."""
    if dataset.split is None:
        raise ValueError(f"{name} labels the {source.split} split; {dataset.name} has no official split to match it to")
    sample_ids = np.flatnonzero(dataset.split == source.split)
    if dataset.original_index is None:
        rows = np.arange(len(sample_ids))
        if len(sample_ids) != source.rows:
            raise ValueError(
                f"{dataset.name} has {len(sample_ids):,} {source.split} rows, {source.title} {source.rows:,}: without "
                f"a column 'original_index' only the whole split, in its original order, can be matched"
            )
    else:
        rows = dataset.original_index[sample_ids]
        wrong = (rows < 0) | (rows >= source.rows)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"sample {sample_ids[i]} of {dataset.name} has original_index {rows[i]}; "
                f"{source.title} has rows 0 .. {source.rows - 1}"
            )
        if len(np.unique(rows)) < len(rows):
            first = int(np.argmax(np.bincount(rows) > 1))
            raise ValueError(f"{dataset.name}: more than one {source.split} row has original_index {first}")
    if len(rows) == 0:
        raise ValueError(f"{dataset.name} has no {source.split} rows for {source.title}")
    return sample_ids, rows


def _check_truth(
    name: str, dataset: Dataset, sample_ids: np.ndarray, rows: np.ndarray, truth: np.ndarray, file: Path
) -> None:
    differs = dataset.labels[sample_ids] != truth[rows]
    if differs.any():
        i = int(np.argmax(differs))
        raise ValueError(
            f"{dataset.name} is not the data set that {name} labels: sample {sample_ids[i]} has label "
            f"{dataset.labels[sample_ids[i]]}, row {rows[i]} of {file} has {truth[rows[i]]} "
            f"({differs.sum():,} of {len(rows):,} rows differ)"
        )


def _check_agreement(dataset: Dataset, counts: np.ndarray, labels: np.ndarray, file: Path) -> None:
    """The only check where a file has no true labels; it also finds votes that are out of order beside true labels."""
    wrong = counts.argmax(axis=1) != labels
    if 1 - wrong.mean() < AGREEMENT:
        raise ValueError(
            f"the votes in {file} do not fit {dataset.name}: most votes are for the true class in only "
            f"{1 - wrong.mean():.1%} of {len(wrong):,} rows, and differ first in row {int(np.argmax(wrong))}; "
            f"are its rows in the original order?"
        )


def _note(source: PeopleSource, counts: np.ndarray, labels: np.ndarray) -> str:
    votes = counts.sum(axis=1)
    each = f"{votes.min()}" if votes.min() == votes.max() else f"{votes.min()} to {votes.max()}"
    right = (counts.argmax(axis=1) == labels).mean()
    return (
        f"{source.title}: {each} people's labels of {len(labels):,} {source.split} images, most votes right on "
        f"{right:.1%}; from github.com/{source.project}"
    )
