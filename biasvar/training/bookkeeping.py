"""What it costs to keep what a training says: seconds, bytes and memory of records and predictions, measured here.

Made logits are put through the code of a run. What is larger than `MOST` numbers is measured at two sizes and continued
along the line through them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from biasvar.records import RunWriter
from biasvar.records.checked_tables import membership_table, samples_table
from biasvar.records.files import table_bytes
from biasvar.records.prediction_parts import rows_of_a_part
from biasvar.records.schema import prediction_path, record_path, teacher_path
from biasvar.seeding import generator
from biasvar.study.schema import JACKKNIFE_GROUPS
from biasvar.training.context import StudyContext
from biasvar.training.evaluation import CleanPass, evaluation_metrics, group_logits, group_means
from biasvar.training.peaks import Peak
from biasvar.training.recorder import Recorder
from biasvar.training.stopwatch import Stopwatch

MOST = 2**20
"""Logits that are put through at once."""
RECORDED = 400
"""Bytes that a row takes until its epoch is recorded: 389 were measured of 1,281,167 rows with a teacher."""
ARM = "made"
MOMENT = 0.05  # seconds: what is done sooner is done three times, and the median counts


@dataclass(frozen=True)
class Cost:
    """Seconds, and bytes of files."""

    seconds: float
    bytes: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.bytes + other.bytes)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.seconds * times, self.bytes * times)


NOTHING = Cost(0.0, 0.0)


class Bookkeeping:
    """Costs of what a study keeps, each measured once.

    Args:
        context: The whole study's, for its classes and device.
        writer: Of a run directory that goes away.
    """

    def __init__(self, context: StudyContext, writer: RunWriter) -> None:
        self._context, self._writer = context, writer
        self._watch = Stopwatch(context.device, context.study.threads)
        self._classes, self._device = context.dataset.num_classes, context.device
        self._known: dict[tuple[object, ...], Cost] = {}
        self._per_number: dict[int, float] = {}

    def record(self, replicas: int, rows: int, *, taught: bool) -> Cost:
        """The record of an epoch of replicas that train together."""

        def measure(n: int) -> Cost:
            logits, labels = self._made(replicas, n)
            ids = torch.arange(n, device=self._device).expand(replicas, -1)
            teacher = logits.flip(1) if taught else None
            recorder = Recorder(
                self._writer, num_samples=n, num_classes=self._classes, temperature=2.0, arm=ARM,
                replica=list(range(replicas)), group=0, replace=True, drop_not_finite=True, values="logits",
            )  # fmt: skip
            recorder.epoch = 1
            began = self._watch.now()
            recorder.update(ids, logits, labels, teacher, member=torch.ones_like(labels, dtype=torch.bool))
            recorder.end_epoch()
            took = self._watch.now() - began
            return Cost(took, record_path(self._writer.directory, ARM, "train", "augmented", 1, 0).stat().st_size)

        return self._of(("record", replicas, rows, taught), measure, rows, replicas)

    def metrics(self, replicas: int, rows: int) -> Cost:
        """Accuracy, loss and calibration of a clean pass; no file."""

        def measure(n: int) -> Cost:
            logits, labels = self._made(replicas, n)
            began = self._watch.now()
            evaluation_metrics(CleanPass.of(logits.double().cpu().numpy()), labels[0].cpu().numpy())
            return Cost(self._watch.now() - began, 0)

        return self._of(("metrics", replicas, rows), measure, rows, replicas)

    def predictions(self, replicas: int, rows: int) -> Cost:
        """The predictions of replicas that train together on some rows."""
        numbers, index = np.unique(
            [r % min(JACKKNIFE_GROUPS, self._context.study.replicas) for r in range(replicas)], return_inverse=True
        )

        def measure(n: int) -> Cost:
            said = CleanPass.of(self._made(replicas, n)[0].double().cpu().numpy())
            began = self._watch.now()
            every, alone = np.ones((replicas, n), dtype=bool), len(numbers) == replicas
            kept = group_logits(said, every, index) if alone else group_means(said, every, index, len(numbers))
            with self._writer.open_predictions(ARM, "test", "all", 1, 0, numbers, logits=alone) as add:
                add(np.arange(n), *kept)
            took = self._watch.now() - began
            return Cost(took, prediction_path(self._writer.directory, ARM, "test", "all", 1, 0).stat().st_size)

        return self._of(("predictions", replicas, rows), measure, rows, replicas)

    def teacher(self, rows: int) -> Cost:
        """The logits of one network of a teacher on all samples of a study."""

        def measure(n: int) -> Cost:
            logits = self._made(1, n)[0][0].cpu().numpy()
            began = self._watch.now()
            self._writer.teacher(ARM, np.arange(n), logits, np.ones(n, dtype=bool))
            took = self._watch.now() - began
            return Cost(took, teacher_path(self._writer.directory, ARM).stat().st_size)

        return self._of(("teacher", rows), measure, rows, 1)

    def evaluation_memory(self, replicas: int, rows: int) -> float:
        """Bytes that an evaluation takes at the highest, of a split that is predicted by parts and recorded at once."""
        part = min(rows, rows_of_a_part(replicas, self._classes))
        beside = RECORDED * replicas * (rows - part)
        if replicas not in self._per_number:
            n = _sizes(part, replicas * self._classes)[-1]
            logits, labels = self._made(replicas, n)
            self.predictions(replicas, n)  # so that nothing is imported below
            self.record(replicas, n, taught=True)
            peak = Peak(self._device if self._device.type == "cuda" else torch.device("cpu"))
            peak.begin()
            ids = torch.arange(n, device=self._device).expand(replicas, -1)
            wide = logits.double()
            said = CleanPass.of(wide.cpu().numpy())
            group_means(said, np.ones((replicas, n), dtype=bool), np.zeros(replicas, dtype=int), 1)
            recorder = Recorder(
                self._writer, num_samples=n, num_classes=self._classes, temperature=2.0, arm=ARM,
                replica=list(range(replicas)), group=0, replace=True, drop_not_finite=True, values="logits",
            )  # fmt: skip
            recorder.epoch = 1
            recorder.update(ids, wide, labels, wide.flip(1))
            recorder.end_epoch()
            self._per_number[replicas] = peak.highest() / (replicas * n * self._classes)
        return self._per_number[replicas] * replicas * part * self._classes + beside

    def _made(self, replicas: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(R, n, C) made logits, float32, and (R, n) labels, on the device."""
        logits = generator(0, "made logits").normal(scale=3.0, size=(replicas, rows, self._classes))
        labels = torch.arange(rows, device=self._device) % self._classes
        return torch.as_tensor(logits.astype(np.float32), device=self._device), labels.expand(replicas, -1)

    def _of(self, key: tuple[object, ...], measure: Callable[[int], Cost], rows: int, replicas: int) -> Cost:
        if key not in self._known:
            sizes = _sizes(rows, replicas * self._classes)
            measure(min(2, rows))  # what the first call alone does
            costs = [_median(measure, size) for size in sizes]
            self._known[key] = costs[-1] if len(sizes) == 1 else _continued(sizes, costs, rows)
        return self._known[key]


def _sizes(rows: int, numbers_a_row: int) -> list[int]:
    """Rows that are measured: all of them, or two numbers of rows where they are many."""
    most = max(8, MOST // numbers_a_row)
    return [rows] if rows <= most else [most // 4, most]


def _median(measure: Callable[[int], Cost], rows: int) -> Cost:
    costs = [measure(rows)]
    if costs[0].seconds < MOMENT:
        costs += [measure(rows) for _ in range(2)]
    return Cost(statistics.median(cost.seconds for cost in costs), costs[0].bytes)


def _continued(sizes: list[int], costs: list[Cost], rows: int) -> Cost:
    """The cost of so many rows, along the line through two."""
    (a, b), (first, second) = sizes, costs
    seconds = second.seconds + max(0.0, second.seconds - first.seconds) / (b - a) * (rows - b)
    return Cost(seconds, second.bytes + (second.bytes - first.bytes) / (b - a) * (rows - b))


def bytes_of_draws(context: StudyContext) -> float:
    """Bytes of the tables of samples and of all replicas' draws, the latter from that of the first."""
    ids = context.used_ids
    labels = np.asarray(context.dataset.labels)[ids]
    samples = samples_table(ids, labels, "train", None, context.dataset.num_classes)
    draw = membership_table(context.blocks["student"], context.draw([0]), None)
    return len(table_bytes(samples)) + context.study.replicas * len(table_bytes(draw))
