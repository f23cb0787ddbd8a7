"""Predictions and teachers come back as they were given, and decompose."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import log_softmax

from biasvar.analysis import paired_change
from biasvar.errors import RecordError
from biasvar.records import open_run, schema, write_table

from .conftest import log_probs


def test_teachers(writer):
    fixed, own = log_probs(1, 5, 4), log_probs(2, 3, 5, 4)
    ids = np.array([9, 1, 5, 3, 7])
    member = np.array([[True, False, True, False, False]] * 3)
    writer.teacher("wide", ids, fixed, member[0])
    writer.teacher("own", ids, own, member, replicas=[4, 0, 2])
    run = open_run(writer.directory)
    order = np.argsort(ids)
    wide, per_replica = run.teacher("wide"), run.teacher("own")
    np.testing.assert_array_equal(wide.logits, fixed[order].astype(np.float32))
    np.testing.assert_array_equal(wide.member, member[0][order])
    np.testing.assert_array_equal(per_replica.logits, own[[1, 2, 0]][:, order].astype(np.float32))
    assert (wide.replicas.tolist(), per_replica.replicas.tolist()) == ([-1], [0, 2, 4])
    assert per_replica.sample_ids.tolist() == [1, 3, 5, 7, 9]
    assert per_replica.member.shape == (3, 5)
    with pytest.raises(RecordError, match=r"unknown teacher of .*'wid'; did you mean 'wide'. Allowed: 'own', 'wide'"):
        run.teacher("wid")
    path = schema.teacher_path(writer.directory, "own")
    write_table(path, pq.ParquetFile(path).read().slice(1))
    with pytest.raises(RecordError, match="every sample once for every replica; it has 14 rows"):
        run.teacher("own")


@pytest.fixture
def predicted(writer):
    writer.samples([1, 2, 3, 4], [0, 1, 2, 3], "test")
    return writer


def test_predictions_come_back_in_order_and_the_last_epoch_is_the_default(predicted):
    means = log_probs(3, 2, 4, 4)
    predicted.predictions("kd", "test", "all", 5, 0, [4, 2, 3, 1], np.ones((2, 4), int), means[:, [3, 1, 2, 0]], [1, 0])
    predicted.predictions("kd", "test", "all", 2, 0, [1, 2, 3, 4], np.full((1, 4), 3), means[:1])
    run = open_run(predicted.directory)
    last = run.predictions("kd")
    assert last.epoch == 5
    assert last.sample_ids.tolist() == [1, 2, 3, 4]
    assert last.labels.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(last.mean_log_probs, means[::-1])
    assert run.predictions("kd", epoch=2).counts.tolist() == [[3, 3, 3, 3]]
    schema.prediction_path(predicted.directory, "kd", "train", "all", 1).parent.mkdir(parents=True)  # a writer killed
    with pytest.raises(RecordError, match="has no predictions of arm 'kd', split 'train'"):
        run.predictions("kd", split="train")
    for question, message in (
        ({"epoch": 3}, "unknown epoch in the predictions of arm kd, 3; Allowed: 2, 5"),
        ({"split": "trian"}, "unknown split .*'trian'; did you mean 'train'"),
        ({"membership": "member"}, "unknown membership in the predictions of arm kd, 'member'"),
        ({"membership": "members"}, "unknown membership 'members'; did you mean 'member'"),
    ):
        with pytest.raises(RecordError, match=message):
            run.predictions("kd", **question)


def test_several_files_of_one_group_merge_by_count(predicted):
    parts = log_probs(4, 3, 4, 4)
    counts = np.array([[1, 2, 0, 0], [3, 2, 1, 0], [2, 0, 0, 0]])
    for number, group in enumerate([0, 0, 1]):
        predicted.predictions("kd", "test", "all", 1, number, range(1, 5), counts[[number]], parts[[number]], [group])
    found = open_run(predicted.directory).predictions("kd")
    assert found.counts.tolist() == [[4, 4, 1, 0], [2, 0, 0, 0]]
    expected = (counts[0, :, None] * parts[0] + counts[1, :, None] * parts[1]) / np.maximum(found.counts[0], 1)[:, None]
    np.testing.assert_allclose(found.mean_log_probs[0], expected, atol=1e-12)
    np.testing.assert_array_equal(found.mean_log_probs[1, 1:], 0)


def test_rows_without_replicas_are_stored_as_zeros(predicted):
    means = log_probs(5, 2, 4, 4)
    means[0, 1] = np.nan
    counts = np.array([[1, 0, 2, 1], [1, 1, 0, 1]])
    path = predicted.predictions("kd", "train", "member", 1, 0, [1, 2, 3, 4], counts, means)
    assert np.isfinite(np.stack(pd.read_parquet(path)["mean_log_prob"])).all()
    found = open_run(predicted.directory).predictions("kd", split="train", membership="member")
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_array_equal(found.mean_log_probs, np.where(counts[..., None] > 0, means, 0))


def test_predictions_without_files_or_with_the_wrong_width(predicted):
    run = open_run(predicted.directory)
    predicted.update_arm("kd", label="KD")
    run = open_run(predicted.directory)
    with pytest.raises(RecordError, match="no predictions of arm 'kd': record an evaluation pass"):
        run.predictions("kd")
    path = predicted.predictions("kd", "test", "all", 1, 0, [1, 9], np.ones((1, 2), int), log_probs(0, 1, 2, 4))
    with pytest.raises(RecordError, match="lacks the predicted sample_id 9"):
        run.predictions("kd")
    table = pq.ParquetFile(path).read()
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(10)), 5)
    write_table(path, table.set_column(3, "mean_log_prob", wide))
    with pytest.raises(RecordError, match=r"must hold 4 values a row .*it has 10 in all"):
        run.predictions("kd")


def test_decomposition_adds_up_and_follows_the_target(predicted):
    replicas = log_probs(6, 6, 4, 4)
    predicted.predictions("kd", "test", "all", 1, 0, [1, 2, 3, 4], np.ones((6, 4), int), replicas)
    run = open_run(predicted.directory)
    terms = run.decomposition("kd")
    loss = -replicas[:, np.arange(4), np.arange(4)].mean(axis=0)
    np.testing.assert_allclose(terms.noise + terms.bias + terms.variance, loss, atol=1e-12)
    soft = np.full((4, 4), 0.25)
    terms = run.decomposition("kd", target=soft)
    np.testing.assert_allclose(terms.noise + terms.bias + terms.variance, -replicas.mean(axis=(0, 2)), atol=1e-12)
    squared = run.decomposition("kd", loss="squared_error")
    error = ((np.exp(replicas) - np.eye(4)) ** 2).sum(axis=-1).mean(axis=0)
    np.testing.assert_allclose(squared.noise + squared.bias + squared.variance, error, atol=1e-12)
    answers = run.decomposition("kd", loss="zero_one")
    wrong = (replicas.argmax(axis=-1) != np.arange(4)).mean(axis=0)
    np.testing.assert_allclose(answers.bias + answers.net_variance, wrong, atol=1e-12)
    with pytest.raises(RecordError, match="target has 3 rows; it needs one for each of 4 samples"):
        run.decomposition("kd", target=[0, 1, 2])
    with pytest.raises(RecordError, match="unknown loss 'squared'; did you mean 'squared_error'"):
        run.decomposition("kd", loss="squared")


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "zero_one"])
def test_terms_join_the_samples_by_id(writer, loss):
    """Every frame of terms names the samples as samples.parquet does, also of some rows, in any order."""
    labels = {70: 3, 12: 1, 905: 0, 33: 2, 8: 1}
    writer.samples(list(labels), list(labels.values()), "test")
    replicas = dict(zip(labels, np.moveaxis(log_probs(6, 6, 5, 4), 1, 0), strict=True))  # of each id, (6, 4)
    given = [33, 905, 8, 70, 12]
    stored = np.stack([replicas[i] for i in given], axis=1)
    writer.predictions("kd", "test", "all", 1, 0, given, np.ones((6, 5), int), stored)
    terms = open_run(writer.directory).decomposition("kd", loss=loss)
    samples = pd.read_parquet(writer.directory / "samples.parquet")
    for frame, ids in (
        (terms.to_frame(), {8, 12, 33, 70, 905}),
        (terms.take([3, 0, 4]).to_frame(), {70, 8, 905}),
        (terms.to_frame(["a", "b", "c", "d", "e"]).assign(sample_id=terms.sample_ids), set(labels)),
    ):
        joined = frame.merge(samples, on="sample_id", validate="one_to_one")
        assert set(joined["sample_id"]) == ids
        for row in joined.itertuples():
            q, p = np.eye(4)[labels[row.sample_id]], np.exp(replicas[row.sample_id])
            assert row.label == labels[row.sample_id]
            mean_loss = {
                "cross_entropy": -np.log(p @ q).mean(),
                "squared_error": ((p - q) ** 2).sum(axis=1).mean(),
                "zero_one": (p.argmax(axis=1) != q.argmax()).mean(),
            }[loss]
            net = row.net_variance if loss == "zero_one" else row.variance
            assert row.noise + row.bias + net == pytest.approx(mean_loss, abs=1e-12)


def test_changes_of_different_samples_are_refused(writer):
    for number, (arm, ids) in enumerate((("kd", [3, 5]), ("ce", [3, 7]))):
        writer.samples([3, 5, 7], [0, 0, 0], "test")
        writer.predictions(arm, "test", "all", 1, 0, ids, np.ones((4, 2), int), log_probs(number, 4, 2, 4))
    run = open_run(writer.directory)
    with pytest.raises(ValueError, match="differ in sample_ids"):
        paired_change(run.decomposition("kd"), run.decomposition("ce"))
    first = (run.decomposition(arm).take([0]) for arm in ("kd", "ce"))
    assert paired_change(*first).bias.shape == (1,)


@pytest.mark.parametrize("loss", ["squared_error", "zero_one"])
def test_other_losses_need_single_replicas(predicted, loss):
    predicted.predictions("kd", "test", "all", 1, 0, [1, 2, 3, 4], np.full((2, 4), 2), log_probs(6, 2, 4, 4))
    with pytest.raises(RecordError, match=f"{loss} needs the distribution of every replica; .* up to 2"):
        open_run(predicted.directory).decomposition("kd", loss=loss)


@pytest.mark.parametrize("parts", [1, 2])
def test_logits_of_single_replicas_read_as_their_log_probabilities(predicted, parts):
    logits = np.random.default_rng(0).normal(scale=20, size=(2, 4, 4)).astype(np.float32)
    counts = np.array([[1, 0, 1, 1], [1, 1, 1, 1]])
    ids = np.array([1, 2, 3, 4])
    with predicted.open_predictions("kd", "test", "all", 5, 0, [3, 1], logits=True) as add:
        for rows in np.split(np.arange(4), parts):
            add(ids[rows], counts[:, rows], logits[:, rows])
    predicted.predictions("ce", "test", "all", 5, 0, ids, counts, log_softmax(logits.astype(np.float64), -1), [3, 1])
    run = open_run(predicted.directory)
    mine, theirs = run.predictions("kd"), run.predictions("ce")
    np.testing.assert_array_equal(mine.mean_log_probs, theirs.mean_log_probs)
    np.testing.assert_array_equal(mine.counts, theirs.counts)
    path = schema.prediction_path(predicted.directory, "kd", "test", "all", 5)
    assert pq.read_schema(path).field("logits").type.value_type == pa.float32()
    assert json.loads(pq.read_metadata(path).metadata[b"biasvar"])["schema_version"] == schema.LOGITS_VERSION


def test_logits_are_of_one_replica_a_group(predicted):
    message = r"epoch 5: logits are of one replica a group, not of 2"
    with (
        pytest.raises(RecordError, match=message),
        predicted.open_predictions("kd", "test", "all", 5, 0, logits=True) as add,
    ):
        add([1, 2], [[1, 2]], np.zeros((1, 2, 4)))
    assert not list(predicted.directory.rglob("predictions/**/*.parquet"))
