"""Errors of totals over replicas or teachers and rows, against brute force, a simulated df and edge cases."""

import math

import numpy as np
import pytest
import torch

from biasvar.analysis import Decomposition, decompose, decompose_groups, paired_change
from biasvar.analysis.decomposition.crossing import crossed_total

R, N, C = 8, 60, 4
LABELS = np.arange(N) % C


def made(rows: int = N) -> np.ndarray:
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(1, rows, C)) * rng.exponential(size=(1, rows, 1))
    return centres + rng.normal(size=(R, rows, C))


def means_of(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def pseudo_values(decompositions, left_out, term: str) -> np.ndarray:
    """G theta - (G - 1) theta_(-g) of the total, the part g left out of the logits themselves."""
    whole = getattr(decompositions(np.ones(R, bool)), term).mean()
    return np.array(
        [len(left_out) * whole - (len(left_out) - 1) * getattr(decompositions(~out), term).mean() for out in left_out]
    )


@pytest.mark.parametrize("term", ["bias", "variance"])
def test_the_variances_over_replicas_and_rows_are_added(term):
    def change(kept):
        arms = [decompose(scale * made()[kept], LABELS).corrected() for scale in (1.5, 1.0)]
        return paired_change(*arms)

    whole = change(np.ones(R, bool))
    over_replicas = pseudo_values(change, np.eye(R, dtype=bool), term).var(ddof=1) / R
    by_row = getattr(whole, term)
    total = crossed_total(whole, term)
    assert total.estimate == pytest.approx(by_row.mean())
    assert total.components["replicas"].stderr == pytest.approx(math.sqrt(over_replicas))
    assert total.components["replicas"].df == R - 1
    assert total.stderr**2 == pytest.approx(over_replicas + by_row.var(ddof=1) / N)
    assert R - 1 <= total.df <= R - 1 + N - 1


@pytest.mark.parametrize("teachers", [2, 4])
@pytest.mark.parametrize("term", ["bias", "variance"])
def test_a_teacher_is_left_out_with_all_its_replicas(term, teachers):
    taught_by = np.arange(R) % teachers

    def merged(kept):
        counts = np.ones((R, N))[kept]
        return decompose_groups(counts, means_of(made())[kept], LABELS, merge=taught_by[kept]).corrected()

    def plain(kept):
        return decompose(made()[kept], LABELS).corrected()

    total = crossed_total(merged(np.ones(R, bool)), term, teachers=[f"t{t}" for t in range(teachers)])
    pseudo = pseudo_values(plain, [taught_by == t for t in range(teachers)], term)
    if (term, teachers) == ("variance", 2):  # the variance among the teachers left is that of one
        assert math.isnan(total.stderr)
        return
    assert total.components["teachers"].stderr == pytest.approx(math.sqrt(pseudo.var(ddof=1) / teachers))
    assert total.estimate == pytest.approx(getattr(plain(np.ones(R, bool)), term).mean())
    assert total.df == teachers - 1
    assert total.n == teachers


def test_merged_groups_are_those_of_the_whole_array():
    """Three groups of unequal size, some rows without some replicas, by name in any order; and as tensors."""
    rng = np.random.default_rng(0)
    where = rng.random((R, N)) < 0.7
    where[0] = where[1] = True
    names = ["b", "c", "a", "b", "a", "c", "b", "b"]
    means = np.where(where[..., None], means_of(made()), np.nan)
    found = decompose_groups(where.astype(float), means, LABELS, merge=names)
    right = [decompose(made()[np.array(names) != name], LABELS, where=where[np.array(names) != name]) for name in "bca"]
    np.testing.assert_allclose(found.deleted_bias, [one.bias for one in right], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(found.deleted_variance, [one.variance for one in right], rtol=1e-9, atol=1e-14)
    np.testing.assert_array_equal(found.group_counts, [where[np.array(names) == name].sum(0) for name in "bca"])
    tensors = decompose_groups(torch.tensor(where).double(), torch.tensor(means), LABELS, merge=names)
    np.testing.assert_allclose(tensors.deleted_bias, found.deleted_bias, rtol=1e-12)
    with pytest.raises(ValueError, match="merge must name each of the 8 groups, got 2"):
        decompose_groups(where.astype(float), means, LABELS, merge=["a", "b"])


def test_degrees_of_freedom_over_rows_are_those_of_their_sample_variance():
    """df = 2 E[s^2]^2 / Var(s^2), measured on draws of 400 from Laplace's distribution (kurtosis 6)."""
    rng = np.random.default_rng(1)
    variances = rng.laplace(size=(20_000, 400)).var(axis=1, ddof=1)
    wanted = 2 * variances.mean() ** 2 / variances.var()
    found = [crossed_total(_of_rows(rng.laplace(size=400)), "bias").components["rows"].df for _ in range(400)]
    assert np.median(found) == pytest.approx(wanted, rel=0.15)
    even = crossed_total(_of_rows(np.linspace(-1, 1, 400)), "bias").components["rows"]
    assert even.df == pytest.approx(399)


def _of_rows(bias: np.ndarray) -> Decomposition:
    """A decomposition of 4 replicas with these biases and no variance."""
    still = np.broadcast_to(bias, (4, len(bias)))
    ones = np.ones((4, len(bias)))
    return Decomposition(0 * bias, bias, 0 * bias, ones.sum(0), "squared_error", ones, still, 0 * still)


def test_rows_can_be_chosen():
    some = crossed_total(decompose(made(), LABELS).corrected(), "bias", rows=LABELS == 2)
    alone = crossed_total(decompose(made()[:, LABELS == 2], LABELS[LABELS == 2]).corrected(), "bias")
    assert some.components["rows"].n == (LABELS == 2).sum()
    assert (some.estimate, some.stderr) == pytest.approx((alone.estimate, alone.stderr))


def test_rows_that_not_all_replicas_have_count_in_both_errors():
    where = np.random.default_rng(5).random((R, N)) < 0.8
    found = decompose(made(), LABELS, where=where).corrected()
    total, known = crossed_total(found, "variance"), found.totals().variance
    assert total.estimate == pytest.approx(known.value)
    assert total.stderr == pytest.approx(math.hypot(known.stderr_replicas, known.stderr_samples))
    assert total.components["rows"].n == known.n_samples


def test_no_spread_is_no_error():
    same = crossed_total(decompose(np.full((4, 6, 3), -1.5), np.zeros(6, int)).corrected(), "bias")
    assert same.stderr == pytest.approx(0.0, abs=1e-15)
    assert same.estimate == pytest.approx(math.log(3))
    assert same.interval().low == pytest.approx(same.interval().high, abs=1e-14)
    one_row = decompose(np.tile(made()[:1], (5, 1, 1)), LABELS)
    assert crossed_total(one_row, "bias").components["replicas"].stderr == pytest.approx(0.0, abs=1e-12)
    assert crossed_total(one_row, "bias").stderr > 0.0


def test_too_few_levels_give_no_error():
    few = decompose(made()[:2], LABELS).corrected()
    assert math.isnan(crossed_total(few, "variance").stderr)
    assert math.isnan(crossed_total(decompose(made()[:, :1], LABELS[:1]).corrected(), "bias").stderr)
    none = crossed_total(decompose(made(), LABELS).corrected(), "bias", rows=np.zeros(N, bool))
    assert math.isnan(none.estimate)
    assert math.isnan(none.interval().low)


def test_one_teacher_is_none_drawn():
    found = decompose(made(), LABELS).corrected()
    assert crossed_total(found, "bias", teachers=["t"] * R) == crossed_total(found, "bias")


def test_what_has_no_such_error_is_refused():
    found = decompose(made(), LABELS)
    with pytest.raises(ValueError, match="8 groups share 2 teachers: make the groups of one teacher one group"):
        crossed_total(found, "bias", teachers=[0, 1] * 4)
    with pytest.raises(ValueError, match="teachers must name one for each of the 8 groups, got 3"):
        crossed_total(found, "bias", teachers=[0, 1, 2])
    with pytest.raises(ValueError, match="term must be one of bias, variance, got 'noise'"):
        crossed_total(found, "noise")
    with pytest.raises(ValueError, match="found must be made with errors=True"):
        crossed_total(decompose(made(), LABELS, errors=False), "bias")
