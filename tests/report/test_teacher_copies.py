"""Claims that two kinds of teachers differ, judged over copies of both."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from biasvar.report.arms.teachers import groups_by_teacher, teacher_count
from biasvar.report.claims.table import claims_table
from biasvar.report.statistics.estimates import final_difference, final_level
from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from tests.conftest import TINY

REPLICAS = 6
ONE_EACH = "rests on one teacher of each kind"


def trained(directory, **teacher):
    entry = copy.deepcopy(TINY) | {"replicas": REPLICAS, "schedule": {"epochs": 12, "batch_size": 20}}
    plain = {"hidden": [16], "epochs": 6} | teacher
    entry["teachers"] = {"main": plain, "smooth": plain | {"smoothing": 0.2}}
    kd = {"loss": "distillation"}
    entry["arms"] = {"ce": {"loss": "cross_entropy"}, "kd": kd, "kd_smooth": kd | {"teacher": "smooth"}}
    entry["claims"] = {claim: [{"treatment": "kd_smooth", "control": "kd"}] for claim in ("W10", "W11")}
    return run_study(resolve_study(entry), directory, device="cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By the number of networks of each teacher; 6 of them twice: as copies, and as one for each replica."""
    folder = tmp_path_factory.mktemp("copies")
    settings = {1: {}, 3: {"copies": 3}, 6: {"copies": 6}, "each": {"draw": "per_replica"}}
    return {count: trained(folder / str(count), **teacher) for count, teacher in settings.items()}


def by_replica(run):
    final = run.metrics.query("split == 'test' and view == 'clean' and epoch == 12")
    accuracy = final.pivot(index="replica", columns="arm", values="accuracy")
    return (accuracy["kd_smooth"] - accuracy["kd"]).to_numpy()


def test_the_error_of_a_paired_difference_is_over_copies_that_replicas_share(runs):
    difference = by_replica(runs[3])
    means = difference.reshape(2, 3).mean(0)  # replicas 0 and 3 share a copy, 1 and 4, 2 and 5
    row = final_difference(runs[3], "kd_smooth", "kd", "accuracy")
    assert row.estimate == pytest.approx(means.mean())
    assert row.stderr == row.stderr_teachers == pytest.approx(stats.sem(means))
    assert (row.n_teachers, row.df, row.n_replicas) == (3, 2, REPLICAS)
    half = stats.t.ppf(0.975, 2) * row.stderr
    assert (row.low, row.high) == pytest.approx((row.estimate - half, row.estimate + half))


@pytest.mark.parametrize("count", [1, 6, "each"])
def test_without_shared_copies_it_is_over_replicas(runs, count):
    row = final_difference(runs[count], "kd_smooth", "kd", "accuracy")
    assert row.stderr == pytest.approx(stats.sem(by_replica(runs[count])))
    assert (row.n_teachers, row.df) == (None, REPLICAS - 1)
    assert np.isnan(row.stderr_teachers)


def test_levels_are_over_replicas(runs):
    assert final_level(runs[3], "kd", "accuracy").df == REPLICAS - 1


def test_claims_say_what_they_rest_on(runs):
    for count, run in runs.items():
        table = claims_table([run])
        assert set(table["id"]) == {"W10", "W11"}
        assert (table["n"] == (3 if count == 3 else REPLICAS)).all()
        assert table["test"].str.contains("over 3 copies of each teacher").all() == (count == 3)
        assert (
            table["detail"].str.contains(ONE_EACH).all() == table["detail"].str.contains(ONE_EACH).any() == (count == 1)
        )
        needed = table.loc[table["verdict"] == "undecided", "detail"]
        assert len(needed)
        assert needed.str.contains("teachers would decide").tolist() == [count == 3] * len(needed)


def test_how_many_networks_a_teacher_is(runs):
    assert [teacher_count(runs[count], "main") for count in (1, 3, 6, "each")] == [1, 3, 6, 6]
    groups = [groups_by_teacher(runs[count], ["kd", "ce"]) for count in (1, 3, 6, "each")]
    assert groups == [0, 3, 0, 0]


@pytest.mark.parametrize(("counts", "groups"), [((4, 2), 2), ((3, 2), 1), ((1, 4), 4), ((8, 4), 4), ((16, 1), 0)])
def test_copies_of_two_teachers_are_grouped_so_that_none_is_shared_between_groups(counts, groups, monkeypatch):
    from biasvar.report.arms import teachers

    monkeypatch.setattr(teachers, "teacher_count", lambda run, name: counts[int(name)])
    run = SimpleNamespace(manifest={"replicas": 16}, entry=lambda arm: SimpleNamespace(teacher=arm))
    assert groups_by_teacher(run, ["0", "1"]) == groups
    if groups > 1:
        for count in counts:
            shared = {(r % count, r % groups) for r in range(16)}
            assert len(shared) == max(count, groups)
