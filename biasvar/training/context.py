"""What all trainings of a study share: the data on the device, the splits, the draws, and how to make a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from biasvar.data import Dataset, check_classes, draw_members, split_official
from biasvar.data.crops import RandomCrops
from biasvar.data.draws import Rows
from biasvar.data.label_noise import noisy_labels
from biasvar.data.streaming import StreamedImages
from biasvar.seeding import generator
from biasvar.study import Study
from biasvar.study.label_noise import LabelNoise
from biasvar.study.networks import Network
from biasvar.training import optimizers
from biasvar.training.custom_networks import load_network
from biasvar.training.engine import DEFAULT, Engine
from biasvar.training.inputs import Features, Images, Inputs, Repeated
from biasvar.training.memory import check_networks_fit, making_networks
from biasvar.training.networks import MLP, build_network, seeded
from biasvar.training.ranks import ONE, Ranks
from biasvar.training.replicas import Replicas, make_replicas
from biasvar.training.schedules import Phase, rate_at
from biasvar.training.streamed import MOST_WORKERS, Loader, Shown, Streamed, cores
from biasvar.training.unreadable import note_unreadable
from biasvar.training.view_images import training_images


@dataclass
class StudyContext:
    """One study's data, laid out for training.

    Attributes:
        study, dataset: What is studied.
        blocks: Sample ids of "test", "validation", "reserved" and "student" (the students' pool).
        device: Where everything is trained.
        inputs: What a network is given, by sample id, on the device.
        labels: int64, by sample id, on the device.
        directory: The run directory, from which trained teachers and records are read.
        teacher_tables: The teachers' clean logits, by name, as far as they were read (`teachers.teacher_logits`).
        scores: Of replicas' rows, as far as arms selected by them (`selecting.scored`).
        held_out: The classes held out for few-shot episodes; None without.
        engine: How a network that trains by itself runs.
        ranks: The processes that train every network together.
    """

    study: Study
    dataset: Dataset
    blocks: dict[str, np.ndarray]
    device: torch.device
    inputs: Inputs
    labels: torch.Tensor
    directory: Path
    teacher_tables: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    scores: dict[tuple[Any, ...], np.ndarray] = field(default_factory=dict, repr=False)
    held_out: Dataset | None = None
    engine: Engine = DEFAULT
    ranks: Ranks = ONE

    @staticmethod
    def of(study: Study, dataset: Dataset, directory: str | Path, device: torch.device) -> StudyContext:
        """Split the data set as the study says, and lay it out on the device.

        Raises:
            ValueError: The data set has too few rows, or lacks classes, or networks that take vectors are to be given
                augmented images.
        """
        data = study.data
        blocks = split_official(
            dataset, test=data.test, validation=data.validation, reserved=data.reserved, student=data.student,
            split=data.split, seed=study.seed,
        )  # fmt: skip
        check_classes(dataset, {name: ids for name, ids in blocks.items() if len(ids)})
        labels = torch.as_tensor(np.array(dataset.labels), device=device)
        shown = np.sort(np.concatenate([blocks[name] for name in ("student", "reserved", "validation")]))
        inputs: Inputs
        if isinstance(dataset.images, StreamedImages):
            inputs = _streamed(study, dataset, dataset.images, device, Path(directory))
        else:
            images = dataset.images if dataset.made else training_images(dataset, data, shown, study.seed)
            inputs = _inputs(study, dataset, images, device)
        return StudyContext(study, dataset, blocks, device, inputs, labels, Path(directory))

    def close(self) -> None:
        """End the processes that read inputs ahead, where there are any."""
        self.inputs.close()

    def observing(self, noise: LabelNoise | None) -> StudyContext:
        """The same with the labels that training rows have under label noise; test and validation rows keep theirs."""
        if noise is None or not noise.share:
            return self
        labels = self.observed(noise)
        return replace(
            self, dataset=replace(self.dataset, labels=labels), labels=torch.as_tensor(labels, device=self.device),
            scores={},
        )  # fmt: skip

    def observed(self, noise: LabelNoise) -> np.ndarray:
        """int64, by sample id: the labels under label noise, drawn apart for the students' pool and reserved rows."""
        labels = np.array(self.dataset.labels, dtype=np.int64)
        for name in ("student", "reserved"):
            ids = self.blocks[name]
            labels[ids] = noisy_labels(
                labels[ids], ids, kind=noise.kind, share=noise.share, num_classes=self.dataset.num_classes,
                seed=self.study.seed,
            )  # fmt: skip
        return labels

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

    def student(
        self, network: Network, purpose: str, replica: int, *, device: torch.device | str | None = None
    ) -> nn.Module:
        """A fresh network as a study describes students', on the study's device or another."""
        return self.model(
            network.model, network.layers, purpose, replica, width=network.width, bias=network.bias, device=device
        )

    def model(
        self, name: str, hidden: Sequence[int], purpose: str, replica: int, *, width: int | None = None,
        bias: bool = True, device: torch.device | str | None = None,
    ) -> nn.Module:  # fmt: skip
        """A fresh network on the device; its weights depend on the seed, the purpose and the replica alone."""
        images = self.dataset.images
        channels = images.shape[3] if images.ndim == 4 else 1
        classes = self.dataset.num_classes

        def make() -> nn.Module:
            if name == "mlp":
                mlp = MLP(int(np.prod(images.shape[1:])), hidden, classes, bias=bias)
                return mlp if isinstance(self.inputs, Features) else nn.Sequential(nn.Flatten(), mlp)
            size = (images.shape[1], images.shape[2])
            if ":" in name:
                options = {} if width is None else {"width": width}
                return load_network(
                    name, in_channels=channels, num_classes=classes, image_size=size, options=options
                )  # fmt: skip
            return build_network(name, in_channels=channels, num_classes=classes, image_size=size, width=width)

        seed = int(generator(self.study.seed, purpose, replica).integers(2**62))
        with making_networks(self.study, self.directory, self.device):
            return seeded(seed, make).to(device or self.device)

    def replicas(self, models: Sequence[nn.Module], weight_decay: float | None = None) -> Replicas:
        """Networks that train together by the study's schedule, or by another weight decay."""
        optimizer = self.optimizer(weight_decay)
        precision = self.study.schedule.precision
        check_networks_fit(models, len(optimizer.kept), self.study, self.directory, self.device)
        with making_networks(self.study, self.directory, self.device):
            return make_replicas(
                self.study.backend, models, optimizer=optimizer, precision=precision, engine=self.engine,
                ranks=self.ranks,
            )  # fmt: skip

    def optimizer(self, weight_decay: float | None = None) -> optimizers.Settings:
        """The study's optimiser, or it by another weight decay."""
        schedule = self.study.schedule
        decay = schedule.weight_decay if weight_decay is None else weight_decay
        if schedule.optimizer == "adamw":
            return optimizers.AdamW(schedule.betas, schedule.epsilon, decay)
        return optimizers.SGD(schedule.momentum, schedule.nesterov, decay)

    def rate_of(self, base: float, epochs: int) -> Callable[[int, int], float]:
        """The learning rate by step: the study's schedule, its milestones in proportion to the epochs."""
        schedule = self.study.schedule
        scale = epochs / schedule.epochs
        return lambda step, steps: rate_at(
            schedule.decay, base, step, steps, epochs, warmup=schedule.warmup * scale,
            milestones=[m * scale for m in schedule.milestones], gamma=schedule.gamma,
        )  # fmt: skip

    def rate_in_phases(self, base: float, phases: Sequence[Phase]) -> Callable[[int, int], float]:
        """The learning rate by step of a training in phases, each with the study's schedule over its own epochs."""
        starts = np.cumsum([0, *(phase.epochs for phase in phases)])
        rates = [self.rate_of(base * phase.rate, phase.epochs) for phase in phases]

        def rate(step: int, steps: int) -> float:
            i = int(np.searchsorted(starts, step // steps, side="right")) - 1
            return rates[i](step - int(starts[i]) * steps, steps)

        return rate


def context_of(
    study: Study, dataset: Dataset, blocks: dict[str, np.ndarray], directory: Path, device: torch.device
) -> StudyContext:
    """The context of blocks that are cut already, which may lack classes, of a data set in memory."""
    labels = torch.as_tensor(np.array(dataset.labels), device=device)
    inputs = _inputs(study, dataset, dataset.images, device)
    return StudyContext(study, dataset, blocks, device, inputs, labels, directory)


def _streamed(
    study: Study, dataset: Dataset, images: StreamedImages, device: torch.device, directory: Path
) -> Streamed:
    """Inputs of images that are read as they are asked for."""
    settings = study.data.streamed
    assert settings is not None  # such data are read for such studies only
    crops = RandomCrops(settings.image_size, settings.area, study.seed)
    workers = min(cores(), MOST_WORKERS) if settings.workers is None else settings.workers
    noted = partial(note_unreadable, images, directory)
    loader = Loader(Shown(images, crops), workers, pin=device.type == "cuda", noted=noted)
    return Streamed(loader, device, dataset.mean.tolist(), dataset.std.tolist(), augmented=settings.augment)


def _inputs(study: Study, dataset: Dataset, images: np.ndarray, device: torch.device) -> Inputs:
    """Features where all networks take vectors, else images, by sample id.

    Images are normalised by the mean and deviation of the data set's own, through whatever views they are shown.
    """
    data = study.data.in_memory()
    if dataset.made:  # all rows show one image
        one = replace(dataset, images=np.array(images[:1]), made=False)
        return Repeated(_inputs(study, one, one.images, device), 1)
    if set(study.models) != {"mlp"}:
        return Images(
            torch.as_tensor(np.array(images), device=device), dataset.mean.tolist(), dataset.std.tolist(),
            dataset.scale, study.seed, crop=data.crop, flip=data.flip,
        )  # fmt: skip
    if data.crop or data.flip:
        raise ValueError("data.crop and data.flip are for networks that take images, not for model mlp")
    rows = images if dataset.is_vectors else replace(dataset, images=images).features()
    return Features(torch.as_tensor(rows, device=device), dataset.scale)
