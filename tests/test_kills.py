"""The harness that kills: a handful of its kills, and that it notices writers that are not safe."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "experiments" / "benchmarks" / "kills.py"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def kills(monkeypatch):
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kills", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_writers_killed_at_random_moments_end_with_the_same_bytes():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "9", "--seed", "3", "--writers", "recorder", "jobs 1"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert [line.split(" kills")[0] for line in said] == ["recorder: 5", "jobs 1: 4"]
    assert all("0 lost, 0 partial, 0 different, 0 failed" in line for line in said)


def in_halves(directory, acknowledge):
    directory.mkdir(exist_ok=True)
    for number in range(20):
        with open(directory / f"{number}.json", "w") as file:
            file.write('{"a": ')
            file.flush()
            time.sleep(0.005)
            file.write("1}")


def from_the_start(directory, acknowledge):
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    time.sleep(0.05)  # long enough for kills to fall here
    for number in range(10):
        (directory / f"{number}.json").write_text("1")
        time.sleep(0.005)


def acknowledged_too_early(directory, acknowledge):
    directory.mkdir(exist_ok=True)
    for number in range(10):
        acknowledge(number)
        time.sleep(0.01)
        path = directory / f"epoch={number:04d}" / "group=000.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")


def with_what_it_met(directory, acknowledge):
    directory.mkdir(exist_ok=True)
    for number in range(10):
        path = directory / f"{number}.json"
        if not path.exists():
            path.write_text(str(len(list(directory.glob(".started*")))))
        time.sleep(0.005)
    (directory / f".started{time.time_ns()}").touch()


def stumbling(directory, acknowledge):
    directory.mkdir()
    time.sleep(0.1)


@pytest.mark.parametrize(
    ("writer", "fault"),
    [
        (in_halves, "partial"),
        (from_the_start, "lost"),
        (acknowledged_too_early, "lost"),
        (with_what_it_met, "different"),
        (stumbling, "failed"),
    ],
)
def test_writers_that_are_not_safe_are_noticed(kills, monkeypatch, tmp_path, writer, fault):
    monkeypatch.setitem(kills.WRITERS, "bad", writer)
    harness = kills.Harness("bad", tmp_path, random.Random(1))
    for kills_so_far in range(12, 97, 12):  # where a kill falls is chance: most writers need a few of them
        if not getattr(harness.count, fault):
            harness.run(kills_so_far)
    assert getattr(harness.count, fault)
    assert harness.count.faults[0].startswith(("lost", "partial", "different", "failed"))
