"""Finished predictions become a run, whatever file they come in; what does not fit is refused by name."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biasvar import Recorder
from biasvar.errors import RecordError
from biasvar.records import import_predictions, open_run
from biasvar.records.summary import calibration_error
from biasvar.report.page import open_runs, write_report
from biasvar.report.statistics.estimates import final_accuracy

R, N, C = 3, 30, 4


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(scale=3, size=(R, N, C))


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, C, N)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def test_the_record_the_predictions_and_the_metrics(tmp_path, logits, labels):
    ids = np.arange(N)[::-1] * 10
    run = import_predictions(
        list(logits), labels, directory=tmp_path / "run", arm="net", sample_ids=ids, class_names="abcd", name="mine"
    )
    log_p = log_softmax(logits)[:, ::-1]
    truth = labels[::-1]
    found = run.predictions("net")
    assert found.sample_ids.tolist() == sorted(ids)
    assert found.labels.tolist() == truth.tolist()
    np.testing.assert_allclose(found.mean_log_probs, log_p, atol=1e-12)
    frame = run.records()
    assert set(frame["view"]) == {"clean"}
    assert set(frame["epoch"]) == {0}
    true = log_p[:, np.arange(N), truth].ravel()
    np.testing.assert_allclose(frame["student_loss"], -true, rtol=1e-6)
    np.testing.assert_allclose(frame["student_prob"], np.exp(true), rtol=1e-6)
    np.testing.assert_allclose(frame["bias_gradient"], np.exp(true) - 1, rtol=1e-5)
    gap = np.exp(log_p) - np.eye(C)[truth]
    np.testing.assert_allclose(frame["bias_gradient_norm"], np.linalg.norm(gap, axis=-1).ravel(), rtol=1e-6)
    assert frame["wsl_weight"].isna().all()
    assert not frame["member"].any()
    metrics = run.metrics
    correct = log_p.argmax(axis=-1) == truth
    np.testing.assert_allclose(metrics["accuracy"], correct.mean(axis=1))
    np.testing.assert_allclose(metrics["nll"], -true.reshape(R, N).mean(axis=1), rtol=1e-6)
    expected = [calibration_error(np.exp(log_p[r]).max(axis=1), correct[r]) for r in range(R)]
    np.testing.assert_allclose(metrics["ece"], expected)
    manifest = run.manifest
    assert (manifest["kind"], manifest["name"], manifest["num_classes"]) == ("import", "mine", C)
    assert manifest["class_names"] == ["a", "b", "c", "d"]
    assert manifest["arms"]["net"]["status"] == "complete"
    assert run.decomposition("net").bias.shape == (N,)


def as_file(folder, kind, values, ids=None):
    path = folder / f"{kind}.{kind.split('_')[0]}"
    if kind == "npy":
        np.save(path, values)
    elif kind == "npz":
        np.savez(path, anything=values)
    elif kind == "npz_named":
        np.savez(path, logits=values, other=np.zeros(3))
    else:
        flat = pa.array(values.ravel())
        columns = {"sample_id": pa.array(ids)} if ids is not None else {}
        if kind == "parquet_fixed":
            columns["logits"] = pa.FixedSizeListArray.from_arrays(flat, C)
        elif kind == "parquet_list":
            columns["logits"] = pa.array(values.tolist())
        else:
            columns |= {f"class_{index}": pa.array(values[:, index]) for index in range(C)}
            columns["label"] = pa.array(np.zeros(len(values), int))
        pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "npz_named", "parquet_fixed", "parquet_list", "parquet_columns"])
def test_every_kind_of_file(tmp_path, logits, labels, kind):
    path = as_file(tmp_path, kind, logits[0].astype(np.float32))
    run = import_predictions(str(path), labels, directory=tmp_path / "run")
    expected = log_softmax(logits[0].astype(np.float32).astype(float))
    np.testing.assert_allclose(run.predictions("predictions").mean_log_probs[0], expected, atol=1e-12)
    assert run.manifest["arms"]["predictions"]["files"] == [path.name]


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "bare.csv", "named.csv", "parquet", "column.parquet"])
def test_every_kind_of_labels(tmp_path, logits, labels, kind):
    path = tmp_path / f"labels.{kind}"
    ids = np.arange(N)
    if kind == "npy":
        np.save(path, labels)
    elif kind == "npz":
        np.savez(path, labels=labels, x=labels)
    elif kind == "bare.csv":
        pd.Series(labels).to_csv(path, header=False, index=False)
    elif kind == "csv":
        ids = np.random.default_rng(2).permutation(1000)[:N]
        pd.DataFrame({"sample_id": ids, "label": labels.astype(float)}).to_csv(path, index=False)
    elif kind == "named.csv":
        pd.DataFrame({"class": labels}).to_csv(path, index=False)
    elif kind == "parquet":
        ids = np.random.default_rng(2).permutation(1000)[:N]
        pd.DataFrame({"sample_id": ids, "label": labels, "note": "x"}).to_parquet(path)
    else:
        pd.DataFrame({"y": labels}).to_parquet(path)
    found = import_predictions(list(logits), path, directory=tmp_path / "run").predictions("predictions")
    order = np.argsort(ids)
    assert found.sample_ids.tolist() == ids[order].tolist()
    assert found.labels.tolist() == labels[order].tolist()
    np.testing.assert_allclose(found.mean_log_probs, log_softmax(logits)[:, order], atol=1e-12)


def test_rows_are_aligned_by_sample_id(tmp_path, logits, labels):
    ids = np.random.default_rng(3).permutation(500)[:N]
    files = []
    for replica in range(R):
        order = np.random.default_rng(replica).permutation(N)
        folder = tmp_path / str(replica)
        folder.mkdir()
        files.append(as_file(folder, "parquet_fixed", logits[replica][order], ids[order]))
    found = import_predictions(files, labels, sample_ids=ids, directory=tmp_path / "run").predictions("predictions")
    np.testing.assert_allclose(found.mean_log_probs, log_softmax(logits)[:, np.argsort(ids)], atol=1e-12)
    with pytest.raises(RecordError, match=r"0/parquet_fixed.parquet: its sample_id .* do not match those of the"):
        import_predictions(files, labels, directory=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_more_than_sixteen_replicas_share_groups(tmp_path, labels):
    logits = np.random.default_rng(5).normal(size=(35, N, C))
    found = import_predictions(logits, labels, directory=tmp_path / "run").predictions("predictions")
    assert found.counts[:, 0].tolist() == [3, 3, 3] + [2] * 13
    expected = np.stack([log_softmax(logits)[group::16].mean(axis=0) for group in range(16)])
    np.testing.assert_allclose(found.mean_log_probs, expected, atol=1e-12)


def test_probabilities(tmp_path, logits, labels):
    probs = np.exp(log_softmax(logits))
    run = import_predictions(probs, labels, directory=tmp_path / "a", values="probabilities")
    np.testing.assert_allclose(run.predictions("predictions").mean_log_probs, log_softmax(logits), atol=1e-12)
    probs[1, 4] = [0, 0.5, 0.5, 0]
    with pytest.raises(RecordError, match=r"files\[1\]: rows 4 hold probabilities of exactly 0.*clip=1e-7"):
        import_predictions(probs, labels, directory=tmp_path / "b", values="probabilities")
    assert not (tmp_path / "b").exists()
    run = import_predictions(probs, labels, directory=tmp_path / "b", values="probabilities", clip=1e-4)
    clipped = np.exp(run.predictions("predictions").mean_log_probs[1, 4])
    np.testing.assert_allclose(clipped, np.array([1e-4, 0.5, 0.5, 1e-4]) / 1.0002)
    for clip, values in ((2.0, "probabilities"), (1e-4, None), (1e-4, "logits")):
        with pytest.raises(RecordError, match='must lie between 0 and 1, and needs values="probabilities"'):
            import_predictions(probs, labels, directory=tmp_path / "c", values=values, clip=clip)
    with pytest.raises(RecordError, match="unknown values, 'probs'"):
        import_predictions(probs, labels, directory=tmp_path / "c", values="probs")


def test_extreme_logits_stay_exact(tmp_path):
    run = import_predictions([[[1e4, -1e4], [0.0, 0.0]]], [1, 0], directory=tmp_path / "run")
    np.testing.assert_allclose(run.records("student_loss")["student_loss"], [2e4, np.log(2)], rtol=1e-6)


def test_arms_and_splits_are_added(tmp_path, logits, labels):
    path = tmp_path / "run"
    import_predictions(logits, labels, directory=path, arm="a")
    with pytest.raises(RecordError, match=r"already holds the run .*resume=True"):
        import_predictions(logits, labels, directory=path, arm="b")
    import_predictions(logits + 1, labels, directory=path, arm="b", resume=True)
    with pytest.raises(RecordError, match="already has predictions of arm 'b', split 'test'; name another arm"):
        import_predictions(logits, labels, directory=path, arm="b", resume=True)
    run = import_predictions(
        logits, labels, directory=path, arm="b", split="train", sample_ids=range(100, 100 + N), resume=True
    )
    assert run.arms == ["a", "b"]
    assert run.samples["split"].value_counts().to_dict() == {"test": N, "train": N}
    assert run.metrics.groupby(["arm", "split"], observed=True).size().to_dict() == {
        ("a", "test"): R,
        ("b", "test"): R,
        ("b", "train"): R,
    }
    before = sorted(file for file in path.rglob("*"))
    with pytest.raises(RecordError, match=r"knows sample_id .* with another label; arms of one run share"):
        import_predictions(logits, (labels + 1) % C, directory=path, arm="c", resume=True)
    with pytest.raises(RecordError, match="with another split"):
        import_predictions(logits, labels, directory=path, arm="c", split="validation", resume=True)
    with pytest.raises(RecordError, match="num_classes is 4, not 5"):
        import_predictions(np.zeros((1, N, 5)), labels, directory=path, arm="c", resume=True)
    assert sorted(path.rglob("*")) == before
    assert list(open_run(path).manifest["arms"]) == ["a", "b"]


def test_an_import_cut_short_may_be_repeated(tmp_path, logits, labels, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("biasvar.records.writer.RunWriter.prediction_parts", full)
        with pytest.raises(OSError, match="No space"):
            import_predictions(logits, labels, directory=tmp_path / "run")
    assert open_run(tmp_path / "run").manifest["arms"]["predictions"]["status"] == "running"
    run = import_predictions(logits, labels, directory=tmp_path / "run", resume=True)
    assert run.predictions("predictions").counts.shape == (R, N)
    assert len(run.metrics) == R


def test_some_rows_that_sum_to_one_are_logits_still(tmp_path, labels):
    values = np.full((N, C), 0.25)
    values[3] = 0.5
    found = import_predictions([values], labels, directory=tmp_path / "run").predictions("predictions")
    np.testing.assert_allclose(found.mean_log_probs, np.log(0.25))


def test_the_default_place_is_under_runs(tmp_path, logits, labels, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert import_predictions(logits, labels).directory.as_posix() == "runs/imported"
    assert import_predictions(logits, labels, name="mine").name == "mine"
    assert (tmp_path / "runs" / "mine" / "manifest.json").exists()


def bad_files(folder):
    good = np.zeros((N, C))
    nan = good.copy()
    nan[[3, 7], 1] = np.nan
    np.save(folder / "nan.npy", nan)
    np.save(folder / "short.npy", good[:-1])
    np.save(folder / "flat.npy", good[:, 0])
    np.save(folder / "text.npy", good.astype(str))
    np.save(folder / "objects.npy", np.array([None] * N), allow_pickle=True)
    np.savez(folder / "two.npz", a=good, b=good)
    (folder / "broken.npz").write_bytes(b"PK broken")
    (folder / "empty.npy").write_bytes(b"")
    (folder / "broken.parquet").write_bytes(b"PAR1 broken")
    (folder / "values.txt").write_text("1")
    pq.write_table(pa.table({"sample_id": [1, 2]}), folder / "ids.parquet")
    pq.write_table(pa.table({"a": [[1.0], [2.0]], "b": [[1.0], [2.0]]}), folder / "lists.parquet")
    pq.write_table(pa.table({"a": [[1.0, 2.0]] * (N - 1) + [[2.0]]}), folder / "ragged.parquet")
    pq.write_table(pa.table({"a": ["x"] * N, "b": ["y"] * N}), folder / "words.parquet")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan.npy", "nan.npy: rows 3, 7 hold values that are not finite"),
        ("short.npy", "short.npy has 29 rows and there are 30 labels"),
        ("flat.npy", r"flat.npy: one replica's predictions must have shape \(N, C\), not \(30,\)"),
        ("text.npy", "text.npy: predictions must be real numbers, not <U"),
        ("objects.npy", "objects.npy cannot be read as a NumPy file"),
        ("two.npz", r"two.npz holds 2 arrays \(a, b\); it must hold one, or one named logits or predictions"),
        ("broken.npz", "broken.npz cannot be read as a NumPy file"),
        ("empty.npy", "empty.npy cannot be read as a NumPy file"),
        ("broken.parquet", "broken.parquet cannot be read as Parquet"),
        ("values.txt", "unknown suffix of .*values.txt, '.txt'; .*'.npy', '.npz', '.parquet'"),
        ("ids.parquet", "ids.parquet must hold one list column"),
        ("lists.parquet", "lists.parquet must hold one list column"),
        ("ragged.parquet", "ragged.parquet: every row of 'a' must hold the same number of values, 2; row 29 does"),
        ("words.parquet", "words.parquet: predictions must be numbers"),
    ],
)
def test_files_that_do_not_fit_are_named_and_nothing_is_written(tmp_path, logits, labels, name, message):
    bad_files(tmp_path)
    good = as_file(tmp_path, "npy", logits[0])
    with pytest.raises(RecordError, match=message):
        import_predictions([good, tmp_path / name], labels, directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": []}, "name at least one file"),
        ({"files": [np.zeros((N, 4)), np.zeros((N, 3))]}, r"files\[1\] has 3 classes, the files before it 4"),
        ({"labels": np.full(N, 4)}, r"sample_id 0, 1, 2, 3, 4 and 25 more are out of range; allowed: 0 to 3"),
        ({"labels": np.zeros((N, C))}, r"one class number a sample, shape \(N,\), not \(30, 4\)"),
        ({"labels": np.full(N, 0.5)}, "labels: expected whole numbers"),
        ({"labels": []}, "labels are empty"),
        ({"sample_ids": [1, 2]}, "2 sample_ids and 30 labels"),
        ({"sample_ids": [1] * N}, "sample_ids 1 come more than once"),
        ({"sample_ids": np.zeros(N)}, "sample_ids must be whole numbers"),
        ({"class_names": ["a"]}, "class_names has 1 names, the predictions have 4 classes"),
        ({"sample_ids": np.arange(N) - 2}, "sample_ids -2, -1 are negative; allowed: whole numbers from 0 on"),
        ({"files": [np.zeros((N, 1))]}, r"files\[0\] has one class, shape \(30, 1\); at least 2 are needed"),
        (
            {"files": [np.full((N, C), 0.25)]},
            r"files\[0\] look like probabilities: .*; pass values=",
        ),
        ({"files": np.zeros((N, C))}, r"files: give a list of one \(N, C\) array or file per replica"),
        ({"files": np.zeros((N, C)).tolist()}, r"files: give a list of one \(N, C\) array or file per replica"),
        ({"values": "probabilities"}, "do not sum to one; divide every row by its sum .*, or pass values"),
        ({"values": "probabilities", "files": [np.tile([1.5, -0.5, 0, 0], (N, 1))]}, "negative probabilities"),
        ({"arm": "a b"}, "arm 'a b' cannot name a file"),
        ({"split": "a b"}, "split 'a b' cannot name a file"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, labels, change, message):
    given = {"files": [np.zeros((N, C))], "labels": labels, "directory": tmp_path / "run", **change}
    with pytest.raises(RecordError, match=message):
        import_predictions(given.pop("files"), given.pop("labels"), **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "x,z\n1,2\n", "needs a column 'label'; it has x, z"),
        ("b.csv", "", "cannot be read as CSV"),
        ("c.csv", "a\n1,2,3\n4\n5,6,7,8\n", "cannot be read as CSV"),
        ("d.csv", "label\ncat\n", "expected whole numbers"),
        ("e.csv", "sample_id\n1\n", "needs a column 'label'; it has none"),
        ("f.json", "[1]", "unknown suffix"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path, logits, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(RecordError, match=message) as error:
        import_predictions(logits, tmp_path / name, directory=tmp_path / "run")
    assert name in str(error.value)


def test_missing_files(tmp_path, logits, labels):
    with pytest.raises(FileNotFoundError, match=r"none.npy does not exist"):
        import_predictions([tmp_path / "none.npy"], labels, directory=tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        import_predictions(logits, tmp_path / "none.csv", directory=tmp_path / "run")


def test_versions_of_what_is_not_installed_are_left_out():
    from biasvar.records.importer import _versions

    assert list(_versions("numpy", "no-such-package-here")) == ["numpy"]


@pytest.mark.parametrize("splits", [("test",), ("test", "validation")])
def test_a_replica_at_chance_beside_others_is_named(tmp_path, splits):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, size=300)
    replicas = [3 * np.eye(5)[labels] + rng.normal(size=(300, 5)) for _ in range(4)]
    shuffled = [*replicas[:2], replicas[2][rng.permutation(300)], replicas[3]]
    words = r"replica 2 is at chance on 300 rows .*another order than the labels.*sample_id"
    for place, split in enumerate(splits):
        with pytest.warns(UserWarning, match=words) as caught:
            run = import_predictions(
                shuffled, labels, sample_ids=np.arange(300) + 300 * place, directory=tmp_path / "run", split=split,
                resume=place > 0,
            )  # fmt: skip
        assert [warning.filename for warning in caught] == [__file__]
    kept = run.arm("predictions")["warnings"]
    assert [text.split(":")[0] for text in kept] == [f"split {split}" for split in splits]
    page = write_report(open_runs([tmp_path / "run"]), tmp_path / "report", figures=["accuracy"], formats=())
    assert "replica 2 is at chance on 300 rows" in page.read_text()


def test_replicas_that_are_all_good_or_all_at_chance_pass_without_a_warning(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, size=300)
    good = [3 * np.eye(5)[labels] + rng.normal(size=(300, 5)) for _ in range(3)]
    none = [rng.normal(size=(300, 5)) for _ in range(3)]
    for name, replicas in (("good", good), ("none", none), ("one", good[:1])):
        assert "warnings" not in import_predictions(replicas, labels, directory=tmp_path / name).arm("predictions")


@pytest.mark.parametrize("replicas", [5, 20])
def test_replicas_may_be_added_later(tmp_path, labels, replicas):
    logits = np.random.default_rng(2).normal(scale=3, size=(replicas, N, C))
    whole = import_predictions(list(logits), labels, directory=tmp_path / "whole", arm="net")
    import_predictions(list(logits[:3]), labels, directory=tmp_path / "run", arm="net", label="Net")
    added = import_predictions(
        list(logits[3:]), labels, directory=tmp_path / "run", arm="net", resume=True, first_replica=3
    )
    assert added.entry("net").label == "Net"
    assert added.arm("net")["replicas"] == replicas
    for name in ("bias", "variance"):
        np.testing.assert_allclose(
            getattr(added.decomposition("net"), name), getattr(whole.decomposition("net"), name), atol=1e-12
        )
    kept, wanted = added.predictions("net"), whole.predictions("net")
    assert (kept.counts == wanted.counts).all()
    assert added.metrics["replica"].tolist() == list(range(replicas))
    assert added.records(arm="net").equals(whole.records(arm="net"))


def test_replicas_that_leave_a_gap_or_stand_where_others_are_are_refused(tmp_path, logits, labels):
    with pytest.raises(RecordError, match="pass resume=True and its directory"):
        import_predictions(list(logits), labels, directory=tmp_path / "run", first_replica=3)
    import_predictions(list(logits), labels, directory=tmp_path / "run")
    for first in (0, 1, 4):
        with pytest.raises(RecordError, match="add replicas to them with first_replica=3"):
            import_predictions(list(logits), labels, directory=tmp_path / "run", resume=True, first_replica=first)
    with pytest.raises(RecordError, match=r"no predictions of arm 'other', split 'test', to add"):
        import_predictions(list(logits), labels, directory=tmp_path / "run", arm="other", resume=True, first_replica=3)


def test_predictions_join_a_recorded_run_whose_training_ids_are_others(tmp_path, logits, labels):
    with Recorder(tmp_path / "run", num_samples=N, num_classes=C, temperature=2.0, arm="kd", label="KD") as recorder:
        recorder.update(np.arange(N), logits[0], (labels + 1) % C)
    run = import_predictions(list(logits), labels, directory=tmp_path / "run", arm="kd", resume=True, control="ce")
    assert (run.entry("kd").label, run.entry("kd").control, run.entry("kd").temperature) == ("KD", "ce", 2.0)
    assert run.manifest["status"] == "complete"
    alone = import_predictions(list(logits), labels, directory=tmp_path / "alone")
    np.testing.assert_array_equal(run.decomposition("kd").bias, alone.decomposition("predictions").bias)
    assert final_accuracy(run, "kd").tolist() == final_accuracy(alone, "predictions").tolist()
    more = import_predictions(list(-logits), labels, directory=tmp_path / "run", arm="kd", resume=True, first_replica=R)
    assert more.decomposition("kd").group_counts.shape[0] == 2 * R
    other = import_predictions(list(logits), labels, directory=tmp_path / "run", arm="new", resume=True)
    assert other.arms == ["kd", "new"]
    page = write_report(open_runs([tmp_path / "run"]), tmp_path / "page", figures=["bias_variance"], formats=[])
    assert page.exists()
    with pytest.raises(RecordError, match=r"knows sample_id 0, 1, .* with another label"):
        import_predictions(list(logits), (labels + 1) % C, directory=tmp_path / "run", arm="third", resume=True)
