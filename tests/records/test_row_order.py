"""Rows go by sample id: a run whose files were rewritten with their rows in any order reads as it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from biasvar import open_run
from biasvar.errors import RecordError
from biasvar.records import Run, RunWriter
from biasvar.records.soft_labels import open_soft_labels
from tests.records.conftest import log_probs, record_columns

IDS = np.arange(0, 40, 2)
N, C, R = len(IDS), 4, 3


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A run with one file of each kind."""
    writer = RunWriter(tmp_path / "run", manifest={"kind": "recorder", "num_classes": C, "reference_teacher": "one"})
    rng = np.random.default_rng(0)
    writer.samples(IDS, IDS // 2 % C, "train", ["student"] * N)
    writer.membership(IDS, rng.integers(0, 3, (R, N)))
    for epoch in (1, 2):
        writer.record("kd", "train", "augmented", epoch, 0, record_columns(epoch, replicas=range(R)))
    writer.predictions("kd", "train", "all", 1, 0, IDS, np.ones((R, N), int), log_probs(1, R, N, C))
    writer.teacher("one", IDS, rng.normal(size=(N, C)), rng.random(N) < 0.5)
    writer.teacher("own", IDS, rng.normal(size=(R, N, C)), rng.random((R, N)) < 0.5)
    writer.soft_labels("same", IDS, rng.dirichlet(np.ones(C), N))
    writer.soft_labels("own", IDS, rng.dirichlet(np.ones(C), (R, N)))
    return writer.directory


def shuffle(directory: Path, *, metadata: bool) -> None:
    """Every Parquet file anew, with its rows in another order, with its metadata or as another tool would write it."""
    rng = np.random.default_rng(1)
    for path in directory.rglob("*.parquet"):
        table = pq.read_table(path)
        order = rng.permutation(table.num_rows)
        assert not np.array_equal(order, np.arange(table.num_rows))
        table = table.take(order)
        pq.write_table(table if metadata else table.replace_schema_metadata(None), path)


def weights(run: Run) -> pd.DataFrame:
    return run.weights("kd", by="replica")


def retraining(run: Run) -> np.ndarray:
    return run.retraining_weights("kd", np.arange(40) // 2 % C, missing=0.0)


def of_soft_labels(name: str) -> Callable[[Run], Any]:
    return lambda run: list(vars(run.soft_labels(name)).values())


def of_teacher(name: str) -> Callable[[Run], Any]:
    return lambda run: list(vars(run.teacher(name)).values())


def batches(run: Run) -> list[np.ndarray]:
    values, labels, ids = (np.concatenate(parts) for parts in zip(*open_soft_labels(run).batches(7), strict=True))
    order = np.argsort(ids)  # batches carry their ids
    return [values[order], labels[order], ids[order]]


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize(
    "read",
    [
        lambda run: run.records(),
        lambda run: run.records(["sample_id", "student_loss", "replica"], epochs=2),
        lambda run: run.records(["student_loss"], samples=[4, 8], replicas=[1]),
        lambda run: run.samples,
        lambda run: run.membership,
        lambda run: run.metrics,
        lambda run: list(vars(run.predictions("kd", split="train")).values()),
        of_soft_labels("same"),
        of_soft_labels("own"),
        of_teacher("one"),
        of_teacher("own"),
        weights,
        retraining,
        batches,
    ],
)
def test_the_order_of_rows_on_disk_changes_nothing(whole: Path, read: Callable[[Run], Any], metadata: bool) -> None:
    before = read(open_run(whole))
    shuffle(whole, metadata=metadata)
    after = read(open_run(whole))
    if isinstance(before, pd.DataFrame):
        pd.testing.assert_frame_equal(after, before, rtol=1e-12)
        return
    for new, old in zip(after, before, strict=True) if isinstance(before, list) else [(after, before)]:
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("samples.parquet", lambda run: run.samples),
        ("membership.parquet", lambda run: run.membership),
        ("teachers/one.parquet", lambda run: run.teacher("one")),
        ("soft_labels/own.parquet", lambda run: run.soft_labels("own")),
        ("predictions/arm=kd/split=train/membership=all/epoch=0001/group=000.parquet", None),
        ("records/arm=kd/split=train/view=augmented/epoch=0002/group=000.parquet", lambda run: run.records()),
    ],
)
def test_a_row_that_comes_twice_or_in_anothers_place_is_named(whole: Path, name: str, read: Any) -> None:
    table = pq.read_table(whole / name)
    order = np.arange(table.num_rows)
    order[3] = 4
    pq.write_table(table.take(order), whole / name)
    with pytest.raises(RecordError, match=name.split("/")[-1]):
        (read or (lambda run: run.predictions("kd", split="train")))(open_run(whole))
