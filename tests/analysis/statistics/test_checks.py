"""Every function of the statistics names the argument that is wrong: lengths, NaN, nothing, booleans, out of range."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from biasvar.analysis import (
    auc_interval,
    decision_p_value,
    holm_levels,
    interval_from,
    jackknife_interval,
    judge,
    mean_interval,
    paired_mean_difference,
    rank_correlation,
    replicas_needed,
    roc_auc,
)
from biasvar.analysis.statistics.comparison import spearman
from biasvar.analysis.statistics.intervals import percentile_ends, t_quantile
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.analysis.statistics.proportions import clopper_pearson, ends_of, hoeffding, hoeffding_radius

NAN = math.nan
GREATER = {"direction": "greater", "smallest_effect": 0.1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval(["1", "2"]), "x must hold real numbers"),
        (lambda: mean_interval([1, None]), "x must"),
        (lambda: mean_interval([1j, 2]), "x must hold real numbers"),
        (lambda: mean_interval([1.0, 2.0], level=True), "level must be a number, not"),
        (lambda: mean_interval([1.0, 2.0], level="0.95"), "level must be a number, not"),
        (lambda: mean_interval([1.0, 2.0], level=None), "level must be a number, not"),
        (lambda: jackknife_interval(10**400, [1.0, 2.0]), "full must be a number, not 1000"),
        (lambda: mean_interval([1.0, 2.0], level=NAN), "level must lie between 0 and 1, got nan"),
        (lambda: mean_interval([1.0, 2.0], level=np.array([0.9, 0.8])), "level must be a number"),
        (lambda: mean_interval([1.0, 2.0], level=torch.tensor(True)), "level must be a number"),
        (lambda: paired_mean_difference([1.0, 2.0], ["a", "b"]), "b must hold real numbers"),
        (lambda: spearman([1.0, 2.0]), r"values must have shape \(V, n\)"),
        (lambda: spearman([[1.0, 2.0]]), r"values must have shape \(V, n\)"),
        (lambda: spearman([[], []]), r"values must have shape \(V, n\)"),
        (lambda: spearman([[1.0, NAN], [1.0, 2.0]]), "values holds NaN at 1 of 4 places"),
        (lambda: rank_correlation([1, 2], [1, 2], level=2), "level must lie"),
        (lambda: rank_correlation([1, 2], [1, 2], clusters=["a", None]), "clusters must name .*row 1 has none"),
        (lambda: rank_correlation([1, 2], [1, 2], clusters=[1.0, NAN]), "clusters must name .*row 1 has none"),
        (lambda: auc_interval([1, 2], [True, True], level=0), "level must lie"),
        (lambda: roc_auc([1, 2], [1, 0]), "target must be a bool array.*give target == 1"),
        (lambda: roc_auc([], []), "score must be a vector"),
        (lambda: jackknife_interval("1", [1.0, 2.0]), "full must be a number"),
        (lambda: jackknife_interval(1.0, [1.0, 2.0], [1, -1]), "group_sizes must be whole numbers from 0 up; row 1"),
        (lambda: jackknife_interval(1.0, [1.0, 2.0], [1, 0.5]), "group_sizes must be whole numbers from 0 up; row 1"),
        (lambda: jackknife_interval(1.0, [1.0, 2.0], [1, NAN]), "group_sizes must be whole numbers from 0 up; row 1"),
        (lambda: jackknife_stderr(1.0, [1.0, 2.0], [1.0, 1.0, 1.0]), r"deleted and sizes must have shape \(G, ...\)"),
        (lambda: jackknife_stderr(1.0, np.ones((3, 3)), np.ones(3)), r"deleted and sizes must have shape \(G, ...\)"),
        (lambda: replicas_needed([1.0, 2.0], True), "effect must be a number"),
        (lambda: replicas_needed([1.0, 2.0], 1.0, power=True), "power must be a number"),
        (lambda: interval_from("0", 1.0, 3, 4), "estimate must be a number"),
        (lambda: interval_from(0.0, -1.0, 3, 4), "stderr cannot be negative"),
        (lambda: interval_from(0.0, 1.0, True, 4), "df must be a number"),
        (lambda: interval_from(0.0, 1.0, 3, 4.5), "n must be a whole number"),
        (lambda: interval_from(0.0, 1.0, 3, NAN), "n must be a whole number"),
        (lambda: percentile_ends([]), "draws must hold at least one draw"),
        (lambda: percentile_ends(["a"]), "draws must hold real numbers"),
        (lambda: t_quantile(0.9, None), "df must be a number"),
        (lambda: clopper_pearson([3], [2], 0.05), "successes cannot be more than trials; row 0 has more"),
        (lambda: clopper_pearson([-1], [2], 0.05), "successes must be whole numbers from 0 up; row 0"),
        (lambda: clopper_pearson([1, 0.5], [2, 2], 0.05), "successes must be whole numbers from 0 up; row 1"),
        (lambda: clopper_pearson([1], [NAN], 0.05), "trials must be whole numbers from 0 up; row 0"),
        (lambda: clopper_pearson([1, 1, 1], [2, 2], 0.05), "successes and trials must have one shape"),
        (lambda: clopper_pearson([True], [2], 0.05), "successes must hold real numbers"),
        (lambda: clopper_pearson([1], [2], 1.0), "alpha must lie between 0 and 1"),
        (lambda: hoeffding([3], [2], 0.05), "successes cannot be more than trials"),
        (lambda: hoeffding_radius(0, 0.05), "trials must be at least 1"),
        (lambda: hoeffding_radius(10, 0.05, 0), "comparisons must be at least 1"),
        (lambda: hoeffding_radius(10, 5), "alpha must lie between 0 and 1"),
        (lambda: ends_of(["exact"]), "method must be text"),
        (lambda: judge("1", 0.1, 3, 4, **GREATER), "effect must be a number"),
        (lambda: judge(1.0, -0.1, 3, 4, **GREATER), "stderr cannot be negative"),
        (lambda: judge(1.0, 0.1, 3, -4, **GREATER), "n cannot be negative"),
        (lambda: judge(1.0, 0.1, 3, 4, **GREATER, alpha=True), "alpha must be a number"),
        (lambda: judge(1.0, 0.1, 3, 4, direction=1, smallest_effect=0.1), "direction must be text"),
        (lambda: judge(1.0, 0.1, 3, 4, direction="less", smallest_effect=True), "smallest_effect must be a number"),
        (lambda: judge(1.0, 0.1, 3, 4, direction="less", smallest_effect=NAN), "smallest_effect must be a finite"),
        (lambda: decision_p_value(1.0, -0.1, 3, **GREATER), "stderr cannot be negative"),
        (lambda: decision_p_value(1.0, 0.1, 3, **GREATER, draws=["a"]), "draws must hold real numbers"),
        (
            lambda: decision_p_value(1.0, 0.1, 3, direction="differs", smallest_effect=0.1, draws=[1.0]),
            "draws go with the directions greater and less",
        ),
        (lambda: holm_levels([True, False]), "p_values must hold real numbers"),
        (lambda: holm_levels(["0.1"]), "p_values must hold real numbers"),
        (lambda: holm_levels([0.1], alpha=True), "alpha must be a number"),
    ],
)
def test_the_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_nan_that_says_something_stays():
    assert math.isnan(jackknife_interval(NAN, [1.0, 2.0]).stderr)
    assert percentile_ends([NAN, NAN]) == (pytest.approx(NAN, nan_ok=True),) * 2
    assert percentile_ends([NAN, 1.0, 3.0], 0.5) == (1.5, 2.5)
    assert math.isnan(decision_p_value(1.0, 0.1, 3, **GREATER, draws=[NAN]))


def test_limits_that_are_allowed():
    assert interval_from(0.0, 0.0, 3, 0).high == 0.0
    assert jackknife_interval(1.5, [1.0, 2.0, 7.0], [1, 1, 0]).n == 2
    np.testing.assert_array_equal(clopper_pearson([0, 2], [0, 2], 0.05)[1], [1.0, 1.0])
    np.testing.assert_array_equal(np.stack(hoeffding([0, 1], [0, 1], 0.05)), [[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(clopper_pearson(3, 10, 0.1), scipy.stats.binomtest(3, 10).proportion_ci(0.9))
    assert float(hoeffding_radius(1, 0.05)) == pytest.approx(math.sqrt(math.log(20) / 2))
    assert mean_interval([True, False]).estimate == 0.5  # a share


def test_every_container_gives_the_same_numbers():
    x, y = [1.0, 2.0, 4.0, 3.0, 6.0], [2.0, 1.0, 5.0, 6.0, 7.0]
    expected = rank_correlation(x, y, clusters=list("abcde"))
    for made in (np.array, pd.Series, torch.tensor, tuple):
        assert mean_interval(made(x)) == mean_interval(x)
        assert rank_correlation(made(x), made(y), clusters=pd.Series(list("abcde"))) == expected
        np.testing.assert_array_equal(holm_levels(made([0.01, 0.5])), [0.025, 0.05])
    clusters = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], requires_grad=True)
    assert rank_correlation(x, y, clusters=clusters) == expected
    grad = torch.tensor(x, dtype=torch.bfloat16, requires_grad=True)
    assert mean_interval(grad) == mean_interval(x)
    assert rank_correlation(x, y, clusters=[2, "b", 1.0, "a", "c"]).n == 5
    full, deleted, sizes = torch.tensor(1.5), torch.tensor([1.0, 2.0]), torch.ones(2)
    assert float(jackknife_stderr(full, deleted, sizes)) == jackknife_interval(1.5, [1.0, 2.0]).stderr
