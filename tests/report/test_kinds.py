"""Bias, variance, flags and weights by the kinds that users give their samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import biasvar
from biasvar.errors import RecordError
from biasvar.records.sample_kinds import write_kinds
from biasvar.report import style
from biasvar.report.figures.kinds import FIGURE
from tests.report.made import corrected_terms, log_softmax

R, N, C = 4, 60, 5


@pytest.fixture
def recorded(tmp_path):
    """Two arms of four replicas that were recorded together, with a teacher, on test rows."""
    generator = torch.Generator().manual_seed(0)
    labels, ids = torch.randint(0, C, (N,), generator=generator), torch.arange(N) + 7
    logits = {arm: 2 * torch.randn(R, N, C, generator=generator).double() for arm in ("ce", "kd")}
    teacher = torch.randn(N, C, generator=generator)
    for arm, values in logits.items():
        with biasvar.Recorder(
            tmp_path / "run", num_samples=100, num_classes=C, temperature=1.0, arm=arm, replica=range(R), split="test",
            view="clean", keep_predictions="last",
        ) as recorder:  # fmt: skip
            recorder.update(ids.expand(R, -1), values, labels.expand(R, -1), teacher.expand(R, -1, -1))
    return biasvar.open_run(tmp_path / "run"), logits, labels.numpy(), ids.numpy()


def test_kinds_of_one_split_leave_those_of_others(recorded):
    run, logits, labels, ids = recorded
    with biasvar.Recorder(run.directory, num_samples=100, num_classes=C, temperature=1.0, arm="ce") as recorder:
        recorder.update(ids[:9], logits["ce"][0, :9], labels[:9])
    run = biasvar.open_run(run.directory)
    run.save_kinds(["a"] * N, ids, split="test")
    run.save_kinds(["b"] * 9, ids[:9], split="train")
    assert run.kinds.groupby(["split", "kind"]).size().to_dict() == {("test", "a"): N, ("train", "b"): 9}
    run.save_kinds(["c"] * 3, ids[:3], split="test")
    assert run.kinds.groupby(["split", "kind"]).size().to_dict() == {("test", "c"): 3, ("train", "b"): 9}


def test_every_kind_has_the_numbers_of_its_rows(recorded):
    run, logits, labels, ids = recorded
    assert FIGURE.collect([run]).empty
    kinds = np.array(["odd" if i % 3 else "even" for i in range(N)])
    run.save_kinds(kinds[10:], ids[10:])  # the others have none
    assert run.kinds["sample_id"].tolist() == ids[10:].tolist()
    frame = FIGURE.collect([run])
    assert len(frame) == 2 * 2 * 4
    record = run.records(columns=["replica", "sample_id", "opposing", "wsl_weight"])
    for arm in ("ce", "kd"):
        log_probs = log_softmax(logits[arm].numpy())
        for kind in ("odd", "even"):
            rows = [i for i in range(10, N) if kinds[i] == kind]
            found = frame[(frame["arm"] == arm) & (frame["kind"] == kind)].set_index("quantity")
            terms = np.mean([corrected_terms(log_probs[:, i], labels[i]) for i in rows], axis=0)
            np.testing.assert_allclose(found.loc[["bias", "variance"], "estimate"], terms)
            there = record[(record["arm"] == arm) & record["sample_id"].isin(ids[rows])]
            for column, quantity in (("opposing", "share_opposing"), ("wsl_weight", "wsl_weight")):
                means = there.groupby("replica")[column].apply(lambda x: x.astype(float).mean())
                assert found.loc[quantity, "estimate"] == pytest.approx(means.mean(), rel=1e-6)
                assert found.loc[quantity, "stderr_replicas"] == pytest.approx(means.std() / 2, rel=1e-5)
            assert set(found["n_samples"]) == {len(rows)}
    with style.context():
        drawing = FIGURE.draw(frame)
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()] == ["odd", "even"]
    assert "n = 16 to 34 a kind" in FIGURE.caption(frame, [run])


@pytest.mark.parametrize(
    ("kinds", "ids", "said"),
    [
        (["a", "b"], [7], r"shapes are \(2,\) and \(1,\)"),
        (["a", "b"], [7, 7], "sample_ids 7 come more than once"),
        (["a", "b"], [7, 3], "sample_ids 3 are no samples of .*; those are run.samples"),
        (np.array(["a", None], dtype=object), [7, 8], "sample_ids 8 have no name"),
        (["a"], None, r"shapes are \(1,\) and \(60,\)"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(recorded, kinds, ids, said):
    run = recorded[0]
    with pytest.raises(RecordError, match=said):
        run.save_kinds(kinds, ids)
    assert run.kinds is None


def test_too_many_kinds_are_no_groups(recorded):
    run = recorded[0]
    run.save_kinds(np.arange(N))
    assert run.kinds["kind"].nunique() == N
    with pytest.raises(RecordError, match="201 different names"):
        write_kinds(run.directory, np.arange(201), None, pd.DataFrame({"sample_id": range(201), "split": "test"}))


def test_ids_of_two_splits_need_their_split(recorded):
    run, logits, labels, ids = recorded
    with biasvar.Recorder(run.directory, num_samples=100, num_classes=C, temperature=1.0, arm="ce") as recorder:
        recorder.update(ids, logits["ce"][0], labels, logits["kd"][0])
    run = biasvar.open_run(run.directory)
    kinds = ["odd" if i % 3 else "even" for i in range(N)]
    with pytest.raises(
        RecordError, match=r"sample_ids 7, .* are of the splits test and train; say of which with split="
    ):
        run.save_kinds(kinds, ids)
    with pytest.raises(RecordError, match="unknown split 'validation'"):
        run.save_kinds(kinds, ids, split="validation")
    run.save_kinds(kinds, split="train")
    frame = FIGURE.collect([run])
    assert set(zip(frame["arm"], frame["quantity"], frame["split"], strict=True)) == {
        ("ce", "share_opposing", "train"), ("ce", "wsl_weight", "train"),
    }  # fmt: skip
    run.save_kinds(kinds, split="test")
    assert set(FIGURE.collect([run])["split"]) == {"test"}
