"""Runs of a study with files that are whole and hold the wrong rows: whichever way they are read, nothing is silent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biasvar import open_run
from biasvar.errors import RecordError
from biasvar.records import Run, RunWriter, schema
from tests.records.conftest import log_probs, record_columns
from tests.records.ways import decompose, predict, walk

IDS = np.arange(8)
N, C, R = len(IDS), 4, 3
EPOCHS = (1, 2)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two arms of a finished study, with predictions after two epochs as logits, and what the metrics say of them."""
    arms = {name: {"status": "complete", "replicas": R, "epochs": EPOCHS[-1]} for name in ("ce", "kd")}
    manifest = {"kind": "study", "num_classes": C, "study_hash": "0", "replicas": R, "arms": arms}
    writer = RunWriter(tmp_path / "run", manifest=manifest)
    labels = IDS % C
    writer.samples(IDS, labels, "test")
    for seed, arm in enumerate(arms):
        metrics: dict[str, list[object]] = {key: [] for key in (*schema.METRIC_KEYS, "n", "nll")}
        for epoch in EPOCHS:
            logits = np.random.default_rng([seed, epoch]).normal(size=(R, N, C)).astype(np.float32)
            with writer.open_predictions(arm, "test", "all", epoch, 0, logits=True) as add:
                add(IDS, np.ones((R, N), int), logits)
            wide = logits.astype(float)
            losses = -(wide - np.log(np.exp(wide).sum(-1, keepdims=True)))[:, IDS, labels].mean(axis=1)
            for replica in range(R):
                row = (arm, replica, epoch, "test", "clean", N, losses[replica])
                for key, value in zip(metrics, row, strict=True):
                    metrics[key].append(value)
        writer.metrics(arm, 0, metrics)
    writer.record("kd", "train", "augmented", 1, 0, record_columns(1, replicas=range(R), ids=IDS))
    writer.teacher("main", IDS, log_probs(9, N, C), np.ones(N, dtype=bool))
    return open_run(writer.directory)


def answers(run: Run, arm: str, epoch: int = EPOCHS[-1]) -> Path:
    return schema.prediction_path(run.directory, arm, "test", "all", epoch)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table], *, metadata: bool = True) -> None:
    table = pq.ParquetFile(path).read()
    said = table.schema.metadata if metadata else None
    path.unlink()
    pq.write_table(change(table).replace_schema_metadata(said), path)


def turned(table: pa.Table) -> pa.Table:
    """Each sample with the answers of the next one."""
    column = table.column("logits").combine_chunks()
    return table.set_column(3, "logits", column.take(pa.array(np.roll(np.arange(len(column)), 1))))


READERS = pytest.mark.parametrize("read", [decompose, predict, walk])


@READERS
def test_what_is_whole_is_read(run, read):
    read(run)
    assert run.predictions("kd").epoch == EPOCHS[-1]
    assert len(run.weights("kd")) == N


@READERS
def test_files_of_two_arms_that_changed_places_without_their_words(run, read):
    first, second = answers(run, "kd"), answers(run, "ce")
    other = shutil.copy(first, run.directory / "other.parquet")
    shutil.copy(second, first)
    shutil.copy(other, second)
    for path in (first, second):
        rewrite(path, lambda table: table, metadata=False)
    with pytest.raises(RecordError, match=r"predictions of arm 'kd', split 'test', are not those of its metrics"):
        read(open_run(run.directory))


@READERS
def test_answers_that_belong_to_other_rows(run, read):
    rewrite(answers(run, "kd"), turned)
    with pytest.raises(RecordError, match=r"predictions of arm 'kd', split 'test', are not those of its metrics"):
        read(open_run(run.directory))


@READERS
def test_an_earlier_epoch_does_not_stand_for_the_last(run, read):
    answers(run, "kd").unlink()
    with pytest.raises(RecordError, match=r"are of epoch 1; those of epoch 2, the last of its training, are missing"):
        read(open_run(run.directory))
    assert open_run(run.directory).predictions("kd", epoch=1).epoch == 1


def test_a_target_of_ones_own_is_no_reason_to_refuse(run):
    target = np.full((N, C), 1 / C)
    assert open_run(run.directory).decomposition("kd", target=target).bias.shape == (N,)


@pytest.mark.parametrize("rows", [0, N, 2 * N])
def test_a_record_that_lacks_the_rows_of_a_replica(run, rows):
    rewrite(schema.record_path(run.directory, "kd", "train", "augmented", 1), lambda table: table.slice(0, rows))
    for read in (Run.records, lambda run: run.weights("kd")):
        with pytest.raises(RecordError, match=r"by its own words it is of replica 0, 1, 2, its rows are of (none|0)"):
            read(open_run(run.directory))


def test_weights_of_rows_that_come_twice(run):
    rewrite(schema.record_path(run.directory, "kd", "train", "augmented", 1), lambda t: pa.concat_tables([t, t]))
    with pytest.raises(RecordError, match=r"sample_id 0, 1, 2, 3, 4 and .* more comes more than once in replica 0"):
        open_run(run.directory).weights("kd")


@pytest.mark.parametrize("strange", [-3, N + 50])
def test_weights_of_samples_that_are_none(run, strange):
    def change(table: pa.Table) -> pa.Table:
        ids = table.column("sample_id").to_numpy().copy()
        ids[ids == 2] = strange
        return table.set_column(0, "sample_id", pa.array(ids))

    assert run.retraining_weights("kd", IDS % C).shape == (N,)
    rewrite(schema.record_path(run.directory, "kd", "train", "augmented", 1), change)
    with pytest.raises(RecordError, match=rf"has weights of sample_id {strange}, which are no samples of the run"):
        open_run(run.directory).retraining_weights("kd", IDS % C, missing=1.0)


def test_a_teacher_without_some_of_the_samples(run):
    rewrite(schema.teacher_path(run.directory, "main"), lambda table: table.slice(0, N - 2))
    with pytest.raises(RecordError, match=rf"main.parquet lacks sample_id {N - 2}, {N - 1} of the run's samples"):
        open_run(run.directory).teacher("main")
