"""The rows of an epoch as a recorder keeps them until the epoch ends: columns, and the logits of the last steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from biasvar.training.recorder_terms import joined, log_probabilities, on_device_of_terms, record_terms

# Logit elements that may wait before they are turned into columns: bounds the memory, and makes the work of many
# steps one piece, since on small batches the number of calls is what costs.
PENDING_ELEMENTS = 2**20


class SeenRows:
    """Columns of a record from the steps of an epoch, on their device; nothing waits for it before the epoch ends.

    Args:
        replicas: The numbers of the replicas that train together.
        num_classes: C.
        temperature: tau at which probabilities and gradients are taken.
        together: True if the tensors of a step have a leading dimension of replicas; else there is one replica.
        probabilities: True if logits are probabilities, whose logarithms are taken.
        clip: What raises probabilities below it.
    """

    def __init__(
        self, replicas: Sequence[int], num_classes: int, temperature: float, *, together: bool = True,
        probabilities: bool = False, clip: float | None = None,
    ) -> None:  # fmt: skip
        self.replicas, self.num_classes, self.temperature = list(replicas), num_classes, temperature
        self._together, self._probabilities, self._clip = together, probabilities, clip
        self._replica_column: torch.Tensor | None = None
        self._clear()

    def _clear(self) -> None:
        self._pending: list[dict[str, torch.Tensor]] = []
        self._pending_elements = 0
        self._done: list[dict[str, torch.Tensor]] = []
        self._device: torch.device | None = None

    def note(self, batch: dict[str, torch.Tensor]) -> None:
        """Note a step, as `recorder_inputs.step_tensors` gives it."""
        # A copy: logits may live in a buffer that the next step overwrites. Rows of all replicas follow one another, on
        # the device of the epoch's first logits, where nothing has to wait.
        lead = batch["sample_id"].shape
        device = self._device = self._device or batch["student"].device
        if self._together:
            if self._replica_column is None or self._replica_column.device != device:
                self._replica_column = torch.tensor(self.replicas, device=device)
            batch["replica"] = self._replica_column.view(-1, *[1] * (len(lead) - 1)).expand(lead)
        shaped = {n: v.reshape(-1, *v.shape[len(lead) :]) for n, v in batch.items()}
        copies = {name: value.to(device, non_blocking=True, copy=True) for name, value in shaped.items()}
        self._pending.append(copies)
        self._pending_elements += copies["student"].numel()
        if self._pending_elements >= PENDING_ELEMENTS:
            self._reduce_pending()

    def take(self, columns: dict[str, torch.Tensor]) -> None:
        """Add rows that another process saw, as its `given` gives them."""
        self._done.append(columns)

    def given(self) -> dict[str, torch.Tensor] | None:
        """The columns of the epoch's rows on the host, for another process, and forget them; None without any."""
        self._reduce_pending()
        done = self._done
        self._clear()
        return {name: torch.cat([part[name] for part in done]).cpu() for name in done[0]} if done else None

    def _reduce_pending(self) -> None:
        """Turn the waiting logits into columns, on their device."""
        if not self._pending:
            return
        pieces = self._pending
        if any("where" in piece for piece in pieces):
            pieces = [{"where": torch.ones_like(piece["label"], dtype=torch.bool), **piece} for piece in pieces]
        batch = joined(pieces)
        # The steps' memory is free for the terms now; what could not be reduced is not forgotten.
        self._pending = pieces = [batch]
        batch = on_device_of_terms(batch)
        if not self._together:
            batch = {**batch, "replica": torch.full_like(batch["sample_id"], self.replicas[0])}
        logits, marks = batch, {}
        if self._probabilities:
            batch, marks["distribution"], marks["positive"] = log_probabilities(batch, self._clip)
        self._done.append({**record_terms(batch, self.temperature, self.num_classes), **marks})
        self._watch(batch, logits)
        self._pending, self._pending_elements = [], 0

    def _watch(self, batch: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
        """See steps whose columns were made: their logits, and what they were given as."""

    def _columns(self) -> dict[str, np.ndarray]:
        """All columns of the epoch on the host, in one copy per type."""
        names = list(self._done[0])
        device = self._done[0]["label"].device
        out: dict[str, np.ndarray] = {}
        for kind in (torch.float32, torch.int64, torch.bool):
            chosen = [name for name in names if self._done[0][name].dtype == kind]
            if chosen:
                block = torch.stack([torch.cat([part[name].to(device) for part in self._done]) for name in chosen])
                out.update(zip(chosen, block.cpu().numpy(), strict=True))
        return {name: out[name] for name in names}
