"""The two corrections for few replicas: by definition, where they must agree, and what they leave in simulation."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import t as student_t

from biasvar.analysis import Accumulator, decompose, paired_change
from biasvar.analysis.decomposition.groups import joined
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from tests.analysis import reference


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("groups", [4, 16])
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_the_jackknife_takes_from_the_values_without_each_group(masked, groups, convert):
    logits, labels, _ = reference.arrays(3, replicas=9, rows=30, spread=3.0)
    where = np.random.default_rng(1).random((9, 30)) < 0.5 if masked else None
    kept = np.ones((9, 30), bool) if where is None else where
    plain = decompose(convert(logits), convert(labels), where=where, groups=groups)
    ours = plain.corrected("jackknife")
    g = min(groups, 9)
    full = reference.terms(logits, labels, where=kept)
    left = [reference.terms(logits, labels, where=kept, leave_out=j, groups=groups)[:, 2] for j in range(g)]
    for i in range(30):
        sizes = [int(kept[j::g, i].sum()) for j in range(g)]
        present = [j for j in range(g) if sizes[j]]
        expected = math.nan
        if len(present) > 1:
            n = sum(sizes)
            expected = len(present) * full[i, 2] - math.fsum((1 - sizes[j] / n) * left[j][i] for j in present)
        np.testing.assert_allclose(float(ours.variance[i]), expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(float(ours.bias[i]), full[i, 1:].sum() - expected, rtol=1e-9, atol=1e-12)
    assert type(ours.variance) is type(convert(logits))


def test_both_methods_agree_where_the_ratio_is_exact():
    logits, labels, _ = reference.arrays(5, replicas=7)
    plain = decompose(logits, labels, loss="squared_error")
    np.testing.assert_allclose(plain.corrected("jackknife").variance, plain.corrected().variance, rtol=1e-12)
    np.testing.assert_allclose(plain.corrected("jackknife").bias, plain.corrected().bias, rtol=1e-12)


def test_errors_are_those_of_the_ratio_and_changes_stay_paired():
    logits, labels, _ = reference.arrays(6, replicas=8, spread=3.0)
    arms = [decompose(x, labels) for x in (logits * 1.5, logits)]
    for ratio, jackknife in [(arm.corrected(), arm.corrected("jackknife")) for arm in arms] + [
        (paired_change(*(arm.corrected(method) for arm in arms)) for method in ("ratio", "jackknife"))
    ]:
        assert np.abs(jackknife.variance - ratio.variance).max() > 1e-3
        for field in ("bias_stderr", "variance_stderr"):
            np.testing.assert_allclose(getattr(jackknife, field), getattr(ratio, field), rtol=1e-9)
        for name in ("bias", "variance"):
            ours, theirs = (getattr(terms.totals(), name) for terms in (jackknife, ratio))
            assert ours.stderr_replicas == pytest.approx(theirs.stderr_replicas)
            assert ours.value != pytest.approx(theirs.value)


def test_groups_of_several_replicas_count_as_one_each_in_the_errors():
    logits, labels, _ = reference.arrays(6, replicas=7, spread=3.0)
    plain = decompose(logits, labels, groups=4)
    ours = plain.corrected("jackknife")
    deleted = 3 / 2 * plain.deleted_variance  # of 4 groups 3 are left
    for i in range(9):
        expected = reference.jackknife(4 / 3 * plain.variance[i], deleted[:, i], [2, 2, 2, 1])
        assert ours.variance_stderr[i] == pytest.approx(expected)
        loss = plain.bias[i] + plain.variance[i]
        left = plain.deleted_bias[:, i] + plain.deleted_variance[:, i] - deleted[:, i]
        expected = reference.jackknife(loss - 4 / 3 * plain.variance[i], left, [2, 2, 2, 1])
        assert ours.bias_stderr[i] == pytest.approx(expected)


@pytest.mark.parametrize(("teachers", "each"), [(4, 4), (8, 2)])
def test_errors_over_groups_hold_where_replicas_share_teachers(teachers, each):
    """Totals over 40 rows, logits of sd .7 over teachers and .7 over replicas of one, drawn 500 times."""
    rows, classes, draws = 40, 5, 500
    rng = np.random.default_rng(teachers)
    base = rng.normal(size=(rows, classes)) * 2.0
    of_teacher = 0.7 * rng.normal(size=(teachers, draws, rows, classes))
    of_replica = 0.7 * rng.normal(size=(teachers * each, draws, rows, classes))
    logits = base + of_teacher[np.arange(teachers * each) % teachers] + of_replica
    logits = logits.reshape(teachers * each, draws * rows, classes)
    terms = decompose(logits, np.zeros(draws * rows, int), groups=teachers).corrected("jackknife")
    value = terms.variance.reshape(draws, rows).mean(1)
    deleted = terms.deleted_variance.reshape(teachers, draws, rows).mean(2)
    stderr = jackknife_stderr(value, deleted, np.full_like(deleted, each))
    assert 0.95 < np.sqrt(np.mean(stderr**2)) / value.std(ddof=1) < 1.35


def test_what_is_said_of_the_method():
    logits, labels, _ = reference.arrays(7)
    plain = decompose(logits, labels)
    ours = plain.corrected("jackknife")
    assert (plain.is_corrected, ours.is_corrected) == (False, True)
    assert (plain.correction, ours.correction, plain.corrected().correction) == (None, "jackknife", "ratio")
    assert "corrected by jackknife" in repr(ours)
    assert "corrected by jackknife" in repr(paired_change(ours, ours))
    assert ours.corrected("jackknife") is ours
    parts = [decompose(logits[:, cut], labels[cut]) for cut in (slice(0, 4), slice(4, 9))]
    both = joined([part.corrected("jackknife") for part in parts])
    assert both.correction == "jackknife"
    np.testing.assert_allclose(both.variance, ours.variance, atol=1e-13)
    for terms, method in ((ours, "ratio"), (plain.corrected(), "jackknife")):
        with pytest.raises(ValueError, match=r"are corrected by .* already"):
            terms.corrected(method)
    with pytest.raises(ValueError, match="errors=True"):
        decompose(logits, labels, errors=False).corrected("jackknife")
    with pytest.raises(ValueError, match="one of ratio, jackknife, got 'bootstrap'"):
        plain.corrected("bootstrap")
    with pytest.raises(ValueError, match="differ in correction: 'jackknife' and 'ratio'"):
        paired_change(ours, plain.corrected())


@pytest.mark.filterwarnings("ignore:there is one replica")
def test_too_few_replicas_are_nan():
    logits, labels, _ = reference.arrays(8, replicas=2)
    two = decompose(logits, labels)
    np.testing.assert_allclose(two.corrected("jackknife").variance, 2 * two.variance)
    assert np.isnan(decompose(logits[:1], labels).corrected("jackknife").variance).all()
    one_group = decompose(logits, labels, groups=1)
    assert np.isnan(one_group.corrected("jackknife").bias).all()
    streamed = Accumulator(9, 4)
    streamed.update(logits[0, :3], [0, 1, 2], replica=0)
    streamed.update(logits[1, :2], [0, 1], replica=1)
    found = streamed.result(labels).corrected("jackknife").variance
    assert np.isfinite(found).tolist() == [True, True] + [False] * 7


@pytest.mark.parametrize(("replicas", "covered"), [(5, 0.92), (8, 0.92), (16, 0.93)])
def test_errors_cover_the_true_variance_of_replicas_that_differ_much(replicas, covered):
    """Totals over 50 rows of 10 classes, logits of standard deviation 3 around 2, drawn 600 times."""
    rows, classes, draws, spread = 50, 10, 600, 3.0
    rng = np.random.default_rng(replicas)
    base = rng.normal(size=(rows, classes)) * 2.0
    means = np.zeros_like(base)
    for _ in range(40):
        z = base + rng.normal(size=(1000, rows, classes)) * spread
        means += (z - logsumexp(z, axis=-1, keepdims=True)).mean(0) / 40
    truth = -logsumexp(means, axis=1).mean()
    logits = base + rng.normal(size=(replicas, draws, rows, classes)) * spread
    plain = decompose(logits.reshape(replicas, draws * rows, classes), np.zeros(draws * rows, int))
    off, cover, spreads = {}, {}, {}
    for method in ("ratio", "jackknife"):
        terms = plain.corrected(method)
        value = terms.variance.reshape(draws, rows).mean(1)
        deleted = terms.deleted_variance.reshape(replicas, draws, rows).mean(2)
        stderr = jackknife_stderr(value, deleted, np.ones_like(deleted))
        off[method] = value.mean() - truth
        cover[method] = np.mean(np.abs(value - truth) < student_t.ppf(0.975, replicas - 1) * stderr)
        spreads[method] = stderr.mean() / value.std(ddof=1)
    assert off["ratio"] < -0.02
    assert abs(off["jackknife"]) < abs(off["ratio"]) / 2
    assert cover["jackknife"] >= covered
    assert cover["jackknife"] >= cover["ratio"]
    assert 0.9 < spreads["jackknife"] < 1.1
