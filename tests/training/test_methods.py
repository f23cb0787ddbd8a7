"""Every method by its class alone; methods of one's own by import path, from study file to report; all hooks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch
import yaml

from biasvar.errors import StudyError
from biasvar.records import open_run
from biasvar.run import describe, main
from biasvar.study import ARMS, Arm, load_study, resolve_study
from biasvar.training import students
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.methods import method_of
from biasvar.training.optimizers import SGD, AdamW
from biasvar.training.students import Students
from tests.conftest import TINY
from tests.training.test_execute import contents

OWN = "tests.training.own_methods"
EXAMPLES = {
    "teacher": "main", "soft_label": "s", "temperature": 2.0, "alpha": 0.5, "smoothing": 0.1, "pull": 0.3,
    "joint_teacher": {"hidden": [16]}, "dropping": {"layers": ["convolutions.0"], "finetune_epochs": 1},
}  # fmt: skip
OF_IMAGES = {"student": {"model": "convnet"}, "teacher": "images"}
MORE = {
    "dfa": OF_IMAGES | {"weights": "last"}, "dfa_search": OF_IMAGES | {"searched": "together"},
    "infodrop": {"student": {"model": "convnet"}},
    "label_revision": {"revision": {"eta": 0.5}, "selection": {"score": "random", "keep": 0.5}},
}  # fmt: skip
"""What methods that train no MLP need beside their needed keys, and one of whose optional keys must be there."""


def example(settings: type[Arm], **more):
    """An entry of a study file for a settings class: its needed keys at a value that fits."""
    entry = {"loss": get_args(settings.model_fields["loss"].annotation)[0]}
    for key in settings.needed_keys():
        annotation = settings.model_fields[key].annotation
        literal = get_args(annotation)[0] if get_origin(annotation) is Literal else None
        entry[key] = EXAMPLES[key] if literal is None else literal
    return entry | MORE.get(entry["loss"], {}) | more


def one_by_one():
    """Keys of a study whose students train one by one and may be taught by a network of images."""
    images = {"model": "convnet", "epochs": 1}
    return {"backend": "sequential", "teachers": TINY["teachers"] | {"images": images}}


def study_of(arms, **more):
    study = copy.deepcopy(TINY)
    del study["defaults"]
    return study | {"arms": arms, "soft_labels": {"s": {"kind": "smoothing", "smoothing": 0.2}}} | more


def interrupted(monkeypatch, study, directory, after=1):
    """Train until the checkpoint has been written so many times, and be cut off there."""
    saved, count = students._Group._save, 0

    def save(self, epoch):
        nonlocal count
        saved(self, epoch)
        count += 1
        if count == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(students._Group, "_save", save)
        with pytest.raises(KeyboardInterrupt):
            run_study(study, directory, device="cpu")


@pytest.mark.parametrize("loss", ARMS)
def test_every_method_is_its_settings_class_and_its_room(loss, tmp_path):
    settings = ARMS[loss]
    more = {} if method_of(settings.model_validate(example(settings))).batched else one_by_one()
    study = resolve_study(study_of({"arm": example(settings)}, **more))
    assert method_of(study.arms["arm"]).Settings is settings
    assert f"  arm: {loss}" in describe(study, Path("runs/x"))
    changed = {"pull": 0.5, "joint_teacher": {"hidden": [17]}}
    changed |= {"teacher": "own", "smoothing": 0.2, "temperature": 3.0, "alpha": 0.7, "keep": "random"}
    others = [example(settings, **{key: changed[key]}) for key in settings.needed_keys() if key in changed]
    hashes = {resolve_study(study_of({"arm": other}, **more)).hash for other in others}
    assert len(hashes | {study.hash}) == len(others) + 1
    run_study(study, tmp_path / "run", device="cpu")
    context = open_study(study, tmp_path / "run", torch.device("cpu"))
    trained = Students(context, "arm", 0.1, [0] if more else [0, 1])
    before = {name: value.clone() for name, value in trained.net.parameters().items()}
    trained.train()
    assert all(torch.isfinite(value).all() for value in trained.net.parameters().values())
    assert any(not torch.equal(value, before[name]) for name, value in trained.net.parameters().items())


@pytest.fixture(scope="module")
def own_study():
    arms = {
        "ce": {"loss": "cross_entropy"},
        "same": {"loss": f"{OWN}:Focal"},
        "two": {"loss": f"{OWN}:Focal", "gamma": 2.0, "label": "focal 2"},
        "five": {"loss": f"{OWN}:Focal", "gamma": 5.0, "balance": True, "label": "focal 5"},
    }
    return resolve_study(study_of(arms))


@pytest.fixture(scope="module")
def own_run(own_study, tmp_path_factory):
    return run_study(own_study, tmp_path_factory.mktemp("own") / "run", device="cpu")


def test_every_method_is_listed_and_coloured_in_a_report(tmp_path):
    from biasvar.report import style
    from biasvar.report.__main__ import main as report

    arms = {loss: example(settings, label=f"by {loss}") for loss, settings in ARMS.items()}
    study = study_of(arms, **one_by_one(), replicas=2, schedule={"epochs": 2, "batch_size": 40})
    run = run_study(resolve_study(study), tmp_path / "run", device="cpu")
    looks = style.arm_styles(run)
    assert len({(look.color, look.marker, look.linestyle) for look in looks.values()}) == len(arms)
    assert report([str(run.directory), "--out", str(tmp_path / "report"), "--figures", "accuracy"]) == 0
    page = (tmp_path / "report/index.html").read_text()
    for loss in ARMS:
        assert f"by {loss}" in page


def test_a_method_of_ones_own_trains(own_run):
    same, two = (own_run.predictions(arm).mean_log_probs for arm in ("same", "two"))
    np.testing.assert_allclose(same, own_run.predictions("ce").mean_log_probs, atol=1e-4)  # gamma 0 is cross-entropy
    assert np.abs(two - same).max() > 0.1
    assert own_run.arm("five")["loss"] == f"{OWN}:Focal"
    assert (own_run.arm("five")["gamma"], own_run.arm("five")["balance"]) == (5.0, True)
    assert own_run.manifest["sources"].keys() == {f"{OWN}:Focal"}


def test_a_method_of_ones_own_goes_on_where_it_stopped(own_study, own_run, tmp_path, monkeypatch):
    interrupted(monkeypatch, own_study, tmp_path / "run", after=2)
    assert contents(run_study(own_study, tmp_path / "run", device="cpu").directory) == contents(own_run.directory)


def test_its_settings_are_in_the_dry_run_and_make_another_study(own_study):
    said = describe(own_study, Path("runs/x"))
    assert f"  five: {OWN}:Focal, gamma 5, balance" in said
    raw = study_of({"a": {"loss": f"{OWN}:Focal", "gamma": 1.0}})
    other = study_of({"a": {"loss": f"{OWN}:Focal", "gamma": 2.0}})
    assert resolve_study(raw).hash != resolve_study(other).hash
    assert len(resolve_study(raw).hashes) == 1


def test_the_report_tells_its_settings_apart(own_run, tmp_path):
    from biasvar.report.__main__ import main as report

    assert report([str(own_run.directory), "--out", str(tmp_path / "report"), "--figures", "accuracy"]) == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "gamma 2" in page
    assert "gamma 5, balance" in page
    assert (tmp_path / "report/accuracy.csv").read_text().count("focal") >= 2


def test_a_method_of_ones_own_plays_the_part_that_it_says(tmp_path):
    """Its weights are recorded, drawn where WSL's are, and compared with distillation at its settings."""
    import pandas as pd

    from biasvar.report.__main__ import main as report

    soft = {"teacher": "main", "temperature": 4.0, "alpha": 0.5}
    arms = {"kd": {"loss": "distillation", **soft}, "half": {"loss": f"{OWN}:Half", "label": "half", **soft}}
    study = study_of(arms, schedule={"epochs": 12, "batch_size": 20})
    run = run_study(resolve_study(study), tmp_path / "run", device="cpu")
    rows = run.records(arm="half", split="train", view="augmented")
    np.testing.assert_array_equal(rows["loss_weight"], rows["sample_id"] % 2)
    assert report([str(run.directory), "--out", str(tmp_path / "report"), "--figures", "weights,effects"]) == 0
    drawn = pd.read_csv(tmp_path / "report/weights.csv")
    assert set(zip(drawn["arm"], drawn["panel"], strict=True)) == {("half", "mean")}
    assert drawn["mean"].between(0.3, 0.7).all()
    effects = pd.read_csv(tmp_path / "report/effects.csv")
    assert ("half", "kd") in set(zip(effects["arm"], effects["control"], strict=True))


def every_study(**more):
    arms = {"every": {"loss": f"{OWN}:EveryHook", "teacher": "main", "family": "every"}}
    return resolve_study(study_of(arms, backend="sequential", replicas=2, **more))


def test_every_hook_is_called_and_its_state_goes_into_the_checkpoint(tmp_path, monkeypatch):
    study = every_study()
    whole = run_study(study, tmp_path / "whole", device="cpu")
    interrupted(monkeypatch, study, tmp_path / "parts")
    assert contents(run_study(study, tmp_path / "parts", device="cpu").directory) == contents(whole.directory)
    rows = whole.records(arm="every", split="train", view="augmented", epochs=[4])
    assert len(rows) == 2 * 60  # the selection, not the 90 rows of the draw
    rates = whole.metrics.query("view == 'augmented'").groupby("epoch")["learning_rate"].first()
    assert rates[3] < rates[1]
    context = open_study(study, tmp_path / "whole", torch.device("cpu"))
    trained = Students(context, "every", 0.1, [0])
    state = trained.objective.state
    before = state.projectors[0].weight.clone()
    assert trained.net.parameters()["layers.0.bias"].abs().sum() == 0
    trained.train()
    assert not torch.equal(before, state.projectors[0].weight)
    assert state.calls == ["forward", "before", "after"] * (4 * 2)  # 60 rows in batches of 40
    assert state.steps == 8


def test_weights_of_rows_that_another_arm_left_out_are_missed(tmp_path):
    soft = {"teacher": "main", "temperature": 2.0, "alpha": 0.5}
    arms = {
        "every": {"loss": f"{OWN}:EveryHook", "teacher": "main"},
        "recorded": {"loss": "distillation", "weights_from": "every", **soft},
    }
    study = resolve_study(study_of(arms, backend="sequential", replicas=2))
    with pytest.raises(
        StudyError,
        match=r"arms\.recorded\.weights_from: arm every is trained on 60 of the 90 rows that replica 0 draws",
    ):
        run_study(study, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("optimizer", "theirs", "options"),
    [
        (SGD(0.9, True, 0.01), torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        (AdamW((0.9, 0.99), 1e-6, 0.01), torch.optim.AdamW, {"betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.01}),
    ],
    ids=["sgd", "adamw"],
)
def test_a_companion_is_trained_as_if_it_were_part_of_the_student(optimizer, theirs, options):
    """Against torch's own on both, in one optimiser, for the same batches; it stops and goes on once."""
    from torch import nn

    from biasvar.training.companions import Companions
    from biasvar.training.replicas import SequentialReplica

    torch.manual_seed(0)
    student, module = nn.Linear(3, 4), nn.Linear(4, 2)
    both = copy.deepcopy(nn.ModuleList([student, module]))
    ours, companions = SequentialReplica([student], optimizer=optimizer), Companions([module], optimizer=optimizer)
    reference = theirs(both.parameters(), lr=0.1, **options)
    for step in range(4):
        if step == 2:
            state, companions = companions.state(), Companions([module], optimizer=optimizer)
            companions.load_state(state)
        x = torch.randn(1, 5, 3)
        loss = module(ours(x)[0]).square().mean()[None]
        companions.take_gradients(loss)
        ours.step(loss, 0.1)
        companions.step(0.1)
        reference.zero_grad()
        both[1](both[0](x[0])).square().mean().backward()
        reference.step()
    for one, other in zip([*student.parameters(), *module.parameters()], both.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"loss": "tests.training.no_such:Focal"}, "arms.a.loss: method .* no module named 'tests.training.no_such'"),
        ({"loss": f"{OWN}:Focall"}, "arms.a.loss: method .* has no 'Focall'"),
        ({"loss": f"{OWN}:"}, "arms.a.loss: method .*expected package.module:Method"),
        ({"loss": f"{OWN}:NoSettings"}, "arms.a.loss: method .* needs an attribute Settings, a subclass of biasvar"),
        ({"loss": f"{OWN}:Focal", "gama": 1.0}, r"arms.a.gama: unknown key, did you mean 'gamma'\?"),
        ({"loss": f"{OWN}:Focal", "gamma": "much"}, "arms.a.gamma: must be a valid number"),
        ({"loss": f"{OWN}:Focal", "temperature": 2.0}, "arms.a.temperature: not used by loss .*Focal, which takes bal"),
        ({"loss": f"{OWN}:EveryHook"}, "arms.a.teacher: needed for loss .*EveryHook"),
        ({"loss": f"{OWN}:EveryHook", "teacher": "mian"}, "arms.a.teacher: no teacher named 'mian', did you mean 'ma"),
        ({"loss": "nothing"}, "arms.a.loss: must be .* or your own as package.module:Method, not 'nothing'"),
    ],
)
def test_methods_of_ones_own_that_cannot_be_are_named(arm, message):
    with pytest.raises(StudyError, match=message):
        resolve_study(study_of({"a": arm}))


@pytest.mark.parametrize(
    ("arm", "more", "message"),
    [
        ({"loss": f"{OWN}:NotAMethod"}, {}, "arms.a.loss: .*must be a subclass of biasvar.training.methods.Method"),
        ({"loss": f"{OWN}:EveryHook", "teacher": "main"}, {}, "trains one replica at a time; use backend: sequential"),
        (
            {"loss": f"{OWN}:WrongPhases"},
            {},
            "phases must be .* sum to the schedule's 4 epochs, not 'half' 2",
        ),
    ],
)
def test_methods_that_cannot_be_run_are_named_before_anything_is_written(arm, more, message, tmp_path):
    with pytest.raises(StudyError, match=message):
        run_study(resolve_study(study_of({"a": arm}, **more)), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_features_of_a_module_that_is_not_there(tmp_path):
    study = every_study()
    plain = study_of({"ce": {"loss": "cross_entropy"}}, backend="sequential", replicas=2)
    run_study(resolve_study(plain), tmp_path / "r", device="cpu")  # trains the teacher
    context = open_study(study, tmp_path / "r", torch.device("cpu"))
    trained = Students(context, "every", 0.1, [0])
    trained.objective.method.features = ("layers.7",)
    with pytest.raises(ValueError, match=r"no module of the student named 'layers.7', did you mean 'layers.[01]'"):
        trained.train()


def test_a_source_that_changed_is_no_longer_the_same_method(own_study, own_run, tmp_path, monkeypatch):
    from biasvar.errors import RecordError
    from biasvar.training import checks

    monkeypatch.setattr(checks, "source_hashes", lambda study: {f"{OWN}:Focal": "other"})
    with pytest.raises(RecordError, match=r"the source of .*Focal was changed since"):
        run_study(own_study, own_run.directory, device="cpu")


def test_the_example_study_is_run_from_the_command_line(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    settings = ["--set", "schedule.epochs=2", "--set", "replicas=2", "--jobs", "2"]
    assert main(["experiments/own_method/study.yaml", "--out", str(tmp_path / "run"), *settings]) == 0
    assert open_run(tmp_path / "run").arm("strong")["strength"] == 1.0
    study = load_study(root / "experiments/own_method/study.yaml")
    assert "strength 1" in describe(study, tmp_path)


def chain():
    arms = {
        "first": {"loss": "cross_entropy"},
        "second": {"loss": "distillation", "teacher": "first", "temperature": 2.0, "alpha": 1.0},
        "third": {"loss": "distillation", "teacher": "second", "temperature": 2.0, "alpha": 1.0},
        "wide": {"loss": "distillation", "teacher": "main", "temperature": 2.0, "alpha": 1.0,
                 "student": {"hidden": [40]}},
        "of_wide": {"loss": "distillation", "teacher": "wide", "temperature": 2.0, "alpha": 1.0},
    }  # fmt: skip
    return study_of(arms)


@pytest.fixture(scope="module")
def chain_run(tmp_path_factory):
    return run_study(resolve_study(chain()), tmp_path_factory.mktemp("chain") / "run", device="cpu")


def test_students_of_an_arm_teach_another_replica_by_replica(chain_run):
    study = resolve_study(chain())
    assert study.order() == ["first", "second", "third", "wide", "of_wide"]
    assert study.uses("third") == ["second"]
    taught = chain_run.teacher("first")
    records = chain_run.records(arm="second", split="test", view="clean", epochs=[4])
    own = chain_run.records(arm="first", split="test", view="clean", epochs=[4])
    both = records.merge(own, on=["replica", "sample_id"])
    np.testing.assert_allclose(both["teacher_loss_x"], both["student_loss_y"], rtol=1e-4, atol=1e-5)
    assert taught.logits.shape[0] == 4
    draws = chain_run.membership.groupby("replica")["sample_id"].agg(set)
    for r in range(4):
        assert set(taught.sample_ids[taught.member[r]]) == draws[r]
    assert chain_run.arm("second")["regime"] == "students of another arm"
    assert chain_run.arm("second")["scored_against"] == "first"
    assert chain_run.manifest["teachers"]["first"]["label"] == "students of first"


def test_an_arm_may_have_another_network(chain_run):
    import safetensors.numpy

    saved = safetensors.numpy.load_file(chain_run.directory / "weights/arm=wide/group=000.safetensors")
    assert saved["0.layers.0.weight"].shape == (40, 64)
    assert chain_run.manifest["teachers"]["wide"]["hidden"] == [40]
    assert chain_run.arm("wide")["student"] == {"model": "mlp", "hidden": [40]}
    assert "student mlp 40" in describe(resolve_study(chain()), Path("x"))


def test_a_chain_that_was_cut_off_goes_on_to_the_same_bytes(chain_run, tmp_path, monkeypatch):
    study = resolve_study(chain())
    interrupted(monkeypatch, study, tmp_path / "run", after=3)
    assert contents(run_study(study, tmp_path / "run", device="cpu").directory) == contents(chain_run.directory)
    several = run_study(study, tmp_path / "several", device="cpu", jobs=2)
    assert contents(several.directory) == contents(chain_run.directory)


def test_a_chain_of_students_is_reported(chain_run, tmp_path):
    from biasvar.report.__main__ import main as report

    assert report([str(chain_run.directory), "--out", str(tmp_path / "report"), "--figures", "accuracy"]) == 0
    assert "students of another arm" in (tmp_path / "report/index.html").read_text()


@pytest.mark.parametrize(
    ("arm", "key", "value", "message"),
    [
        ("first", "student", {"model": "resnet9"}, "arms.first.student: model: no network named 'resnet9'"),
        ("first", "student", {"hiden": [3]}, "arms.first.student.hiden: unknown key, did you mean 'hidden'"),
        ("first", "student", {"model": "resnet8"}, "backend: batched trains model mlp only"),
        ("second", "teacher", "third", "needs its own record, by way of second -> third -> second"),
        ("second", "teacher", "fist", "no teacher named 'fist'.*or an arm, whose students teach"),
    ],
)
def test_chains_that_cannot_be_are_named(arm, key, value, message):
    raw = chain()
    raw["arms"][arm][key] = value
    with pytest.raises(StudyError, match=message):
        resolve_study(raw)


def test_augmented_students_teach_by_the_views_that_are_seen(tmp_path):
    """A student's teacher is asked about the very image that the student sees, whether it is a teacher or an arm."""
    raw = yaml.safe_load(
        """
        name: views
        replicas: 2
        backend: sequential
        data: {name: digits, test: 97, validation: 60, reserved: 20, crop: 1}
        student: {model: "tests.training.own_network:make"}
        draw: {kind: subsample, rows: 80}
        schedule: {epochs: 2, batch_size: 40}
        learning_rate: {value: 0.05}
        arms:
          first: {loss: cross_entropy}
          second: {loss: distillation, teacher: first, temperature: 2.0, alpha: 1.0}
        """
    )
    runs = [
        run_study(resolve_study({**raw, "keep_views": keep}), tmp_path / str(keep), device="cpu")
        for keep in (False, True)
    ]
    for run in runs:
        assert run.records(arm="second", split="train", view="augmented", epochs=[2])["teacher_loss"].notna().all()
    assert contents(runs[0].directory / "records") == contents(runs[1].directory / "records")


def test_the_parts_that_methods_play_are_those_of_runs_that_do_not_say():
    from biasvar.records.arms import PARTS

    assert {loss: settings.plays for loss, settings in ARMS.items() if settings.plays} == PARTS
