"""Tables of annotators from files and frames: the same votes from each, ids kept, empty rows named or left out."""

import numpy as np
import pandas as pd
import pytest

from biasvar.errors import RecordError
from biasvar.records import read_annotations

VOTES = [[1, 1, 0], [0, 0, 1], [0, 2, 1]]
IDS = [12, 7, 30]
NAMES = ["cat", "dog", "emu"]
FRAME = pd.DataFrame({"ann": [0, 2, 1], "bob": [1, None, 1], "eve": [None, None, 2]}, index=pd.Index(IDS, name="image"))


def frames():
    yield FRAME.reset_index(names="sample_id")
    yield FRAME.reset_index(names="image_id").astype("Int64")
    yield FRAME.reset_index(names="sample_id").assign(label=[0, 0, 1])  # the truth is no annotator
    yield FRAME.reset_index(names="sample_id").replace({0: "cat", 1: "dog", 2: "emu"}).astype(object)
    words = FRAME.reset_index(names="sample_id").astype(object)
    yield words.where(words.notna(), "")


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("form", ["frame", "csv", "parquet"])
def test_every_table_gives_the_same_votes(tmp_path, place, form):
    frame = list(frames())[place]
    if form == "parquet" and place == 4:
        frame = frame.astype(dict.fromkeys(("ann", "bob", "eve"), str))
    path = tmp_path / f"said.{form}"
    source = frame if form == "frame" else path
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    found = read_annotations(source, class_names=NAMES)
    assert found.counts.tolist() == VOTES
    assert found.sample_ids.tolist() == IDS
    assert found.annotators == ("ann", "bob", "eve")
    np.testing.assert_allclose(found.soft_labels()[2], [0, 2 / 3, 1 / 3])
    np.testing.assert_allclose(found.soft_labels(concentration=3.0)[1], [0.25, 0.25, 0.5])


def test_arrays_and_an_index(tmp_path):
    table = FRAME.to_numpy()
    np.save(tmp_path / "said.npy", table)
    np.savez(tmp_path / "said.npz", annotators=table, other=np.zeros(2))
    for source in (table, tmp_path / "said.npy", str(tmp_path / "said.npz"), FRAME.reset_index(drop=True)):
        found = read_annotations(source, 3)
        assert found.counts.tolist() == VOTES
        assert found.sample_ids.tolist() == [0, 1, 2]
    assert read_annotations(FRAME, 3).sample_ids.tolist() == IDS
    chosen = read_annotations(FRAME, 3, columns=["ann", "eve"])
    assert chosen.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]


def test_rows_that_nobody_labelled_are_named_by_id_or_left_out(tmp_path):
    frame = FRAME.reset_index(names="sample_id")
    frame.loc[1, "ann"] = None
    frame.to_csv(tmp_path / "said.csv", index=False)
    with pytest.raises(RecordError, match=r'said.csv: nobody labelled sample_id 7; empty="leave_out"'):
        read_annotations(tmp_path / "said.csv", 3)
    found = read_annotations(tmp_path / "said.csv", 3, empty="leave_out")
    assert found.sample_ids.tolist() == [12, 30]
    assert found.left_out.tolist() == [7]
    assert found.counts.tolist() == [VOTES[0], VOTES[2]]


def test_faults_name_the_file_and_the_row(tmp_path):
    path = tmp_path / "said.csv"
    for text, options, message in (
        ("sample_id,ann,bob\n1,0,9\n", {}, "said.csv: annotations: row 0 holds 9"),
        ("sample_id,ann\n1,cat\n", {}, "holds 'cat'; .*class_names="),
        ("sample_id,ann\n1,0\n1,1\n", {}, "sample_id 1 comes more than once"),
        ("sample_id,ann\n1,\n2,\n", {"empty": "leave_out"}, "nobody labelled any sample"),
        ("sample_id,label\n1,0\n", {}, "needs one column for each annotator"),
        ("sample_id,ann\n1,0\n", {"columns": ["eve"]}, "no column named 'eve'"),
        ("sample_id,ann\n1,0\n", {"empty": "zero"}, "empty"),
    ):
        path.write_text(text)
        with pytest.raises(RecordError, match=message):
            read_annotations(path, 3, **options)
    with pytest.raises(FileNotFoundError):
        read_annotations(tmp_path / "none.csv", 3)
    with pytest.raises(RecordError, match="masked array"):
        read_annotations(np.ma.masked_array([[0, 1]], [[True, False]]), 3)
