"""The files speak for themselves: pandas alone and DuckDB alone read a run, without this package."""

import duckdb
import numpy as np
import pandas as pd
import pytest

from biasvar.records import open_run

from .conftest import log_probs


def test_pandas_alone(small_run):
    frame = pd.read_parquet(small_run / "records")
    assert len(frame) == 510
    assert set(frame["arm"].unique()) == {"kd", "ce"}
    assert sorted(frame["epoch"].astype(int).unique()) == [1, 2, 10]
    mine = open_run(small_run).records(arm="kd", split="train", epochs=2)
    file = small_run / "records/arm=kd/split=train/view=augmented/epoch=0002/group=000.parquet"
    theirs = pd.read_parquet(file, columns=["replica", "sample_id", "wsl_weight"], filters=[("replica", "==", 1)])
    np.testing.assert_array_equal(theirs["wsl_weight"], mine[mine.replica == 1]["wsl_weight"])


def test_duckdb_alone(small_run, writer):
    writer.predictions("kd", "test", "all", 10, 0, [1, 2], np.ones((3, 2), int), log_probs(0, 3, 2, 4))
    with duckdb.connect() as database:
        rows = database.execute(
            "select arm, cast(epoch as integer) as epoch, count(*), count(wsl_weight), avg(student_loss), "
            "sum(member::int) from read_parquet($1, hive_partitioning = true) where split = 'train' "
            "group by all order by all",
            [f"{small_run}/records/**/*.parquet"],
        ).fetchall()
        mean = database.execute(
            "select sum(count), sum(total) from (select count, list_sum(mean_log_prob) as total from read_parquet($1))",
            [f"{small_run}/predictions/**/*.parquet"],
        ).fetchone()
    assert mean == (6, pytest.approx(log_probs(0, 3, 2, 4).sum()))
    frame = open_run(small_run).records(split="train")
    assert [row[:2] for row in rows] == [(arm, epoch) for arm in ("ce", "kd") for epoch in (1, 2, 10)]
    for arm, epoch, n, weights, loss, members in rows:
        part = frame[(frame.arm == arm) & (frame.epoch == epoch)]
        assert (n, weights) == (len(part), part["wsl_weight"].notna().sum())
        assert loss == pytest.approx(part["student_loss"].astype(float).mean())
        assert members == part["member"].sum()
