"""Label revision and data selection as arms: the losses by hand, whom the teacher is asked about, and what is kept."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from biasvar.analysis.selection.scores import Evidence, influence, self_influence
from biasvar.analysis.selection.softmax_head import SoftmaxHead
from biasvar.errors import StudyError
from biasvar.losses import DistillationLoss, PortedRevisionLoss, WeightedSoftLabelLoss
from biasvar.records import open_run
from biasvar.run import describe, main
from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.heads import head_of, head_pass
from biasvar.training.methods import Batch
from biasvar.training.selecting import drawn_rows
from biasvar.training.students import Students
from biasvar.training.teachers import teacher_networks
from tests.training.test_execute import contents
from tests.training.test_methods import interrupted, study_of

LR = {"loss": "label_revision", "teacher": "main", "temperature": 2.0}
RANDOM = {"score": "random", "keep": 0.4}
LINEAR = "tests.training.own_network:linear"
HEADLESS = "tests.training.own_network:headless"


def lowest(score, **more):
    return {"score": score, "keep": 0.4, "which": "lowest", **more}


ARMS = {
    "kd": {"loss": "distillation", "teacher": "main", "temperature": 2.0, "alpha": 0.7},
    "ce": {"loss": "cross_entropy"},
    "lr": LR | {"revision": {"rows": "wrong"}},
    "port": {"loss": "label_revision", "teacher": "main", "preset": "rld_port"},
    "influence": LR | {"teacher": "own", "selection": lowest("influence", damping=0.1)},
    "self_influence": LR | {"selection": lowest("self_influence", model="student", arm="ce")},
    "gradient_norm": LR | {"selection": lowest("gradient_norm")},
    "loss": LR | {"selection": lowest("loss")},
    "margin": LR | {"selection": {"score": "margin", "keep": 0.4, "which": "highest", "per_class": True}},
    "bias": LR | {"selection": lowest("bias_gradient", arm="kd")},
    "variance": LR | {"selection": lowest("variance_gradient", arm="kd")},
    "wsl_weight": LR | {"selection": lowest("wsl_weight", arm="ce")},
    "both": LR | {"revision": {}, "selection": RANDOM, "ce_rest": 0.5, "ce_selected": 2.0, "distill": 0.25},
    "wsl": {
        "loss": "weighted_soft_label", "teacher": "main", "temperature": 2.0, "alpha": 0.7, "revision": {},
        "selection": RANDOM,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_study(resolve_study(study_of(ARMS)), tmp_path_factory.mktemp("revision") / "run", device="cpu")


def scores_of(run, arm, replica):
    return run.method_table("selection_scores", arm).query("replica == @replica").set_index("sample_id")


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def students_of(run, arm, replicas=(0, 1), **more):
    study = resolve_study(study_of(ARMS, **more))
    return Students(open_study(study, run.directory, torch.device("cpu")), arm, 0.1, list(replicas))


def batch_of(students, context, rows=30):
    """Random students' answers to the first rows of two replicas, with their teacher's."""
    ids = torch.as_tensor(students.rows.ids[:, :rows])
    torch.manual_seed(3)
    return Batch(
        ids=ids, inputs=context.inputs.training(ids, [0, 1], 1), labels=context.labels[ids], epoch=1, rate=0.1,
        logits=3 * torch.randn(*ids.shape, 10, dtype=torch.float64).requires_grad_(),
        teacher_logits=students.objective.teacher_logits(ids).double(),
    )  # fmt: skip


def revised(teacher, label, eta, tau):
    p = softmax(teacher / tau)
    beta = eta / (p.max() - p[label] + 1)
    return beta * p + (1 - beta) * np.eye(len(p))[label]


def test_the_loss_of_each_part_of_the_rows_is_its_formula(run):
    students = students_of(run, "both")
    context = students._context
    batch = batch_of(students, context)
    losses, weights = students.objective(batch)
    for r in range(2):
        chosen = set(scores_of(run, "both", r).query("selected").index)
        for i in range(batch.ids.shape[1]):
            z, y = batch.logits[r, i].detach().numpy(), int(batch.labels[r, i])
            truth = -math.log(softmax(z)[y])
            if int(batch.ids[r, i]) in chosen:
                target = revised(batch.teacher_logits[r, i].numpy(), y, 0.8, 2.0)
                apart = 4.0 * np.sum(target * np.log(target / softmax(z / 2.0)))
                expected = 2.0 * truth + 0.25 * apart
            else:
                expected = 0.5 * truth
            assert losses[r, i].item() == pytest.approx(expected, rel=1e-9)
            assert weights[r, i].item() == (int(batch.ids[r, i]) in chosen)


def test_wsl_with_both_is_wsl_from_revised_labels_on_the_selected_rows(run):
    students = students_of(run, "wsl")
    batch = batch_of(students, students._context)
    losses, weights = students.objective(batch)
    plain = WeightedSoftLabelLoss(temperature=2.0, alpha=0.7, reduction="none")
    for r in range(2):
        chosen = set(scores_of(run, "wsl", r).query("selected").index)
        for i in range(batch.ids.shape[1]):
            y = int(batch.labels[r, i])
            teacher = torch.as_tensor(2.0 * np.log(revised(batch.teacher_logits[r, i].numpy(), y, 0.8, 2.0)))
            # Logits are known up to a constant, which no softmax sees.
            args = (batch.logits[r, i][None], teacher[None], batch.labels[r, i][None])
            weight = plain.weights(*args) * (int(batch.ids[r, i]) in chosen)
            assert weights[r, i].item() == pytest.approx(weight.item(), rel=1e-6, abs=1e-9)
            assert losses[r, i].item() == pytest.approx(plain(*args, weight).item(), rel=1e-6)


def test_the_port_is_its_loss_with_means_over_its_own_rows(run):
    students = students_of(run, "port")
    batch = batch_of(students, students._context)
    losses, weights = students.objective(batch)
    assert weights is None
    for r in range(2):
        whole = PortedRevisionLoss()(batch.logits[r], batch.teacher_logits[r], batch.labels[r])
        assert losses[r].mean().item() == pytest.approx(whole.item(), rel=1e-12)


def test_a_selection_without_revision_takes_the_teacher_as_it_is(run):
    students = students_of(run, "loss")
    batch = batch_of(students, students._context)
    losses, weights = students.objective(batch)
    expected = DistillationLoss(temperature=2.0, alpha=1.0, reduction="none")(
        batch.logits, batch.teacher_logits, batch.labels, weights
    )
    p = (batch.teacher_logits / 2.0).softmax(-1)
    entropy = -(p * p.log()).sum(-1) * 4.0  # DistillationLoss is a cross-entropy, not a divergence
    torch.testing.assert_close(losses, expected - weights * entropy, rtol=1e-12, atol=1e-12)


def test_what_the_teacher_would_say_of_other_rows_changes_nothing(run):
    """Its logits of Set I are made NaN: what is trained is the same bit by bit."""
    trained = [students_of(run, "both") for _ in range(2)]
    teacher = trained[1].objective.teacher
    table = teacher.expand(2, *teacher.shape).clone()
    for r in range(2):
        left = scores_of(run, "both", r).query("not selected").index.to_list()
        assert len(left) == 54
        table[r, left] = torch.nan
    object.__setattr__(trained[1].objective, "teacher", table)
    for students in trained:
        students.train()
    for name, value in trained[0].net.parameters().items():
        assert torch.equal(value, trained[1].net.parameters()[name])


class Counting(nn.Module):
    """A network that notes how many rows it is shown, and which."""

    def __init__(self, network):
        super().__init__()
        self.network, self.shown = network, []

    def forward(self, x):
        self.shown.append(x.detach().clone())
        return self.network(x)


AUGMENTED = {
    "backend": "sequential", "student": {"model": LINEAR}, "replicas": 2,
    "data": {"name": "digits", "test": 300, "validation": 200, "reserved": 150, "crop": 1},
    "teachers": {"main": {"model": LINEAR, "epochs": 2}},
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    arms = {name: ARMS[name] for name in ("both", "kd", "wsl", "loss")}
    study = resolve_study(study_of(arms, **AUGMENTED))
    return study, run_study(study, tmp_path_factory.mktemp("images") / "run", device="cpu")


@pytest.mark.parametrize(("arm", "rows"), [("both", 36), ("wsl", 36), ("loss", 36), ("kd", 90)])
def test_the_teacher_is_asked_about_selected_rows_alone(images, arm, rows):
    study, run = images
    context = open_study(study, run.directory, torch.device("cpu"))
    students = Students(context, arm, 0.1, [0])
    (network,) = students.objective.networks
    counting = Counting(network)
    object.__setattr__(students.objective, "networks", [counting])
    students.train()
    assert sum(len(x) for x in counting.shown) == rows * study.schedule.epochs
    if arm == "kd":
        return
    # Every view that it was shown is one of a selected row, in the epoch's augmentation.
    chosen = scores_of(run, arm, 0).query("selected").index.to_list()
    views = [context.inputs.training(torch.as_tensor(chosen)[None], [0], e)[0] for e in range(1, 5)]
    known = {x.numpy().tobytes() for view in views for x in view}
    assert {x.numpy().tobytes() for shown in counting.shown for x in shown} <= known


def test_a_recorded_epoch_asks_about_all_rows_and_trains_the_same(images):
    study, run = images
    trained = []
    for recorded in (set(), {2}):
        context = open_study(study, run.directory, torch.device("cpu"))
        students = Students(context, "both", 0.1, [0])
        counting = Counting(students.objective.networks[0])
        object.__setattr__(students.objective, "networks", [counting])
        seen = []
        students.train(score_epochs=recorded, on_batch=lambda batch, _, seen=seen: seen.append(batch))
        assert sum(len(x) for x in counting.shown) == 36 * 4 + (90 - 36) * len(recorded)
        trained.append(students.net.parameters())
        if recorded:
            asked = torch.cat([b.teacher_logits[0] for b in seen if b.epoch == 2])
            assert (asked.abs().sum(-1) > 0).all()
            said = counting.network(torch.cat([b.inputs[0] for b in seen if b.epoch == 2]))
            torch.testing.assert_close(asked, said)
    for name, value in trained[0].items():
        assert torch.equal(value, trained[1][name])


def test_scores_of_the_teacher_are_those_of_its_answers(run):
    logits = run.teacher("main")
    by_id = dict(zip(logits.sample_ids.tolist(), np.asarray(logits.logits, dtype=np.float64), strict=True))
    context = open_study(resolve_study(study_of(ARMS)), run.directory, torch.device("cpu"))
    for replica in range(4):
        rows = drawn_rows(context, replica)
        assert len(rows) == 90
        for arm in ("loss", "margin", "gradient_norm"):
            assert set(scores_of(run, arm, replica).index) == set(rows)
        loss, margin = scores_of(run, "loss", replica), scores_of(run, "margin", replica)
        for i in rows:
            z, y = by_id[int(i)], int(context.dataset.labels[i])
            assert loss.loc[i, "label"] == y
            assert loss.loc[i, "score"] == pytest.approx(-math.log(softmax(z)[y]), rel=1e-4, abs=1e-5)
            assert margin.loc[i, "score"] == pytest.approx(z[y] - np.delete(z, y).max(), rel=1e-4, abs=1e-4)
        assert loss["selected"].sum() == 36
        assert loss.query("selected")["score"].max() <= loss.query("not selected")["score"].min()
        for label, own in margin.groupby("label"):
            assert own["selected"].sum() == math.floor(0.4 * len(own) + 0.5), label
            assert own.query("selected")["score"].min() >= own.query("not selected")["score"].max()


def test_scores_of_a_record_are_its_means(run):
    rows = run.records(arm="kd", split="train", view="augmented")
    for arm, column in (("bias", "bias_gradient"), ("variance", "variance_gradient")):
        means = rows.groupby(["replica", "sample_id"])[column].mean()
        table = run.method_table("selection_scores", arm).set_index(["replica", "sample_id"])["score"]
        np.testing.assert_allclose(table.sort_index(), means.sort_index(), rtol=1e-5, atol=1e-6)
    assert run.study["arms"]["kd"]["record"] == {"epochs": "all", "rows": "all", "clean_train": True}


def test_random_scores_are_drawn_anew_for_each_replica_and_not_for_each_arm(run):
    first, other = (run.method_table("selection_scores", arm) for arm in ("both", "wsl"))
    assert first.equals(other)
    shared = first.pivot(index="sample_id", columns="replica", values="score").dropna(thresh=2)
    assert (shared.nunique(axis=1) > 1).all()


def test_the_influence_of_a_replica_is_of_its_own_teacher_on_validation_rows(run):
    context = open_study(resolve_study(study_of(ARMS)), run.directory, torch.device("cpu"))
    for replica in (0, 3):
        network = teacher_networks(context, "own", [replica])[0]
        weight, bias = network.state_dict()["layers.1.weight"].double(), network.state_dict()["layers.1.bias"].double()
        first, shift = network.state_dict()["layers.0.weight"], network.state_dict()["layers.0.bias"]

        def inside(ids, first=first, shift=shift):
            return torch.relu(context.inputs.clean(torch.as_tensor(ids)) @ first.T + shift).double()

        rows, held = drawn_rows(context, replica), context.blocks["validation"]
        features, others = inside(rows), inside(held)
        labels = context.dataset.labels
        head = SoftmaxHead(others.numpy(), (others @ weight.T + bias).numpy(), labels[held].astype(np.int64))
        evidence = Evidence(
            rows, labels[rows].astype(np.int64), logits=(features @ weight.T + bias).numpy(), features=features.numpy(),
            held_out=head, damping=0.1,
        )  # fmt: skip
        stored = scores_of(run, "influence", replica).loc[rows, "score"]
        np.testing.assert_allclose(stored, influence(evidence), rtol=1e-3, atol=1e-5)


def test_scores_of_students_are_of_the_arm_that_is_named(run):
    context = open_study(resolve_study(study_of(ARMS)), run.directory, torch.device("cpu"))
    import safetensors.torch

    from biasvar.records.schema import weights_path

    saved = safetensors.torch.load_file(weights_path(run.directory, "ce", 0))
    rows = drawn_rows(context, 2)
    x = context.inputs.clean(torch.as_tensor(rows))
    features = torch.relu(x @ saved["2.layers.0.weight"].T + saved["2.layers.0.bias"])
    logits = features @ saved["2.layers.1.weight"].T + saved["2.layers.1.bias"]
    evidence = Evidence(
        rows, context.dataset.labels[rows].astype(np.int64), logits=logits.double().numpy(),
        features=features.double().numpy(),
    )  # fmt: skip
    stored = scores_of(run, "self_influence", 2).loc[rows, "score"]
    np.testing.assert_allclose(stored, self_influence(evidence), rtol=1e-3, atol=1e-5)


def test_the_record_says_who_was_taught(run):
    rows = run.records(arm="both", split="train", view="augmented", epochs=[4]).set_index(["replica", "sample_id"])
    table = run.method_table("selection_scores", "both").set_index(["replica", "sample_id"])
    np.testing.assert_array_equal(rows["loss_weight"].sort_index(), table["selected"].sort_index().astype(float))
    assert rows["teacher_loss"].notna().all()
    assert run.entry("both").setting("selection")["score"] == "random"
    assert run.entry("both").setting("revision") == {"eta": 0.8, "rows": "all"}
    assert not (run.directory / "selection_scores" / "arm=lr").exists()


@pytest.mark.parametrize("arm", ["both", "influence"])
def test_it_goes_on_where_it_stopped(run, arm, tmp_path, monkeypatch):
    study = resolve_study(study_of({"kd": ARMS["kd"], arm: ARMS[arm]}))
    whole = run_study(study, tmp_path / "whole", device="cpu")
    interrupted(monkeypatch, study, tmp_path / "parts", after=2)
    assert contents(run_study(study, tmp_path / "parts", device="cpu").directory) == contents(whole.directory)
    assert any("selection_scores" in name for name in contents(whole.directory))


def test_one_by_one_is_together(run, tmp_path):
    arms = {name: ARMS[name] for name in ("kd", "both", "port", "wsl", "influence")}
    run_study(resolve_study(study_of(arms, backend="sequential")), tmp_path / "run", device="cpu")
    alone = open_run(tmp_path / "run")
    for arm in ("both", "wsl", "influence"):
        mine, theirs = (r.method_table("selection_scores", arm) for r in (alone, run))
        assert mine["selected"].equals(theirs["selected"])
    for arm in arms:
        np.testing.assert_allclose(
            alone.predictions(arm).mean_log_probs, run.predictions(arm).mean_log_probs, rtol=2e-3, atol=2e-4
        )


def test_a_bootstrap_draw_is_scored_once_a_row(tmp_path):
    study = resolve_study(study_of({"both": ARMS["both"], "port": ARMS["port"]}, draw={"kind": "bootstrap"}))
    run = run_study(study, tmp_path / "run", device="cpu")
    table, drawn = run.method_table("selection_scores", "both"), run.membership
    for _, own in table.groupby("replica"):
        assert set(own["sample_id"]) == set(drawn.loc[drawn["replica"] == own["replica"].iloc[0], "sample_id"])
        assert own["selected"].sum() == math.floor(0.4 * len(own) + 0.5)


def test_the_head_is_the_layer_that_answers():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    assert head_of(network, torch.randn(5, 3)) is network[3]
    assert network.training
    with pytest.raises(ValueError, match="Sequential does not end in a linear layer: what its linear layers give is"):
        head_of(nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1)), torch.randn(5, 3))
    with pytest.raises(ValueError, match="ReLU does not end in a linear layer: it has no linear layer"):
        head_of(nn.ReLU(), torch.randn(5, 3))


def test_what_a_head_is_given_gives_what_it_answers(run):
    context = open_study(resolve_study(study_of(ARMS)), run.directory, torch.device("cpu"))
    network = teacher_networks(context, "main", [0])[0]
    ids = torch.as_tensor(context.blocks["validation"])
    features, logits, bias = head_pass(network, context.inputs, ids)
    layer = head_of(network, context.inputs.clean(ids[:1]))
    assert bias
    np.testing.assert_allclose(features @ layer.weight.numpy().T + layer.bias.numpy(), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, network(context.inputs.clean(ids)).numpy(), rtol=1e-5, atol=1e-5)


ENSEMBLE = {"main": {"hidden": [16], "epochs": 6}, "other": {"hidden": [8]}, "both": {"mean_of": ["main", "other"]}}


@pytest.mark.parametrize(
    ("arm", "more", "message"),
    [
        (LR, {}, r"arms\.a\.revision: needed, or selection, or preset: rld_port; without all of them take loss: dist"),
        (LR | {"revision": {"eta": 1.5}}, {}, r"arms\.a\.revision\.eta: must be less than or equal to 1, not 1\.5"),
        (LR | {"revision": {"eta": -0.1}}, {}, r"arms\.a\.revision\.eta: must be greater than 0, not -0\.1"),
        (LR | {"revision": {"eta": 0}}, {}, r"arms\.a\.revision\.eta: must be greater than 0, not 0"),
        (LR | {"revision": {"rows": "rong"}}, {}, r"arms\.a\.revision\.rows: .*not 'rong', did you mean 'wrong'"),
        (LR | {"revision": {}, "ce_rest": 2}, {}, r"arms\.a\.ce_rest: without a selection no row is left out"),
        (LR | {"revision": {}, "distill": 0}, {}, r"arms\.a\.distill: 0 leaves nothing .*take loss: cross_entropy"),
        (LR | {"preset": "rld_port"}, {}, r"arms\.a\.temperature: preset rld_port has constants of its own"),
        (LR | {"selection": lowest("influense")}, {}, r"arms\.a\.selection\.score: .*not 'influense', did you mean"),
        (LR | {"selection": {"score": "loss", "keep": 0.5}}, {}, r"arms\.a\.selection: which: needed, highest or low"),
        (LR | {"selection": lowest("random")}, {}, r"arms\.a\.selection: which: random scores have no end"),
        (LR | {"selection": lowest("loss", keep=0.0)}, {}, r"arms\.a\.selection\.keep: must be greater than 0"),
        (LR | {"selection": lowest("wsl_weight")}, {}, r"arms\.a\.selection: arm: needed for score wsl_weight"),
        (LR | {"selection": lowest("loss", model="student")}, {}, r"selection: arm: needed for model student"),
        (LR | {"selection": lowest("loss", arm="ce")}, {}, r"selection: arm: not used by score loss of the teacher"),
        (LR | {"selection": lowest("wsl_weight", arm="ce", model="student")}, {}, r"model: score wsl_weight asks no"),
        (LR | {"selection": lowest("loss", damping=1)}, {}, r"selection: damping: score loss has no Hessian"),
        (LR | {"selection": lowest("bias_gradient", arm="cee")}, {}, r"arms\.a\.selection\.arm: no arm named 'cee'"),
        (LR | {"selection": lowest("bias_gradient", arm="a")}, {}, r"arms\.a: needs its own record"),
        (
            {**ARMS["wsl"], "shuffle": True}, {}, r"arms\.a\.shuffle: not with a selection, whose rows have no weight",
        ),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_when_they_are_read(arm, more, message):
    with pytest.raises(StudyError, match=message):
        resolve_study(study_of({"ce": {"loss": "cross_entropy"}, "a": arm}, **more))


@pytest.mark.parametrize(
    ("arm", "more", "message"),
    [
        (LR | {"selection": lowest("loss", keep=0.004)}, {}, r"keep: 0\.004 of the 90 rows of replica 0 keeps noth"),
        (LR | {"selection": lowest("loss", keep=0.011)}, {}, r"keep: 0\.011 of the 90 rows of replica 0 keeps rows"),
        (
            LR | {"selection": {"score": "random", "keep": 0.02}}, {"seed": 9, "replicas": 60},
            r"arms\.a: .*selection: of replica \d+: keep 0\.02 of 90 rows keeps 2 of class \d only; take a",
        ),
        (
            LR | {"teacher": "both", "selection": lowest("influence")}, {"teachers": ENSEMBLE},
            r"arms\.a\.selection\.score: influence is of the last, linear layer, and both is an ensemble, which",
        ),
        (
            LR | {"teacher": "main", "selection": lowest("gradient_norm")},
            {"teachers": {"main": {"model": HEADLESS}}, "student": {"model": LINEAR}, "backend": "sequential"},
            r"selection\.score: gradient_norm is of the last, linear layer, and the network of main, Sequential does "
            r"not end in a linear layer: it has no linear layer; take score loss or margin, or a network that ends in",
        ),
        (
            LR | {"teacher": "main", "selection": lowest("influence", model="student", arm="ce")},
            {"teachers": {"main": {"hidden": [8]}}, "student": {"model": HEADLESS}, "backend": "sequential"},
            r"selection\.score: influence is of the last, linear layer, and the network of ce, Sequential does not end",
        ),
    ],
)  # fmt: skip
def test_selections_that_cannot_be_made_are_refused_before_anything_is_trained(arm, more, message, tmp_path):
    study = resolve_study(study_of({"ce": {"loss": "cross_entropy"}, "a": arm}, **more))
    with pytest.raises(StudyError, match=message):
        open_study(study, tmp_path / "run", torch.device("cpu"))
    assert not (tmp_path / "run").exists()


def test_every_replica_keeps_rows_of_two_classes_if_each_keeps_its_share(tmp_path):
    """A share that is a row of two classes or more in replica 0 may be less than half a row in another."""
    study = resolve_study(study_of({"a": LR | {"selection": lowest("loss", keep=0.042, per_class=True)}}))
    with pytest.raises(StudyError, match=r"a\.selection\.keep: 0\.042 of the 90 rows of replica 1 keeps rows of one"):
        open_study(study, tmp_path / "run", torch.device("cpu"))


def test_an_arm_that_records_its_own_teacher_may_be_selected_by(tmp_path):
    joint = {"loss": "prokt", "pull": 0.3, "joint_teacher": {"hidden": [8]}}
    study = study_of({"joint": joint, "a": LR | {"selection": lowest("wsl_weight", arm="joint")}})
    assert open_study(resolve_study(study), tmp_path / "run", torch.device("cpu"))


@pytest.mark.parametrize("key", ["selection.arm", "weights_from"])
def test_an_arm_that_is_trained_on_part_of_its_rows_has_no_record_to_go_by(key, tmp_path):
    search = {"loss": "dfa_search", "teacher": "main", "searched": "together"}
    by = {"selection": lowest("wsl_weight", arm="search")}
    if key == "weights_from":
        arm = {"loss": "distillation", "teacher": "main", "temperature": 2, "alpha": 1, key: "search"}
    else:
        arm = LR | {"teacher": "main"} | by
    convnets = {"teachers": {"main": {"model": "convnet"}}, "student": {"model": "convnet"}, "backend": "sequential"}
    study = resolve_study(study_of({"search": search, "a": arm}, **convnets))
    with pytest.raises(StudyError, match=rf"arms\.a\.{key}: arm search is trained on 45 of the 90 rows that replica 0"):
        open_study(study, tmp_path / "run", torch.device("cpu"))


def test_a_dry_run_refuses_them_too(tmp_path, capsys):
    import yaml

    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study_of({"a": LR | {"selection": lowest("loss", keep=0.004)}})))
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 2
    assert "arms.a.selection.keep: 0.004 of the 90 rows of replica 0 keeps nothing" in capsys.readouterr().err


def test_influence_needs_validation_rows():
    raw = study_of({"a": LR | {"selection": lowest("influence")}})
    raw["data"] = {**raw["data"], "validation": 0}
    with pytest.raises(
        StudyError, match=r"data\.validation: must be greater than or equal to 2, or must be greater than 0, not 0"
    ):
        resolve_study(raw)


def test_the_settings_are_in_the_dry_run_and_in_the_identity(tmp_path):
    study = resolve_study(study_of(ARMS))
    said = describe(study, tmp_path)
    assert "  wsl_weight: label_revision, selected 0.4 by lowest wsl_weight of ce, teacher main" in said
    assert "  margin: label_revision, selected 0.4 by highest margin in each class, teacher main" in said
    assert "  lr: label_revision, revised by eta 0.8 where the teacher is wrong, teacher main" in said
    assert study.order().index("ce") < study.order().index("wsl_weight")
    hashes = {study.hash}
    for change in ({"seed": 1}, {"keep": 0.5}, {"score": "loss", "which": "lowest"}):
        arms = copy.deepcopy(ARMS)
        arms["both"]["selection"] = {**RANDOM, **change}
        hashes.add(resolve_study(study_of(arms)).hash)
    assert len(hashes) == 4
