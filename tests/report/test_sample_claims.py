"""Label smoothing, and what a sample's own soft label says of its change of bias and variance, on made data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from biasvar.analysis import decompose
from biasvar.records import Run
from biasvar.report.claims.table import claims_table
from biasvar.report.statistics.sample_indicators import best_k, joined, marks_of
from biasvar.study.ledger.samples import CLAIMS
from tests.report.made_claims import CLASSES, predictions, write_claims_run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
Make = Callable[[Path], Run]
RNG = np.random.default_rng(4)
ROWS, REPLICAS = 400, 8
LABELS = np.arange(ROWS) % CLASSES
MISSED = np.arange(ROWS) // CLASSES % 4 == 0
RIVAL = RNG.choice([1, 2, 3], size=ROWS, p=[0.7, 0.25, 0.05])
"""How far the rival's number is from the label's: what the class's rows have in common more or less often."""


def teacher(missed: np.ndarray, rival: np.ndarray, networks: int = 0) -> np.ndarray:
    """Logits (N, C), or (T, N, C) of networks that differ a little: the rival above or, where the truth is missed, two
    labels above it."""
    rows = np.arange(len(missed))
    labels = rows % CLASSES
    logits = np.zeros((len(missed), CLASSES))
    logits[rows, (labels + rival) % CLASSES] = 2.0
    logits[rows, (labels + rival % 3 + 1) % CLASSES] += np.where(missed, 1.5, -1.5)
    logits[rows, labels] += np.where(missed, 0.0, 3.0)
    noise = np.random.default_rng(7).normal(size=(max(networks, 1), *logits.shape))  # the same in any order of tests
    made = logits + (0.7 if networks else 0.01) * noise
    return made if networks else made[0]


def made(
    claim: str, kd: tuple[Any, Any], ce: tuple[Any, Any], *, rows: int = ROWS, replicas: int = REPLICAS,
    networks: int = 0, **entry: Any,
) -> Make:  # fmt: skip
    """Students with given logits at the truth and spreads, one for all rows or one a row; a teacher of these rows."""

    def make(directory: Path) -> Run:
        def students(size: Any, spread: Any, seed: int) -> np.ndarray:
            by_row = (np.broadcast_to(value, ROWS)[:rows] for value in (size, spread))
            return predictions(next(by_row), next(by_row)[:, None], LABELS[:rows], replicas, seed=seed)

        log_probs = {"kd": students(*kd, seed=0), "ce": students(*ce, seed=1)}
        return write_claims_run(
            directory, log_probs=log_probs, claims={claim: [{"treatment": "kd", "control": "ce"}]},
            arms={"kd": {"teacher": "main"}}, teachers={"main": entry},
            teacher_logits={"main": teacher(MISSED[:rows], RIVAL[:rows], networks)},
        )  # fmt: skip

    return make


RARE = np.where(RIVAL == 1, 0.0, 1.0)  # 1 where the rival is a rare one: less ambiguous
CASES: dict[tuple[str, str], Make] = {
    ("S1", HOLDS): made("S1", (1.5, 0.5), (3.0, 0.5)),
    ("S1", FAILS): made("S1", (4.0, 0.5), (3.0, 0.5)),
    ("S1", UNDECIDED): made("S1", (3.0, 2.0), (3.0, 2.0), rows=40, replicas=4),
    ("S2", HOLDS): made("S2", (3.0, 0.3), (3.0, 1.0)),
    ("S2", FAILS): made("S2", (3.0, 1.2), (3.0, 1.0)),
    ("S2", UNDECIDED): made("S2", (3.0, 2.0), (3.0, 2.0), rows=40, replicas=4),
    ("X1", HOLDS): made("X1", (np.where(MISSED, 1.5, 3.0), 0.5), (3.0, 0.5)),
    ("X1", FAILS): made("X1", (np.where(MISSED, 4.0, 3.0), 0.5), (3.0, 0.5)),
    ("X1", UNDECIDED): made("X1", (3.0, 2.0), (3.0, 2.0), rows=200, replicas=4),
    ("X2", HOLDS): made("X2", (3.0, 1.0 - 0.8 * RARE), (3.0, 1.0)),
    ("X2", FAILS): made("X2", (3.0, 0.2 + 0.8 * RARE), (3.0, 1.0)),
    ("X2", UNDECIDED): made("X2", (3.0, 1.0), (3.0, 1.0), rows=60, replicas=4),
}


def test_every_claim_has_its_cases() -> None:
    assert set(CASES) == {(claim.id, outcome) for claim in CLAIMS for outcome in (HOLDS, FAILS, UNDECIDED)}


@pytest.mark.parametrize(("claim", "outcome"), CASES)
def test_made_data_have_their_verdict(claim: str, outcome: str, tmp_path: Path) -> None:
    found = claims_table([CASES[claim, outcome](tmp_path / "run")])
    assert set(found["overall"]) == {outcome}, found[["test", "effect", "low", "high", "threshold", "detail"]].to_dict()
    if claim[0] == "X" and outcome == HOLDS:
        assert found["said"].iloc[0] == "holds with this teacher"
        assert found["n_samples"].iloc[0] == ROWS
        assert "among its 2 first" in found["test"].iloc[0]


def expected(log_probs: dict[str, np.ndarray], marks: Any, keep: np.ndarray, term: str) -> float:
    """The statistic of the replicas that are kept, written out."""
    kd, ce = (getattr(decompose(log_probs[arm][keep], LABELS).corrected(), term) for arm in ("kd", "ce"))
    if term == "bias":
        return float((kd - ce)[marks.missed].mean() - (kd - ce)[~marks.missed].mean())
    return float(spearmanr((kd - ce)[~marks.missed], marks.ambiguity[~marks.missed]).statistic)


@pytest.mark.parametrize("term", ["bias", "variance"])
@pytest.mark.parametrize("own", [False, True], ids=["one teacher", "a teacher a replica"])
def test_estimate_and_error_over_replicas_are_those_of_leaving_each_out(tmp_path: Path, term: str, own: bool) -> None:
    spread = 0.5 + 0.5 * RARE
    entry = {"draw": "per_replica"} if own else {}
    run = made("X1", (np.where(MISSED, 2.0, 3.0), spread), (3.0, 1.0), networks=REPLICAS if own else 0, **entry)(
        tmp_path / "run"
    )
    found = joined(run, "kd", "ce", term)
    assert found is not None
    log_probs = {
        "kd": predictions(np.where(MISSED, 2.0, 3.0), spread[:, None], LABELS, REPLICAS, seed=0),
        "ce": predictions(3.0, 1.0, LABELS, REPLICAS, seed=1),
    }
    logits = np.atleast_3d(run.teacher("main").logits) if own else run.teacher("main").logits[None]
    soft = np.exp(logits / 4.0) / np.exp(logits / 4.0).sum(-1, keepdims=True)
    everyone = np.arange(REPLICAS)

    def value(keep: np.ndarray) -> float:
        mine = soft[keep] if own else soft
        return expected(log_probs, marks_of(mine.mean(0), LABELS, np.arange(ROWS), 2), keep, term)

    assert found.crossed.estimate == pytest.approx(value(everyone), abs=1e-6)
    left = np.array([value(everyone[everyone != r]) for r in everyone])
    error = np.sqrt((REPLICAS - 1) / REPLICAS * ((left - left.mean()) ** 2).sum())
    assert found.stderr_replicas == pytest.approx(error, rel=1e-4)
    assert set(found.crossed.components) == {"replicas", "rows"}
    assert (found.n_missed + found.n_others, found.n_replicas, found.df) == (ROWS, REPLICAS, REPLICAS - 1)


def test_copies_of_a_teacher_are_left_out_of_the_marks_with_their_replicas(tmp_path: Path) -> None:
    run = made("X1", (np.where(MISSED, 1.5, 3.0), 0.5), (3.0, 0.5), networks=4, copies=4)(tmp_path / "run")
    row = claims_table([run]).iloc[0]
    assert row["n_teachers"] == 4
    assert row["stderr_teachers"] > 0
    assert (row["verdict"], row["said"]) == ("holds", "holds")
    found = joined(run, "kd", "ce", "bias")
    assert found is not None
    assert set(found.crossed.components) == {"teachers", "rows"}
    assert found.crossed.df <= 3


def test_marks_by_hand() -> None:
    soft = np.array([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.1, 0.5, 0.4], [0.2, 0.7, 0.1], [0.4, 0.5, 0.1]])
    labels = np.array([0, 0, 0, 1, 1])
    marks = marks_of(soft, labels, np.arange(5), 2)
    assert marks.missed.tolist() == [False, False, True, False, False]
    # Of class 0, labels 1 and 2 are each among the two first of two rows in three; of class 1, label 0 of both.
    np.testing.assert_allclose(marks.ambiguity, [2 / 3, 2 / 3, np.nan, 1.0, 1.0])
    assert best_k(soft, labels, np.arange(5)) == 2
    assert best_k(soft[:, :2], labels, np.arange(5)) is None


def test_few_rows_that_are_missed_decide_nothing(tmp_path: Path) -> None:
    row = claims_table([made("X1", (1.0, 0.5), (3.0, 0.5), rows=60)(tmp_path / "run")]).iloc[0]
    assert (row["verdict"], row["detail"]) == (UNDECIDED, "16 rows that miss the truth; the rule asks for 20")


def test_without_a_teachers_answers_the_records_lack_what_is_asked(tmp_path: Path) -> None:
    log_probs = {name: predictions(3.0, 0.5, LABELS, REPLICAS, seed=0) for name in ("kd", "ce")}
    asked = {claim: [{"treatment": "kd", "control": "ce"}] for claim in ("X1", "X2")}
    run = write_claims_run(tmp_path / "run", log_probs=log_probs, claims=asked)
    assert claims_table([run])["detail"].tolist() == ["the records lack what this claim is measured by"] * 2
