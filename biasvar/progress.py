"""How far long work is: bars on a terminal, a line a minute where there is none."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from biasvar.interrupts import ending_held

SECONDS_A_LINE = 60.0
SECONDS_A_PICTURE = 0.2
SILENT = 0.5  # seconds: what is done sooner shows nothing
MOST_IN_HAND = 4
ENOUGH = 2.0  # seconds, and a share of the work: before that nothing is said of the time left
SHARE_OF_COST, SHARE_OF_STEPS = 0.01, 0.15  # steps differ in cost, and the first ones read what the others find read

_told: MutableSequence[float] = [0.0, 0.0, 0.0]


def tell(epoch: int, epochs: int, share: float) -> None:
    """Say how far the training in hand is in this process: its epoch, of how many, and the share that is done."""
    _told[0], _told[1], _told[2] = epoch, epochs, share


def tell_into(place: MutableSequence[float]) -> None:
    """From here on `tell` writes its three numbers there, such as memory that another process reads."""
    global _told
    _told = place
    tell(0, 0, 0.0)


@dataclass
class InHand:
    """A piece of work under way: its words, what it costs, the numbers of `tell`, and if it counts as a piece."""

    words: str
    cost: float
    told: MutableSequence[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    counts: bool = True


class Progress:
    """Progress over work whose pieces differ in cost, drawn by a thread of its own from the first to the last moment.

    On a terminal a bar for all of it, and one below for each piece in hand, which are gone at the end. Elsewhere a
    line on stderr every `SECONDS_A_LINE`, however long a piece takes, or nothing if stderr is closed. Used as a
    context.

    Args:
        total: What all pieces cost together, in any unit; None where that is not known.
        pieces: How many they are; None where that is not known.
        unit: What a piece is called, in the plural.
        called: What the bar is called.
        enough: The share of the work before which nothing is said of the time left.
    """

    def __init__(
        self, total: float | None, pieces: int | None, *, unit: str = "trainings", called: str = "",
        enough: float = SHARE_OF_COST,
    ) -> None:  # fmt: skip
        self.total, self.pieces, self.unit, self.called = total or 0.0, pieces, unit, called
        self._enough = enough
        self.cost_done, self.done = 0.0, 0
        self._hand: dict[Any, InHand] = {}
        self._before = self._behind = 0  # the longest words so far, so that bars stay where they are
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._screen = _Screen(sys.stderr) if _is_terminal(sys.stderr) else None
        self._began = self._lined = time.monotonic()

    def __enter__(self) -> Progress:
        if self._screen is not None:
            self._screen.take_over()
        self._thread = threading.Thread(target=self._draw_on, daemon=True)
        with ending_held():  # so that signals go to the main thread
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._screen is not None:
            self._screen.give_back()

    def expect(self, cost: float, pieces: int) -> None:
        """There is more to do, or less, than was thought."""
        with self._lock:
            self.total, self.pieces = self.total + cost, (self.pieces or 0) + pieces

    def begin(self, key: Any, piece: InHand) -> None:
        """A piece is taken in hand."""
        with self._lock:
            self._hand[key] = piece

    def drop(self, key: Any) -> None:
        """A piece that was in hand is not done, and waits again."""
        with self._lock:
            self._hand.pop(key, None)

    def end(self, key: Any) -> None:
        """A piece that was in hand is done."""
        with self._lock:
            piece = self._hand.pop(key)
            self.update(piece.cost, int(piece.counts))

    def update(self, cost: float = 1, pieces: int | None = None) -> None:
        """So much is done; without a number of pieces each costs 1."""
        with self._lock:
            self.cost_done, self.done = self.cost_done + cost, self.done + int(cost if pieces is None else pieces)

    @property
    def share(self) -> float:
        """The share of all cost that is done, with what is done of the pieces in hand."""
        with self._lock:
            under_way = sum(piece.cost * min(1.0, max(0.0, piece.told[2])) for piece in self._hand.values())
            return min(1.0, (self.cost_done + under_way) / self.total) if self.total > 0 else 0.0

    def lines(self, width: int) -> list[str]:
        """What a terminal of so many columns shows."""
        with self._lock:
            first = _Row(self.called, self.share if self.total else None, self._after())
            below = [_Row.of(piece) for piece in list(self._hand.values())[-MOST_IN_HAND:]]
        rows = [first, *below]
        self._before = max(self._before, *(len(row.before) for row in rows))
        self._behind = max(self._behind, *(len(row.after) for row in rows))
        return _aligned(rows, width, self._before, self._behind)

    def line(self) -> str:
        """Where all of it stands, in one line."""
        with self._lock:
            now = "; ".join(_in_words(piece) for piece in self._hand.values())
            called = f"{self.called}: " if self.called else ""
            share = f"{_percent(self.share)} done, " if self.total else ""
            return f"biasvar: {called}{share}{self._after()}{f'; now {now}' if now else ''}"

    def _after(self) -> str:
        counted = f"{self.done:,} {'' if self.pieces is None else f'of {self.pieces:,} '}{self.unit}"
        left = self._left()
        return counted if left is None else f"{counted}, {in_time(left)} left"

    def _left(self) -> float | None:
        """Seconds that are left at the speed so far; None while that says little."""
        taken, share = time.monotonic() - self._began, self.share
        return taken * (1 - share) / share if taken >= ENOUGH and share >= self._enough else None

    def _draw_on(self) -> None:
        while not self._ended.wait(SECONDS_A_PICTURE):
            self.draw()

    def draw(self) -> None:
        """Show where it stands, if it is time to."""
        now = time.monotonic()
        if self._screen is not None:
            if now - self._began >= SILENT:
                self._screen.draw(self.lines(_columns()))
        elif sys.stderr is not None and now - self._lined >= SECONDS_A_LINE:
            self._lined = now
            sys.stderr.write(f"{self.line()}\n")
            sys.stderr.flush()


def over(steps: Iterable[str], *, unit: str, called: str = "") -> Iterator[str]:
    """Go through named steps of one cost each, and show which is in hand."""
    steps = list(steps)
    with Progress(len(steps), len(steps), unit=unit, called=called, enough=SHARE_OF_STEPS) as progress:
        for step in steps:
            progress.begin(step, InHand(step, 1.0))
            yield step
            progress.end(step)


def in_time(seconds: float) -> str:
    """A time in the two units that matter.

    >>> in_time(7.3), in_time(75), in_time(3700), in_time(100_000)
    ('8 s', '1 min 15 s', '1 h 1 min', '1 d 3 h')
    """
    whole = math.ceil(seconds)
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {smaller}"
    return f"{whole} s"


def _percent(share: float) -> str:
    return f"{math.floor(100 * share):d} %"


def _in_words(piece: InHand) -> str:
    row = _Row.of(piece)
    return ", ".join(filter(None, [row.before.strip(), row.after]))


@dataclass(frozen=True)
class _Row:
    """A line on a terminal: words, a share as a bar, words."""

    before: str
    share: float | None
    after: str

    @staticmethod
    def of(piece: InHand) -> _Row:
        epoch, epochs, share = int(piece.told[0]), int(piece.told[1]), piece.told[2]
        return _Row(f"  {piece.words}", share if epochs else None, f"epoch {epoch:,} of {epochs:,}" if epochs else "")


def _aligned(rows: list[_Row], width: int, before: int, after: int) -> list[str]:
    """The rows with their bars below one another, as wide as the room allows; long words to the left are cut."""
    names = min(before, width // 3)
    room = min(40, width - names - after - len(" ||100 %  "))
    return [_cut(_written(row, names, room), width) for row in rows]


def _written(row: _Row, names: int, room: int) -> str:
    if row.share is None:
        return f"{row.before}  {row.after}".rstrip()
    full = round(min(1.0, row.share) * room)
    bar = f"|{'#' * full}{'-' * (room - full)}|" if room >= 5 else ""
    return f"{_cut(row.before, names):<{names}} {bar}{_percent(row.share):>5}  {row.after}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 3)]}..."


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def _columns() -> int:
    """The columns that a terminal has for a line that must not wrap."""
    try:
        return max(20, os.get_terminal_size(sys.__stderr__.fileno()).columns - 1)  # type: ignore[union-attr]
    except (OSError, AttributeError, ValueError):
        return 79


class _Screen:
    """The lines at the bottom of a terminal that are drawn again and again, under whatever else is printed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.RLock()
        self._shown: list[str] = []
        self._between = True  # two lines: nothing stands to the left of the cursor
        self._given: dict[str, Any] = {}

    def take_over(self) -> None:
        """What is printed to a terminal from here on stands above the lines."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                self._given[name] = stream
                setattr(sys, name, _Above(stream, self.above))

    def give_back(self) -> None:
        """Clear the lines, for good."""
        with self._lock:
            self._clear()
        for name, stream in self._given.items():
            setattr(sys, name, stream)

    def draw(self, lines: list[str]) -> None:
        """Write the lines over those that stand there, at once."""
        with self._lock:
            if not self._between or lines == self._shown:
                return
            fewer = "\x1b[J" if len(lines) < len(self._shown) or self._wrapped() else ""
            text = self._back() + "\n".join(f"{line}\x1b[K" for line in lines) + fewer
            self._stream.write(text)
            self._stream.flush()
            self._shown = lines

    def above(self, write: Callable[[str], Any], text: str) -> Any:
        """Write what somebody prints above the lines, which are drawn again once its line has ended."""
        with self._lock:
            self._clear()
            self._between = text.endswith(("\n", "\r")) if text else self._between
            return write(text)

    def _clear(self) -> None:
        if self._shown:
            self._stream.write(f"{self._back()}\x1b[J")
            self._stream.flush()
            self._shown = []

    def _back(self) -> str:
        """To the beginning of the first line that stands there."""
        rows = sum(self._rows(line) for line in self._shown)
        return f"\r\x1b[{rows - 1}A" if rows > 1 else "\r"

    def _wrapped(self) -> bool:
        return any(self._rows(line) > 1 for line in self._shown)

    @staticmethod
    def _rows(line: str) -> int:
        """The rows that a line takes, by now: a terminal may have been made narrower."""
        return max(1, math.ceil(len(line) / (_columns() + 1)))


class _Above:
    """A stream whose text stands above the lines of a screen."""

    def __init__(self, stream: TextIO, above: Callable[[Callable[[str], Any], str], Any]) -> None:
        self._stream, self._above = stream, above

    def write(self, text: str) -> Any:
        return self._above(self._stream.write, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
