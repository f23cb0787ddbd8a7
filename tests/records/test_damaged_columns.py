"""Files whose columns hold something else than was written there: each is refused by its name, in one line."""

from __future__ import annotations

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

IDS = np.arange(6)
N, C, R = len(IDS), 4, 3


@pytest.fixture(params=["logits", "mean_log_prob"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """A run with predictions of either version, a record, metrics and a teacher."""
    writer = RunWriter(tmp_path / "run", manifest={"kind": "recorder", "num_classes": C})
    writer.samples(IDS, IDS % C, "test")
    ones, means = np.ones((R, N), int), log_probs(0, R, N, C)
    with writer.open_predictions("kd", "test", "all", 1, 0, logits=request.param == "logits") as add:
        add(IDS, ones, means.astype(np.float32) if request.param == "logits" else means)
    writer.record("kd", "test", "clean", 1, 0, record_columns(1, ids=IDS))
    writer.record("ce", "test", "clean", 1, 0, record_columns(2, ids=IDS))
    keys = {"arm": ["kd"], "replica": [0], "epoch": [1], "split": ["test"], "view": ["clean"], "n": [N]}
    writer.metrics("kd", 0, {**keys, "accuracy": [0.5]})
    writer.teacher("main", IDS, log_probs(1, N, C), np.ones(N, dtype=bool))
    return open_run(writer.directory)


def answers(run: Run) -> Path:
    return schema.prediction_path(run.directory, "kd", "test", "all", 1)


def column_of(path: Path) -> str:
    return pq.read_schema(path).names[-1]


def replace(path: Path, name: str, column: pa.Array) -> None:
    """Another column in the place of one of a file, whose own words stay."""
    table = pq.ParquetFile(path).read()
    metadata = table.schema.metadata
    at = table.schema.get_field_index(name)
    path.unlink()
    pq.write_table(table.set_column(at, name, column).replace_schema_metadata(metadata), path)


def lists(path: Path, change: Callable[[list[list[float]]], object]) -> pa.Array:
    """The answers of a file, changed in place, as lists of any length."""
    name = column_of(path)
    column = pq.ParquetFile(path).read().column(name)
    values = column.to_pylist()
    change(values)
    return pa.array(values, pa.list_(column.type.value_type))


def too_long_and_too_short(values: list[list[float]]) -> None:
    values[1].append(0.0)
    values[2].pop()


def with_a_gap(values: list[list[float]]) -> None:
    values[3][2] = None  # type: ignore[call-overload]


def not_a_number(values: list[list[float]]) -> None:
    values[4][0] = float("nan")


def infinite(values: list[list[float]]) -> None:
    values[4][0] = float("-inf")


@pytest.mark.parametrize("read", [decompose, predict, walk])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (too_long_and_too_short, r"group=000.parquet must hold 4 values a row; row 1 holds 5"),
        (with_a_gap, r"group=000.parquet must hold 4 values a row; one is missing in row 3"),
        (not_a_number, r"group=000.parquet: (logits|mean_log_prob) is not finite for sample_id 4; restore it"),
        (infinite, r"group=000.parquet: (logits|mean_log_prob) is not finite for sample_id 4; restore it"),
    ],
)
def test_answers_that_are_not_whole(run, change, message, read):
    path = answers(run)
    replace(path, column_of(path), lists(path, change))
    with pytest.raises(RecordError, match=message):
        read(open_run(run.directory))


@pytest.mark.parametrize("read", [decompose, predict, walk])
@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.float64(), pa.float16()])
def test_answers_of_another_kind(run, kind, read):
    path = answers(run)
    flat = np.zeros(R * N * C).astype(kind.to_pandas_dtype() if kind != pa.string() else str)
    whole = pa.array(np.zeros(R * N))
    column = whole if kind == pa.float64() else pa.FixedSizeListArray.from_arrays(pa.array(flat, kind), C)
    replace(path, column_of(path), column)
    with pytest.raises(RecordError, match=r"column '(logits|mean_log_prob)' holds .*, it must hold lists of float or"):
        read(open_run(run.directory))


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("sample_id", [str(i) for i in range(N)] * R, "column 'sample_id' holds string, it must hold int64"),
        ("sample_id", [None, *range(1, N), *[*range(N)] * (R - 1)], "column 'sample_id' lacks a value in row 0"),
        ("count", [1.5] * (N * R), "column 'count' holds double, it must hold int32"),
        ("count", [-1] * (N * R), "count is -1, it must be a whole number from 0 on"),
        ("group", [True] * (N * R), "column 'group' holds bool, it must hold int32"),
    ],
)
def test_keys_of_answers_that_are_no_keys(run, name, column, message):
    replace(answers(run), name, pa.array(column))
    with pytest.raises(RecordError, match=message):
        decompose(open_run(run.directory))


def test_answers_twice_in_one_file(run):
    path = answers(run)
    table = pq.ParquetFile(path).read()
    name = column_of(path)
    pq.write_table(table.append_column("logits" if name != "logits" else "mean_log_prob", table.column(name)), path)
    with pytest.raises(RecordError, match="must have one column of answers, mean_log_prob or logits; it has both"):
        decompose(open_run(run.directory))
    pq.write_table(table.append_column(name, table.column(name)), path)
    with pytest.raises(RecordError, match=f"has two columns '{name}'"):
        decompose(open_run(run.directory))


def test_means_that_are_no_log_probabilities_name_the_folder(run):
    path = answers(run)
    if column_of(path) == "logits":
        pytest.skip("any logits have log-probabilities")
    replace(path, "mean_log_prob", lists(path, lambda values: values[0].__setitem__(0, 3.0)))
    with pytest.raises(RecordError, match=r"epoch=0001: mean_log_probs are no means of log-probabilities"):
        decompose(open_run(run.directory))


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("label", ["one"] * (N * R), "arm=kd.*column 'label' holds string, it must hold int32"),
        ("student_loss", [None, *[0.5] * (N * R - 1)], "arm=kd.*column 'student_loss' lacks a value in row 0"),
        ("opposing", ["yes"] * (N * R), "arm=kd.*column 'opposing' holds string, it must hold bool"),
    ],
)
def test_columns_of_a_record_that_hold_something_else(run, name, column, message):
    replace(schema.record_path(run.directory, "kd", "test", "clean", 1), name, pa.array(column))
    with pytest.raises(RecordError, match=message):
        open_run(run.directory).records()


def test_widths_of_numbers_are_their_writers_choice(run):
    before = run.records()
    path = schema.record_path(run.directory, "kd", "test", "clean", 1)
    table = pq.ParquetFile(path).read()
    for name, kind in (("replica", pa.int64()), ("student_loss", pa.float64()), ("teacher_prediction", pa.float64())):
        replace(path, name, table.column(name).cast(kind))
    found = open_run(run.directory).records()
    assert found["student_loss"].tolist() == before["student_loss"].tolist()
    assert found["replica"].tolist() == before["replica"].tolist()


def test_metrics_that_hold_something_else(run):
    path = schema.metrics_path(run.directory, "kd")
    replace(path, "accuracy", pa.array(["good"]))
    with pytest.raises(RecordError, match=r"metrics/arm=kd/group=000.parquet: column 'accuracy' holds string"):
        _ = open_run(run.directory).metrics
    replace(path, "accuracy", pa.array([None], pa.float64()))
    replace(path, "n", pa.array([N]))  # as pandas writes it: the column may be null, and is not
    assert open_run(run.directory).metrics["n"].dropna().unique().tolist() == [N]


@pytest.mark.parametrize("label", [-1, C, 10**6])
def test_a_class_that_the_run_does_not_have(run, label):
    replace(run.directory / "samples.parquet", "label", pa.array([0, label, *[0] * (N - 2)], pa.int32()))
    with pytest.raises(RecordError, match=rf"samples.parquet: sample_id 1 has label {label}, .* allows 0 to 3"):
        predict(open_run(run.directory))


@pytest.mark.parametrize(
    ("name", "message"), [("logits", "column 'logits' holds string"), ("member", "'member' holds")]
)
def test_a_teacher_that_holds_something_else(run, name, message):
    replace(schema.teacher_path(run.directory, "main"), name, pa.array(["a"] * N))
    with pytest.raises(RecordError, match=message):
        open_run(run.directory).teacher("main")


@pytest.mark.parametrize("version", [-1, "2", None, True, 2.0])
def test_a_version_that_is_none(run, version):
    path = answers(run)
    table = pq.ParquetFile(path).read()
    pq.write_table(table.replace_schema_metadata(schema.metadata_of(schema_version=version)), path)
    with pytest.raises(RecordError, match=r"its schema_version is .*, it must be a whole number"):
        decompose(open_run(run.directory))


def test_a_link_that_leads_to_itself(run):
    path = answers(run)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(RecordError, match=r"group=000.parquet cannot be read as Parquet"):
        decompose(open_run(run.directory))
