"""Rows in clusters: sums against loops, one row a cluster against none, coverage by simulation, what is refused."""

import numpy as np
import pytest

from biasvar.analysis import (
    IndicatorAccumulator,
    ambiguity,
    effectiveness,
    measure_indicators,
    student_condition,
    unreliability,
)
from biasvar.analysis.clusters import as_clusters, spread_of
from biasvar.analysis.indicators.cluster_counts import ClusterCounts
from biasvar.analysis.statistics.proportions import clopper_pearson, clustered_ends, hoeffding

from .test_functions import draw

METHODS = ("exact", "hoeffding", "bootstrap")


def test_sums_over_clusters_are_those_of_loops():
    rng = np.random.default_rng(0)
    classes, n = 4, 120
    labels, clusters = rng.integers(0, classes, n), rng.integers(0, 25, n)
    mask = rng.random((n, classes)) < 0.4
    mask[rng.random(n) < 0.2] = True  # sets of all labels are counted apart
    counter = ClusterCounts(classes, ["rule"])
    for part in (slice(0, 50), slice(50, n)):  # clusters lie in both
        numbers = counter.number(clusters[part], len(labels[part]), None, 0)
        counter.add_rows(numbers, labels[part])
        counter.add_members("rule", numbers, labels[part], mask[part])
    sums = counter.sums("rule")
    assert sums.clusters == len(np.unique(clusters))

    def loop(counted, there):
        pairs = [(counted[clusters == g].sum(), there[clusters == g].sum()) for g in np.unique(clusters)]
        pairs = [(m, size) for m, size in pairs if size]
        return [sum(m * m for m, _ in pairs), sum(m * s for m, s in pairs), sum(s * s for _, s in pairs), len(pairs)]

    def of(spread, place):
        one = spread.at(place)
        return [float(one.squares), float(one.cross), float(one.sizes), float(one.clusters)]

    for c in range(classes):
        for j in range(classes):
            assert of(sums.members, (c, j)) == pytest.approx(loop(mask[:, j] & (labels == c), labels == c))
        assert of(sums.marginal, c) == pytest.approx(loop(mask[:, c] & (labels != c), labels != c))
    missed = ~mask[np.arange(n), labels]
    assert of(sums.missed, ()) == pytest.approx(loop(missed, np.ones(n, dtype=bool)))
    assert of(spread_of(as_clusters(clusters, n)[0], missed), ()) == of(sums.missed, ())


@pytest.mark.parametrize("method", METHODS)
def test_clusters_of_one_row_change_nothing(method):
    soft, labels = draw(3, n=120)
    names = np.random.default_rng(0).permutation(120)
    options = {"interval": method, "resamples": 200}
    plain = effectiveness(soft, labels, ks=[1, 2], thresholds=[0.2], **options)
    other = effectiveness(soft, labels, ks=[1, 2], thresholds=[0.2], clusters=names, **options)
    for column in plain.columns:
        if method != "bootstrap" or not column.endswith(("_low", "_high")):
            np.testing.assert_allclose(other[column].astype(float), plain[column].astype(float), err_msg=column)
        else:  # clusters stand in another order within the class, so that other draws are made
            np.testing.assert_allclose(other[column].astype(float), plain[column].astype(float), atol=0.1)
    for version in ("class", "marginal"):
        if method != "bootstrap":
            one, two = (ambiguity(soft, labels, k=2, version=version, interval=method, clusters=c).interval
                        for c in (None, names))  # fmt: skip
            assert (one.low, one.high, one.n) == pytest.approx((two.low, two.high, two.n))


def test_copies_of_rows_add_nothing():
    """Every row ten times over: the intervals are about those of the rows once; taken as samples, far narrower."""
    soft, labels = draw(4, n=400)
    many, truth, names = np.repeat(soft, 10, axis=0), np.repeat(labels, 10), np.repeat(np.arange(400), 10)
    once, thought = unreliability(soft, labels, k=2), unreliability(many, truth, k=2)
    for method in METHODS:
        found = unreliability(many, truth, k=2, clusters=names, interval=method)
        base = unreliability(soft, labels, k=2, interval=method)
        assert found.interval.n == 400
        assert found.n == 4000
        assert found.interval.stderr == pytest.approx(once.interval.stderr, rel=0.01)
        assert found.interval.high - found.interval.low == pytest.approx(
            base.interval.high - base.interval.low, rel=0.1
        )
    assert thought.interval.high - thought.interval.low < 0.4 * (once.interval.high - once.interval.low)
    one, two = student_condition(soft, labels), student_condition(many, truth, clusters=names)
    np.testing.assert_allclose(two.low, one.low, rtol=1e-6)
    assert two.per_sample.n == 400
    measured = measure_indicators(many, truth, ks=[2], clusters=names).student_condition()
    np.testing.assert_allclose(measured.low, two.low)
    assert measured.per_sample == two.per_sample


def clustered_sets(rng, people, rows, num_classes=3):
    """Soft labels one-hot at the truth, or at a rival; each person misses a share of rows, in all their classes."""
    person = np.repeat(np.arange(people), rows)
    labels = rng.integers(0, num_classes, len(person))
    rate = rng.beta(0.4, 1.6, people)[person]  # .2 on average, and far apart
    wrong = rng.random(len(person)) < rate
    return np.eye(num_classes)[np.where(wrong, (labels + 1) % num_classes, labels)], labels, person


def test_intervals_cover_with_clusters_and_not_without():
    """A person's rows are in all classes: Delta, gamma, the worst class and kappa of all classes, and the margin."""
    rng, repeats = np.random.default_rng(5), 100
    truth = {
        "delta": 0.2, "gamma": 0.2, "worst_class_sum": 0.4, "kappa_classes": (0.8**0.5 - 0.2**0.5) ** 2, "margin": 0.6,
    }  # fmt: skip
    covered = {(method, name): 0.0 for method in ("exact", "bootstrap", "rows") for name in truth}
    for _ in range(repeats):
        soft, labels, person = clustered_sets(rng, 60, 20)
        for method in ("exact", "bootstrap", "rows"):
            row = effectiveness(
                soft, labels, ks=[1], clusters=None if method == "rows" else person, resamples=200,
                interval="exact" if method == "rows" else method,
            ).iloc[0]  # fmt: skip
            for name, value in truth.items():
                covered[method, name] += (row[f"{name}_low"] <= value <= row[f"{name}_high"]) / repeats
    # 3 standard errors of 100 trials at .95 are .065.
    for method in ("exact", "bootstrap"):
        assert covered[method, "delta"] >= 0.86
        assert min(covered[method, name] for name in truth if name != "delta") >= 0.93
    assert covered["rows", "delta"] < 0.7
    assert covered["rows", "worst_class_sum"] < 0.96


def test_shares_of_clusters_cover():
    """Beta-binomial clusters; the rare share is the hard case: few clusters have any."""
    rng, repeats = np.random.default_rng(6), 300
    for share, correlation in ((0.3, 0.5), (0.02, 0.3), (0.02, 0.9)):
        hits = dict.fromkeys(("exact", "hoeffding", "rows"), 0)
        for _ in range(repeats):
            sizes = rng.integers(1, 21, 50)
            spread = (1 - correlation) / correlation
            counts = rng.binomial(sizes, rng.beta(share * spread, (1 - share) * spread, 50))
            number = np.repeat(np.arange(50), sizes)
            values = np.concatenate([np.arange(n) < m for n, m in zip(sizes, counts, strict=True)])
            sums = spread_of(number, values)
            for method in hits:
                low, high = clustered_ends(
                    "exact" if method == "rows" else method, counts.sum(), sizes.sum(), 0.05,
                    None if method == "rows" else sums,
                )  # fmt: skip
                hits[method] += low <= share <= high
        assert hits["exact"] / repeats >= 0.93
        assert hits["hoeffding"] / repeats >= 0.95
        assert hits["rows"] / repeats <= 0.8


def test_the_largest_ends_are_those_of_all_labels():
    rng = np.random.default_rng(8)
    labels, clusters = rng.integers(0, 12, 900), rng.integers(0, 90, 900)
    soft = rng.dirichlet(np.full(12, 0.4), 900) * 0.7 + 0.3 * np.eye(12)[(clusters + labels) % 12]
    found = measure_indicators(soft, labels, ks=[1, 3], thresholds=[0.0, 0.1], clusters=clusters)
    wrong = ~np.eye(12, dtype=bool)
    true, label = np.nonzero(np.ones((12, 12), dtype=bool))
    for counts in found.sets:
        for method in ("exact", "hoeffding"):
            ends = [np.where(wrong, end.reshape(12, 12), 0).max(axis=1)
                    for end in counts.label_ends(true, label, method, 0.001)]  # fmt: skip
            np.testing.assert_array_equal(counts.rival_ends(method, 0.001), ends)


def test_ends_at_the_edges():
    groups, none = np.repeat(np.arange(30), 5), np.zeros(150)
    low, high = clustered_ends("exact", 0, 150, 0.05, spread_of(groups, none))
    assert low == 0
    assert high == pytest.approx(clopper_pearson(0, 30, 0.05)[1], rel=0.12)  # one trial a cluster
    low, high = clustered_ends("exact", 150, 150, 0.05, spread_of(groups, none + 1))
    assert high == 1
    assert low == pytest.approx(clopper_pearson(30, 30, 0.05)[0], rel=0.02)
    ends = clustered_ends("hoeffding", 60, 150, 0.05, spread_of(groups, np.arange(150) < 60))
    assert ends == pytest.approx(hoeffding(12, 30, 0.05))
    for method in ("exact", "hoeffding"):
        assert clustered_ends(method, 3, 5, 0.05, spread_of(np.zeros(5, dtype=int), np.arange(5) < 3)) == (0, 1)


def test_batches_and_merged_accumulators_are_the_whole():
    soft, labels = draw(6, n=200)
    names = np.random.default_rng(1).choice(["ann", "bob", "cy", "di", "ed", "flo"], 200)
    options = {"ks": [1, 3], "thresholds": [0.2]}
    whole = measure_indicators(soft, labels, clusters=names, **options)
    parts = [IndicatorAccumulator(5, **options) for _ in range(2)]
    for rows in (slice(0, 30), slice(30, 90)):
        parts[0].update(soft[rows], labels[rows], clusters=names[rows])
    parts[1].update(soft[90:], labels[90:], np.arange(90, 200), clusters=names[90:].tolist())
    parts[0].merge(parts[1])
    merged = parts[0].result()
    assert merged.sets[0].sums.clusters == merged.sets[0].units == 6
    for one, other in ((merged.table(), whole.table()), (merged.per_class(k=3), whole.per_class(k=3))):
        np.testing.assert_allclose(one.astype(float), other.astype(float))
    np.testing.assert_allclose(merged.pairs(k=3), whole.pairs(k=3))


def test_rows_that_do_not_count_need_no_cluster():
    soft, labels = draw(7, n=60)
    names = np.arange(60) // 3
    soft2, labels2 = np.concatenate([soft, np.full((2, 5), np.nan)]), np.append(labels, [-100, -100])
    names2, where = [*names.tolist(), None, float("nan")], np.arange(62) < 60
    for measure in (unreliability, ambiguity):
        for method in METHODS:
            options = {"k": 2, "interval": method, "resamples": 100}
            one = measure(soft, labels, clusters=names, **options).interval
            assert measure(soft2, labels2, clusters=names2, where=where, **options).interval == one
    one, two = (
        student_condition(soft, labels, clusters=names),
        student_condition(soft2, labels2, clusters=names2, where=where),
    )
    np.testing.assert_array_equal(one.low, two.low)


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ([1, 2, None, 3], "every row; row 2 has none"),
        ([1.0, float("nan"), float("nan"), 3.0], "every row; row 1, 2 has none"),
        (["a", "b", " ", "c"], "every row; row 2 has none"),
        ([1, 2, 3], r"one name a row, shape \(4,\), got shape \(3,\)"),
        ([[1], [2], [3], [4]], r"shape \(4,\), got shape \(4, 1\)"),
        ([0.5, 1, 2, 3], "whole numbers or texts, got 0.5"),
        (np.array([0.5, 1, 2, 3]), "whole numbers or texts, got"),
        ([(1, 2), 1, 2, 3], "clusters must"),
    ],
)
def test_names_of_clusters_are_checked(clusters, message):
    soft, labels = np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1]
    for measure in (measure_indicators, student_condition):
        with pytest.raises(ValueError, match=message) as caught:
            measure(soft, labels, clusters=clusters)
        assert "\n" not in str(caught.value)


def test_clusters_in_all_updates_or_in_none():
    soft, labels = np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1]
    accumulator = IndicatorAccumulator(2, ks=[1])
    accumulator.update(soft, labels, clusters=[1, 1, 2, 2])
    with pytest.raises(ValueError, match="in all updates or in none"):
        accumulator.update(soft, labels)
    with pytest.raises(ValueError, match="row 5 has none"):
        accumulator.update(soft, labels, clusters=[1, None, 2, 2])
    assert accumulator.result().sets[0].n == 4
    other = IndicatorAccumulator(2, ks=[1])
    other.update(soft, labels)
    with pytest.raises(ValueError, match="or neither has"):
        accumulator.merge(other)
    with pytest.raises(ValueError, match="clusters go with arrays"):
        measure_indicators([(soft, labels)], clusters=[1, 1, 2, 2])
