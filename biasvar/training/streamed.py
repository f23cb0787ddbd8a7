"""Inputs of images that do not fit in memory: processes read, decode and crop them ahead of the training."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from biasvar.data.crops import RandomCrops
from biasvar.data.streaming import StreamedImages, UnreadableImage
from biasvar.errors import BiasvarError
from biasvar.interrupts import ending_held, hear_in_worker
from biasvar.training.augmentation import normalise
from biasvar.training.inputs import Images, Inputs

SLICE = 32  # images that a process makes ready at a time: all of them work on the first batch
AHEAD = 4  # slices that wait for each process
MOST_WORKERS = 8  # where a study names no number
SCALE = 255.0

Pieces = Iterator[torch.Tensor]


@dataclass(frozen=True)
class View:
    """Images to show: int (n,) sample ids, in the training pass of a replica's epoch, or in an evaluation (epoch 0)."""

    ids: np.ndarray
    replica: int = 0
    epoch: int = 0


class Shown(Dataset):
    """The pixels of views, uint8 (n, size, size, 3); an error where a file cannot be read."""

    def __init__(self, images: StreamedImages, crops: RandomCrops) -> None:
        self.images, self.crops = images, crops

    def __getitem__(self, view: View) -> torch.Tensor | UnreadableImage:
        try:
            return torch.from_numpy(np.stack([*map(self.one(view), range(len(view.ids)))]))
        except UnreadableImage as error:  # raised where the pass is read, without the lines of another process
            return error

    def one(self, view: View) -> Any:
        """A function of a place in a view that gives its pixels."""
        ids = [int(i) for i in view.ids]
        if not view.epoch:
            return lambda place: self.images.clean(ids[place])
        numbers = self.crops.numbers(view.ids, replica=view.replica, epoch=view.epoch)
        return lambda place: self.images.random(ids[place], self.crops, numbers[place])


class Loader:
    """A torch `DataLoader` that is told what to show, pass by pass; its processes stay from one pass to the next.

    Only one loader of a process has processes at a time: one that starts ends those of another.

    Args:
        shown: What is shown.
        workers: Processes; 0 for none.
        pin: Keep what is ready in page-locked memory, from which a GPU copies by itself.
        noted: Told the sample of a file that cannot be read.
    """

    _running: Loader | None = None

    def __init__(self, shown: Shown, workers: int, *, pin: bool, noted: Callable[[int], None] | None = None) -> None:
        self.shown, self.workers, self._pin, self._noted = shown, workers, pin, noted
        self._order = _Order()
        self._loader: DataLoader | None = None
        self._pieces: Iterator[Any] | None = None
        self._busy = False

    def read(self, views: Sequence[View]) -> Generator[Pieces, None, None]:
        """For each view its pixels, some images at a time, in order.

        A pass that begins before another one has ended is read without the processes.

        Raises:
            UnreadableImage: A file cannot be read; names it.
            BiasvarError: A process was lost.
        """
        if self._busy:
            yield from ((self.here(view) for view in [whole]) for whole in views)
            return
        self._busy = True
        try:
            self._order.views = [piece for view in views for piece in _slices(view)]
            pieces = self._begin()
            for view in views:
                yield (self._next(pieces) for _ in _slices(view))
        finally:
            self._busy = False

    def here(self, view: View) -> torch.Tensor:
        """The pixels of a view, made by threads of this process."""
        with ThreadPoolExecutor(cores()) as pool:
            try:
                return torch.from_numpy(np.stack([*pool.map(self.shown.one(view), range(len(view.ids)))]))
            except UnreadableImage as error:
                self._note(error)
                raise

    def seconds(self, view: View) -> float:
        """Seconds that one image of a view takes, the median."""
        make, took = self.shown.one(view), []
        for place in range(len(view.ids)):
            began = time.perf_counter()
            try:
                make(place)
            except UnreadableImage as error:
                self._note(error)
                raise
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    def _note(self, error: UnreadableImage) -> None:
        if self._noted is not None:
            self._noted(error.sample)

    def close(self) -> None:
        """End the processes; a pass that comes later starts new ones."""
        # They end with the iterator, but what was raised during a pass may keep that alive: end them now.
        end = getattr(self._pieces, "_shutdown_workers", None)
        if end is not None:
            end()
        self._loader = self._pieces = None
        if Loader._running is self:
            Loader._running = None

    def _begin(self) -> Iterator[Any]:
        if Loader._running not in (None, self):
            assert Loader._running is not None
            Loader._running.close()
        Loader._running = self
        if self._loader is None:
            more: dict[str, Any] = {}
            if self.workers:
                # Forked from this process where that can be: it shares the names of a million files with them.
                method = "fork" if sys.platform == "linux" else None
                more = {"prefetch_factor": AHEAD, "persistent_workers": True, "multiprocessing_context": method}
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="This DataLoader will create"
                )  # more than cores, as asked for
                self._loader = DataLoader(
                    self.shown, batch_size=None, sampler=self._order, num_workers=self.workers, pin_memory=self._pin,
                    worker_init_fn=_in_worker, generator=torch.Generator(), **more,
                )  # fmt: skip
        with ending_held(), _hearing_as_before():  # an end that is asked for reaches no process that is not set up
            self._pieces = iter(self._loader)
        return self._pieces

    def _next(self, pieces: Iterator[Any]) -> torch.Tensor:
        try:
            piece = next(pieces)
        except (RuntimeError, OSError, EOFError) as error:  # what a file's reading raises comes as words
            self.close()
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise BiasvarError(
                "a process that reads images was lost, most likely killed for lack of memory (or of shared memory, "
                f"/dev/shm); the same command goes on from what was recorded, and fewer than {self.workers} "
                "data.streamed.workers take less"
            ) from error
        if isinstance(piece, UnreadableImage):
            self._note(piece)
            raise piece
        assert isinstance(piece, torch.Tensor)
        return piece


@contextmanager
def _hearing_as_before() -> Iterator[None]:
    """What the block sets to answer the end of a child is taken back.

    PyTorch's loader would raise for a process that was lost wherever this one is just then; a pass that waits for the
    process notices it too, within seconds.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


class _Order:
    """The views of the pass that comes next, as a sampler."""

    views: Sequence[View] = ()

    def __iter__(self) -> Iterator[View]:
        return iter(self.views)

    def __len__(self) -> int:
        return len(self.views)


def _slices(view: View) -> Iterator[View]:
    for start in range(0, len(view.ids), SLICE):
        yield replace(view, ids=view.ids[start : start + SLICE])


def _in_worker(number: int) -> None:
    hear_in_worker()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Streamed(Inputs):
    """Images as they are read: random crops in training, centre crops in an evaluation, normalised on the device.

    Args:
        loader: What reads them.
        device: Where they are wanted.
        mean, std: By channel, of pixels in [0, 1].
        augmented: False: training sees what an evaluation sees.
    """

    def __init__(
        self, loader: Loader, device: torch.device, mean: Sequence[float], std: Sequence[float], *, augmented: bool
    ) -> None:
        self._loader, self._device, self._mean, self._std = loader, device, mean, std
        self._augmented = augmented

    @property
    def augmented(self) -> bool:
        return self._augmented

    @property
    def chunk(self) -> int:
        return 256

    @property
    def pixel_scale(self) -> tuple[Sequence[float], Sequence[float]]:
        return self._mean, self._std

    def plain(self) -> Streamed:
        return Streamed(self._loader, self._device, self._mean, self._std, augmented=False)

    def of(self, images: np.ndarray) -> Images:
        values = torch.as_tensor(np.array(images), device=self._device)
        return Images(values, self._mean, self._std, SCALE, self._loader.shown.crops.seed)

    def training(self, ids: torch.Tensor, replicas: Sequence[int], epoch: int) -> torch.Tensor:
        views = self._views(ids.cpu().numpy(), replicas, epoch)
        return torch.stack([self._ready([self._loader.here(view)], len(view.ids)) for view in views])

    def clean(self, ids: torch.Tensor) -> torch.Tensor:
        return self._ready([self._loader.here(View(ids.cpu().numpy()))], len(ids))

    def training_pass(
        self, ids: torch.Tensor, on_host: np.ndarray, replicas: Sequence[int], epoch: int, batches: Sequence[slice]
    ) -> Generator[torch.Tensor, None, None]:
        views = [self._views(on_host[:, places], replicas, epoch) for places in batches]
        with closing(self._loader.read([view for batch in views for view in batch])) as read:
            for batch in views:
                yield torch.stack([self._ready(next(read), len(view.ids)) for view in batch])

    def clean_pass(self, ids: torch.Tensor, chunk: int | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        pieces = ids.split(chunk or self.chunk)
        views = [View(piece.cpu().numpy()) for piece in pieces]
        with closing(self._loader.read(views)) as read:
            for piece, pixels in zip(pieces, read, strict=True):
                yield piece, self._ready(pixels, len(piece))

    @property
    def ahead(self) -> bool:
        """True where processes read ahead, False where the one that trains reads."""
        return self._loader.workers > 0

    def reading(self, ids: np.ndarray) -> float:
        """Seconds until the next image of a training pass is ready, with all processes at it: the median of some."""
        return self._loader.seconds(View(ids, epoch=int(self._augmented))) / max(1, self._loader.workers)

    def close(self) -> None:
        """End the processes that read ahead."""
        self._loader.close()

    def _views(self, ids: np.ndarray, replicas: Sequence[int], epoch: int) -> list[View]:
        if not self._augmented:
            return [View(row) for row in ids]
        return [View(row, replica, epoch) for row, replica in zip(ids, replicas, strict=True)]

    def _ready(self, pieces: Iterator[torch.Tensor] | Sequence[torch.Tensor], count: int) -> torch.Tensor:
        """(n, C, H, W) normalised inputs on the device of uint8 pixels that come some images at a time."""
        size = self._loader.shown.images.crop.size
        pixels = torch.empty((count, size, size, 3), dtype=torch.uint8, device=self._device)
        start = 0
        for piece in pieces:
            pixels[start : start + len(piece)].copy_(piece, non_blocking=True)
            start += len(piece)
        places = torch.arange(count, device=self._device)
        return normalise(pixels, places, mean=self._mean, std=self._std, scale=SCALE)
