from __future__ import annotations

import numpy as np
import pytest
import torch

import biasvar
from biasvar import TopK
from biasvar.analysis import from_top_k

B, T, C, K = 2, 3, 7, 3


@pytest.fixture
def logits():
    return torch.randn(2, B, T, C, generator=torch.Generator().manual_seed(0))


def kept(teacher, k=K):
    values, indices = teacher.log_softmax(-1).topk(k, -1)
    return indices, values


def test_the_tail_is_spread_evenly_as_stores_of_soft_labels_do(logits):
    indices, values = kept(logits[1])
    expected = from_top_k(
        indices.reshape(-1, K).numpy(), values.double().exp().reshape(-1, K).numpy(), C, rest="uniform"
    )
    dense = TopK(indices, values).dense(C)
    assert dense.dtype == torch.float64
    np.testing.assert_allclose(dense.exp().reshape(-1, C), expected, atol=1e-7)


def test_logits_with_their_tail_are_log_probabilities_without(logits):
    indices, values = kept(logits[1].double())
    tail = 1 - values.exp().sum(-1)
    np.testing.assert_allclose(TopK(indices, values + 3.0, tail).dense(C), TopK(indices, values).dense(C), atol=1e-12)


def test_all_classes_are_the_teacher_itself(logits):
    teacher = logits[1].double()
    np.testing.assert_allclose(TopK(*kept(teacher, C)).dense(C), teacher.log_softmax(-1), atol=1e-12)


def test_no_class_has_probability_0_where_the_tail_is_computed():
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        teacher = TopK(torch.tensor([[1]]), torch.zeros(1, 1, dtype=dtype))
        assert teacher.tail.item() == torch.finfo(dtype).eps
        assert teacher.dense(3).isfinite().all()
    assert TopK([[1]], [[0.0]], 0.0).dense(3).tolist() == [[-np.inf, 0.0, -np.inf]]


def test_places_without_an_entry_and_rows_left_out_are_not_looked_at():
    short, same = TopK([[2, -1]], [[-1.0, np.nan]]), TopK([[2]], [[-1.0]])
    np.testing.assert_allclose(short.dense(4), same.dense(4))
    masked = TopK([[2, 0], [99, 99]], [[-1.0, -2.0], [np.nan, 8.0]], where=[True, False])
    np.testing.assert_allclose(masked.dense(4)[:1], TopK([[2, 0]], [[-1.0, -2.0]]).dense(4))
    assert np.isfinite(masked.dense(4)).all()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_terms_weights_and_losses_take_it(logits, temperature):
    student, teacher, labels = logits[0], TopK(*kept(logits[1])), torch.randint(0, C, (B, T))
    dense = teacher.dense(C)
    mine = biasvar.tradeoff_terms(student, teacher, labels, temperature=temperature)
    theirs = biasvar.tradeoff_terms(student, dense, labels, temperature=temperature, values="logits")
    assert torch.equal(mine.variance_gradient, theirs.variance_gradient)
    weights = biasvar.wsl_weights(student, dense, labels, values="logits")
    assert torch.equal(biasvar.wsl_weights(student, teacher, labels), weights)
    probabilities = biasvar.wsl_weights(student.double().softmax(-1), teacher, labels, values="probabilities")
    torch.testing.assert_close(probabilities, weights)
    for name in ("DistillationLoss", "WeightedSoftLabelLoss", "MaskedDistillationLoss"):
        loss = getattr(biasvar.losses, name)(temperature=temperature, alpha=0.5, reduction="none")
        found = loss(student, teacher, labels)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, loss(student, dense.float(), labels))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: TopK([[0, 1]], [[2.0, 1.0]]), r"mass.*row 0: sums to 10\.11; of logits give tail="),
        (lambda: TopK([[0, 1], [1, 1]], [[-1.0, -2.0]] * 2), "different classes; row 1: has a class twice"),
        (lambda: TopK([[0, 1]], [[-1.0, np.nan]]), "finite; row 0"),
        (lambda: TopK([[0, -2]], [[-1.0, -2.0]]), "-1: no entry"),
        (lambda: TopK([[-1, -1]], [[-1.0, -2.0]]), "where="),
        (lambda: TopK([[0, 1]], [[-1.0, -2.0]], 1.0), "tail is a mass from 0 to below 1"),
        (lambda: TopK([[0, 1]], [[-1.0, -2.0]], [0.1, 0.2]), "tail must be one number or have the shape of the rows"),
        (lambda: TopK([[0.0, 1.0]], [[-1.0, -2.0]]), "indices must be integers"),
        (lambda: TopK([0, 1], [[-1.0, -2.0]]), r"both have shape \(\.\.\., k\)"),
        (lambda: TopK([[0, 9]], [[-1.0, -2.0]]).dense(9), r"0 \.\. 8 .*row 0 has 9"),
        (
            lambda: TopK([[0, 1, 2]], [[-1.0, -2.0, -3.0]]).dense(2),
            "num_classes must be at least 3, the entries of a row",
        ),
        (
            lambda: TopK([[0, 1]], [[1.0, 2.0]], 0.1).dense(2),
            "not listed, and all 2 are; give tail=0, .*; row 0: has mass",
        ),
        (lambda: TopK([[0, 1]], [[-1.0, -1.0]]).dense(2), "not listed, and all 2 are"),
    ],
)
def test_what_is_no_distribution_is_refused(made, said):
    with pytest.raises(ValueError, match=said) as error:
        made()
    assert "\n" not in str(error.value)


def test_losses_refuse_other_rows(logits):
    teacher = TopK(*kept(logits[1, 0]))
    with pytest.raises(ValueError, match="teacher_logits must have the shape of the logits without classes"):
        biasvar.losses.DistillationLoss(temperature=1.0, alpha=1.0)(logits[0], teacher, torch.zeros(B, T).long())
