"""What all trainings of a study share: the data on the device, the splits, the draws, and the teachers' logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from biasvar.data import Dataset, draw_members, generator, load_dataset, split_rows
from biasvar.records import open_run
from biasvar.study import Study, Teacher
from biasvar.training.loop import Rows, predict, train
from biasvar.training.losses import CrossEntropyLoss, LabelSmoothingLoss
from biasvar.training.models import build_model
from biasvar.training.objectives import Objective
from biasvar.training.replicas import Replicas, make_replicas


@dataclass
class Workbench:
    """One study's data, laid out for training.

    Attributes:
        study, dataset: What is studied.
        blocks: Sample ids of "test", "validation", "reserved" and "student" (the students' pool).
        device: Where everything is trained.
        features, labels: Of all samples, by sample id, on the device.
        directory: The run directory, from which trained teachers and records are read.
    """

    study: Study
    dataset: Dataset
    blocks: dict[str, np.ndarray]
    device: torch.device
    features: torch.Tensor
    labels: torch.Tensor
    directory: Path
    _teachers: dict[str, torch.Tensor] = field(default_factory=dict)

    @staticmethod
    def open(study: Study, directory: str | Path, device: torch.device) -> Workbench:
        dataset = load_dataset(study.data.name)
        sizes = {"test": study.data.test, "validation": study.data.validation, "reserved": study.data.reserved}
        blocks = split_rows(dataset.labels, sizes, seed=study.seed)
        features = torch.as_tensor(dataset.features(), device=device)
        labels = torch.as_tensor(dataset.labels, device=device)
        bench = Workbench(study, dataset, blocks, device, features, labels, Path(directory))
        bench.rows([0])  # draws that cannot be are refused here, before anything is written
        for name, teacher in study.teachers.items():
            bench.teacher_rows(name, teacher)
        return bench

    @property
    def train_ids(self) -> np.ndarray:
        """The train split: the students' pool and the reserved rows."""
        return np.sort(np.concatenate([self.blocks["student"], self.blocks["reserved"]]))

    def draw(self, replicas: Sequence[int]) -> np.ndarray:
        """(R, P) multiplicities over the students' pool."""
        draw = self.study.draw
        return draw_members(
            draw.kind, self.blocks["student"], draw.rows, replicas=replicas, seed=self.study.seed,
            total=self.study.replicas,
        )  # fmt: skip

    def rows(self, replicas: Sequence[int]) -> Rows:
        """The students' training rows."""
        return Rows.from_members(self.blocks["student"], self.draw(replicas), replicas)

    def students(self, replicas: Sequence[int]) -> Replicas:
        """Fresh students; replica r starts from the same weights in every arm."""
        return self._networks("init", replicas, self.study.student.hidden)

    def _networks(self, purpose: str, replicas: Sequence[int], hidden: Sequence[int]) -> Replicas:
        schedule = self.study.schedule
        in_features, classes = self.features.shape[1], self.dataset.num_classes
        seeds = [int(generator(self.study.seed, purpose, r).integers(2**62)) for r in replicas]
        models = [build_model(seed, in_features, hidden, classes).to(self.device) for seed in seeds]
        return make_replicas(
            "batched" if len(replicas) > 1 else self.study.backend, models, momentum=schedule.momentum,
            nesterov=schedule.nesterov, weight_decay=schedule.weight_decay,
        )  # fmt: skip

    def teacher_rows(self, name: str, teacher: Teacher) -> Rows:
        """A teacher's training rows: one set for a fixed teacher, each replica's own draw for one a replica."""
        if teacher.draw == "per_replica":
            return self.rows(range(self.study.replicas))
        if teacher.rows == "all":
            ids = self.train_ids
        elif teacher.rows == "reserved":
            ids = self.blocks["reserved"]
        else:
            size = int(teacher.rows)
            order = generator(self.study.seed, "teacher rows").permutation(self.train_ids)
            if size > len(order):
                raise ValueError(f"teachers.{name}.rows: {size} rows asked for, the train split has {len(order)}")
            ids = np.sort(order[:size])
        return Rows(ids[None], None, [0])

    def train_teacher(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Train a teacher; returns its logits on every sample (T, N, C) and who was in its training rows (T, N).

        T is 1 for a fixed teacher, the number of replicas for a teacher a replica. All teachers start from the same
        weights (where the shape allows) and visit their rows in the same order, so that two that differ in one setting
        differ by that setting only.
        """
        teacher = self.study.teachers[name]
        rows = self.teacher_rows(name, teacher)
        net = self._networks("teacher init", rows.replicas, teacher.hidden)
        loss = (
            LabelSmoothingLoss(smoothing=teacher.smoothing, reduction="none")
            if teacher.smoothing
            else CrossEntropyLoss(reduction="none")
        )
        train(
            net, rows, Objective(loss), self.features, self.labels, epochs=teacher.epochs,
            batch_size=teacher.batch_size, rate=teacher.learning_rate, decay=self.study.schedule.decay,
            seed=int(generator(self.study.seed, "teacher").integers(2**31)),
        )  # fmt: skip
        everyone = torch.arange(len(self.labels), device=self.device)
        logits = predict(net, self.features, everyone).float().cpu().numpy()
        member = np.zeros(logits.shape[:2], dtype=bool)
        for i, row in enumerate(rows.ids):
            counted = row if rows.counts is None else row[rows.counts[i] > 0]
            member[i, counted] = True
        return logits, member

    def teacher(self, name: str) -> torch.Tensor:
        """A trained teacher's logits by sample id: (N, C), or (R, N, C) for a teacher a replica."""
        if name not in self._teachers:
            logits = np.array(open_run(self.directory).teacher(name).logits, dtype=np.float32)
            self._teachers[name] = torch.as_tensor(logits, device=self.device)
        return self._teachers[name]
