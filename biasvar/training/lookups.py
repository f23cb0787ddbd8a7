"""Tables that a loss looks up by sample id: soft targets, and a teacher's logits of augmented views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass
class SoftTargets:
    """The soft labels that students learn from.

    Attributes:
        values: (N, C), or (R, N, C) where each replica has its own; NaN in rows that are no training rows.
        redraw: The values of an epoch, where they are drawn anew in every epoch.
    """

    values: torch.Tensor
    redraw: Callable[[int], torch.Tensor] | None = None
    _epoch: int = field(default=0, repr=False)

    def at(self, ids: torch.Tensor, epoch: int) -> torch.Tensor:
        """(R, B, C) targets of (R, B) samples in an epoch, counted from 1."""
        if self.redraw is not None and epoch != self._epoch:
            self.values, self._epoch = self.redraw(epoch), epoch
        if self.values.ndim == 2:
            return self.values[ids]
        return self.values[torch.arange(len(ids), device=ids.device)[:, None], ids]


@dataclass
class Views:
    """A teacher's logits of the augmented views that one replica is trained on.

    Attributes:
        position: int (N,) by sample id: the sample's row in what `read` returns, -1 where it has none.
        read: The logits (n, C) of an epoch, counted from 1, on the device.
    """

    position: torch.Tensor
    read: Callable[[int], torch.Tensor]
    _epoch: int = field(default=0, repr=False)
    _logits: torch.Tensor = field(default_factory=lambda: torch.empty(0), repr=False)

    def at(self, epoch: int, ids: torch.Tensor) -> torch.Tensor:
        """(B, C) logits of (B,) samples in the training pass of an epoch, counted from 1."""
        if epoch != self._epoch:
            self._logits, self._epoch = self.read(epoch), epoch
        return self._logits[self.position[ids]]
