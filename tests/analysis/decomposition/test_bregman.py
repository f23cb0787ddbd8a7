"""Losses given by a generator: against their definition, the losses that are known, and generators that are none."""

import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from biasvar.analysis import Accumulator, Bregman, decompose, paired_change
from tests.analysis import reference
from tests.analysis.reference import quick


def entropy_value(p):
    xp = array_namespace(p)
    return xp.sum(p * xp.log(xp.where(p > 0, p, 1.0)), axis=-1)


def log(p):
    return array_namespace(p).log(p)


def softmax(slope):
    xp = array_namespace(slope)
    e = xp.exp(slope - xp.max(slope, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def square(p):
    return array_namespace(p).sum(p**2, axis=-1)


def onto_sum_one(slope):
    half = slope / 2
    return half + (1.0 - array_namespace(slope).sum(half, axis=-1, keepdims=True)) / slope.shape[-1]


ENTROPY = Bregman("negative entropy", entropy_value, log, softmax)
SQUARE = Bregman("square", square, lambda p: 2 * p, onto_sum_one)
KNOWN = [(ENTROPY, "cross_entropy"), (SQUARE, "squared_error")]


def power(p):
    return array_namespace(p).sum(p**1.5, axis=-1)


def power_inverse(slope):
    """The distribution p with 1.5 sqrt(p) = slope + c: a sum of squares of sqrt(p) = (slope + c) / 1.5 that is one."""
    xp, root = array_namespace(slope), slope / 1.5
    n = root.shape[-1]
    first, second = xp.sum(root, axis=-1, keepdims=True), xp.sum(root**2, axis=-1, keepdims=True)
    shift = (-first + xp.sqrt(first**2 - n * (second - 1.0))) / n
    return (root + shift) ** 2


POWER = Bregman("power 1.5", power, lambda p: 1.5 * p**0.5, power_inverse)
FIELDS = ("noise", "bias", "variance", "deleted_bias", "deleted_variance")


@pytest.mark.parametrize(("generator", "loss"), KNOWN)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_the_losses_with_a_name_of_their_own_are_special_cases(generator, loss, soft, masked, convert):
    logits, labels, q = reference.arrays(1, replicas=7, rows=30)
    target = convert(q if soft else labels)
    where = np.random.default_rng(0).random((7, 30)) < 0.5 if masked else None
    ours = decompose(convert(logits), target, loss=generator, where=where, groups=4)
    known = decompose(convert(logits), target, loss=loss, where=where, groups=4)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(ours, field), getattr(known, field), rtol=0, atol=1e-10)
    assert type(ours.bias) is type(convert(logits))
    assert ours.loss == generator.name


def divergence(generator, y, p):
    return generator.value(y) - generator.value(p) - (generator.gradient(p) * (y - p)).sum(-1)


@quick
@given(st.integers(0, 10_000), st.booleans())
def test_terms_are_those_of_the_divergence(seed, soft):
    logits, labels, q = reference.arrays(seed, replicas=5, rows=6, classes=3, spread=1.0)
    p, target = softmax(logits), q if soft else np.eye(3)[labels]
    result = decompose(logits, q if soft else labels, loss=POWER)
    of_labels = np.stack([divergence(POWER, np.eye(3)[k], p).mean(0) for k in range(3)], axis=-1)
    np.testing.assert_allclose(result.noise + result.bias + result.variance, (target * of_labels).sum(-1), atol=1e-10)
    # The central prediction is what all replicas together are least far from.
    for i in range(2):
        found = minimize(
            lambda z, i=i: divergence(POWER, softmax(z), p[:, i]).mean(), np.zeros(3), options={"gtol": 1e-9}
        )
        np.testing.assert_allclose(result.variance[i], found.fun, atol=1e-7)
        np.testing.assert_allclose(result.bias[i], divergence(POWER, target[i], softmax(found.x)), rtol=1e-3, atol=1e-5)
    left = decompose(np.delete(logits, 2, axis=0), q if soft else labels, loss=POWER, errors=False)
    np.testing.assert_allclose(result.deleted_bias[2], left.bias, atol=1e-12)
    np.testing.assert_allclose(result.deleted_variance[2], left.variance, atol=1e-12)


def test_streams_merge_and_changes_pair():
    logits, labels, _ = reference.arrays(2, replicas=6)
    whole = decompose(logits, labels, loss=POWER)
    streams = [Accumulator(9, 4, loss=POWER) for _ in range(2)]
    for replica in range(6):
        streams[replica % 2].update(logits[replica, :5], range(5), replica=replica)
        streams[replica % 2].update(torch.as_tensor(logits[replica, 5:]), range(5, 9), replica=replica)
    streamed = streams[0].merge(streams[1]).result(labels)
    for field in FIELDS:
        np.testing.assert_allclose(getattr(streamed, field), getattr(whole, field), atol=1e-12)
    corrected = whole.corrected("jackknife")
    np.testing.assert_allclose(corrected.bias + corrected.variance, whole.bias + whole.variance)
    np.testing.assert_allclose(paired_change(streamed, whole).variance, 0, atol=1e-12)
    with pytest.raises(ValueError, match=r"differ in loss: 'power 1\.5' and 'square'"):
        paired_change(whole, decompose(logits, labels, loss=SQUARE))
    with pytest.raises(ValueError, match="differ in loss"):
        streams[0].merge(Accumulator(9, 4, loss=SQUARE))


def test_rows_nobody_counts_for_are_nan_and_never_shown_to_the_generator():
    logits, labels, _ = reference.arrays(3)
    where = np.ones((6, 9), bool)
    where[:, 4] = False
    where[1:, 2] = False

    def careful(p):
        assert np.isfinite(p).all()
        return square(p)

    result = decompose(logits, labels, loss=Bregman("careful", careful, lambda p: 2 * p, onto_sum_one), where=where)
    assert np.isnan(result.bias).tolist() == [i == 4 for i in range(9)]
    assert np.isnan(result.deleted_variance[0]).tolist() == [i in (2, 4) for i in range(9)]


def bad(**change):
    parts = {"name": "bad", "value": square, "gradient": lambda p: 2 * p, "inverse_gradient": onto_sum_one} | change
    return Bregman(**parts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bad(name=""), "name of a Bregman loss must be a text"),
        (lambda: bad(gradient=None), "gradient of the Bregman loss 'bad' must be a function"),
        (lambda: bad(name="zero_one"), "must be another than cross_entropy, squared_error, zero_one"),
        (
            lambda: bad(value=lambda p: p),
            r"value .* must give an array of shape \(4,\) like its argument, got \(4, 4\)",
        ),
        (lambda: bad(value=lambda p: np.log(p).sum(-1)), "must be finite at one-hot labels"),
        (lambda: bad(gradient=lambda p: p, inverse_gradient=lambda g: g), "is not that of its value"),
        (lambda: bad(gradient=lambda p: 3 * p, inverse_gradient=lambda g: g / 3), "is not that of its value"),
        (lambda: bad(inverse_gradient=lambda g: g), "must give the distribution over classes whose gradient"),
        (lambda: bad(inverse_gradient=softmax), "must give the distribution over classes whose gradient"),
        (lambda: bad(value=lambda p: -square(p)), "is not that of its value"),
        (
            lambda: bad(
                value=lambda p: -square(p), gradient=lambda p: -2 * p, inverse_gradient=lambda g: onto_sum_one(-g)
            ),
            "negative divergence: its value must be convex",
        ),
        (lambda: bad(gradient=lambda p: np.where(p < 0.01, np.inf, 2 * p)), "not finite at the predictions of row 3"),
        (lambda: "hinge", "loss must be one of cross_entropy, squared_error, zero_one or a Bregman loss, got 'hinge'"),
        (lambda: 7, "loss must be one of .* got 7"),
    ],
)
def test_what_is_no_generator_is_refused(make, message):
    logits = np.random.default_rng(0).normal(size=(5, 6, 4)) * 0.1
    logits[2, 3] = [9.0, 0.0, 0.0, 0.0]
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        decompose(logits, np.zeros(6, int), loss=make())


def test_a_prediction_of_zero_is_refused_where_the_gradient_is_infinite():
    logits = np.zeros((3, 5, 3))
    logits[1, 2] = [900.0, 0.0, -1.0]
    with np.errstate(divide="ignore", invalid="ignore"):
        with pytest.raises(ValueError, match="not finite at the predictions of row 2: a probability there may be 0"):
            decompose(logits, np.zeros(5, int), loss=ENTROPY)
        with pytest.raises(ValueError, match="not finite at the predictions of row 2"):
            Accumulator(5, 3, loss=ENTROPY).update(logits[1])
    logits[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"\(replica, row\) \(1, 2\) hold NaN"):
        decompose(logits, np.zeros(5, int), loss=SQUARE)
