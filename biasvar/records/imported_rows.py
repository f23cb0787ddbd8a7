"""The rows of imported predictions: which meets which label, their record, and the means of groups, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array
from biasvar.analysis.scale import check_scale
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records.label_files import Labels, check_classes, rows_that_count
from biasvar.records.prediction_files import LogProbabilities, Source, Values
from biasvar.records.prediction_parts import Part, row_parts, rows_of_a_part
from biasvar.records.summary import calibration_error
from biasvar.records.tables import Ids

MAX_GROUPS = 16
"""Replicas beyond this many share jackknife groups: replica r goes to group r mod 16."""

_ENTRIES = 2**20  # numbers worked on at a time while reading: 8 MB of float64, and some copies of it


@dataclass(frozen=True)
class Rows:
    """Which row of each source, and of the labels, is the sample with each of ``ids`` (N,), which rise.

    For the manifest, ``label_ids`` says where the ids are from (None: the place), and ``source_ids`` which ids of each
    source its rows were aligned by (None: by place).
    """

    ids: np.ndarray
    of_labels: np.ndarray
    of_sources: tuple[np.ndarray, ...]
    label_ids: str | None
    source_ids: tuple[str | None, ...]

    @classmethod
    def of(cls, labels: Labels, sources: Sequence[Source], given: Any, where: Any) -> Rows:
        """Align sources and labels by their ids where both have them, else by place.

        Raises RecordError where ids, or an index that is not in order, would say something else than the place.
        """
        n = len(labels.values)
        own, origin = _label_ids(labels, sources, given)
        ids = np.arange(n) if own is None else own
        order = np.argsort(ids, kind="stable")
        keep = slice(None) if where is None else rows_that_count(where, n)[order]
        places = [_places(source, ids, order, own is not None, origin) for source in sources]
        titles = tuple(
            source.ids.title if source.ids and used else None for source, (_, used) in zip(sources, places, strict=True)
        )
        return cls(ids[order][keep], order[keep], tuple(place[keep] for place, _ in places), origin, titles)


def _label_ids(labels: Labels, sources: Sequence[Source], given: Any) -> tuple[np.ndarray | None, str | None]:
    """The sample ids of the labels and where they are from; None where place is all there is."""
    rows, found = len(labels.values), labels.ids
    if given is not None:
        return _checked_ids(given, rows, "sample_ids"), "sample_ids"
    if found is not None and (found.sure or any(source.ids for source in sources)):
        return _checked_ids(found.values, rows, f"sample_ids of {labels.name} ({found.title})"), found.title
    if not rows:
        raise RecordError(f"{labels.name} are empty; name the true class of every predicted sample")
    if found is not None and not found.rise and not labels.by_place:
        raise RecordError(
            f"{labels.name}: {found.title} is not in order, and the predictions have no ids to meet it by: give them a "
            "column sample_id, or pass sample_ids=, or drop it (a frame's index by reset_index(drop=True)) for rows in "
            "the same order"
        )
    return None, None


def _checked_ids(given: Any, rows: int, name: str) -> np.ndarray:
    ids = to_numpy(as_array(given, name))
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise RecordError(f"{name} must be whole numbers of shape (N,), not {ids.dtype} {ids.shape}")
    if len(ids) != rows:
        raise RecordError(f"there are {len(ids)} {name} and {rows} labels; one of each a sample is needed")
    if not rows:
        raise RecordError("labels are empty; name the true class of every predicted sample")
    if (ids < 0).any():
        raise RecordError(f"{name} {first_few(ids[ids < 0])} are negative; allowed: whole numbers from 0 on")
    values, times = np.unique(ids, return_counts=True)
    if (times > 1).any():
        raise RecordError(f"{name} {first_few(values[times > 1])} come more than once; each names one sample")
    return ids.astype(np.int64)


def _places(
    source: Source, ids: np.ndarray, order: np.ndarray, have_ids: bool, origin: str | None
) -> tuple[np.ndarray, bool]:
    """The row of the source for each sample in the order of the ids, and whether its ids said so."""
    if source.rows != len(ids):
        raise RecordError(f"{source.name} has {source.rows} rows and there are {len(ids)} labels")
    own = source.ids
    if own is None:
        if origin not in (None, "sample_ids", "column 'sample_id'") and not (ids[1:] > ids[:-1]).all():
            raise RecordError(
                f"{source.name} has no ids, and the labels are not in the order of their {origin}: give it a column "
                "sample_id, or pass sample_ids= for rows in the order of the labels"
            )
        return order, False
    if not (own.sure or have_ids):
        if own.rise:  # place and id say the same
            return order, False
        raise RecordError(
            f"{source.name}: {own.title} is not in order, and the labels have no ids to meet it by: give them a column "
            f"sample_id, or pass sample_ids=; or drop {own.title} (a frame's index by reset_index(drop=True)) for rows "
            "in the order of the labels"
        )
    mine = np.argsort(own.values, kind="stable")
    differing = own.values[mine] != ids[order]
    if differing.any():
        raise RecordError(_differ(source.name, own, own.values[mine][differing], ids[order][differing]))
    return mine, True


def _differ(name: str, own: Ids, theirs: np.ndarray, ids: np.ndarray) -> str:
    what = "sample_id" if own.sure else own.title
    cure = "" if own.sure else f"; if {own.title} is no sample id, drop it (a frame's index by reset_index(drop=True))"
    return (
        f"{name}: its {what} {first_few(theirs)} do not match those of the labels, {first_few(ids)}; give the labels a "
        f"column sample_id, or pass sample_ids={cure}"
    )


@dataclass(frozen=True)
class Checked:
    """What the first pass found in sound predictions: C, the record's columns, each replica's calibration error."""

    classes: int
    record: dict[str, np.ndarray]
    calibration_errors: np.ndarray


def check_predictions(
    sources: Sequence[Source], rows: Rows, labels: Labels, truth: np.ndarray, values: Values | None,
    clip: float | None, first: int = 0,
) -> Checked:  # fmt: skip
    """Read all predictions once; RecordError for the first replica that does not fit. They are numbered from first."""
    classes, columns, errors = 0, [], []
    for replica, (source, places) in enumerate(zip(sources, rows.of_sources, strict=True), start=first):
        array = source.load()
        if replica == first:
            classes = array.shape[1]
            check_classes(labels, rows.ids, truth, classes)
        elif array.shape[1] != classes:
            raise RecordError(f"{source.name} has {array.shape[1]} classes, the files before it {classes}")
        _check_scale(array, places, source.name, values)
        found = LogProbabilities(source.name, values or "logits", clip)
        parts, confidence = [], []
        for part in row_parts(len(places), max(1, _ENTRIES // classes)):
            log_p = found.of(array[places[part]], places[part])
            parts.append(_record_columns(log_p, truth[part], rows.ids[part], replica))
            confidence.append(np.exp(log_p.max(axis=1)))
        found.check()
        columns.append({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
        errors.append(calibration_error(np.concatenate(confidence), columns[-1]["student_prediction"] == truth))
    record = {key: np.concatenate([part[key] for part in columns]) for key in columns[0]}
    return Checked(classes, record, np.array(errors))


def group_means(
    sources: Sequence[Source], rows: Rows, classes: int, values: Values | None, clip: float | None, first: int = 0,
    apart: bool = False,
) -> Iterator[Part]:  # fmt: skip
    """Parts of rows of each group's mean log-probabilities, group by group: the rows of a file of predictions.

    ``first`` is the number of the first source's replica. ``apart``: each replica is a group of its number.
    """
    most = len(sources) if apart else MAX_GROUPS
    groups = min(len(sources), most)
    n = len(rows.ids)
    for place in range(groups):
        group, members = first + place if apart else (first + place) % MAX_GROUPS, range(place, len(sources), most)
        arrays = [sources[replica].load() for replica in members]
        for part in row_parts(n, rows_of_a_part(groups, classes)):
            mean = np.zeros((part.stop - part.start, classes))
            for count, (replica, array) in enumerate(zip(members, arrays, strict=True), start=1):
                places = rows.of_sources[replica][part]
                log_p = LogProbabilities(sources[replica].name, values or "logits", clip).of(array[places], places)
                mean += (log_p - mean) / count
            yield Part(group, part, np.full(len(mean), len(arrays)), mean)


def _check_scale(array: np.ndarray, places: np.ndarray, name: str, values: Values | None) -> None:
    """Refuse probabilities, votes and percentages that are taken for logits; rows that do not count say nothing."""
    counts = None
    if len(places) < len(array):
        counts = np.zeros(len(array), dtype=bool)
        counts[places] = True
    try:
        with np.errstate(all="ignore"):
            check_scale(array, name, values, counts)
    except ValueError as error:
        raise RecordError(str(error)) from None


def _record_columns(log_p: np.ndarray, truth: np.ndarray, ids: np.ndarray, replica: int) -> dict[str, np.ndarray]:
    rows = np.arange(len(ids))
    true = log_p[rows, truth]
    gradient = np.exp(log_p)
    prob = gradient[rows, truth]
    gradient[rows, truth] = np.expm1(true)  # p - 1 without cancellation
    return {
        "sample_id": ids,
        "replica": np.full(len(ids), replica, dtype=np.int32),
        "label": truth,
        "student_loss": -true,
        "student_prob": prob,
        "student_prediction": log_p.argmax(axis=1),
        "bias_gradient": gradient[rows, truth],
        "bias_gradient_norm": np.sqrt((gradient**2).sum(axis=1)),
        "loss_weight": np.ones(len(ids)),
        "member": np.zeros(len(ids), dtype=bool),
    }
