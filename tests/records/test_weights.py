"""Weights for another trainer: means over what was recorded."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biasvar.errors import RecordError
from biasvar.records import RunWriter, open_run, write_table

from .conftest import MANIFEST, record_columns


@pytest.mark.parametrize("by", ["sample", "replica"])
def test_weights_are_means_over_epochs(small_run, by):
    run = open_run(small_run)
    weights = run.weights("kd", by=by)
    keys = ["sample_id"] if by == "sample" else ["replica", "sample_id"]
    frame = run.records(arm="kd", split="train")
    expected = frame.astype({"wsl_weight": float}).groupby(keys)["wsl_weight"].agg(["mean", "size"]).reset_index()
    assert list(weights.columns) == [*keys, "weight", "n"]
    np.testing.assert_array_equal(weights[keys], expected[keys])
    np.testing.assert_allclose(weights["weight"], expected["mean"], rtol=1e-12)
    assert weights["n"].tolist() == expected["size"].tolist() == [12 if by == "sample" else 3] * len(weights)
    assert run.weights("kd", by=by, epochs=[1])["n"].unique().tolist() == [4 if by == "sample" else 1]


def test_weights_when_epochs_hold_different_rows(tmp_path):
    writer = RunWriter(tmp_path / "run", manifest=MANIFEST)
    parts = [record_columns(epoch, ids=range(epoch, 20 + epoch)) for epoch in range(3)]
    for epoch, part in enumerate(parts):
        part["label"] = np.zeros_like(part["label"])
        writer.record("kd", "train", "augmented", epoch, 0, part)
    weights = open_run(tmp_path / "run").weights("kd", column="loss_weight")
    frame = pd.concat([pd.DataFrame(part) for part in parts]).astype({"loss_weight": float})
    expected = frame.groupby("sample_id")["loss_weight"].agg(["mean", "size"])
    np.testing.assert_allclose(weights["weight"], expected["mean"], rtol=1e-12)
    assert weights["n"].tolist() == expected["size"].tolist()


def test_weights_that_cannot_be_had(small_run):
    run = open_run(small_run)
    for question, message in (
        ({"arm": "ce"}, "'wsl_weight' has no values, since the run has no reference teacher or"),
        ({"arm": "kd", "column": "wsl_weigt"}, "unknown column to weigh by, 'wsl_weigt'; did you mean 'wsl_weight'"),
        ({"arm": "kd", "by": "class"}, "unknown way to group weights, by = 'class'"),
        ({"arm": "kd", "epochs": 7}, "unknown epoch in the records of arm kd, 7"),
    ):
        with pytest.raises(RecordError, match=message):
            run.weights(**question)


def test_weights_are_saved_for_any_trainer(small_run, tmp_path):
    run = open_run(small_run)
    expected = run.weights("kd")
    for name, read in (("w.csv", pd.read_csv), ("w.parquet", pd.read_parquet)):
        path = run.save_weights("kd", tmp_path / "out" / name)
        pd.testing.assert_frame_equal(read(path), expected)
        before = path.read_bytes()
        run.save_weights("kd", path)
        assert path.read_bytes() == before
    with pytest.raises(RecordError, match=r"unknown suffix of .*'.xlsx'"):
        run.save_weights("kd", tmp_path / "w.xlsx")
    assert pd.read_csv(run.save_weights("kd", tmp_path / "r.csv", by="replica")).columns[0] == "replica"


def test_weights_for_retraining_are_aligned_by_sample(small_run):
    run = open_run(small_run)
    samples = run.samples
    labels = np.full(samples["sample_id"].max() + 1, 7)
    labels[samples["sample_id"]] = samples["label"]
    frame = run.weights("kd").set_index("sample_id")["weight"]
    with pytest.raises(RecordError, match="missing must be a number that float32 holds"):
        run.retraining_weights("kd", labels, missing=1e300)
    weights = run.retraining_weights("kd", labels, missing=-1.0)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights[frame.index], frame, rtol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(weights == -1), np.setdiff1d(np.arange(len(labels)), frame.index))


def test_weights_of_other_data_are_refused(small_run):
    run = open_run(small_run)
    samples = run.samples
    ids = samples["sample_id"].to_numpy()
    labels = np.zeros(ids.max() + 5, dtype=np.int64)
    labels[ids] = samples["label"]
    other = labels.copy()
    other[ids[3]] += 1
    for given, message in (
        (other, f"record of other data: sample_id {ids[3]} has label .*1 of {len(ids)} samples differ"),
        (labels[: ids.max()], f"holds sample_id {ids.max()}, your data has {ids.max()} samples"),
        (labels, r"has no weight for .* samples, the first is sample_id .*pass missing="),
        (labels.astype(float), "labels must be whole numbers"),
    ):
        with pytest.raises(RecordError, match=message):
            run.retraining_weights("kd", given)


def test_weights_of_older_runs_that_are_not_finite_are_refused(tmp_path):
    """They were written once; the mean took them for 0."""
    writer = RunWriter(tmp_path / "run", manifest=MANIFEST)
    path = writer.record("kd", "train", "augmented", 1, 0, record_columns(1))
    table = pq.ParquetFile(path).read()
    place = table.schema.get_field_index("loss_weight")
    weight = table.column("loss_weight").to_numpy().copy()
    weight[[2, 5]] = np.nan
    write_table(path, table.set_column(place, table.schema.field(place), pa.array(weight)))
    writer.record("kd", "train", "augmented", 2, 0, record_columns(2))
    with pytest.raises(RecordError, match=r"group=000.parquet: loss_weight of sample_id 4, 10 is not finite"):
        open_run(tmp_path / "run").weights("kd", column="loss_weight")
    assert open_run(tmp_path / "run").weights("kd", column="loss_weight", epochs=2)["n"].tolist() == [3] * 20
