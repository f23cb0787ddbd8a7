"""Nominal 95 % intervals of a change of bias and variance, simulated: over replicas alone they miss the population's.

The full size is `experiments/benchmarks/coverage.py`, whose population and draws these are.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "experiments" / "benchmarks"
DRAWS = 200
LEAST = 0.93 - 2 * (0.93 * 0.07 / DRAWS) ** 0.5  # two Monte Carlo errors below


@pytest.fixture(scope="module")
def coverage():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("coverage")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def population(coverage):
    return coverage.Population(classes=3, rows=4000)


@pytest.fixture(scope="module")
def truth(population):
    return population.truth(replicas=300)


@pytest.mark.parametrize("replicas", [5, 8, 16])
def test_intervals_over_replicas_and_rows_hold_the_populations_change(coverage, population, truth, replicas):
    shares = coverage.covered(population, truth, 200, replicas, DRAWS)
    assert shares["replicas and rows", "bias"] >= LEAST
    assert shares["replicas and rows", "variance"] >= LEAST
    if replicas > 5:
        assert shares["replicas alone", "bias"] < 0.8


def test_intervals_over_teachers_and_rows_hold_it_where_replicas_share_teachers(coverage):
    population = coverage.Population(classes=3, rows=4000, teacher=1.0, teacher_rows=0.7)
    shares = coverage.covered_by_teachers(population, population.truth(replicas=300), 200, 12, 4, DRAWS)
    assert shares["teachers and rows", "bias"] >= LEAST
    assert shares["teachers and rows", "variance"] >= LEAST
    assert shares["teachers ignored", "variance"] < 0.8
