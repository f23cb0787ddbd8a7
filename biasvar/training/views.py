"""A teacher's logits of every augmented view of a replica, kept on disk while a study runs.

What a sample looks like depends on (seed, replica, epoch, sample) alone, so all arms that share a teacher ask it about
the same views, in the same batches: it is asked once, and the arms read what it said.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from biasvar.files import write_bytes

if TYPE_CHECKING:
    from biasvar.training.workbench import Workbench


@dataclass
class Views:
    """One replica's teacher logits (epochs, n, C) by epoch and sample id."""

    path: Path
    position: torch.Tensor  # int (N,): where a sample id lies, -1 where it does not
    _epoch: int = 0
    _logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    @staticmethod
    def open(path: Path, ids: np.ndarray, total: int, device: torch.device) -> Views:
        """Views of these sample ids, out of `total` ids."""
        position = torch.full((total,), -1, dtype=torch.int64)
        position[torch.as_tensor(ids)] = torch.arange(len(ids))
        return Views(path, position.to(device))

    def at(self, epoch: int, ids: torch.Tensor) -> torch.Tensor:
        """(B, C) logits of (B,) samples in the training pass of an epoch, counted from 1."""
        if epoch != self._epoch:
            table = np.load(self.path, mmap_mode="r")  # one epoch of it is read
            self._logits = torch.as_tensor(np.array(table[epoch - 1]), device=self.position.device)
            self._epoch = epoch
        return self._logits[self.position[ids]]


def views_path(directory: Path, teacher: str, replica: int) -> Path:
    """Where the views of one replica lie while a study runs."""
    return directory / "checkpoints" / f"views={teacher}" / f"replica={replica:03d}.npy"


@torch.no_grad()
def write_views(bench: Workbench, teacher: str, replica: int) -> None:
    """Ask a teacher about every view that a replica is trained on, in its batches, and keep the answers."""
    path = views_path(bench.directory, teacher, replica)
    if path.exists():
        return
    study, rows = bench.study, bench.rows([replica])
    (network,) = bench.teacher_networks(teacher, [replica])
    table = np.empty((study.schedule.epochs, rows.ids.shape[1], bench.dataset.num_classes), dtype=np.float32)
    for epoch in range(1, len(table) + 1):
        order = rows.orders(study.seed, epoch)[0]
        for at in np.split(order, range(study.schedule.batch_size, len(order), study.schedule.batch_size)):
            ids = torch.as_tensor(rows.ids[:, at], device=bench.device)
            x = bench.inputs.training(ids, [replica], epoch)
            table[epoch - 1, at] = network(x[0]).float().cpu().numpy()
    content = io.BytesIO()
    np.save(content, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())


def open_views(bench: Workbench, teacher: str, replicas: list[int]) -> list[Views] | None:
    """The views of these replicas, or None where they are not kept."""
    paths = [views_path(bench.directory, teacher, r) for r in replicas]
    if not all(path.exists() for path in paths):
        return None
    found = zip(paths, bench.rows(replicas).ids, strict=True)
    return [Views.open(path, ids, len(bench.labels), bench.device) for path, ids in found]
