"""Metrics, records and decompositions of a run, each read once for all figures.

The caches are small and keyed by the `Run` object, so a run that is opened anew is read anew. Every function returns
None where the run holds no such thing; a file that is there but damaged raises RecordError.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.decomposition.result import Decomposition
from biasvar.analysis.decomposition.totals import Totals
from biasvar.records import Run
from biasvar.records.reader import Answering
from biasvar.records.schema import PREDICTION_FOLDERS
from biasvar.records.stored_files import file_replicas, last_of_each, stored_files
from biasvar.report.truth import PeopleRun

KEPT = 2**26
"""Bytes of records that are kept for the next figure."""
MOST = 64
"""And at most so many."""


@dataclass(frozen=True, eq=False)
class Terms:
    """The corrected decomposition of one arm against the truth of the run, its rows named by `sample_ids` (N,)."""

    sample_ids: np.ndarray
    labels: np.ndarray
    epoch: int
    decomposition: Decomposition


@lru_cache(maxsize=256)
def terms(
    run: Run,
    arm: str,
    split: str = "test",
    membership: str = "all",
    view: str = "clean",
    loss: str = "cross_entropy",
) -> Terms | None:
    """Corrected bias and variance of an arm at its last stored epoch; in a view other than "clean" of all replicas.

    Those of "squared_error" need every replica by itself: None where the run holds means over several.
    """
    return _terms(run, arm, split, membership, None, view=view, loss=loss)


@lru_cache(maxsize=64)
def teacher_terms(run: Run, arm: str, epoch: int) -> Terms | None:
    """Corrected bias and variance on test rows of the teachers that train along with an arm's students."""
    return _terms(run, arm, "test", "all", epoch, of="teacher")


def _terms(
    run: Run,
    arm: str,
    split: str,
    membership: str,
    epoch: int | None,
    *,
    view: str = "clean",
    of: Answering = "students",
    loss: str = "cross_entropy",
) -> Terms | None:
    clean = view == "clean"
    if isinstance(run, PeopleRun) and not (clean and split == "test"):
        return None
    place = run.directory / (PREDICTION_FOLDERS[of] if clean else "view_predictions") / f"arm={arm}" / f"split={split}"
    if not (place / (f"membership={membership}" if clean else f"view={view}")).is_dir():
        return None
    means, labels, chosen = run.stored_means(arm, split, membership, epoch, of, view)
    if loss != "cross_entropy" and means.counts.max(initial=0) > 1:
        return None
    target = truth(run, means.sample_ids, labels)
    return Terms(means.sample_ids, labels, chosen, means.decomposition(target, loss).corrected())


def truth(run: Run, sample_ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What terms of the run's rows are taken against: their labels (N,), or people's distributions (N, C)."""
    return run.truth(sample_ids) if isinstance(run, PeopleRun) else labels


def risks(run: Run, arm: str) -> np.ndarray | None:
    """Mean squared error (R,) of each replica's probabilities on test rows after the last epoch, summed over classes.

    None where the run has no predictions of every replica by itself on the same rows.
    """
    if not (run.directory / "predictions" / f"arm={arm}" / "split=test" / "membership=all").is_dir():
        return None
    means, labels, _ = run.stored_means(arm, "test", "all", None, "students", "clean")
    if not (means.counts == 1).all():
        return None
    total = np.zeros(len(means.counts))
    for part in means.parts():
        apart = np.exp(means.read(part.start, part.stop))
        apart[:, np.arange(apart.shape[1]), labels[part]] -= 1.0
        total += np.square(apart).sum(axis=(1, 2))
    return total / len(labels)


@lru_cache(maxsize=4096)
def totals(
    run: Run, arm: str, split: str, membership: str, epoch: int, of: Answering = "students"
) -> tuple[Totals, int] | None:
    """Means over samples of the corrected terms at one stored epoch, and how many groups of replicas they rest on.

    Of the arm's students, or of the teachers that train along with them.

    Only the means are kept: through training the terms of every sample would fill the memory.
    """
    last = terms(run, arm, split, membership) if of == "students" else None
    known = of == "students" and (last is None or last.epoch == epoch)
    of_epoch = last if known else _terms(run, arm, split, membership, epoch, of=of)
    if of_epoch is None:
        return None
    groups = of_epoch.decomposition.group_counts
    count = 0 if groups is None else int(np.count_nonzero(groups.sum(axis=1)))
    return of_epoch.decomposition.totals(), count


def prediction_epochs(
    run: Run, arm: str, split: str = "test", membership: str = "all", of: Answering = "students"
) -> list[int]:
    """The epochs after which predictions of the arm were stored, rising; found without reading any."""
    folder = PREDICTION_FOLDERS[of]
    place = run.directory / folder / f"arm={arm}" / f"split={split}" / f"membership={membership}"
    if not place.is_dir():
        return []
    files = stored_files(run.directory, folder, arm=arm, split=split, part=membership)
    return sorted({file.epoch for file in files})


def decomposition(run: Run, arm: str, split: str = "test", membership: str = "all") -> Decomposition | None:
    """The decomposition of `terms` alone."""
    last = terms(run, arm, split, membership)
    return None if last is None else last.decomposition


@lru_cache(maxsize=8)
def metrics(run: Run) -> pd.DataFrame:
    """The metrics of all arms, in the order of the run's arms; do not change it in place."""
    frame = run.metrics
    order = {arm: place for place, arm in enumerate(run.arms)}
    keys = pd.DataFrame({"place": frame["arm"].map(order), "replica": frame["replica"], "epoch": frame["epoch"]})
    return frame.loc[keys.sort_values(["place", "replica", "epoch"], kind="stable").index].reset_index(drop=True)


def metrics_of(run: Run, arm: str, split: str, view: str) -> pd.DataFrame:
    """The metrics of an arm on one split and view, no rows where there are none; do not change them in place."""
    return _metrics_by_place(run).get((arm, split, view), metrics(run).iloc[:0])


@lru_cache(maxsize=8)
def _metrics_by_place(run: Run) -> dict[Any, pd.DataFrame]:
    """The metrics by arm, split and view: made once, since a filter over all rows for each arm takes longer."""
    return dict(list(metrics(run).groupby(["arm", "split", "view"], sort=False)))


_kept: OrderedDict[tuple[Any, ...], tuple[pd.DataFrame | None, int]] = OrderedDict()  # with the bytes of each


def records(
    run: Run, arm: str, split: str, view: str, epochs: tuple[int, ...] | None, columns: tuple[str, ...]
) -> pd.DataFrame | None:
    """Columns of the record of one (arm, split, view) at some epochs (None: the last); do not change it in place.

    The last ones are kept, `KEPT` bytes of them: 64 epochs of a million rows would be gigabytes.
    """
    key = (run, arm, split, view, epochs, columns)
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key][0]
    frame = _records(*key)
    _kept[key] = frame, _bytes(frame)
    while len(_kept) > MOST or sum(size for _, size in _kept.values()) > KEPT:
        _kept.popitem(last=False)
    return frame


def _bytes(frame: pd.DataFrame | None) -> int:
    return 0 if frame is None else int(frame.memory_usage(index=False).sum())


def _records(
    run: Run, arm: str, split: str, view: str, epochs: tuple[int, ...] | None, columns: tuple[str, ...]
) -> pd.DataFrame | None:
    if not (run.directory / "records" / f"arm={arm}" / f"split={split}" / f"view={view}").is_dir():
        return None
    stored = run.record_epochs(arm, split, view)
    chosen: Any = stored[-1:] if epochs is None else [epoch for epoch in epochs if epoch in stored]
    if not chosen:
        return None
    if epochs is None and run.manifest.get("kind") == "recorder" and len(stored) > 1:
        return pd.concat(last_records(run, arm, split, view, columns), ignore_index=True)
    return run.records(list(columns), epochs=chosen, arm=arm, split=split, view=view)


def last_records(run: Run, arm: str, split: str, view: str, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The record of each training group at its own last epoch, file by file."""
    files = last_of_each(stored_files(run.directory, "records", arm=arm, split=split, part=view))
    for epoch in sorted({file.epoch for file in files}):
        numbers: list[int] | None = []
        for file in files:
            own = file_replicas(file.path) if file.epoch == epoch else []
            numbers = None if numbers is None or own is None else [*numbers, *own]  # None: another tool's file
        yield from run.iter_records(
            list(columns),
            epochs=epoch,
            arm=arm,
            split=split,
            view=view,
            replicas=None if numbers is None else sorted(numbers),
        )
