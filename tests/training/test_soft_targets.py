"""Students that learn from soft labels alone, teachers that are wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biasvar.analysis import effectiveness, unreliability
from biasvar.analysis.soft_labels.transforms import tempered
from biasvar.study import resolve_study
from biasvar.study.arms import SoftLabelOnly
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.lookups import SoftTargets
from biasvar.training.methods import Batch
from biasvar.training.methods.soft_label import SoftLabelMethod
from biasvar.training.soft_targets import labelled, soft_label_table, soft_targets
from biasvar.training.teacher_training import train_teacher
from tests.training.test_execute import contents


@pytest.fixture
def study(tiny_study):
    """The digits, with a soft label of each kind that needs no other file."""
    tiny_study["teachers"] = {
        "main": {"hidden": [16], "epochs": 6},
        "own": {"hidden": [16], "epochs": 6, "draw": "per_replica", "rows": "own"},
        "bad": {"hidden": [32], "epochs": 6, "follow": True, "bad": {"k": 3, "punishment": 5, "rivals": 2}},
    }
    tiny_study["soft_labels"] = {
        "truth": {"kind": "label"},
        "few": {"kind": "label", "labelled": 60},
        "smooth": {"kind": "smoothing", "smoothing": 0.3},
        "main": {"kind": "teacher", "teacher": "main", "temperature": 2},
        "own": {"kind": "teacher", "teacher": "own", "hard": True},
        "bad": {"kind": "teacher", "teacher": "bad"},
        "revised": {"kind": "revision", "teacher": "bad"},
        "partial": {"kind": "partial", "unreliability": 0.2, "ambiguity": 0.3},
        "noise": {"kind": "noise", "scale": 0.5},
        "redrawn": {"kind": "noise", "scale": 0.5, "redraw": True, "project": True},
        "chance": {"kind": "random", "concentration": 0.5},
        "pseudo": {"kind": "student", "arm": "few", "labelled": 60, "hard": True},
    }
    learned = {name: {"loss": "soft_label", "soft_label": name} for name in tiny_study["soft_labels"]}
    learned["noise"]["measure"] = "squared_error"
    learned["partial"]["measure"] = "candidates"
    learned["sets"] = {"loss": "soft_label", "soft_label": "bad", "measure": "candidates", "k": 3}
    tiny_study["arms"] = {"ce": {"loss": "cross_entropy"}, **learned}
    return tiny_study


@pytest.fixture(scope="module")
def run_of():
    return {}


@pytest.fixture
def run(study, tmp_path_factory, run_of):
    if "run" not in run_of:
        run_of["run"] = run_study(resolve_study(study), tmp_path_factory.mktemp("runs") / "run", device="cpu")
    return run_of["run"]


def test_true_labels_as_soft_labels_are_cross_entropy(run):
    accuracy = run.metrics.query("split == 'test' and epoch == 4").pivot(index="replica", columns="arm", values="nll")
    np.testing.assert_allclose(accuracy["truth"], accuracy["ce"], rtol=1e-4)
    assert not np.allclose(accuracy["smooth"], accuracy["ce"], rtol=1e-2)
    assert run.arm("pseudo")["uses"] == ["few"]


def test_stored_soft_labels_are_what_students_learned_from(run):
    stored = {name: run.soft_labels(name) for name in run.soft_label_names}
    assert set(stored) == set(run.study["soft_labels"])
    truth = stored["truth"]
    one_hot = np.eye(10)[truth.labels]
    np.testing.assert_array_equal(truth.values, one_hot)
    np.testing.assert_allclose(stored["smooth"].values, 0.7 * one_hot + 0.03, rtol=1e-6)
    teacher = run.teacher("main")
    rows = np.searchsorted(teacher.sample_ids, truth.sample_ids)
    np.testing.assert_allclose(stored["main"].values, tempered(teacher.logits[rows], 2.0), atol=1e-6)
    own = stored["own"].values
    assert own.shape == (4, *one_hot.shape)
    np.testing.assert_array_equal(own.argmax(-1), run.teacher("own").logits[:, rows].argmax(-1))
    assert set(np.unique(own)) == {0, 1}
    assert (stored["revised"].values.argmax(1) == truth.labels).all()
    assert (stored["noise"].values < 0).any()
    np.testing.assert_allclose(stored["redrawn"].values.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(stored["chance"].values.sum(-1), 1, rtol=1e-5)
    share = unreliability(stored["partial"].values, truth.labels, threshold=0.0)
    assert float(share) == pytest.approx(0.2, abs=0.06)


def test_pseudo_labels_are_the_students_first_class_where_there_is_no_label(run):
    few, pseudo = run.soft_labels("few"), run.soft_labels("pseudo")
    known = (few.values != 0).any(-1)
    assert known.sum() == 60
    assert pseudo.values.shape[0] == 4
    np.testing.assert_array_equal(pseudo.values[:, known], np.broadcast_to(few.values[known], (4, 60, 10)))
    for r in range(4):
        parts = [run.predictions("few", split="train", membership=m) for m in ("member", "nonmember")]
        said = {}
        for part in parts:
            for i in np.flatnonzero(part.counts[r] > 0):
                said[part.sample_ids[i]] = part.mean_log_probs[r, i].argmax()
        expected = [said[i] for i in pseudo.sample_ids[~known]]
        np.testing.assert_array_equal(pseudo.values[r, ~known].argmax(-1), expected)


def test_a_teacher_is_followed_through_its_training(run):
    frame = run.teacher_epochs("bad")
    assert sorted(frame["epoch"].unique()) == [1, 2, 3, 4, 5, 6]
    assert run.teacher_epochs("main") is None
    last = frame.query("epoch == 6 and split == 'test'").set_index("k")
    teacher, samples = run.teacher("bad"), run.samples.set_index("sample_id")
    test = samples.loc[teacher.sample_ids, "split"].to_numpy() == "test"
    labels = samples.loc[teacher.sample_ids, "label"].to_numpy()[test]
    for k in (1, 3, 9):
        expected = unreliability(tempered(teacher.logits[test], 1.0), labels, k=k)
        assert last.loc[k, "unreliability"] == pytest.approx(float(expected), abs=1e-9)
    assert last["accuracy"].iloc[0] == pytest.approx(run.manifest["teachers"]["bad"]["accuracy_test"])
    given = run.soft_labels("bad")
    for split, soft, truth in (
        ("test", tempered(teacher.logits[test], 1.0), labels),
        ("train", given.values.astype(np.float64), given.labels),
    ):
        end = frame[(frame["epoch"] == 6) & (frame["split"] == split)].set_index("k")
        expected = effectiveness(soft, truth, ks=[3], normalize=True).iloc[0]
        for name, stored in (("delta", "unreliability"), ("gamma", "ambiguity")):
            ends = [expected[f"{name}{tail}"] for tail in ("", "_low", "_high")]
            assert [end.loc[3, f"{stored}{tail}"] for tail in ("", "_low", "_high")] == pytest.approx(ends)
    assert not list((run.directory / "weights").rglob("*.parquet"))


def test_a_teacher_has_a_weight_decay_of_its_own(study, tmp_path):
    plain = {"hidden": [16], "epochs": 3}
    study["teachers"] = {"main": plain, "same": plain | {"weight_decay": 0.0005}, "free": plain | {"weight_decay": 0}}
    study["schedule"]["weight_decay"] = 0.0005
    study["soft_labels"], study["arms"] = {}, {"ce": {"loss": "cross_entropy"}}
    context = open_study(resolve_study(study), tmp_path, torch.device("cpu"))
    norm = {}
    for name in study["teachers"]:
        trained = train_teacher(context, name, [0]).parameters()
        norm[name] = sum(float(value.square().sum()) for value in trained.values())
    assert norm["same"] == norm["main"] < norm["free"]


def test_the_same_run_with_processes_and_after_an_interruption(study, tmp_path, run):
    again = run_study(resolve_study(study), tmp_path / "two", device="cpu", jobs=2)
    assert contents(again.directory) == contents(run.directory)


def test_noise_is_redrawn_for_every_epoch_and_replica(study, run):
    context = open_study(resolve_study(study), run.directory, torch.device("cpu"))
    ids = torch.as_tensor(context.blocks["student"][:20]).expand(2, -1)
    redrawn = soft_targets(context, "redrawn", [0, 1])
    first, second = redrawn.at(ids, 1), redrawn.at(ids, 2)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)
    torch.testing.assert_close(redrawn.at(ids, 1), first, rtol=0, atol=0)
    fixed = soft_targets(context, "noise", [0, 1])
    torch.testing.assert_close(fixed.at(ids, 1), fixed.at(ids, 7), rtol=0, atol=0)


def test_more_labelled_rows_contain_fewer(study, run):
    context = open_study(resolve_study(study), run.directory, torch.device("cpu"))
    few, more = labelled(context, 20), labelled(context, 50)
    assert (few.sum(), more.sum()) == (20, 50)
    assert not (few & ~more).any()
    with pytest.raises(ValueError, match="labelled: 5000 rows asked for"):
        labelled(context, 5000)
    assert soft_label_table(context, "few").shape == (len(context.blocks["student"]), 10)


def test_the_mean_over_a_batch_is_over_rows_with_a_target():
    targets = torch.zeros(1, 4, 3)
    targets[0, 1] = torch.tensor([0.0, 1.0, 0.0])
    logits, ids = torch.randn(1, 4, 3), torch.arange(4)[None]
    labels = torch.zeros(1, 4, dtype=torch.int64)
    batch = Batch(ids=ids, inputs=torch.empty(0), logits=logits, labels=labels, epoch=1, rate=0.1)
    for measure in ("cross_entropy", "candidates"):
        method = SoftLabelMethod(SoftLabelOnly(loss="soft_label", soft_label="s", measure=measure))
        values, weights = method.loss(SoftTargets(targets[0]), batch)
        assert weights is None
        torch.testing.assert_close(values.mean(), -logits[0, 1].log_softmax(-1)[1])
        assert values[0, [0, 2, 3]].tolist() == [0, 0, 0]
        assert method.loss(SoftTargets(torch.zeros(4, 3)), batch)[0].sum() == 0
