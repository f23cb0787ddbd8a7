"""Samples of a recorded loop or of imported predictions: terms, probability of the truth, flags and weights of each.

Read from the record file by file: what is kept is a few numbers a sample, however many epochs and replicas there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from biasvar.analysis.decomposition.result import Decomposition
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_arms
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import HELD_OUT

OWN = ("recorder", "import")
"""The kinds of runs that no study describes."""
PART = 2**16  # rows of a table made at a time
_TOGETHER = 2**22  # numbers of replicas by samples that are kept at a time


@dataclass(frozen=True)
class Place:
    """Which of an arm's records samples are told by: a split and a view of it."""

    split: str
    view: str


@dataclass(frozen=True, eq=False)
class Course:
    """How probable the truth is, over replicas or over the epochs of a training, for each sample `(N,)`.

    Attributes:
        sample_ids, labels: rising ids, and true classes.
        confidence: mean probability of the true class at temperature 1; NaN of a sample that was never seen.
        variability: its standard deviation (divided by n, as in Swayamdipta et al. 2020); over epochs the mean of the
            replicas' own ones.
        accuracy: share of the same answers that are right.
        n_replicas, n_epochs: what they are over.
    """

    sample_ids: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    variability: np.ndarray
    accuracy: np.ndarray
    n_replicas: int
    n_epochs: int


@dataclass(frozen=True, eq=False)
class Flags:
    """Over all recorded epochs and replicas, for each sample `(N,)`: NaN where no teacher was recorded.

    Attributes:
        share: of them in which the sample is a regularization sample (criterion: opposing).
        weight: mean weight of WSL.
    """

    share: np.ndarray
    weight: np.ndarray


def is_own(run: Run) -> bool:
    """True of a recorded loop and of imported predictions."""
    return run.manifest.get("kind") in OWN


def own_arms(run: Run) -> list[str]:
    """The arms whose samples are told: those of somebody's own run that left a record, without failed replicas."""
    failed = failed_arms(run)
    return [arm for arm in run.arms if arm not in failed and places(run, arm)] if is_own(run) else []


@lru_cache(maxsize=256)
def places(run: Run, arm: str) -> tuple[Place, ...]:
    """What an arm left records of: held-out rows first, the training pass last."""
    found = [Place(split, view) for name, split, view in run.recorded() if name == arm]
    order = {name: number for number, name in enumerate((*HELD_OUT, "", "train"))}
    return tuple(sorted(found, key=lambda place: (order.get(place.split, len(HELD_OUT)), place.view == "augmented")))


def main_place(run: Run, arm: str) -> Place:
    """Where the samples of an arm's table are from: its held-out rows, else its training pass."""
    return places(run, arm)[0]


@lru_cache(maxsize=8)
def samples_of(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The rising ids and the labels of all samples of a split."""
    frame = run.samples
    frame = frame[frame["split"] == split].drop_duplicates("sample_id").sort_values("sample_id")
    return frame["sample_id"].to_numpy(), frame["label"].to_numpy()


def class_names(run: Run) -> list[str]:
    """The names of the classes, or their numbers where the run has none."""
    return [str(name) for name in run.manifest.get("class_names") or range(run.num_classes)]


def over_replicas(run: Run, arm: str, place: Place) -> Course | None:
    """The course over replicas, each after its last recorded epoch; None with fewer than two."""
    return _over_replicas(run, arm, place, 2)


def last_answers(run: Run, arm: str, place: Place) -> Course:
    """The same of one replica too, whose variability is 0."""
    found = _over_replicas(run, arm, place, 1)
    assert found is not None
    return found


@lru_cache(maxsize=8)
def _over_replicas(run: Run, arm: str, place: Place, least: int) -> Course | None:
    ids, labels = samples_of(run, place.split)
    sums = _Sums(len(ids))
    replicas: set[int] = set()
    for frame in stored.last_records(run, arm, place.split, place.view, _COLUMNS):
        sums.add(ids, frame)
        replicas |= set(frame["replica"].unique().tolist())
    if len(replicas) < least:
        return None
    return Course(ids, labels, sums.mean(), sums.deviation(), sums.right(), len(replicas), 1)


@lru_cache(maxsize=8)
def over_epochs(run: Run, arm: str, place: Place) -> Course | None:
    """The course over the recorded epochs of each replica, averaged over replicas; None with fewer than two epochs."""
    epochs = run.record_epochs(arm, place.split, place.view)
    if len(epochs) < 2:
        return None
    ids, labels = samples_of(run, place.split)
    metrics = stored.metrics_of(run, arm, place.split, place.view)
    replicas = sorted(metrics["replica"].unique().tolist())
    together = max(1, _TOGETHER // max(len(ids), 1))
    parts: list[np.ndarray] = []
    for start in range(0, len(replicas), together):
        some = replicas[start : start + together]
        sums = {number: _Sums(len(ids)) for number in some}
        for frame in run.iter_records(
            _COLUMNS, arm=arm, split=place.split, view=place.view, replicas=None if some == replicas else some
        ):
            for number, rows in frame.groupby("replica", sort=False):
                sums[number].add(ids, rows)
        parts.append(np.stack([np.stack([one.mean(), one.deviation(), one.right()]) for one in sums.values()]))
    values = np.concatenate(parts)  # (R, 3, N)
    seen = np.isfinite(values)
    count = seen.sum(axis=0)
    mean = np.divide(np.where(seen, values, 0.0).sum(axis=0), count, out=np.full(count.shape, np.nan), where=count > 0)
    return Course(ids, labels, mean[0], mean[1], mean[2], len(replicas), len(epochs))


@lru_cache(maxsize=8)
def flags(run: Run, arm: str, place: Place) -> Flags:
    """How often samples are flagged, and their mean weight, over all recorded epochs and replicas."""
    ids, _ = samples_of(run, place.split)
    totals = np.zeros((4, len(ids)))
    for frame in run.iter_records(["sample_id", "opposing", "wsl_weight"], arm=arm, split=place.split, view=place.view):
        rows = np.searchsorted(ids, frame["sample_id"].to_numpy())
        for at, name in ((0, "opposing"), (2, "wsl_weight")):
            values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            known = np.isfinite(values)
            totals[at] += np.bincount(rows[known], values[known], len(ids))
            totals[at + 1] += np.bincount(rows[known], minlength=len(ids))
    share, weight = (
        np.divide(totals[at], totals[at + 1], out=np.full(len(ids), np.nan), where=totals[at + 1] > 0) for at in (0, 2)
    )
    return Flags(share, weight)


def main_course(run: Run, arm: str, place: Place) -> tuple[Course, str]:
    """What an arm's table has of a place, and what it is over: "replicas" on held-out rows, else "epochs" if it can."""
    clean = over_replicas(run, arm, place) if place.view == "clean" else None
    if clean is not None:
        return clean, "replicas"
    through = over_epochs(run, arm, place)
    return (last_answers(run, arm, place), "replicas") if through is None else (through, "epochs")


def terms_at(run: Run, arm: str, place: Place) -> tuple[np.ndarray, Decomposition] | None:
    """The corrected decomposition and the places (M,) of its rows among the split's samples; None without one."""
    if place.view != "clean" and not _kept_there(run, arm, place):
        return None
    found = stored.terms(run, arm, place.split)
    if found is None:
        return None
    return np.searchsorted(samples_of(run, place.split)[0], found.sample_ids), found.decomposition


def mean_predictions(run: Run, arm: str, place: Place, sample_ids: Iterable[int]) -> dict[int, np.ndarray]:
    """The normalised geometric mean over replicas (C,) of some samples, by id; empty where no predictions are kept."""
    if terms_at(run, arm, place) is None:
        return {}
    kept, _, _ = run.stored_means(arm, place.split, "all", None)
    rows = np.searchsorted(kept.sample_ids, wanted := np.array(sorted(sample_ids)))
    found = {}
    for number, row in zip(wanted.tolist(), rows.tolist(), strict=True):
        if row < len(kept.sample_ids) and kept.sample_ids[row] == number:
            share = kept.counts[:, row] / max(kept.counts[:, row].sum(), 1)
            mean = share @ kept.read(row, row + 1)[:, 0]
            found[number] = np.exp(mean - np.logaddexp.reduce(mean))
    return found


def _kept_there(run: Run, arm: str, place: Place) -> bool:
    """True if predictions of the split were kept of this view, as of weights that move."""
    kept = (run.arm(arm).get("kept_predictions") or {}).get(place.split) or {}
    return kept.get("view") == place.view


def told_places(run: Run, arm: str) -> list[Place]:
    """The places whose samples the table has: the main one, and the training pass whose flags and weights it lacks."""
    main = main_place(run, arm)
    training = [place for place in places(run, arm) if place.split == "train" and place.split != main.split]
    return [main, *training[-1:]]


@lru_cache(maxsize=8)
def _names(run: Run, split: str) -> np.ndarray | None:
    """The names of a split's samples by id, None without any."""
    names = run.sample_names(split)
    return None if names is None else np.array(names, dtype=object)


def tables(run: Run, arm: str, rows: int = PART, place: Place | None = None) -> Iterator[pd.DataFrame]:
    """All samples of a place (default: the main one) as frames of at most so many rows, in the order of their ids.

    Columns: run, arm, split, sample_id, name (empty where the run has none), true_class, class_name, bias, bias_stderr,
    variance, variance_stderr (nats, corrected, jackknife over replicas), confidence, variability, accuracy (see
    `Course`), over (what these are over: replicas after their last epoch, or epochs), flag_share, weight (see `Flags`),
    replicas.
    """
    place = place or main_place(run, arm)
    course, over = main_course(run, arm, place)
    sample_names = _names(run, place.split)
    flagged, terms = flags(run, arm, place), terms_at(run, arm, place)
    names = np.array(class_names(run), dtype=object)
    n = len(course.sample_ids)
    row_of = np.full(n, -1)
    if terms is not None:
        row_of[terms[0]] = np.arange(len(terms[0]))
    for start in range(0, n, rows):
        here = slice(start, min(start + rows, n))
        yield pd.DataFrame(
            {
                "run": run.name,
                "arm": arm,
                "split": place.split,
                "sample_id": course.sample_ids[here],
                "name": None if sample_names is None else sample_names[course.sample_ids[here]],
                "true_class": course.labels[here],
                "class_name": names[course.labels[here]],
                **_terms_of(None if terms is None else terms[1], row_of[here]),
                "confidence": course.confidence[here],
                "variability": course.variability[here] if over == "epochs" or course.n_replicas > 1 else np.nan,
                "accuracy": course.accuracy[here],
                "over": over,
                "flag_share": flagged.share[here],
                "weight": flagged.weight[here],
                "replicas": course.n_replicas,
            }
        )


def _terms_of(terms: Decomposition | None, rows: np.ndarray) -> dict[str, np.ndarray]:
    names = ("bias", "bias_stderr", "variance", "variance_stderr")
    columns = {name: np.full(len(rows), np.nan) for name in names}
    there = np.flatnonzero(rows >= 0)
    if terms is not None and len(there):
        part = terms.take(rows[there])
        for name in names:
            columns[name][there] = getattr(part, name)
    return columns


def title(run: Run, arm: str, several: bool) -> str:
    """An arm's label, after its run's name where there are several."""
    return f"{run.name}: {arm_label(run, arm)}" if several else arm_label(run, arm)


_COLUMNS = ["replica", "sample_id", "student_loss", "student_prediction", "label"]


class _Sums:
    """Sums over answers of the probability of the truth, its square, and whether it was right, by sample."""

    def __init__(self, n: int) -> None:
        self._totals = np.zeros((4, n))

    def add(self, ids: np.ndarray, frame: pd.DataFrame) -> None:
        rows = np.searchsorted(ids, frame["sample_id"].to_numpy())
        truth = np.exp(-frame["student_loss"].to_numpy(dtype=np.float64))
        right = (frame["student_prediction"].to_numpy() == frame["label"].to_numpy()).astype(np.float64)
        for at, values in enumerate((np.ones(len(rows)), truth, truth**2, right)):
            self._totals[at] += np.bincount(rows, values, self._totals.shape[1])

    def mean(self) -> np.ndarray:
        return self._over_count(self._totals[1])

    def deviation(self) -> np.ndarray:
        return np.sqrt(np.maximum(self._over_count(self._totals[2]) - self.mean() ** 2, 0.0))

    def right(self) -> np.ndarray:
        return self._over_count(self._totals[3])

    def _over_count(self, sums: np.ndarray) -> np.ndarray:
        count = self._totals[0]
        return np.divide(sums, count, out=np.full(len(sums), np.nan), where=count > 0)
