"""Classes held out of a study, and the few-shot episodes in which its trained students tell them apart."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import yaml
from scipy.spatial.distance import cdist
from torch import nn

from biasvar.data import Dataset, load_dataset
from biasvar.data.held_out import hold_out_classes
from biasvar.errors import StudyError
from biasvar.run import main
from biasvar.study import resolve_study
from biasvar.study.few_shots import FewShots
from biasvar.study.schema import Data
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.few_shots import draw_episodes, episode_rows, few_shot_table, nearest_centroid_accuracy
from tests.training.test_execute import contents

RAW = {
    "name": "few", "seed": 5, "replicas": 2, "backend": "sequential",
    "data": {"name": "digits", "test": 60, "validation": 40, "few_shots": {"classes": 6, "episodes": 8}},
    "student": {"model": "convnet"}, "draw": {"kind": "subsample", "rows": 80},
    "schedule": {"epochs": 2, "batch_size": 40}, "learning_rate": {"value": 0.05}, "checkpoint_every": 1,
    "arms": {
        "plain": {"loss": "cross_entropy"},
        "infodrop": {"loss": "infodrop", "dropping": {"layers": ["convolutions.0"], "finetune_epochs": 1}},
    },
}  # fmt: skip
CPU = torch.device("cpu")


def study_of(**data):
    raw = copy.deepcopy(RAW)
    raw["data"]["few_shots"] |= data
    return resolve_study(raw)


def softened(*, in_channels, num_classes):
    """A network that ends in no linear layer."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes), nn.LogSoftmax(-1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_study(study_of(), tmp_path_factory.mktemp("few") / "run", device="cpu")


def test_classes_are_either_trained_on_or_held_out():
    whole = load_dataset("digits")
    for seed in (0, 1):
        rest, held = hold_out_classes(whole, 6, seed=seed)
        assert sorted((*rest.class_names, *held.class_names)) == sorted(whole.class_names)
        for part in (rest, held):
            named = np.array(part.class_names)[part.labels].astype(int)
            rows = np.isin(whole.labels, named)
            assert (whole.labels[rows] == named).all()
            assert (whole.images[rows] == part.images).all()
            assert part.fingerprint != whole.fingerprint
    assert rest.class_names != hold_out_classes(whole, 6, seed=0)[0].class_names
    with pytest.raises(ValueError, match=r"9 of the 10 classes .* leave fewer than 2 .* at most 8"):
        hold_out_classes(whole, 9, seed=0)


def test_the_mean_of_pixels_is_that_of_training_rows_of_the_classes_that_remain():
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1) * 10
    split = np.array(["train"] * 8 + ["test"] * 4)
    whole = Dataset("made", images, np.arange(12) % 4, ("a", "b", "c", "d"), 255.0, "", split, np.arange(12))
    rest, held = hold_out_classes(whole, 2, seed=0)
    rows = np.isin(whole.original_index, rest.original_index)
    assert rest.mean == pytest.approx(images[rows & (split == "train")].mean() / 255)
    assert list(rest.original_index) == sorted({*range(12)} - {*held.original_index})
    assert [*episode_rows(held, Data())] == [4, 5]  # the official test images, as those of the study
    assert [*episode_rows(held, Data(split="train", test=2))] == [0, 1, 2, 3]


def test_no_row_of_a_held_out_class_is_in_a_study(run):
    samples = run.samples
    names = np.array(run.manifest["class_names"])[samples["label"]]
    assert set(run.manifest["data"]["held_out"]) & set(names) == set()
    assert len(run.manifest["data"]["held_out"]) == 6
    assert run.num_classes == 4
    images = load_dataset("digits")
    rest, _ = hold_out_classes(images, 6, seed=5)
    assert (rest.labels[samples["sample_id"]] == samples["label"]).all()


def test_episodes_hold_each_image_once_and_classes_apart():
    labels = np.arange(200) % 7
    settings = FewShots(classes=7, ways=4, shots=[2, 3], queries=5, episodes=6)
    episodes = draw_episodes(labels, settings, seed=3)
    assert episodes.shape == (6, 4, 8)
    for places in episodes:
        assert len({*places.ravel()}) == places.size
        assert all(len({*labels[row]}) == 1 for row in places)
        assert len({*labels[places[:, 0]]}) == 4
    fewer = draw_episodes(labels, settings.model_copy(update={"episodes": 2}), seed=3)
    assert (fewer == episodes[:2]).all()
    assert (draw_episodes(labels, settings, seed=4) != episodes).any()


@pytest.mark.parametrize("shots", [1, 4])
def test_the_nearest_mean_is_that_of_all_distances(shots):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 6
    features = rng.normal(size=(300, 5)) + 0.8 * rng.normal(size=(6, 5))[labels]
    episodes = draw_episodes(labels, FewShots(classes=6, shots=[1, 4], episodes=20), seed=1)
    wanted = []
    for places in episodes:
        asked = places[:, -15:].ravel()
        near = cdist(features[asked], [features[row[:shots]].mean(0) for row in places]).argmin(1)
        wanted.append((labels[places[near, 0]] == labels[asked]).mean())
    found = nearest_centroid_accuracy(features, episodes, shots, queries=15)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert 0.3 < found.mean() < 0.9
    assert (nearest_centroid_accuracy(np.zeros_like(features), episodes, shots, queries=15) == 0).all()  # all ties


def test_a_run_keeps_every_episode_of_every_replica(run):
    plain, infodrop = (run.method_table("few_shots", arm) for arm in ("plain", "infodrop"))
    for table in (plain, infodrop):
        assert len(table) == 2 * 2 * 8
        assert table["accuracy"].between(0, 1).all()
    assert not plain["accuracy"].equals(infodrop["accuracy"])
    context = open_study(study_of(), run.directory, CPU)
    one = few_shot_table(context, "plain", [1], [""])
    assert one["accuracy"] == plain.query("replica == 1")["accuracy"].tolist()
    assert np.isnan(few_shot_table(context, "plain", [1], ["not finite"])["accuracy"]).all()


def test_features_are_what_the_last_layer_is_given(run):
    context = open_study(study_of(), run.directory, CPU)
    from biasvar.training.student_networks import trained_students

    (student,) = trained_students(context, "infodrop", [0])
    held = context.held_out
    kept = []
    student.fc.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    student(context.inputs.of(held.images).clean(torch.arange(len(held.images))))
    episodes = draw_episodes(held.labels, context.study.data.few_shots, seed=5)
    wanted = nearest_centroid_accuracy(kept[-1].double().numpy(), episodes, 5, 15)
    found = run.method_table("few_shots", "infodrop").query("replica == 0 and shots == 5")["accuracy"]
    np.testing.assert_allclose(found, wanted, atol=0.03)  # batches of other sizes: the last bit may turn a query


def test_a_table_that_was_lost_is_made_again(run, tmp_path):
    import shutil

    other = tmp_path / "run"
    shutil.copytree(run.directory, other)
    shutil.rmtree(other / "few_shots" / "arm=plain")
    run_study(study_of(), other, device="cpu")
    assert contents(other) == contents(run.directory)


@pytest.mark.parametrize(
    ("data", "student", "message"),
    [
        ({"classes": 4}, "convnet", r"data\.few_shots: classes: 4 held out are fewer than the 5 .*hold out 5 or more"),
        ({"classes": 9}, "convnet", r"data\.few_shots\.classes: 9 of the 10 .*hold out at most 8"),
        (
            {"queries": 200}, "convnet",
            r"data\.few_shots: class '\d' of digits has \d+ images, .* takes 205 .*\(5 shots and 200 queries\): ask",
        ),
        ({"shots": [5, 1]}, "convnet", r"data\.few_shots: shots: must be increasing .* not \[5, 1\]"),
        (
            {}, "tests.training.test_few_shots:softened",
            r"data\.few_shots: arm 'plain' has no penultimate features: .* give it a network",
        ),
    ],
)  # fmt: skip
def test_what_episodes_cannot_be_made_of_is_refused_by_a_dry_run(data, student, message, tmp_path, capsys):
    import re

    raw = copy.deepcopy(RAW)
    raw["data"]["few_shots"] |= data
    raw["student"]["model"] = student
    raw["arms"] = {"plain": raw["arms"]["plain"]}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert main([str(path), "--dry-run", "--out", str(tmp_path / "run")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_peoples_labels_of_all_classes_are_refused():
    raw = copy.deepcopy(RAW)
    raw["data"] |= {"name": "cifar10", "few_shots": {"classes": 5}}
    raw["soft_labels"] = {"people": {"kind": "votes", "people": "cifar10n"}}
    raw["arms"] = {"a": {"loss": "soft_label", "soft_label": "people"}}
    with pytest.raises(StudyError, match=r"soft_labels\.people\.people: cifar10n labels all classes .* leave one"):
        resolve_study(raw)


def test_a_dry_run_says_what_episodes_are():
    assert str(study_of().data.few_shots) == (
        "6 classes held out, 8 episodes of 5 of them with 1 and 5 shots and 15 queries each"
    )
