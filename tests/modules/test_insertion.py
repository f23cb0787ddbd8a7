"""InfoDrop inserted by path: against forward passes written out by hand, in networks of ours and of one's own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.modules import InfoDrop, infodrops_in, insert_infodrop
from biasvar.training.networks import build_network


def streamed(drops, seed=0):
    for number, drop in enumerate(drops):
        drop.streams = (np.random.default_rng([seed, number]),)


def test_the_stem_of_a_convnet_is_thinned_after_its_pooling():
    torch.manual_seed(0)
    net, x = build_network("convnet", in_channels=1, num_classes=4), torch.randn(6, 1, 16, 16)
    (drop,) = insert_infodrop(net, ["convolutions.0"], rate=1.0)
    streamed([drop])
    found = net(x)
    by_hand = InfoDrop(3, padding=1, pool=2, rate=1.0)
    streamed([by_hand])
    y = by_hand(F.max_pool2d(F.relu(net.norms[0](net.convolutions[0](x))), 2), x)
    for convolution, norm in list(zip(net.convolutions, net.norms, strict=True))[1:]:
        y = F.max_pool2d(F.relu(norm(convolution(y))), 2)
    torch.testing.assert_close(found, net.fc(y.mean((2, 3))))


def test_a_residual_network_is_thinned_where_the_authors_do():
    """The stem; after the first ReLU of a block; after the second where the shortcut is the identity."""
    torch.manual_seed(1)
    net, x = build_network("resnet8", in_channels=3, num_classes=5), torch.randn(4, 3, 8, 8)
    plain, layers = copy.deepcopy(net), ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    drops = insert_infodrop(net, layers, after={"layer1.0.conv2": "layer1.0"})
    streamed(drops)
    found = net(x)
    hand = [InfoDrop(3, padding=1) for _ in layers]
    streamed(hand)
    block = plain.layer1[0]
    stem = hand[0](F.relu(plain.bn1(plain.conv1(x))), x)
    inside = hand[1](F.relu(block.bn1(block.conv1(stem))), stem)
    out = hand[2](F.relu(block.bn2(block.conv2(inside)) + stem), inside)
    torch.testing.assert_close(found, plain.fc(plain.layer3(plain.layer2(out)).mean((2, 3))))


class Tutorial(nn.Module):
    """One pooling module and one ReLU called several times, as in many a first network."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3)
        self.pool, self.relu = nn.MaxPool2d(2, 2), nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(1, 1, 1)
        self.fc = nn.Linear(8 * 6 * 6, 3)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        return self.fc(self.pool(self.relu(self.conv2(x))).flatten(1))


def test_a_pooling_that_gives_indices_too_is_left_as_it_is():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2, return_indices=True))
    (drop,) = insert_infodrop(network, ["0"], rate=5.0)
    pooled, indices = network(torch.rand(2, 1, 8, 8))
    assert (pooled.shape, indices.shape) == ((2, 2, 3, 3), (2, 2, 3, 3))
    assert drop.pool is None


def test_hooks_see_what_is_thinned_from_the_first_pass_on():
    """Features of a student with InfoDrop that teaches are tapped batch by batch, the first before it has its place."""
    network, seen = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), []
    insert_infodrop(network, ["0"], rate=5.0)
    network.eval()[1].register_forward_hook(lambda *given: seen.append(given[2]))
    images = torch.rand(2, 1, 8, 8)
    answers = [network(images), network(images)]
    assert (answers[0] == 0).any()
    for tapped, answer in zip(seen[-2:], answers, strict=True):
        torch.testing.assert_close(tapped, answer)


def test_modules_that_are_called_twice_thin_once():
    torch.manual_seed(2)
    net, x = Tutorial(), torch.randn(3, 3, 32, 32)
    (drop,) = insert_infodrop(net, ["conv1"])
    streamed([drop])
    found = net(x)
    hand = InfoDrop(3, pool=nn.MaxPool2d(2, 2))
    streamed([hand])
    y = hand(F.max_pool2d(F.relu(net.conv1(x)), 2), x)
    torch.testing.assert_close(found, net.fc(F.max_pool2d(F.relu(net.conv2(y)), 2).flatten(1)))


def test_parameters_names_and_modes_stay_as_they_are():
    torch.manual_seed(3)
    net = build_network("convnet", in_channels=1, num_classes=4)
    before = copy.deepcopy(net.state_dict())
    drops = insert_infodrop(net, ["convolutions.0", "convolutions.1"])
    assert infodrops_in(net) == drops
    net.eval()
    net(torch.randn(5, 1, 8, 8))
    assert not drops[0].training
    net.train()
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])  # nor has finding the places moved the norms
    assert net.state_dict().keys() == before.keys()
    for drop in drops:
        drop.active = False
    plain = build_network("convnet", in_channels=1, num_classes=4)
    plain.load_state_dict(before)
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(net(x), plain(x))


def test_a_copy_of_a_network_has_its_own():
    torch.manual_seed(4)
    net = build_network("convnet", in_channels=1, num_classes=4)
    (drop,) = insert_infodrop(net, ["convolutions.0"])
    x = torch.randn(5, 1, 8, 8)
    net(x)
    other = copy.deepcopy(net)
    (own,) = infodrops_in(other)
    assert own is not drop
    drop.active = False
    plain, thinned = net(x), other(x)
    assert not torch.allclose(plain, thinned)


def test_replicas_in_one_pass_are_replicas_one_by_one():
    """A network with InfoDrop under vmap, over parameters and inputs, as the batched backend calls it."""
    torch.manual_seed(5)
    nets = [nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)) for _ in range(3)]
    stacked, _ = torch.func.stack_module_state(nets)
    x = torch.randn(3, 4, 1, 8, 8)
    (drop,) = insert_infodrop(nets[0], ["0"])
    drop.streams = tuple(np.random.default_rng(r) for r in range(3))
    found = torch.func.vmap(lambda p, one: torch.func.functional_call(nets[0], p, (one,)))(stacked, x)
    for r in range(3):
        drop.streams = (np.random.default_rng(r),)
        own = {name: value[r] for name, value in stacked.items()}
        torch.testing.assert_close(found[r], torch.func.functional_call(nets[0], own, (x[r],)))


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (["conv3"], {}, "no convolution named 'conv3', did you mean 'conv"),
        (["fc"], {}, "no convolution named 'fc'.*there is: conv1, conv2, unused"),
        ([], {}, "layers must name convolutions, each once"),
        (["conv1", "conv1"], {}, "layers must name convolutions, each once"),
        (["conv1"], {"after": {"conv2": "pool"}}, "after: 'conv2' is not among the layers"),
        (["conv1"], {"after": {"conv1": "pol"}}, "after: no module named 'pol', did you mean 'pool'"),
        (["conv1"], {"rate": -1.0}, "rate must be 0 or more"),
        (["conv1"], {"temprature": 1.0}, "no setting of InfoDrop named 'temprature', did you mean 'temperature'"),
        (["conv1"], {"kernel": 3}, "no setting of InfoDrop named 'kernel'; there is: rate, temperature"),
        ("conv1", {}, r"layers must be a list of paths, such as \['conv1'\]"),
    ],
)
def test_places_that_cannot_be_are_named(layers, options, message):
    with pytest.raises(ValueError, match=message):
        insert_infodrop(Tutorial(), layers, **options)


@pytest.mark.parametrize(
    ("layers", "after", "message"),
    [
        (["unused"], {}, "the convolution unused is not called in the network's forward pass"),
        (["conv2"], {"conv2": "unused"}, "after: module unused is not called after the convolution conv2"),
        (["conv1"], {"conv1": "fc"}, "InfoDrop was given activations"),
    ],
)
def test_places_that_the_forward_pass_does_not_reach_are_named(layers, after, message):
    net = Tutorial()
    insert_infodrop(net, layers, after=after)
    with pytest.raises(ValueError, match=message):
        net(torch.randn(2, 3, 32, 32))


def test_networks_without_convolutions_and_second_insertions_are_refused():
    with pytest.raises(
        ValueError, match=r"InfoDrop follows convolutions \(nn.Conv2d\), of which this network has none"
    ):
        insert_infodrop(nn.Linear(2, 2), ["0"])
    net = Tutorial()
    insert_infodrop(net, ["conv1"])
    with pytest.raises(ValueError, match="the network has InfoDrop already"):
        insert_infodrop(net, ["conv2"])
