"""Test rows shown as other images: what a run keeps of them, and attacks on the students that are evaluated."""

from __future__ import annotations

import copy
import filecmp
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from biasvar.analysis import decompose
from biasvar.errors import StudyError
from biasvar.records import Run
from biasvar.study.reading import resolve_study
from biasvar.training.attacks import Attack
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.student_networks import trained_students
from biasvar.training.students import train_once

VIEWS = {"gaussian_noise": [1, 5], "shuffled_patches": 2, "posterised": None, "fgsm": [0.1], "pgd": [0.1]}
NAMES = ["gaussian_noise-1", "gaussian_noise-5", "shuffled_patches-2", "posterised", "fgsm-0.1", "pgd-0.1"]
STUDY = {
    "name": "seen",
    "replicas": 3,
    "backend": "sequential",
    "data": {"name": "digits", "test": 100, "validation": 50, "student": 300, "views": VIEWS},
    "student": {"model": "convnet"},
    "draw": {"kind": "subsample", "rows": 150},
    "schedule": {"epochs": 3, "batch_size": 25},
    "learning_rate": {"value": 0.05},
    "checkpoint_every": 1,
    "arms": {"ce": {"loss": "cross_entropy"}, "ls": {"loss": "label_smoothing", "smoothing": 0.1}},
}


def without_views() -> dict:
    study = copy.deepcopy(STUDY)
    del study["data"]["views"]
    return study


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return run_study(resolve_study(STUDY), tmp_path_factory.mktemp("views") / "run", device="cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Run:
    return run_study(resolve_study(without_views()), tmp_path_factory.mktemp("plain") / "run", device="cpu")


def test_every_view_has_metrics_and_a_decomposition(run):
    assert list(run.views) == NAMES
    labels = run.samples.set_index("sample_id").loc[run.predictions("ce").sample_ids, "label"].to_numpy()
    for view in NAMES:
        said = run.metrics.query("arm == 'ce' and split == 'test' and view == @view")
        assert (said["replica"].tolist(), set(said["epoch"])) == ([0, 1, 2], {3})
        found = run.decomposition("ce", view=view).totals()
        # Three replicas are three groups, so that what is stored are their own log-probabilities.
        again = decompose(run.predictions("ce", view=view).mean_log_probs, labels)
        assert found.bias.value == pytest.approx(again.totals().bias.value, rel=1e-5)
        assert found.variance.value == pytest.approx(again.totals().variance.value, rel=1e-5)


def test_views_change_nothing_else(run, plain):
    assert list(plain.views) == []
    ours, before = (found.metrics[~found.metrics["view"].isin(NAMES)] for found in (run, plain))
    assert len(ours) == len(before) < len(run.metrics)
    np.testing.assert_array_equal(ours["nll"], before["nll"])
    np.testing.assert_array_equal(run.predictions("ce").mean_log_probs, plain.predictions("ce").mean_log_probs)


def test_a_study_without_views_has_the_identity_that_it_had():
    assert resolve_study(without_views()).hash == resolve_study({**without_views()}).hash != resolve_study(STUDY).hash


def contents(directory: Path) -> dict[str, bytes]:
    names = [path for path in sorted(directory.rglob("*.parquet")) if "checkpoints" not in path.parts]
    return {str(path.relative_to(directory)): path.read_bytes() for path in names}


def test_an_interrupted_run_goes_on_to_the_same_bytes(run, tmp_path, monkeypatch):
    calls = []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train_once(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("biasvar.training.workers.train_once", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_study(resolve_study(STUDY), tmp_path / "run", device="cpu")
    again = run_study(resolve_study(STUDY), tmp_path / "run", device="cpu")
    assert contents(again.directory) == contents(run.directory)
    assert filecmp.cmp(again.directory / "samples.parquet", run.directory / "samples.parquet", shallow=False)


def test_attacks_are_those_of_autograd_and_stay_within_their_radius(run):
    context = open_study(resolve_study(STUDY), run.directory, torch.device("cpu"))
    network = trained_students(context, "ce", [1])[0]
    net = context.replicas([network.requires_grad_(True)])
    ids = torch.as_tensor(context.blocks["test"])
    labels, x = context.labels[ids], context.inputs.clean(ids)
    mean, unit = (torch.tensor(values, dtype=x.dtype).reshape(-1, 1, 1) for values in context.inputs.pixel_scale)

    moved = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(network.eval()(moved), labels, reduction="sum"), moved)
    pixels = ((x * unit + mean) + 0.1 * gradient.sign()).clamp(0, 1)
    expected = network((pixels - mean) / unit).double()
    said = Attack("fgsm", 0.1).logits(net, context.inputs, ids, context.labels)[0]
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-4)

    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    strong = Attack("pgd", 0.1).logits(net, context.inputs, ids, context.labels)[0]
    shown = seen[-1] * unit + mean
    assert (shown - (x * unit + mean)).abs().max() <= 0.1 + 1e-5
    assert -1e-5 <= shown.min() <= shown.max() <= 1 + 1e-5
    clean = F.cross_entropy(network(x), labels)
    assert clean < F.cross_entropy(said, labels) <= F.cross_entropy(strong, labels) + 0.02


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"views": {"gausian_noise": [1]}}, r"data.views: no view named 'gausian_noise'; did you mean 'gaussian_noise"),
        ({"views": {"fog": [6]}}, r"data.views: fog: needs severities, whole numbers from 1 to 5"),
        ({"views": {"fog": []}}, r"fog: needs severities.*, not nothing"),
        ({"views": {"fgsm": [8]}}, r"fgsm: needs radii above 0 and below 1"),
        ({"views": {"grey": [1]}}, r"grey: takes no number"),
        ({"views": {"shuffled_patches": [3]}}, r"data.views: shuffled_patches: 3 patches a side do not divide .* 2, 4"),
        ({"views": {"jpeg": [1, 1]}}, r"jpeg: 1, 1 names a view twice"),
        ({"views": {"grey": []}}, r"data.views: grey: the images of digits are grey already"),
        ({"train_views": ["edgs"]}, r"data.train_views: no rendering named 'edgs'; did you mean 'edges"),
        ({"train_views": ["edges", "edges"]}, r"names a rendering twice"),
    ],
)  # fmt: skip
def test_bad_views_are_refused_before_anything_is_trained(data, message, tmp_path):
    study = without_views()
    study["data"] |= data
    with pytest.raises(StudyError, match=message):
        open_study(resolve_study(study), tmp_path, torch.device("cpu"))


def test_training_rows_are_shown_through_renderings_and_test_rows_as_they_are(tmp_path):
    study = without_views()
    study["data"] |= {"train_views": ["original", "edges"]}
    context = open_study(resolve_study(study), tmp_path, torch.device("cpu"))
    before = open_study(resolve_study(without_views()), tmp_path, torch.device("cpu"))
    test, pool = (torch.as_tensor(context.blocks[name]) for name in ("test", "student"))
    torch.testing.assert_close(context.inputs.clean(test), before.inputs.clean(test), rtol=0, atol=0)
    same = (context.inputs.clean(pool) == before.inputs.clean(pool)).flatten(1).all(1)
    assert 0.35 < same.float().mean() < 0.65
