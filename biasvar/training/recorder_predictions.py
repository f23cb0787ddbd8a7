"""Predictions that a recorder keeps, so that several trainings of an arm give its bias and variance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array
from biasvar.records.schema import prediction_path
from biasvar.records.writer import RunWriter

Keep = Literal["last", "all"] | Sequence[int]
MOVING = (
    "predictions of split {split} are those of the training pass: each row's is from the weights of its own step, and "
    "of what the loop did to the sample; bias and variance of them are not those of the trained students"
)


def checked_keep(
    keep: Keep | None, view: str, *, moving: bool, part: bool
) -> Literal["last", "all"] | list[int] | None:
    """The epochs after which predictions are kept, rising numbers if they are listed.

    Raises:
        ValueError: Anything else than "last", "all" or epochs from 1 on; a training pass unless `moving`; parts.
    """
    if keep is None:
        return None
    if part:
        raise ValueError(
            "keep_predictions cannot be combined with part: let one process evaluate all rows, with a recorder of its "
            "own"
        )
    if view != "clean" and not moving:
        raise ValueError(
            f"keep_predictions needs an evaluation pass: logits of view {view!r} come from weights that move from step "
            'to step. Record a pass of the trained student with view="clean" and, of held-out rows, split="test"; '
            "allow_moving_weights=True keeps them all the same, labelled so"
        )
    if isinstance(keep, str):
        if keep not in ("last", "all"):
            raise ValueError(f'keep_predictions must be "last", "all" or a list of epochs, not {keep!r}')
        return keep
    epochs = to_numpy(as_array(keep, "keep_predictions"))
    if epochs.ndim != 1 or not epochs.size or epochs.dtype.kind not in "iu" or epochs.min() < 1:
        raise ValueError(f'keep_predictions must be "last", "all" or a list of epochs from 1 on, not {keep!r}')
    return [int(epoch) for epoch in np.unique(epochs)]


class PredictionKeeper:
    """Writes log-probabilities of some epochs of one (arm, split, view, group), every replica by itself.

    Args:
        writer, arm, split, view, group: Of the record.
        keep: After which epochs; of "last" an epoch's file goes when that of a later one is safe.
    """

    def __init__(
        self, writer: RunWriter, arm: str, split: str, view: str, group: int, keep: Literal["last", "all"] | list[int]
    ) -> None:
        self._writer, self._arm, self._split, self._group, self._keep = writer, arm, split, group, keep
        entry = writer.settle_arm(arm, kept_predictions={split: {"view": view, "epochs": keep}})
        said = MOVING.format(split=split)
        if view != "clean" and said not in (known := entry.get("warnings") or []):
            writer.update_arm(arm, warnings=[*known, said])

    def wanted(self, epoch: int) -> bool:
        """True if the predictions of an epoch are kept."""
        return isinstance(self._keep, str) or epoch in self._keep

    def write(self, epoch: int, columns: dict[str, np.ndarray], log_probs: np.ndarray, *, by_member: bool) -> None:
        """Write those of one epoch.

        Args:
            epoch: Its number.
            columns: "replica", "sample_id" and "member" (n,) of its rows.
            log_probs: float64 (n, C), nats.
            by_member: Keep rows that their replica was trained on apart from others, as "member" and "nonmember".
        """
        replicas, r = np.unique(columns["replica"], return_inverse=True)
        ids, i = np.unique(columns["sample_id"], return_inverse=True)
        member = columns["member"].astype(bool)
        for name, use in {"member": member, "nonmember": ~member}.items() if by_member else [("all", member | True)]:
            counts = np.zeros((len(replicas), len(ids)), dtype=np.int64)
            means = np.zeros((*counts.shape, log_probs.shape[1]))
            counts[r[use], i[use]], means[r[use], i[use]] = 1, log_probs[use]
            place = (self._arm, self._split, name)
            self._writer.predictions(*place, epoch, self._group, ids, counts, means, groups=replicas)

    def settle(self, epoch: int) -> None:
        """Remove what "last" no longer keeps, now that the record of an epoch is safe, too."""
        if self._keep == "last":
            for path, older in kept_files(self._writer.directory, self._arm, self._split, self._group):
                if older < epoch:
                    path.unlink()


def kept_files(directory: Path, arm: str, split: str, group: int) -> list[tuple[Path, int]]:
    """The files of predictions of one training group, of all epochs and memberships, with their epochs."""
    folder = prediction_path(directory, arm, split, "all", 0).parents[2]
    found = folder.glob(f"membership=*/epoch=*/group={group:03d}.parquet")
    return [(path, int(path.parent.name.removeprefix("epoch="))) for path in found]
