"""Clean passes by parts of rows give what one pass over all rows gives, also of replicas that diverged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from biasvar.errors import RecordError
from biasvar.records import RunWriter
from biasvar.study import resolve_study
from biasvar.training import student_evaluation
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.student_evaluation import Evaluation


def run(study, folder, monkeypatch, step: int | None):
    if step is not None:
        monkeypatch.setattr(Evaluation, "_step", lambda self: step)
    return run_study(resolve_study(study), folder, device="cpu")


def tables(folder):
    """All records and predictions by their path, sorted by their keys, numbers as arrays."""
    found = {}
    for part in ("records", "predictions"):
        for path in sorted((folder / part).rglob("*.parquet")):
            frame = pq.read_table(path).to_pandas()
            keys = [key for key in ("group", "replica", "sample_id") if key in frame]
            found[str(path.relative_to(folder))] = frame.sort_values(keys).reset_index(drop=True)
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for path, frame in found.items():
        other = expected[path]
        assert list(frame) == list(other)
        for column in frame:
            mine, theirs = frame[column], other[column]
            if mine.dtype == object and len(mine) and isinstance(mine.iloc[0], np.ndarray):
                mine, theirs = (pd.Series(np.concatenate(list(values))) for values in (mine, theirs))
            if pd.api.types.is_float_dtype(mine):
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5, err_msg=f"{path} {column}")
            else:
                assert mine.tolist() == theirs.tolist(), (path, column)


def test_parts_of_rows_give_what_all_rows_give(tiny_study, tmp_path, monkeypatch):
    whole = run(tiny_study, tmp_path / "whole", monkeypatch, None)
    parts = run(tiny_study, tmp_path / "parts", monkeypatch, 70)
    assert_same(tables(tmp_path / "parts"), tables(tmp_path / "whole"))
    numbers = parts.metrics.select_dtypes("number")
    np.testing.assert_allclose(numbers, whole.metrics[numbers.columns], rtol=0, atol=1e-5)
    groups = [pq.ParquetFile(path).num_row_groups for path in (tmp_path / "parts" / "predictions").rglob("*.parquet")]
    assert max(groups) > 1
    arm = parts.arms[-1]
    mine, theirs = parts.decomposition(arm), whole.decomposition(arm)
    assert mine.sample_ids.tolist() == theirs.sample_ids.tolist()
    np.testing.assert_allclose(mine.bias, theirs.bias, rtol=0, atol=1e-5)


def test_a_replica_that_diverges_in_a_later_part_counts_in_none(tiny_study, tmp_path, monkeypatch):
    """Its last row of each split alone gives NaN: what was written of the parts before is written anew without it."""
    study = {**tiny_study, "arms": {"ce": tiny_study["arms"]["ce"]}, "teachers": {}, "defaults": {}}
    context = open_study(resolve_study(study), tmp_path, torch.device("cpu"))
    sick = torch.as_tensor([int(ids.max()) for ids in (*context.blocks.values(), context.train_ids) if len(ids)])
    honest, sizes = student_evaluation.predict, []

    def predict(net, inputs, ids, **options):
        sizes.append(len(ids))
        logits = honest(net, inputs, ids, **options)
        logits[1, torch.isin(ids, sick)] = float("nan")
        return logits

    monkeypatch.setattr(student_evaluation, "predict", predict)
    whole = run(study, tmp_path / "whole", monkeypatch, None)
    assert 70 not in sizes
    parts = run(study, tmp_path / "parts", monkeypatch, 70)
    assert 70 in sizes
    assert_same(tables(tmp_path / "parts"), tables(tmp_path / "whole"))
    for one in (whole, parts):
        assert {"replica": 1, "reason": "not finite"} in one.arm("ce")["failed_replicas"]
        assert one.decomposition("ce").counts.max() == 3


def test_parts_hold_whole_chunks_of_the_network(monkeypatch):
    class Context:
        class inputs:
            chunk = 256

        class dataset:
            num_classes = 1000

    monkeypatch.setattr(student_evaluation, "rows_of_a_part", lambda groups, classes: 1000)
    assert Evaluation(None, Context, "ce", 0, [0], None, None)._step() == 768
    monkeypatch.setattr(student_evaluation, "rows_of_a_part", lambda groups, classes: 100)
    assert Evaluation(None, Context, "ce", 0, [0], None, None)._step() == 256


@pytest.mark.parametrize("ids", [[3, 4], [0, 1]])
def test_parts_of_predictions_come_in_the_order_of_their_ids(tmp_path, ids):
    writer = RunWriter(tmp_path / "run", manifest={"kind": "recorder", "num_classes": 2})
    means = np.log(np.full((1, 2, 2), 0.5))

    def write():
        with writer.open_predictions("ce", "test", "all", 1, 0) as add:
            add([3, 4], [[1, 1]], means)
            add(ids, [[1, 1]], means)

    with pytest.raises(RecordError, match="is not above 4"):
        write()
    assert not list((tmp_path / "run").rglob("*.parquet"))
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_logits_beyond_float32_in_a_later_part_are_kept_as_log_probabilities(tiny_study, tmp_path, monkeypatch):
    study = {**tiny_study, "arms": {"ce": tiny_study["arms"]["ce"]}, "teachers": {}, "defaults": {}}
    honest = student_evaluation.predict

    def predict(net, inputs, ids, **options):
        logits = honest(net, inputs, ids, **options)
        logits[:, ids == ids.max()] += 1e-12
        return logits

    plain = run(study, tmp_path / "plain", monkeypatch, 70)
    monkeypatch.setattr(student_evaluation, "predict", predict)
    wide = run(study, tmp_path / "wide", monkeypatch, 70)
    for folder, column in (("plain", "logits"), ("wide", "mean_log_prob")):
        paths = list((tmp_path / folder / "predictions").rglob("*.parquet"))
        assert paths
        assert all(column in pq.read_schema(path).names for path in paths)
    np.testing.assert_allclose(
        wide.predictions("ce").mean_log_probs, plain.predictions("ce").mean_log_probs, rtol=0, atol=1e-10
    )


def test_a_study_keeps_what_it_says(tiny_study, tmp_path, monkeypatch):
    whole = run(tiny_study, tmp_path / "whole", monkeypatch, None)
    less = {**tiny_study, "record": {"rows": "last", "clean_train": False}, "predictions": {"beside": ["train"]}}
    assert resolve_study(less).hashes == resolve_study(tiny_study).hashes
    kept = run(less, tmp_path / "kept", monkeypatch, None)
    pd.testing.assert_frame_equal(kept.metrics, whole.metrics)
    epochs = kept.record_epochs("ce", "train", "augmented")
    assert epochs == whole.record_epochs("ce", "train", "augmented")[-1:]
    assert set(kept.recorded()) == {place for place in whole.recorded() if place[1:] != ("train", "clean")}
    pd.testing.assert_frame_equal(
        kept.records(arm="ce", split="train", view="augmented"),
        whole.records(arm="ce", split="train", view="augmented", epochs=epochs),
    )
    for place in ({"split": "test"}, {"split": "train", "membership": "member"}):
        np.testing.assert_array_equal(
            kept.predictions("ce", **place).mean_log_probs, whole.predictions("ce", **place).mean_log_probs
        )
    with pytest.raises(RecordError, match="unknown split in the predictions of arm ce, 'validation'"):
        kept.predictions("ce", split="validation")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*.parquet")}
    run(less, tmp_path / "kept", monkeypatch, None)  # finds it whole
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*.parquet")}


@pytest.mark.parametrize(
    ("narrow", "key", "lacks"),
    [
        ({"record": {"rows": "none"}}, "record.rows was 'none' and is 'all'", "split=train/view=augmented"),
        ({"record": {"clean_train": False}}, "record.clean_train was false and is true", "split=train/view=clean"),
        ({"predictions": {"beside": []}}, "predictions.beside was [] and is ['validation', 'train']", "split=train"),
        ({"predictions": {"beside": ["train"]}}, "predictions.beside was ['train'] and is", "split=validation"),
    ],
)
def test_a_finished_run_whose_study_keeps_more_is_trained_again_and_says_why(
    tiny_study, tmp_path, monkeypatch, capsys, narrow, key, lacks
):
    study = {**tiny_study, "arms": {"ce": tiny_study["arms"]["ce"]}, "teachers": {}, "defaults": {}}
    whole = run(study, tmp_path / "whole", monkeypatch, None)
    run({**study, **narrow}, tmp_path / "kept", monkeypatch, None)
    run({**study, **narrow}, tmp_path / "kept", monkeypatch, None)
    capsys.readouterr()
    wide = run(study, tmp_path / "kept", monkeypatch, None)
    said = capsys.readouterr().err
    assert "arm ce is trained again: " in said
    assert lacks in said
    assert f", which the study asks for since {key}" in said
    files = [
        {path.relative_to(folder) for path in folder.rglob("*.parquet")} for folder in (whole.directory, wide.directory)
    ]
    assert files[0] == files[1]
    assert wide.study == whole.study
    run(study, tmp_path / "kept", monkeypatch, None)
    assert "trained again" not in capsys.readouterr().err


def test_an_arm_that_others_go_by_keeps_all_rows(tiny_study):
    arms = {**tiny_study["arms"], "again": {"loss": "distillation", "weights_from": "kd"}}
    study = resolve_study({**tiny_study, "arms": arms, "record": {"rows": "none"}})
    assert (study.arms["kd"].record.rows, study.arms["ce"].record.rows) == ("all", "none")
    assert study.arms["ce"].record.kept(5) == set()
