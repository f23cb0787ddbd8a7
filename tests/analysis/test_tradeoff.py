"""Gradients against automatic differentiation, criteria against definitions, weights against released code."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import TradeoffTerms, regularization_samples, tradeoff_terms, wsl_weights
from biasvar.analysis.tradeoff import CRITERIA, wsl_weights_of_losses

from .reference import quick


def logits_and_labels(seed, shape=(20, 5), spread=3.0):
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(2, *shape)) * spread
    return student, teacher, rng.integers(0, shape[-1], shape[:-1])


@quick
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 2.0, 4.0, 8.0]))
def test_gradients_are_those_of_automatic_differentiation(seed, temperature):
    student, teacher, labels = logits_and_labels(seed)
    z = torch.tensor(student, requires_grad=True)
    q = torch.softmax(torch.tensor(teacher) / temperature, dim=-1)
    ce = torch.nn.functional.cross_entropy(z, torch.tensor(labels), reduction="sum")
    kd = -(temperature**2) * (q * torch.log_softmax(z / temperature, dim=-1)).sum()
    a = torch.autograd.grad(ce, z, retain_graph=True)[0]
    b = torch.autograd.grad(kd - ce, z)[0]
    index = torch.tensor(labels)[:, None]
    terms = tradeoff_terms(student, teacher, labels, temperature=temperature)
    np.testing.assert_allclose(terms.bias_gradient, a.gather(1, index)[:, 0], atol=1e-13)
    np.testing.assert_allclose(terms.variance_gradient, b.gather(1, index)[:, 0], atol=1e-13)
    np.testing.assert_allclose(terms.bias_norm, a.norm(dim=1), atol=1e-13)
    np.testing.assert_allclose(terms.variance_norm, b.norm(dim=1), atol=1e-13)
    np.testing.assert_allclose(terms.student_loss, -torch.log_softmax(z, 1).gather(1, index)[:, 0].detach(), atol=1e-13)
    np.testing.assert_allclose(np.exp(terms.teacher_log_prob), q.gather(1, index)[:, 0], atol=1e-13)

    a, b = a.numpy()[np.arange(20), labels], b.numpy()[np.arange(20), labels]
    expected = {
        "opposing": b > np.abs(a),
        "literal": b > a,
        "magnitude": np.abs(b) > np.abs(a),
        "norm": terms.variance_norm > terms.bias_norm,
    }
    clear = np.abs(b - np.abs(a)) > 1e-12  # below that, the log-space comparison knows better than these sums
    for criterion in CRITERIA:
        flags = regularization_samples(terms, criterion=criterion)
        np.testing.assert_array_equal(flags[clear], expected[criterion][clear])
    np.testing.assert_array_equal(regularization_samples(terms), regularization_samples(terms, criterion="opposing"))


def test_equal_gradients_make_no_regularization_sample():
    """Every criterion asks for more, never for as much: b > |a| is not b >= |a|."""
    student = np.random.default_rng(0).normal(size=(30, 4))
    terms = tradeoff_terms(student, student, np.zeros(30, int), temperature=2.0)
    assert (terms.student_log_prob == terms.teacher_log_prob).all()
    assert not regularization_samples(terms).any()
    ones = np.ones(3)
    equal = TradeoffTerms(ones, ones, ones, ones, ones, ones, ones, ones)
    opposite = TradeoffTerms(-ones, ones, ones, ones, ones, ones, ones, ones)
    for criterion in CRITERIA:
        assert not regularization_samples(equal, criterion=criterion).any()
    assert not regularization_samples(opposite, criterion="magnitude").any()
    assert regularization_samples(opposite, criterion="literal").all()


def test_at_temperature_one_opposing_is_a_weight_below_one_minus_one_over_e():
    student, teacher, labels = logits_and_labels(1, shape=(500, 6))
    terms = tradeoff_terms(student, teacher, labels, temperature=1.0)
    weights = wsl_weights(student, teacher, labels, epsilon=0.0)
    flags = regularization_samples(terms)
    np.testing.assert_array_equal(flags, weights < 1 - 1 / math.e)
    assert 0 < flags.sum() < 500
    for criterion in ("magnitude", "norm"):  # all but the literal one nearly agree there
        assert (regularization_samples(terms, criterion=criterion) == flags).mean() > 0.8
    assert regularization_samples(terms, criterion="literal").all()


def test_flags_of_confident_samples_are_not_lost_to_rounding():
    rng = np.random.default_rng(2)
    margin = rng.normal(size=(2, 400)) + 45.0  # p rounds to 1 in float64
    zeros = np.zeros(400)
    student, teacher = (np.stack([m, zeros], axis=1) for m in margin)
    flags = regularization_samples(tradeoff_terms(student, teacher, np.zeros(400, int), temperature=1.0))
    np.testing.assert_array_equal(flags, margin[0] > margin[1])


def test_numpy_torch_lists_and_float32_agree_and_gradients_do_not_flow():
    student, teacher, labels = logits_and_labels(3)
    arrays = tradeoff_terms(student, teacher, labels, temperature=4.0)
    graph = torch.tensor(student, requires_grad=True)
    tensors = tradeoff_terms(graph, torch.tensor(teacher), torch.tensor(labels), temperature=4.0)
    lists = tradeoff_terms(student.tolist(), teacher.tolist(), labels.tolist(), temperature=4.0)
    for field in vars(arrays):
        value = getattr(tensors, field)
        assert value.dtype == torch.float64
        assert not value.requires_grad
        np.testing.assert_allclose(value, getattr(arrays, field), atol=1e-14)
        np.testing.assert_array_equal(getattr(lists, field), getattr(arrays, field))
    single = tradeoff_terms(student.astype(np.float32), teacher, labels, temperature=4.0)
    np.testing.assert_array_equal(
        single.bias_norm,
        tradeoff_terms(student.astype(np.float32).astype(float), teacher, labels, temperature=4.0).bias_norm,
    )
    weights = wsl_weights(graph, torch.tensor(teacher), torch.tensor(labels))
    assert not weights.requires_grad
    np.testing.assert_allclose(weights, wsl_weights(student, teacher, labels), atol=1e-14)
    for criterion in CRITERIA:
        flags = regularization_samples(tensors, criterion=criterion)
        assert flags.dtype == torch.bool
        np.testing.assert_array_equal(flags, regularization_samples(arrays, criterion=criterion))


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_one_teacher_serves_many_replicas(convert):
    student, teacher, labels = logits_and_labels(4, shape=(3, 7, 5))
    whole = tradeoff_terms(convert(student), convert(teacher[0]), convert(labels[0]), temperature=2.0)
    weights = wsl_weights(convert(student), convert(teacher[0]), convert(labels[0]))
    for r in range(3):
        alone = tradeoff_terms(student[r], teacher[0], labels[0], temperature=2.0)
        for field in vars(alone):
            np.testing.assert_allclose(np.asarray(getattr(whole, field))[r], getattr(alone, field), atol=1e-14)
        np.testing.assert_allclose(np.asarray(weights)[r], wsl_weights(student[r], teacher[0], labels[0]), atol=1e-14)
    one = tradeoff_terms(student[0, 0], teacher[0, 0], labels[0, 0], temperature=2.0)
    assert one.bias_gradient.shape == ()


def test_weights_are_those_of_the_released_code():
    """Restated from the authors' release: NLL at temperature 1, 1e-7 added to the teacher's, the ratio clamped at 0."""
    student, teacher, labels = logits_and_labels(5, shape=(300, 10), spread=6.0)
    s, t, y = torch.tensor(student), torch.tensor(teacher), torch.nn.functional.one_hot(torch.tensor(labels), 10)
    loss_s = -torch.sum(torch.log_softmax(s, dim=1) * y, 1)
    loss_t = -torch.sum(torch.log_softmax(t, dim=1) * y, 1)
    focal = torch.maximum(loss_s / (loss_t + 1e-7), torch.zeros(1, dtype=torch.float64))
    np.testing.assert_allclose(wsl_weights(student, teacher, labels), 1 - torch.exp(-focal), atol=1e-12)
    np.testing.assert_allclose(wsl_weights_of_losses(loss_s, loss_t), 1 - torch.exp(-focal), atol=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 1e-7])
@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_limits_of_the_weight(epsilon, convert):
    sure, wrong, even = [1e4, 0.0], [0.0, 1e4], [0.0, 0.0]
    student = convert([sure, wrong, even, sure, even])
    teacher = convert([sure, sure, even, wrong, sure])
    weights = np.asarray(wsl_weights(student, teacher, convert([0] * 5), epsilon=epsilon))
    np.testing.assert_allclose(weights, [0.0, 1.0, 1 - 1 / math.e, 0.0, 1.0], atol=1e-6)
    assert np.isfinite(weights).all()


def test_rows_that_are_not_finite_are_nan_alone():
    student, teacher, labels = logits_and_labels(6, shape=(4, 3))
    student[1, 0] = np.nan
    teacher[2, 1] = np.inf
    bad = [False, True, True, False]
    terms = tradeoff_terms(student, teacher, labels, temperature=2.0)
    np.testing.assert_array_equal(np.isnan(terms.variance_gradient), bad)
    np.testing.assert_array_equal(np.isnan(terms.bias_gradient), [False, True, False, False])
    np.testing.assert_array_equal(np.isnan(wsl_weights(student, teacher, labels)), bad)
    for criterion in CRITERIA:
        assert not regularization_samples(terms, criterion=criterion)[1:3].any()
    student[0] = [1e5, 0, 0]  # a loss of exactly 0 does not hide the teacher's NaN
    teacher[0, 0] = np.nan
    assert np.isnan(wsl_weights(student, teacher, [0] * 4)[0])


@pytest.mark.parametrize(
    ("student", "teacher", "labels", "message"),
    [
        (np.zeros(()), np.zeros(()), 0, r"student_logits must have shape \(\.\.\., C\)"),
        (np.zeros((2, 1)), np.zeros((2, 1)), [0, 0], "at least two classes"),
        (np.zeros((2, 3)), np.zeros((2, 4)), [0, 0], "teacher_logits must have the shape"),
        (np.zeros((2, 3)), np.zeros(()), [0, 0], "teacher_logits must have the shape"),
        (np.zeros((2, 3)), np.zeros((2, 3)), [0, 0, 0], r"labels must have shape \(2,\)"),
        (np.zeros((2, 3)), np.zeros((2, 3)), [0, 3], "labels must lie in 0 .. 2; row 1"),
        (np.zeros((2, 2, 3)), np.zeros((2, 3)), [[0, 0], [0, 3]], r"row \(1, 1\)"),
        (np.zeros((2, 3)), np.zeros((2, 3)), [0.0, 1.0], "integers"),
        (np.zeros((2, 3), bool), np.zeros((2, 3)), [0, 1], "student_logits must hold real numbers"),
        (np.zeros((2, 3)), np.zeros((2, 3), bool), [0, 1], "teacher_logits must hold real numbers"),
    ],
)
def test_bad_input_is_refused(student, teacher, labels, message):
    with pytest.raises(ValueError, match=message):
        tradeoff_terms(student, teacher, labels, temperature=1.0)
    with pytest.raises(ValueError, match=message):
        wsl_weights(student, teacher, labels)


def test_bad_options_are_refused():
    zeros = np.zeros((1, 2))
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature must be"):
            tradeoff_terms(zeros, zeros, [0], temperature=temperature)
    for epsilon in (-1e-9, math.inf, math.nan):
        with pytest.raises(ValueError, match="epsilon must be"):
            wsl_weights(zeros, zeros, [0], epsilon=epsilon)
    with pytest.raises(ValueError, match="opposing, literal, magnitude, norm"):
        regularization_samples(tradeoff_terms(zeros, zeros, [0], temperature=1.0), criterion="strict")
    with pytest.raises(TypeError, match="must be the TradeoffTerms of tradeoff_terms, got ndarray"):
        regularization_samples(zeros)
