"""The networks of the distillation protocol against what their published implementations gave.

`published_networks.json` holds, for each implementation at the commit it names, run in float64: its parameters (for
100 classes, 1,000 of ImageNet's), the SHA-256 of the names in its state (lines, first 16 digits), the sum of the
sizes of its initial weights and the sum of the first weight of each tensor, drawn after `torch.manual_seed(3)`, and,
under the fill below, four logits: classes 0, 1 and the last one of the first image, class 0 of the last image.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from biasvar.study.networks import ONE_WIDTH
from biasvar.training.networks import NETWORKS, build_network, seeded, smallest_image
from biasvar.training.taps import feature_shapes, named_taps

FACTS = json.loads((Path(__file__).parent / "published_networks.json").read_text())
IMAGENET = [name for name in NETWORKS if name.startswith("imagenet_")]
FAMILIES = ["wrn-16-2", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2-0.5", "resnet50", *IMAGENET[::3]]

# Parameters for 100 classes (1,000 of ImageNet's), as the sheets of the protocol give them.
PARAMETERS = {
    "resnet8": 83_892, "resnet14": 181_108, "resnet20": 278_324, "resnet32": 472_756, "resnet44": 667_188,
    "resnet56": 861_620, "resnet110": 1_736_564, "resnet8x4": 1_233_540, "resnet32x4": 7_433_860,
    "resnet18": 11_220_132, "resnet50": 23_705_252, "wrn-16-1": 180_916, "wrn-16-2": 703_284, "wrn-40-1": 569_780,
    "wrn-40-2": 2_255_156, "wrn-28-2": 1_479_220, "wrn-28-4": 5_872_180, "wrn-16-4": 2_772_020, "vgg8": 3_965_028,
    "vgg11": 9_277_284, "vgg13": 9_462_180, "vgg16": 14_774_436, "vgg19": 20_086_692, "mobilenetv2": 812_836,
    "shufflenetv1": 949_258, "shufflenetv2": 1_355_528, "imagenet_resnet18": 11_689_512,
    "imagenet_resnet34": 21_797_672, "imagenet_resnet50": 25_557_032, "imagenet_mobilenetv1": 4_231_976,
}  # fmt: skip

# SHA-256, its first 16 digits, of names and initial weights drawn after manual_seed(7), for 3 channels and 10 classes;
# with a width after the name, for 1 channel and 4 classes.
INITIAL = {
    "convnet": "c563a7748410a096",
    "convnet_deep": "84f5b84d8591472a",
    "resnet8": "9cd98343a108a293",
    "resnet14": "2425847bc0198451",
    "resnet20": "8b07151f4e2e4986",
    "resnet32": "8569d7a503b60896",
    "resnet44": "351d5630d8bd74de",
    "resnet56": "2447c8e1f53c2670",
    "resnet110": "cbe8201fa7d03240",
    "resnet8x4": "ea54c0d342a16e12",
    "resnet32x4": "1ce4975a50e4a216",
    "resnet18": "40b5167ca111be26",
    "resnet34": "175c6dbaee276c9a",
    "convnet 6": "a0bb7e2e2a961da2",
    "resnet8 6": "ec0712f31e37b360",
    "resnet18 6": "cd1e4222243e85ca",
}


def classes_of(name):
    return 1000 if name in IMAGENET else 100


def filled(network):
    """The network in evaluation mode with numbers by the order of its state, and the generator for the images."""
    rng = np.random.default_rng(2026)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        drawn = rng.standard_normal(tuple(value.shape))
        if value.ndim > 1:
            drawn *= math.sqrt(1 / np.prod(value.shape[1:]))
        elif name.endswith("running_var"):
            drawn = 1 + 0.2 * np.abs(drawn)
        else:
            drawn = 0.2 * drawn + (1 if name.endswith("weight") else 0)
        value.copy_(torch.as_tensor(drawn))
    return network.eval(), rng


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact['name']} {fact['image_size']}")
@torch.no_grad()
def test_logits_are_those_of_the_published_implementation(fact):
    network, rng = filled(build_network(fact["name"], num_classes=classes_of(fact["name"])).double())
    images = rng.standard_normal((1 if fact["name"] in IMAGENET else 2, 3, fact["image_size"], fact["image_size"]))
    logits = network(torch.as_tensor(images))
    found = [logits[0, 0], logits[0, 1], logits[0, -1], logits[-1, 0]]
    np.testing.assert_allclose([value.item() for value in found], fact["logits"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact['name']} {fact['image_size']}")
def test_initial_weights_are_drawn_as_published(fact):
    network = seeded(3, lambda: build_network(fact["name"], num_classes=classes_of(fact["name"])))
    state = [value.double() for value in network.state_dict().values() if value.is_floating_point()]
    found = [sum(value.abs().sum().item() for value in state), sum(value.flatten()[0].item() for value in state)]
    np.testing.assert_allclose(found, fact["initial"], rtol=1e-5)
    assert sum(parameter.numel() for parameter in network.parameters()) == fact["parameters"]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact['name']} {fact['image_size']}")
def test_published_checkpoints_have_the_same_names(fact):
    """Of resnet18 and resnet34 after two words were changed, as the module says."""
    with torch.device("meta"):
        names = "\n".join(build_network(fact["name"], num_classes=2).state_dict())
    if fact["name"] in ("resnet18", "resnet34"):
        names = names.replace("downsample", "shortcut").replace("fc.", "linear.")
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == fact["names"]


def test_parameters_are_those_of_the_protocol():
    assert {"convnet", "convnet_deep", "resnet34", "shufflenetv2-0.5", "shufflenetv2-2", *PARAMETERS} == set(NETWORKS)
    with torch.device("meta"):
        made = {name: build_network(name, num_classes=classes_of(name)) for name in PARAMETERS}
    assert {name: sum(p.numel() for p in network.parameters()) for name, network in made.items()} == PARAMETERS
    assert {fact["name"] for fact in FACTS} == {*NETWORKS} - {"convnet", "convnet_deep"}


@pytest.mark.parametrize("entry", INITIAL)
def test_initial_weights_stay_as_they_were(entry):
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("the last bits of normal draws are those of processors with AVX2")
    name, _, width = entry.partition(" ")
    options = {"in_channels": 1, "num_classes": 4, "width": int(width)} if width else {"num_classes": 10}
    digest = hashlib.sha256()
    for key, value in seeded(7, lambda: build_network(name, **options)).state_dict().items():
        digest.update(key.encode() + value.numpy().tobytes())
    assert digest.hexdigest()[:16] == INITIAL[entry]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_smallest_image_and_odd_ones_go_and_smaller_ones_are_refused(name, channels):
    least = smallest_image(name)
    torch.manual_seed(0)
    network = build_network(name, in_channels=channels, num_classes=5, image_size=least)
    for size in ((least, least), (least + 1, 2 * least + 3)):
        logits = network(torch.randn(2, channels, *size))
        assert logits.shape == (2, 5)
        network.zero_grad()
        logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert any(p.grad.abs().sum() > 0 for p in network.parameters())
    for shape in ((2, channels, least - 1, least), (2, 2, least, least), (channels, least, least)):
        with pytest.raises(ValueError, match=rf"\(B, {channels}, H, W\) with H and W at least {least}, not \(.*\)"):
            network(torch.zeros(shape))
    for image_size, said in ((least - 1, f"{least - 1}x{least - 1}"), ((64, least - 1), f"64x{least - 1}")):
        with pytest.raises(ValueError, match=f"image_size: {name} takes images of at least .* pixels, not {said}"):
            build_network(name, num_classes=5, image_size=image_size)


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_named_from_the_input_to_the_head(name):
    network, least = build_network(name, num_classes=5), smallest_image(name)
    shapes = feature_shapes(network, torch.zeros(1, 3, 2 * least, 2 * least), named_taps(network), of="network")
    heights = [shape[1] for shape in shapes.values()]
    assert len(shapes) > 4
    assert heights == sorted(heights, reverse=True)
    assert len({*heights}) >= 3


@pytest.mark.parametrize("name", FAMILIES)
def test_the_head_stays_float32_under_autocast(name):
    network = build_network(name, num_classes=5).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(2, 3, 32, 32))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "wrn-28-3"}, "no network named 'wrn-28-3', did you mean 'wrn-28-.'\\? there is: convnet, "),
        ({"name": "resnet2O"}, "no network named 'resnet2O', did you mean 'resnet20'\\? there is"),
        ({"name": "VGGl3"}, "no network named 'VGGl3', did you mean 'vgg13'\\? there is"),
        ({"name": "vgg8", "image_size": (32, 32, 3)}, "image_size must be one number of pixels or two, not 3"),
        ({"name": "vgg8", "image_size": "32"}, "image_size must be a whole number, not '32'"),
        ({"name": "vgg8", "in_channels": 0}, "in_channels must be 1 to 65,536, not 0"),
        ({"name": "vgg8", "num_classes": -3}, "num_classes must be 1 to 1,000,000, not -3"),
        ({"name": "vgg8", "width": 8}, "width: vgg8 has the widths that its name says; leave it out"),
        ({"name": "resnet8x4", "width": 8}, "width: resnet8x4 has the widths that its name says; leave it out"),
        ({"name": 8}, "name must be text, not 8"),
    ],
)
def test_what_does_not_go_is_refused_by_name(given, said):
    with pytest.raises(ValueError, match=said):
        build_network(**{"num_classes": 10, **given})


def test_networks_of_one_width_are_those_whose_name_says_none():
    assert {*ONE_WIDTH} == {
        "mlp",
        "convnet",
        "convnet_deep",
        *(f"resnet{n}" for n in (8, 14, 18, 20, 32, 34, 44, 56, 110)),
    }


def test_depths_of_wide_residual_networks():
    from biasvar.training.networks.wide_resnets import WideResNet

    for depth in (9, 4, 0):
        with pytest.raises(ValueError, match=rf"6 n \+ 4 layers .* not {depth}"):
            WideResNet(depth, 1, in_channels=3, num_classes=10)
