"""Students with InfoDrop: what a study file says, the phases, random streams, resuming, and students read back."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from biasvar.errors import StudyError
from biasvar.modules import infodrops_in, insert_infodrop
from biasvar.run import describe, main
from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.methods import method_of
from biasvar.training.student_networks import trained_students
from biasvar.training.students import Students
from tests.training.test_execute import contents
from tests.training.test_methods import interrupted

STEM = {"layers": ["convolutions.0"], "finetune_epochs": 0}
RAW = {
    "name": "dropping", "seed": 5, "replicas": 2, "backend": "sequential",
    "data": {"name": "digits", "test": 97, "validation": 60, "reserved": 20}, "student": {"model": "convnet"},
    "draw": {"kind": "subsample", "rows": 120}, "schedule": {"epochs": 4, "batch_size": 40},
    "learning_rate": {"value": 0.05}, "checkpoint_every": 1,
}  # fmt: skip
ARMS = {
    "plain": {"loss": "cross_entropy"},
    "nothing": {"loss": "infodrop", "dropping": {**STEM, "rate": 0.01}},  # 16 places: no draw
    "tuned": {"loss": "infodrop", "dropping": {**STEM, "finetune_epochs": 2, "finetune_rate": 0.5}},
    "kept": {"loss": "infodrop", "dropping": {**STEM, "eval": "expected"}},
    "even": {"loss": "infodrop", "dropping": {**STEM, "uniform": True}},
    "taught": {"loss": "distillation", "teacher": "tuned", "temperature": 2.0, "alpha": 1.0},
}


def study_of(**arms):
    return resolve_study({**copy.deepcopy(RAW), "arms": arms})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_study(study_of(**ARMS), tmp_path_factory.mktemp("dropping") / "run", device="cpu")


@pytest.fixture(scope="module")
def context(run):
    return open_study(study_of(**ARMS), run.directory, torch.device("cpu"))


def test_a_rate_that_draws_nothing_is_cross_entropy(run):
    for folder in ("records", "predictions"):
        plain, nothing = (run.directory / folder / f"arm={arm}" for arm in ("plain", "nothing"))
        assert contents(plain).keys() == contents(nothing).keys()
    weights = [run.directory / f"weights/arm={arm}/group=000.safetensors" for arm in ("plain", "nothing")]
    assert weights[0].read_bytes() == weights[1].read_bytes()  # the names too: InfoDrop leaves them as they are


def test_resumed_runs_are_the_same_bytes_wherever_they_were_cut_off(run, tmp_path, monkeypatch):
    """With InfoDrop, at the change to fine-tuning, and in fine-tuning."""
    own = study_of(tuned=ARMS["tuned"])
    whole = run_study(own, tmp_path / "whole", device="cpu")
    for after in (1, 2, 3):
        interrupted(monkeypatch, own, tmp_path / str(after), after=after)
        assert contents(run_study(own, tmp_path / str(after), device="cpu").directory) == contents(whole.directory)
    name = "weights/arm=tuned/group=000.safetensors"
    assert (whole.directory / name).read_bytes() == (run.directory / name).read_bytes()  # whatever other arms there are


def test_training_is_that_of_a_loop_written_out(context):
    """Two phases by torch's own SGD on a network with InfoDrop, then without; rates start anew at the second."""
    trained = Students(context, "tuned", 0.05, [0])
    net = copy.deepcopy(trained.net.network)
    seen = []
    trained.train(on_batch=lambda batch, weights: seen.append((batch, drops(trained.net.network))))
    assert [active for _, active in seen] == [True] * 6 + [False] * 6
    assert [batch.phase for batch, _ in seen] == ["with InfoDrop"] * 6 + ["without"] * 6
    rates = [batch.rate for batch, _ in seen]
    assert rates[6] == pytest.approx(0.5 * rates[0])
    schedule = context.study.schedule
    optimizer = torch.optim.SGD(
        net.parameters(), lr=1.0, momentum=schedule.momentum, nesterov=True, weight_decay=schedule.weight_decay
    )
    method = trained.objective.method
    by_hand = type("One", (), {"network": net})()
    net.train()
    for batch, _ in seen:
        optimizer.param_groups[0]["lr"] = batch.rate
        method.before_forward(trained.objective.state, by_hand, batch)
        loss = torch.nn.functional.cross_entropy(net(batch.inputs[0]), batch.labels[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, trained.net.network.state_dict()[name])


def drops(network):
    (drop,) = infodrops_in(network)
    return drop.active


def test_every_step_replica_epoch_and_arm_draws_other_places(context):
    firsts = set()
    for arm, replica, epoch, number in [("tuned", 0, 1, 0), ("tuned", 0, 1, 1), ("tuned", 0, 2, 0), ("tuned", 1, 1, 0),
                                        ("kept", 0, 1, 0)]:  # fmt: skip
        students = Students(context, arm, 0.05, [replica])
        step = type("Step", (), {"epoch": epoch, "number": number, "phase": "with InfoDrop"})()
        students.objective.method.before_forward(students.objective.state, students.net, step)
        (drop,) = infodrops_in(students.net.network)
        firsts.add(float(drop.streams[0].random()))
    assert len(firsts) == 5


def test_a_rate_that_draws_nothing_is_said(tmp_path, capsys):
    open_study(study_of(a=ARMS["nothing"]), tmp_path / "run", torch.device("cpu"))
    assert "rate: 0.01 of 16 places is less than one draw behind convolutions.0, which drops" in capsys.readouterr().err


def test_students_read_back_are_without_it_after_fine_tuning(context):
    ids = context.blocks["test"]
    x = context.inputs.clean(torch.as_tensor(ids))
    (tuned,) = trained_students(context, "tuned", [0])
    plain = context.model("convnet", (), "init", 0)
    plain.load_state_dict(tuned.state_dict())
    assert torch.equal(tuned(x), plain.eval()(x))


def test_students_that_keep_it_answer_by_its_evaluation(context, run):
    """The predictions in the run are those of a network into which InfoDrop was put by hand."""
    ids = context.blocks["test"]
    for arm, own in (("kept", {"eval": "expected"}), ("even", {"temperature": float("inf")})):
        found = trained_students(context, arm, [0, 1])
        plain = []
        for student in found:
            net = context.model("convnet", (), "init", 0)
            insert_infodrop(net, ["convolutions.0"], **own)
            net.load_state_dict(student.state_dict())
            plain.append(net.eval())
        x = context.inputs.clean(torch.as_tensor(ids))
        with torch.no_grad():
            logits = torch.stack([net(x) for net in plain])
            assert torch.equal(logits, torch.stack([net(x) for net in found]))
            assert torch.equal(logits, torch.stack([net(x) for net in found]))  # asked again
        stored = run.predictions(arm).mean_log_probs
        np.testing.assert_allclose(stored, logits.double().log_softmax(-1).numpy(), atol=1e-5)


def test_students_with_it_teach_others(run):
    taught, own = (run.records(arm=arm, split="test", view="clean", epochs=[4]) for arm in ("taught", "tuned"))
    both = taught.merge(own, on=["replica", "sample_id"])
    np.testing.assert_allclose(both["teacher_loss_x"], both["student_loss_y"], rtol=1e-4, atol=1e-5)


def test_a_dry_run_says_it(capsys):
    said = describe(study_of(**ARMS), Path("runs/x"))
    assert "tuned: infodrop, 1.5 draws a place at temperature 0.03 behind convolutions.0, the last 2 epochs" in said
    assert "even: infodrop, 1.5 draws a place evenly behind convolutions.0, to the end" in said


def test_a_report_says_it(run):
    from biasvar.report.arms.description import loss_in_words

    said = loss_in_words(run.entry("even"))
    assert said.startswith("infodrop, dropping layers convolutions.0 and rate 1.5 and ")
    assert "after" not in said
    assert "uniform True" in said


@pytest.mark.parametrize(
    ("infodrop", "message"),
    [
        ({}, r"arms.a.dropping.layers: missing; the study needs it"),
        ({"layers": []}, r"arms.a.dropping.layers: "),
        ({"rate": 0}, r"arms.a.dropping.rate: must be .*greater than 0"),
        ({"temperature": 0}, r"arms.a.dropping.temperature: must be .*greater than or equal to 0.000001, not 0"),
        (
            {"temperature": 1e-30},
            r"dropping.temperature: must be .*greater than or equal to 0.000001, not 1e-30",
        ),
        ({"bandwidth": -1}, r"arms.a.dropping.bandwidth: must be .*greater than or equal to 0.000001, not -1"),
        ({"bandwidth": 1e-30}, r"arms.a.dropping.bandwidth: must be .*greater than or equal to 0.000001, not 1e-30"),
        ({"radius": 0}, r"arms.a.dropping.radius: must be .*greater than or equal to 1"),
        ({"neighbours": "every"}, r"arms.a.dropping.neighbours: "),
        ({"radius": 2, "neighbours": 26}, r"arms.a.dropping: neighbours: must be at most the 25 places of radius 2"),
        ({"rate": 1e29}, r"arms.a.dropping.rate: must be less than or equal to 100"),
        ({"eval": "mean"}, r"arms.a.dropping.eval: must be .*'random', 'expected' or 'off'"),
        ({"finetune_epochs": -1}, r"arms.a.dropping.finetune_epochs: must be"),
        ({"finetune": 1}, r"arms.a.dropping.finetune: unknown key, did you mean 'finetune_"),
        ({"layers": ["convolutions.0"] * 2}, "layers: must name each convolution once"),
        ({"after": {"convolutions.1": "pools.1"}}, "after: convolutions.1 is not among the layers, which are conv"),
        ({"uniform": True, "temperature": 0.1}, "uniform: true is an infinite temperature; leave temperature out"),
    ],
)
def test_settings_that_cannot_be_are_named(infodrop, message):
    with pytest.raises(StudyError, match=message):
        study_of(a={"loss": "infodrop", "dropping": {**STEM, **infodrop} if infodrop else {}})


@pytest.mark.parametrize(
    ("infodrop", "student", "message"),
    [
        (
            {"layers": ["convolutions.7"]},
            "convnet",
            "arms.a: .*no convolution named 'convolutions.7', did you mean 'conv",
        ),
        (
            {"layers": ["fc"]},
            "convnet",
            "arms.a: .*no convolution named 'fc'.*there is: convolutions.0, convolutions.1",
        ),
        ({}, "mlp", "arms.a: .*InfoDrop follows convolutions .*network has none .*mlp"),
        (
            {"finetune_epochs": 4},
            "convnet",
            "arms.a: .*finetune_epochs must be less than the schedule's 4 epochs.*not 4",
        ),
        ({"after": {"convolutions.0": "pool"}}, "convnet", "after: no module named 'pool', did you mean 'pools'"),
        ({"after": {"convolutions.0": "fc"}}, "convnet", "arms.a: .*InfoDrop was given activations"),
        (
            {"after": {"convolutions.0": "pools.2"}, "finetune_epochs": 2},
            "convnet",
            r"arms.a: .*InfoDrop was given activations \(B, C, h, w\) = .*, but its map is",
        ),
    ],
)
def test_what_does_not_go_with_the_network_is_refused_by_a_dry_run(infodrop, student, message, tmp_path, capsys):
    import re

    import yaml

    raw = {**copy.deepcopy(RAW), "arms": {"a": {"loss": "infodrop", "dropping": {**STEM, **infodrop}}}}
    raw["student"] = {"model": "mlp", "hidden": [8]} if student == "mlp" else {"model": student}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert main([str(path), "--dry-run", "--out", str(tmp_path / "run")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_several_replicas_in_one_pass_are_refused():
    raw = {**copy.deepcopy(RAW), "backend": "batched", "student": {"model": "mlp", "hidden": [8]}}
    raw["arms"] = {"a": {"loss": "infodrop", "dropping": STEM}}
    with pytest.raises(StudyError, match=r"arms.a"):
        open_study(resolve_study(raw), "nowhere", torch.device("cpu"))
    assert not method_of(study_of(**ARMS).arms["tuned"]).batched
