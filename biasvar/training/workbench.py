"""What all trainings of a study share: the data on the device, the splits, the draws, and the teachers' logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from biasvar.data import Dataset, check_classes, draw_members, load_dataset, split_official
from biasvar.data.people import load_people
from biasvar.losses.bad_teacher import BadTeacherLoss
from biasvar.losses.labels import CrossEntropyLoss, LabelSmoothingLoss
from biasvar.records import open_run
from biasvar.seeding import generator
from biasvar.study import Study, Teacher
from biasvar.training.checks import check_fit, check_networks
from biasvar.training.inputs import Features, Images, Inputs
from biasvar.training.loop import Rows, train
from biasvar.training.models import MLP, seeded
from biasvar.training.objectives import Objective, Rivals
from biasvar.training.replicas import Replicas, groups_of, make_replicas
from biasvar.training.resnets import build_network, load_network
from biasvar.training.schedules import rate_at
from biasvar.training.soft_label_files import check_soft_labels
from biasvar.training.weights import read_weights


@dataclass
class Workbench:
    """One study's data, laid out for training.

    Attributes:
        study, dataset: What is studied.
        blocks: Sample ids of "test", "validation", "reserved" and "student" (the students' pool).
        device: Where everything is trained.
        inputs: What a network is given, by sample id, on the device.
        labels: int64, by sample id, on the device.
        directory: The run directory, from which trained teachers and records are read.
    """

    study: Study
    dataset: Dataset
    blocks: dict[str, np.ndarray]
    device: torch.device
    inputs: Inputs
    labels: torch.Tensor
    directory: Path
    _teachers: dict[str, torch.Tensor] = field(default_factory=dict)

    @staticmethod
    def open(study: Study, directory: str | Path, device: torch.device) -> Workbench:
        data = study.data
        dataset = load_dataset(data.name)
        check_networks(study, dataset.images.shape[1:], dataset.num_classes)
        blocks = split_official(
            dataset, test=data.test, validation=data.validation, reserved=data.reserved, student=data.student,
            split=data.split, seed=study.seed,
        )  # fmt: skip
        check_classes(dataset, {name: ids for name, ids in blocks.items() if len(ids)})
        inputs: Inputs
        if set(study.models) == {"mlp"}:
            if data.crop or data.flip:
                raise ValueError("data.crop and data.flip are for networks that take images, not for model mlp")
            inputs = Features(torch.as_tensor(dataset.features(), device=device))
        else:
            values = torch.as_tensor(np.array(dataset.images), device=device)
            inputs = Images(
                values,
                dataset.mean.tolist(),
                dataset.std.tolist(),
                dataset.scale,
                study.seed,
                crop=data.crop,
                flip=data.flip,
            )
        labels = torch.as_tensor(np.array(dataset.labels), device=device)
        bench = Workbench(study, dataset, blocks, device, inputs, labels, Path(directory))
        check_soft_labels(study, dataset, blocks["student"])
        bench.rows([0])  # draws that cannot be are refused here, before anything is written
        for name, teacher in study.teachers.items():
            bench.teacher_rows(name, teacher)
        for people in sorted({source.people for source in study.soft_labels.values() if source.people}):
            load_people(people, dataset).take(blocks["student"])
        return bench

    @property
    def used_ids(self) -> np.ndarray:
        """The samples of the study, sorted."""
        return np.sort(np.concatenate(list(self.blocks.values())))

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
        student = self.study.student
        return self.replicas([self.model(student.model, student.hidden, "init", r) for r in replicas])

    def model(self, name: str, hidden: Sequence[int], purpose: str, replica: int) -> nn.Module:
        """A fresh network on the device; its weights depend on the seed, the purpose and the replica alone."""
        images = self.dataset.images
        channels = images.shape[3] if images.ndim == 4 else 1
        classes = self.dataset.num_classes

        def make() -> nn.Module:
            if name == "mlp":
                mlp = MLP(int(np.prod(images.shape[1:])), hidden, classes)
                return mlp if isinstance(self.inputs, Features) else nn.Sequential(nn.Flatten(), mlp)
            if ":" in name:
                size = (images.shape[1], images.shape[2])
                return load_network(name, in_channels=channels, num_classes=classes, image_size=size)
            return build_network(name, in_channels=channels, num_classes=classes)

        seed = int(generator(self.study.seed, purpose, replica).integers(2**62))
        return seeded(seed, make).to(self.device)

    def replicas(self, models: Sequence[nn.Module], weight_decay: float | None = None) -> Replicas:
        """Networks that train together by the study's schedule, or by another weight decay."""
        schedule = self.study.schedule
        decay = schedule.weight_decay if weight_decay is None else weight_decay
        return make_replicas(
            self.study.backend, models, momentum=schedule.momentum,
            nesterov=schedule.nesterov, weight_decay=decay, precision=schedule.precision,
        )  # fmt: skip

    def rate_of(self, base: float, epochs: int) -> Callable[[int, int], float]:
        """The learning rate by step: the study's schedule, its milestones in proportion to the epochs."""
        schedule = self.study.schedule
        scale = epochs / schedule.epochs
        return lambda step, steps: rate_at(
            schedule.decay, base, step, steps, epochs, warmup=schedule.warmup * scale,
            milestones=[m * scale for m in schedule.milestones], gamma=schedule.gamma,
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

    def teacher_groups(self, name: str) -> list[list[int]]:
        """Which of a teacher's replicas train together: one for a fixed teacher, the study's for one a replica."""
        fixed = self.study.teachers[name].draw == "fixed"
        return groups_of(self.study.backend, range(1 if fixed else self.study.replicas))

    def train_teacher(
        self, name: str, replicas: Sequence[int], on_epoch: Callable[[Replicas, int], None] | None = None
    ) -> Replicas:
        """Train a teacher, or some of its replicas; `on_epoch` sees it after each epoch.

        All teachers start from the same weights (where the shape allows) and visit their rows in the same order, so
        that two that differ in one setting differ by that setting only.
        """
        teacher = self.study.teachers[name]
        models = [self.model(teacher.model, teacher.hidden, "teacher init", r) for r in replicas]
        net = self.replicas(models, teacher.weight_decay)
        inputs = self.inputs if teacher.augment else self.inputs.plain()
        loss: nn.Module = CrossEntropyLoss(reduction="none")
        rivals = None
        if teacher.smoothing:
            loss = LabelSmoothingLoss(smoothing=teacher.smoothing, reduction="none")
        if teacher.bad:
            bad = teacher.bad
            loss = BadTeacherLoss(
                k=bad.k, punishment=bad.punishment, compensation=bad.compensation, rivals=bad.rivals, reduction="none"
            )
            rivals = Rivals(self.labels, self.dataset.num_classes, bad.k, self.study.seed, replicas, bad.redraw)
        rows = self.teacher_rows(name, teacher)
        if teacher.draw == "per_replica":
            rows = self.rows(replicas)
        train(
            net, rows, Objective(loss, rivals=rivals), inputs, self.labels, epochs=teacher.epochs,
            batch_size=teacher.batch_size, rate_of=self.rate_of(teacher.learning_rate, teacher.epochs),
            seed=int(generator(self.study.seed, "teacher").integers(2**31)),
            on_epoch=None if on_epoch is None else lambda epoch, _: on_epoch(net, epoch),
        )  # fmt: skip
        return net

    def teacher_members(self, name: str) -> np.ndarray:
        """bool (T, N): the training rows of a teacher, by sample id."""
        rows = self.teacher_rows(name, self.study.teachers[name])
        member = np.zeros((len(rows.ids), len(self.labels)), dtype=bool)
        for i, row in enumerate(rows.ids):
            member[i, row if rows.counts is None else row[rows.counts[i] > 0]] = True
        return member

    def teacher_networks(self, name: str, replicas: Sequence[int]) -> list[nn.Module]:
        """The trained teacher for each of these replicas (one for all, if it is fixed), frozen."""
        teacher = self.study.teachers[name]
        wanted = [0] if teacher.draw == "fixed" else [r % self.study.replicas for r in replicas]
        networks: dict[int, nn.Module] = {}
        for number, group in enumerate(self.teacher_groups(name)):
            here = [r for r in wanted if r in group]
            saved = read_weights(teacher_weights_path(self.directory, name, number))[0] if here else {}
            for r in here:
                network = self.model(teacher.model, teacher.hidden, "teacher init", r)
                mine = {k.partition(".")[2]: v for k, v in saved.items() if k.partition(".")[0] == str(r)}
                path = teacher_weights_path(self.directory, name, number)
                check_fit(mine, network.state_dict(), path=path, what=f"teacher {name} ({teacher.model})")
                network.load_state_dict(mine)
                networks[r] = network.train(teacher.train_mode).requires_grad_(False)
        return [networks[r] for r in wanted]

    def teacher(self, name: str) -> torch.Tensor:
        """A trained teacher's clean logits by sample id: (N, C), or (R, N, C) for a teacher a replica."""
        if name not in self._teachers:
            stored = open_run(self.directory).teacher(name)
            logits = np.asarray(stored.logits, dtype=np.float32)
            table = np.full((*logits.shape[:-2], len(self.labels), logits.shape[-1]), np.nan, dtype=np.float32)
            table[..., stored.sample_ids, :] = logits
            self._teachers[name] = torch.as_tensor(table, device=self.device)
        return self._teachers[name]


def teacher_weights_path(directory: Path, name: str, number: int) -> Path:
    """The trained weights of one group of a teacher's replicas, names "<replica>.<parameter>"."""
    return directory / "weights" / f"teacher={name}" / f"group={number:03d}.safetensors"
