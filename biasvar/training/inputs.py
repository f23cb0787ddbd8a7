"""Inputs of networks by sample id: features, or images as augmented in this epoch of this replica."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from biasvar.training.augmentation import augment, normalise


class Inputs(Protocol):
    """Inputs by sample id; what is not resident on the device is made ready ahead where a whole pass is announced."""

    @property
    def augmented(self) -> bool:
        """True if the training pass sees something else than the clean pass."""

    @property
    def chunk(self) -> int:
        """How many samples an evaluation pass takes at a time."""

    def training(self, ids: torch.Tensor, replicas: Sequence[int], epoch: int) -> torch.Tensor:
        """(R, B, ...) inputs of (R, B) samples in the training pass of an epoch; the same in every arm."""

    def clean(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, ...) inputs of (B,) samples in an evaluation pass."""

    def training_pass(
        self, ids: torch.Tensor, on_host: np.ndarray, replicas: Sequence[int], epoch: int, batches: Sequence[slice]
    ) -> Generator[torch.Tensor, None, None]:
        """What `training` gives of the batches of an epoch one by one.

        Args:
            ids, on_host: The samples (R, P) in the order of the epoch, here and in main memory.
            replicas, epoch: As for `training`.
            batches: The places of each batch in that order.
        """
        return (self.training(ids[:, places], replicas, epoch) for places in batches)

    def clean_pass(self, ids: torch.Tensor, chunk: int | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Some samples out of (n,) at a time, in order, and what `clean` gives of them."""
        return ((piece, self.clean(piece)) for piece in ids.split(chunk or self.chunk))

    def plain(self) -> Inputs:
        """The same inputs without augmentation."""

    def of(self, images: np.ndarray) -> Inputs:
        """Inputs of other images (n, H, W[, C]), by their place 0 .. n - 1."""

    def close(self) -> None:
        """End the processes that make inputs ready, where there are any."""
        return

    @property
    def pixel_scale(self) -> tuple[Sequence[float], Sequence[float]]:
        """(mean, unit), each by channel: an input is (pixel in [0, 1] - mean) / unit."""


@dataclass(frozen=True)
class Features(Inputs):
    """Vectors (N, D), never augmented; of images, whose pixels are divided by `scale`."""

    values: torch.Tensor
    scale: float = 1.0

    @property
    def augmented(self) -> bool:
        return False

    @property
    def chunk(self) -> int:
        return 4096

    def training(self, ids: torch.Tensor, replicas: Sequence[int], epoch: int) -> torch.Tensor:
        return self.values[ids]

    def clean(self, ids: torch.Tensor) -> torch.Tensor:
        return self.values[ids]

    def plain(self) -> Features:
        return self

    def of(self, images: np.ndarray) -> Features:
        rows = np.divide(images.reshape(len(images), -1), np.float32(self.scale), dtype=np.float32)
        return replace(self, values=torch.as_tensor(rows, device=self.values.device))

    @property
    def pixel_scale(self) -> tuple[Sequence[float], Sequence[float]]:
        return [0.0], [1.0]


@dataclass(frozen=True)
class Images(Inputs):
    """uint8 images (N, H, W[, C]), normalised; cropped and flipped at random in training where asked."""

    values: torch.Tensor
    mean: Sequence[float]
    std: Sequence[float]
    scale: float
    seed: int
    crop: int = 0
    flip: bool = False

    @property
    def augmented(self) -> bool:
        return self.crop > 0 or self.flip

    @property
    def chunk(self) -> int:
        return 256 if self.values.device.type == "cpu" else 2048  # on a CPU more only outgrows the caches

    def training(self, ids: torch.Tensor, replicas: Sequence[int], epoch: int) -> torch.Tensor:
        if not self.augmented:
            return torch.stack([self.clean(row) for row in ids])
        views = [
            augment(
                self.values, row, seed=self.seed, replica=r, epoch=epoch, pad=self.crop, flip=self.flip,
                mean=self.mean, std=self.std, scale=self.scale,
            )
            for row, r in zip(ids, replicas, strict=True)
        ]  # fmt: skip
        return torch.stack(views) if len(views) > 1 else views[0].unsqueeze(0)

    def plain(self) -> Images:
        return replace(self, crop=0, flip=False)

    def of(self, images: np.ndarray) -> Images:
        return replace(self, values=torch.as_tensor(np.array(images), device=self.values.device))

    @property
    def pixel_scale(self) -> tuple[Sequence[float], Sequence[float]]:
        return self.mean, self.std

    def clean(self, ids: torch.Tensor) -> torch.Tensor:
        return normalise(self.values, ids, mean=self.mean, std=self.std, scale=self.scale)


@dataclass(frozen=True)
class Repeated(Inputs):
    """Inputs of few rows over and over: those of sample i are those of row i mod `rows`."""

    few: Inputs
    rows: int

    @property
    def augmented(self) -> bool:
        return self.few.augmented

    @property
    def chunk(self) -> int:
        return self.few.chunk

    def training(self, ids: torch.Tensor, replicas: Sequence[int], epoch: int) -> torch.Tensor:
        return self.few.training(ids % self.rows, replicas, epoch)

    def clean(self, ids: torch.Tensor) -> torch.Tensor:
        return self.few.clean(ids % self.rows)

    def plain(self) -> Repeated:
        return replace(self, few=self.few.plain())

    def of(self, images: np.ndarray) -> Inputs:
        return self.few.of(images)

    @property
    def pixel_scale(self) -> tuple[Sequence[float], Sequence[float]]:
        return self.few.pixel_scale
