"""A writer killed at any moment: what it acknowledged is there and equal, and nothing partial can be seen."""

import os
import signal
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from biasvar.records import RunWriter, open_run

from .conftest import MANIFEST, record_columns

KILLS, RUNS = 100, 10
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def write_until_killed(directory, first, pipe):
    """Runs in the child: one epoch after another, each acknowledged once record() has returned."""
    try:
        writer = RunWriter(directory, manifest=MANIFEST, resume=True)
        for epoch in range(first, 10_000):
            columns = record_columns(epoch)
            writer.record("kd", "train", "augmented", epoch, 0, columns, replace=True)
            os.write(pipe, epoch.to_bytes(4, "little"))
            writer.update_arm("kd", epochs=epoch)
    finally:
        os._exit(1)


def acknowledged_before_kill(directory, first, wait_for, delay):
    """Kill a writer ``delay`` seconds after its acknowledgement number ``wait_for``; return all it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        write_until_killed(directory, first, writing)
    os.close(writing)
    sent = b"".join(os.read(reading, 4) for _ in range(wait_for))
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "the writer ended by itself"
    with os.fdopen(reading, "rb") as file:
        sent += file.read()
    return [int.from_bytes(sent[at : at + 4], "little") for at in range(0, len(sent), 4)]


@pytest.mark.slow
def test_killed_at_100_random_moments(tmp_path):
    rng = np.random.default_rng(20)
    total = 0
    for number in range(RUNS):
        directory = tmp_path / str(number)
        acknowledged: list[int] = []
        for _ in range(KILLS // RUNS):
            first = acknowledged[-1] + 1 if acknowledged else 0
            acknowledged += acknowledged_before_kill(directory, first, rng.integers(3), rng.uniform(0, 0.015))
            for path in directory.rglob("*.parquet"):
                assert pq.ParquetFile(path).read().num_rows == 60
            if not acknowledged:  # killed before there was a run
                continue
            run = open_run(directory)
            there = run.record_epochs("kd", "train", "augmented")
            assert set(acknowledged) <= set(there)
            assert len(there) <= len(acknowledged) + 1  # the one that was written and not yet acknowledged
        assert acknowledged == list(range(len(acknowledged)))
        for epoch, frame in zip(there, run.iter_records(), strict=True):
            for name, values in record_columns(epoch).items():
                np.testing.assert_array_equal(frame[name].to_numpy(), values)
        RunWriter(directory, manifest=MANIFEST, resume=True)
        assert not list(directory.rglob(".*.tmp"))
        total += len(acknowledged)
    assert total > KILLS / 2  # the kills fell among writes, not before them
