"""Errors over crossed factors against the textbook's mean squares, simulation and edge cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.crossed import Component, combined, crossed_mean

FACTORS = ("teachers", "replicas", "rows")


def two_way(table: np.ndarray) -> tuple[float, float]:
    """Variance of the mean of a two-way random-effects table and its df, from the mean squares written out."""
    a, b = table.shape
    rows, columns, grand = table.mean(1), table.mean(0), table.mean()
    ms_a = b * sum((x - grand) ** 2 for x in rows) / (a - 1)
    ms_b = a * sum((x - grand) ** 2 for x in columns) / (b - 1)
    ms_ab = sum((table[i, j] - rows[i] - columns[j] + grand) ** 2 for i in range(a) for j in range(b))
    ms_ab /= (a - 1) * (b - 1)
    cells = a * b
    variance = (ms_a + ms_b - ms_ab) / cells
    lost = ms_a**2 / (a - 1) + ms_b**2 / (b - 1) + ms_ab**2 / ((a - 1) * (b - 1))
    return variance, variance**2 * cells**2 / lost


@given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 10**6))
def test_two_factors_are_the_textbooks_mean_squares(a: int, b: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = 3 * rng.normal(size=(a, 1)) + 2 * rng.normal(size=(1, b)) + rng.normal(size=(a, b))
    found = crossed_mean(table, ("replicas", "rows"))
    variance, df = two_way(table)
    largest = max(table.mean(1).var(ddof=1) / a, table.mean(0).var(ddof=1) / b)
    if variance > largest:
        assert found.stderr == pytest.approx(math.sqrt(variance), rel=1e-9)
        assert found.df <= max(df, min(a, b) - 1) * (1 + 1e-9)
    else:
        assert found.stderr == pytest.approx(math.sqrt(largest), rel=1e-9)
    assert found.components["replicas"].stderr == pytest.approx(mean_interval(table.mean(1)).stderr, rel=1e-9)
    assert found.components["rows"].stderr == pytest.approx(mean_interval(table.mean(0)).stderr, rel=1e-9)


def test_one_factor_is_the_t_interval() -> None:
    values = [1.0, 4.0, 2.0, 8.0]
    assert crossed_mean(values, ("replicas",)).interval() == mean_interval(values)


def test_three_factors_estimate_the_variance_of_the_mean_without_bias() -> None:
    """The mean of the estimated variances is the true one, sum over sets of factors of their variance over levels."""
    rng, shape = np.random.default_rng(4), (3, 4, 6)
    spreads = {(0,): 1.0, (1,): 0.5, (2,): 2.0, (0, 1): 0.7, (0, 2): 0.6, (1, 2): 1.2, (0, 1, 2): 1.5}
    truth = sum(s**2 / math.prod(shape[a] for a in axes) for axes, s in spreads.items())
    estimates = []
    for _ in range(3000):
        table = np.zeros(shape)
        for axes, spread in spreads.items():
            table = table + spread * rng.normal(size=[n if a in axes else 1 for a, n in enumerate(shape)])
        estimates.append(crossed_mean(table, FACTORS).stderr ** 2)
    # Never below the largest component: a little above the truth, and not by much.
    assert 0.98 * truth < np.mean(estimates) < 1.1 * truth


@pytest.mark.parametrize(
    ("replicas", "rows", "spreads"),
    [(4, 500, (0, 0, 1)), (4, 500, (0.1, 0, 1)), (5, 100, (0.3, 1, 1)), (16, 300, (0.05, 1, 1))],
)
def test_intervals_cover_the_population_mean(replicas: int, rows: int, spreads: tuple[float, ...]) -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(800):
        table = spreads[0] * rng.normal(size=(replicas, 1)) + spreads[1] * rng.normal(size=(1, rows))
        found = crossed_mean(table + spreads[2] * rng.normal(size=(replicas, rows)), ("replicas", "rows")).interval()
        hits += found.low <= 0 <= found.high
    assert hits / 800 >= 0.93


def test_factors_without_variance_are_safe() -> None:
    constant = crossed_mean(np.ones((3, 4)), ("replicas", "rows"))
    assert constant.stderr == 0.0
    assert constant.interval().low == constant.interval().high == 1.0
    only_rows = crossed_mean(np.tile([1.0, 2.0, 6.0], (4, 1)), ("replicas", "rows"))
    assert only_rows.stderr == pytest.approx(mean_interval([1.0, 2.0, 6.0]).stderr)
    assert only_rows.df == 2.0
    assert only_rows.components["replicas"].stderr == 0.0


def test_combined_adds_squares_with_satterthwaites_df() -> None:
    found = combined(2.0, {"replicas": Component(0.2, 15, 16), "rows": Component(0.4, 99, 100)})
    assert found.stderr == pytest.approx(math.hypot(0.2, 0.4))
    assert found.df == pytest.approx(0.2**2 / (0.04**2 / 15 + 0.16**2 / 99))
    assert found.n == 16
    assert combined(2.0, {"replicas": Component(0.0, 4, 5)}).interval().low == 2.0
    assert math.isnan(combined(2.0, {"replicas": Component(0.1, 4, 5), "rows": Component(math.nan, 9, 10)}).stderr)


@given(
    st.integers(2, 5), st.integers(2, 200), st.integers(0, 10**6), st.floats(0, 3), st.sampled_from([0.9, 0.95, 0.99])
)
def test_no_interval_is_narrower_than_one_over_a_factor_alone(
    a: int, b: int, seed: int, of_a: float, level: float
) -> None:
    """Two replicas leave one degree of freedom, however many rows stand beside them."""
    rng = np.random.default_rng(seed)
    table = of_a * rng.normal(size=(a, 1)) + rng.normal(size=(1, b)) + rng.normal(size=(a, b))
    found = crossed_mean(table, ("replicas", "rows"))
    for whole in (found, combined(found.estimate, found.components)):
        for means in (table.mean(1), table.mean(0)):
            alone, both = mean_interval(means, level=level), whole.interval(level)
            assert both.high - both.low >= (alone.high - alone.low) * (1 - 1e-9)


def test_two_replicas_are_covered_at_their_own_degrees_of_freedom() -> None:
    rng, hits = np.random.default_rng(11), 0
    for _ in range(1500):
        table = 0.1 * rng.normal(size=(2, 1)) + rng.normal(size=(1, 300)) / 1.2 + 0.3 * rng.normal(size=(2, 300))
        found = crossed_mean(table, ("replicas", "rows")).interval()
        hits += found.low <= 0 <= found.high
    assert hits / 1500 >= 0.94


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="values must have at least 2 levels of replicas, got 1"):
        crossed_mean([[1.0, 2.0]], ("replicas", "rows"))
    with pytest.raises(ValueError, match="factors must name each of the 2 axes"):
        crossed_mean([[1.0, 2.0]], ("rows",))
    with pytest.raises(ValueError, match="components must hold at least one component"):
        combined(1.0, {})
    with pytest.raises(ValueError, match="components must be a Component for each factor"):
        combined(1.0, {"rows": 0.1})
    with pytest.raises(ValueError, match="factors must be a list of the names"):
        crossed_mean([[1.0, 2.0]], "ab")
