"""Jackknife errors against brute-force recomputation, for samples, corrected values, totals and paired changes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import decompose, paired_change
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from tests.analysis import reference
from tests.analysis.reference import quick


@quick
@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=2, max_size=6))
def test_the_formula_is_busings(seed, sizes):
    if sum(m > 0 for m in sizes) < 2:
        sizes = [1, 2, *sizes]
    rng = np.random.default_rng(seed)
    full, deleted = rng.normal(), rng.normal(size=len(sizes))
    expected = reference.jackknife(full, deleted, sizes)
    assert jackknife_stderr(np.float64(full), deleted, np.array(sizes)) == pytest.approx(expected, rel=1e-10)


def test_equal_groups_of_one_are_the_ordinary_jackknife():
    deleted = np.random.default_rng(0).normal(size=9)
    expected = math.sqrt(8 / 9 * np.sum((deleted - deleted.mean()) ** 2))
    # With the mean of the deleted values for the full one, as the ordinary jackknife has it.
    assert jackknife_stderr(deleted.mean(), deleted, np.ones(9)) == pytest.approx(expected)


def test_a_statistic_on_unequal_groups_has_the_error_of_a_weighted_mean():
    rng = np.random.default_rng(1)
    sizes = np.array([1, 2, 3, 4, 5, 5])
    x = [rng.normal(size=m) for m in sizes]
    everything = np.concatenate(x)
    deleted = [np.concatenate(x[:j] + x[j + 1 :]).mean() for j in range(6)]
    ours = jackknife_stderr(everything.mean(), np.array(deleted), sizes)
    assert ours == pytest.approx(reference.jackknife(everything.mean(), deleted, sizes))


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("groups", [4, 16])
def test_errors_per_sample_plug_in_and_corrected(loss, masked, groups):
    logits, labels, _ = reference.arrays(3, replicas=9, rows=30)
    where = np.random.default_rng(1).random((9, 30)) < 0.6 if masked else None
    plain = decompose(logits, labels, loss=loss, where=where, groups=groups)
    kept = np.ones((9, 30), bool) if where is None else where
    for result, factor in ((plain, False), (plain.corrected(), True)):
        full = [values(logits, labels, kept, loss, factor, None, groups)]
        g = min(groups, 9)
        full += [values(logits, labels, kept, loss, factor, j, groups) for j in range(g)]
        np.testing.assert_allclose(np.stack([result.bias, result.variance], 1), full[0], atol=1e-12)
        for i in range(30):
            sizes = [int(kept[j::g, i].sum()) for j in range(g)]
            for column, stderr, least in ((0, result.bias_stderr, 2), (1, result.variance_stderr, 3)):
                deleted = [full[j + 1][i, column] for j in range(g)]
                usable = sum(m > 0 for m in sizes) >= least and np.isfinite(deleted).all()
                expected = reference.jackknife(full[0][i, column], deleted, sizes) if usable else math.nan
                np.testing.assert_allclose(stderr[i], expected, rtol=1e-8, atol=1e-12)


def values(logits, labels, kept, loss, corrected, leave_out, groups):
    """(N, 2) bias and variance, corrected by the count of the replicas that are left."""
    out = reference.terms(logits, labels, loss=loss, where=kept, leave_out=leave_out, groups=groups)[:, 1:]
    if corrected:
        left = kept.sum(0).astype(float)
        if leave_out is not None:
            left -= kept[np.arange(9) % min(groups, 9) == leave_out].sum(0)
        left[left < 2] = math.nan
        rise = out[:, 1] / (left - 1)
        out = out + np.stack([-rise, rise], axis=1)
    return out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_totals_are_jackknifed_as_totals(masked, corrected):
    logits, labels, _ = reference.arrays(4, replicas=9, rows=30)
    where = np.random.default_rng(2).random((9, 30)) < 0.4 if masked else None
    kept = np.ones((9, 30), bool) if where is None else where
    result = decompose(logits, labels, where=where)
    result = result.corrected() if corrected else result
    full = values(logits, labels, kept, "cross_entropy", corrected, None, 16)
    deleted = np.stack([values(logits, labels, kept, "cross_entropy", corrected, j, 16) for j in range(9)])
    use = np.isfinite(full).all(1) & np.isfinite(deleted).all((0, 2))
    sizes = kept[:, use].sum(1)
    totals = result.totals()
    assert totals.bias.n_samples == use.sum()
    assert totals.bias.n_replicas == 9
    assert 0 < use.sum() <= 30
    assert masked == (use.sum() < 30)
    for column, estimate in ((0, totals.bias), (1, totals.variance)):
        assert estimate.value == pytest.approx(full[use, column].mean())
        expected = reference.jackknife(full[use, column].mean(), deleted[:, use, column].mean(1), sizes)
        assert estimate.stderr_replicas == pytest.approx(expected)
        assert estimate.stderr_samples == pytest.approx(full[use, column].std(ddof=1) / math.sqrt(use.sum()))
    both = reference.jackknife(full[use].sum(1).mean(), deleted[:, use].sum(2).mean(1), sizes)
    assert totals.loss.stderr_replicas == pytest.approx(both)
    assert totals.loss.value == pytest.approx(totals.noise.value + totals.bias.value + totals.variance.value)


def test_totals_over_some_rows_and_of_tensors():
    logits, _, q = reference.arrays(5, rows=12)
    result = decompose(logits, q)
    chosen = np.array([7, 2, 5])
    mask = np.isin(np.arange(12), chosen)
    direct = decompose(logits[:, chosen], q[chosen]).totals()
    for rows in (chosen, mask, chosen.tolist(), torch.as_tensor(chosen)):
        totals = result.totals(rows)
        for name in ("noise", "bias", "variance", "loss"):
            ours, expected = getattr(totals, name), getattr(direct, name)
            assert ours.value == pytest.approx(expected.value)
            assert ours.stderr_replicas == pytest.approx(expected.stderr_replicas)
            assert ours.stderr_samples == pytest.approx(expected.stderr_samples)
            assert ours.n_samples == 3
    tensors = decompose(torch.as_tensor(logits), torch.as_tensor(q)).totals(torch.as_tensor(mask))
    assert tensors.bias.value == pytest.approx(direct.bias.value)
    for rows, message in (([12], "rows must lie in"), ([0.5], "bool mask"), (np.ones(3, bool), "mask must have shape")):
        with pytest.raises(ValueError, match=message):
            result.totals(rows)


@pytest.mark.filterwarnings("ignore:there is one replica")
def test_below_enough_groups_errors_are_nan_and_values_remain():
    logits, labels, _ = reference.arrays(6, replicas=2)
    two = decompose(logits, labels)
    assert np.isfinite(two.bias_stderr).all()
    assert np.isnan(two.variance_stderr).all()
    assert math.isnan(two.totals().variance.stderr_replicas)
    corrected = two.corrected().totals()  # no row survives a deletion, yet the total itself exists
    assert corrected.variance.value == pytest.approx(2 * two.totals().variance.value)
    assert corrected.variance.n_samples == 9
    assert math.isnan(corrected.bias.stderr_replicas)
    one = decompose(logits[:1], labels)
    assert np.isnan(one.bias_stderr).all()
    assert np.isnan(one.corrected().bias).all()
    assert one.corrected().totals().bias.n_samples == 0
    assert math.isnan(one.corrected().totals().loss.value)
    assert math.isnan(one.totals([0]).bias.stderr_samples)


def test_without_errors_totals_have_sample_errors_only():
    logits, labels, _ = reference.arrays(7)
    result = decompose(logits, labels, errors=False)
    assert np.isnan(result.bias_stderr).all()
    totals = result.corrected().totals()
    assert totals.noise.value == 0
    assert totals.variance.n_replicas == 6
    assert math.isnan(totals.bias.stderr_replicas)
    assert totals.bias.stderr_samples > 0


def test_correcting_moves_variance_and_bias_by_the_same_amount_once():
    logits, labels, _ = reference.arrays(8)
    plain = decompose(logits, labels)
    corrected = plain.corrected()
    np.testing.assert_allclose(corrected.variance, plain.variance * 6 / 5)
    np.testing.assert_allclose(corrected.bias + corrected.variance, plain.bias + plain.variance)
    assert corrected.is_corrected
    assert corrected.corrected() is corrected
    assert (corrected.bias < 0).sum() == (plain.bias < plain.variance / 5).sum()  # never clipped


def test_the_squared_error_correction_is_unbiased():
    rng = np.random.default_rng(9)
    result = decompose(rng.normal(size=(4, 4000, 3)), np.zeros(4000, int), loss="squared_error").corrected()
    p = np.exp(rng.normal(size=(200_000, 3)))
    p /= p.sum(1, keepdims=True)
    truth = p.var(0).sum()
    assert abs(result.variance.mean() - truth) < 4 * result.variance.std() / math.sqrt(4000)


@pytest.mark.parametrize("corrected", [False, True])
def test_paired_changes_have_the_jackknife_error_of_the_difference(corrected):
    first, labels, _ = reference.arrays(10)
    second = first * 0.7 + np.random.default_rng(0).normal(size=first.shape) * 0.1
    arms = [decompose(x, labels) for x in (second, first)]
    arms = [arm.corrected() for arm in arms] if corrected else arms
    change = paired_change(*arms)
    kept = np.ones((6, 9), bool)
    terms = [[values6(x, labels, kept, corrected, j) for j in (None, *range(6))] for x in (second, first)]
    differences = [a - b for a, b in zip(*terms, strict=True)]
    np.testing.assert_allclose(np.stack([change.bias, change.variance], 1), differences[0], atol=1e-12)
    for i in range(9):
        for column, stderr in ((0, change.bias_stderr), (1, change.variance_stderr)):
            deleted = [d[i, column] for d in differences[1:]]
            assert stderr[i] == pytest.approx(reference.jackknife(differences[0][i, column], deleted, [1] * 6))
    totals = change.totals()
    assert totals.noise.value == 0
    deleted = [d[:, 1].mean() for d in differences[1:]]
    expected = reference.jackknife(differences[0][:, 1].mean(), deleted, [1] * 6)
    assert totals.variance.stderr_replicas == pytest.approx(expected)


def values6(logits, labels, kept, corrected, leave_out):
    out = reference.terms(logits, labels, leave_out=leave_out)[:, 1:]
    left = 6 if leave_out is None else 5
    rise = out[:, 1:] / (left - 1) * corrected
    return out + np.concatenate([-rise, rise], axis=1)


def test_changes_of_arms_that_do_not_pair_are_refused():
    logits, labels, q = reference.arrays(11)
    plain = decompose(logits, labels)
    where = np.ones((6, 9), bool)
    where[0, 0] = False
    for other, message in (
        (decompose(logits, labels, loss="squared_error"), "differ in loss"),
        (plain.corrected(), "differ in correction: None and 'ratio'"),
        (plain.corrected("jackknife"), "differ in correction: None and 'jackknife'"),
        (decompose(logits, q), "the target"),
        (decompose(logits, labels, where=where), "which replicas count"),
        (decompose(logits, labels, groups=3), "shape of group_counts"),
        (decompose(logits, labels, errors=False), "both have errors"),
        (decompose(logits[:, :4], labels[:4]), "shape of counts"),
    ):
        with pytest.raises(ValueError, match=message):
            paired_change(plain, other)
    bare = decompose(logits, labels, errors=False)
    assert np.isnan(paired_change(bare, bare).bias_stderr).all()


def test_the_frame_has_a_row_per_sample():
    logits, labels, _ = reference.arrays(12)
    where = np.ones((6, 9), bool)
    where[:, 3] = False
    result = decompose(torch.as_tensor(logits), labels, where=torch.as_tensor(where))
    frame = result.to_frame(np.arange(9) + 100)
    assert list(frame.columns) == [
        "sample_id", "noise", "bias", "variance", "bias_stderr", "variance_stderr", "replicas",
    ]  # fmt: skip
    assert frame.sample_id.tolist() == list(range(100, 109))
    assert frame.replicas.tolist() == [6, 6, 6, 0, 6, 6, 6, 6, 6]
    assert frame.loc[3, ["noise", "bias", "variance"]].isna().all()
    np.testing.assert_array_equal(frame.variance_stderr, result.variance_stderr)
    assert result.to_frame().sample_id.tolist() == list(range(9))
    with pytest.raises(ValueError, match="one id for each of the 9 rows"):
        result.to_frame([1, 2])
