"""What a group of replicas minimises: a method with its state, and the teacher that it learns from or is scored by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from biasvar.training.hooks import checked_result, checked_rows
from biasvar.training.inputs import Inputs
from biasvar.training.lookups import Views
from biasvar.training.methods.base import Batch, Method, Result, Step


@dataclass(frozen=True)
class Objective:
    """The loss of one arm on a batch of R replicas.

    Attributes:
        method: How the students are trained.
        state: What the method prepared for these replicas.
        teacher: (N, C) clean logits by sample id, or (R, N, C) when each replica has its own; also what an arm without
            a teacher in its loss is scored against; None without any teacher.
        networks: The teacher itself, once for all replicas or one each, where it has to see the student's augmented
            view; None where the clean logits serve, or `views` do.
        views: The teacher's logits of each replica's augmented views, where they are kept.
    """

    method: Method
    state: Any = None
    teacher: torch.Tensor | None = None
    networks: Sequence[nn.Module] | None = None
    views: Sequence[Views] | None = None

    def taught(self, step: Step, *, needed: bool, recorded: bool) -> torch.Tensor | None:
        """(R, B, C) logits of the method's own teacher, else of the study's where the loss or the record needs them.

        Of the study's teacher the loss is given those of the rows that the method asks about, and 0 for the others; a
        record has them too, of a pass of their own, so that recording an epoch changes nothing of it.
        """
        own = self.method.teacher_logits(self.state, step)
        if own is not None or not (needed or recorded):
            return own
        rows = checked_rows(self.method.asks(self.state, step), step.labels.shape)
        seen = self.seen(step.ids, step.inputs, step.epoch, rows)
        if rows is None or seen is None or not recorded:
            return seen
        others = self.seen(step.ids, step.inputs, step.epoch, ~rows)
        assert others is not None  # the same teacher was asked just before
        return torch.where(torch.as_tensor(rows, device=seen.device)[..., None], seen, others)

    def clean(self, inputs: Inputs, ids: torch.Tensor, replicas: int) -> torch.Tensor | None:
        """(R, n, C) logits of the method's own teacher, else of the study's, of n samples without augmentation."""
        own = self.method.clean_teacher(self.state, inputs, ids)
        return own if own is not None else self.teacher_logits(ids.expand(replicas, -1))

    def seen(
        self, ids: torch.Tensor, x: torch.Tensor, epoch: int, rows: np.ndarray | None = None
    ) -> torch.Tensor | None:
        """(R, B, C) teacher logits of the views x that the training pass of an epoch gives of (R, B) samples.

        With `rows`, bool (R, B), the teacher sees these alone, and the logits of the others are 0.
        """
        if self.views is None and self.networks is not None:
            with torch.no_grad():
                return torch.stack([self._ask(i, view, None if rows is None else rows[i]) for i, view in enumerate(x)])
        if self.views is not None:
            said = torch.stack([view.at(epoch, row) for view, row in zip(self.views, ids, strict=True)])
        else:
            known = self.teacher_logits(ids)
            if known is None:
                return None
            said = known
        if rows is None:
            return said
        return torch.where(torch.as_tensor(rows, device=said.device)[..., None], said, torch.zeros_like(said))

    def _ask(self, replica: int, view: torch.Tensor, rows: np.ndarray | None) -> torch.Tensor:
        """(B, C) what a replica's teacher says of the views (B, ...), or of some of them."""
        assert self.networks is not None and self.teacher is not None  # noqa: PT018 `seen` asks only where they are
        network = self.networks[replica % len(self.networks)]
        if rows is None:
            return torch.as_tensor(network(view)).float()
        said = self.teacher.new_zeros((len(view), self.teacher.shape[-1]))
        if not rows.any():
            return said
        places = torch.as_tensor(np.flatnonzero(rows), device=view.device)
        return said.index_copy(0, places, network(view.index_select(0, places)).float())

    def teacher_logits(self, ids: torch.Tensor) -> torch.Tensor | None:
        """(R, B, C) teacher logits of (R, B) samples without augmentation."""
        if self.teacher is None or self.teacher.ndim == 2:
            return None if self.teacher is None else self.teacher[ids]
        return self.teacher[torch.arange(len(ids), device=ids.device)[:, None], ids]

    def __call__(self, batch: Batch) -> Result:
        """Per-sample losses (R, B), and the weights (R, B) their soft labels got (None: all 1)."""
        self.method.before_step(self.state, batch)
        return checked_result(self.method.loss(self.state, batch), batch.labels.shape)
