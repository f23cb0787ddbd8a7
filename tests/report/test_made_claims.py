"""The claims on distillation on made data: for each, data where it holds, fails and must stay undecided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from biasvar.records import Run
from biasvar.report.claims.table import claims_table
from biasvar.study.claims import CLAIM_ROLES
from biasvar.study.ledger.distillation import CLAIMS
from tests.report.made_claims import CLASSES, answers, predictions, write_claims_run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ROWS, REPLICAS = 400, 8
Make = Callable[[Path], Run]


def judge(run: Run, claim: str) -> pd.DataFrame:
    table = claims_table([run])
    mine = table[table["id"] == claim]
    assert len(mine), f"{claim} was not asked"
    return mine


def accuracies(claim: str, **shares: float) -> Make:
    """Arms named as the roles of a claim, right with these probabilities."""

    def make(directory: Path) -> Run:
        right = {role: answers(share, REPLICAS, seed=place) for place, (role, share) in enumerate(shares.items())}
        cool = [role for role in shares if claim == "M2" or role.endswith("_t1")]
        arms = {role: {"teacher": "main", "temperature": 1.0 if role in cool else 4.0} for role in shares}
        asked = {claim: [{role: role for role in shares}]}
        return write_claims_run(directory, right, arms=arms, teachers={"main": {}}, claims=asked)

    return make


def terms(claim: str, kd: tuple[Any, float], ce: tuple[Any, float], *, rows: int = ROWS, replicas: int = 8) -> Make:
    """Students with given logits at the truth and spreads over replicas."""

    def make(directory: Path) -> Run:
        labels = np.arange(rows) % CLASSES
        log_probs = {
            name: predictions(size, spread, labels, replicas, seed=place)
            for place, (name, (size, spread)) in enumerate({"kd": kd, "ce": ce}.items())
        }
        roles = {"treatment": "kd", "control": "ce"}
        return write_claims_run(directory, log_probs=log_probs, claims={claim: [roles]})

    return make


def shares(claim: str, levels: Mapping[str, np.ndarray], spread: float = 0.01, **study: Any) -> Make:
    """Shares of regularization samples by arm and epoch, with noise by replica; all students equally right."""

    def make(directory: Path) -> Run:
        rng = np.random.default_rng(3)
        right = {arm: answers(0.7, REPLICAS, 200, seed=0) for arm in levels}
        by_epoch = {
            arm: level[:, None] + spread * rng.normal(size=(len(level), REPLICAS)) for arm, level in levels.items()
        }
        roles = {"arm": "kd"} if claim == "W4" else {"treatment": "smooth", "control": "kd"}
        return write_claims_run(directory, right, shares=by_epoch, claims={claim: [roles]}, **study)

    return make


def teachers(slope: float, noise: float, count: int = 30) -> Make:
    """Arms that differ in the teacher: accuracy falls with the share of regularization samples by `slope`."""

    def make(directory: Path) -> Run:
        rng = np.random.default_rng(5)
        names = [f"kd_{place}" for place in range(count)]
        level = np.linspace(0.1, 0.6, count)
        by_epoch = {name: np.full((10, 4), share) for name, share in zip(names, level, strict=True)}
        hit = 0.7 - slope * (level - 0.35) + noise * rng.normal(size=count)
        right = {
            name: answers(share, 4, 500, seed=place) for place, (name, share) in enumerate(zip(names, hit, strict=True))
        }
        arms = {name: {"teacher": f"teacher_{name}"} for name in names}
        entries = {f"teacher_{name}": {} for name in names}
        asked = {"W5": [{"arms": names}]}
        return write_claims_run(directory, right, shares=by_epoch, arms=arms, teachers=entries, claims=asked)

    return make


def flags(agree: float, replicas: int = 16, effect: float = 1.5) -> Make:
    """Half of the rows gain bias and lose variance under kd, and the flag finds them with this probability."""

    def make(directory: Path) -> Run:
        rng = np.random.default_rng(8)
        labels = np.arange(ROWS) % CLASSES
        target = rng.random(ROWS) < 0.5
        spread = np.where(target, 1.0, 0.3)[:, None]
        log_probs = {
            "ce": predictions(3.0, 0.0, labels, replicas, seed=0) + 0.7 * rng.normal(size=(replicas, ROWS, CLASSES)),
            "kd": predictions(np.where(target, 3.0 - effect, 3.0 + effect), 0.0, labels, replicas, seed=1)
            + (0.7 + 0.4 * effect * np.where(spread < 0.5, 1.0, -1.0)) * rng.normal(size=(replicas, ROWS, CLASSES)),
        }
        log_probs = {name: x - np.log(np.exp(x).sum(-1, keepdims=True)) for name, x in log_probs.items()}
        right = rng.random((replicas, ROWS)) < agree
        return write_claims_run(
            directory, log_probs=log_probs, opposing={"kd": np.where(right, target, ~target)},
            arms={"kd": {"teacher": "main"}}, teachers={"main": {}},
            claims={"W6": [{"treatment": "kd", "control": "ce"}]},
        )  # fmt: skip

    return make


MIXED = np.where(np.arange(ROWS) // CLASSES % 10 < 3, 5.0, 1.5)  # three rows in ten gain where the others lose
FLAT, RISING = np.full(10, 0.3), np.linspace(0.1, 0.4, 10)
CASES: dict[tuple[str, str], Make] = {
    ("W1", HOLDS): terms("W1", (1.5, 0.5), (3.0, 0.5)),
    ("W1", FAILS): terms("W1", (4.0, 0.5), (3.0, 0.5)),
    ("W1", UNDECIDED): terms("W1", (3.0, 2.0), (3.0, 2.0), rows=20, replicas=4),
    ("W2", HOLDS): terms("W2", (3.0, 0.3), (3.0, 1.0)),
    ("W2", FAILS): terms("W2", (3.0, 1.2), (3.0, 1.0)),
    ("W2", UNDECIDED): terms("W2", (3.0, 2.0), (3.0, 2.0), rows=20, replicas=4),
    ("W3", HOLDS): terms("W3", (MIXED, 0.3), (3.0, 0.3)),
    ("W3", FAILS): terms("W3", (3.0, 0.5), (3.0, 0.5), rows=1200),
    ("W3", UNDECIDED): terms("W3", (MIXED[:40], 1.0), (3.0, 1.0), rows=40, replicas=4),
    ("W4", HOLDS): shares("W4", {"kd": RISING}),
    ("W4", FAILS): shares("W4", {"kd": FLAT}),
    ("W4", UNDECIDED): shares("W4", {"kd": FLAT + 0.02 * (np.arange(10) == 9)}),
    ("W5", HOLDS): teachers(0.5, 0.01),
    ("W5", FAILS): teachers(-0.5, 0.01),
    ("W5", UNDECIDED): teachers(0.5, 0.01, count=14),
    ("W6", HOLDS): flags(0.8),
    ("W6", FAILS): flags(0.5),
    ("W6", UNDECIDED): flags(0.8, effect=0.02),
    ("W7", HOLDS): accuracies("W7", masked=0.55, full=0.7, random=0.68),
    ("W7", FAILS): accuracies("W7", masked=0.8, full=0.7, random=0.9),
    ("W7", UNDECIDED): accuracies("W7", masked=0.7, full=0.7, random=0.8),
    ("W8", HOLDS): accuracies("W8", treatment=0.8, control=0.7),
    ("W8", FAILS): accuracies("W8", treatment=0.6, control=0.7),
    ("W8", UNDECIDED): accuracies("W8", treatment=0.7, control=0.7),
    ("W9", HOLDS): accuracies("W9", treatment=0.8, scaled=0.7, shuffled=0.7),
    ("W9", FAILS): accuracies("W9", treatment=0.7, scaled=0.8, shuffled=0.5),
    ("W9", UNDECIDED): accuracies("W9", treatment=0.7, scaled=0.7, shuffled=0.6),
    ("W10", HOLDS): shares("W10", {"smooth": FLAT + 0.1, "kd": FLAT}),
    ("W10", FAILS): shares("W10", {"smooth": FLAT - 0.1, "kd": FLAT}),
    ("W10", UNDECIDED): shares("W10", {"smooth": FLAT + 0.03, "kd": FLAT}, spread=0.05),
    ("W11", HOLDS): accuracies("W11", treatment=0.6, control=0.7),
    ("W11", FAILS): accuracies("W11", treatment=0.8, control=0.7),
    ("W11", UNDECIDED): accuracies("W11", treatment=0.7, control=0.7),
    ("W12", HOLDS): accuracies("W12", treatment=0.6, control=0.7),
    ("W12", FAILS): accuracies("W12", treatment=0.8, control=0.7),
    ("W12", UNDECIDED): accuracies("W12", treatment=0.7, control=0.7),
    ("M1", HOLDS): accuracies("M1", treatment=0.5, control=0.7, treatment_t1=0.7, control_t1=0.7),
    ("M1", FAILS): accuracies("M1", treatment=0.9, control=0.7, treatment_t1=0.7, control_t1=0.7),
    ("M1", UNDECIDED): accuracies("M1", treatment=0.7, control=0.7, treatment_t1=0.7, control_t1=0.7),
    ("M2", HOLDS): accuracies("M2", treatment=0.8, control=0.7),
    ("M2", FAILS): accuracies("M2", treatment=0.6, control=0.7),
    ("M2", UNDECIDED): accuracies("M2", treatment=0.7, control=0.7),
}


def test_every_claim_on_distillation_has_its_cases() -> None:
    claims = {claim.id for claim in CLAIMS}
    assert set(CASES) == {(claim, outcome) for claim in claims for outcome in (HOLDS, FAILS, UNDECIDED)}
    assert claims <= set(CLAIM_ROLES)


@pytest.mark.parametrize(("claim", "outcome"), CASES)
def test_made_data_have_their_verdict(claim: str, outcome: str, tmp_path: Path) -> None:
    found = judge(CASES[claim, outcome](tmp_path / "run"), claim)
    assert set(found["overall"]) == {outcome}, found[["test", "effect", "low", "high", "threshold", "detail"]].to_dict()
    if outcome == FAILS:
        assert found["said"].str.endswith("for this data, network and size").any()


def test_few_teachers_leave_w5_undecided_and_say_so(tmp_path: Path) -> None:
    found = judge(CASES["W5", UNDECIDED](tmp_path / "run"), "W5").iloc[0]
    assert found["detail"] == "14 teachers; the rule asks for 26 or more"
    assert found["high"] < found["threshold"]  # by the numbers alone it would hold


def test_a_target_that_cannot_be_measured_leaves_w6_undecided(tmp_path: Path) -> None:
    found = judge(CASES["W6", UNDECIDED](tmp_path / "run"), "W6").iloc[0]
    assert "the target itself cannot be measured with 16 replicas" in found["detail"]
    assert "the rule asks for a lower end of 0.75" in found["detail"]


def test_shares_do_not_depend_on_what_was_stored(tmp_path: Path) -> None:
    """W10 needs every epoch of the last tenth; here epoch 19 of 20 was not recorded."""
    level = np.where(np.arange(20) == 18, np.nan, 0.3)
    made = shares("W10", {"smooth": level + 0.1, "kd": level}, schedule={"epochs": 20})(tmp_path / "run")
    found = judge(made, "W10").iloc[0]
    assert found["verdict"] == "undecided"
    assert found["detail"] == "the record of smooth lacks epoch 19 of the last tenth"
    assert found["low"] > found["threshold"]  # by the numbers alone it would hold


def test_the_area_over_all_epochs_is_told_where_the_sign_turns(tmp_path: Path) -> None:
    levels = {"smooth": FLAT - 0.4 * (np.arange(10) < 5) + 0.1 * (np.arange(10) == 9), "kd": FLAT}
    found = judge(shares("W10", levels, spread=0.0)(tmp_path / "run"), "W10").iloc[0]
    assert found["verdict"] == "holds"
    area = np.trapezoid(levels["smooth"] - levels["kd"]) / 9
    assert f"over all epochs (area) {area:+.3f}".replace("-", "−") in found["test"]


def test_arms_at_other_temperatures_than_their_roles_ask_for_decide_nothing(tmp_path: Path) -> None:
    labels = {"treatment": 0.9, "control": 0.5}
    right = {role: answers(share, REPLICAS, seed=place) for place, (role, share) in enumerate(labels.items())}
    arms = {role: {"teacher": "main", "temperature": 4.0} for role in labels}
    asked = {"M2": [{role: role for role in labels}]}
    run = write_claims_run(tmp_path / "run", right, arms=arms, teachers={"main": {}}, claims=asked)
    found = judge(run, "M2").iloc[0]
    assert found["verdict"] == "undecided"
    assert found["detail"] == "treatment as treatment must have temperature 1, not 4.0"


def test_m1_among_arms_without_a_temperature_decides_nothing(tmp_path: Path) -> None:
    roles = CLAIM_ROLES["M1"]
    right = {role: answers(0.7, REPLICAS, seed=place) for place, role in enumerate(sorted(roles))}
    run = write_claims_run(tmp_path / "run", right, claims={"M1": [{role: role for role in roles}]})
    found = judge(run, "M1").iloc[0]
    assert found["verdict"] == "undecided"
    assert found["detail"] == "treatment as treatment must have a temperature"


def test_w4_asks_for_the_last_tenth_of_all_epochs(tmp_path: Path) -> None:
    """A record that ends at epoch 10 of 20 holds no last tenth."""
    rising = shares("W4", {"kd": RISING}, schedule={"epochs": 20}, arms={"kd": {"epochs": 20}})(tmp_path / "run")
    found = judge(rising, "W4").iloc[0]
    assert (found["verdict"], found["detail"]) == ("undecided", "the records lack what this claim is measured by")
