"""Teachers that train along: one step by step against a loop of its own, resumed, batched, and what is kept of them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.errors import RecordError, StudyError
from biasvar.records import open_run
from biasvar.run import describe
from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.optimizers import SGD
from biasvar.training.replicas import BatchedReplicas, SequentialReplica
from biasvar.training.students import Students
from tests.training.test_execute import contents
from tests.training.test_methods import interrupted, study_of

LINEAR = "tests.training.own_network:linear"
JOINT = {"hidden": [16], "learning_rate": 0.2}


def prokt(**more):
    return {"loss": "prokt", "pull": 0.4, "joint_teacher": JOINT, **more}


def students_of(raw, directory, arm="arm", replicas=(0,), rate=0.1):
    study = resolve_study(raw)
    return Students(open_study(study, directory, torch.device("cpu")), arm, rate, list(replicas))


def kl(first, second):
    return F.kl_div(F.log_softmax(second, -1), F.softmax(first, -1), reduction="batchmean")


def by_hand(student, teacher, batches, settings, options, *, new_answer=True):
    """The list of the paper's code, one line each; `new_answer` False takes the teacher's answer from before its step.

    Returns:
        The multiplier after each step, and KL(s || t') of each step.
    """
    rate_s, rate_t, pull, dual, hard, tau = (settings[k] for k in ("rate", "rate_t", "pull", "dual", "hard", "tau"))
    optimiser_s = torch.optim.SGD(student.parameters(), lr=rate_s, **options)
    optimiser_t = torch.optim.SGD(teacher.parameters(), lr=rate_t, **options)
    b, multipliers, distances = 1.0, [], []
    for x, y in batches:
        with torch.no_grad():
            s, old = student.eval()(x), teacher.eval()(x)
        t = teacher.train()(x)
        distance = kl(s, t)
        if dual:
            loss = F.cross_entropy(t, y) + b * (distance - dual["bound"])
            b = max(0.0, b + dual["rate"] * (distance.item() - dual["bound"]))
        else:
            loss = (1 - pull) * F.cross_entropy(t, y) + pull * distance
        optimiser_t.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(teacher.parameters(), settings["max_norm"])
        optimiser_t.step()
        with torch.no_grad():
            target = teacher.eval()(x) if new_answer else old
        z = student.train()(x)
        loss = settings["soft"] * kl(target / tau, z / tau) + hard * F.cross_entropy(z, y)
        distances.append(kl(z.detach(), target).item())
        optimiser_s.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), settings["max_norm"])
        optimiser_s.step()
        multipliers.append(b)
    return multipliers, distances


def linear_study(**more):
    raw = study_of(
        {"arm": prokt(joint_teacher={"model": LINEAR, "learning_rate": 0.7}, zero_heads=False, max_norm=0.5, **more)},
        backend="sequential", schedule={"epochs": 1, "batch_size": 45, "decay": "constant"},
    )  # fmt: skip
    return {**raw, "student": {"model": LINEAR}, "teachers": {"main": {"model": LINEAR, "hidden": [1]}}}


def both_ways(raw, settings, directory, **order):
    """A run of two batches by the package and by hand: students, teachers, state, multipliers and distances."""
    trained = students_of(raw, directory)
    state, context = trained.objective.state, trained._context
    student, teacher = copy.deepcopy(trained.net.network), copy.deepcopy(state.teacher.network)
    schedule = context.study.schedule
    ids = torch.as_tensor(np.take_along_axis(trained.rows.ids, trained.rows.orders(context.study.seed, 1), 1))[0]
    batches = [(context.inputs.clean(part), context.labels[part]) for part in ids.split(schedule.batch_size)]
    assert [len(x) for x, _ in batches] == [45, 45]
    options = {"momentum": schedule.momentum, "nesterov": schedule.nesterov, "weight_decay": schedule.weight_decay}
    told = by_hand(student, teacher, batches, settings, options, **order)
    trained.train()
    return trained, student, teacher, told


def settings_of(**more):
    plain = {"rate": 0.1, "rate_t": 0.7, "pull": 0.4, "dual": None, "soft": 1.0, "hard": 0.0, "tau": 1.0}
    return {**plain, "max_norm": 0.5, **more}


def largest_gap(network, expected):
    return max((a - b).abs().max().item() for a, b in zip(network.parameters(), expected.parameters(), strict=True))


@pytest.mark.parametrize(
    ("arm", "settings"),
    [
        ({}, {}),
        ({"pull": 0.0}, {"pull": 0.0}),
        ({"temperature": 4.0}, {"tau": 4.0}),
        ({"student_loss": {"soft": 0.5, "hard": 0.5}}, {"soft": 0.5, "hard": 0.5}),
        ({"pull": 0.0, "dual": {"rate": 0.5, "bound": 0.1}}, {"dual": {"rate": 0.5, "bound": 0.1}}),
    ],
)
def test_two_batches_are_those_of_the_list(arm, settings, tmp_path):
    trained, student, teacher, (multipliers, distances) = both_ways(
        linear_study(**arm), settings_of(**settings), tmp_path
    )
    state = trained.objective.state
    assert largest_gap(trained.net.network, student) < 1e-6
    assert largest_gap(state.teacher.network, teacher) < 1e-6
    if settings.get("dual"):
        assert state.loss.multiplier.item() == pytest.approx(multipliers[-1], abs=1e-6)
        assert multipliers[-1] != 1.0
    measured = trained.objective.method.measured(state)["teacher_divergence"]
    assert measured.item() == pytest.approx(np.mean(distances), rel=1e-4)


def test_the_teachers_answer_is_the_one_from_after_its_step(tmp_path):
    """By hand with the answer from before it, which is the wrong order, students come out otherwise."""
    trained, student, _, _ = both_ways(linear_study(), settings_of(), tmp_path, new_answer=False)
    assert largest_gap(trained.net.network, student) > 1e-3


def test_the_student_is_asked_in_evaluation_mode_and_trained_in_training_mode(tmp_path, monkeypatch):
    """The order of calls and the modes of both networks, and that without a pull the student is not asked."""
    calls = []

    def watched(self, x):
        calls.append((id(self) == id(watch.net), self.network.training, torch.is_grad_enabled()))
        return original(self, x)

    original = SequentialReplica.__call__
    for pull, expected in (
        (0.4, [(True, False, False), (False, True, True), (False, False, False), (True, True, True)]),
        (0.0, [(False, True, True), (False, False, False), (True, True, True)]),
    ):
        watch = students_of(linear_study(pull=pull), tmp_path)
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(SequentialReplica, "__call__", watched)
            watch.train()
        assert calls == expected * 2


@pytest.mark.parametrize("dual", [None, {"rate": 0.1, "bound": 0.05}])
def test_replicas_in_one_pass_are_those_one_after_another(dual, tmp_path):
    arm = prokt(dual=dual, pull=0.0 if dual else 0.4, max_norm=0.3)
    raw = study_of({"arm": arm})
    together = students_of(raw, tmp_path, replicas=range(3))
    together.train()
    for r in range(3):
        alone = students_of({**raw, "backend": "sequential"}, tmp_path, replicas=[r])
        alone.train()
        for name, value in alone.net.parameters().items():
            torch.testing.assert_close(together.net.parameters()[name][r], value[0], rtol=1e-4, atol=1e-5)
        for name, value in alone.objective.state.teacher.parameters().items():
            theirs = together.objective.state.teacher.parameters()[name][r]
            torch.testing.assert_close(theirs, value[0], rtol=1e-4, atol=1e-5)
        if dual:
            b = together.objective.state.loss.multiplier
            assert len(set(b.tolist())) == 3
            assert b[r].item() == pytest.approx(alone.objective.state.loss.multiplier.item(), rel=1e-5)


def test_gradients_are_clipped_replica_by_replica_as_torch_does():
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(3)]
    alone = [SequentialReplica([copy.deepcopy(m)], optimizer=SGD(0.9, True, 0.1)) for m in models]
    together = BatchedReplicas(models, optimizer=SGD(0.9, True, 0.1))
    sizes = torch.tensor([0.01, 1.0, 10.0])  # the first is not clipped
    for _ in range(3):
        x = torch.randn(3, 5, 3)
        together.step(sizes * together(x).square().mean((1, 2)), 0.2, max_norm=0.3)
        for net, own, size in zip(alone, x, sizes, strict=True):
            net.step(size * net(own[None]).square().mean((1, 2)), 0.2, max_norm=0.3)
    for name, value in together.parameters().items():
        torch.testing.assert_close(value, torch.cat([net.parameters()[name] for net in alone]))


@pytest.fixture(scope="module")
def arms():
    return {
        "pulled": prokt(predictions={"epochs": "all", "train": True}),
        "free": prokt(pull=0.0, record={"epochs": "last"}),
        "bound": prokt(pull=0.0, dual={"rate": 0.1, "bound": 0.05}, temperature=2.0),
        "started": prokt(joint_teacher={"init": "main", "rate_factor": 0.5}),
        "kept": prokt(joint_teacher={"init": "main"}, zero_heads=False, max_norm=None),
        "kd": {"loss": "distillation", "teacher": "main", "temperature": 2.0, "alpha": 1.0},
    }


@pytest.fixture(scope="module")
def run(arms, tmp_path_factory):
    return run_study(resolve_study(study_of(arms)), tmp_path_factory.mktemp("prokt") / "run", device="cpu")


@pytest.mark.parametrize("backend", ["batched", "sequential"])
def test_a_run_goes_on_to_the_same_bytes(arms, backend, tmp_path, monkeypatch):
    """Cut off at the checkpoint in the middle: momenta of the teacher and the multiplier come back."""
    chosen = {name: arms[name] for name in ("pulled", "bound")}
    study = resolve_study(study_of(chosen, backend=backend, replicas=2))
    whole = run_study(study, tmp_path / "whole", device="cpu")
    interrupted(monkeypatch, study, tmp_path / "parts", after=2 if backend == "batched" else 4)
    assert contents(run_study(study, tmp_path / "parts", device="cpu").directory) == contents(whole.directory)


def test_the_checkpoint_holds_the_teachers_momenta_and_the_multiplier(tmp_path):
    trained = students_of(study_of({"arm": prokt(pull=0.0, dual={"rate": 0.1})}), tmp_path, replicas=[0, 1])
    trained.train()
    state = trained.state()
    assert state["method.multiplier"].shape == (2,)
    assert state["method.teacher.momentum.layers.1.bias"].abs().sum() > 0
    other = students_of(study_of({"arm": prokt(pull=0.0, dual={"rate": 0.1})}), tmp_path, replicas=[0, 1])
    other.load_state(state)
    for name, value in other.state().items():
        assert torch.equal(value, state[name]), name


def test_zero_heads_make_the_first_answers_uniform(tmp_path):
    for joint in (JOINT, {"init": "main"}):
        if "init" in joint:
            run_study(resolve_study(study_of({"ce": {"loss": "cross_entropy"}})), tmp_path, device="cpu")
        trained = students_of(study_of({"arm": prokt(joint_teacher=joint)}), tmp_path, replicas=[0, 1])
        x = trained._context.inputs.clean(torch.arange(5)).expand(2, -1, -1)
        for net in (trained.net, trained.objective.state.teacher):
            assert torch.equal(net(x), torch.zeros(2, 5, 10))
        hidden = trained.objective.state.teacher.parameters()["layers.0.weight"]
        assert hidden.abs().sum() > 0


def test_a_teacher_starts_from_trained_weights(run, arms):
    study = resolve_study(study_of(arms))
    context = open_study(study, run.directory, torch.device("cpu"))
    teacher = Students(context, "kept", 0.1, [0, 1]).objective.state.teacher
    ids = run.samples["sample_id"].to_numpy()[:7].copy()
    said = teacher(context.inputs.clean(torch.as_tensor(ids)).expand(2, -1, -1)).detach().numpy()
    taught = run.teacher("main")
    np.testing.assert_allclose(said, np.stack([taught.logits[np.isin(taught.sample_ids, ids)]] * 2), atol=1e-5)


def test_the_teachers_path_is_kept_beside_the_students(run):
    assert run.prediction_epochs("pulled", of="teacher") == run.prediction_epochs("pulled") == [1, 2, 3, 4]
    assert run.prediction_epochs("free", of="teacher") == [4]
    assert run.prediction_epochs("kd", of="teacher") == []
    path = [run.decomposition("pulled", epoch=e, of="teacher").corrected().totals().bias.value for e in (1, 4)]
    assert path[1] < path[0]
    for membership in ("member", "nonmember"):
        kept = run.predictions("pulled", split="train", membership=membership, of="teacher")
        own = run.predictions("pulled", split="train", membership=membership)
        np.testing.assert_array_equal(kept.counts, own.counts)
    with pytest.raises(RecordError, match=r"no predictions of teachers of arm 'kd'"):
        run.decomposition("kd", of="teacher")
    with pytest.raises(RecordError, match=r"unknown predictions of 'teachers'; did you mean 'teacher'"):
        run.decomposition("pulled", of="teachers")


def test_what_is_kept_of_the_teacher_is_what_it_answers(run, arms):
    """From a training of its own: predictions, the record's soft labels, and the clean record."""
    context = open_study(resolve_study(study_of(arms)), run.directory, torch.device("cpu"))
    trained = Students(context, "pulled", 0.1, range(4))
    seen = {}

    def on_batch(batch, weights):
        if batch.epoch == 4:
            for r, ids in enumerate(batch.ids.tolist()):
                probs = batch.teacher_logits[r].softmax(-1)
                seen.update({(r, i): float(probs[j, batch.labels[r, j]]) for j, i in enumerate(ids)})

    trained.train(on_batch=on_batch)
    kept = run.predictions("pulled", of="teacher")
    x = context.inputs.clean(torch.tensor(kept.sample_ids.tolist()))
    with torch.no_grad():
        said = trained.objective.state.teacher(x.expand(4, -1, -1)).log_softmax(-1)
    np.testing.assert_allclose(kept.mean_log_probs, said, atol=1e-5)
    rows = run.records(arm="pulled", split="train", view="augmented", epochs=[4])
    wanted = [seen[key] for key in zip(rows["replica"], rows["sample_id"], strict=True)]
    np.testing.assert_allclose(rows["teacher_prob"], wanted, atol=1e-6)
    test = run.records(arm="pulled", split="test", view="clean", epochs=[4])
    truth = said.numpy()[test["replica"], np.searchsorted(kept.sample_ids, test["sample_id"]), test["label"]]
    np.testing.assert_allclose(test["teacher_loss"], -truth, atol=1e-4)


def test_the_distance_of_student_and_target_is_a_metric_of_every_epoch(run):
    metrics = run.metrics[run.metrics["view"] == "augmented"]
    for arm in ("pulled", "free", "bound"):
        mine = metrics[metrics["arm"] == arm]
        assert sorted(mine["epoch"].unique()) == [1, 2, 3, 4]
        assert (mine["teacher_divergence"] > 0).all()
    assert metrics.loc[metrics["arm"] == "kd", "teacher_divergence"].isna().all()
    apart = metrics.groupby("arm")["teacher_divergence"].mean()
    assert apart["pulled"] < apart["free"]


def test_the_manifest_tells_of_the_teacher(run):
    entry = run.entry("pulled")
    assert (entry.plays, entry.regime, entry.setting("pull")) == ("joint distillation", "per replica", 0.4)
    assert run.arm("pulled")["scored_against"] is None
    assert run.arm("kd")["scored_against"] == "main"


def test_runs_without_such_teachers_have_no_path(tmp_path):
    other = run_study(resolve_study(study_of({"ce": {"loss": "cross_entropy"}})), tmp_path / "r", device="cpu")
    assert not (other.directory / "teacher_predictions").exists()
    assert open_run(other.directory).prediction_epochs("ce", of="teacher") == []


def test_a_missing_path_is_made_again(arms, run, tmp_path):
    import shutil

    shutil.copytree(run.directory, tmp_path / "copy")
    next((tmp_path / "copy/teacher_predictions/arm=pulled").rglob("*.parquet")).unlink()
    again = run_study(resolve_study(study_of(arms)), tmp_path / "copy", device="cpu")
    assert contents(again.directory) == contents(run.directory)


def test_arms_are_taken_over_with_the_teachers_path(tmp_path):
    study = study_of({"arm": prokt()}, backend="sequential", replicas=2)
    first = run_study(resolve_study(study), tmp_path / "tiny", device="cpu")
    more = study | {"name": "more", "share": ["tiny"]}
    second = run_study(resolve_study(more), tmp_path / "more", device="cpu")
    assert second.arm("arm")["shared_from"] == ["tiny"]
    ours, theirs = (run.predictions("arm", of="teacher").mean_log_probs for run in (first, second))
    np.testing.assert_array_equal(ours, theirs)


def test_the_dry_run_says_what_it_is(arms):
    said = describe(resolve_study(study_of(arms)), "runs/x")
    assert "pulled: prokt, pull 0.4, teacher mlp-16 at rate 0.2, temperature 1" in said
    assert "started: prokt, pull 0.4, teacher from main at 0.5 of the rate" in said
    assert "bound: prokt, pull 0, teacher mlp-16 at rate 0.2, temperature 2" in said


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (prokt(pull=1.0), r"arms.arm.pull: must be less than 1, not 1"),
        (prokt(pull=-0.1), r"arms.arm.pull: must be .*0"),
        ({"loss": "prokt", "joint_teacher": JOINT}, "arms.arm.pull: needed for loss prokt"),
        ({"loss": "prokt", "pull": 0.1}, "arms.arm.joint_teacher: needed for loss prokt"),
        (prokt(joint_teacher={}), "joint_teacher: hidden: model mlp needs the widths"),
        (
            prokt(joint_teacher={"hidden": [4], "init": "main"}),
            "joint_teacher: init: the network is that of teacher main",
        ),
        (prokt(joint_teacher={"init": "mian"}), "joint_teacher.init: no teacher named 'mian', did you mean 'main'"),
        (prokt(joint_teacher={"init": "both"}), "joint_teacher.init: both is an ensemble, which has no weights"),
        (prokt(joint_teacher={"model": "mpl"}), "no network named 'mpl', did you mean 'mlp'"),
        (
            prokt(joint_teacher={"hidden": [4], "learning_rate": 0.1, "rate_factor": 2.0}),
            "rate_factor: learning_rate is",
        ),
        (prokt(joint_teacher={"hidden": [4], "rate": 0.1}), r"joint_teacher.rate: unknown key, did you mean"),
        (prokt(student_loss={"soft": 0.0}), "student_loss: soft: must be above 0, or hard"),
        (prokt(dual={}), "arms.arm.dual: its multiplier takes the place of the pull; give pull: 0, not 0.4"),
        (prokt(dual={"bound": -1.0}, pull=0.0), "dual.bound: must be"),
        (prokt(max_norm=0.0), "arms.arm.max_norm: must be"),
        (prokt(teacher="main"), "arms.arm.teacher: not used by loss prokt"),
    ],
)
def test_settings_that_cannot_be_are_named(arm, message):
    raw = study_of({"arm": arm})
    raw["teachers"] = raw["teachers"] | {"both": {"mean_of": ["main", "disjoint"]}}
    with pytest.raises(StudyError, match=message):
        resolve_study(raw)


def test_heads_that_are_not_there_are_named_before_anything_is_written(tmp_path):
    raw = linear_study() | {"student": {"model": "tests.training.own_network:headless"}}
    raw["arms"]["arm"]["zero_heads"] = True
    with pytest.raises(StudyError, match=r"arms.arm: method prokt: zero_heads sets .*; it has none in .*: fa"):
        run_study(resolve_study(raw), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
