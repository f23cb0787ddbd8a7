"""How far a long step is: a bar on a terminal, a line a minute where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

SECONDS_A_LINE = 60.0


def progress(steps: Iterable[Any] | None = None, *, total: int | None = None, unit: str, **shown: Any) -> tqdm:
    """A tqdm bar on stderr, over steps or to be updated; where that is no terminal, a line each `SECONDS_A_LINE`.

    A line is written when a step ends, and none by what is done within the first minute.
    """
    if sys.stderr.isatty():
        return tqdm(steps, total=total, unit=unit, dynamic_ncols=True, **shown)
    lines: dict[str, Any] = {"leave": False, "file": _LineFile(), "ncols": 100, "miniters": 1, "mininterval": 0.0}
    return _Lines(steps, total=total, unit=unit, **(shown | lines))


class _LineFile:
    """stderr for a bar that is written over again and again: each of its states a line of its own."""

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class _Lines(tqdm):
    """A bar that is drawn once in so many seconds."""

    monitor_interval = 0  # no thread that draws between two steps

    drawn = 0.0

    def refresh(self, *given: Any, **named: Any) -> None:
        """Draw, unless that was done within the last minute."""
        now = time.monotonic()
        self.drawn = self.drawn or now  # tqdm draws once as it begins
        if now - self.drawn >= SECONDS_A_LINE:
            self.drawn = now
            super().refresh(*given, **named)
