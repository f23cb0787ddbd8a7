"""Arms taught by soft labels alone: at which k they are judged, and the condition for students of cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from biasvar.analysis import effectiveness, student_condition
from biasvar.records import Run
from biasvar.report.claims.table import claims_table
from biasvar.report.figures import conditions
from biasvar.report.statistics import label_indicators
from biasvar.report.statistics.estimates import final_accuracy
from biasvar.study import resolve_study
from biasvar.training.execute import run_study
from tests.conftest import TINY

SURE = [0.91, 0.014, 0.013, 0.012, 0.011, 0.01, 0.009, 0.008, 0.007, 0.006]
FLAT = [0, 0.12, 0.115, 0.114, 0.112, 0.111, 0.11, 0.108, 0.106, 0.104]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    soft: dict[str, Any] = {
        "truth": {"kind": "label"},
        "sure": {"kind": "pattern", "mass": SURE},
        "flat": {"kind": "pattern", "mass": FLAT},
        "mixed": {"kind": "mixture", "shares": {"sure": 0.3, "flat": 0.7}},
        "partial": {"kind": "partial", "unreliability": 0.1, "ambiguity": 0.3},
        "main": {"kind": "teacher", "teacher": "main"},
    }
    arms: dict[str, Any] = {name: {"loss": "soft_label", "soft_label": name} for name in soft}
    arms["sets"] = {"loss": "soft_label", "soft_label": "main", "measure": "candidates", "k": 3}
    arms["support"] = {"loss": "soft_label", "soft_label": "partial", "measure": "candidates"}
    said = [{"student": arm, "truth": "truth"} for arm in ("mixed", "sets", "support", "sure")]
    study = {key: value for key, value in TINY.items() if key != "defaults"}
    study |= {"soft_labels": soft, "arms": arms, "claims": {"L4": said}, "record": {"epochs": "last"}}
    study["draw"] = {"kind": "subsample", "rows": 600}
    study["schedule"] = {"epochs": 6, "batch_size": 40}
    return run_study(resolve_study(study), tmp_path_factory.mktemp("taught") / "run", device="cpu")


def test_students_of_candidate_sets_are_judged_at_their_own_k(run: Run) -> None:
    soft, labels = run.soft_labels("main").values.astype(float), run.soft_labels("main").labels
    table = effectiveness(soft, labels, ks=range(1, 10), normalize=True).set_index("k")
    sets, whole = label_indicators.judged(run, "sets"), label_indicators.judged(run, "main")
    assert sets["k"] == 3
    assert sets["sum"] == pytest.approx(table.loc[3, "sum"])
    assert whole["sum"] == pytest.approx(min(table["sum"].min(), 1.0))
    assert whole["sum"] < sets["sum"]
    support = label_indicators.judged(run, "support")
    assert pd.isna(support["k"])
    candidates = run.soft_labels("partial").values > 0
    truth = run.soft_labels("partial").labels
    assert support["delta"] == pytest.approx(1 - candidates[np.arange(len(truth)), truth].mean())
    numbers = label_indicators.candidates_of(run, "sets", "truth")
    assert numbers["sum"] == pytest.approx(table.loc[3, "sum"])
    assert numbers["kappa"] == pytest.approx(table.loc[3, "kappa"])


def test_l4_says_at_which_k_it_looked(run: Run) -> None:
    claims = claims_table([run])
    tests = dict(zip(claims["arms"].str.split(",").str[0] + claims["unit"], claims["test"], strict=True))
    assert tests["mixedshare"] == "Δ + γ of mixed, the smallest over k (the error is its lower bound's)"
    assert tests["setsshare"] == "Δ + γ of sets, at k = 3, which its students fit (the error is its upper bound's)"
    assert "of the entries above 0, which its students fit" in tests["supportshare"]
    part = claims[(claims["unit"] == "share") & claims["arms"].str.startswith("mixed")].iloc[0]
    assert part["effect"] > 1.3
    assert part["threshold"] == 1.1


def test_the_condition_for_cross_entropy_stands_beside_that_of_the_sets(run: Run) -> None:
    frame = conditions.collect([run]).set_index(["arm", "quantity"])
    stored = run.soft_labels("mixed")
    expected = student_condition(stored.values.astype(float), stored.labels, normalize=True)
    row = frame.loc[("mixed", "margin")]
    assert row["estimate"] == pytest.approx(expected.margins.min())
    assert (row["low"], row["high"]) == pytest.approx((expected.low.min(), expected.high.min()))
    assert frame.loc[("flat", "margin"), "high"] < 0 < frame.loc[("sure", "margin"), "low"]
    assert frame.loc[("sets", "sum"), "k"] == 3
    assert frame.loc[("mixed", "sum"), "low"] > 1
    level = final_accuracy(run, "mixed")
    assert frame.loc[("mixed", "accuracy"), "estimate"] == pytest.approx(level.mean())
    caption = conditions.caption(frame.reset_index(), [run])
    assert f"mixed, Δ + γ {frame.loc[('mixed', 'sum'), 'estimate']:.2f}" in caption
    assert "the theory of sets does not speak" in caption


def test_the_table_of_a_soft_label_has_it_too(run: Run) -> None:
    table = label_indicators.table(run, "mixed")
    stored = run.soft_labels("mixed")
    found = student_condition(stored.values.astype(float), stored.labels, normalize=True)
    np.testing.assert_allclose(table["margin"], found.margins.min())
