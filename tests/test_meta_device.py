"""No step of training waits for the device: every method's step, the recorder and the evaluation pass on `meta`.

Tensors of torch's meta device have shapes and no values, so that what a GPU would have to wait for raises there: a
tensor left on the CPU, `.item()`, a boolean mask, a copy to the host. Copies to the device do not. What is made once
before training (tables of soft labels, a teacher's logits) may be made on the host.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import nn

from biasvar.study import ARMS, Arm, resolve_study
from biasvar.training import recorder_rows
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.loop import predict
from biasvar.training.methods import Method
from biasvar.training.networks import NETWORKS, build_network
from biasvar.training.recorder import Recorder
from biasvar.training.students import Students
from biasvar.training.teacher_training import train_teacher
from tests.training.test_images import folder  # noqa: F401 (fixture)
from tests.training.test_methods import example

META = torch.device("meta")
# Weights read from a file have no values on the device either.
pytestmark = pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
BAD = {"k": 2, "punishment": 0.5, "rivals": 0.7}
STUDENTS: dict[str, dict[str, Any]] = {
    "convnet": {"student": {"model": "convnet"}, "backend": "sequential"},
    "resnet": {"student": {"model": "resnet8"}, "backend": "sequential"},
    "mlps together": {"student": {"model": "mlp", "hidden": [8]}, "backend": "batched"},
}
IMAGES, VECTORS = {"crop": 2, "flip": True}, {"crop": 0, "flip": False}
STUDY: dict[str, Any] = {
    "name": "meta",
    "replicas": 2,
    "draw": {"kind": "subsample", "rows": 60},
    "schedule": {"epochs": 1, "batch_size": 25},
    "learning_rate": {"value": 0.05},
    "teachers": {
        "main": {"model": "mlp", "hidden": [8], "epochs": 1, "batch_size": 40},
        "own": {"epochs": 1, "hidden": [8], "batch_size": 40, "draw": "per_replica", "rows": "own"},
        "copies": {"epochs": 1, "hidden": [8], "batch_size": 40, "copies": 2},
        "ensemble": {"mean_of": ["main", "copies"]},
    },
    "soft_labels": {
        "s": {"kind": "smoothing", "smoothing": 0.2},
        "redrawn": {"kind": "noise", "scale": 0.3, "redraw": True, "project": True},
    },
}


def literals(annotation: Any) -> Iterator[Any]:
    """The values of a `Literal`, also inside `| None`."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inner in get_args(annotation):
            yield from literals(inner)


NOT_ALONE = {("weights", "searched"), ("weights", "random"), ("searched", "in_turn"), ("preset", "rld_port")}
"""Choices that need another key, or go with none, or an epoch for each group; most steps are those of other choices."""


def variants(settings: type[Arm]) -> Iterator[dict[str, Any]]:
    """Entries of a study file for a settings class: the least, and one for each choice, switch and reference it has."""
    yield example(settings)
    for key in settings.own_keys():
        annotation = settings.model_fields[key].annotation
        values = [True] if annotation is bool else list(literals(annotation))
        values += ["source"] if key in ("weights_from", "alpha_from") else []
        values += ["own", "ensemble"] if key == "teacher" and example(settings)["teacher"] == "main" else []
        values += ["redrawn"] if key == "soft_label" else []
        for value in values:
            if (key, value) not in NOT_ALONE:
                yield example(settings, **{key: value})
        if key == "k":
            yield example(settings, measure="candidates", k=2)


ALL = {f"{loss} {number}": entry for loss, cls in ARMS.items() for number, entry in enumerate(variants(cls))}
ALL["label_revision port"] = {"loss": "label_revision", "teacher": "main", "preset": "rld_port"}
for entry in ALL.values():
    if "dropping" in entry:
        entry["dropping"] = entry["dropping"] | {"finetune_epochs": 0}  # there is one epoch
STEPS = [(name, student) for name in ALL for student in STUDENTS if "student" not in ALL[name] or student == "convnet"]
"""Methods that train convolutional networks only have a student of their own."""


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):  # noqa: F811
    """By student: a study, and a run of it on the CPU that holds its teachers and one arm's record."""
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIASVAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        for student, settings in STUDENTS.items():
            study = copy.deepcopy(STUDY | settings)
            study["data"] = {"name": str(folder / "noise.parquet"), "validation": 30, "reserved": 30, "student": 90}
            study["data"] |= VECTORS if student == "mlps together" else IMAGES
            if student != "mlps together":
                study["teachers"]["main"] = {"model": "resnet8", "epochs": 1, "batch_size": 40}
                study["teachers"]["images"] = {"model": "convnet", "epochs": 1, "batch_size": 40}
            study["arms"] = {"source": example(ARMS["weighted_soft_label"])}
            runs[student] = study, tmp_path_factory.mktemp("meta") / "run"
            run_study(resolve_study(study), runs[student][1], device="cpu")
        yield runs


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """Autocast asks the meta device for its type; it is set aside, and with it nothing but the precision."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(recorder_rows, "PENDING_ELEMENTS", 1)  # what was noted is turned into columns in every step


def context_of(trained, student: str, **changes):
    study, directory = trained[student]
    merged = {key: {**study[key], **changes.get(key, {})} if key in changes else value for key, value in study.items()}
    return open_study(resolve_study(merged), directory, META)


def take_an_epoch(trained, tmp_path, entry, student="convnet"):
    """Train an arm for an epoch of three steps with the recorder, and make an evaluation pass; all on `meta`."""
    context = context_of(trained, student, arms={"arm": entry})
    replicas = [0, 1] if context.study.backend == "batched" else [1]
    students = Students(context, "arm", 0.1, replicas)
    writer = Recorder(
        tmp_path / "records", num_samples=240, num_classes=3, temperature=2.0, arm="arm", replica=replicas
    )
    shapes = []

    def on_batch(batch, weights):
        assert batch.logits.device == META
        assert batch.teacher_logits.device == META
        writer.update(batch.ids, batch.logits, batch.labels, batch.teacher_logits, loss_weight=weights)
        shapes.append(tuple(batch.ids.shape))

    students.train(on_batch=on_batch, score_epochs={1})
    rows = students.rows.ids.shape[1]  # 60, or the half that a search of weights leaves
    assert shapes == [(len(replicas), min(25, rows - start)) for start in range(0, rows, 25)]
    logits = predict(students.net, context.inputs, torch.as_tensor(context.blocks["test"], device=META))
    assert (logits.shape, logits.device) == ((len(replicas), 60, 3), META)
    return students


@pytest.mark.parametrize(("name", "student"), STEPS)
def test_a_step_of_every_method_does_not_wait_for_the_device(trained, tmp_path, name, student):
    students = take_an_epoch(trained, tmp_path, ALL[name], student)
    assert all(value.device == META for value in students.net.parameters().values())


def test_every_choice_of_a_method_is_among_them():
    """The settings whose steps differ, as a check of the walk over the classes."""
    masked = {entry["keep"] for entry in ALL.values() if entry["loss"] == "masked_distillation"}
    assert masked == {"other", "regularization", "random"}
    measures = {entry.get("measure") for entry in ALL.values() if entry["loss"] == "soft_label"}
    assert measures == {None, "cross_entropy", "squared_error", "candidates"}
    assert any(entry.get("shuffle") for entry in ALL.values())
    assert {entry["loss"] for entry in ALL.values()} == set(ARMS)


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize(
    "teacher",
    [{}, {"smoothing": 0.1}, {"bad": BAD}, {"bad": BAD | {"redraw": True}}, {"augment": False, "bad": BAD}],
    ids=["plain", "smoothed", "bad", "bad, redrawn", "bad, not augmented"],
)
def test_a_step_of_every_kind_of_teacher_does_not_wait_for_the_device(trained, teacher, student):
    network = STUDENTS[student]["student"]
    entry = {"epochs": 2, "batch_size": 40} | network | teacher
    context = context_of(trained, student, teachers={"other": entry})
    net = train_teacher(context, "other", [0])
    assert all(value.device == META for value in net.parameters().values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_every_network_does_not_wait_for_the_device(name):
    with META:
        network, images = build_network(name, num_classes=5), torch.zeros(2, 3, 64, 64)
    nn.functional.cross_entropy(network(images), torch.zeros(2, dtype=torch.int64, device=META)).backward()
    assert all(p.grad is not None and p.grad.device == META for p in network.parameters())
    assert network.eval()(images).shape == (2, 5)


class Plain(Arm):
    """Settings without a key."""


class _Wrong(Method):
    """Cross-entropy with something in the step that waits for the device, or that the device cannot take."""

    Settings = Plain

    def loss(self, state, batch):
        return self.wrong(nn.functional.cross_entropy(batch.logits[0], batch.labels[0], reduction="none"))[None], None

    def wrong(self, losses):
        return losses


class Right(_Wrong):
    """Nothing wrong: what the others are measured by."""


class TakesAnItem(_Wrong):
    def wrong(self, losses):
        return losses / losses.max().item()


class AsksAQuestion(_Wrong):
    def wrong(self, losses):
        return losses if losses.mean() > 0 else -losses


class MasksByABoolean(_Wrong):
    def wrong(self, losses):
        return losses[losses > 0]


class LeavesATensorOnTheHost(_Wrong):
    def wrong(self, losses):
        return losses * torch.ones(len(losses))


class LooksUpInATableOnTheHost(_Wrong):
    def loss(self, state, batch):
        losses, _ = super().loss(state, batch)
        return losses * torch.ones(240)[batch.ids], None


class CopiesToTheHost(_Wrong):
    def wrong(self, losses):
        return losses.cpu().to(losses.device)


class WaitsAfterTheStep(_Wrong):
    def after_step(self, state, batch):
        batch.logits.sum().item()


def test_the_harness_itself_is_no_obstacle(trained, tmp_path):
    take_an_epoch(trained, tmp_path, {"loss": f"{__name__}:Right"})


@pytest.mark.parametrize("method", [*_Wrong.__subclasses__()][1:], ids=lambda method: method.__name__)
def test_a_step_that_waits_is_found_out(trained, tmp_path, method):
    with pytest.raises(RuntimeError, match=r"meta|device|nonzero"):
        take_an_epoch(trained, tmp_path, {"loss": f"{__name__}:{method.__name__}"})


class WaitsInEvaluation(nn.Module):
    """Takes a decision by the values of its logits, where it does not train."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 12 * 12, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.layers(x)
        return logits if self.training or logits.abs().max() < 1e9 else logits / 2


def test_an_evaluation_pass_that_waits_is_found_out(trained, tmp_path):
    entry = {"loss": "cross_entropy", "student": {"model": f"{__name__}:WaitsInEvaluation"}}
    with pytest.raises(RuntimeError, match="meta"):
        take_an_epoch(trained, tmp_path, entry)


def test_a_recorder_that_waits_is_found_out(trained, tmp_path, monkeypatch):
    terms = recorder_rows.record_terms

    def waiting(batch, temperature, num_classes):
        columns = terms(batch, temperature, num_classes)
        assert columns["finite"].all()
        return columns

    monkeypatch.setattr(recorder_rows, "record_terms", waiting)
    with pytest.raises(RuntimeError, match="meta"):
        take_an_epoch(trained, tmp_path, {"loss": "cross_entropy"})
