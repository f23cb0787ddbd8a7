"""Plans against the t test written out, closed forms of what more of one factor leaves, and simulated power."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import biasvar
from biasvar.analysis import Component, combined, crossed_mean, judge, plan


def reach(parts: dict[str, tuple[float, float, int]], levels: dict[str, int]) -> float:
    """The gap that is decided with 80 % power; parts are (error, df, n) by factor."""
    squares = {name: stderr**2 * n / levels.get(name, n) for name, (stderr, _, n) in parts.items()}
    dfs = {name: df * (levels.get(name, n) - 1) / (n - 1) for name, (_, df, n) in parts.items()}
    df = sum(squares.values()) ** 2 / sum(squares[name] ** 2 / dfs[name] for name in parts)
    return (stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df)) * math.sqrt(sum(squares.values()))


def test_one_factor_is_the_t_test():
    found = plan({"replicas": Component(0.3, 4, 5)}, 0.2)
    least = next(n for n in range(5, 1000) if reach({"replicas": (0.3, 4, 5)}, {"replicas": n}) <= 0.2)
    assert found.alone == found.together == {"replicas": least}
    assert found.times == pytest.approx(least / 5)
    assert found.counts == "replicas"
    assert least == judge(0.2, 0.3, 4, 5, direction="greater", smallest_effect=0.0).replicas_needed


def test_each_number_is_the_least_that_reaches():
    parts = {"replicas": (0.3, 4, 5), "rows": (0.1, 30, 200)}
    found = plan({name: Component(*part) for name, part in parts.items()}, 0.5)
    n = found.alone["replicas"]
    assert reach(parts, {"replicas": n}) <= 0.5 < reach(parts, {"replicas": n - 1})
    assert found.together["rows"] == pytest.approx(200 * found.times)
    assert found.together["replicas"] == math.ceil(5 * found.times)
    assert reach(parts, found.together) <= 0.5
    fewer = found.together["replicas"] - 1
    assert reach(parts, {"replicas": fewer, "rows": 40 * fewer}) > 0.5
    assert found.counts == "replicas"


def test_no_number_of_a_factor_makes_up_for_another():
    """With ever more rows the error over 5 replicas is left: t(4) of .3."""
    parts = {"replicas": Component(0.3, 4, 5), "rows": Component(0.3, 199, 200)}
    left = (stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * 0.3
    assert plan(parts, 0.99 * left).alone["rows"] is None
    assert plan(parts, 1.01 * left).alone["rows"] > 200
    said = str(plan(parts, 0.99 * left))
    assert said.startswith("about ")
    assert said.endswith("rows alone cannot")


@pytest.mark.parametrize("factor", ["replicas", "rows"])
def test_the_power_is_what_was_asked_for(factor):
    """Draws of as many levels as planned, by random effects whose spreads are those of the pilot."""
    spreads, now, gap = {"replicas": 0.5, "rows": 2.0}, {"replicas": 8, "rows": 120}, 0.6
    pilot = {name: Component(spreads[name] / math.sqrt(n), n - 1, n) for name, n in now.items()}
    levels = now | {factor: plan(pilot, gap).alone[factor]}
    assert levels[factor] > now[factor]
    rng = np.random.default_rng(5)
    decided = 0
    for _ in range(1000):
        by_replica = spreads["replicas"] * rng.normal(size=levels["replicas"])
        by_row = spreads["rows"] * rng.normal(size=levels["rows"])
        parts = {
            name: Component(values.std(ddof=1) / math.sqrt(len(values)), len(values) - 1, len(values))
            for name, values in (("replicas", by_replica), ("rows", by_row))
        }
        decided += combined(gap + by_replica.mean() + by_row.mean(), parts).interval().low > 0
    assert decided / 1000 == pytest.approx(0.8, abs=0.04)


def test_components_are_scaled_to_the_error_of_the_mean():
    rng = np.random.default_rng(0)
    effect = crossed_mean(rng.normal(size=(6, 1)) + rng.normal(size=(6, 40)), ("replicas", "rows"))
    stderr = effect.stderr
    alone = plan(effect, 1.0001 * (stats.t.ppf(0.975, effect.df) + stats.t.ppf(0.8, effect.df)) * stderr)
    assert alone.times == pytest.approx(1.0, rel=0.1)


def test_degrees_of_freedom_of_few_teachers_stay_the_limit():
    """An interval by t(T - 1), as `crossed_total` gives it: more teachers must do by that t, not Satterthwaite's."""
    parts = {"teachers": (0.02, 3, 4), "rows": (0.1, 199, 200)}
    whole = combined(0.0, {name: Component(*part) for name, part in parts.items()})
    over_teachers = replace(whole, df=3.0)
    gap = 3.5 * whole.stderr
    assert plan(whole, gap).times == 1.0
    needed = plan(over_teachers, gap).alone["teachers"]

    def enough(teachers):
        error = math.hypot(0.02 * math.sqrt(4 / teachers), 0.1)
        return (stats.t.ppf(0.975, teachers - 1) + stats.t.ppf(0.8, teachers - 1)) * error <= gap

    assert enough(needed)
    assert not enough(needed - 1)
    assert needed > 4


def test_what_does_not_vary_needs_no_more():
    found = plan({"teachers": Component(0.0, 1, 2), "rows": Component(0.1, 99, 100)}, 0.1)
    assert found.alone["teachers"] is None
    assert found.together["teachers"] == 2
    assert found.counts == "rows"
    still = plan({"teachers": Component(0.0, 1, 2)}, 1e-9)
    assert (still.counts, still.times, still.together) == (None, 1.0, {"teachers": 2})
    assert str(still) == "what is there is enough: 2 teachers"


def test_what_a_billion_would_not_do():
    found = plan({"replicas": Component(1.0, 4, 5)}, 1e-9)
    assert (found.alone["replicas"], found.times, found.together) == (None, None, None)
    assert str(found) == "not even a billion of each would do"


@pytest.mark.parametrize(
    ("parts", "gap", "said"),
    [
        ({}, 1.0, "effect must hold at least one component"),
        ({"rows": Component(math.nan, 4, 5)}, 1.0, "effect must have a finite error over rows, got nan"),
        ({"rows": Component(-1.0, 4, 5)}, 1.0, "effect: the error over rows cannot be negative"),
        ({"teachers": Component(1.0, 0, 1)}, 1.0, "the degrees of freedom over teachers must be at least 1, got 0"),
        ({"rows": Component(1.0, 4, 5)}, 0.0, "gap must be a finite number other than 0, got 0.0"),
        ({"rows": Component(1.0, 4, 5)}, math.nan, "gap must be a finite number"),
    ],
)
def test_bad_input_is_refused(parts, gap, said):
    with pytest.raises(ValueError, match=said):
        biasvar.plan(parts, gap)


def test_levels_and_powers_lie_between_0_and_1():
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        plan({"rows": Component(1.0, 4, 5)}, 1.0, level=1.0)
    with pytest.raises(ValueError, match="power must lie between 0 and 1"):
        plan({"rows": Component(1.0, 4, 5)}, 1.0, power=0.0)
