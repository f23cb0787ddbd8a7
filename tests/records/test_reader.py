"""What is read is what was written, only what was asked for is read, and errors name what is there."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biasvar.errors import RecordError
from biasvar.records import RunWriter, open_run, schema, stored_files, write_table

from .conftest import MANIFEST, record_columns

KEYS = ["arm", "split", "view", "epoch"]


class Reads:
    """What was read from disk: (path below the run, columns)."""

    def __init__(self, monkeypatch, directory):
        self.seen, self.footers = [], []
        reads, whole, footer = self, pq.ParquetFile, pq.read_metadata

        class Spy(whole):
            def __init__(self, source, *args, **kwargs):
                self.where = source.relative_to(directory).as_posix()
                super().__init__(source, *args, **kwargs)

            def read(self, columns=None, **kwargs):
                reads.seen.append((self.where, columns))
                return super().read(columns=columns, **kwargs)

        def spied_footer(path):
            reads.footers.append(path.relative_to(directory).as_posix())
            return footer(path)

        monkeypatch.setattr(stored_files.pq, "ParquetFile", Spy)
        monkeypatch.setattr(stored_files.pq, "read_metadata", spied_footer)


def test_everything_comes_back(small_run):
    frame = open_run(small_run).records()
    assert list(frame.columns) == [*KEYS, *schema.RECORD_COLUMNS]
    assert len(frame) == 2 * 3 * 4 * 20 + 3 * 10
    assert frame["arm"].dtype == "category"
    for arm, epoch, group in (("kd", 2, 0), ("ce", 10, 1)):
        replicas = [[0, 1], [2, 3]][group]
        part = frame[(frame.arm == arm) & (frame.epoch == epoch) & (frame.split == "train")]
        part = part[part.replica.isin(replicas)]
        written = record_columns(epoch + 100 * group, replicas=replicas, teacher=arm == "kd")
        for name in schema.RECORD_COLUMNS:
            if name in written:
                np.testing.assert_array_equal(part[name].to_numpy().astype(written[name].dtype), written[name])
            else:
                assert part[name].isna().all()


def test_one_question_reads_its_files_and_columns_only(small_run, monkeypatch):
    reads = Reads(monkeypatch, small_run)
    run = open_run(small_run)
    columns, samples = ["wsl_weight", "arm", "label"], np.array([4, 6, 999])
    frame = run.records(columns, epochs=np.array([1, 10]), samples=samples, arm="kd", view="augmented")
    assert list(frame.columns) == [*KEYS, "wsl_weight", "label"]
    assert frame.epoch.tolist() == [1] * 8 + [10] * 8
    assert frame["wsl_weight"].tolist()[:2] == record_columns(1, replicas=range(2))["wsl_weight"][[2, 3]].tolist()
    base = "records/arm=kd/split=train/view=augmented"
    columns = ["wsl_weight", "label", "sample_id"]
    assert reads.seen == [(f"{base}/epoch={e:04d}/group={g:03d}.parquet", columns) for e in (1, 10) for g in (0, 1)]
    assert reads.footers == [where for where, _ in reads.seen]  # whether they are in their place


def test_replicas_are_found_by_the_footer(small_run, monkeypatch):
    reads = Reads(monkeypatch, small_run)
    frame = open_run(small_run).records("replica", epochs=2, arm="ce", replicas=[np.int64(3)])
    assert frame.replica.tolist() == [3] * 20
    path = "records/arm=ce/split=train/view=augmented/epoch=0002/group=001.parquet"
    assert reads.seen == [(path, ["replica"])]
    assert len(reads.footers) == 2


def test_frames_come_one_file_at_a_time(small_run, monkeypatch):
    reads = Reads(monkeypatch, small_run)
    run = open_run(small_run)
    frames = run.iter_records("student_loss", arm=["ce", "kd"], split="train")
    assert reads.seen == []
    first = next(frames)
    assert len(reads.seen) == 1
    assert len(first) == 40
    whole = pd.concat([first, *frames], ignore_index=True)
    pd.testing.assert_frame_equal(whole, run.records("student_loss", arm=["ce", "kd"], split="train"))


def test_keys_alone_and_samples_that_were_never_recorded(small_run):
    run = open_run(small_run)
    assert run.records(columns="epoch", arm="ce", epochs=1).shape == (80, 4)
    nothing = run.records(["opposing", "label"], samples=-5)
    assert nothing.shape == (0, 6)


def test_an_empty_run_answers_with_empty_frames(writer):
    run = open_run(writer.directory)
    assert run.records().shape == (0, 4 + len(schema.RECORD_COLUMNS))
    assert run.metrics.shape == (0, len(schema.METRIC_COLUMNS))
    assert run.samples.shape == (0, 4)
    assert list(run.iter_records()) == []
    assert (run.arms, run.recorded(), run.study, run.tuning) == ([], [], None, None)
    assert "none yet" in repr(run)
    with pytest.raises(RecordError, match=r"unknown arm .* There are none here"):
        run.records(arm="kd")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"columns": "wsl"}, "unknown column of the record, 'wsl'; did you mean 'wsl_weight'. Allowed: 'sample_id'"),
        ({"columns": ["label", 3]}, "unknown column of the record, 3"),
        ({"arm": "kdd"}, "unknown arm .*'kdd'; did you mean 'kd'. Allowed: 'ce', 'kd'"),
        ({"arm": "kd", "epochs": [1, 3]}, "unknown epoch in the records of arm kd, 3; Allowed: 1, 2, 10"),
        ({"split": "tests"}, "unknown split .*'tests'; did you mean 'test'. Allowed: 'test', 'train'"),
        ({"arm": "ce", "split": "test"}, "unknown split in the records of arm ce, 'test'; .*'train'"),
        ({"split": "test", "view": "augmented"}, "unknown view .*'augmented'; Allowed: 'clean'"),
        ({"arm": "ce", "replicas": 9}, "unknown replica of the record, 9; Allowed: 0, 1, 2, 3"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(small_run, question, message):
    with pytest.raises(RecordError, match=message):
        open_run(small_run).records(**question)
    with pytest.raises(RecordError, match=message):
        list(open_run(small_run).iter_records(**question))


def test_long_lists_of_what_is_there_are_cut():
    with pytest.raises(RecordError, match=r"23 and 16 more$"):
        schema.one_of(99, range(40), "epoch")


def test_arms_epochs_and_names(small_run, writer):
    writer.update_arm("wsl", temperature=2.0)
    run = open_run(str(small_run))
    assert run.arms == ["wsl", "ce", "kd"]
    assert run.arm("wsl") == {"temperature": 2.0}
    assert run.arm("kd") == {}
    with pytest.raises(RecordError, match=r"unknown arm of .*'vsl'; did you mean 'wsl'"):
        run.arm("vsl")
    assert run.record_epochs("kd", "train", "augmented") == [1, 2, 10]
    assert ("kd", "test", "clean") in run.recorded()
    assert (run.name, run.num_classes) == ("small", 4)


def test_directories_that_are_no_run(tmp_path, small_run):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; name a run directory"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(RecordError, match=r"is no run: it has no manifest.json; it holds runs: run"):
        open_run(tmp_path)
    with pytest.raises(RecordError, match=r"is no run: .*name a directory that a run was written to"):
        open_run(small_run / "records")
    with pytest.raises(RecordError, match="is no run"):
        open_run(small_run / "manifest.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kind": ', "damaged, not valid JSON"),
        ("[1]", "must hold a JSON object"),
        ("{}", "schema_version is None"),
        ('{"schema_version": 9}', r"schema version 9, newer than this biasvar reads \(up to 1\); update biasvar"),
        ('{"schema_version": 1, "kind": "zoo"}', "kind 'zoo' must be one of study, recorder, import"),
        ('{"schema_version": 1, "kind": "study", "num_classes": "4"}', "num_classes '4' a whole number"),
        (
            '{"schema_version": 1, "kind": "study", "num_classes": 4, "arms": []}',
            "arms is \\[\\], it must be an object",
        ),
    ],
)
def test_damaged_manifests(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RecordError, match=message):
        open_run(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 0.5, 0.99])
def test_a_truncated_file_is_named(small_run, keep):
    path = schema.record_path(small_run, "kd", "train", "augmented", 2, 1)
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep in (0, 3) else int(len(data) * keep)])
    run = open_run(small_run)
    assert len(run.records(arm="kd", epochs=1)) == 80
    reads = (run.records, lambda: run.records(replicas=[0]), lambda: run.weights("kd"), lambda: run.metrics)
    for read in reads:
        with pytest.raises(RecordError, match=r"epoch=0002/group=001.parquet cannot be read as Parquet .*cut short"):
            read()
    advice = (
        "restore it, or delete the folders arm=kd under records, predictions, teacher_predictions, view_predictions "
        "and metrics and run the study again"
    )
    with pytest.raises(RecordError, match=advice):
        run.records()


def test_a_file_damaged_inside_is_named(small_run):
    path = schema.record_path(small_run, "kd", "train", "augmented", 2, 1)
    data = bytearray(path.read_bytes())
    data[40:400] = bytes(360)
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"epoch=0002/group=001.parquet cannot be read as Parquet"):
        open_run(small_run).records(arm="kd")


@pytest.fixture
def later(monkeypatch):
    """The schema of a later version, which knows a nullable column more in records, metrics and samples."""
    for name in ("RECORD", "METRIC", "SAMPLES"):
        known = getattr(schema, f"{name}_SCHEMA")
        more = pa.schema([*list(known)[:3], pa.field("novel", pa.float32()), *list(known)[3:]])
        monkeypatch.setattr(schema, f"{name}_SCHEMA", more)
        monkeypatch.setattr(schema, f"{name}_COLUMNS", tuple(more.names), raising=False)


def test_a_column_that_came_later_reads_as_null(small_run, later):
    run = open_run(small_run)
    assert run.records("novel", arm="kd", split="train")["novel"].isna().all()
    assert run.records(arm="kd", split="train").columns.tolist() == [
        "arm",
        "split",
        "view",
        "epoch",
        *schema.RECORD_COLUMNS,
    ]
    assert len(run.records(["novel"], arm="kd", epochs=2, split="train", samples=[4], replicas=[1])) == 1
    assert run.metrics["novel"].isna().all()
    assert run.samples["novel"].isna().all()
    with pytest.raises(RecordError, match="unknown column of the record, 'novelty'; did you mean 'novel'"):
        run.records("novelty")


def test_files_with_and_without_a_later_column_are_read_together(small_run, later):
    """As of a run that an earlier version began and a later one finished."""
    writer = RunWriter(small_run, manifest=MANIFEST, resume=True)
    writer.record("kd", "train", "augmented", 11, 0, {**record_columns(), "novel": np.arange(60.0)})
    rows = [{"arm": "kd", "replica": 0, "epoch": 1, "split": "train", "view": "augmented", "n": 20, "novel": 0.5}]
    writer.metrics("kd", 0, pd.DataFrame(rows))
    table = pq.ParquetFile(writer.metrics("kd", 1, pd.DataFrame(rows).assign(replica=2))).read()
    write_table(schema.metrics_path(small_run, "kd", 1), table.drop_columns(["novel"]))
    run = open_run(small_run)
    novel = run.records("novel", arm="kd", split="train").set_index("epoch")["novel"]
    assert novel[11].tolist() == list(range(60))
    assert novel[10].isna().all()
    np.testing.assert_array_equal(run.metrics.query("arm == 'kd'")["novel"], [0.5, np.nan])


def test_a_column_that_must_be_there_is_missed(small_run):
    path = schema.record_path(small_run, "ce", "train", "augmented", 1, 0)
    write_table(path, pq.ParquetFile(path).read().drop_columns(["student_loss", "wsl_weight"]))
    run = open_run(small_run)
    assert run.records("wsl_weight", arm="ce", epochs=1)["wsl_weight"].isna().all()
    with pytest.raises(RecordError, match=r"group=000.parquet has no column 'student_loss'; it has sample_id, replica"):
        run.records(arm="ce", epochs=1)


def test_a_file_that_vanishes_or_lacks_a_column(small_run, monkeypatch):
    with pytest.raises(FileNotFoundError):
        stored_files.read_columns(small_run / "nothing.parquet")
    with pytest.raises(FileNotFoundError):
        stored_files.file_replicas(small_run / "nothing.parquet")
    path = schema.record_path(small_run, "ce", "train", "augmented", 1, 0)
    write_table(path, pq.ParquetFile(path).read().drop_columns(["label"]))
    with pytest.raises(RecordError, match=r"group=000.parquet has no column 'label'; it has sample_id, replica"):
        open_run(small_run).records("label", arm="ce")


def test_files_of_other_tools_are_read_too(small_run):
    path = schema.record_path(small_run, "ce", "train", "augmented", 1, 0)
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(None), path)
    frame = open_run(small_run).records("replica", arm="ce", epochs=1, replicas=1)
    assert frame.replica.tolist() == [1] * 20
    (path.parent / "notes.txt").touch()
    (path.parent / "group=x.parquet").touch()
    (path.parent.parent / "epoch=last").mkdir()
    assert len(open_run(small_run).records(arm="ce", epochs=1)) == 80


def test_study(writer):
    writer.study("data:\n  name: digits\n")
    assert open_run(writer.directory).study == {"data": {"name": "digits"}}
    for text, message in (("a: [", "not valid YAML"), ("- 1", "must hold a mapping")):
        writer.study(text)
        with pytest.raises(RecordError, match=message):
            _ = open_run(writer.directory).study


def test_samples_membership_tuning(writer):
    writer.samples([3, 1, 2], [0, 1, 2], ["train", "train", "test"], ["student", "reserved", None])
    writer.membership([3, 1], np.array([[2, 0], [1, 1]]), replicas=[7, 2])
    grid = {"family": ["kd"] * 2, "arm": ["kd4"] * 2, "learning_rate": [0.1, 0.01], "replica": [0, 0]}
    writer.tuning({**grid, "accuracy": [0.9, 0.8], "chosen": [True, False]})
    run = open_run(writer.directory)
    assert run.samples["sample_id"].tolist() == [1, 2, 3]
    assert run.samples["label"].tolist() == [1, 2, 0]
    assert run.samples["split"].tolist() == ["train", "test", "train"]
    assert run.samples["pool"].fillna("-").tolist() == ["reserved", "-", "student"]
    assert run.membership.to_numpy().tolist() == [[2, 1, 1], [2, 3, 1], [7, 3, 2]]
    assert run.tuning["learning_rate"].tolist() == [0.01, 0.1]
    assert run.tuning["chosen"].tolist() == [False, True]
    writer.membership([1, 2], np.array([[True, False]]))
    assert open_run(writer.directory).membership.to_numpy().tolist() == [[0, 1, 1]]


def test_a_recorder_run_knows_its_samples_and_no_membership(small_run):
    run = open_run(small_run)
    assert run.samples["sample_id"].tolist() == [*range(0, 40, 2), *range(100, 110)]
    assert run.samples["split"].value_counts().to_dict() == {"train": 20, "test": 10}
    assert run.samples["label"].tolist()[:5] == [0, 1, 2, 3, 0]
    assert run.samples["pool"].isna().all()
    with pytest.raises(RecordError, match="keeps no membership; see the column 'member'"):
        _ = run.membership


def test_metrics_written_are_read_and_others_computed(small_run, writer):
    row = {"arm": "ce", "replica": 0, "epoch": 1, "split": "test", "view": "clean", "n": 5, "accuracy": 0.25}
    writer.metrics("ce", 0, {key: [value] for key, value in row.items()})
    writer.metrics("ce", 1, {key: [value] for key, value in (row | {"replica": 1}).items()})
    metrics = open_run(small_run).metrics
    assert list(metrics.columns) == list(schema.METRIC_COLUMNS)
    assert metrics[metrics.arm == "ce"]["accuracy"].tolist() == [0.25, 0.25]
    kd = metrics[(metrics.arm == "kd") & (metrics.split == "train")]
    assert len(kd) == 12
    frame = open_run(small_run).records(arm="kd", split="train")
    for row in kd.itertuples():
        part = frame[(frame.epoch == row.epoch) & (frame.replica == row.replica)]
        assert row.n == len(part)
        assert row.accuracy == pytest.approx((part.label == part.student_prediction).mean())
        assert row.nll == pytest.approx(part.student_loss.astype(float).mean())
        assert row.share_opposing == pytest.approx(part.opposing.mean())
        assert row.share_norm == pytest.approx((part.variance_gradient_norm > part.bias_gradient_norm).mean())
    assert kd["ece"].isna().all()


def test_metrics_of_an_arm_without_teacher(small_run, writer):
    writer.update_arm("planned", label="has left nothing yet")
    metrics = open_run(small_run).metrics.set_index("arm").loc["ce"]
    assert metrics[[*schema.SHARE_COLUMNS, "wsl_weight"]].isna().all().all()
    assert metrics[["accuracy", "nll", "loss_weight"]].notna().all().all()


def test_a_manifest_may_be_all_there_is(small_run, tmp_path):
    (tmp_path / "bare").mkdir()
    shutil.copy(small_run / "manifest.json", tmp_path / "bare")
    manifest = json.loads((tmp_path / "bare" / "manifest.json").read_text())
    assert open_run(tmp_path / "bare").manifest == manifest


def test_paths_are_those_of_the_layout():
    paths = {
        schema.weights_path("run", "kd", 2): "run/weights/arm=kd/group=002.safetensors",
        schema.metrics_path("run", "kd"): "run/metrics/arm=kd/group=000.parquet",
        schema.teacher_path("run", "wide"): "run/teachers/wide.parquet",
        schema.prediction_path("run", "kd", "test", "all", 7): (
            "run/predictions/arm=kd/split=test/membership=all/epoch=0007/group=000.parquet"
        ),
    }
    assert [path.as_posix() for path in paths] == list(paths.values())


def test_an_arms_entry_says_what_the_manifest_leaves_out(writer):
    writer.update_arm("mine", loss="my.module:Method", margin=0, layers=[], hard=False, teacher=None, alpha=0.0)
    writer.update_arm("kd", temperature=4.0, status="complete", failed_replicas=[{"replica": 2, "reason": "at chance"}])
    run = open_run(writer.directory)
    mine, kd = run.entry("mine"), run.entry("kd")
    assert (mine.label, mine.role, mine.regime, mine.status, mine.replicas) == ("mine", "main", "none", None, None)
    assert mine.settings == {"loss": "my.module:Method", "margin": 0, "alpha": 0.0}
    assert mine.setting("layers") is None
    assert (kd.loss, kd.temperature, kd.teacher) == (None, 4.0, None)
    assert [(item.replica, item.reason) for item in kd.failed] == [(2, "at chance")]
    assert mine.shares(kd, "teacher")
    assert not mine.shares(kd, "teacher", "alpha")
