"""Unreliability and ambiguity against brute-force loops, the tie rules, intervals, and the learnability numbers."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from biasvar.analysis import ambiguity, effectiveness, learnability_exponent, unreliability
from tests.analysis.reference import quick


def draw(seed, n=60, classes=5):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    soft = rng.dirichlet(np.ones(classes), n)
    soft[np.arange(n), labels] += 0.3
    return soft / soft.sum(1, keepdims=True), labels


def brute(soft, labels, k):
    """Delta, gamma by class, gamma by marginal, per-class versions, worst places: loops and sorting only."""
    n, classes = soft.shape
    sets = [set(sorted(range(classes), key=lambda j, row=row: -row[j])[:k]) for row in soft]
    delta = sum(y not in s for y, s in zip(labels, sets, strict=True)) / n
    by_class, pairs = [], {}
    for c in range(classes):
        rows = [s for y, s in zip(labels, sets, strict=True) if y == c]
        by_class.append(sum(c not in s for s in rows) / len(rows))
        for j in range(classes):
            if j != c:
                pairs[c, j] = sum(j in s for s in rows) / len(rows)
    marginal = []
    for j in range(classes):
        rows = [s for y, s in zip(labels, sets, strict=True) if y != j]
        marginal.append(sum(j in s for s in rows) / len(rows))
    return delta, by_class, pairs, marginal


@quick
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_indicators_are_those_of_plain_loops(seed, k):
    soft, labels = draw(seed)
    delta, by_class, pairs, marginal = brute(soft, labels, k)
    ours = unreliability(soft, labels, k=k)
    assert float(ours) == pytest.approx(delta)
    np.testing.assert_allclose(ours.per_class, by_class)
    assert by_class[ours.worst] == max(by_class)
    gamma = ambiguity(soft, labels, k=k)
    assert float(gamma) == max(pairs.values())
    assert pairs[gamma.worst] == max(pairs.values())
    np.testing.assert_allclose(gamma.per_class, [max(v for (c, _), v in pairs.items() if c == d) for d in range(5)])
    overall = ambiguity(soft, labels, k=k, version="marginal")
    np.testing.assert_allclose(overall.per_class, marginal)
    assert marginal[overall.worst] == max(marginal) == overall.value
    assert overall.value <= gamma.value + 1e-12
    # Every set of size k holds k - 1 + Delta wrong labels on average.
    assert gamma.value >= (k - 1 + delta) / 4 - 1e-12
    assert ours.n == gamma.n == 60
    assert ours.ties == 0


def test_tensors_and_lists_give_the_same():
    soft, labels = draw(1)
    for values, classes in ((torch.tensor(soft), torch.tensor(labels)), (soft.tolist(), labels.tolist())):
        assert unreliability(values, classes, k=2).value == unreliability(soft, labels, k=2).value
        assert ambiguity(values, classes, k=2).worst == ambiguity(soft, labels, k=2).worst
    assert unreliability(soft.astype(np.float32), labels, k=2).value == unreliability(soft, labels, k=2).value


def test_unreliability_has_the_exact_binomial_interval():
    soft, labels = draw(2)
    for k in (1, 3, 5):
        result = unreliability(soft, labels, k=k, level=0.9)
        expected = binomtest(round(result.value * 60), 60).proportion_ci(0.9, method="exact")
        assert (result.interval.low, result.interval.high) == pytest.approx((expected.low, expected.high))
        assert result.interval.level == 0.9
        assert result.interval.n == 60


def test_the_interval_of_ambiguity_holds_for_all_pairs_together():
    soft, labels = draw(3)
    result = ambiguity(soft, labels, k=2)
    ends = [
        binomtest(round(rate * int((labels == c).sum())), int((labels == c).sum())).proportion_ci(1 - 0.05 / 20)
        for (c, _), rate in brute(soft, labels, 2)[2].items()
    ]
    assert result.interval.low == pytest.approx(max(e.low for e in ends))
    assert result.interval.high == pytest.approx(max(e.high for e in ends))
    assert math.isnan(result.interval.stderr)
    marginal = ambiguity(soft, labels, k=2, version="marginal")
    j = marginal.worst
    n = int((labels != j).sum())
    alone = binomtest(round(marginal.value * n), n).proportion_ci(1 - 0.05 / 5)
    assert marginal.interval.low >= alone.low - 1e-12
    assert marginal.interval.high >= alone.high - 1e-12


def test_the_interval_of_ambiguity_covers_the_true_maximum():
    truth = np.array([[0, 0.3, 0.1], [0.2, 0, 0.3], [0.25, 0.28, 0]])  # Pr(label j is top | class c)
    labels = np.repeat(np.arange(3), 40)
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        u = rng.random(120)[:, None]
        edges = np.cumsum(truth, axis=1)[labels]
        top = np.where(u < edges[:, -1:], (u > edges).sum(1, keepdims=True), labels[:, None])[:, 0]
        interval = ambiguity(np.eye(3)[top], labels, k=1).interval
        covered += interval.low <= 0.3 <= interval.high
    assert covered / 200 >= 0.95


TIED = np.array(
    [
        [0.5, 0.5, 0.0, 0.0],  # k = 1: 0 and 1 tie with mass
        [0.0, 1.0, 0.0, 0.0],  # k = 2: three labels without mass tie
        [0.2, 0.2, 0.4, 0.2],
        [0.1, 0.2, 0.3, 0.4],
    ]
)
TRUE = np.arange(4)


def test_ties_are_counted_and_a_draw_that_matters_warns():
    with pytest.warns(UserWarning, match=r"at k = 1, 1 samples, the unreliability within 0 .. 0\.25"):
        result = unreliability(TIED, TRUE, k=1)
    assert result.ties == 1
    assert result.value in (0.0, 0.25)
    rivals = np.tile([[0.6, 0.2, 0.2], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]], (2, 1))
    with pytest.warns(UserWarning, match="at k = 2, 6 samples, the ambiguity within 0 .. 1"):
        assert ambiguity(rivals, [0, 1, 2, 0, 1, 2], k=2).value in (0.5, 1.0)
    assert ambiguity(TIED, TRUE, k=2).ties == 2  # class 3 holds the maximum at 1 whatever the draw: no warning
    soft = TIED.copy()
    soft[0] = [0.0, 0.0, 0.5, 0.5]  # a tie between two wrong labels leaves unreliability alone: no warning
    assert unreliability(soft, TRUE, k=1).ties == 1


def test_the_draw_depends_on_the_seed_only_and_is_fair():
    soft = np.tile([0.5, 0.5], (400, 1))
    labels = np.arange(400) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = [unreliability(soft, labels, k=1, seed=s).value for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert abs(values[0] - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_include_takes_all_tied_labels():
    result = unreliability(TIED, TRUE, k=1, ties="include")
    assert result.value == 0.0
    assert result.ties == 1
    wide = ambiguity(TIED, TRUE, k=2, ties="include")
    np.testing.assert_array_equal(wide.per_class, 1.0)


def test_exclude_zero_never_takes_labels_without_mass():
    soft = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.4]])
    result = ambiguity(soft, [0, 1, 2], k=2, ties="exclude_zero")
    assert result.ties == 0
    np.testing.assert_array_equal(result.per_class, [0.0, 0.0, 1.0])
    assert unreliability(soft, [0, 1, 2], k=3, ties="exclude_zero").value == 0.0
    assert unreliability(TIED, TRUE, k=2, ties="exclude_zero").ties == 1  # row 2 alone: its tied labels have mass
    soft[2] = [0.3, 0.3, 0.4]
    with pytest.warns(UserWarning, match="1 samples, the ambiguity within"):
        ambiguity(soft, [0, 1, 2], k=2, ties="exclude_zero")


def test_the_table_repeats_the_indicators():
    soft, labels = draw(4)
    table = effectiveness(soft, labels, ks=[1, 2, 4])
    assert list(table.columns) == [
        "k", "threshold", "delta", "gamma", "sum", "worst_class_sum", "kappa", "kappa_classes", "floor", "set_size",
        "marginal", "delta_low", "delta_high", "gamma_low", "gamma_high", "sum_low", "sum_high", "worst_class_sum_low",
        "worst_class_sum_high", "kappa_low", "kappa_high", "kappa_classes_low", "kappa_classes_high", "worst_class",
        "worst_true", "worst_wrong", "n", "ties", "margin", "margin_low", "margin_high",
    ]  # fmt: skip
    for row in table.itertuples():
        delta, gamma = unreliability(soft, labels, k=row.k), ambiguity(soft, labels, k=row.k)
        assert (row.delta, row.gamma) == (delta.value, gamma.value)
        assert table.loc[row.Index, "sum"] == delta.value + gamma.value
        sums = delta.per_class + gamma.per_class
        assert row.worst_class_sum == sums.max() == sums[row.worst_class]
        assert (row.worst_true, row.worst_wrong) == gamma.worst
        assert (row.delta_low, row.delta_high) == (delta.interval.low, delta.interval.high)
        assert (row.gamma_low, row.gamma_high) == (gamma.interval.low, gamma.interval.high)
        assert row.kappa == learnability_exponent(row.delta, row.gamma)
        assert row.kappa_classes == learnability_exponent(delta.per_class, gamma.per_class)
        assert row.set_size == row.k
        assert row.floor == gamma.floor == pytest.approx((row.k - 1 + row.delta) / 4)
        assert row.marginal == ambiguity(soft, labels, k=row.k, version="marginal").value >= row.floor - 1e-12
        both = unreliability(soft, labels, k=row.k, level=0.975), ambiguity(soft, labels, k=row.k, level=0.975)
        assert row.sum_high == both[0].interval.high + both[1].interval.high
        assert row.sum_low == both[0].interval.low + both[1].interval.low
        assert row.kappa_low == learnability_exponent(both[0].interval.high, both[1].interval.high)
        assert row.kappa_high == learnability_exponent(both[0].interval.low, both[1].interval.low)
        assert row.worst_class_sum_low <= row.worst_class_sum <= row.worst_class_sum_high
        assert row.n == 60
    with pytest.warns(UserWarning, match=r"at k = 1, 1 samples, the unreliability within 0 .. 0.25"):
        assert effectiveness(TIED, TRUE, ks=[1, 2, 3, 4])["ties"].tolist() == [1, 2, 3, 0]
    assert len(effectiveness(TIED, TRUE, ks=[1], ties="include")) == 1
    with pytest.raises(ValueError, match="at least one k"):
        effectiveness(soft, labels, ks=[])
    for k in (2, np.int64(2)):
        assert effectiveness(soft, labels, ks=k).equals(effectiveness(soft, labels, ks=[2]))
    with pytest.raises(ValueError, match="k must be a whole number"):
        effectiveness(soft, labels, ks=2.5)


@pytest.mark.parametrize(
    ("soft", "labels", "options", "message"),
    [
        (np.full((3, 3), 0.3), [0, 1, 2], {}, "sum to 1 within 0.001; row 0, 1, 2"),
        (np.array([[1, 0], [2.0, -1.0]]), [0, 1], {}, "negative; row 1"),
        (np.array([[1, 0], [np.nan, 1.0]]), [0, 1], {}, "finite; row 1"),
        (np.eye(2), [0, 2], {}, "labels must lie in 0 .. 1; row 1"),
        (np.eye(2), [0], {}, "labels must have shape"),
        (np.eye(2), [0, 1], {"k": 0}, "k must be a whole number in 1 .. 2"),
        (np.eye(2), [0, 1], {"k": 3}, "k must be a whole number in 1 .. 2"),
        (np.eye(2), [0, 1], {"k": 1.5}, "k must be a whole number"),
        (np.eye(2), [0, 1], {"ties": "first"}, "random, include, exclude_zero"),
        (np.eye(2), [0, 1], {"level": 1.0}, "level must lie between"),
    ],
)
def test_bad_input_is_refused(soft, labels, options, message):
    for indicator in (unreliability, ambiguity):
        with pytest.raises(ValueError, match=message):
            indicator(soft, labels, **({"k": 1} | options))
    k = options.pop("k", 1)
    with pytest.raises(ValueError, match=message):
        effectiveness(soft, labels, ks=[k], **options)


def test_the_marginal_version_does_not_need_every_class():
    assert ambiguity(np.eye(3), [0, 1, 0], k=1, version="marginal").value == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="at least two classes"):
        ambiguity(np.eye(2), [0, 0], k=1, version="marginal")
    with pytest.raises(ValueError, match="class, marginal"):
        ambiguity(np.eye(2), [0, 1], k=1, version="pointwise")
