"""The networks against published parameter counts and second implementations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.training.networks import ResNet, build_network

# Parameters with 3 channels: for 100 classes, for 10, and in millions as published for 100 classes (None: not found).
# Exact counts: models/resnet.py of github.com/HobbitLong/RepDistiller at eedab9d, instantiated and counted. Published:
# resnet20 to resnet56, github.com/chenyaofo/pytorch-cifar-models, README at d1c8e99 (the same networks); resnet110,
# resnet8x4 and resnet32x4, the figures by which users of the benchmark quote it (the original table was not found).
PUBLISHED = {
    "resnet8": (83_892, 78_042, None),
    "resnet14": (181_108, 175_258, None),
    "resnet20": (278_324, 272_474, 0.28),
    "resnet32": (472_756, 466_906, 0.47),
    "resnet44": (667_188, 661_338, 0.67),
    "resnet56": (861_620, 855_770, 0.86),
    "resnet110": (1_736_564, 1_730_714, 1.74),
    "resnet8x4": (1_233_540, 1_210_410, 1.23),
    "resnet32x4": (7_433_860, 7_410_730, 7.43),
}


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def closed_form(name, in_channels, num_classes):
    """Weights and biases from the architecture alone: 9 a b for a 3x3 convolution, 2 b for its BatchNorm."""
    depth, wide = int(name.removeprefix("resnet").removesuffix("x4")), name.endswith("x4")
    stem, *widths = (32, 64, 128, 256) if wide else (16, 16, 32, 64)
    total, inside = (9 * in_channels + 2) * stem, stem
    for stage, width in enumerate(widths):
        convolutions = 2 * (depth - 2) // 6
        total += 9 * inside * width + 9 * (convolutions - 1) * width**2 + 2 * convolutions * width
        if stage or inside != width:
            total += (inside + 2) * width
        inside = width
    return total + (inside + 1) * num_classes


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(name):
    hundred, ten, millions = PUBLISHED[name]
    network = build_network(name, in_channels=3, num_classes=100)
    assert count(network) == hundred == closed_form(name, 3, 100)
    assert closed_form(name, 3, 10) == ten
    assert millions is None or round(hundred / 1e6, 2) == millions
    layers = [m for m in network.modules() if isinstance(m, nn.Linear) or getattr(m, "kernel_size", 0) == (3, 3)]
    assert len(layers) == int(name.removeprefix("resnet").removesuffix("x4"))


@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 10), (3, 200)])
def test_any_channels_and_classes(in_channels, num_classes):
    for name in ("resnet8", "resnet14", "resnet8x4"):
        network = build_network(name, in_channels=in_channels, num_classes=num_classes)
        assert count(network) == closed_form(name, in_channels, num_classes)


def second_forward(network, x):
    """The same logits from the state dict, in plain functions and evaluation mode."""
    state = network.state_dict()

    def convolve(x, name, stride=1):
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=state[f"{name}.weight"].shape[-1] // 2)

    def normalise(x, name):
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    x = normalise(convolve(x, "conv1"), "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for number in range(sum(key.startswith(f"layer{stage}.") and key.endswith("conv1.weight") for key in state)):
            block = f"layer{stage}.{number}"
            stride = 2 if stage > 1 and number == 0 else 1
            y = normalise(convolve(x, f"{block}.conv1", stride), f"{block}.bn1").clamp(min=0)
            y = normalise(convolve(y, f"{block}.conv2"), f"{block}.bn2")
            if f"{block}.downsample.0.weight" in state:
                x = normalise(convolve(x, f"{block}.downsample.0", stride), f"{block}.downsample.1")
            x = (x + y).clamp(min=0)
    return x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet8x4"])
def test_forward_is_that_of_a_second_implementation(name):
    torch.manual_seed(0)
    network = build_network(name, in_channels=3, num_classes=7).double()
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    network(x)  # moves the running statistics away from 0 and 1
    network.eval()
    torch.testing.assert_close(network(x), second_forward(network, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (9, 33)])
def test_any_image_of_at_least_8_pixels(size):
    network = build_network("resnet8", in_channels=1, num_classes=10)
    logits = network(torch.randn(2, 1, *size))
    assert logits.shape == (2, 10)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 7, 32), (3, 32, 32)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) with H and W at least 8, not \(.*\)"):
        build_network("resnet8", in_channels=3, num_classes=10)(torch.zeros(shape))


def test_initial_weights():
    """Normal of variance 2 / (9 * outputs) for convolutions (2 / outputs for 1x1), 1 and 0 for BatchNorm."""
    torch.manual_seed(1)
    for module in build_network("resnet32x4", in_channels=3, num_classes=10).modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            expected = (2 / fan_out) ** 0.5
            error = expected / (2 * module.weight.numel()) ** 0.5
            assert abs(module.weight.std().item() - expected) < 5 * error
            assert abs(module.weight.mean().item()) < 5 * expected / module.weight.numel() ** 0.5
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))


def test_initial_weights_depend_on_the_seed_alone():
    def fresh(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_network("resnet14", in_channels=3, num_classes=10).state_dict()

    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    first = fresh(3)
    torch.rand(5)
    again, other = fresh(3), fresh(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    torch.random.set_rng_state(before)
    fresh(5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_head_stays_float32_under_autocast():
    torch.manual_seed(0)
    network = build_network("resnet8", in_channels=3, num_classes=10).eval()
    seen = {}
    network.layer3.register_forward_hook(lambda module, inputs, output: seen.update(features=output))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(4, 3, 16, 16))
        assert torch.is_autocast_enabled("cpu")
    assert logits.dtype == torch.float32
    exact = network.fc(seen["features"].float().mean((2, 3)))
    torch.testing.assert_close(logits, exact, rtol=0, atol=0)
    assert not torch.equal(logits, logits.bfloat16().float())


def test_channels_last_gives_the_same_logits():
    torch.manual_seed(0)
    network = build_network("resnet8", in_channels=3, num_classes=10).eval()
    x = torch.randn(4, 3, 32, 32)
    plain = network(x)
    quick = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-5)


def test_a_network_can_be_learnt():
    """It fits random labels of a few images: gradients reach every layer and point the right way."""
    torch.manual_seed(0)
    network = build_network("resnet8", in_channels=1, num_classes=4)
    x, y = torch.randn(16, 1, 8, 8), torch.arange(16) % 4
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_unknown_names_and_depths():
    known = "convnet, convnet_deep, resnet8, .*resnet34, .*imagenet_mobilenetv1, or your own"
    with pytest.raises(ValueError, match=rf"no network named 'resnet9', did you mean 'resnet.*'\? there is: {known}"):
        build_network("resnet9", in_channels=3, num_classes=10)
    for depth in (9, 2, 0):
        with pytest.raises(ValueError, match=f"6 n \\+ 2 layers .* not {depth}"):
            ResNet(depth, (16, 16, 32, 64), in_channels=3, num_classes=10)


@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 10), (3, 200)])
def test_parameter_count_of_the_convnet(in_channels, num_classes):
    network = build_network("convnet", in_channels=in_channels, num_classes=num_classes)
    expected = 9 * (in_channels * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 65 * num_classes
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (9, 33)])
def test_forward_of_the_convnet_is_that_of_a_second_implementation(size):
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
def test_other_images_are_refused_by_the_convnet(shape):
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) with H and W at least 8, not \(.*\)"):
        build_network("convnet", in_channels=3, num_classes=10)(torch.zeros(shape))
