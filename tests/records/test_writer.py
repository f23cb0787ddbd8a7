"""What is written is checked first, and a directory belongs to one study."""

import json
import multiprocessing

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biasvar.errors import RecordError
from biasvar.records import RunWriter, checked_tables, open_run, schema

from .conftest import MANIFEST, log_probs, record_columns

STUDY = {"kind": "study", "num_classes": 4, "study_hash": "abc", "name": "digits", "arms": {"kd": {"label": "KD"}}}


def write(writer, columns, **options):
    return writer.record("kd", "train", "augmented", options.pop("epoch", 1), 0, columns, **options)


def test_record_has_the_schema_the_order_and_the_metadata(writer):
    columns = record_columns(replicas=(5, 2))
    path = write(writer, columns, epoch=60, metadata={"temperature": 4.0, "reference_teacher": "wide", "arm": "x"})
    assert path == writer.directory / "records/arm=kd/split=train/view=augmented/epoch=0060/group=000.parquet"
    table = pq.ParquetFile(path).read()
    assert table.schema.equals(schema.RECORD_SCHEMA)
    assert json.loads(table.schema.metadata[b"biasvar"]) == {
        "schema_version": 1,
        "arm": "kd",
        "split": "train",
        "view": "augmented",
        "epoch": 60,
        "replicas": [2, 5],
        "temperature": 4.0,
        "reference_teacher": "wide",
    }
    order = np.lexsort((columns["sample_id"], columns["replica"]))
    for name, values in columns.items():
        np.testing.assert_array_equal(table.column(name).to_numpy(), values[order])
    row_group = pq.ParquetFile(path).metadata.row_group(0)
    assert {row_group.column(index).compression for index in range(row_group.num_columns)} == {"ZSTD"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_round_trip_of_any_rows(writer, data):
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, 5), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=30, unique=True)
    )
    teacher = data.draw(st.booleans())
    columns = {key: values[: len(pairs)] for key, values in record_columns(len(pairs), teacher=teacher).items()}
    columns["replica"] = np.array([pair[0] for pair in pairs])
    columns["sample_id"] = np.array([pair[1] for pair in pairs])
    columns["student_loss"] = columns["student_loss"].astype(np.float64) * 1e-3
    write(writer, columns, replace=True)
    frame = open_run(writer.directory).records(arm="kd")
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    assert list(zip(frame["replica"], frame["sample_id"], strict=True)) == sorted(pairs)
    for name in schema.RECORD_COLUMNS:
        if name in columns:
            expected = columns[name][order].astype(schema.RECORD_SCHEMA.field(name).type.to_pandas_dtype())
            np.testing.assert_array_equal(frame[name].to_numpy(), expected)
        else:
            assert frame[name].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wsl": np.zeros(60)}, r"unknown column of record .*'wsl'; did you mean 'wsl_weight'"),
        ({"student_loss": None}, "column 'student_loss' is missing; only the teacher's may be: teacher_loss"),
        ({"student_loss": np.zeros(59)}, "column 'student_loss' has 59 rows and 'sample_id' has 60"),
        ({"student_loss": np.array(["a"] * 60)}, r"column 'student_loss': expected numbers \(float32\), got <U1"),
        ({"label": np.zeros(60)}, r"column 'label': expected whole numbers \(int32\), got float64"),
        ({"member": np.zeros(60, int)}, r"column 'member': expected true or false \(bool\), got int64"),
        ({"label": np.full(60, 4)}, "column 'label': 4 is out of range; allowed: 0 to 3"),
        ({"student_prediction": np.full(60, -1)}, "-1 is out of range; allowed: 0 to 3"),
        ({"replica": np.full(60, 2**40)}, "1099511627776 does not fit int32"),
        ({"replica": np.arange(-1, 59)}, "column 'replica': -1 is out of range; allowed: 0 or more"),
        ({"sample_id": np.float64(3)}, "column 'sample_id': expected an array"),
        ({"sample_id": np.tile([1, 1, *range(2, 20)], 3)}, "sample_id 1, 1, 1 comes more than once in replica 0"),
        ({"sample_id": np.zeros((60, 1), int)}, "must have one axis, not 2"),
        (
            {"loss_weight": np.r_[np.ones(58), np.nan, 1]},
            r"loss_weight of sample_id 36 must be finite",
        ),
        ({"loss_weight": np.r_[np.ones(58), 1, -0.5]}, r"loss_weight of sample_id 38 .* \(the first is -0.5\)"),
        ({"loss_weight": np.r_[1e39, np.ones(59)]}, r"loss_weight of sample_id 0 .* \(the first is inf\)"),
    ],
)
def test_columns_that_do_not_fit_are_refused_and_nothing_is_written(writer, change, message):
    with pytest.raises(RecordError, match=message):
        write(writer, {**record_columns(), **change})
    assert not (writer.directory / "records").exists()


def test_no_rows_are_refused(writer):
    with pytest.raises(RecordError, match="no rows"):
        write(writer, {key: values[:0] for key, values in record_columns().items()})


def test_a_recorded_epoch_does_not_change(writer):
    path = write(writer, record_columns(0))
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"already recorded; .*replace=True"):
        write(writer, record_columns(1))
    assert path.read_bytes() == before
    write(writer, record_columns(1), replace=True)
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a/b", "train", "augmented", 1, 0), "arm 'a/b' cannot name a file"),
        (("kd", "", "augmented", 1, 0), "split '' cannot name a file"),
        (("kd", "train", "clear", 1, 0), "unknown view 'clear'; did you mean 'clean'"),
        (("kd", "train", "clean", -1, 0), "epoch must be a whole number from 0 on, not -1"),
        (("kd", "train", "clean", 1.5, 0), "epoch must be a whole number from 0 on, not 1.5"),
        (("kd", "train", "clean", True, 0), "epoch must be a whole number"),
        (("kd", "train", "clean", 1, None), "group must be a whole number"),
    ],
)
def test_names_that_cannot_be_paths(writer, arguments, message):
    with pytest.raises(RecordError, match=message):
        writer.record(*arguments, record_columns())


def test_epochs_may_be_numpy_numbers(writer):
    assert write(writer, record_columns(), epoch=np.int64(12)).parent.name == "epoch=0012"


def test_manifest_is_made_filled_in_and_changed(tmp_path):
    writer = RunWriter(tmp_path / "some" / "digits", manifest=MANIFEST | {"name": "x", "alpha": np.float64(0.5)})
    path = writer.directory / "manifest.json"
    assert json.loads(path.read_text()) == {
        "name": "x",
        "arms": {},
        "status": "running",
        "kind": "recorder",
        "num_classes": 4,
        "alpha": 0.5,
        "schema_version": 1,
    }
    assert writer.update_arm("kd", temperature=4.0, seconds=float("nan")) == {"temperature": 4.0, "seconds": None}
    assert writer.update_arm("kd", status="complete")["temperature"] == 4.0
    assert writer.update_manifest(status="complete", claims={"W1": []})["status"] == "complete"
    written = path.stat().st_mtime_ns
    writer.update_manifest(status="complete")
    assert path.stat().st_mtime_ns == written
    copy = writer.manifest
    copy["arms"]["other"] = {}
    assert list(writer.manifest["arms"]) == ["kd"]
    for key, hint in (("kind", "it is what the run is"), ("arms", "use update_arm")):
        with pytest.raises(RecordError, match=hint):
            writer.update_manifest(**{key: "x"})


def _many_updates(directory, arm):
    writer = RunWriter(directory, manifest=MANIFEST, resume=True)
    for epoch in range(20):
        writer.update_arm(arm, **{f"epoch_{epoch}": epoch})


def test_settled_entries_do_not_change(writer):
    writer.settle_arm("mine", temperature=4.0, rows={"train": 3})
    assert writer.settle_arm("mine", temperature=4.0, rows={"test": np.int64(2)}) == {
        "temperature": 4.0,
        "rows": {"train": 3, "test": 2},
    }
    before = writer.manifest
    with pytest.raises(RecordError, match="arm 'mine' was recorded with rows of train 3, not 4"):
        writer.settle_arm("mine", more=1, rows={"train": 4})
    with pytest.raises(RecordError, match="arm 'a b' cannot name a file"):
        writer.settle_arm("a b", temperature=1.0)
    assert writer.update_manifest(name=before["name"]) == before


def test_processes_change_one_manifest_in_turn(writer):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_many_updates, args=(writer.directory, f"arm{index}")) for index in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    arms = open_run(writer.directory).manifest["arms"]
    assert {name: len(entry) for name, entry in arms.items()} == {"arm0": 20, "arm1": 20, "arm2": 20}


def test_resuming_keeps_what_is_there_and_adds_what_is_not(tmp_path):
    RunWriter(tmp_path, manifest=STUDY).update_arm("kd", seconds=3.0)
    again = {**STUDY, "arms": {"kd": {"label": "other"}, "ce": {"label": "CE"}}, "status": "complete", "seed": 3}
    manifest = RunWriter(tmp_path, manifest=again, resume=True).manifest
    assert manifest["arms"] == {"kd": {"label": "KD", "seconds": 3.0}, "ce": {"label": "CE"}}
    assert (manifest["status"], manifest["seed"]) == ("running", 3)


@pytest.mark.parametrize(
    ("manifest", "resume", "message"),
    [
        (STUDY, False, "already holds the run 'digits' .*resume=True"),
        ({**STUDY, "study_hash": "def"}, True, "another run, 'digits': its study_hash is 'abc', not 'def'"),
        (MANIFEST, True, "another run, 'digits': its kind is 'study', not 'recorder'"),
        ({**STUDY, "num_classes": 5}, True, "its num_classes is 4, not 5"),
    ],
)
def test_a_directory_belongs_to_one_study(tmp_path, manifest, resume, message):
    RunWriter(tmp_path, manifest=STUDY)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(RecordError, match=message):
        RunWriter(tmp_path, manifest=manifest, resume=resume)
    assert (tmp_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(("version", "message"), [(2, "newer than this biasvar"), (0, "this biasvar writes 1")])
def test_another_schema_version_is_refused(tmp_path, version, message):
    RunWriter(tmp_path, manifest=STUDY)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": version}))
    with pytest.raises(RecordError, match=message):
        RunWriter(tmp_path, manifest=STUDY, resume=True)


def test_other_directories_are_left_alone(tmp_path):
    (tmp_path / ".gitkeep").touch()
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"not empty and holds no run \(it has file\)"):
        RunWriter(tmp_path, manifest=STUDY, resume=True)
    for name in "bcd":
        (tmp_path / name).touch()
    with pytest.raises(RecordError, match=r"it has b, c, d and 1 more"):
        RunWriter(tmp_path, manifest=STUDY)
    with pytest.raises(NotADirectoryError, match="is a file"):
        RunWriter(tmp_path / "file", manifest=STUDY)
    for name in ("file", "b", "c", "d"):
        (tmp_path / name).unlink()
    assert RunWriter(tmp_path, manifest=STUDY).manifest["name"] == "digits"


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"kind": "studdy", "num_classes": 3}, "unknown kind in the manifest, 'studdy'; did you mean 'study'"),
        ({"kind": "recorder"}, "num_classes must be a whole number above 0, not None"),
        ({"kind": "recorder", "num_classes": True}, "num_classes must be"),
        ({"kind": "study", "num_classes": 3}, "a study needs its study_hash"),
        ({"kind": "recorder", "num_classes": 3, "arms": {"a b": {}}}, "arm 'a b' cannot name a file"),
    ],
)
def test_manifests_that_do_not_hold_together(tmp_path, manifest, message):
    with pytest.raises(RecordError, match=message):
        RunWriter(tmp_path / "run", manifest=manifest)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.ones(5, int)}, r"must be \(G, N\) and \(G, N, 4\) with N = 5"),
        ({"mean_log_probs": np.zeros((2, 5, 3))}, r"\(2, 5, 3\) must be"),
        ({"counts": np.full((2, 5), -1)}, "counts: -1 is out of range"),
        ({"groups": [0]}, "2 different numbers"),
        ({"groups": [1, 1]}, "2 different numbers"),
        ({"groups": [-1, 0]}, "groups: -1 is out of range"),
        ({"mean_log_probs": np.full((2, 5, 4), np.nan)}, r"not finite for sample_ids 1, 2, 3, 4, 5; leave out"),
        ({"sample_ids": [1, 2, 2, 3, 4]}, "sample_ids 2 comes more than once"),
    ],
)
def test_predictions_that_do_not_fit(writer, change, message):
    given = {"sample_ids": range(1, 6), "counts": np.ones((2, 5), int), "mean_log_probs": log_probs(0, 2, 5, 4)}
    with pytest.raises(RecordError, match=message):
        writer.predictions("kd", "test", "all", 1, 0, **{**given, **change})
    with pytest.raises(RecordError, match="unknown membership 'members'"):
        writer.predictions("kd", "test", "members", 1, 0, **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((5, 3))}, r"logits \(1, 5, 3\) and member \(1, 5\) must be \(1, 5, 4\)"),
        ({"member": np.ones((2, 5), bool)}, "must be"),
        ({"member": np.ones(5)}, "expected true or false"),
        ({"logits": np.full((5, 4), np.inf)}, r"not finite for sample_ids 0, 1, 2, 3, 4"),
        ({"sample_ids": [0, 0, 1, 2, 3]}, "comes more than once in replica -1"),
    ],
)
def test_teachers_that_do_not_fit(writer, change, message):
    given = {"sample_ids": range(5), "logits": np.zeros((5, 4)), "member": np.ones(5, bool)}
    with pytest.raises(RecordError, match=message):
        writer.teacher("wide", **{**given, **change})


def test_membership_and_samples_that_do_not_fit(writer):
    with pytest.raises(RecordError, match=r"multiplicity \(2, 4\) must be \(replicas, sample_ids\) = \(2, 5\)"):
        writer.membership(range(5), np.ones((2, 4), int))
    with pytest.raises(RecordError, match="multiplicity: -1 is out of range"):
        writer.membership(range(1), [[-1]])
    with pytest.raises(RecordError, match="3 sample_ids, 2 labels, 3 splits, 3 pools"):
        writer.samples(range(3), [0, 1], "test")
    with pytest.raises(RecordError, match="split 'a b' cannot"):
        writer.samples(range(2), [0, 1], ["test", "a b"])
    with pytest.raises(RecordError, match="labels: 4 is out of range; allowed: 0 to 3"):
        writer.samples(range(2), [0, 4], "test")
    with pytest.raises(RecordError, match="sample_ids 7 comes more than once"):
        writer.samples([7, 7], [0, 1], "test")


def metric_frame(**changes):
    frame = {"arm": ["kd"] * 2, "replica": [1, 0], "epoch": [1, 1], "split": ["test"] * 2, "view": ["clean"] * 2}
    return pd.DataFrame({**frame, "n": [5, 5], "accuracy": [0.5, np.nan], **changes})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (metric_frame(acuracy=1.0), "unknown column of metrics of arm 'kd', 'acuracy'; did you mean 'accuracy'"),
        (metric_frame().drop(columns="n"), "column 'n' is missing"),
        (metric_frame(arm="ce"), "the column 'arm' also names ce"),
        (metric_frame(view="clear"), "unknown view in the metrics"),
        (metric_frame(replica=0), r"two rows have the same arm, replica, epoch, split, view: \('kd', 0, 1"),
        (metric_frame(n=[1.5, 2]), "expected whole numbers"),
        (metric_frame(accuracy=["a", "b"]), "expected numbers"),
        (metric_frame(accuracy=[{}, None]), "expected numbers"),
        ({**metric_frame().to_dict("list"), "n": [1]}, "column 'n' must hold 2 values"),
    ],
)
def test_metrics_that_do_not_fit(writer, frame, message):
    with pytest.raises(RecordError, match=message):
        writer.metrics("kd", 0, frame)


def test_metrics_replace_the_file_and_are_sorted(writer):
    writer.metrics("kd", 0, metric_frame())
    path = writer.metrics("kd", 0, metric_frame(n=[7.0, 5.0], ece=[None, 0.5]))
    frame = pd.read_parquet(path)
    assert frame["replica"].tolist() == [0, 1]
    assert frame["n"].tolist() == [5, 7]
    assert frame["ece"].isna().tolist() == [False, True]
    assert list(frame.columns) == list(schema.METRIC_COLUMNS)
    assert frame["wsl_weight"].isna().all()


def test_typed_keeps_small_floats_and_large_integers():
    assert checked_tables.typed(np.array([1e-300]), schema.RECORD_SCHEMA.field("wsl_weight").type, "x")[0] == 0
    with pytest.raises(RecordError, match="does not fit int64"):
        checked_tables.typed(np.array([2**63], dtype=np.uint64), schema.RECORD_SCHEMA.field("sample_id").type, "x")
