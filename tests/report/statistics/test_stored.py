"""Records are read once for all figures as long as they are small, and are not kept without end."""

from __future__ import annotations

import numpy as np
import pytest

import biasvar
from biasvar.report.statistics import stored

EPOCHS = 6


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    with biasvar.Recorder(tmp_path / "run", num_samples=50, num_classes=3, temperature=2.0, arm="kd") as recorder:
        for _ in range(EPOCHS):
            recorder.update(np.arange(50), rng.normal(size=(50, 3)), np.arange(50) % 3, rng.normal(size=(50, 3)))
            recorder.end_epoch()
    return biasvar.open_run(tmp_path / "run")


def read(run, epoch):
    return stored.records(run, "kd", "train", "augmented", (epoch,), ("sample_id", "wsl_weight"))


def test_the_last_records_are_kept_up_to_a_number_of_bytes(run, monkeypatch):
    monkeypatch.setattr(stored, "_kept", type(stored._kept)())
    size = stored._bytes(read(run, 1))
    assert size == read(run, 1).memory_usage(index=False).sum() >= 50 * (8 + 4)
    assert read(run, 1) is read(run, 1)
    monkeypatch.setattr(stored, "KEPT", 3 * size)
    frames = {epoch: read(run, epoch) for epoch in range(1, EPOCHS + 1)}
    assert sum(stored._bytes(frame) for frame, _ in stored._kept.values()) == 3 * size
    assert read(run, EPOCHS) is frames[EPOCHS]
    assert read(run, 1) is not frames[1]
    assert read(run, 1).equals(frames[1])


def test_what_is_larger_than_all_that_is_kept_is_read_anew(run, monkeypatch):
    monkeypatch.setattr(stored, "_kept", type(stored._kept)())
    monkeypatch.setattr(stored, "KEPT", 10)
    assert read(run, 2).equals(read(run, 2))
    assert not stored._kept
