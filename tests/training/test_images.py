"""Studies on images: convolutional students one after another, teachers that see the student's view, kept teachers."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from biasvar.study import resolve_study
from biasvar.training import students, teacher_training
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.inputs import Images
from biasvar.training.teachers import teacher_networks
from tests.training.test_execute import contents


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of 3 classes of coloured noise, 12 x 12."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 80)
    means = np.array([[180, 60, 60], [60, 180, 60], [60, 60, 180]])[labels]
    pixels = np.clip(rng.normal(means[:, None, None], 60, (240, 12, 12, 3)), 0, 255).astype(np.uint8)
    split = ["train"] * 180 + ["test"] * 60
    table = {"image": [png(p) for p in pixels], "label": pa.array(labels, pa.int8()), "split": split}
    pq.write_table(pa.table(table), folder / "noise.parquet")
    return folder


@pytest.fixture
def study(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("BIASVAR_CACHE", str(tmp_path / "cache"))
    return {
        "name": "noise",
        "seed": 5,
        "replicas": 2,
        "backend": "sequential",
        "data": {
            "name": str(folder / "noise.parquet"), "validation": 30, "reserved": 30, "student": 90,
            "crop": 2, "flip": True,
        },
        "student": {"model": "resnet8"},
        "draw": {"kind": "subsample", "rows": 60},
        "schedule": {"epochs": 3, "batch_size": 20, "decay": "step", "milestones": [2], "warmup": 0.5},
        "learning_rate": {"value": 0.05},
        "evaluate_every": 1,
        "checkpoint_every": 1,
        "teachers": {
            "main": {"model": "resnet8", "epochs": 3, "batch_size": 20},
            "own": {"model": "resnet8", "epochs": 3, "batch_size": 20, "draw": "per_replica", "rows": "own"},
        },
        "defaults": {"teacher": "main", "temperature": 4, "alpha": 2.25},
        "arms": {
            "ce": {"loss": "cross_entropy"},
            "kd": {"loss": "distillation"},
            "kd_own": {"loss": "distillation", "teacher": "own", "role": "regime"},
        },
    }  # fmt: skip


@pytest.mark.slow
def test_a_study_of_images_leaves_the_same_run_however_it_is_worked_off(study, tmp_path, monkeypatch):
    resolved = resolve_study(study)
    run = run_study(resolved, tmp_path / "one", device="cpu")
    assert run.manifest["status"] == "complete"
    assert run.samples["split"].value_counts().to_dict() == {"train": 120, "test": 60, "validation": 30}
    assert len(list((tmp_path / "one/weights/arm=kd").iterdir())) == 2
    assert run.metrics.query("split == 'test' and epoch == 3")["accuracy"].mean() > 0.4

    run_study(resolved, tmp_path / "two", device="cpu", jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")

    train = students.train_arm_group
    calls = []

    def interrupt(arm, number):
        calls.append((arm.name, number))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train(arm, number)

    monkeypatch.setattr(students, "train_arm_group", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_study(resolved, tmp_path / "three", device="cpu")
    run_study(resolved, tmp_path / "three", device="cpu")
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    assert len(calls) == 7  # the group that was cut off is trained again, the three before it are not


def test_the_teacher_sees_the_students_view(study, tmp_path):
    """What was recorded of the teacher is its network's answer to the augmented image, not to the clean one."""
    run = run_study(resolve_study(study), tmp_path / "run", device="cpu")
    context = open_study(resolve_study(study), tmp_path / "run", torch.device("cpu"))
    assert isinstance(context.inputs, Images)
    assert context.inputs.augmented
    for arm, teacher in (("kd", "main"), ("kd_own", "own")):
        rows = run.records(arm=arm, split="train", view="augmented", epochs=[2], replicas=[1])
        ids = torch.tensor(rows["sample_id"].tolist())
        (network,) = teacher_networks(context, teacher, [1])
        assert not network.training
        with torch.no_grad():
            views = context.inputs.training(ids[None], [1], 2)[0]
            loss = torch.nn.functional.cross_entropy(network(views), context.labels[ids], reduction="none")
            clean = torch.nn.functional.cross_entropy(
                network(context.inputs.clean(ids)), context.labels[ids], reduction="none"
            )
        np.testing.assert_allclose(rows["teacher_loss"], loss, rtol=1e-3, atol=1e-5)
        assert not np.allclose(rows["teacher_loss"], clean, rtol=1e-2)
    clean_rows = run.records(arm="kd", split="test", view="clean", replicas=[0])
    ids = torch.tensor(clean_rows["sample_id"].tolist())
    with torch.no_grad():
        logits = teacher_networks(context, "main", [0])[0](context.inputs.clean(ids))
        loss = torch.nn.functional.cross_entropy(logits, context.labels[ids], reduction="none")
    np.testing.assert_allclose(clean_rows["teacher_loss"], loss, rtol=1e-3, atol=1e-5)


def test_a_teacher_in_training_mode_uses_batch_statistics_when_asked(study, tmp_path):
    study["teachers"]["main"]["train_mode"] = True
    del study["arms"]["kd_own"], study["teachers"]["own"]
    run = run_study(resolve_study(study), tmp_path / "run", device="cpu")
    context = open_study(resolve_study(study), tmp_path / "run", torch.device("cpu"))
    assert teacher_networks(context, "main", [0])[0].training
    # The clean logits, and so the accuracy in the manifest, are those of evaluation mode all the same.
    logits = torch.tensor(run.teacher("main").logits)
    ids = torch.tensor(run.teacher("main").sample_ids)
    network = teacher_networks(context, "main", [0])[0].train(False)
    with torch.no_grad():
        torch.testing.assert_close(network(context.inputs.clean(ids)), logits, rtol=1e-3, atol=1e-4)


def test_kept_teachers_are_not_trained_again_and_a_change_makes_another(study, tmp_path, monkeypatch):
    study["keep_teachers"] = True
    study["arms"] = {"ce": study["arms"]["ce"]}
    first = run_study(resolve_study(study), tmp_path / "one", device="cpu")
    trained = []
    train = teacher_training.train_teacher

    def count(context, name, replicas, on_epoch=None):
        trained.append(name)
        return train(context, name, replicas, on_epoch)

    monkeypatch.setattr(teacher_training, "train_teacher", count)
    study["name"] = "again"
    again = run_study(resolve_study(study), tmp_path / "two", device="cpu")
    assert trained == []
    hashes = [run.manifest["teachers"]["own"]["weights_sha256"] for run in (first, again)]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 2
    study["teachers"]["main"]["smoothing"] = 0.1
    run_study(resolve_study(study), tmp_path / "three", device="cpu")
    assert trained == ["main"]


def test_networks_of_ones_own_by_import_path(study, tmp_path):
    study["student"] = {"model": "tests.training.own_network:make"}
    study["arms"] = {"kd": study["arms"]["kd"]}
    del study["teachers"]["own"]
    run = run_study(resolve_study(study), tmp_path / "run", device="cpu")
    assert run.manifest["status"] == "complete"


def test_an_mlp_beside_a_resnet_takes_the_same_images(study, tmp_path):
    study["student"] = {"model": "mlp", "hidden": [8]}
    study["arms"] = {"kd": study["arms"]["kd"]}
    del study["teachers"]["own"]
    assert run_study(resolve_study(study), tmp_path / "run", device="cpu").manifest["status"] == "complete"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("backend", "batched", "backend: batched trains model mlp only"),
        ("student", {"model": "resnet9"}, r"no network named 'resnet9', did you mean 'resnet8'"),
        ("student", {"model": "resnet8", "hidden": [3]}, "hidden: only model mlp has it"),
        ("schedule", {"epochs": 3, "decay": "step"}, "milestones: decay step needs them"),
        ("schedule", {"epochs": 3, "decay": "step", "milestones": [3]}, "increasing epochs between 0 and 3"),
        ("schedule", {"epochs": 3, "warmup": 3}, "warmup: must be shorter"),
    ],
)
def test_what_does_not_fit_is_refused(study, key, value, message):
    study[key] = value
    with pytest.raises(ValueError, match=message):
        resolve_study(study)


def test_a_teacher_can_do_without_the_augmentation_of_the_students(study, tmp_path):
    plain = {"hidden": [16], "model": "mlp", "epochs": 2, "batch_size": 20}
    study["teachers"] |= {"main": plain, "still": plain | {"augment": False}}
    bare = study | {"data": study["data"] | {"crop": 0, "flip": False}}
    weights = {}
    for name, raw in (("augmented", study), ("bare", bare)):
        context = open_study(resolve_study(raw), tmp_path / name, torch.device("cpu"))
        for teacher in ("main", "still"):
            weights[name, teacher] = teacher_training.train_teacher(context, teacher, [0]).parameters()
    torch.testing.assert_close(weights["augmented", "still"], weights["bare", "main"], rtol=0, atol=0)
    first = next(iter(weights["bare", "main"]))
    assert not torch.equal(weights["augmented", "main"][first], weights["bare", "main"][first])


def test_vectors_are_not_augmented(study, tmp_path):
    study["student"] = {"model": "mlp", "hidden": [8]}
    study["teachers"] = {}
    study["arms"] = {"ce": study["arms"]["ce"]}
    with pytest.raises(ValueError, match="for networks that take images"):
        run_study(resolve_study(study), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_the_study_knows_the_networks_there_are():
    from biasvar.study import MODELS
    from biasvar.training.networks import NETWORKS

    assert set(MODELS) == {"mlp", *NETWORKS}


def test_a_student_of_an_official_split(study, tmp_path):
    study |= {"student": {"model": "convnet"}, "teachers": {}, "arms": {"ce": {"loss": "cross_entropy"}}, "claims": {}}
    study["data"] |= {"split": "train", "test": 30, "student": 80}
    study["learning_rate"] = {"value": 0.1}
    run = run_study(resolve_study(study), tmp_path / "run", device="cpu")
    last = run.metrics.query("split == 'test' and view == 'clean' and epoch == 3")
    assert last["accuracy"].min() > 0.6  # of three classes that differ in colour
    assert last["n"].unique().tolist() == [30]
    assert np.all(run.samples["sample_id"] < 180)  # the train rows come first
    assert run.manifest["data"]["split"] == "train"
    assert run.manifest["data"]["note"].endswith("; all rows, test rows too, from its train split")
