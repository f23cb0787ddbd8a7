"""Progress by cost: bars on a terminal that leave nothing behind, elsewhere a line a minute, whole and by itself."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest

from biasvar import progress as module
from biasvar.progress import InHand, Progress, over, tell, tell_into


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_line_a_minute_however_long_a_piece_takes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(8e6, 3, called="study")
    piece = InHand("arm kd", 4e6)
    progress.begin("kd", piece)
    progress.draw()
    for epoch in (10, 20, 30, 40):
        clock.now += 31.0
        piece.told[:] = [epoch, 40, epoch / 40]
        progress.draw()
    assert capsys.readouterr().err.splitlines() == [
        "biasvar: study: 25 % done, 0 of 3 trainings, 3 min 6 s left; now arm kd, epoch 20 of 40",
        "biasvar: study: 50 % done, 0 of 3 trainings, 2 min 4 s left; now arm kd, epoch 40 of 40",
    ]


def test_shares_are_of_the_cost_and_not_of_the_number(clock: Clock) -> None:
    progress = Progress(0.0, 0)
    progress.expect(100.0, 4)
    for key, cost, counts in (("a", 60.0, True), ("b", 20.0, False), ("c", 20.0, True)):
        progress.begin(key, InHand(key, cost, counts=counts))
    progress.end("a")
    progress.end("b")
    progress.drop("c")  # of a worker that was lost
    clock.now += 10.0
    assert progress.share == pytest.approx(0.8)
    assert progress.line() == "biasvar: 80 % done, 1 of 4 trainings, 3 s left"


def test_a_count_without_a_total_has_no_share(clock: Clock) -> None:
    progress = Progress(None, None, unit="rows", called="card")
    progress.update(1200)
    clock.now += 10.0
    assert progress.line() == "biasvar: card: 1,200 rows"
    assert progress.lines(80) == ["card  1,200 rows"]


@pytest.mark.parametrize("width", [30, 80, 120])
def test_lines_fit_a_terminal_and_their_bars_stand_below_one_another(width: int, clock: Clock) -> None:
    progress = Progress(100.0, 30, called="digits")
    for number in range(6):
        share = number / 10
        words = f"arm kd_of_a_teacher_with_a_long_name, replicas {number} to 15"
        progress.begin(number, InHand(words, 10.0, [number, 10, share]))
    clock.now += 30.0
    lines = progress.lines(width)
    assert len(lines) == 1 + module.MOST_IN_HAND
    assert max(map(len, lines)) <= width
    bars = {(line.index("|"), line.rindex("|")) for line in lines if "|" in line}
    assert len(bars) == (width > 30)
    assert lines[0].startswith("digits")


def test_steps_are_gone_through_and_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(over(["flags", "changes"], unit="figures")) == ["flags", "changes"]
    assert capsys.readouterr().err == ""
    assert not [thread for thread in threading.enumerate() if "_draw_on" in thread.name]


def test_steps_of_unequal_cost_say_what_is_left_after_some_of_them(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first figures read what the others find read: 21 minutes were said to be left of five."""
    seen = []
    made: list[Progress] = []
    monkeypatch.setattr(Progress, "__enter__", lambda self: made.append(self) or self)
    monkeypatch.setattr(Progress, "__exit__", lambda self, *_: None)
    for _ in over(map(str, range(20)), unit="figures"):
        clock.now += 10.0
        seen.append("left" in made[0].line())
    assert seen == [False] * 3 + [True] * 17  # 3 of 20 are 15 %


def test_a_training_tells_how_far_it_is_where_it_is_told_to() -> None:
    place = [1.0, 1.0, 1.0]
    tell_into(place)
    assert place == [0.0, 0.0, 0.0]
    tell(3, 4, 0.5)
    assert place == [3, 4, 0.5]
    tell_into([0.0, 0.0, 0.0])


SHOWN = """
import sys, time
from biasvar.progress import InHand, Progress
print("before")
with Progress(10.0, 2, called="study") as progress:
    progress.begin("a", InHand("arm a", 5.0, [3, 10, 0.3]))
    progress.begin("b", InHand("arm b", 5.0, [1, 10, 0.1]))
    time.sleep(1.2)
    print("a note", file=sys.stderr)
    time.sleep(0.6)
    progress.end("a")
    time.sleep(0.6)
print("after")
"""


def screen(shown: str) -> list[str]:
    """What stands on a terminal in the end, of the few controls that bars use."""
    rows, row, column = [""], 0, 0
    for control, text in re.findall(r"(\x1b\[\d*[AJK]|[\r\n])|([^\x1b\r\n]+)", shown):
        if text:
            rows[row] = rows[row][:column].ljust(column) + text + rows[row][column + len(text) :]
            column += len(text)
        elif control == "\r":
            column = 0
        elif control == "\n":
            row, rows = row + 1, rows + [""] * (row + 2 - len(rows))
        elif control.endswith("A"):
            row -= int(control[2:-1])
        else:
            rows[row] = rows[row][:column]
            rows = rows if control.endswith("K") else rows[: row + 1]
    return [line.rstrip() for line in rows if line.strip()]


def on_a_terminal(code: str, *, columns: int = 80) -> str:
    """What a script writes to a terminal of its own."""
    ours, its = pty.openpty()
    subprocess.run(["stty", "-F", os.ttyname(its), "cols", str(columns), "rows", "24"], check=True)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=its, stdout=its, stderr=its)
    os.close(its)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # its other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=30) == 0
    return written.decode().replace("\r\n", "\n\r")


def test_bars_leave_nothing_behind_and_stand_below_what_is_printed() -> None:
    shown = on_a_terminal(SHOWN)
    assert screen(shown) == ["before", "a note", "after"]
    first = screen(shown[: shown.index("\x1b[2A")])
    assert [line.split()[0] for line in first] == ["before", "study", "arm", "arm"]
    assert "20 %  0 of 2 trainings" in first[1]
    assert "30 %  epoch 3 of 10" in first[2]


def test_a_thread_that_draws_does_not_hold_up_the_end() -> None:
    began = time.monotonic()
    with Progress(1.0, 1):
        pass
    assert time.monotonic() - began < 5.0


def test_a_closed_stderr_is_told_nothing(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(1, 1) as progress:
        progress.begin("a", InHand("a", 1.0))
        clock.now += 2 * module.SECONDS_A_LINE
        progress.draw()
        progress.end("a")
    assert progress.share == 1.0
