"""Predictions larger than memory, tried small: by parts of rows everything is what it is in one piece."""

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from biasvar.analysis.decomposition.groups import decompose_groups
from biasvar.analysis.decomposition.whole_array import decompose
from biasvar.records import RunWriter, import_predictions, open_run, prediction_parts
from biasvar.records.soft_labels import open_soft_labels

pytestmark = pytest.mark.filterwarnings("ignore:there is one replica")  # of small cases, on purpose

N, C = 53, 4
FIELDS = ("noise", "bias", "variance", "counts", "group_counts", "deleted_bias", "deleted_variance")


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of a few rows, and row groups of their own."""
    monkeypatch.setattr(prediction_parts, "_PART", 3 * 16 * C)
    monkeypatch.setattr(prediction_parts, "WHOLE", 0)
    monkeypatch.setattr("biasvar.records.imported_rows._ENTRIES", 5 * C)
    monkeypatch.setattr("biasvar.records.stored_means._ENTRIES", 2 * C)


@pytest.mark.parametrize("replicas", [1, 3, 35])
@pytest.mark.parametrize("kind", ["arrays", "npy", "npz"])
def test_an_import_by_parts_of_rows_is_the_import_in_one_piece(tmp_path, request, replicas, kind):
    rng = np.random.default_rng(replicas)
    logits = rng.normal(scale=3, size=(replicas, N, C)).astype(np.float32)
    labels, ids = rng.integers(0, C, N), rng.permutation(500)[:N]
    files = list(logits)
    if kind != "arrays":
        files = [tmp_path / f"{replica}.{kind}" for replica in range(replicas)]
        for file, values in zip(files, logits, strict=True):
            np.save(file, values) if kind == "npy" else np.savez_compressed(file, values)
    whole = import_predictions(files, labels, directory=tmp_path / "whole", sample_ids=ids)
    expected = whole.predictions("predictions"), whole.decomposition("predictions"), whole.records(), whole.metrics
    request.getfixturevalue("small_parts")
    run = import_predictions(files, labels, directory=tmp_path / "run", sample_ids=ids)
    path = run.directory / "predictions/arm=predictions/split=test/membership=all/epoch=0000/group=000.parquet"
    assert pq.read_metadata(path).num_row_groups > 1
    found = run.predictions("predictions")
    for name in ("sample_ids", "labels", "counts", "mean_log_probs"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected[0], name))
        parts = [getattr(part, name) for part in run.iter_predictions("predictions")]
        assert len(parts) > 1
        axis = 1 if name in ("counts", "mean_log_probs") else 0
        np.testing.assert_array_equal(np.concatenate(parts, axis=axis), getattr(expected[0], name))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(run.decomposition("predictions"), name), getattr(expected[1], name))
    assert run.records().equals(expected[2])
    assert run.metrics.equals(expected[3])
    values = [part[0] for part in open_soft_labels(run, arm="predictions").parts()]
    right = np.exp((found.counts[:, :, None] * found.mean_log_probs).sum(0) / replicas)
    np.testing.assert_allclose(np.concatenate(values), right / right.sum(axis=1, keepdims=True))


def test_a_fault_is_named_by_its_rows_in_the_file_over_all_parts(tmp_path, small_parts):
    logits = np.random.default_rng(0).normal(size=(N, C))
    logits[[2, 20, 21, 40, 50, 52], 1] = np.nan
    with pytest.raises(ValueError, match=r"files\[1\]: rows 2, 20, 21, 40, 50 and 1 more hold values that are not fin"):
        import_predictions([np.zeros((N, C)), logits], np.zeros(N, int), directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_groups_that_are_empty_in_some_parts_or_in_all(tmp_path, small_parts, loss):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5, N, C))
    means = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    counts = np.ones((5, N), dtype=int)
    counts[1, :20] = 0
    counts[2, 9:] = 0
    counts[4] = 0
    counts[:, 30] = 0
    labels = rng.integers(0, C, N)
    writer = RunWriter(tmp_path / "run", manifest={"kind": "recorder", "num_classes": C})
    writer.update_arm("kd", temperature=1.0)
    writer.samples(np.arange(N), labels, "train")
    for group, rows in enumerate((slice(0, 3), slice(3, 5))):  # two training groups
        writer.predictions(
            "kd", "train", "member", 1, group, np.arange(N), counts[rows], means[rows], groups=range(5)[rows]
        )
    run = open_run(tmp_path / "run")
    found = run.decomposition("kd", split="train", membership="member", loss=loss)
    kept = run.predictions("kd", split="train", membership="member")
    np.testing.assert_array_equal(kept.counts, counts)
    np.testing.assert_array_equal(kept.mean_log_probs, np.where(counts[..., None] > 0, means, 0))
    if loss == "cross_entropy":
        right = decompose_groups(counts, means, labels)
        assert right.group_counts.shape == (4, N)
    else:
        right = decompose(means, labels, loss=loss, where=counts > 0, values="logits")
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(right, name), rtol=1e-12, atol=1e-15)
    assert found.sample_ids.tolist() == list(range(N))
    soft = rng.dirichlet(np.ones(C), N)
    if loss == "cross_entropy":
        found = run.decomposition("kd", split="train", membership="member", target=soft)
        np.testing.assert_allclose(found.bias, decompose_groups(counts, means, soft).bias, rtol=1e-12)


def test_groups_can_be_the_teachers_that_replicas_share(tmp_path, small_parts):
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(6, N, C)), rng.integers(0, C, N)
    run = import_predictions(list(logits), labels, directory=tmp_path / "run")
    means, by_id, _ = run.stored_means("predictions", "test", "all", None)
    found = means.decomposition(by_id, "cross_entropy", teachers=3)
    right = decompose(logits, labels, groups=3)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(right, name), rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="for the loss cross_entropy only"):
        means.decomposition(by_id, "squared_error", teachers=3)
    many = import_predictions(list(rng.normal(size=(20, N, C))), labels, directory=tmp_path / "many")
    means, by_id, _ = many.stored_means("predictions", "test", "all", None)
    assert means.decomposition(by_id, "cross_entropy", teachers=4).group_counts.shape == (4, N)
    with pytest.raises(ValueError, match="16 groups of several replicas each cannot be joined by 3 teachers"):
        means.decomposition(by_id, "cross_entropy", teachers=3)


SCRIPT = """
import resource, sys
import numpy as np
from biasvar.records import import_predictions, prediction_parts
prediction_parts._PART, prediction_parts.WHOLE = 2**22, 2**20
run = import_predictions([f"{sys.argv[1]}/0.npy"] * 16, np.arange(2000) % 1000, directory=f"{sys.argv[1]}/run")
run.decomposition("predictions")
try:  # of this program alone: ru_maxrss begins with what the process that started it held
    lines = open("/proc/self/status").read().splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024)
except FileNotFoundError:  # no Linux
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20)
"""


def test_memory_does_not_grow_with_the_predictions(tmp_path):
    """16 times 2,000 rows of 1,000 classes are 256 MB in float64, of which a part is in memory: once it was 1 GB."""
    np.save(tmp_path / "0.npy", np.random.default_rng(0).normal(size=(2000, 1000)).astype(np.float32))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    assert int(subprocess.run(command, check=True, capture_output=True).stdout) < 450
