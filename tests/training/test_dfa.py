"""DFA against loops written from the paper: the search in first order, the distillation, what they refuse."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.errors import RecordError, StudyError
from biasvar.records import RunWriter
from biasvar.run import describe, main
from biasvar.study import resolve_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.methods import Step
from biasvar.training.students import Students
from biasvar.training.teachers import teacher_networks
from tests.training.test_execute import contents
from tests.training.test_methods import interrupted, study_of

NETWORKS = "tests.training.tapped_networks"
SEARCH = {"loss": "dfa_search", "teacher": "main", "beta_rate": 0.05}
SEARCHED = {"loss": "dfa", "teacher": "main", "search": "search"}


def dfa_study(arms, *, teacher="Teacher", student="Student", **more):
    teachers = {"main": {"model": f"{NETWORKS}:{teacher}", "epochs": 1}}
    given = {"backend": "sequential", "replicas": 2, "student": {"model": f"{NETWORKS}:{student}"}}
    return study_of(arms, **{**given, "teachers": teachers, "soft_labels": {}, **more})


def prepared(study, directory, arm="arm"):
    """The students of replica 1 of an arm of a study whose teachers are trained, with the study's context."""
    resolved = resolve_study(study)
    plain = resolve_study(study | {"arms": {"ce": {"loss": "cross_entropy"}}})
    run_study(plain, directory, device="cpu")
    context = open_study(resolved, directory, torch.device("cpu"))
    return Students(context, arm, 0.1, [1]), context


def batches(trained, context, epoch, rows=None, purpose="order"):
    """The sample ids of each batch of an epoch."""
    rows = trained.rows if rows is None else rows
    size = context.study.schedule.batch_size
    order = rows.orders(context.study.seed, epoch, purpose)[0]
    ids = torch.as_tensor(rows.ids[0][order])
    return [ids[i : i + size] for i in range(0, len(ids), size)], ids


def optimizer_of(context, *modules):
    schedule = context.study.schedule
    return torch.optim.SGD(
        nn.ModuleList(modules).parameters(), lr=1.0, momentum=schedule.momentum, nesterov=schedule.nesterov,
        weight_decay=schedule.weight_decay,
    )  # fmt: skip


def apart(one, other):
    """The largest difference of two modules, relative to the largest value of its tensor where that is above 1."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max([((a.double() - b).abs().max() / max(b.abs().max(), 1)).item() for a, b in pairs], default=0.0)


@pytest.mark.parametrize("norm", [True, False])
def test_all_weight_on_the_last_layer_is_ordinary_distillation_of_that_feature(norm, tmp_path):
    """Students and connectors after 2 epochs against a loop of CE + 0.7 (|F(S_1) - c|^2 + |F(S_2) - e|^2), means."""
    arm = {"loss": "dfa", "teacher": "main", "weights": "last", "distill_weight": 0.7, "connector_norm": norm}
    trained, context = prepared(dfa_study({"arm": arm}, schedule={"epochs": 2, "batch_size": 40}), tmp_path)
    student = copy.deepcopy(trained.net.network)
    one, two = (copy.deepcopy(connector) for connector in trained.objective.state.connectors.student)
    (teacher,) = teacher_networks(context, "main", [1])
    trained.train()
    optimizer = optimizer_of(context, student, one, two)
    rate = context.rate_of(0.1, 2)
    steps = 0
    for epoch in range(1, 3):
        for ids in batches(trained, context, epoch)[0]:
            x, y = context.inputs.clean(ids), context.labels[ids]
            first = student.first(x)
            second = student.second(F.max_pool2d(F.relu(first), 2))
            with torch.no_grad():
                (_, _, c), (_, e) = teacher.layers(x)
            loss = F.cross_entropy(student.after_second(second), y)
            loss = loss + 0.7 * (F.mse_loss(one(first), c) + F.mse_loss(two(second), e))
            optimizer.param_groups[0]["lr"] = rate(steps, 3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    assert apart(student, trained.net.network) < 1e-6
    assert apart(nn.ModuleList([one, two]), trained.objective.state.connectors.student) < 1e-6


def searched_by_hand(trained, context, settings):
    """The search written from the paper: the student and connectors after all epochs, the weights and answers of each.

    The answers are what the label's part of the loss was right about on the rows that train beta, by group.
    """
    state = trained.objective.state
    student, connectors = copy.deepcopy(trained.net.network), copy.deepcopy(state.connectors)
    (teacher,) = teacher_networks(context, "main", [1])
    betas = [torch.zeros(3, requires_grad=True), torch.zeros(2, requires_grad=True)]
    adam = torch.optim.Adam(betas, lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3)
    optimizer = optimizer_of(context, student, connectors)
    epochs, together = context.study.schedule.epochs, settings.searched == "together"

    def loss(student, connectors, ids, weights, groups, right=None):
        x, y = context.inputs.clean(ids), context.labels[ids]
        first = student.first(x)
        features = [first, student.second(F.max_pool2d(F.relu(first), 2))]
        with torch.no_grad():
            layers = teacher.layers(x)
        total = 0.0
        if settings.objective == "student":
            said = student.after_second(features[1])
            total = F.cross_entropy(said, y)
        for i in groups:
            target = sum(weight * layer for weight, layer in zip(weights[i], layers[i], strict=True))
            total = total + settings.gamma_st * F.mse_loss(connectors.student[i](features[i]), target)
            if settings.objective == "bridge":
                rest = [student.after_first, student.after_second][i]
                said = rest(connectors.teacher[i](target))
                total = total + settings.gamma_ts * F.cross_entropy(said, y)
            if right is not None:
                right[i] += (said.argmax(1) == y).tolist()
        return total

    found, answers = [[beta.softmax(0).tolist() for beta in betas]], []
    for epoch in range(1, epochs + 1):
        right = [[], []]
        part = (epoch - 1) // (epochs // 2)
        groups = [0, 1] if together else [part]
        mine = batches(trained, context, epoch)[0]
        _, others = batches(trained, context, epoch, state.rows, "search order")
        for number, ids in enumerate(mine):
            there = torch.stack([others[k % len(others)] for k in range(number * 20, number * 20 + 20)])
            frozen = copy.deepcopy((student, connectors))
            value = loss(*frozen, there, [beta.softmax(0) for beta in betas], groups, right)
            for i in groups:
                a = betas[i].softmax(0)
                value = value - settings.entropy * (a * a.log()).sum()
            adam.zero_grad()
            value.backward()
            for i in {0, 1} - set(groups):
                betas[i].grad = None
            adam.step()
            value = loss(student, connectors, ids, [beta.detach().softmax(0) for beta in betas], groups)
            steps = len(mine) * (epoch - 1) + number
            rate = context.rate_of(0.1, 4)(steps, len(mine))
            if not together:
                rate = context.rate_of(0.1, 2)(steps - part * 2 * len(mine), len(mine))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        found.append([beta.softmax(0).tolist() for beta in betas])
        answers.append([(np.mean(said), len(said)) if said else (np.nan, 0) for said in right])
    return student, connectors, found, np.array(answers)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"searched": "together", "gamma_st": 0.3, "entropy": 0.1},
        {"objective": "student", "gamma_st": 2.0},
        {"objective": "student", "searched": "together", "connector_norm": False},
        {"gamma_st": 0.0, "gamma_ts": 0.5, "split": 0.6},
    ],
)
def test_the_search_is_the_loop_of_the_paper_in_first_order(more, tmp_path):
    study = dfa_study({"arm": SEARCH | more}, schedule={"epochs": 4, "batch_size": 20})
    trained, context = prepared(study, tmp_path)
    settings = context.study.arms["arm"]
    student, connectors, by_hand, answers = searched_by_hand(trained, context, settings)
    trained.train()
    frame = trained.objective.method.tables(trained.objective.state)["feature_weights"]
    found = np.reshape(frame["weight"], (5, 5))
    expected = np.array([[*first, *second] for first, second in by_hand])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found[-1] - found[0]).max() > 0.02  # it moved
    told = np.stack([np.array(frame[name], dtype=float).reshape(5, 5) for name in ("accuracy", "rows")], axis=-1)
    assert np.isnan(told[0, :, 0]).all()
    assert (told[0, :, 1] == 0).all()
    rows = np.minimum(answers[:, [0, 0, 0, 1, 1], 1], trained.objective.state.rows.ids.shape[1])
    np.testing.assert_array_equal(told[1:, :, 1], rows)
    np.testing.assert_allclose(told[1:, :, 0], answers[:, [0, 0, 0, 1, 1], 0], atol=1e-6)
    assert apart(student, trained.net.network) < 1e-5
    back = connectors.teacher if settings.objective == "bridge" else nn.ModuleList()
    assert apart(connectors.student, trained.objective.state.connectors.student) < 1e-5
    assert apart(back, trained.objective.state.connectors.teacher) < 1e-5


def test_the_rows_are_cut_into_two_parts(tmp_path):
    trained, context = prepared(dfa_study({"arm": SEARCH | {"split": 0.3}}), tmp_path)
    mine, others = trained.rows.ids[0], trained.objective.state.rows.ids[0]
    assert (len(mine), len(others)) == (27, 63)
    np.testing.assert_array_equal(np.sort([*mine, *others]), np.sort(context.rows([1]).ids[0]))


def made(more, rate, tmp_path):
    """The students of a teacher that has a blank layer and one that is the image, trained to their end."""
    arm = SEARCH | {"gamma_st": 0.0, "gamma_ts": 0.0, **more}
    study = dfa_study(
        {"arm": arm}, teacher="Made", student="OneLayer", draw={"kind": "subsample", "rows": 600},
        schedule={"epochs": 10, "batch_size": 20},
    )  # fmt: skip
    _, context = prepared(study, tmp_path)
    trained = Students(context, "arm", rate, [1])
    trained.train()
    return trained


def test_the_way_from_student_to_teacher_moves_to_the_layer_that_is_nearest(tmp_path):
    trained = made({"gamma_st": 1.0, "beta_rate": 0.2}, 0.1, tmp_path)
    blank, image = trained.objective.state.weights(0).tolist()
    assert blank > 0.9 > image


def test_the_way_from_teacher_to_student_moves_to_the_layer_that_carries_the_label(tmp_path):
    """80 steps of beta, once w has been trained while both layers counted alike."""
    trained = made({"gamma_ts": 1.0, "beta_rate": 1e-9, "connector_norm": False}, 0.3, tmp_path)
    state, method = trained.objective.state, trained.objective.method
    np.testing.assert_allclose(state.weights(0).detach(), 0.5, atol=1e-5)
    state.optimizer.param_groups[0]["lr"] = 0.05
    for number in range(80):
        ids = torch.as_tensor(state.rows.ids[:, :20])
        step = Step(ids=ids, inputs=ids, labels=ids, epoch=1, number=number, rate=0.3, phase="0")
        method.before_forward(state, trained.net, step)
    blank, image = state.weights(0).tolist()
    assert image > 0.9 > blank


def test_the_first_gradient_of_the_weights_is_that_of_the_squared_distance(tmp_path):
    """d/d beta_k of mean (F - sum_j a_j T_j)^2 is -2 mean ((F - A) (T_k - A)) a_k; Adam's first step is its sign."""
    arm = SEARCH | {"gamma_ts": 0.0, "beta_decay": 0.0}
    trained, context = prepared(dfa_study({"arm": arm}), tmp_path)
    state, method = trained.objective.state, trained.objective.method
    (teacher,) = teacher_networks(context, "main", [1])
    ids = batches(trained, context, 1, state.rows, "search order")[1][:40]
    x = context.inputs.clean(ids)
    layers = torch.stack(teacher.layers(x)[0])
    with torch.no_grad():
        mapped = copy.deepcopy(state.connectors.student[0])(trained.net.network.first(x))
    a = torch.full((3,), 1 / 3)
    target = layers.mean(0)
    gradient = torch.stack([-2 * ((mapped - target) * (layer - target)).mean() for layer in layers]) * a
    step = Step(ids=ids[None], inputs=x[None], labels=context.labels[ids][None], epoch=1, rate=0.1, phase="0")
    before = copy.deepcopy(trained.net.network)
    method.before_forward(state, trained.net, step)
    torch.testing.assert_close(state.betas[0].grad, gradient, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(state.betas[0].detach(), -0.05 * gradient.sign(), rtol=1e-3, atol=0)
    assert apart(before, trained.net.network) == 0  # the students and their running means are constants for beta


ARMS = {
    "search": SEARCH,
    "drift": SEARCH | {"objective": "student", "searched": "together"},
    "searched": SEARCHED,
    "average": {"loss": "dfa", "teacher": "main", "weights": "average"},
    "random": {"loss": "dfa", "teacher": "main", "weights": "random", "number": 3},
    "given": {"loss": "dfa", "teacher": "main", "weights": [[0.2, 0.3, 0.5], [1.0, 0.0]]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_study(resolve_study(dfa_study(ARMS)), tmp_path_factory.mktemp("dfa") / "run", device="cpu")


def test_the_weights_of_a_search_are_a_table_of_the_run(run):
    frame = run.method_table("feature_weights", "search")
    assert len(frame) == 2 * 5 * 5
    np.testing.assert_allclose(frame.groupby(["replica", "epoch", "group"])["weight"].sum(), 1.0, rtol=1e-6)
    first = frame[(frame["replica"] == 0) & (frame["epoch"] == 0)]
    assert first["teacher_module"].tolist() == ["a", "b", "c", "d", "e"]
    assert first["student_module"].tolist() == ["first"] * 3 + ["second"] * 2
    assert first[["height", "width"]].to_numpy().tolist() == [[8, 8]] * 3 + [[4, 4]] * 2
    np.testing.assert_allclose(first["weight"], [1 / 3] * 3 + [1 / 2] * 2, rtol=1e-6)
    by_epoch = frame.pivot(index=["replica", "epoch"], columns=["group", "layer"], values="weight").loc[0]
    assert (by_epoch[1].iloc[1:3] == 0.5).all(axis=None)  # in turn: the second group waits for the first
    assert not np.allclose(by_epoch[1].iloc[3:], 0.5)
    assert (by_epoch[0].iloc[3] == by_epoch[0].iloc[2]).all()
    with pytest.raises(RecordError, match="holds no feature_weights of arm 'average'"):
        run.method_table("feature_weights", "average")
    with pytest.raises(RecordError, match=r"unknown table 'feature_weight'; did you mean 'feature_weights'"):
        run.method_table("feature_weight", "search")


def test_the_weights_that_a_replica_is_distilled_with_are_its_own_last_ones(run):
    from biasvar.training.feature_groups import feature_groups
    from biasvar.training.methods.dfa import layer_weights

    study = resolve_study(dfa_study(ARMS))
    context = open_study(study, run.directory, torch.device("cpu"))

    def of(arm, replica):
        settings = study.arms[arm]
        return layer_weights(context, settings, feature_groups(context, settings), replica)

    frame = run.method_table("feature_weights", "search").query("epoch == 4")
    for r in (0, 1):
        np.testing.assert_array_equal(np.concatenate(of("searched", r)), frame.query("replica == @r")["weight"])
    assert not np.array_equal(of("searched", 0)[0], of("searched", 1)[0])
    np.testing.assert_array_equal(np.concatenate(of("average", 0)), [1 / 3] * 3 + [1 / 2] * 2)
    np.testing.assert_array_equal(np.concatenate(of("given", 0)), [0.2, 0.3, 0.5, 1.0, 0.0])
    drawn = of("random", 0)
    assert [len(row) for row in drawn] == [3, 2]
    np.testing.assert_allclose([row.sum() for row in drawn], 1.0)
    np.testing.assert_array_equal(drawn[0], of("random", 1)[0])


@pytest.mark.slow
def test_a_search_that_was_cut_off_goes_on_to_the_same_bytes(run, tmp_path, monkeypatch):
    study = resolve_study(dfa_study(ARMS))
    for after in (1, 2, 3):  # one run, cut off three times
        interrupted(monkeypatch, study, tmp_path / "one", after=after)
    again = run_study(study, tmp_path / "one", device="cpu")
    assert contents(again.directory) == contents(run.directory)
    several = run_study(study, tmp_path / "several", device="cpu", jobs=2)
    assert contents(several.directory) == contents(run.directory)


def test_a_search_whose_table_was_lost_is_made_again(run, tmp_path):
    import shutil

    shutil.copytree(run.directory, tmp_path / "run")
    (tmp_path / "run/feature_weights/arm=search/group=001.parquet").unlink()
    again = run_study(resolve_study(dfa_study(ARMS)), tmp_path / "run", device="cpu")
    assert contents(again.directory) == contents(run.directory)


def test_the_search_of_another_run_is_taken_over_with_its_table(run, tmp_path):
    import shutil

    shutil.copytree(run.directory, tmp_path / "run")
    study = resolve_study(dfa_study(ARMS | {"more": SEARCHED | {"distill_weight": 2.0}}, share=["run"]))
    found = run_study(study, tmp_path / "second", device="cpu")
    assert found.arm("search")["shared_from"] == ["tiny"]
    theirs = run.method_table("feature_weights", "search")
    assert found.method_table("feature_weights", "search").equals(theirs)


def test_features_that_are_kept_are_those_that_are_asked_for_anew(tmp_path, monkeypatch):
    from biasvar.training import aggregation

    trained, context = prepared(dfa_study({"arm": {"loss": "dfa", "teacher": "main", "weights": "average"}}), tmp_path)
    kept = trained.objective.state.targets
    monkeypatch.setattr(aggregation, "KEPT", 0)
    asked = Students(context, "arm", 0.1, [1]).objective.state.targets
    ids = torch.as_tensor(trained.rows.ids[0][[5, 0, 31]])
    for one, other in zip(*(some.at(ids, context.inputs.clean(ids)) for some in (kept, asked)), strict=True):
        torch.testing.assert_close(one, other)
        assert one.std() > 0.01
    assert asked._kept is None
    assert kept._kept is not None


def test_augmented_images_are_those_that_the_student_sees(tmp_path):
    """With crops, the features are asked for at every step, of the very image."""
    arms = {"search": SEARCH, "searched": SEARCHED}
    data = {"name": "digits", "test": 300, "validation": 200, "reserved": 150, "crop": 1}
    trained, context = prepared(dfa_study(arms, data=data), tmp_path, arm="search")
    assert trained.objective.state.teacher._kept is None
    trained.train()
    done = run_study(context.study, tmp_path / "run", device="cpu")
    assert np.isfinite(done.method_table("feature_weights", "search")["weight"]).all()


def test_students_of_an_arm_may_teach_features(tmp_path):
    arms = {
        "ce": {"loss": "cross_entropy", "student": {"model": f"{NETWORKS}:Teacher"}},
        "search": SEARCH | {"teacher": "ce"},
        "searched": SEARCHED | {"teacher": "ce"},
    }
    study = resolve_study(dfa_study(arms))
    found = run_study(study, tmp_path / "run", device="cpu")
    assert study.order() == ["ce", "search", "searched"]
    assert len(found.method_table("feature_weights", "search")) == 50


def test_a_dry_run_tells_the_settings(run):
    said = describe(resolve_study(dfa_study(ARMS)), run.directory)
    assert "  search: dfa_search, teacher main, connector norm True, objective bridge, searched in_turn" in said
    assert "weights random, number 3" in said


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"loss": "dfa", "teacher": "main"}, "search: needed for weights searched"),
        ({"loss": "dfa", "teacher": "main", "weights": "random"}, "number: needed for weights random"),
        (SEARCHED | {"weights": "last"}, "search: not used by weights last"),
        (SEARCHED | {"search": "serch"}, r"arms.arm.search: no arm named 'serch', did you mean 'search'"),
        (SEARCHED | {"weights": [[0.5, 0.6, 0.1]]}, "search: not used by weights given as lists"),
        (
            {"loss": "dfa", "teacher": "main", "weights": [[0.5, 0.6]]},
            r"weights: one list a group, each of weights that sum to 1, not \[0.5, 0.6\], which sums to 1.1",
        ),
        (SEARCH | {"gamma_st": 0, "gamma_ts": 0}, "gamma_st: 0 leaves nothing that depends on the layer weights"),
        (SEARCH | {"gamma_st": 0, "objective": "student"}, "gamma_st: 0 leaves nothing"),
        (SEARCH | {"beta_momenta": [0.5, 1.0]}, "beta_momenta: must be two numbers from 0 up and below 1"),
        (SEARCH | {"split": 1.0}, "arms.arm.split: must be less than 1"),
        (
            SEARCH | {"groups": [{"student": "first", "teacher": ["a"]}], "teacher_taps": ["a"]},
            "leave out teacher_taps",
        ),
        (SEARCH | {"groups": [{"student": "first", "techer": ["a"]}]}, "unknown key, did you mean 'teacher'"),
        (SEARCH | {"weights": "last"}, "weights: not used by loss dfa_search"),
    ],
)
def test_settings_that_cannot_be_are_named(arm, message):
    with pytest.raises(StudyError, match=message):
        resolve_study(dfa_study({"search": SEARCH, "arm": arm}))


def test_a_rate_is_not_chosen_on_students_that_answer_at_chance():
    """A student of the bridge loss does, whatever its rate: its head sees the teacher's features only."""
    last = {"loss": "dfa", "teacher": "main", "weights": "last"}
    rates = {"grid": [0.05, 0.1], "replicas": 2, "families": {"dfa_search": "search", "dfa": "last"}}
    study = dfa_study({"search": SEARCH, "last": last}, learning_rate=rates)
    message = (
        r"learning_rate.families.dfa_search: students of arm 'search' answer at chance at any rate \(the bridge loss"
    )
    with pytest.raises(StudyError, match=message):
        resolve_study(study)
    study["arms"]["search"] = SEARCH | {"objective": "student"}
    assert resolve_study(study).learning_rate.families["dfa_search"] == "search"


def test_students_of_the_bridge_loss_at_chance_are_no_warning(run, tmp_path, capsys):
    shutil.copytree(run.directory, tmp_path / "run")
    writer = RunWriter(tmp_path / "run", manifest=run.manifest, resume=True)
    for arm in ("search", "drift"):
        writer.update_arm(arm, failed_replicas=[{"replica": r, "reason": "at chance"} for r in (0, 1)])
    assert main([str(tmp_path / "run/study.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert "arm drift: 2 of 2 replicas at chance; its claims will be undecided" in said
    assert "arm search:" not in said


def group(student, *teacher):
    return {"groups": [{"student": student, "teacher": list(teacher)}]}


@pytest.mark.parametrize(
    ("arm", "more", "message"),
    [
        (SEARCH | group("frist", "a"), {}, r"arm.groups: no module of the student named 'frist', did you mean 'f"),
        (SEARCH | group("first", "a", "f"), {}, r"arms.arm.groups: no module of the teacher named 'f'; there is: a, b"),
        (SEARCH | {"teacher_taps": ["a", "bb"]}, {}, "arms.arm.teacher_taps: no module of the teacher named 'bb'"),
        (SEARCH | {"student_taps": ["firs"]}, {}, "arms.arm.student_taps: no module of the student named 'firs'"),
        (SEARCH | group("first", "a", "d"), {}, "groups: group 0: the student's first is 8x8 pixels, .* d 4x4"),
        (SEARCH | group("second", "e", "wide"), {}, r"group 0: the teacher's layers have 5, 7 channels"),
        (SEARCH | group("first", "a", "a"), {}, "group 0: the teacher's module 'a' is named more than once"),
        (SEARCH | group("head", "a"), {}, r"module 'head' of the student gives no feature map .* but shape \(1, 10\)"),
        (SEARCH | group("unused", "a"), {}, "module 'unused' of the student has no output: the netw"),
        (SEARCH | {"teacher_taps": ["d"], "student_taps": ["first"]}, {}, "no layers .* equal height .* 8x8, .*'s 4x4"),
        (SEARCH, {"teacher": "Nameless"}, r"arm.teacher_taps: the teacher's network \(Nameless\) names no"),
        (SEARCH, {"student": "Nameless"}, r"arms.arm.teacher_taps: the student's network .*as student_taps"),
        (SEARCH, {"teachers": {"main": {"hidden": [8], "epochs": 1}}}, r"the teacher's network .* names no features"),
        (
            {"loss": "dfa", "teacher": "main", "weights": [[0.5, 0.5], [1.0]]}, {},
            r"arms.arm.weights: the groups have \[3, 2\] layers of the teacher, the lists \[2, 1\] weights",
        ),
        (SEARCH, {"schedule": {"epochs": 1, "batch_size": 40}}, "arms.arm.searched: in_turn gives each of 2 groups"),
        (SEARCH, {"draw": {"kind": "subsample", "rows": 3}}, "arms.arm.split: 0.5 of 3 rows leaves 1 for the stu"),
        (SEARCHED | {"search": "other"}, {}, "arm.search: arm 'other' searched the weights of other groups"),
        (SEARCHED | {"search": "ce"}, {}, "arm.search: arm 'ce' has loss cross_entropy, which searches"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_the_networks_is_named_before_anything_is_trained(arm, more, message, tmp_path):
    arms = {"ce": {"loss": "cross_entropy"}, "arm": arm}
    if arm.get("search") == "other":
        arms["other"] = SEARCH | group("first", "a", "c")
    with pytest.raises(StudyError, match=message):
        run_study(resolve_study(dfa_study(arms, **more)), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_an_ensemble_has_no_layers(tmp_path):
    one = {"model": f"{NETWORKS}:Teacher", "epochs": 1}
    study = dfa_study({"arm": SEARCH | {"teacher": "both"}})
    study["teachers"] = {"main": one, "other": one, "both": {"mean_of": ["main", "other"]}}
    with pytest.raises(StudyError, match=r"arms.arm.teacher: both is an ensemble, which has no layers .*main, other"):
        run_study(resolve_study(study), tmp_path / "run", device="cpu")


def test_features_need_students_that_train_by_themselves(tmp_path):
    study = study_of({"arm": SEARCH})
    with pytest.raises(StudyError, match="trains one replica at a time; use backend: sequential"):
        run_study(resolve_study(study), tmp_path / "run", device="cpu")


def test_the_networks_of_biasvar_name_their_features():
    """A deep convolutional teacher has three layers of each size; a ResNet's blocks are grouped too."""
    from biasvar.training.feature_groups import by_size
    from biasvar.training.networks import build_network
    from biasvar.training.taps import feature_shapes, named_taps

    x = torch.zeros(1, 1, 16, 16)
    shapes = {}
    for name in ("convnet", "convnet_deep", "resnet14"):
        network = build_network(name, in_channels=1, num_classes=10)
        shapes[name] = feature_shapes(network, x, named_taps(network), of="network")
        assert network.training
    assert [tuple(shape) for shape in shapes["convnet"].values()] == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]
    deep, residual = (by_size(shapes["convnet"], shapes[name]) for name in ("convnet_deep", "resnet14"))
    assert [group.teacher for group in deep] == [tuple(f"norms.{3 * i + j}" for j in range(3)) for i in range(3)]
    assert [group.teacher for group in residual] == [(f"layer{i}.0", f"layer{i}.1") for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("arm", "schedule", "fits"),
    [
        ({}, {"batch_size": 89}, False),  # 90 rows
        ({}, {"batch_size": 88}, True),
        ({"connector_norm": False}, {"batch_size": 89}, True),
        ({"selection": {"score": "random", "keep": 0.5}}, {"batch_size": 30}, False),
        ({"loss": "dfa_search", "searched": "together"}, {"batch_size": 44}, False),  # 45 rows train the student
        ({"loss": "dfa_search", "searched": "together"}, {"batch_size": 89}, True),
    ],
)
def test_a_batch_of_one_row_and_one_pixel_is_refused_before_anything_is_trained(arm, schedule, fits, tmp_path):
    """BatchNorm of a connector has no variance of a single value."""
    groups = [{"student": "pools.2", "teacher": ["pools.2"]}]
    entry = {"loss": "dfa", "teacher": "main", "groups": groups, **arm}
    entry |= {"weights": "last"} if entry["loss"] == "dfa" else {}
    convnets = {"teachers": {"main": {"model": "convnet"}}, "student": {"model": "convnet"}, "backend": "sequential"}
    study = resolve_study(study_of({"a": entry}, schedule={"epochs": 2, **schedule}, **convnets))
    if fits:
        open_study(study, tmp_path / "run", torch.device("cpu"))
        return
    with pytest.raises(StudyError, match=r"arms\.a\.connector_norm: group 0 \(pools\.2\) has one pixel, and"):
        open_study(study, tmp_path / "run", torch.device("cpu"))
