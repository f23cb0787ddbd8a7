"""The small convolutional network against a second implementation, and as a study's student."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from biasvar.training.resnets import build_network
from tests.training.test_images import folder, study  # noqa: F401 (fixtures)


@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 10), (3, 200)])
def test_parameter_count(in_channels, num_classes):
    network = build_network("convnet", in_channels=in_channels, num_classes=num_classes)
    expected = 9 * (in_channels * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 65 * num_classes
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (9, 33)])
def test_forward_is_that_of_a_second_implementation(size):
    torch.manual_seed(0)
    network = build_network("convnet", in_channels=3, num_classes=7).double()
    x = torch.randn(4, 3, *size, dtype=torch.float64)
    network(x)  # moves the running statistics away from 0 and 1
    state, y = network.eval().state_dict(), x
    for i in range(3):
        y = F.conv2d(y, state[f"convolutions.{i}.weight"], padding=1)
        mean, var, weight, bias = (
            state[f"norms.{i}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        y = ((y - mean) / torch.sqrt(var + 1e-5) * weight + bias).clamp(min=0)
        high, wide = y.shape[2] // 2, y.shape[3] // 2
        y = y[:, :, : 2 * high, : 2 * wide].reshape(*y.shape[:2], high, 2, wide, 2).amax((3, 5))
    expected = y.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 7, 32), (3, 32, 32)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) with H and W at least 8, not \(.*\)"):
        build_network("convnet", in_channels=3, num_classes=10)(torch.zeros(shape))


def test_a_student_of_an_official_split(study, tmp_path):  # noqa: F811
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
