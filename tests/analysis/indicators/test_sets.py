"""Threshold sets, floors, tie rules, streams: identities over random inputs and a plain restatement."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import (
    IndicatorAccumulator,
    ambiguity,
    effectiveness,
    measure_indicators,
    random_soft_labels,
    unreliability,
)
from tests.analysis.reference import quick

from .test_functions import draw


def coarse(seed, n=60, classes=5, steps=6):
    """Soft labels with many ties and zeros: whole numbers shared out."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(steps, np.ones(classes) / classes, n)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return counts / steps, labels


def same(one, other):
    for a, b in zip(one.sets, other.sets, strict=True):
        for name in ("members", "least", "most", "class_sizes", "ties", "k", "threshold"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@quick
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 0.5, 1.0]))
def test_threshold_sets_are_those_of_a_loop(seed, threshold):
    soft, labels = coarse(seed)
    sets = [{j for j in range(5) if (row[j] > 0 if threshold == 0 else row[j] >= threshold)} for row in soft]
    delta = np.mean([y not in s for y, s in zip(labels, sets, strict=True)])
    found = unreliability(soft, labels, threshold=threshold)
    assert found.value == pytest.approx(delta)
    assert found.ties == 0
    gamma = ambiguity(soft, labels, threshold=threshold)
    pairs = {
        (c, j): np.mean([j in s for y, s in zip(labels, sets, strict=True) if y == c])
        for c in range(5)
        for j in range(5)
        if c != j
    }
    assert gamma.value == max(pairs.values()) == pairs[gamma.worst]
    size = np.mean([len(s) for s in sets])
    assert gamma.floor == pytest.approx((size - 1 + delta) / 4)
    assert gamma.value >= gamma.floor - 1e-12


@quick
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.sampled_from(["random", "include", "exclude_zero"]),
    st.booleans(),
)
def test_wrong_labels_make_up_what_the_truth_leaves_of_a_set(seed, k, ties, tied):
    """sum over j != y of Pr(j in the set) = mean size - 1 + Delta, whatever the sets; and hence the floor."""
    soft, labels = coarse(seed) if tied else draw(seed)
    counts = measure_indicators(soft, labels, ks=[k], ties=ties).counts()
    wrong = (counts.members.sum() - np.trace(counts.members)) / counts.n
    assert wrong == pytest.approx(counts.set_size - 1 + counts.delta)
    assert counts.gamma >= counts.floor - 1e-12
    assert (counts.marginal_counts / counts.marginal_sizes).max() >= counts.floor - 1e-12
    if ties == "random":
        assert counts.set_size == pytest.approx(k)
    assert (counts.least <= counts.members).all()
    assert (counts.members <= counts.most).all()
    for name, value in (("delta", counts.delta), ("class", counts.gamma)):
        low, high = counts.tie_range()[name]
        assert low - 1e-12 <= value <= high + 1e-12


@quick
@given(st.integers(0, 10_000), st.sampled_from(["random", "include", "exclude_zero"]))
def test_tie_rules_are_those_of_a_loop(seed, ties):
    soft, labels = coarse(seed, n=40)
    for k in (1, 2, 3):
        counts = measure_indicators(soft, labels, ks=[1, 2, 3], ties=ties).counts(k=k)
        most, least = np.zeros((5, 5), int), np.zeros((5, 5), int)
        choices = 0
        for row, y in zip(soft, labels, strict=True):
            edge = sorted(row)[-k]
            over, on = row > edge, (row == edge) & ((row > 0) if ties == "exclude_zero" else True)
            choice = over.sum() + on.sum() > k
            choices += choice
            most[y] += over | on
            least[y] += over | (on & (not choice))
        np.testing.assert_array_equal(counts.most, most)
        np.testing.assert_array_equal(counts.least, least)
        assert counts.ties == choices
        if ties == "include":
            np.testing.assert_array_equal(counts.members, most)
        elif ties == "random":
            assert counts.members.sum() == 40 * k


@quick
@given(st.integers(0, 10_000), st.sampled_from(["random", "include", "exclude_zero"]), st.integers(1, 59))
def test_streams_and_merges_equal_the_whole(seed, ties, cut):
    soft, labels = coarse(seed)
    options = {"ks": [1, 3, 5], "thresholds": [0, 0.3], "ties": ties, "seed": seed}
    whole = measure_indicators(soft, labels, **options)
    parts = measure_indicators([(soft[:cut], labels[:cut]), (soft[cut:], labels[cut:])], **options)
    same(whole, parts)
    np.testing.assert_allclose(parts.student_condition().margins, whole.student_condition().margins, atol=1e-12)
    first, second = (IndicatorAccumulator(5, **options) for _ in range(2))
    order = np.random.default_rng(seed).permutation(60)
    first.update(soft[order[:cut]], labels[order[:cut]], order[:cut])
    second.update(soft[order[cut:]], labels[order[cut:]], order[cut:])
    second.merge(first)
    same(whole, second.result())
    np.testing.assert_allclose(second.result().student_condition().low, whole.student_condition().low, atol=1e-9)


@quick
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_samples_and_classes_may_be_reordered(seed, k):
    soft, labels = draw(seed)
    rng = np.random.default_rng(seed)
    rows, names = rng.permutation(60), rng.permutation(5)
    table = effectiveness(soft, labels, ks=[k])
    pd.testing.assert_frame_equal(effectiveness(soft[rows], labels[rows], ks=[k]), table, rtol=1e-12)
    other = effectiveness(soft[:, names], np.argsort(names)[labels], ks=[k])
    numbers = [c for c in table.columns if c not in ("worst_class", "worst_true", "worst_wrong")]
    pd.testing.assert_frame_equal(other[numbers], table[numbers], rtol=1e-11, atol=1e-12)
    gamma = ambiguity(soft, labels, k=k).per_class
    np.testing.assert_allclose(ambiguity(soft[:, names], np.argsort(names)[labels], k=k).per_class, gamma[names])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_tensors_of_any_precision_equal_arrays(dtype):
    soft, labels = coarse(3, steps=4)  # quarters are exact in every format
    tensor = torch.tensor(soft, dtype=dtype, requires_grad=True)
    same(
        measure_indicators(tensor, torch.tensor(labels), ks=[1, 2], thresholds=[0.5]),
        measure_indicators(soft, labels, ks=[1, 2], thresholds=[0.5]),
    )
    same(measure_indicators(np.eye(3, dtype=int), [0, 1, 2], ks=[1]), measure_indicators(np.eye(3), [0, 1, 2], ks=[1]))


def test_many_classes_take_the_quick_way_and_agree():
    soft = random_soft_labels(np.arange(300), 40, seed=1)
    labels = np.arange(300) % 40
    soft[::7] = np.eye(40)[labels[::7]]
    found = measure_indicators(soft.astype(np.float32), labels, ks=[1, 3, 10])
    for k in (1, 3, 10):
        clear = np.arange(300) % 7 != 0
        top = np.argsort(-soft[clear].astype(np.float32), axis=1, kind="stable")[:, :k]
        members = np.zeros((40, 40), int)
        np.add.at(members, (np.repeat(labels[clear], k), top.ravel()), 1)
        part = measure_indicators(soft[clear].astype(np.float32), labels[clear], ks=[k]).counts()
        np.testing.assert_array_equal(part.members, members)
        assert found.counts(k=k).ties == (0 if k == 1 else 43)
        assert found.counts(k=k).members.sum() == 300 * k


def test_draws_belong_to_samples():
    soft, labels = np.full((80, 4), 0.25), np.arange(80) % 4
    order = np.random.default_rng(0).permutation(80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = ambiguity(soft, labels, k=2, seed=5)
        other = ambiguity(soft[order], labels[order], k=2, seed=5, sample_ids=order)
        moved = ambiguity(soft[order], labels[order], k=2, seed=5, sample_ids=order + 1000)
    np.testing.assert_array_equal(whole.per_class, other.per_class)
    assert not np.array_equal(whole.per_class, moved.per_class)
    # Sets of a larger k hold those of a smaller one, though drawn.
    found = measure_indicators(soft, labels, ks=[1, 2, 3, 4])
    for small, large in zip(found.sets, found.sets[1:], strict=False):
        assert (small.members <= large.members).all()


def test_k_is_chosen_by_the_sum_or_by_kappa():
    soft, labels = draw(9, n=400)
    found = measure_indicators(soft, labels, ks=[1, 2, 3], thresholds=[0.2])
    table = found.table()
    assert table["k"].isna().tolist() == [False, False, False, True]
    assert table["threshold"].tolist()[3] == 0.2
    for by, ascending in (("sum", True), ("worst_class_sum", True), ("kappa", False), ("kappa_classes", False)):
        best = found.best(by=by)
        assert best[by] == table[by].sort_values(ascending=ascending).iloc[0]
    best = found.best(level=0.9)
    np.testing.assert_allclose(best["sum_high"], found.table(level=1 - 0.1 / 4).iloc[table["sum"].argmin()]["sum_high"])
    with pytest.raises(ValueError, match="sum, worst_class_sum, kappa, kappa_classes"):
        found.best(by="gamma")
    assert effectiveness(soft, labels)["k"].tolist() == [1, 2, 3, 4]
    assert effectiveness(soft, labels, thresholds=0.2)["threshold"].tolist() == [0.2]


def test_pairs_and_classes():
    soft, labels = draw(4, n=300)
    found = measure_indicators(soft, labels, ks=[2])
    pairs, gamma = found.pairs(top=3), found.ambiguity(k=2)
    assert (pairs["true"][0], pairs["wrong"][0]) == gamma.worst
    assert pairs["share"].is_monotonic_decreasing
    assert pairs["share"][0] == gamma.value
    assert len(found.pairs(top=99)) == 20
    assert pairs["high"][0] == pytest.approx(gamma.interval.high)
    rows = found.per_class(k=2)
    np.testing.assert_array_equal(rows["delta"], found.unreliability(k=2).per_class)
    np.testing.assert_array_equal(rows["gamma"], gamma.per_class)
    assert rows["sum"].max() == found.table()["worst_class_sum"][0]
    assert (rows["sum_low"] <= rows["sum"]).all()
    assert (rows["sum"] <= rows["sum_high"]).all()
    assert (rows["set_size"] == 2).all()
    assert found.ambiguity(k=2, version="marginal").value <= gamma.value
    assert np.diagonal(found.counts().rates()) == pytest.approx(1 - rows["delta"])
