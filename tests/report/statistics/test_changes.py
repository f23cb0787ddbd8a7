"""Changes of bias and variance against loops over the definition."""

import math

import numpy as np
import pytest

from biasvar.records import RunWriter, open_run
from biasvar.report.arms.roles import reference_arm
from biasvar.report.statistics.changes import change, clear_bias, clear_variance, has_predictions, quadrants
from tests.report.made import Made, corrected_terms, make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_run(tmp_path_factory.mktemp("made") / "run")


def difference(made: Made, row: int, replicas: list[int]) -> np.ndarray:
    """(change of bias, change of variance) of one row from some replicas."""
    terms = {arm: corrected_terms(made.log_probs[arm][replicas, row], made.labels[row]) for arm in ("kd", "ce")}
    return np.subtract(terms["kd"], terms["ce"])


def jackknife(values: list[np.ndarray]) -> np.ndarray:
    n = len(values)
    return np.sqrt((n - 1) / n * np.sum((np.array(values) - np.mean(values, axis=0)) ** 2, axis=0))


def test_held_out_rows_match_the_definition(made: Made) -> None:
    found = change(made.run, "kd", "ce")
    everyone = list(range(8))
    assert found is not None
    assert found.frame["sample_id"].tolist() == made.ids.tolist()
    assert (found.n_samples, found.n_replicas, found.epoch) == (60, 8, 7)
    columns = ["d_bias", "d_variance", "se_bias", "se_variance"]
    for row, values in enumerate(found.frame[columns].to_numpy()):
        left_out = [difference(made, row, [r for r in everyone if r != one]) for one in everyone]
        np.testing.assert_allclose(values, [*difference(made, row, everyone), *jackknife(left_out)], atol=1e-10)


def test_totals_are_jackknifed_as_totals(made: Made) -> None:
    found = change(made.run, "kd", "ce")
    everyone = list(range(8))
    assert found is not None

    def mean(replicas: list[int]) -> np.ndarray:
        return np.mean([difference(made, row, replicas) for row in range(60)], axis=0)

    errors = jackknife([mean([r for r in everyone if r != one]) for one in everyone])
    bias, variance = found.totals.bias, found.totals.variance
    np.testing.assert_allclose([bias.value, variance.value], mean(everyone), atol=1e-10)
    np.testing.assert_allclose([bias.stderr_replicas, variance.stderr_replicas], errors, atol=1e-10)


@pytest.mark.parametrize("membership", ["member", "nonmember"])
def test_training_rows_use_only_the_replicas_that_count(made: Made, membership: str) -> None:
    found = change(made.run, "kd", "ce", split="train", membership=membership)
    assert found is not None
    where = made.member if membership == "member" else ~made.member
    rows = np.flatnonzero(where.sum(axis=0) >= 2)
    assert found.frame["sample_id"].tolist() == (made.ids + 1)[rows].tolist()  # one replica or none gives no change
    for row, values in zip(rows, found.frame[["d_bias", "d_variance", "replicas"]].to_numpy(), strict=True):
        replicas = np.flatnonzero(where[:, row]).tolist()
        np.testing.assert_allclose(values, [*difference(made, row, replicas), len(replicas)], atol=1e-10)


def test_quadrants_count_signs_and_clear_changes(made: Made) -> None:
    found = change(made.run, "kd", "ce")
    assert found is not None
    frame, everyone = found.frame, list(range(8))
    table = quadrants(found).set_index("quadrant")
    assert table["share"].sum() == pytest.approx(1.0)
    name = "bias up, variance down"
    inside = [row for row in range(60) if frame["d_bias"][row] > 0 and frame["d_variance"][row] < 0]
    clear = [
        row for row in inside
        if abs(frame["d_bias"][row]) > 2 * frame["se_bias"][row]
        and abs(frame["d_variance"][row]) > 2 * frame["se_variance"][row]
    ]  # fmt: skip
    assert table.loc[name, "share"] == pytest.approx(len(inside) / 60)
    assert table.loc[name, "clear"] == pytest.approx(len(clear) / 60)
    assert 0 < len(clear) < len(inside) < 60

    def share(replicas: list[int]) -> float:
        values = np.array([difference(made, row, replicas) for row in range(60)])
        return float(np.mean((values[:, 0] > 0) & (values[:, 1] < 0)))

    error = jackknife([np.array(share([r for r in everyone if r != one])) for one in everyone])
    assert table.loc[name, "stderr_replicas"] == pytest.approx(float(error))
    assert table.loc[name, "stderr_samples"] == pytest.approx(math.sqrt(len(inside) / 60 * (1 - len(inside) / 60) / 60))


def test_clear_is_false_without_an_error(made: Made) -> None:
    found = change(made.run, "kd", "ce")
    assert found is not None
    frame = found.frame.assign(se_bias=np.nan, se_variance=np.nan)
    assert not clear_bias(frame).any()
    assert not clear_variance(frame).any()


def test_what_is_not_there_gives_none(made: Made) -> None:
    assert change(made.run, "kd", "nobody") is None
    assert change(made.run, "kd", "ce", split="validation") is None
    assert not has_predictions(made.run, "kd", "validation")
    assert reference_arm(made.run) == "ce"


def test_arms_with_other_draws_are_not_paired(tmp_path) -> None:
    made = make_run(tmp_path / "run", replicas=4)
    writer = RunWriter(made.run.directory, manifest=made.run.manifest, resume=True)
    writer.predictions("short", "test", "all", 7, 0, made.ids, np.ones((3, 60), dtype=int), made.log_probs["kd"][:3])
    assert change(open_run(made.run.directory), "short", "ce") is None
