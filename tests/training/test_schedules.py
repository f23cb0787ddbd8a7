"""Learning rates against torch's own schedulers, against CRD's rule, and against the loop's cosine."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biasvar.training.schedules import SCHEDULES, check_schedule, rate_at

STEPS = 7


def rates(kind, epochs, **options):
    return [rate_at(kind, 0.1, t, STEPS, epochs, **options) for t in range(epochs * STEPS)]


def torch_rates(make, count):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(optimizer)
    out = []
    for _ in range(count):
        out.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return out


def test_cosine_is_torchs():
    make = lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * STEPS)  # noqa: E731
    assert rates("cosine", 5) == pytest.approx(torch_rates(make, 5 * STEPS), rel=1e-12)


def test_step_is_torchs():
    milestones = [2 * STEPS, 4 * STEPS]
    make = lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.2)  # noqa: E731
    assert rates("step", 6, milestones=(2, 4), gamma=0.2) == pytest.approx(torch_rates(make, 6 * STEPS), rel=1e-12)


def test_cosine_without_warmup_is_bit_for_bit_what_recorded_runs_used():
    for epoch in range(1, 6):
        for step in range(STEPS):
            before = 0.3 * 0.5 * (1 + math.cos(math.pi * ((epoch - 1) * STEPS + step) / (5 * STEPS)))
            assert rate_at("cosine", 0.3, (epoch - 1) * STEPS + step, STEPS, 5) == before


def test_crd_schedule():
    """RepDistiller: at epoch e, counted from 1, the rate is 0.05 * 0.1 ** (how many of 150, 180, 210 are below e)."""
    steps = 782  # 50,000 images in batches of 64
    for epoch in range(1, 241):
        expected = 0.05 * 0.1 ** sum(epoch > milestone for milestone in (150, 180, 210))
        for step in (0, steps - 1):
            ours = rate_at("step", 0.05, (epoch - 1) * steps + step, steps, 240, milestones=(150, 180, 210), gamma=0.1)
            assert ours == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_warmup_rises_by_equal_amounts_to_the_full_rate(kind):
    options = {"milestones": (3,)} if kind == "step" else {}
    values = rates(kind, 5, warmup=2, **options)
    assert values[: 2 * STEPS] == pytest.approx([0.1 * (t + 1) / (2 * STEPS) for t in range(2 * STEPS)])
    if kind == "cosine":  # what follows is the cosine over the epochs that remain
        assert values[2 * STEPS :] == pytest.approx(rates(kind, 3))
    else:
        assert values[2 * STEPS :] == rates(kind, 5, **options)[2 * STEPS :]


def test_warmup_of_half_an_epoch():
    values = rates("constant", 2, warmup=0.5)
    assert values[:4] == pytest.approx([0.1 * (t + 1) / 3.5 for t in range(3)] + [0.1])


@given(
    kind=st.sampled_from(SCHEDULES),
    epochs=st.integers(1, 30),
    steps=st.integers(1, 20),
    warmup=st.floats(0, 0.99),
    data=st.data(),
)
def test_rates_are_positive_never_above_base_and_fall_after_warmup(kind, epochs, steps, warmup, data):
    options = {"warmup": warmup * epochs}
    if kind == "step":
        whole = st.integers(1, max(1, epochs - 1))
        chosen = data.draw(st.lists(whole, unique=True, max_size=3)) if epochs > 1 else []
        options["milestones"] = sorted(chosen)
    values = [rate_at(kind, 0.5, t, steps, epochs, **options) for t in range(epochs * steps)]
    assert all(0 < value <= 0.5 for value in values)
    over = values[math.ceil(options["warmup"] * steps) :]
    assert all(a >= b for a, b in pairwise(over))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("linear", {}, "no schedule named 'linear'; there is: constant, cosine, step"),
        ("cosine", {"warmup": 5}, "warmup 5: expected at least 0 and less than the 5 epochs"),
        ("cosine", {"warmup": -1}, "warmup -1"),
        ("cosine", {"milestones": (2,)}, "only a step schedule"),
        ("step", {"milestones": (3, 2)}, "increasing epochs between 0 and 5"),
        ("step", {"milestones": (0, 2)}, "increasing epochs"),
        ("step", {"milestones": (2, 5)}, "increasing epochs"),
        ("step", {"milestones": (2,), "gamma": 0.0}, "gamma 0.0"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        check_schedule(kind, epochs=5, **options)
    with pytest.raises(ValueError, match=message):
        rate_at(kind, 0.1, 0, STEPS, 5, **options)


@pytest.mark.parametrize("step", [-1, 35])
def test_a_step_outside_the_training_is_refused(step):
    with pytest.raises(ValueError, match="expected 0 to 34"):
        rate_at("constant", 0.1, step, STEPS, 5)
