"""Parts of an epoch that several processes record together: their files, and the epochs whose parts are not all there.

Process `rank` of `world` writes `_parts/epoch=EEEE.group=GGG.part=RANK-of-WORLD.parquet` in the folder of the record's
(arm, split, view); the last one merges all of them into the epoch's file (`biasvar.records.merging`). Until then the
epoch is not complete and not read. The underscore hides the parts from other tools that read the folder.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biasvar.messages import first_few

PARTS = "_parts"
_NAME = re.compile(r"epoch=(\d+)\.group=(\d+)\.part=(\d+)-of-(\d+)\.parquet")


@dataclass(frozen=True)
class EpochPart:
    """The file of one part of an epoch: process `rank` of `world`, counted from 0."""

    path: Path
    epoch: int
    group: int
    rank: int
    world: int

    @property
    def merged(self) -> Path:
        """The file of the whole epoch, which may not be there yet."""
        return self.path.parent.parent / f"epoch={self.epoch:04d}" / f"group={self.group:03d}.parquet"


def check_part(part: Any) -> tuple[int, int] | None:
    """`part` as (rank, world); None for None and for the only process, (0, 1).

    Raises:
        ValueError: for anything else than two whole numbers with 0 <= rank < world.

    >>> check_part((1, 4)), check_part((0, 1))
    ((1, 4), None)
    """
    if part is None:
        return None
    pair = list(part) if isinstance(part, tuple | list) else []
    whole = all(isinstance(number, int | np.integer) and not isinstance(number, bool) for number in pair)
    if len(pair) != 2 or not whole or not 0 <= pair[0] < pair[1]:
        shown = " ".join(reprlib.repr(part).split())
        raise ValueError(
            f"part must be (rank, world size), two whole numbers with 0 <= rank < world size, not {shown}; with "
            "torch.distributed: (dist.get_rank(), dist.get_world_size())"
        )
    return (int(pair[0]), int(pair[1])) if pair[1] > 1 else None


def part_path(merged: Path, rank: int, world: int) -> Path:
    """Where process `rank` of `world` writes its part of the epoch that will lie at `merged`."""
    epoch = merged.parent
    return epoch.parent / PARTS / f"{epoch.name}.{merged.stem}.part={rank}-of-{world}.parquet"


def epoch_parts(folder: Path) -> list[EpochPart]:
    """The parts in the folder of one (arm, split, view), of any epoch and group, in the order of their names."""
    place = folder / PARTS
    names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    return [EpochPart(place / match[0], *(int(number) for number in match.groups())) for match in matches]


def incomplete_epochs(folder: Path) -> dict[int, str]:
    """The epochs of one (arm, split, view) that have parts and no file of the whole, and what is missing, in words."""
    there: dict[tuple[int, int, int], list[int]] = {}
    for part in epoch_parts(folder):
        if not part.merged.exists():  # else left behind by a process that was killed while it merged
            there.setdefault((part.epoch, part.group, part.world), []).append(part.rank)
    words: dict[int, list[str]] = {}
    for (epoch, group, world), ranks in there.items():
        missing = sorted(set(range(world)) - set(ranks))
        lack = f"lacks part {first_few(missing)} of {world}" if missing else f"has {world} parts that are not merged"
        words.setdefault(epoch, []).append(f"group {group} {lack}")
    return {epoch: "; ".join(lines) for epoch, lines in sorted(words.items())}
