"""Rows of a teacher's file in any order, and what a manifest keeps when a run is continued."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from biasvar.records import RunWriter, open_run


def test_the_rows_of_a_teacher_may_stand_in_any_order(tmp_path):
    writer = RunWriter(tmp_path / "run", manifest={"kind": "recorder", "num_classes": 3})
    rng = np.random.default_rng(1)
    logits, member = rng.normal(size=(2, 7, 3)).astype("float32"), rng.random((2, 7)) < 0.5
    path = writer.teacher("own", np.arange(7), logits, member)
    table = pq.read_table(path)
    pq.write_table(table.take(rng.permutation(table.num_rows)), path)
    found = open_run(tmp_path / "run").teacher("own")
    assert found.sample_ids.tolist() == list(range(7))
    np.testing.assert_array_equal(found.logits, logits)
    np.testing.assert_array_equal(found.member, member)


def test_a_continued_run_keeps_what_its_manifest_says_and_takes_what_it_lacks(tmp_path):
    first = {"kind": "recorder", "num_classes": 3, "note": "first", "arms": {"kd": {"temperature": 4.0}}}
    RunWriter(tmp_path / "run", manifest=first)
    second = {**first, "note": "second", "more": 1, "arms": {"kd": {"temperature": 2.0}, "ce": {"label": "CE"}}}
    RunWriter(tmp_path / "run", manifest=second, resume=True)
    manifest = open_run(tmp_path / "run").manifest
    assert (manifest["note"], manifest["more"]) == ("first", 1)
    assert manifest["arms"] == {"kd": {"temperature": 4.0}, "ce": {"label": "CE"}}
