"""The area of the flags against loops over pairs of samples."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from biasvar.analysis import auc_interval
from biasvar.records import RunWriter, open_run
from biasvar.report.statistics.flag_meaning import BASELINES, COLUMNS, CRITERIA, REFERENCE, _influence, flag_auc
from tests.report.made import Made, corrected_terms, make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture(scope="module")
def table(made: Made) -> pd.DataFrame:
    return flag_auc(made.run, "kd", "ce").set_index("score")


def pairwise_area(score: np.ndarray, target: np.ndarray) -> float:
    pairs = list(product(score[target], score[~target]))
    return sum(1.0 if up > down else 0.5 if up == down else 0.0 for up, down in pairs) / len(pairs)


def target_of(made: Made, replicas: list[int], rows: list[int]) -> np.ndarray:
    found = []
    for row in rows:
        terms = {arm: corrected_terms(made.log_probs[arm][replicas, row], made.labels[row]) for arm in ("kd", "ce")}
        bias, variance = np.subtract(terms["kd"], terms["ce"])
        found.append(bias > 0 and variance < 0)
    return np.array(found)


def score_of(made: Made, name: str, replicas: list[int], rows: list[int]) -> np.ndarray:
    columns, picked = made.columns, np.ix_(replicas, rows)
    a, b = columns["bias_gradient"][picked], columns["variance_gradient"][picked]
    if name == REFERENCE:
        return target_of(made, replicas, rows).astype(float)
    if name == "margin":
        log_probs = made.log_probs["ce"][picked]
        found = np.zeros(a.shape)
        for i, row in enumerate(rows):
            others = [c for c in range(log_probs.shape[2]) if c != made.labels[row]]
            found[:, i] = log_probs[:, i, made.labels[row]] - log_probs[:, i, others].max(axis=1)
        return found.mean(axis=0)
    if name == "student_prob":
        probs = np.exp(made.log_probs["ce"])[picked]
        return np.array([probs[:, i, made.labels[row]].mean() for i, row in enumerate(rows)])
    values = {
        "opposing": columns["opposing"][picked],
        "literal": b > a,
        "magnitude": np.abs(b) > np.abs(a),
        "norm": columns["variance_gradient_norm"][picked] > columns["bias_gradient_norm"][picked],
        "teacher_prob": -columns["teacher_prob"][picked],
    }[name]
    return values.astype(float).mean(axis=0)


def area_of(made: Made, name: str, halves: tuple[list[int], list[int]], rows: list[int]) -> float:
    """The mean of both swaps."""
    first, second = halves
    return (
        pairwise_area(score_of(made, name, first, rows), target_of(made, second, rows))
        + pairwise_area(score_of(made, name, second, rows), target_of(made, first, rows))
    ) / 2


EVEN, ODD, ALL = [0, 2, 4, 6], [1, 3, 5, 7], list(range(60))


@pytest.mark.parametrize("name", [*CRITERIA, *BASELINES, REFERENCE])
def test_area_is_the_mean_of_the_two_swaps(made: Made, table: pd.DataFrame, name: str) -> None:
    assert table.loc[name, "auc"] == pytest.approx(area_of(made, name, (EVEN, ODD), ALL), abs=1e-6)


@pytest.mark.parametrize("name", ["opposing", "margin", REFERENCE])
def test_error_over_replicas_leaves_each_out_of_its_half(made: Made, table: pd.DataFrame, name: str) -> None:
    squares = 0.0
    for half in (EVEN, ODD):
        without = [([r for r in EVEN if r != one], [r for r in ODD if r != one]) for one in half]
        values = np.array([area_of(made, name, halves, ALL) for halves in without])
        squares += (len(half) - 1) / len(half) * float(np.sum((values - values.mean()) ** 2))
    assert table.loc[name, "stderr_replicas"] == pytest.approx(math.sqrt(squares), abs=1e-6)


@pytest.mark.parametrize("name", ["opposing", "teacher_prob"])
def test_error_over_samples_is_near_their_jackknife(made: Made, table: pd.DataFrame, name: str) -> None:
    values = np.array([area_of(made, name, (EVEN, ODD), [row for row in ALL if row != one]) for one in ALL])
    jackknife = math.sqrt(59 / 60 * float(np.sum((values - values.mean()) ** 2)))
    assert table.loc[name, "stderr_samples"] == pytest.approx(jackknife, rel=0.03)


def test_influence_squares_to_delong() -> None:
    rng = np.random.default_rng(3)
    score, target = np.round(rng.normal(size=80), 1), rng.random(80) < 0.3
    expected = auc_interval(score, target).stderr
    assert math.sqrt(np.sum(_influence(score, target) ** 2)) == pytest.approx(expected, rel=1e-12)


def test_intervals_and_counts(table: pd.DataFrame) -> None:
    assert [*table.reset_index().columns] == list(COLUMNS)
    assert (table["n_samples"] == 60).all()
    assert (table["n_replicas"] == 8).all()
    assert table["kind"].tolist() == ["criterion"] * 4 + ["baseline"] * 3 + ["reference"]
    for low, high in (("low", "high"), ("low_samples", "high_samples"), ("low_replicas", "high_replicas")):
        assert ((table[low] <= table["auc"]) & (table["auc"] <= table[high])).all()
    assert (table["low"] <= table[["low_samples", "low_replicas"]].min(axis=1)).all()


def test_positives_are_averaged_over_the_halves(made: Made, table: pd.DataFrame) -> None:
    expected = np.mean([target_of(made, half, ALL).mean() for half in (EVEN, ODD)])
    assert table.loc["opposing", "positives"] == pytest.approx(expected)


def test_a_perfect_flag_reaches_the_target(tmp_path) -> None:
    """Flags that repeat the other half's target give an area of 1, whatever replicas they are read from."""
    made = make_run(tmp_path / "run")
    halves = {parity: target_of(made, ODD if parity == 0 else EVEN, ALL) for parity in (0, 1)}
    flags = np.array([halves[r % 2] for r in range(8)])
    columns = {name: values.ravel() for name, values in made.columns.items()} | {"opposing": flags.ravel()}
    columns["student_loss"] = np.ones(480)
    writer = RunWriter(made.run.directory, manifest=made.run.manifest, resume=True)
    writer.record("kd", "test", "clean", 7, 0, columns, replace=True)
    found = flag_auc(open_run(made.run.directory), "kd", "ce").set_index("score")
    assert found.loc["opposing", "auc"] == 1.0


def test_replicas_beyond_the_groups_stay_in_their_half(tmp_path) -> None:
    made = make_run(tmp_path / "run", replicas=12, groups=6, samples=40)
    table = flag_auc(made.run, "kd", "ce").set_index("score")
    halves = ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11])  # group r mod 6 has the parity of r
    rows = list(range(40))
    for name in ("opposing", "teacher_prob", REFERENCE):
        assert table.loc[name, "auc"] == pytest.approx(area_of(made, name, halves, rows), abs=1e-6)
    assert table.loc["opposing", "n_replicas"] == 12


def test_what_is_missing_gives_an_empty_table(made: Made, tmp_path) -> None:
    for treatment, control in (("ce", "kd"), ("kd", "nobody"), ("nobody", "ce")):  # ce has no teacher to be flagged by
        found = flag_auc(made.run, treatment, control)
        assert found.empty
        assert list(found.columns) == list(COLUMNS)
    few = make_run(tmp_path / "few", replicas=3)
    assert flag_auc(few.run, "kd", "ce").empty


def test_no_positives_is_said_as_nan(tmp_path) -> None:
    made = make_run(tmp_path / "run")
    writer = RunWriter(made.run.directory, manifest=made.run.manifest, resume=True)
    writer.predictions("same", "test", "all", 7, 0, made.ids, np.ones((8, 60), dtype=int), made.log_probs["ce"])
    columns = {name: values.ravel() for name, values in made.columns.items()} | {"student_loss": np.ones(480)}
    writer.record("same", "test", "clean", 7, 0, columns)
    found = flag_auc(open_run(made.run.directory), "same", "ce")  # nothing changes, so no sample is positive
    assert found["auc"].isna().all()
    assert (found["positives"] == 0).all()
