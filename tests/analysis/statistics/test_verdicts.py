"""The verdict rule case by case, Holm's levels by hand, and the power a verdict promises by simulation."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import decision_p_value, holm_levels, judge
from tests.analysis.reference import quick


@pytest.mark.parametrize(
    ("direction", "effect", "outcome"),
    [
        ("greater", 0.5, "holds"),
        ("greater", -0.5, "does not hold"),
        ("greater", 0.15, "undecided"),
        ("greater", -0.05, "undecided"),  # the sign is wrong, yet the interval reaches past 0.1
        ("less", -0.5, "holds"),
        ("less", 0.5, "does not hold"),
        ("less", -0.15, "undecided"),
        ("differs", 0.5, "holds"),
        ("differs", -0.5, "holds"),
        ("differs", 0.15, "undecided"),
        ("differs", 0.0, "undecided"),
        ("greater", math.nan, "undecided"),
    ],
)
def test_the_rule_with_an_interval_half_width_of_about_a_fifth(direction, effect, outcome):
    verdict = judge(effect, 0.1, 15, 16, direction=direction, smallest_effect=0.1, alpha=0.05)
    assert verdict.outcome == outcome
    assert verdict.threshold == (-0.1 if direction == "less" else 0.1)
    if not math.isnan(effect):
        half = scipy.stats.t.ppf(0.975, 15) * 0.1
        assert (verdict.effect.low, verdict.effect.high) == pytest.approx((effect - half, effect + half))


def test_differs_does_not_hold_if_the_interval_lies_within():
    verdict = judge(0.01, 0.01, math.inf, 100, direction="differs", smallest_effect=0.1)
    assert verdict.outcome == "does not hold"
    verdict = judge(0.09, 0.01, math.inf, 100, direction="differs", smallest_effect=0.1)
    assert verdict.outcome == "undecided"


@given(st.integers(0, 2**31), st.floats(-3, 3), st.sampled_from(["greater", "less"]), st.floats(0.0, 1.0))
@quick
def test_bootstrap_draws_decide_by_their_percentiles(seed, effect, direction, smallest):
    draws = np.random.default_rng(seed).normal(effect, 1.0, 500)
    rule = {"direction": direction, "smallest_effect": smallest, "draws": np.append(draws, np.nan)}
    p = decision_p_value(effect, 1.0, math.inf, **rule)
    for alpha in (0.01, 0.05, 0.3):
        verdict = judge(effect, 1.0, math.inf, 40, **rule, alpha=alpha)
        low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
        assert (verdict.effect.low, verdict.effect.high) == pytest.approx((low, high))
        if abs(p - alpha) > 2 / 500:  # percentiles lie between draws
            assert (verdict.outcome == "undecided") == (p > alpha)
    assert 2 / 500 <= p <= 1


def test_nan_or_too_little_to_judge_is_undecided():
    for effect, stderr, df in ((0.5, math.nan, 15), (math.nan, 0.1, 15), (0.5, 0.1, math.nan), (0.5, 0.1, 0)):
        verdict = judge(effect, stderr, df, 16, direction="greater", smallest_effect=0.1)
        assert verdict.outcome == "undecided"
        assert verdict.replicas_needed is None
        assert math.isnan(decision_p_value(effect, stderr, df, direction="greater", smallest_effect=0.1))


def test_an_effect_without_error_is_decided():
    verdict = judge(0.5, 0.0, 15, 16, direction="greater", smallest_effect=0.1)
    assert verdict.outcome == "holds"
    assert verdict.replicas_needed == 16
    assert decision_p_value(0.5, 0.0, 15, direction="greater", smallest_effect=0.1) == 0.0
    assert decision_p_value(0.1, 0.0, 15, direction="greater", smallest_effect=0.1) == 1.0


@quick
@given(
    st.floats(-1, 1),
    st.floats(0.01, 0.5),
    st.sampled_from([3.0, 15.0, math.inf]),
    st.sampled_from(["greater", "less", "differs"]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.05, 0.01, 0.3]),
)
def test_a_claim_is_decided_exactly_if_its_p_value_is_below_alpha(effect, stderr, df, direction, smallest, alpha):
    p = decision_p_value(effect, stderr, df, direction=direction, smallest_effect=smallest)
    decided = (
        judge(effect, stderr, df, 16, direction=direction, smallest_effect=smallest, alpha=alpha).outcome != "undecided"
    )
    if abs(p - alpha) > 1e-9:
        assert decided == (p < alpha)


def test_the_detectable_effect_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    n, d = 16, 0.2
    stderr = 1 / math.sqrt(n)
    verdict = judge(0.3, stderr, n - 1, n, direction="greater", smallest_effect=d)
    below = judge(0.3, stderr, n - 1, n, direction="less", smallest_effect=d)
    assert below.detectable == pytest.approx(-verdict.detectable)
    x = rng.normal(verdict.detectable, 1.0, size=(3000, n))
    error = x.std(1, ddof=1) / math.sqrt(n)
    found = (x.mean(1) - scipy.stats.t.ppf(0.975, n - 1) * error > d).mean()
    assert 0.75 < found < 0.85


@pytest.mark.parametrize("df_lost", [1.0, math.inf])
def test_the_units_needed_would_decide(df_lost):
    n, stderr, alpha = 16, 0.1, 0.02
    df = math.inf if math.isinf(df_lost) else n - df_lost
    needed = judge(0.2, stderr, df, n, direction="greater", smallest_effect=0.05, alpha=alpha).replicas_needed

    def reach(units):
        law = scipy.stats.norm if math.isinf(df) else scipy.stats.t(units - 1)
        return (law.ppf(1 - alpha / 2) + law.ppf(0.8)) * stderr * math.sqrt(n / units)

    assert reach(needed) <= 0.15 < reach(needed - 1)


def test_the_units_needed_have_a_range_for_an_effect_that_is_uncertain_itself():
    def needed(effect):
        return judge(effect, 0.1, 15, 16, direction="less", smallest_effect=0.05)

    verdict = needed(-0.2)
    assert verdict.replicas_range == (needed(-0.3).replicas_needed, needed(-0.1).replicas_needed)
    assert verdict.replicas_range[0] < verdict.replicas_needed < verdict.replicas_range[1]
    assert needed(-0.1).replicas_range[1] is None  # the effect may lie at the threshold
    nothing = judge(math.nan, 0.1, 15, 16, direction="less", smallest_effect=0.05)
    assert nothing.replicas_range == (None, None)


def test_no_number_of_units_decides_an_effect_at_the_threshold():
    for effect in (0.1, 0.1 + 1e-9):
        verdict = judge(effect, 0.1, 15, 16, direction="greater", smallest_effect=0.1)
        assert verdict.replicas_needed is None
        assert verdict.outcome == "undecided"


def test_holm_by_hand():
    # 0.005 <= .05/4, 0.01 <= .05/3, 0.03 > .05/2: tests stop there, and 0.04 shares the level.
    np.testing.assert_allclose(holm_levels([0.01, 0.04, 0.03, 0.005]), [0.05 / 3, 0.025, 0.025, 0.0125])
    np.testing.assert_allclose(holm_levels([0.2, 0.001, 0.04]), [0.025, 0.05 / 3, 0.025])
    np.testing.assert_allclose(holm_levels([0.001, 0.002], alpha=0.01), [0.005, 0.01])
    np.testing.assert_allclose(holm_levels([0.9, 0.8]), [0.025, 0.025])
    np.testing.assert_allclose(holm_levels([math.nan, 0.001]), [0.05, 0.025])  # a test not possible still counts
    assert len(holm_levels([])) == 0


@quick
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_adjusted_p_values_reject(p):
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate([(len(p) - i) * p[j] for i, j in enumerate(order)])
    rejected = np.empty(len(p), bool)
    rejected[order] = adjusted <= 0.05
    np.testing.assert_array_equal(np.array(p) <= holm_levels(p), rejected)


def test_a_p_value_at_its_level_rejects():
    """Holm rejects at p <= alpha / (m - i): an interval at 1 - level then just touches the null."""
    assert holm_levels([0.025, 0.04], alpha=0.05).tolist() == [0.025, 0.05]
    assert holm_levels([0.04, 0.025], alpha=0.05).tolist() == [0.05, 0.025]
    assert holm_levels([0.025 + 1e-12, 0.04], alpha=0.05).tolist() == [0.025, 0.025]


def test_bad_rules_are_refused():
    for options, message in (
        ({"direction": "up", "smallest_effect": 0.1}, "greater, less, differs"),
        ({"direction": "less", "smallest_effect": -0.1}, "smallest_effect must be"),
        ({"direction": "less", "smallest_effect": 0.1, "alpha": 0.0}, "alpha must lie"),
    ):
        with pytest.raises(ValueError, match=message):
            judge(0.1, 0.1, 15, 16, **options)
    for p, alpha, message in (
        ([1.2], 0.05, "from 0 to 1"),
        ([[0.1]], 0.05, "from 0 to 1"),
        ([0.1], 1.0, "alpha must lie"),
    ):
        with pytest.raises(ValueError, match=message):
            holm_levels(p, alpha)
