"""The claims table: every measurement against a computation of its own, and the rule that turns them into verdicts."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import math

import numpy as np
import pytest
from scipy import stats

import biasvar
from biasvar.analysis.statistics.crossed import Component, combined, crossed_mean
from biasvar.analysis.statistics.intervals import interval_from
from biasvar.report.claims import measures, soft_label_measures
from biasvar.report.claims import table as claims
from biasvar.report.claims.measurement import Measurement
from biasvar.report.claims.table import MEASURES, claims_table
from biasvar.report.statistics.estimates import measured
from biasvar.study import resolve_study
from biasvar.study.claims import LEDGER
from biasvar.training.execute import run_study
from tests.conftest import TINY

SWEEP = [0.0, 0.05, 0.1, 0.2, 0.4]
ASKED = {
    "W1": [{"treatment": "kd", "control": "ce"}, {"treatment": "kd_own", "control": "ce"}],
    "W2": [{"treatment": "kd", "control": "ce"}],
    "W3": [{"treatment": "kd", "control": "ce"}],
    "W4": [{"arm": "kd"}],
    "W5": [{"arms": [f"kd_{i}" for i in range(len(SWEEP))]}],
    "W6": [{"treatment": "kd", "control": "ce"}],
    "W7": [{"masked": "kd_random", "full": "kd", "random": "kd_random"}],
    "W8": [{"treatment": "wsl", "control": "kd"}],
    "W9": [{"treatment": "wsl", "scaled": "kd_scaled", "shuffled": "wsl_shuffled"}],
    "W10": [{"treatment": "kd_4", "control": "kd_0"}],
    "M1": [{"treatment": "kd_4", "control": "kd_0", "treatment_t1": "kd_3", "control_t1": "kd_1"}],
    "M2": [{"treatment": "kd_4", "control": "kd_0"}],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    study = copy.deepcopy(TINY)
    study["replicas"] = 6
    study["schedule"] = {"epochs": 10, "batch_size": 30}
    study["draw"]["rows"] = 180
    study["teachers"] |= {f"s{i}": {"hidden": [16], "epochs": 6, "smoothing": s} for i, s in enumerate(SWEEP)}
    study["arms"] |= {f"kd_{i}": {"loss": "distillation", "teacher": f"s{i}"} for i in range(len(SWEEP))}
    study["claims"] = ASKED
    return run_study(resolve_study(study), tmp_path_factory.mktemp("runs") / "claims", device="cpu")


@pytest.fixture(scope="module")
def table(run):
    return claims_table([run])


def accuracy(run, arm):
    frame = run.records(["sample_id", "replica", "label", "student_prediction"], arm=arm, split="test", view="clean")
    right = frame["student_prediction"] == frame["label"]
    return right.groupby(frame["replica"]).mean().to_numpy(), right.groupby(frame["sample_id"]).mean().to_numpy()


def right_table(run, arm):
    frame = run.records(["sample_id", "replica", "label", "student_prediction"], arm=arm, split="test", view="clean")
    frame["right"] = (frame["student_prediction"] == frame["label"]).astype(float)
    return frame.pivot(index="replica", columns="sample_id", values="right").to_numpy()


def shares(run, arm):
    frame = run.records(["replica", "opposing"], arm=arm, split="train", view="augmented")
    frame["epoch"] = frame["epoch"].astype(int)
    return frame.groupby(["epoch", "replica"])["opposing"].mean().unstack().astype(float)


def row(table, claim, place=0):
    return table[table["id"] == claim].iloc[place]


def test_the_table_has_a_row_a_part_in_the_ledgers_order(table):
    expected = []
    for claim in LEDGER:
        for _ in ASKED.get(claim.id, []):
            expected += [claim.id] * (2 if claim.id in ("W7", "W9") else 1)
    assert table["id"].tolist() == expected
    assert table.columns.tolist() == list(claims.COLUMNS)
    assert set(table["verdict"]) <= {"holds", "does not hold", "undecided"}
    assert row(table, "W1")["regime"] == "fixed, all training rows"
    assert row(table, "W1", 1)["regime"] == "per replica"
    assert "as remembered" in row(table, "W1")["source"]
    assert "as remembered" not in row(table, "W3")["source"]


def test_changes_of_bias_and_variance(run, table):
    for claim, term, sign in (("W1", "bias", 1), ("W2", "variance", -1)):
        kd, ce = (run.decomposition(arm).corrected() for arm in ("kd", "ce"))
        difference = getattr(kd, term) - getattr(ce, term)
        assert row(table, claim)["effect"] == pytest.approx(difference.mean())
        assert row(table, claim)["stderr_samples"] == pytest.approx(difference.std(ddof=1) / math.sqrt(300))
        assert row(table, claim)["threshold"] == pytest.approx(sign * 0.05 * getattr(ce, term).mean())
        without = [
            getattr(leave_out(run, "kd", r), term).mean() - getattr(leave_out(run, "ce", r), term).mean()
            for r in range(6)
        ]
        assert row(table, claim)["stderr"] == pytest.approx(math.sqrt(5) * np.std(without))


def leave_out(run, arm, replica):
    found = run.predictions(arm)
    return biasvar.decompose(np.delete(found.mean_log_probs, replica, axis=0), found.labels).corrected()


def terms(log_probs, labels):
    """Of log-probabilities that need not sum to one."""
    return biasvar.analysis.decompose_groups(np.ones(log_probs.shape[:2]), log_probs, labels).corrected()


def against(kd, ce, sign, clear=2.0):
    """Share of rows whose change goes against the mean's sign by two jackknife errors; replicas (R, N, C) by hand."""
    labels, pair = kd[1], (kd[0], ce)
    whole = [terms(one, labels) for one in pair]
    left = [[terms(np.delete(one, r, 0), labels) for r in range(6)] for one in pair]
    hit = np.zeros(len(labels), dtype=bool)
    for place, term in enumerate(("bias", "variance")):
        change = getattr(whole[0], term) - getattr(whole[1], term)
        deleted = np.array([getattr(a, term) - getattr(b, term) for a, b in zip(*left, strict=True)])
        stderr = np.sqrt(5 / 6 * ((deleted - deleted.mean(0)) ** 2).sum(0))
        signed = np.sign(change.mean()) if sign is None else sign[place]
        hit |= (signed * change < 0) & (np.abs(change) > clear * stderr)
    return hit.mean()


def test_samples_that_go_against_the_mean(run, table):
    kd, ce = (run.predictions(arm) for arm in ("kd", "ce"))
    found = row(table, "W3")
    share = against((kd.mean_log_probs, kd.labels), ce.mean_log_probs, None)
    difference = [run.decomposition("kd").corrected(), run.decomposition("ce").corrected()]
    sign = [np.sign((getattr(difference[0], t) - getattr(difference[1], t)).mean()) for t in ("bias", "variance")]
    nulls = []
    first, second = (one - one.mean(0) + (kd.mean_log_probs.mean(0) + ce.mean_log_probs.mean(0)) / 2
                     for one in (kd.mean_log_probs, ce.mean_log_probs))  # fmt: skip
    first, second = (one - np.maximum(np.log(np.exp(one).sum(-1, keepdims=True)), 0.0) for one in (first, second))
    for half in itertools.combinations(range(6), 3):  # every way to exchange the arms of three of the six pairs
        swap = np.isin(np.arange(6), half)[:, None, None]
        mixed = np.where(swap, second, first), np.where(swap, first, second)
        nulls.append(against((mixed[0], kd.labels), mixed[1], sign, 2 * math.sqrt(5 / 4)))
    assert found["effect"] == pytest.approx(share - np.mean(nulls))
    assert found["stderr"] >= np.std(nulls, ddof=1) - 1e-12
    change = [run.decomposition(arm).corrected() for arm in ("kd", "ce")]
    bias, variance = (getattr(change[0], term) - getattr(change[1], term) for term in ("bias", "variance"))
    left = [(leave_out(run, "kd", r), leave_out(run, "ce", r)) for r in range(6)]
    errors = []
    for term in ("bias", "variance"):
        deleted = np.array([getattr(a, term) - getattr(b, term) for a, b in left])
        errors.append(np.sqrt(5 / 6 * ((deleted - deleted.mean(0)) ** 2).sum(0)))
    drawn, rng = [], np.random.default_rng(1)
    for _ in range(1500):  # rows drawn anew, and with them the signs of the means
        rows = rng.integers(300, size=300)
        hit = np.zeros(300, dtype=bool)
        for values, error in zip((bias[rows], variance[rows]), errors, strict=True):
            hit |= (np.sign(values.mean()) * values < 0) & (np.abs(values) > 2 * error[rows])
        drawn.append(hit.mean())
    assert found["stderr_samples"] == pytest.approx(np.std(drawn), rel=0.15)
    assert found["threshold"] == 0.05
    assert f"({np.mean(nulls):.1%};" in found["test"]


def test_shares_through_training_and_by_teacher(run, table):
    kd = shares(run, "kd")
    difference = (kd.loc[10] - kd.loc[1]).to_numpy()
    assert row(table, "W4")["effect"] == pytest.approx(difference.mean())
    assert row(table, "W4")["stderr"] == pytest.approx(difference.std(ddof=1) / math.sqrt(6))
    late = [shares(run, arm).loc[10] for arm in ("kd_4", "kd_0")]  # of ten epochs the last tenth is the last
    difference = (late[0] - late[1]).to_numpy()
    found = row(table, "W10")
    assert found["effect"] == pytest.approx(difference.mean())
    assert found["stderr_crossed"] == pytest.approx(difference.std(ddof=1) / math.sqrt(6))
    area = np.trapezoid(shares(run, "kd_4") - shares(run, "kd_0"), dx=1, axis=0).mean() / 9
    assert f"over all epochs (area) {area:+.3f}".replace("-", "−") in found["test"]
    x = [shares(run, f"kd_{i}").loc[10].mean() for i in range(5)]
    y = [accuracy(run, f"kd_{i}")[0].mean() for i in range(5)]
    rho = stats.spearmanr(x, y).statistic
    found = row(table, "W5")
    assert found["effect"] == pytest.approx(rho)
    assert found["low"] < rho < found["high"]
    z = stats.norm.ppf(1 - (1 - found["level"]) / 2) * math.sqrt((1 + rho**2 / 2) / 2)
    assert found["high"] == pytest.approx(math.tanh(math.atanh(rho) + z))
    assert found["verdict"] == "undecided"
    assert found["detail"] == "5 teachers; the rule asks for 26 or more"


@pytest.mark.parametrize(
    ("claim", "place", "plus", "minus", "threshold"),
    [
        ("W7", 0, ["kd_random"], ["kd"], -0.002),
        ("W8", 0, ["wsl"], ["kd"], 0.002),
        ("W9", 0, ["wsl"], ["kd_scaled"], 0.002),
        ("W9", 1, ["wsl"], ["wsl_shuffled"], 0.002),
        ("M1", 0, ["kd_4", "kd_1"], ["kd_0", "kd_3"], -0.002),
        ("M2", 0, ["kd_4"], ["kd_0"], -0.002),
    ],
)
def test_accuracies_are_compared_in_pairs(run, table, claim, place, plus, minus, threshold):
    right = sum(right_table(run, arm) for arm in plus) - sum(right_table(run, arm) for arm in minus)
    by_replica, by_sample = right.mean(1), right.mean(0)
    found = row(table, claim, place)
    assert found["effect"] == pytest.approx(by_replica.mean())
    assert found["stderr"] == pytest.approx(by_replica.std(ddof=1) / math.sqrt(6))
    assert found["stderr_samples"] == pytest.approx(by_sample.std(ddof=1) / math.sqrt(300))
    assert found["threshold"] == threshold
    half = stats.t.ppf(1 - (1 - found["level"]) / 2, 5) * found["stderr"]
    assert found["high_replicas"] - found["effect"] == pytest.approx(half)
    both = crossed_mean(right, ("replicas", "rows"))
    assert (found["stderr_crossed"], found["df"]) == pytest.approx((both.stderr, both.df))
    half = stats.t.ppf(1 - (1 - found["level"]) / 2, both.df) * both.stderr
    assert found["high"] - found["effect"] == pytest.approx(half)


def test_an_effect_without_any_spread_decides_nothing(table):
    """A claim with two parts, of which one compares an arm with itself: an error of 0 is no certainty about others."""
    assert row(table, "W7", 1)["effect"] == row(table, "W7", 1)["stderr_crossed"] == 0
    assert row(table, "W7", 1)["verdict"] == "undecided"
    assert row(table, "W7", 1)["detail"] == "no replica and no row differs: an error of 0 says nothing of others"
    assert row(table, "W7", 0)["overall"] == row(table, "W7", 1)["overall"] != "holds"


def test_levels_are_holms_over_all_tests_of_the_run(table):
    m = len(table)
    assert table["level"].max() == pytest.approx(1 - 0.05 / m)
    assert table["level"].min() <= 1 - 0.05 / m + 0.05


@pytest.fixture
def judged(run):
    claim = next(claim for claim in LEDGER if claim.id == "W9")

    def judge(effect, stderr, direction="greater", threshold=0.002, *, excuse="", arm="kd", rows=None, claim=claim):
        interval = interval_from(effect, stderr, 15, 16)
        errors = {"replicas": Component(stderr, 15, 16)} | ({} if rows is None else {"rows": Component(rows, 299, 300)})
        about = {"crossed": combined(effect, errors), "n_replicas": 16}
        row = measured(run, [arm], interval, 15, "accuracy", **about)
        part = Measurement("x", row, threshold, direction, "accuracy")
        return claims._row(run, claim, {"arm": arm}, part, 0.05, excuse)

    return judge


def test_verdicts_follow_the_written_rule(judged):
    assert judged(0.01, 0.001)["verdict"] == "holds"
    assert judged(0.0, 0.0005)["verdict"] == "does not hold"
    assert judged(0.003, 0.001)["verdict"] == "undecided"
    assert "smallest detectable effect" in judged(0.003, 0.001)["detail"]
    assert "replicas would decide" in judged(0.003, 0.001)["detail"]
    assert judged(-0.01, 0.001, "less", -0.002)["verdict"] == "holds"
    assert judged(0.01, 0.001, "less", -0.002)["verdict"] == "does not hold"
    assert judged(0.0, 0.0005, "greater", -0.002)["verdict"] == "holds"
    assert judged(-0.05, 0.001, "differs", 0.02)["verdict"] == "holds"
    assert judged(0.001, 0.001, "differs", 0.02)["verdict"] == "does not hold"
    assert judged(math.nan, 0.001)["verdict"] == "undecided"
    assert "could not be computed" in judged(math.nan, 0.001)["detail"]
    assert judged(1, 0.1, threshold=0, excuse="failed")["verdict"] == "undecided"


def test_verdicts_say_what_they_hold_for(judged):
    assert judged(0.01, 0.001)["said"] == "holds with this teacher"
    assert judged(0.0, 0.0005)["said"] == "does not hold with this teacher, for this data, network and size"
    assert judged(0.01, 0.001, arm="ce")["said"] == "holds"
    assert judged(0.0, 0.0005, arm="kd_own")["said"] == "does not hold for this data, network and size"
    assert judged(0.003, 0.001)["said"] == "undecided"
    gains = next(claim for claim in LEDGER if claim.id == "W8")
    assert judged(0.0, 0.0005, claim=gains)["detail"] == "gains less than .2 points"


def test_rows_widen_the_interval_and_what_replicas_alone_say_stands_beside_it(judged):
    shaky = judged(0.01, 0.001, rows=0.01)
    assert shaky["verdict"] == "undecided"
    assert shaky["detail"].startswith(
        "would hold on these rows, with these teachers; 300 test rows are too few to speak of others; smallest"
    )
    assert shaky["stderr_crossed"] == pytest.approx(math.hypot(0.001, 0.01))
    firm = judged(0.01, 0.001, rows=0.0001)
    assert (firm["verdict"], firm["detail"]) == ("holds", "")
    half = stats.t.ppf(0.975, 15) * 0.001
    assert (firm["low_replicas"], firm["high_replicas"]) == pytest.approx((0.01 - half, 0.01 + half))
    assert firm["low"] < firm["low_replicas"]


def test_failed_and_missing_arms_leave_a_claim_undecided(run, monkeypatch):
    arms = copy.deepcopy(run.manifest["arms"])
    arms["kd"]["failed_replicas"] = [{"replica": 3, "reason": "at chance"}]
    arms["wsl"]["status"] = "running"
    monkeypatch.setitem(run.manifest, "arms", arms)
    table = claims_table([run])
    failed = row(table, "W1")
    assert failed["verdict"] == "undecided"
    assert failed["detail"] == "1 of 6 replicas of kd failed (at chance)"
    missing = row(table, "W8")
    assert missing["verdict"] == "undecided"
    assert missing["detail"] == "not trained to the end yet: wsl"


def test_a_run_without_claims_has_an_empty_table(run, monkeypatch):
    monkeypatch.setitem(run.manifest, "claims", {})
    assert claims_table([run]).empty
    assert claims_table([]).columns.tolist() == list(claims.COLUMNS)


def test_records_that_lack_what_a_claim_needs(run, monkeypatch):
    monkeypatch.setattr(measures, "flag_auc", lambda *a: __import__("pandas").DataFrame())
    found = row(claims_table([run]), "W6")
    assert found["verdict"] == "undecided"
    assert "lack" in found["detail"]


def test_every_claim_of_the_ledger_has_a_measure():
    assert {claim.id for claim in LEDGER} == {*MEASURES}
    assert len({claim.id for claim in LEDGER}) == len(LEDGER)


def test_every_measure_takes_its_smallest_effect_from_the_ledger():
    """No measure states a threshold of its own: a rule that says another number than is computed would be a lie."""
    for module in (measures, soft_label_measures):
        for call in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in (
                "Measurement",
                "part",
                "accuracy_difference",
            ):
                numbers = [part.value for part in ast.walk(call) if isinstance(part, ast.Constant)]
                assert not [n for n in numbers if isinstance(n, float) and n not in (0.0, 0.5)], ast.unparse(call)
