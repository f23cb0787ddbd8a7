"""Bias and variance from a loop of one's own: R recorded trainings give what `decompose` gives of their logits."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import biasvar
from biasvar.errors import RecordError
from biasvar.report.arms.contrasts import contrasts
from biasvar.report.arms.roles import baseline_of, core_arms, reference_arm
from biasvar.report.statistics.estimates import final_accuracy
from biasvar.report.text.recorded import recorder_warnings

N, C = 24, 4


@pytest.fixture
def made():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, C, (N,), generator=generator)
    logits = torch.randn(20, N, C, generator=generator) + 2 * torch.nn.functional.one_hot(labels, C)
    return logits, labels


def recorder(directory, **changes):
    settings = {"num_samples": N, "num_classes": C, "temperature": 2.0, "split": "test", "view": "clean"}
    return biasvar.Recorder(directory, **{**settings, "keep_predictions": "last", **changes})


def record(directory, logits, labels, *, epochs=1, **changes):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(len(str(changes))))
    with recorder(directory, **changes) as opened:
        for epoch in range(epochs):
            for rows in order.split(7):
                z = logits[..., rows, :] * (epochs - epoch)  # earlier epochs are surer
                together = z.ndim == 3
                spread = lambda v: v.expand(z.shape[0], -1) if together else v  # noqa: B023, E731
                opened.update(spread(rows), z, spread(labels[rows]))
            opened.end_epoch()


def same(run, arm, logits, labels, **changes):
    found = run.decomposition(arm, **changes)
    wanted = biasvar.decompose(logits.double().numpy(), labels.numpy())
    np.testing.assert_allclose(found.bias, wanted.bias, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.variance, wanted.variance, rtol=0, atol=1e-12)
    return found


def test_replicas_recorded_one_by_one_give_their_decomposition(tmp_path, made):
    logits, labels = made
    numbers = [40, 3, 27, 11]  # seeds, say: two of them the same modulo 16
    for place, number in enumerate(numbers):
        record(tmp_path / "run", logits[place], labels, arm="kd", replica=number, epochs=1 + place % 2)
    run = biasvar.open_run(tmp_path / "run")
    found = same(run, "kd", logits[:4], labels)
    assert (found.group_counts == 1).all()
    assert found.group_counts.shape[0] == 4
    assert final_accuracy(run, "kd").index.tolist() == sorted(numbers)  # those that stopped early too
    assert len(list((tmp_path / "run/predictions").rglob("*.parquet"))) == 4  # the last epoch of each, no other


def test_more_replicas_than_groups_share_them_by_their_order(tmp_path, made):
    logits, labels = made
    record(tmp_path / "run", logits[:17], labels, replica=[100 + r for r in range(17)])
    for r in (17, 18, 19):
        record(tmp_path / "run", logits[r], labels, replica=100 + r)
    found = same(biasvar.open_run(tmp_path / "run"), "default", logits, labels)
    assert found.group_counts[:, 0].tolist() == [2] * 4 + [1] * 12


@pytest.mark.parametrize(("keep", "kept"), [("all", [1, 2, 3]), ([1, 3, 9], [1, 3]), ("last", [3])])
def test_the_epochs_that_are_asked_for_are_kept(tmp_path, made, keep, kept):
    logits, labels = made
    for r in range(2):
        record(tmp_path / "run", logits[r], labels, replica=r, epochs=3, keep_predictions=keep)
    run = biasvar.open_run(tmp_path / "run")
    assert run.prediction_epochs("default") == kept
    for epoch in kept:
        same(run, "default", logits[:2] * (4 - epoch), labels, epoch=epoch)


def test_another_machine_adds_replicas_by_copying_its_files(tmp_path, made):
    logits, labels = made
    for place, directory in enumerate(("here", "there")):
        for r in (2 * place, 2 * place + 1):
            record(tmp_path / directory, logits[r], labels, arm="kd", replica=r)
    for name in ("records", "predictions"):
        shutil.copytree(tmp_path / "there" / name, tmp_path / "here" / name, dirs_exist_ok=True)
    same(biasvar.open_run(tmp_path / "here"), "kd", logits[:4], labels)


def test_splits_may_number_their_samples_alike(tmp_path, made):
    logits, labels = made
    other = (labels + 1) % C
    with recorder(tmp_path / "run", split="train", view="augmented", keep_predictions=None) as opened:
        opened.update(torch.arange(N), logits[5], other)
        opened.end_epoch()
    record(tmp_path / "run", logits[0], labels)
    record(tmp_path / "run", logits[1], labels, replica=1)
    run = biasvar.open_run(tmp_path / "run")
    same(run, "default", logits[:2], labels)
    assert run.samples["split"].value_counts().to_dict() == {"test": N, "train": N}
    weights = run.retraining_weights("default", other.numpy(), column="loss_weight")  # by the labels of training rows
    assert weights.tolist() == [1.0] * N


def test_rows_of_a_draw_are_kept_apart_from_others(tmp_path, made):
    logits, labels = made
    member = torch.arange(N) < 10
    for r in range(2):
        with recorder(tmp_path / "run", split="train", replica=r) as opened:
            opened.update(torch.arange(N), logits[r], labels, member=member)
    run = biasvar.open_run(tmp_path / "run")
    inside = run.predictions("default", split="train", membership="member")
    assert ((inside.counts > 0) == member.numpy()).all()
    outside = run.predictions("default", split="train", membership="nonmember")
    assert ((outside.counts > 0) == ~member.numpy()).all()


def test_predictions_of_a_training_pass_are_refused_or_labelled(tmp_path, made):
    logits, labels = made
    with pytest.raises(ValueError, match=r'needs an evaluation pass.*view="clean".*allow_moving_weights'):
        recorder(tmp_path / "run", view="augmented")
    assert not (tmp_path / "run").exists()
    record(tmp_path / "run", logits[0], labels, view="augmented", allow_moving_weights=True)
    (said,) = biasvar.open_run(tmp_path / "run").arm("default")["warnings"]
    assert "weights of its own step" in said
    with pytest.raises(RecordError, match="kept_predictions of test of view 'augmented', not 'clean'"):
        recorder(tmp_path / "run", replica=1)  # both would be the predictions of split test


@pytest.mark.parametrize("keep", ["first", [], [0], [1.5], True, ["last"]])
def test_what_is_no_choice_of_epochs_is_refused(tmp_path, keep):
    with pytest.raises(ValueError, match='keep_predictions must be "last", "all" or a list of epochs'):
        recorder(tmp_path / "run", keep_predictions=keep)
    assert not (tmp_path / "run").exists()


def test_parts_of_an_epoch_keep_no_predictions(tmp_path):
    with pytest.raises(ValueError, match="let one process evaluate all rows"):
        recorder(tmp_path / "run", part=(0, 2))


def test_a_recorded_epoch_keeps_its_predictions(tmp_path, made):
    logits, labels = made
    first, second = (recorder(tmp_path / "run") for _ in range(2))
    first.update(torch.arange(N), logits[0], labels)
    first.end_epoch()
    second.update(torch.arange(N), logits[1], labels)
    with pytest.raises(RecordError, match="already recorded"):
        second.end_epoch()
    kept = biasvar.open_run(tmp_path / "run").predictions("default").mean_log_probs[0]
    np.testing.assert_allclose(kept, torch.log_softmax(logits[0].double(), -1).numpy(), atol=1e-15)


def test_dropped_rows_and_replicas_leave_no_predictions(tmp_path, made):
    logits, labels = made
    broken = logits[:2].clone()
    broken[1, 3] = torch.nan
    rows = torch.arange(N).expand(2, -1)
    with recorder(tmp_path / "run", replica=[0, 1], drop_not_finite=True) as opened:
        opened.update(rows, broken, labels.expand(2, -1), where=rows != 5)
    kept = biasvar.open_run(tmp_path / "run").predictions("default")
    assert kept.counts.shape == (1, N - 1)
    assert 5 not in kept.sample_ids
    np.testing.assert_allclose(kept.mean_log_probs[0, 3], torch.log_softmax(logits[0, 3].double(), -1), atol=1e-15)


def test_arms_are_compared_by_what_they_say_and_not_by_their_names(tmp_path, made):
    logits, labels = made
    said = {"mine": {}, "other": {"control": "mine"}, "ce": {"loss": "my_loss", "label": "Mine, longer"}}
    for place, (arm, words) in enumerate(said.items()):
        for r in range(3):
            record(tmp_path / "run", logits[3 * place + r], labels, arm=arm, replica=r, **words)
    run = biasvar.open_run(tmp_path / "run")
    assert reference_arm(run) == "mine"  # the one that is named, not the one that is called ce
    assert (baseline_of(run, "other"), run.entry("ce").label) == ("mine", "Mine, longer")
    assert set(core_arms(run)) == {"mine", "other", "ce"}
    assert [(pair.treatment, pair.control) for pair in contrasts(run)] == [("other", "mine")]


def test_the_arm_of_cross_entropy_is_the_control_of_all_others(tmp_path, made):
    logits, labels = made
    for place, (arm, loss) in enumerate({"a": "cross_entropy", "b": "distillation", "c": None}.items()):
        record(tmp_path / "run", logits[place], labels, arm=arm, loss=loss)
    run = biasvar.open_run(tmp_path / "run")
    assert [(pair.treatment, pair.control) for pair in contrasts(run)] == [("b", "a"), ("c", "a")]


@pytest.mark.parametrize(
    ("words", "message"), [({"control": "kd"}, "must be another arm"), ({"loss": " "}, "must say something")]
)
def test_words_about_an_arm_that_say_nothing_are_refused(tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        recorder(tmp_path / "run", arm="kd", **words)


def test_a_page_names_recorders_that_are_open_and_trainings_of_different_length(tmp_path, made):
    logits, labels = made
    record(tmp_path / "run", logits[0], labels, arm="kd", epochs=2, control="gone")
    assert biasvar.open_run(tmp_path / "run").manifest["status"] == "complete"
    record(tmp_path / "run", logits[1], labels, arm="kd", replica=1)
    left = recorder(tmp_path / "run", arm="kd", replica=2)
    run = biasvar.open_run(tmp_path / "run")
    assert run.manifest["status"] == "running"
    assert recorder_warnings(run) == [
        "Arm kd: still under way, cut short, or never closed (with, or close()): test clean 002.",
        "Arm kd names the control gone, which is not in the run.",
        "Arm kd, split test: replicas end after different epochs (1 to 2); bias and variance are of each one's last.",
    ]
    left.close()
    assert biasvar.open_run(tmp_path / "run").manifest["status"] == "complete"


def test_a_block_that_ends_in_an_error_is_not_complete(tmp_path, made):
    logits, labels = made
    opened = recorder(tmp_path / "run").__enter__()
    opened.update(torch.arange(N), logits[0], labels)
    opened.__exit__(KeyError, KeyError(), None)
    assert biasvar.open_run(tmp_path / "run").manifest["status"] == "running"


def test_a_run_without_kept_predictions_says_how_to_keep_them(tmp_path, made):
    logits, labels = made
    record(tmp_path / "run", logits[0], labels, keep_predictions=None)
    with pytest.raises(RecordError, match=r'record an evaluation pass .*keep_predictions="last"'):
        biasvar.open_run(tmp_path / "run").decomposition("default")


def test_a_loop_that_is_killed_before_its_record_leaves_the_epoch_before(tmp_path, made, monkeypatch):
    logits, labels = made
    first = recorder(tmp_path / "run")
    first.update(torch.arange(N), logits[0], labels)
    first.end_epoch()
    record(tmp_path / "run", logits[1], labels, replica=1)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(first._writer, "record", killed)
    first.update(torch.arange(N), logits[5], labels)
    with pytest.raises(KeyboardInterrupt):
        first.end_epoch()
    same(biasvar.open_run(tmp_path / "run"), "default", logits[:2], labels)
    with recorder(tmp_path / "run", resume=True) as again:
        again.update(torch.arange(N), logits[6], labels)
    same(biasvar.open_run(tmp_path / "run"), "default", logits[[6, 1]], labels)


@pytest.mark.parametrize("changes", [{"keep_predictions": None}, {}, {"member": True}])
def test_a_record_that_is_replaced_takes_its_predictions_along(tmp_path, made, changes):
    logits, labels = made
    for r in range(2):
        record(tmp_path / "run", logits[r], labels, replica=r)
    changes = dict(changes)
    member = torch.ones(N, dtype=torch.bool) if changes.pop("member", False) else None
    with recorder(tmp_path / "run", replace=True, **changes) as again:
        again.epoch = 1
        again.update(torch.arange(N), logits[4], labels, member=member)
    run = biasvar.open_run(tmp_path / "run")
    if changes or member is not None:  # those of all rows are of replica 1 alone
        assert run.predictions("default").counts.shape == (1, N)
    else:
        same(run, "default", logits[[4, 1]], labels)


def test_a_replica_in_two_files_is_refused(tmp_path, made):
    logits, labels = made
    together, alone = recorder(tmp_path / "run", replica=[0, 1]), recorder(tmp_path / "run", replica=1)
    together.update(torch.arange(N).expand(2, -1), logits[:2], labels.expand(2, -1))
    together.end_epoch()
    alone.update(torch.arange(N), logits[2], labels)
    alone.end_epoch()
    with pytest.raises(RecordError, match=r"replica 1 is in .*group=000.* and in .*group=001"):
        biasvar.open_run(tmp_path / "run").decomposition("default")


def test_replicas_of_other_labels_are_refused(tmp_path, made):
    logits, labels = made
    record(tmp_path / "run", logits[0], labels)
    record(tmp_path / "run", logits[1], (labels + 1) % C, replica=1)
    with pytest.raises(RecordError, match="split 'test' is recorded with two labels"):
        biasvar.open_run(tmp_path / "run").decomposition("default")


def test_imported_replicas_go_beside_recorded_ones_of_any_number(tmp_path, made):
    logits, labels = made
    for r in (1, 2):
        record(tmp_path / "run", logits[r], labels, replica=r, epochs=2, keep_predictions="all")
    arguments = {"directory": tmp_path / "run", "arm": "default", "resume": True}
    with pytest.raises(RecordError, match="add replicas to them with first_replica=3"):
        biasvar.import_predictions([logits[3].numpy()], labels.numpy(), first_replica=2, **arguments)
    run = biasvar.import_predictions([z.numpy() for z in logits[3:5]], labels.numpy(), first_replica=3, **arguments)
    found = same(run, "default", logits[1:5], labels)
    assert (found.group_counts == 1).all()
    with pytest.raises(RecordError, match="holds replica 3 of arm 'default' already"):
        recorder(tmp_path / "run", replica=3, resume=True, keep_predictions="all")
