"""A user's own network by import path."""

from __future__ import annotations

import sys
import textwrap

import pytest
import torch

from biasvar.training.custom_networks import load_network
from biasvar.training.networks import ResNet


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "users_nets.py").write_text(
        textwrap.dedent("""
        import torch
        from torch import nn

        CALLS = []
        number = 3

        def good(in_channels, num_classes, width=4):
            CALLS.append((in_channels, num_classes, width))
            net = nn.Sequential(
                nn.Conv2d(in_channels, width, 3), nn.BatchNorm2d(width), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1),
                nn.Flatten(), nn.Linear(width, num_classes),
            )
            net[2].eval()
            return net

        def stubborn(in_channels): return nn.Identity()
        def function(in_channels, num_classes): return lambda x: x
        def spatial(in_channels, num_classes): return nn.Conv2d(in_channels, num_classes, 3)
        def sure(in_channels, num_classes):
            return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes), nn.Softmax(-1))

        def fixed(in_channels, num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(10, num_classes))

        class Pair(nn.Module):
            def __init__(self, in_channels, num_classes):
                super().__init__()
                self.num_classes = num_classes

            def forward(self, x):
                return (x, x)

        class Noisy(Pair):
            def forward(self, x):
                return torch.rand(len(x), self.num_classes)
        """)
    )
    (tmp_path / "users_broken.py").write_text("raise RuntimeError('half written')")
    (tmp_path / "users_needs.py").write_text("import no_such_package_anywhere")
    yield
    for name in ("users_nets", "users_broken", "users_needs"):
        sys.modules.pop(name, None)


def load(path, **options):
    return load_network(path, in_channels=1, num_classes=5, image_size=(8, 8), **options)


def test_a_users_network(user_module):
    network = load("users_nets:good", options={"width": 6})
    assert sys.modules["users_nets"].CALLS == [(1, 5, 6)]
    assert [module.training for module in network] == [True, True, False, True, True, True]
    assert torch.equal(network[1].running_mean, torch.zeros(6))  # the trial leaves no trace
    assert network[1].num_batches_tracked == 0
    before = torch.random.get_rng_state()
    load("users_nets:Noisy")
    assert torch.equal(before, torch.random.get_rng_state())


def test_our_own_networks_have_a_path_too():
    network = load("biasvar.training.networks:ResNet", options={"depth": 8, "widths": (4, 4, 8, 8)})
    assert isinstance(network, ResNet)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("users_nets.good", "expected package.module:factory"),
        ("users_nets:", "expected package.module:factory"),
        ("no_such_module:good", "no module named 'no_such_module'; install it"),
        ("users_nets.inner:good", "no module named 'users_nets.inner'"),
        ("users_needs:good", "users_needs needs a module named 'no_such_package_anywhere'"),
        ("users_broken:good", "importing users_broken failed with RuntimeError: half written"),
        ("users_nets:bad", "module users_nets has no 'bad'"),
        ("users_nets:number", "'number' is int, which cannot be called"),
        ("users_nets:stubborn", r"\(in_channels=1, num_classes=5\) failed with TypeError"),
        ("users_nets:function", "returned function, not a torch.nn.Module"),
        ("users_nets:spatial", r"gave shape \(2, 5, 6, 6\) for images of shape \(2, 1, 8, 8\); expected \(2, 5\)"),
        ("users_nets:fixed", r"failed on images of shape \(2, 1, 8, 8\) with RuntimeError"),
        ("users_nets:sure", "gave probabilities.*it must give logits: leave its last softmax out"),
        ("users_nets:Pair", "gave tuple for a batch of images"),
    ],
)
def test_what_is_wrong_with_a_users_network_is_said(user_module, path, message):
    with pytest.raises(ValueError, match=message):
        load(path)
