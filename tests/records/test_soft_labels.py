"""Soft labels read from files and runs in batches: the same whatever the format, and clear about what is wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biasvar.analysis import measure_indicators, tempered
from biasvar.errors import RecordError
from biasvar.records import import_predictions, open_run, write_table
from biasvar.records.soft_labels import open_soft_labels

N, C = 50, 4


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(C), N).astype(np.float32), np.arange(N) % C


def gathered(source, rows=7):
    parts = list(source.batches(rows))
    assert max(len(part[0]) for part in parts) <= rows
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def parquet(path, soft, kind="fixed", **extra):
    columns = {
        "fixed": lambda: {"soft": pa.FixedSizeListArray.from_arrays(pa.array(soft.ravel()), C)},
        "list": lambda: {"soft": pa.array(soft.tolist(), pa.list_(pa.float32()))},
        "columns": lambda: {f"class_{c}": soft[:, c] for c in range(C)},
    }[kind]()
    pq.write_table(pa.table(columns | extra), path, row_group_size=20)
    return path


@pytest.mark.parametrize("form", ["npy", "npz", "named.npz", "packed.npz", "fixed", "list", "columns"])
def test_every_format_gives_the_same(tmp_path, data, form):
    soft, labels = data
    path = tmp_path / (f"soft.{form}" if "np" in form else "soft.parquet")
    if form == "npy":
        np.save(path, soft)
    elif form == "npz":
        np.savez(path, anything=soft)
    elif form == "packed.npz":
        np.savez_compressed(path, probabilities=soft, labels=labels)
    elif form == "named.npz":
        np.savez(path, soft_labels=soft, other=labels)
    else:
        parquet(path, soft, form)
    source = open_soft_labels(path, labels)
    assert (source.num_classes, source.rows, source.name) == (C, N, path.name)
    for _ in range(2):  # it starts anew
        values, truth, ids = gathered(source)
        np.testing.assert_array_equal(values, soft)
        np.testing.assert_array_equal(truth, labels)
        np.testing.assert_array_equal(ids, np.arange(N))
    hot = gathered(open_soft_labels(path, labels, temperature=2.0, values="logits"))[0]
    np.testing.assert_allclose(hot, tempered(soft, 2.0, values="logits"))
    table = measure_indicators(source.batches(9), ks=[1, 2]).table()
    assert table.equals(measure_indicators(soft, labels, ks=[1, 2]).table())


def test_rows_and_labels_meet_by_their_ids(tmp_path, data):
    soft, labels = data
    order = np.random.default_rng(1).permutation(N)
    path = parquet(tmp_path / "soft.parquet", soft, sample_id=np.arange(N) * 2 + 5)
    pq.write_table(pa.table({"sample_id": (order * 2 + 5), "label": labels[order]}), tmp_path / "labels.parquet")
    _, truth, ids = gathered(open_soft_labels(path, tmp_path / "labels.parquet"))
    np.testing.assert_array_equal(truth, labels)
    np.testing.assert_array_equal(ids, np.arange(N) * 2 + 5)
    np.testing.assert_array_equal(gathered(open_soft_labels(path, labels))[1], labels)  # no ids: by position
    own = parquet(tmp_path / "own.parquet", soft, sample_id=np.arange(N), label=labels.astype(np.uint8))
    np.testing.assert_array_equal(gathered(open_soft_labels(own))[1], labels)
    pq.write_table(pa.table({"sample_id": order[:40], "label": labels[:40]}), tmp_path / "few.parquet")
    with pytest.raises(RecordError, match=r"labels lack sample_id .* of own\.parquet"):
        gathered(open_soft_labels(own, tmp_path / "few.parquet"))
    with pytest.raises(RecordError, match=r"soft\.parquet has no column 'label'"):
        gathered(open_soft_labels(path))


def test_labels_of_another_number(tmp_path, data):
    soft, labels = data
    np.save(tmp_path / "soft.npy", soft)
    with pytest.raises(RecordError, match="more rows than there are labels"):
        gathered(open_soft_labels(tmp_path / "soft.npy", labels[:40]))
    with pytest.raises(RecordError, match="has 50 rows and there are 60 labels"):
        gathered(open_soft_labels(tmp_path / "soft.npy", np.arange(60) % C))


@pytest.fixture
def run(tmp_path, data):
    """Two replicas' predictions, a fixed teacher, and one a replica."""
    soft, labels = data
    rng = np.random.default_rng(2)
    predictions = rng.normal(size=(2, N, C))
    run = import_predictions(list(predictions), labels, directory=tmp_path / "run", arm="ce")
    member = np.arange(N) < 20
    for name, replicas in (("big", [-1]), ("own", [0, 1])):
        count = len(replicas)
        logits = np.log(np.tile(soft, (count, 1))) * (1 + np.repeat(np.arange(count), N))[:, None]
        table = pa.table(
            {
                "replica": np.repeat(np.array(replicas, np.int32), N),
                "sample_id": np.tile(np.arange(N), count),
                "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.astype(np.float32).ravel()), C),
                "member": np.tile(member, count),
            }
        )
        write_table(run.directory / "teachers" / f"{name}.parquet", table)
    return open_run(run.directory), predictions


def test_a_run_gives_its_teachers_and_its_arms(run, data):
    opened, predictions = run
    soft, labels = data
    for source in (opened, opened.directory, str(opened.directory)):
        values, truth, ids = gathered(open_soft_labels(source, teacher="big"))
        np.testing.assert_allclose(values, soft, rtol=1e-5)
        np.testing.assert_array_equal(truth, labels)
        np.testing.assert_array_equal(ids, np.arange(N))
    second = open_soft_labels(opened, teacher="own", replica=1, temperature=2.0, split="test")
    np.testing.assert_allclose(gathered(second)[0], soft, rtol=1e-5)
    assert second.name.endswith("teacher own (test)")
    for members, kept in ((True, slice(0, 20)), (False, slice(20, N))):
        np.testing.assert_array_equal(
            gathered(open_soft_labels(opened, teacher="big", members=members))[2], np.arange(N)[kept]
        )
    mean = tempered(np.log(tempered(predictions, 1.0)).mean(axis=0), 1.0)
    arm = open_soft_labels(opened, arm="ce")
    np.testing.assert_allclose(gathered(arm)[0], mean)
    np.testing.assert_array_equal(gathered(arm)[1], labels)
    assert (arm.rows, arm.num_classes) == (N, C)
    np.testing.assert_allclose(
        gathered(open_soft_labels(opened, arm="ce", temperature=4.0))[0], tempered(np.log(mean), 4.0)
    )


def test_what_a_run_does_not_have(run):
    opened, _ = run
    for options, message in (
        ({}, "unknown teacher"),
        ({"teacher": "small"}, "unknown teacher .*'big', 'own'"),
        ({"teacher": "own"}, r"differs by replica: name one of \[0, 1\]"),
        ({"teacher": "own", "replica": 7}, "unknown replica"),
        ({"teacher": "big", "split": "train"}, "unknown split"),
        ({"arm": "kd"}, "unknown arm"),
        ({"arm": "ce", "teacher": "big"}, "either a teacher"),
    ):
        with pytest.raises(RecordError, match=message):
            open_soft_labels(opened, **options)


def test_files_that_will_not_do(tmp_path, data):
    soft, labels = data
    np.save(tmp_path / "flat.npy", soft.ravel())
    np.save(tmp_path / "words.npy", soft.astype("U5"))
    np.save(tmp_path / "columns.npy", np.asfortranarray(soft))
    np.savez(tmp_path / "two.npz", a=soft, b=soft)
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "text.parquet").write_text("no table")
    np.save(tmp_path / "cut.npy", soft)
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    pq.write_table(pa.table({"a": pa.array([[1.0, 0.0], [1.0, 2.0, 3.0]])}), tmp_path / "ragged.parquet")
    pq.write_table(pa.table({"a": pa.array([[1.0, 0.0], [1.0], [1.0, 2.0, 3.0]])}), tmp_path / "uneven.parquet")
    pq.write_table(pa.table({"a": pa.array([[1.0, 0.0], None])}), tmp_path / "null.parquet")
    pq.write_table(pa.table({"p0": [1.0, 0], "p1": [0.0, 1], "label": [1, None]}), tmp_path / "gaps.parquet")
    pq.write_table(pa.table({"a": ["x"], "b": ["y"]}), tmp_path / "names.parquet")
    pq.write_table(pa.table({"a": [[1.0]], "b": [0.5]}), tmp_path / "mixed.parquet")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "bare.parquet")
    pq.write_table(
        pa.table({"p0": pa.array([], pa.float32()), "p1": pa.array([], pa.float32())}), tmp_path / "empty.parquet"
    )
    (tmp_path / "soft.csv").write_text("a,b\n")
    for name, message in (
        ("flat.npy", r"shape \(N, K\), row by row; it holds float32 of shape \(200,\)"),
        ("words.npy", "must hold numbers"),
        ("columns.npy", "column by column"),
        ("two.npz", r"holds 2 arrays \(a, b\)"),
        ("text.npy", "cannot be read as a NumPy file"),
        ("text.npz", "cannot be read as a NumPy file"),
        ("text.parquet", "cannot be read as Parquet"),
        ("cut.npy", r"cut short: its header says float32 \(50, 4\), of which 700 bytes"),
        ("ragged.parquet", "same number of values, 2; row 1 does not"),
        ("uneven.parquet", "same number of values, 2"),
        ("null.parquet", "same number of values, 2"),
        ("gaps.parquet", "column 'label' lacks a value in row 1"),
        ("names.parquet", "predictions must be numbers; column 'a', 'b' holds none"),
        ("mixed.parquet", "one list column, or one column of numbers a class"),
        ("bare.parquet", "one list column"),
        ("empty.parquet", "holds no rows"),
        ("soft.csv", "unknown suffix"),
    ):
        with pytest.raises(RecordError, match=message):
            gathered(open_soft_labels(tmp_path / name, labels), rows=25)
    with pytest.raises(FileNotFoundError):
        open_soft_labels(tmp_path / "nothing.npy", labels)
    with pytest.raises(RecordError, match=r"flat\.npy is a file"):
        open_soft_labels(tmp_path / "flat.npy", labels, teacher="big")


def test_a_missing_number_is_nan_and_its_row_is_named(tmp_path):
    pq.write_table(pa.table({"p0": [1.0, None], "p1": [0.0, 1.0], "label": [0, 1]}), tmp_path / "gap.parquet")
    pq.write_table(pa.table({"p": [[1.0, 0.0], [None, 1.0]], "label": [0, 1]}), tmp_path / "list.parquet")
    for name in ("gap.parquet", "list.parquet"):
        with pytest.raises(ValueError, match="must be finite; row 1 holds NaN"):
            measure_indicators(open_soft_labels(tmp_path / name).batches(), ks=[1])


def test_probabilities_that_are_taken_for_logits_are_refused(tmp_path):
    soft, labels = np.random.default_rng(0).dirichlet(np.ones(3), 30), np.arange(30) % 3
    np.save(tmp_path / "soft.npy", soft)
    with pytest.raises(RecordError, match=r"soft.npy: its values, taken for logits.*probabilities.*values="):
        gathered(open_soft_labels(tmp_path / "soft.npy", labels, temperature=2.0))
    read = gathered(open_soft_labels(tmp_path / "soft.npy", labels, temperature=2.0, values="probabilities"))[0]
    np.testing.assert_allclose(read, tempered(np.log(soft), 2.0))
