"""Tables that other programs wrote: an index, an id, an order of columns never become numbers of a class unseen.

Every case is held against the same predictions given as a plain array in the right order.
"""

import tempfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biasvar.errors import RecordError
from biasvar.records import import_predictions
from biasvar.records.soft_labels import open_soft_labels

pytestmark = pytest.mark.filterwarnings("ignore:there is one replica")  # of small cases, on purpose

N, C = 40, 12


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(scale=3, size=(N, C))


@pytest.fixture
def labels():
    return np.random.default_rng(1).integers(0, C, N)


@pytest.fixture
def bias(tmp_path, logits, labels):
    """The bias of each sample, by its number."""
    return import_predictions([logits], labels, directory=tmp_path / "right").decomposition("predictions").bias


@pytest.fixture
def imported(tmp_path):
    """The biases and ids of an import of frames, given as frames, as Arrow tables and as files, which must agree."""

    def run(frame, labels, *, label_file=False, **options):
        path, results = tmp_path / "frame.parquet", []
        frame.to_parquet(path)
        if label_file:
            labels.to_parquet(tmp_path / "labels.parquet")
        for number, source in enumerate((path, frame, pa.Table.from_pandas(frame))):
            given = tmp_path / "labels.parquet" if label_file and not number else labels
            folder = tempfile.mkdtemp(dir=tmp_path)
            run = import_predictions([source], given, directory=folder, **options)
            found = run.predictions("predictions")
            results.append(
                (found.sample_ids, run.decomposition("predictions").bias, run.manifest["arms"]["predictions"])
            )
        for ids, values, _ in results[1:]:
            np.testing.assert_array_equal(ids, results[0][0])
            np.testing.assert_array_equal(values, results[0][1])
        return results[0]

    return run


def refused(frame, labels, message, **options):
    """RecordError from the importer and, with the same labels, from the soft labels of a file."""
    with pytest.raises(RecordError, match=message):
        import_predictions([frame], labels, directory="nowhere", **options)


def test_an_index_of_a_filtered_frame_is_no_class(imported, logits, labels, bias):
    kept = labels < 7
    frame = pd.DataFrame(logits)[kept]
    ids, found, arm = imported(frame, labels[kept])
    np.testing.assert_array_equal(found, bias[kept])
    assert ids.tolist() == list(range(kept.sum()))
    assert arm["tables"] == [{"replicas": [0], "class_columns": [str(c) for c in range(C)], "rows_by": "place"}]
    series = pd.DataFrame({"label": labels})[kept]
    ids, found, arm = imported(frame, series, label_file=True)  # both kept their index
    np.testing.assert_array_equal(found, bias[kept])
    np.testing.assert_array_equal(ids, np.flatnonzero(kept))
    assert arm["label_ids"] == "column '__index_level_0__'"
    assert arm["tables"][0]["rows_by"] == "column '__index_level_0__'"


@pytest.mark.parametrize("name", ["id", "sample_id", "idx", "image_id"])
def test_reversed_rows_meet_their_labels_by_id(imported, logits, labels, bias, name):
    frame = pd.DataFrame(logits).add_prefix("p").assign(**{name: np.arange(N)})[::-1].reset_index(drop=True)
    _, found, arm = imported(frame, pd.DataFrame({"sample_id": np.arange(N), "label": labels}), label_file=True)
    np.testing.assert_array_equal(found, bias)
    assert arm["tables"][0]["rows_by"] == f"column {name!r}"
    assert "p10" in arm["tables"][0]["class_columns"][10]
    np.testing.assert_array_equal(imported(frame, labels, sample_ids=np.arange(N))[1], bias)
    if name == "sample_id":
        np.testing.assert_array_equal(imported(frame, labels)[1], bias)
    else:
        refused(
            frame, labels, f"column '{name}' is not in order, and the labels have no ids .*sample_id.* or drop column"
        )
    with pytest.raises(RecordError, match="do not match those of the labels"):
        imported(frame.assign(**{name: np.arange(N) + 1}), labels, sample_ids=np.arange(N))


@pytest.mark.parametrize("index", [None, "number", "reversed"])
def test_a_shuffled_frame_meets_its_labels_by_its_index(imported, logits, labels, bias, index):
    order = np.arange(N)[::-1] if index == "reversed" else np.random.default_rng(2).permutation(N)
    frame, truth = pd.DataFrame(logits), pd.DataFrame({"label": labels})
    if index == "number":
        frame.index.name = truth.index.name = "number"
    shuffled = frame[::-1] if index == "reversed" else frame.iloc[order]
    other = truth.iloc[np.random.default_rng(3).permutation(N)]
    np.testing.assert_array_equal(imported(shuffled, other, label_file=True)[1], bias)
    np.testing.assert_array_equal(imported(shuffled, other["label"])[1], bias)  # a series has its index too
    refused(shuffled, labels, "is not in order, and the labels have no ids to meet it by")
    refused(shuffled.reset_index(drop=True), other, "has no ids, and the labels are not|is not in order, and the pred")
    refused(logits, other, "labels: column .* is not in order, and the predictions have no ids")
    renamed = other.rename(columns={"label": "y"})
    np.testing.assert_array_equal(imported(shuffled, renamed, label_file=True)[1], bias)


def test_a_series_goes_by_place_where_the_predictions_have_no_ids(tmp_path, logits, labels, bias):
    order = np.random.default_rng(2).permutation(N)
    series = pd.Series(labels).iloc[order]
    run = import_predictions([logits[order]], series, directory=tmp_path / "run")
    np.testing.assert_array_equal(run.decomposition("predictions").bias, bias[order])


@pytest.mark.parametrize("prefix", ["", "class_", "p"])
def test_columns_in_the_order_of_text_go_by_number(imported, logits, labels, bias, prefix):
    frame = pd.DataFrame(logits).add_prefix(prefix)
    np.testing.assert_array_equal(imported(frame[sorted(frame.columns)], labels)[1], bias)


def test_columns_named_like_the_classes_go_by_name(imported, logits, labels, bias):
    names = [f"{chr(97 + 5 * c % 26)}x" for c in range(C)]
    frame = pd.DataFrame(logits, columns=names)[sorted(names)]
    _, found, arm = imported(frame, labels, class_names=names)
    np.testing.assert_array_equal(found, bias)
    assert arm["tables"][0]["class_columns"] == names
    np.testing.assert_array_equal(imported(frame, labels, columns=names)[1], bias)
    refused(frame, labels, "the names of its columns do not say which class is which")
    words = np.array(names)[labels]
    np.testing.assert_array_equal(imported(frame, words, class_names=names)[1], bias)


def test_whole_numbers_among_fractions_are_refused_by_name(imported, logits, labels, bias):
    frame = pd.DataFrame(logits)
    for name in ("fold", str(C)):
        refused(
            frame.rename(columns=str).assign(**{name: labels}), labels, f"column '{name}' .*among columns of fractions"
        )
    chosen = [str(c) for c in range(C)]
    np.testing.assert_array_equal(imported(frame.rename(columns=str).assign(fold=3), labels, columns=chosen)[1], bias)
    whole = np.round(logits * 100).astype(np.int16)
    run = imported(pd.DataFrame(whole).rename(columns=str).assign(id=np.arange(N)), labels)[1]
    np.testing.assert_array_equal(run, imported(pd.DataFrame(whole.astype(float)), labels)[1])


def test_an_index_of_words_or_with_repeats_is_no_id(logits, labels):
    frame = pd.DataFrame(logits)
    refused(frame.set_index(pd.Index([f"{i}.png" for i in range(N)])), labels, "holds no whole numbers: drop it")
    twice = frame.set_index(pd.Index(np.arange(N) // 2))
    refused(twice, labels, "column '__index_level_0__' is not in order, and the labels have no ids")
    refused(pd.DataFrame(logits, columns=["a"] * C), labels, r"files\[0\]: .*[Dd]uplicate")
    with pytest.raises(RecordError, match="give a list of one frame or file per replica"):
        import_predictions(frame, labels, directory="nowhere")


def test_soft_labels_follow_the_same_rules(tmp_path, logits, labels):
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame, path = pd.DataFrame(soft).rename(columns=str), tmp_path / "soft.parquet"
    truth = tmp_path / "truth.parquet"
    pd.DataFrame({"id": np.arange(N), "label": labels})[::-1].to_parquet(truth, index=False)

    def read(table, given=labels, index=None, **options):
        table.to_parquet(path, index=index)
        source = open_soft_labels(path, given, **options)
        parts = list(source.batches(7))
        values, truths, ids = (np.concatenate(column) for column in zip(*parts, strict=True))
        return values, truths, ids

    kept = labels < 7
    values, truths, ids = read(frame[kept], labels[kept])
    np.testing.assert_array_equal(values, soft[kept])
    np.testing.assert_array_equal(ids, np.arange(kept.sum()))
    values, truths, _ = read(frame.add_prefix("c")[sorted(f"c{c}" for c in range(C))])
    np.testing.assert_array_equal(values, soft)
    order = np.random.default_rng(2).permutation(N)
    for shuffled in (frame.iloc[order], frame.assign(id=np.arange(N)).iloc[order].reset_index(drop=True)):
        values, truths, ids = read(shuffled, truth)
        np.testing.assert_array_equal(values, soft[order])
        np.testing.assert_array_equal(truths, labels[order])
        with pytest.raises(RecordError, match="is not in order, and the labels have no ids to meet it by"):
            read(shuffled)
        own = read(shuffled.assign(label=labels[order]), None)
        np.testing.assert_array_equal(own[1], labels[order])
        np.testing.assert_array_equal(own[2], order)
    with pytest.raises(RecordError, match="is not in order, and the labels have no ids"):
        read(frame[::-1])
    names = [chr(122 - c) for c in range(C)]
    named = frame.set_axis(names, axis=1)[names[::-1]]
    np.testing.assert_array_equal(read(named, class_names=names)[0], soft)
    np.testing.assert_array_equal(read(named, columns=names)[0], soft)
    with pytest.raises(RecordError, match="do not say which class is which"):
        read(named)
    with pytest.raises(RecordError, match="column 'fold' is no class by name among columns of fractions"):
        read(frame.assign(fold=1))


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float64(), C), pa.list_view(pa.float64())],
    ids=str,
)
def test_every_type_of_list_is_read(tmp_path, logits, labels, kind):
    values = logits.astype(np.float32).astype(float)
    path = tmp_path / "a.parquet"
    table = pa.table({"logits": pa.array(values.tolist(), kind), "sample_id": np.arange(N)})
    try:
        pq.write_table(table, path, row_group_size=9)
    except pa.ArrowNotImplementedError as error:
        pytest.skip(f"Arrow {pa.__version__}: {error}")
    right = import_predictions([values], labels, directory=tmp_path / "right").predictions("predictions")
    found = import_predictions([path], labels, directory=tmp_path / "run").predictions("predictions")
    np.testing.assert_array_equal(found.mean_log_probs, right.mean_log_probs)
    parts = [part[0] for part in open_soft_labels(path, labels).batches(7)]
    np.testing.assert_array_equal(np.concatenate(parts), values)


@pytest.mark.parametrize(
    "words", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
def test_every_type_of_words_is_read(tmp_path, logits, labels, words):
    names = [f"class {c}" for c in range(C)]
    try:
        column = pa.array([names[label] for label in labels]).cast(words)
    except pa.ArrowNotImplementedError as error:
        pytest.skip(f"Arrow {pa.__version__}: {error}")
    pq.write_table(pa.table({"label": column}), tmp_path / "labels.parquet")
    run = import_predictions([logits], tmp_path / "labels.parquet", class_names=names, directory=tmp_path / "run")
    np.testing.assert_array_equal(run.predictions("predictions").labels, labels)
