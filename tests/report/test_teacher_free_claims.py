"""The claims on Tf-KD on made data: for each, data where it holds, fails and must stay undecided; ratios by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from biasvar.losses import VirtualTeacherLoss
from biasvar.records import Run
from biasvar.report.claims.table import claims_table
from biasvar.report.claims.teacher_free import equivalent_smoothing
from biasvar.study.claims import LEDGER
from tests.report.made_claims import CLASSES, answers, write_claims_run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
REPLICAS = 8
Make = Callable[[Path], Run]
VIRTUAL = {"loss": "tfkd_reg", "variant": "code", "alpha": 0.4, "temperature": 20.0, "multiplier": 4.0}
SMOOTHED = {"loss": "label_smoothing", "smoothing": 0.4}
TAUGHT = {"loss": "tfkd_self", "variant": "paper", "teacher": "poor"}


def judge(run: Run, claim: str) -> pd.DataFrame:
    table = claims_table([run])
    mine = table[table["id"] == claim]
    assert len(mine), f"{claim} was not asked"
    return mine


def accuracies(claim: str, settings: dict[str, dict[str, Any]], teacher: float = 0.2, **shares: float) -> Make:
    """Arms named as the roles of a claim, right with these probabilities; a teacher of this accuracy."""

    def make(directory: Path) -> Run:
        right = {role: answers(share, REPLICAS, seed=place) for place, (role, share) in enumerate(shares.items())}
        asked = {claim: [{role: role for role in shares}]}
        teachers = {"poor": {"draw": "per_replica", "accuracy_test": teacher}}
        return write_claims_run(directory, right, arms=settings, teachers=teachers, claims=asked)

    return make


def reversed_(treatment: float, control: float, claim: str = "T1", teacher: float = 0.2) -> Make:
    return accuracies(claim, {"treatment": TAUGHT}, teacher, treatment=treatment, control=control)


def virtual(treatment: float, control: float, claim: str = "T4", settings: dict[str, Any] | None = None) -> Make:
    arms = {"treatment": VIRTUAL} | ({} if settings is None else {"control": settings})
    return accuracies(claim, arms, treatment=treatment, control=control)


def kept(permuted: float, distilled: float, control: float) -> Make:
    arms = {"permuted": TAUGHT | {"permute": "non_target"}, "distilled": TAUGHT}
    return accuracies("T6", arms, permuted=permuted, distilled=distilled, control=control)


def near(self_taught: float, virtual: float, noise: float = 0.0005) -> Make:
    """Arms that differ from distillation in few answers: a share is gained, and others change either way."""

    def make(directory: Path) -> Run:
        rng = np.random.default_rng(2)
        base = answers(0.7, REPLICAS, 4000, seed=1)
        right = {"distilled": base}
        for role, gain in (("self_taught", self_taught), ("virtual", virtual)):
            changed = base ^ (rng.random(base.shape) < noise * np.where(base, 3, 7))  # as many lost as gained
            draw = rng.random(base.shape)
            changed = np.where(draw < abs(gain) / (0.3 if gain > 0 else 0.7), gain > 0, changed)
            right[role] = changed
        roles = ("self_taught", "virtual", "distilled")
        return write_claims_run(directory, right, claims={"T7": [{role: role for role in roles}]})

    return make


def timed(ratio: float, spread: float = 0.002, replicas: int = REPLICAS, groups: int | None = None) -> Make:
    def make(directory: Path) -> Run:
        rng = np.random.default_rng(4)
        groups_here = groups or replicas
        control = rng.uniform(9, 11, groups_here)
        treatment = control * (ratio + spread * rng.normal(size=groups_here))
        arms = {
            name: {"group_processor_seconds": seconds.tolist(), "group_seconds": (3 * seconds).tolist()}
            for name, seconds in {"treatment": treatment, "control": control}.items()
        }
        right = {name: answers(0.7, replicas, 50, seed=1) for name in arms}
        asked = {"T8": [{name: name for name in arms}]}
        return write_claims_run(directory, right, arms=arms, claims=asked, device="cpu")

    return make


CASES: dict[tuple[str, str], Make] = {
    ("T1", HOLDS): reversed_(0.8, 0.7),
    ("T1", FAILS): reversed_(0.6, 0.7),
    ("T1", UNDECIDED): reversed_(0.7, 0.7),
    ("T2", HOLDS): reversed_(0.8, 0.7, "T2"),
    ("T2", FAILS): reversed_(0.6, 0.7, "T2"),
    ("T2", UNDECIDED): reversed_(0.8, 0.7, "T2", teacher=0.75),
    ("T3", HOLDS): reversed_(0.8, 0.7, "T3"),
    ("T3", FAILS): reversed_(0.6, 0.7, "T3"),
    ("T3", UNDECIDED): reversed_(0.7, 0.7, "T3"),
    ("T4", HOLDS): virtual(0.8, 0.7),
    ("T4", FAILS): virtual(0.6, 0.7),
    ("T4", UNDECIDED): virtual(0.7, 0.7),
    ("T5", HOLDS): virtual(0.8, 0.7, "T5", SMOOTHED),
    ("T5", FAILS): virtual(0.6, 0.7, "T5", SMOOTHED),
    ("T5", UNDECIDED): virtual(0.8, 0.7, "T5", SMOOTHED | {"variant": "code"}),
    ("T6", HOLDS): kept(0.78, 0.8, 0.6),
    ("T6", FAILS): kept(0.62, 0.8, 0.6),
    ("T6", UNDECIDED): kept(0.6, 0.601, 0.6),
    ("T7", HOLDS): near(0.0, 0.0),
    ("T7", FAILS): near(0.0, 0.05),
    ("T7", UNDECIDED): near(0.0, 0.002),
    ("T8", HOLDS): timed(1.0),
    ("T8", FAILS): timed(1.1),
    ("T8", UNDECIDED): timed(1.0, spread=0.2),
}


def test_every_claim_on_tfkd_has_its_cases() -> None:
    claims = {claim.id for claim in LEDGER if claim.id.startswith("T")}
    assert set(CASES) == {(claim, outcome) for claim in claims for outcome in (HOLDS, FAILS, UNDECIDED)}


@pytest.mark.parametrize(("claim", "outcome"), CASES)
def test_made_data_have_their_verdict(claim: str, outcome: str, tmp_path: Path) -> None:
    found = judge(CASES[claim, outcome](tmp_path / "run"), claim)
    assert set(found["overall"]) == {outcome}, found[["test", "effect", "low", "high", "threshold", "detail"]].to_dict()


def test_the_teachers_own_accuracy_stands_beside_the_result(tmp_path: Path) -> None:
    for claim in ("T1", "T2", "T3"):
        found = judge(CASES[claim, HOLDS](tmp_path / claim), claim).iloc[0]
        assert found["teachers"] == f"0.200 ± {np.sqrt(0.2 * 0.8 / 1000):.3f}, n = 1,000 (poor)"
    found = judge(CASES["T2", UNDECIDED](tmp_path / "run"), "T2").iloc[0]
    assert found["detail"].startswith("the teacher's test accuracy 0.750 is not below the control's 0.6")
    assert found["low"] > found["threshold"]  # by the numbers alone it would hold


def test_a_teacher_better_than_its_students_on_either_side_of_the_gain_is_no_equivalence(tmp_path: Path) -> None:
    found = judge(near(0.05, 0.0)(tmp_path / "run"), "T7")
    assert found["verdict"].tolist() == [HOLDS, FAILS, HOLDS, HOLDS]
    found = judge(near(0.0, -0.05)(tmp_path / "other"), "T7")
    assert found["verdict"].tolist() == [HOLDS, HOLDS, FAILS, HOLDS]


def test_the_code_of_reg_is_said_to_be_label_smoothing(tmp_path: Path) -> None:
    """Alpha .4 and multiplier K = 4 make w .4, epsilon .4 and scale 1."""
    assert CLASSES == 4
    found = judge(CASES["T5", HOLDS](tmp_path / "run"), "T5").iloc[0]
    assert found["test"].endswith(
        "; by construction near 0: the code's variant is label smoothing with ε 0.4, loss × 1"
    )
    other = judge(virtual(0.8, 0.7, "T5", SMOOTHED | {"smoothing": 0.1})(tmp_path / "other"), "T5").iloc[0]
    assert (
        "by construction, the control's with ε 0.1: the code's variant is label smoothing with ε 0.4" in other["test"]
    )
    paper = VIRTUAL | {"variant": "paper", "multiplier": None}
    arms = {"treatment": paper, "control": SMOOTHED}
    plain = judge(accuracies("T5", arms, treatment=0.8, control=0.7)(tmp_path / "paper"), "T5").iloc[0]
    assert "label smoothing with" not in plain["test"]
    wrong = judge(CASES["T5", UNDECIDED](tmp_path / "wrong"), "T5").iloc[0]
    assert wrong["detail"] == "control as control must have loss label_smoothing, not its variant of the code"


@pytest.mark.parametrize(("alpha", "multiplier"), [(0.1, 100.0), (0.95, 1.0), (0.95, None)])
def test_the_reports_equivalence_is_the_losss(alpha: float, multiplier: float | None, tmp_path: Path) -> None:
    settings = VIRTUAL | {"alpha": alpha, "multiplier": multiplier}
    run = write_claims_run(tmp_path / "run", {"a": answers(0.7, 2, 10, seed=0)}, arms={"a": settings}, claims={})
    loss = VirtualTeacherLoss(alpha=alpha, temperature=20.0, variant="code", multiplier=multiplier or 1.0)
    assert equivalent_smoothing(run.entry("a"), 100) == pytest.approx(loss.equivalent_smoothing(100), rel=1e-15)


def test_the_kept_gain_and_its_error_are_those_of_a_ratio(tmp_path: Path) -> None:
    """Against a jackknife over replicas of the ratio of means."""
    run = CASES["T6", HOLDS](tmp_path / "run")
    found = judge(run, "T6").iloc[0]
    metrics = run.metrics.query("split == 'test'").pivot(index="replica", columns="arm", values="accuracy")
    up, down = metrics["permuted"] - metrics["control"], metrics["distilled"] - metrics["control"]
    assert found["effect"] == pytest.approx(up.mean() / down.mean(), rel=1e-6)
    left_out = np.array([up.drop(r).mean() / down.drop(r).mean() for r in metrics.index])
    jackknife = np.sqrt((REPLICAS - 1) / REPLICAS * ((left_out - left_out.mean()) ** 2).sum())
    assert found["stderr"] == pytest.approx(jackknife, rel=0.05)
    assert found["stderr_crossed"] >= found["stderr"] * 0.999
    assert found["unit"] == "of the gain"
    assert "permuted − control over distilled − control (+0.1" in found["test"]


def test_without_a_gain_or_without_a_permutation_nothing_is_kept_of_it(tmp_path: Path) -> None:
    found = judge(CASES["T6", UNDECIDED](tmp_path / "run"), "T6").iloc[0]
    assert found["detail"].startswith("the gain of distillation is not surely above 0.002: its interval begins at −0.0")
    arms = {"permuted": TAUGHT, "distilled": TAUGHT}
    make = accuracies("T6", arms, permuted=0.78, distilled=0.8, control=0.6)
    found = judge(make(tmp_path / "plain"), "T6").iloc[0]
    assert (found["verdict"], found["detail"]) == (UNDECIDED, "permuted as permuted must have permute: non_target")


def test_seconds_are_a_ratio_replica_by_replica(tmp_path: Path) -> None:
    run = CASES["T8", HOLDS](tmp_path / "run")
    found = judge(run, "T8").iloc[0]
    seconds = [np.array(run.arm(arm)["group_processor_seconds"]) for arm in ("treatment", "control")]
    ratios = seconds[0] / seconds[1]
    assert found["effect"] == pytest.approx(ratios.mean())
    assert found["stderr"] == pytest.approx(ratios.std(ddof=1) / np.sqrt(REPLICAS))
    assert found["n"] == REPLICAS
    assert found["test"].startswith("seconds of the processor, treatment / control, replica by replica (by the clock 1")


def test_replicas_that_were_not_timed_one_by_one_decide_nothing(tmp_path: Path) -> None:
    together = judge(timed(1.0, groups=1)(tmp_path / "batched"), "T8").iloc[0]
    assert together["verdict"] == UNDECIDED
    assert together["detail"].startswith("1 of 8 replicas were timed by themselves from their first step on in both")
    assert "backend: sequential" in together["detail"]

    def resumed(directory: Path) -> Run:
        seconds: list[float | None] = [10.0, 10.1, 9.9, None, 10.2, 10.0, 9.8, 10.0]
        arms = {
            name: {"group_processor_seconds": seconds, "group_seconds": seconds} for name in ("treatment", "control")
        }
        right = {name: answers(0.7, REPLICAS, 50, seed=1) for name in arms}
        return write_claims_run(directory, right, arms=arms, claims={"T8": [{n: n for n in arms}]}, device="cpu")

    assert judge(resumed(tmp_path / "resumed"), "T8").iloc[0]["detail"].startswith("7 of 8 replicas were timed")
    silent = virtual(0.8, 0.7, "T8")(tmp_path / "silent")  # of a version that noted no seconds
    found = judge(silent, "T8").iloc[0]
    assert (found["verdict"], found["detail"]) == (UNDECIDED, "the records lack what this claim is measured by")


def test_on_a_device_the_clock_counts(tmp_path: Path) -> None:
    arms = {
        name: {"group_processor_seconds": [5.0] * REPLICAS, "group_seconds": [value] * 7 + [value * 1.001]}
        for name, value in {"treatment": 12.0, "control": 10.0}.items()
    }
    right = {name: answers(0.7, REPLICAS, 50, seed=1) for name in arms}
    run = write_claims_run(tmp_path / "run", right, arms=arms, claims={"T8": [{n: n for n in arms}]}, device="cuda")
    found = judge(run, "T8").iloc[0]
    assert found["effect"] == pytest.approx(1.2)
    assert found["test"].startswith("seconds of training,")
