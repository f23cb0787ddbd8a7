"""InfoDrop against plain loops, closed forms and simulation; under vmap against one replica at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from biasvar.modules import InfoDrop
from tests.modules.reference import drop_map, kept_in_draws

CASES = [
    # kernel, stride, padding, pool (kernel, stride, padding), temperature, bandwidth, radius, channels, size
    (3, 1, 1, None, 0.03, 1.0, 3, 3, 8),
    (3, 1, 1, (2, 2, 0), 0.03, 1.0, 3, 1, 8),
    (3, 2, 1, None, 0.03, 1.0, 3, 2, 9),
    (5, 2, 2, (3, 2, 1), 0.05, 1.0, 2, 3, 13),
    (1, 1, 0, None, 0.5, 1.0, 1, 4, 6),
    (3, 1, 0, None, 0.01, 1.0, 1, 2, 7),
    (3, 1, 1, (3, 2, 1), 0.1, 0.5, 3, 2, 8),
    (2, 1, 0, (2, 1, 0), 1.0, 2.0, 2, 1, 6),
    (3, 2, 1, (2, 2, 0), 0.03, 1.0, 3, 3, 12),
    (7, 2, 3, (3, 2, 1), 0.03, 1.0, 3, 3, 14),
]


def drop_of(kernel, stride, padding, pool, temperature, bandwidth, radius, **more):
    module = None if pool is None else nn.MaxPool2d(*pool)
    options = {"stride": stride, "padding": padding, "pool": module, "temperature": temperature}
    return InfoDrop(kernel, **options, bandwidth=bandwidth, radius=radius, **more)


@pytest.mark.parametrize("case", CASES)
def test_the_map_is_that_of_plain_loops(case):
    kernel, stride, padding, pool, temperature, bandwidth, radius, channels, size = case
    draws = np.random.default_rng(kernel * 100 + size)
    x = draws.normal(size=(2, channels, size, size))
    offsets = draws.integers(-radius, radius + 1, size=(9, 2))
    wanted = drop_map(
        x,
        offsets,
        kernel=kernel,
        stride=stride,
        padding=padding,
        pool=pool,
        temperature=temperature,
        bandwidth=bandwidth,
    )
    drop = drop_of(*case[:7])
    r = drop.drop_probability(torch.as_tensor(x), torch.as_tensor(offsets))
    assert r.shape == (2, 1, *wanted.shape[1:])
    np.testing.assert_allclose(r[:, 0].numpy(), wanted, rtol=1e-10)
    single = drop.drop_probability(torch.as_tensor(x, dtype=torch.float32), offsets)
    np.testing.assert_allclose(single[:, 0].double().numpy(), wanted, rtol=2e-3, atol=1e-9)


def test_all_neighbours_are_the_whole_square():
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    drop = InfoDrop(3, padding=1, radius=1, neighbours="all", temperature=0.1)
    offsets = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    wanted = drop_map(x.numpy(), offsets, kernel=3, stride=1, padding=1, bandwidth=1.0, temperature=0.1)
    np.testing.assert_allclose(drop.drop_probability(x)[:, 0].numpy(), wanted, rtol=1e-10)


def test_powers_span_more_than_float32_holds():
    """At T = .01 q^(1/T) leaves float32; in logarithms r still sums to 1 and orders the places."""
    torch.manual_seed(0)
    x = 3 * torch.randn(4, 3, 12, 12)
    drop = InfoDrop(3, padding=1, temperature=0.01)
    offsets = [(0, 1), (1, 0), (-2, 3)]
    r = drop.drop_probability(x, offsets)
    wanted = drop.drop_probability(x.double(), offsets)
    assert wanted.min() < 1e-26
    assert torch.isfinite(r).all()
    torch.testing.assert_close(r.sum((1, 2, 3)), torch.ones(4))
    torch.testing.assert_close(r.double(), wanted, rtol=5e-3, atol=1e-9)


def test_where_nothing_differs_all_places_are_alike():
    """A batch in which all patches are alike, and offsets that are all the place itself, have no distances."""
    drop = InfoDrop(3, radius=2)
    r = drop.drop_probability(torch.randn(2, 1, 6, 6), [(0, 0)])
    torch.testing.assert_close(r, torch.full((2, 1, 4, 4), 1 / 16))


def test_an_infinite_temperature_is_even_dropout():
    drop = InfoDrop(3, padding=1, pool=2, temperature=math.inf)
    r = drop.drop_probability(torch.randn(3, 2, 8, 8))
    torch.testing.assert_close(r, torch.full((3, 1, 4, 4), 1 / 16))
    kept = (drop(torch.ones(200, 50, 4, 4), torch.randn(200, 2, 8, 8)) > 0).double().mean()
    assert abs(kept - (1 - 1 / 16) ** 24) < 0.005


def one_draw(r, rate, batch, channels, eval="random"):
    """What is kept, by place, with a map that is given."""
    drop = InfoDrop(1, rate=rate, eval=eval)
    drop.streams = (np.random.default_rng(5),)
    size = r.shape[-2:]
    places = drop.draw(r.expand(batch, 1, *size), channels)
    assert places.shape == (batch, channels, int(rate * size.numel()))
    return drop.thinned(torch.ones(batch, channels, *size), places)


@pytest.mark.parametrize("rate", [0.5, 1.5, 3.0])
def test_places_are_kept_as_draws_with_replacement_keep_them(rate):
    """20,000 draws by place; without replacement, or with a rescaling of what is kept, is far outside the error."""
    r = torch.tensor([0.45, 0.2, 0.15, 0.1, 0.05, 0.03, 0.02, 0.0]).view(1, 1, 2, 4)
    kept = one_draw(r, rate, 400, 50)
    assert set(kept.unique().tolist()) <= {0.0, 1.0}  # nothing is rescaled
    chances = kept_in_draws(r.flatten().tolist(), int(rate * 8))
    found = kept.mean((0, 1)).flatten().numpy()
    error = np.sqrt(chances * (1 - chances) / 20_000)
    assert (np.abs(found - chances) <= 4.5 * error + 1e-6).all()
    without = np.array([0.0 if value and int(rate * 8) >= 8 else 1.0 for value in r.flatten()])
    if int(rate * 8) >= 8:  # every place with a probability would be gone
        assert np.abs(without - chances).max() > 0.1


def test_the_expectation_is_near_the_exact_one():
    """exp(-rate h w r) against (1 - r)^n, and what evaluation multiplies by."""
    torch.manual_seed(1)
    x = torch.randn(3, 2, 8, 8)
    drop = InfoDrop(3, padding=1, temperature=0.5, eval="expected", neighbours="all").eval()
    r = drop.drop_probability(x)
    activations = torch.randn(3, 5, 8, 8)
    torch.testing.assert_close(drop(activations, x), activations * torch.exp(-1.5 * 64 * r))
    exact = torch.as_tensor(np.stack([kept_in_draws(one.flatten().tolist(), 96) for one in r]))
    assert (exact.view(3, 1, 8, 8) - torch.exp(-96 * r)).abs().max() < 0.02


def test_every_image_and_channel_draws_by_itself():
    drop = InfoDrop(3, padding=1, temperature=1.0)
    drop.streams = (np.random.default_rng(1),)
    kept = drop(torch.ones(4, 6, 8, 8), torch.randn(4, 2, 8, 8)).flatten(2)
    assert len({tuple(one.tolist()) for one in kept.flatten(0, 1)}) == 24


def test_gradients_flow_through_what_is_kept_and_not_through_the_map():
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    activations = torch.randn(2, 4, 8, 8, requires_grad=True)
    drop = InfoDrop(3, padding=1)
    out = drop(activations, x)
    out.sum().backward()
    assert x.grad is None
    assert torch.equal(activations.grad, (out != 0).float())
    assert not drop.drop_probability(x).requires_grad


def test_it_does_nothing_where_there_is_nothing_to_draw():
    activations, x = torch.randn(2, 3, 2, 2), torch.randn(2, 1, 2, 2)
    for drop in (InfoDrop(1, rate=0.2), InfoDrop(1, rate=0.0), InfoDrop(1, eval="off").eval()):
        assert drop(activations, x) is activations
    drop = InfoDrop(1)
    drop.active = False
    assert drop(activations, x) is activations


def test_evaluation_can_be_asked_again():
    activations, x = torch.randn(2, 3, 6, 6), torch.randn(2, 1, 6, 6)
    drop = InfoDrop(3, padding=1).eval()
    assert torch.equal(drop(activations, x), drop(activations, x))
    drop.train()
    assert not torch.equal(drop(activations, x), drop(activations, x))


def test_streams_are_all_that_training_draws_from():
    activations, x = torch.randn(2, 3, 6, 6), torch.randn(2, 1, 6, 6)
    drop = InfoDrop(3, padding=1)
    outs = []
    for _ in range(2):
        drop.streams = (np.random.default_rng(8),)
        outs.append(drop(activations, x))
        torch.rand(3)
    assert torch.equal(*outs)


@pytest.mark.parametrize("dims", [(0, 0), (0, None), (1, 2)])
@pytest.mark.parametrize("eval", ["random", "expected"])
@pytest.mark.parametrize("training", [True, False])
def test_a_vmap_over_replicas_is_a_loop_over_them(dims, eval, training):
    replicas = 3
    activations, x = torch.randn(replicas, 2, 4, 6, 6), 1 + torch.randn(replicas, 2, 2, 6, 6)
    x *= torch.tensor([1.0, 5.0, 25.0])[:, None, None, None, None]
    drop = InfoDrop(3, padding=1, eval=eval).train(training)
    drop.streams = tuple(np.random.default_rng(r) for r in range(replicas))
    seen = x[0] if dims[1] is None else x.movedim(0, dims[1])
    found = torch.func.vmap(drop, in_dims=dims)(activations.movedim(0, dims[0]), seen)
    for r in range(replicas):
        drop.streams = (np.random.default_rng(r),)
        wanted = drop(activations[r], x[0] if dims[1] is None else x[r])
        torch.testing.assert_close(found[r], wanted)


def test_gradients_by_replica():
    """The gradient of a vmapped network is that of each replica's own."""
    convolution, drop = nn.Conv2d(1, 4, 3, padding=1), InfoDrop(3, padding=1)
    weights = torch.randn(2, 4, 1, 3, 3)
    x = torch.randn(2, 3, 1, 6, 6)

    def loss(weight, one):
        return drop(torch.func.functional_call(convolution, {"weight": weight}, one), one).square().sum()

    drop.streams = tuple(np.random.default_rng(r) for r in range(2))
    found = torch.func.vmap(torch.func.grad(loss))(weights, x)
    for r in range(2):
        drop.streams = (np.random.default_rng(r),)
        weight = weights[r].clone().requires_grad_()
        loss(weight, x[r]).backward()
        torch.testing.assert_close(found[r], weight.grad)


def test_streams_that_are_not_one_a_replica_are_refused():
    drop = InfoDrop(1)
    drop.streams = (np.random.default_rng(0),)
    with pytest.raises(ValueError, match="InfoDrop has 1 streams for 2 replicas; give it one for each"):
        torch.func.vmap(drop)(torch.ones(2, 1, 1, 2, 2), torch.ones(2, 1, 1, 2, 2))


@settings(max_examples=30)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(5, 9), st.floats(0.01, 5), st.integers(0, 99)
)
def test_maps_are_distributions_and_do_not_heed_scale(kernel, stride, padding, size, temperature, seed):
    """r sums to 1; distances are divided by their mean, so that a brighter batch has the same map."""
    torch.manual_seed(seed)
    x = torch.randn(2, 2, size, size, dtype=torch.float64)
    drop = InfoDrop(kernel, stride=stride, padding=padding, temperature=temperature, radius=2)
    offsets = drop.neighbour_offsets()
    assert all(-2 <= o <= 2 for pair in offsets for o in pair)
    r = drop.drop_probability(x, offsets)
    torch.testing.assert_close(r.sum((1, 2, 3)), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(drop.drop_probability(7 * x, offsets), r, rtol=1e-6, atol=1e-12)


def test_a_constant_region_is_dropped_and_an_outline_kept():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 5:11, 5:11] = 1.0
    r = InfoDrop(3, padding=1, neighbours="all", radius=1).drop_probability(x)[0, 0]
    assert r[2, 2] > 100 * r[5, 5]
    assert r[8, 8] > 100 * r[5, 5]


def test_half_precision_has_a_map_in_float32():
    x = torch.randn(2, 3, 8, 8).bfloat16()
    drop = InfoDrop(3, padding=1)
    assert drop.drop_probability(x).dtype == torch.float32
    assert drop(torch.ones(2, 4, 8, 8).bfloat16(), x).dtype == torch.bfloat16


def test_networks_that_diverged_do_not_end_in_a_traceback():
    drop = InfoDrop(3, padding=1)
    assert drop(torch.ones(1, 2, 4, 4), torch.full((1, 1, 4, 4), float("nan"))).shape == (1, 2, 4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -1}, "rate must be 0 or more, not -1"),
        ({"rate": math.inf}, "rate must be 0 or more"),
        ({"temperature": 0}, "temperature must be 1e-06 or more, not 0"),
        ({"temperature": 1e-30}, "temperature must be 1e-06 or more, not 1e-30"),
        ({"temperature": "warm"}, "temperature must be a number, not 'warm'"),
        ({"bandwidth": 0.0}, r"bandwidth must be a number from 1e-06 to 1e\+06, not 0.0"),
        ({"bandwidth": 1e-30}, "bandwidth must be a number from"),
        ({"bandwidth": 1e200}, "bandwidth must be a number from"),
        ({"radius": 0}, "radius must be 1 or more, not 0"),
        ({"neighbours": "some"}, "neighbours must be a whole number of 1 or more, or 'all', not 'some'"),
        ({"neighbours": 0}, "neighbours must be"),
        ({"radius": 1, "neighbours": 10}, "neighbours must be at most the 9 places of radius 1"),
        ({"eval": "mean"}, "eval must be 'random', 'expected', 'off', not 'mean'"),
        ({"stride": 0}, "stride must be a whole number of 1 or more, or one each for rows and columns, not 0"),
        ({"padding": (1, 2, 3)}, "padding must be a whole number of 0 or more"),
        ({"pool": 0}, "pool must be an nn.MaxPool2d, a whole number of 1 or more, or None, not 0"),
    ],
)
def test_settings_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        InfoDrop(3, **options)


@pytest.mark.parametrize(
    ("x", "offsets", "message"),
    [
        (torch.zeros(3, 8, 8), None, r"must be floating-point images \(B, c, H, W\), not shape \(3, 8, 8\)"),
        ("image", None, "not str"),
        (torch.zeros(1, 1, 8, 8), [[4, 0]], r"offsets must be whole numbers of shape \(n, 2\), from -3 to 3"),
        (torch.zeros(1, 1, 8, 8), [[0.5, 0]], "offsets must be whole numbers"),
        (torch.zeros(1, 1, 8, 8), [1, 2], "offsets must be whole numbers"),
    ],
)
def test_what_is_no_image_or_no_neighbour_is_named(x, offsets, message):
    with pytest.raises(ValueError, match=message):
        InfoDrop(3).drop_probability(x, offsets)


def test_activations_of_another_size_are_named():
    message = r"InfoDrop was given activations \(B, C, h, w\) = \(1, 2, 4, 4\), but its map is 8x8"
    with pytest.raises(ValueError, match=message):
        InfoDrop(3, padding=1)(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 8, 8))


def test_the_geometry_of_a_convolution():
    drop = InfoDrop.after(nn.Conv2d(1, 2, (3, 5), stride=2, padding=(1, 2)), pool=2)
    assert (drop.kernel, drop.stride, drop.padding) == ((3, 5), (2, 2), (1, 2))
    with pytest.raises(ValueError, match="dilation 1"):
        InfoDrop.after(nn.Conv2d(1, 2, 3, dilation=2))
    with pytest.raises(ValueError, match="'same' needs an odd kernel"):
        InfoDrop.after(nn.Conv2d(1, 2, 4, padding="same"))
