"""A small run, made of random numbers with a known seed."""

from pathlib import Path

import numpy as np
import pytest

from biasvar.records import RunWriter

MANIFEST = {"kind": "recorder", "num_classes": 4, "name": "small"}


def record_columns(seed: int = 0, *, replicas=range(3), ids=range(0, 40, 2), teacher: bool = True) -> dict:
    """A record of every (replica, sample), sorted."""
    rng = np.random.default_rng(seed)
    replicas, ids = np.array(list(replicas), dtype=np.int32), np.array(list(ids), dtype=np.int64)
    rows = len(replicas) * len(ids)
    columns = {
        "sample_id": np.tile(ids, len(replicas)),
        "replica": np.repeat(replicas, len(ids)),
        "label": np.tile((ids // 2 % 4).astype(np.int32), len(replicas)),
        "student_prediction": rng.integers(0, 4, rows).astype(np.int32),
        "member": rng.random(rows) < 0.7,
    }
    floats = ["student_loss", "student_prob", "bias_gradient", "bias_gradient_norm", "loss_weight"]
    if teacher:
        floats += ["teacher_loss", "teacher_prob", "variance_gradient", "variance_gradient_norm", "wsl_weight"]
        columns["teacher_prediction"] = rng.integers(0, 4, rows).astype(np.int32)
        columns["opposing"] = rng.random(rows) < 0.4
    for name in floats:
        columns[name] = rng.normal(size=rows).astype(np.float32)
    columns["loss_weight"] = np.abs(columns["loss_weight"])
    return columns


def log_probs(seed: int, *shape: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=shape)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return RunWriter(tmp_path / "run", manifest=MANIFEST)


@pytest.fixture
def small_run(writer: RunWriter) -> Path:
    """Arms kd (teacher) and ce (none): train, augmented, epochs 1, 2, 10; two training groups of replicas."""
    for arm in ("kd", "ce"):
        for epoch in (1, 2, 10):
            for group, replicas in enumerate([range(2), range(2, 4)]):
                columns = record_columns(epoch + 100 * group, replicas=replicas, teacher=arm == "kd")
                writer.record(arm, "train", "augmented", epoch, group, columns, metadata={"temperature": 4.0})
    writer.record("kd", "test", "clean", 10, 0, record_columns(7, ids=range(100, 110)))
    return writer.directory
