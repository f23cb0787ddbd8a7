"""Files of the largest entries of every row: the same soft labels from every format, and faults named with the file."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biasvar.analysis import from_top_k, measure_indicators
from biasvar.errors import RecordError
from biasvar.records.soft_labels import open_soft_labels

N, K, TOP = 30, 8, 3
SAID = {"num_classes": K, "rest": "uniform"}


@pytest.fixture
def stored():
    soft = np.random.default_rng(0).dirichlet(np.full(K, 0.5), N)
    indices = np.argsort(-soft, axis=1)[:, :TOP]
    return indices.astype(np.int16), np.take_along_axis(soft, indices, axis=1).astype(np.float16)


def written(path, indices, values, **extra):
    if path.suffix == ".npz":
        np.savez(path, indices=indices, values=values, **extra)
    else:
        columns = {"indices": list(indices), "values": list(values)} | extra
        pq.write_table(pa.Table.from_pandas(pd.DataFrame(columns)), path, row_group_size=11)
    return path


@pytest.mark.parametrize("rest", ["uniform", "zero"])
@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_the_rows_of_a_file_are_completed(tmp_path, stored, suffix, rest):
    expected = from_top_k(*stored, K, rest=rest)
    source = open_soft_labels(written(tmp_path / f"top{suffix}", *stored), stored[0][:, 0], num_classes=K, rest=rest)
    assert (source.num_classes, source.rows) == (K, N)
    for _ in range(2):  # it starts anew
        values = np.concatenate([part[0] for part in source.batches(7)])
        np.testing.assert_array_equal(values, expected)
    assert measure_indicators(source.batches(7), ks=[1]).counts().delta == 0


def test_lists_of_any_length_with_labels_and_ids(tmp_path, stored):
    indices, values = [list(row) for row in stored[0]], [list(row.astype(float)) for row in stored[1]]
    indices[4], values[4] = indices[4][:1], values[4][:1]
    ids, labels = np.arange(N)[::-1] * 2, np.arange(N) % K
    path = written(tmp_path / "top.parquet", indices, values, sample_id=ids, label=labels)
    (part,) = open_soft_labels(path, **SAID).batches()
    np.testing.assert_array_equal(part[1], labels)
    np.testing.assert_array_equal(part[2], ids)
    whole = from_top_k(*stored, K, rest="uniform")
    np.testing.assert_allclose(np.delete(part[0], 4, axis=0), np.delete(whole, 4, axis=0))
    top = values[4][0]
    assert sorted(part[0][4])[:-1] == pytest.approx([(1 - top) / (K - 1)] * (K - 1))
    fixed = written(tmp_path / "fixed.parquet", np.full((2, 2), [3, -1]).tolist(), [[1.0, 0.5], [1.0, 0.0]])
    (part,) = open_soft_labels(fixed, [3, 3], **SAID).batches()
    np.testing.assert_array_equal(part[0], np.eye(K)[[3, 3]])


def test_what_is_not_said_or_does_not_fit_is_refused(tmp_path, stored):
    path = written(tmp_path / "top.npz", *stored)
    for options, message in (
        ({}, "say what the others get with rest='uniform' or 'zero'"),
        ({"rest": "zero"}, "how many classes there are with num_classes="),
        ({"num_classes": K}, "say what the others get with rest="),
        (SAID | {"temperature": 2.0}, "no temperature"),
        (SAID | {"rest": "tail"}, "rest must be one of uniform, zero"),
        (SAID | {"num_classes": 4}, r"top.npz: indices must lie in 0 .. 3"),
    ):
        with pytest.raises(RecordError, match=message):
            list(open_soft_labels(path, **options).parts())
    np.save(tmp_path / "dense.npy", np.eye(3))
    with pytest.raises(RecordError, match="rest is for files of some classes of every row"):
        open_soft_labels(tmp_path / "dense.npy", rest="zero")
    with pytest.raises(RecordError, match="has 3 classes, not num_classes=4"):
        open_soft_labels(tmp_path / "dense.npy", num_classes=4)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_rows_that_cannot_be_completed_are_named_in_the_whole_file(tmp_path, stored, suffix):
    for change, message in (
        (lambda i, v: i.__setitem__((17, 1), i[17, 0]), "different classes; row 17 has a class twice"),
        (lambda i, v: i.__setitem__((17, 1), K), r"indices must lie in 0 .. 7 .*row 17"),
        (lambda i, v: v.__setitem__((17, 1), -1), "cannot be negative; row 17"),
        (lambda i, v: v.__setitem__((17, 1), np.nan), "must be finite; row 17"),
        (lambda i, v: v.__setitem__(17, 0.4), "sum to 1 at most, within 0.001; row 17"),
    ):
        indices, values = stored[0].copy(), stored[1].copy()
        change(indices, values)
        source = open_soft_labels(written(tmp_path / f"top{suffix}", indices, values), **SAID)
        with pytest.raises(RecordError, match=rf"top\{suffix}: .*{message}"):
            list(source.parts(7))


def test_files_of_another_shape_are_refused(tmp_path, stored):
    indices, values = stored
    for made, message in (
        (lambda p: np.savez(p / "top.npz", indices=indices, values=values[:, :2]), r"must both have shape \(N, k\)"),
        (lambda p: np.savez(p / "top.npz", indices=indices[0], values=values[0]), r"must both have shape \(N, k\)"),
        (lambda p: np.savez(p / "top.npz", indices=np.asfortranarray(indices), values=values), "column by column"),
        (lambda p: np.savez(p / "top.npz", indices=indices.astype(float), values=values), "indices must be integers"),
        (lambda p: written(p / "top.parquet", indices, values, index=np.arange(N)), "it has index too"),
        (lambda p: written(p / "top.parquet", [[0, 1], [0]], [[0.5, 0.5]] * 2), "as many in a row; row 1"),
        (lambda p: written(p / "top.parquet", [[0, 1], None], [[0.5, 0.5]] * 2), "lacks its list in row 1"),
        (lambda p: written(p / "top.parquet", [[0, 1], []], [[0.5, 0.5], []]), "lacks its list in row 1"),
        (lambda p: written(p / "top.parquet", [[0.0, 1.0]], [[0.5, 0.5]]), "must hold whole numbers"),
        (lambda p: np.savez(p / "top.npz", indices=indices[:0], values=values[:0]), "holds no rows"),
    ):
        for old in tmp_path.iterdir():
            old.unlink()
        made(tmp_path)
        with pytest.raises(RecordError, match=message):
            list(open_soft_labels(next(tmp_path.iterdir()), **SAID).parts())
