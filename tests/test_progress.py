"""Progress is seen where there is no terminal too: a line a minute, whole and by itself."""

from __future__ import annotations

import sys

import pytest

from biasvar import progress as module
from biasvar.progress import progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_line_a_minute_and_none_before(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    with progress(total=10, unit="training", desc="study", leave=True) as bar:
        for step in range(5):
            clock.now += 25.0
            bar.set_postfix_str(f"arm {step}")
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "study" in lines[0]
    assert "2/10" in lines[0]
    assert "arm 2" in lines[0]


def test_steps_are_gone_through_and_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(5), unit="figure")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress(total=2, unit="row") as bar:
        bar.update()
    assert "\r" in capsys.readouterr().err
