"""Every loss of `biasvar.losses` as a term of torchdistill's criteria; the module `torchdistill` registers them.

torchdistill gives a term the dictionaries of what went into and came out of modules, where a module's path leads to its
logits; "." is the network itself. What a loss wants of every sample besides its logits and its label is a table by
sample id.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed as dist
from torch import nn
from torch.utils.data import Subset

from biasvar import losses
from biasvar.training.recorder import Recorder

SAMPLE_ID = "sample_id"
TRAIN_MODE = (
    "the teacher is in train mode (batch norm, dropout), as torchdistill leaves it; "
    "pre_epoch_process: biasvar.teacher_eval puts it into eval mode"
)
LOGITS = {"student_logits": "student", "logits": "student", "teacher_logits": "teacher"}


def of_this_process(recorder: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a recorder, which records its part of every epoch where several processes train together."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return recorder
    return {"part": (dist.get_rank(), dist.get_world_size()), "on_duplicate": "first", **recorder}


def end_epoch(recorder: Recorder, box: Any) -> None:
    """Write the epoch, and say that the record is complete after the last one of the box, or of its stage."""
    recorder.end_epoch()
    stages = getattr(box, "train_config", None)
    last = box.num_epochs if stages is None else stages[f"stage{box.stage_number}"]["num_epochs"]
    if recorder.epoch > last:
        recorder.close()


def row_in_whole(dataset: Any, index: int) -> int:
    """The number that a row of a data set has in the whole set, of which it may be a Subset, or a Subset's Subset.

    >>> row_in_whole(Subset(Subset([3, 1, 4, 1, 5], [1, 2, 4]), [2, 0]), 0)
    4
    """
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, int(dataset.indices[index])
    return index


def logits_of(io_dict: dict[str, Any], net: str, path: str = ".", io: str = "output") -> torch.Tensor:
    """The logits (B, C) at a module's path: a tensor, or what is called "logits" in a dictionary or an object.

    Raises:
        ValueError: There is no such network, or nothing stands at that path.
        TypeError: The network returned something else, such as a loss alone.
    """
    if not io_dict:
        raise ValueError(f"a loss or a record needs the {net}'s logits, and the configuration has no {net}")
    if io not in io_dict.get(path, {}):
        raise ValueError(f"no {io} of module {path!r} of the {net}: its forward_hook in the configuration must name it")
    found = io_dict[path][io]
    logits = found.get("logits", found) if isinstance(found, dict) else getattr(found, "logits", found)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        kind = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else f"type {type(logits).__name__}"
        raise TypeError(
            f"the {net} returned {kind}, and biasvar needs its logits (B, C): let its forward return them, "
            "the criterion makes the loss"
        )
    return logits


class LossTerm(nn.Module):
    """A loss of biasvar on dictionaries of modules' outputs: `forward(student_io_dict, teacher_io_dict, targets)`.

    Args:
        kind: A class of `biasvar.losses`; `settings` are its arguments.
        tables: By the name of an argument of the loss, numbers with one row for each sample id, or the .npy file that
            holds them: `{weights: weights.npy}`. They need the ids that `biasvar.RecordedLoss` provides.
        student_module_path, student_module_io, teacher_module_path, teacher_module_io: Where the logits are, as in
            torchdistill's own losses; default what the networks return.

    Raises:
        ValueError: A table that the loss does not know, one that it needs and was not given, a sample id beyond it.
    """

    def __init__(
        self,
        kind: type[nn.Module],
        *,
        tables: dict[str, Any] | None = None,
        student_module_path: str = ".",
        student_module_io: str = "output",
        teacher_module_path: str = ".",
        teacher_module_io: str = "output",
        **settings: Any,
    ) -> None:
        super().__init__()
        self.loss, self.name = kind(**settings), f"biasvar.{kind.__name__}"
        self.tables = {name: _table(table) for name, table in (tables or {}).items()}
        parameters = inspect.signature(self.loss.forward).parameters
        takes = [name for name in parameters if name not in {*LOGITS, "labels", "where"}]
        if wrong := sorted({*self.tables} - {*takes}):
            raise ValueError(f"{self.name} takes no table {wrong[0]!r}; it takes {', '.join(takes) or 'none'}")
        for name in takes:
            if parameters[name].default is inspect.Parameter.empty and name not in self.tables:
                raise ValueError(f"{self.name} needs tables: {{{name}: FILE.npy}}, one row for each sample id")
        self._networks = {name: LOGITS[name] for name in parameters if name in LOGITS}
        self._labelled = "labels" in parameters
        self._student = student_module_path, student_module_io
        self._teacher = teacher_module_path, teacher_module_io

    def forward(
        self, student_io_dict: dict[str, Any], teacher_io_dict: dict[str, Any], targets: Any, *_: Any, **__: Any
    ) -> torch.Tensor:
        """The loss of a batch, reduced as the loss says; its weights go to the record."""
        networks = {"student": (student_io_dict, *self._student), "teacher": (teacher_io_dict, *self._teacher)}
        given: dict[str, torch.Tensor] = {}
        for name, net in self._networks.items():
            io_dict, path, io = networks[net]
            given[name] = logits_of(io_dict, net, path, io)
        device = next(iter(given.values())).device
        if self._labelled:
            given["labels"] = targets
        note = student_io_dict.get(SAMPLE_ID)
        for name in self.tables:
            if note is None:
                raise ValueError(
                    f"{self.name} has tables, and no sample ids: criterion needs key: biasvar.RecordedLoss"
                )
            given[name] = self._rows(name, note["output"]).to(device)
        if "weights" not in given and isinstance(self.loss, losses.DistillationLoss):
            weights = self.loss.weights(**given)
            given |= {} if weights is None else {"weights": weights}
        if note is not None and "weights" in given:
            note["loss_weight"] = given["weights"]
        loss: torch.Tensor = self.loss(**given)
        return loss

    def _rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        """The rows (B, ...) of a table that belong to the sample ids (B,)."""
        table, ids = self.tables[name], ids.cpu()
        if len(ids) and int(ids.max()) >= len(table):
            raise ValueError(f"tables.{name} of {self.name} has {len(table)} rows, none for sample id {int(ids.max())}")
        return table[ids]


def _table(table: Any) -> torch.Tensor:
    """One row for each sample id, on the CPU, floats as float32."""
    values = np.load(table, allow_pickle=False) if isinstance(table, str | Path) else table
    tensor = torch.as_tensor(values, device="cpu")
    return tensor.float() if tensor.is_floating_point() else tensor


TERMS = {
    name: functools.partial(LossTerm, kind)
    for name in losses.__all__
    if isinstance(kind := getattr(losses, name), type) and issubclass(kind, nn.Module)
}
"""By the name of each loss, the function that makes its term from the settings in a configuration."""
