"""The claims on bias and variance over widths on made data: where they hold, fail and must stay undecided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biasvar.records import Run, RunWriter, open_run
from biasvar.report.claims.table import claims_table
from biasvar.report.statistics.over_widths import Column, hump, inner_bump, risks_of, table_of
from biasvar.report.statistics.stored import terms as terms_of
from biasvar.study import resolve_study
from biasvar.study.ledger.bias_variance import CLAIMS
from biasvar.training.execute import run_study
from tests.analysis.decomposition.test_disjoint_splits import ce_estimator, mse_estimator
from tests.report.made import grouped
from tests.report.made_claims import CLASSES, EPOCHS, predictions, write_claims_run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
REPLICAS, ROWS = 8, 400
WIDTHS = (2, 4, 8, 16, 32, 64)
Make = Callable[[Path], Run]


def curve(
    truths: Sequence[float] | float, noises: Sequence[float] | float, *, name: str = "w", rows: int = ROWS,
    seeds: Sequence[int] | int = 0, widths: Sequence[int] = WIDTHS,
) -> dict[str, np.ndarray]:  # fmt: skip
    """By arm: logits of this size at the label, and this noise; of one seed, replicas and rows are off by the same."""
    drawn = np.broadcast_to(np.asarray(seeds), len(widths))
    sizes, spreads = (np.broadcast_to(np.asarray(one, dtype=float), len(widths)) for one in (truths, noises))
    labels = np.arange(rows) % CLASSES
    return {
        f"{name}{width}": predictions(size, spread, labels, REPLICAS, seed=int(seed))
        for width, size, spread, seed in zip(widths, sizes, spreads, drawn, strict=True)
    }


def entries(arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    width = {arm: int("".join(filter(str.isdigit, arm)) or 1) for arm in arms}
    return {arm: {"student": {"model": "mlp", "hidden": [], "width": width[arm]}} for arm in arms}


def over(claim: str, made: dict[str, np.ndarray], **roles: Any) -> Make:
    """A run of these arms, all of which are the claim's unless roles are given."""

    def make(directory: Path) -> Run:
        asked = roles or {"arms": [*made]}
        return write_claims_run(directory, log_probs=made, claims={claim: [asked]}, arms=entries([*made]))

    return make


def corrupted(claim: str, clean: tuple[float, float], view: tuple[float, float], rows: int = ROWS) -> Make:
    """Arm w1 on test rows and on a corruption of them."""
    return on_views(claim, {"w1": (clean, view)}, {"arm": "w1"}, rows)


def on_views(claim: str, made: dict[str, Any], roles: dict[str, str], rows: int = ROWS) -> Make:
    def make(directory: Path) -> Run:
        labels = np.arange(rows) % CLASSES
        probs = {arm: [predictions(*one, labels, REPLICAS, seed=1) for one in both] for arm, both in made.items()}
        write_claims_run(
            directory, log_probs={arm: one[0] for arm, one in probs.items()}, claims={claim: [roles]},
            arms=entries([*made]), views=["fog-3"],
        )  # fmt: skip
        writer = RunWriter(directory, manifest=open_run(directory).manifest, resume=True)
        for arm, one in probs.items():
            counts, means = grouped(one[1], np.ones((REPLICAS, rows), dtype=bool), REPLICAS)
            ids = np.arange(rows)
            writer.view_predictions(arm, "test", "fog-3", EPOCHS, 0, ids, counts, means, groups=np.arange(REPLICAS))
        return open_run(directory)

    return make


RISING, FALLING = (1.0, 1.3, 1.7, 2.2, 2.8, 3.5), (3.5, 2.8, 2.2, 1.7, 1.3, 1.0)
HUMP = (0.6, 1.0, 1.5, 1.5, 1.0, 0.6)
LATER = (0.6, 0.9, 1.3, 1.9, 2.1, 1.7)
TWICE = (1.0, 3.0, 1.5, 1.5, 3.0, 4.0)
FEW = {"widths": (2, 4, 8, 16), "rows": 60}


def both(noisy: Sequence[float], clean: Sequence[float], rows: int = ROWS) -> Make:
    made = curve(2.0, noisy, name="n", rows=rows) | curve(2.0, clean, name="c", rows=rows)
    names = {role: [f"{name}{width}" for width in WIDTHS] for role, name in (("arms", "n"), ("controls", "c"))}
    return over("Y3", made, **names)


def depth(deeper: tuple[float, float], shallower: tuple[float, float], *, view: bool = False, rows: int = ROWS) -> Make:
    made = {"d20": (deeper, deeper), "d8": (shallower, (3 * shallower[0], shallower[1]) if view else shallower)}
    return on_views("Y5", made, {"deeper": "d20", "shallower": "d8"}, rows)


CASES: dict[str, list[tuple[Make, str]]] = {
    "Y1": [
        (over("Y1", curve(RISING, 1.0)), HOLDS),
        (over("Y1", curve(FALLING, 1.0)), FAILS),
        (over("Y1", curve(2.0, 1.0, seeds=range(6), rows=60)), UNDECIDED),
        (over("Y1", curve(RISING[:4], 1.0, **FEW)), UNDECIDED),
    ],
    "Y2": [
        (over("Y2", curve(2.0, HUMP)), HOLDS),
        (over("Y2", curve(2.0, sorted(HUMP))), FAILS),
        (over("Y2", curve(2.0, (0.98, 1.0, 1.01, 1.01, 1.0, 0.98), seeds=range(6), rows=40)), UNDECIDED),
    ],
    "Y3": [
        (both(LATER, HUMP), HOLDS),
        (both(HUMP, HUMP), FAILS),
        (both(LATER, sorted(HUMP)), UNDECIDED),
    ],
    "Y4": [
        (corrupted("Y4", (3.0, 0.5), (1.0, 0.5)), HOLDS),
        (corrupted("Y4", (3.0, 0.5), (3.0, 2.5)), FAILS),
        (corrupted("Y4", (2.0, 1.0), (2.0, 1.0)), UNDECIDED),
        (corrupted("Y4", (2.0, 1.0), (2.0, 0.9)), UNDECIDED),
    ],
    "Y5": [
        (depth((3.0, 1.5), (1.5, 0.8)), HOLDS),
        (depth((1.5, 0.8), (3.0, 1.5)), FAILS),
        (depth((3.0, 1.5), (1.5, 0.8), view=True), FAILS),
        (depth((2.0, 1.06), (1.9, 1.0), rows=30), UNDECIDED),
    ],
    "Y6": [
        (over("Y6", curve(TWICE, 1.0)), HOLDS),
        (over("Y6", curve(RISING, 1.0)), FAILS),
        (over("Y6", curve((1.0, 2.0, 1.93, 1.93, 2.0, 2.1), 1.0, rows=40)), UNDECIDED),
    ],
}


def trained_by(monkeypatch: pytest.MonkeyPatch, loss: str, arms: str = "") -> None:
    """All made arms, or those whose names start so, are trained by a loss."""
    plain = entries

    def named(names: Sequence[str]) -> dict[str, dict[str, Any]]:
        told = plain(names)
        return {arm: entry | ({"loss": loss} if arm.startswith(arms) else {}) for arm, entry in told.items()}

    monkeypatch.setitem(globals(), "entries", named)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize(
    ("claim", "make", "expected"),
    [pytest.param(claim, make, said, id=f"{claim} {said} {i}") for claim, cases in CASES.items()
     for i, (make, said) in enumerate(cases)],
)  # fmt: skip
def test_the_verdict(
    claim: str, make: Make, expected: str, loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_by(monkeypatch, loss)
    table = claims_table([make(tmp_path / "run")])
    assert set(table["id"]) == {claim}
    assert set(table["overall"]) == {expected}, table[["test", "effect", "low", "high", "threshold", "detail"]]
    if expected != UNDECIDED:
        assert (table["n_replicas"] == REPLICAS).all()
        assert (table["stderr_crossed"] >= table["stderr"] * 0.999).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_terms_are_those_of_the_loss_that_the_arms_are_trained_by(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The differences of two networks by the authors' estimators, of corrected terms; unit and words say which."""
    trained_by(monkeypatch, loss)
    table = claims_table([depth((3.0, 1.5), (1.5, 0.8))(tmp_path / "run")])
    labels = np.arange(ROWS) % CLASSES
    made = [predictions(*one, labels, REPLICAS, seed=1) for one in ((3.0, 1.5), (1.5, 0.8))]
    if loss == "squared_error":
        terms = [mse_estimator(one, labels)[1:] for one in made]
    else:
        plain = [np.array(ce_estimator(one, labels)[1:]) for one in made]
        terms = [one + one[1] / (REPLICAS - 1) * np.array([-1, 1]) for one in plain]
    np.testing.assert_allclose(table["effect"].iloc[:2], np.subtract(*terms), rtol=1e-9)
    assert set(table["unit"]) == {"squared error" if loss == "squared_error" else "nats"}
    assert table["test"].str.endswith(f"by {loss.replace('s_e', 's-e').replace('_', ' ')}").all()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_the_risk_of_each_replica_is_its_mean_loss(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained_by(monkeypatch, loss)
    made = curve(TWICE, 1.0)
    run = over("Y6", made)(tmp_path / "run")
    found, at = risks_of(run, [*made], loss), (np.arange(ROWS), np.arange(ROWS) % CLASSES)
    assert found is not None
    for logs, risks in zip(made.values(), found.T, strict=True):
        if loss == "cross_entropy":
            expected = -logs[:, *at].mean(1)
        else:
            expected = np.square(np.exp(logs) - np.eye(CLASSES)[at[1]]).sum(-1).mean(1)
        np.testing.assert_allclose(risks, expected, rtol=1e-9)


def test_arms_of_two_losses_are_not_measured_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained_by(monkeypatch, "squared_error", arms="w4")
    table = claims_table([over("Y2", curve(2.0, HUMP))(tmp_path / "run")])
    assert table["detail"].tolist() == ["the records lack what this claim is measured by"]


def test_squared_error_needs_every_replica_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 16 replicas are kept as means over groups, of which no mean of squares is known."""
    trained_by(monkeypatch, "squared_error")
    labels = np.arange(60) % CLASSES
    made = {f"w{width}": predictions(1.0, 1.0, labels, 20, seed=width) for width in WIDTHS}
    table = claims_table([over("Y1", made)(tmp_path / "run")])
    assert table["detail"].tolist() == ["the records lack what this claim is measured by"]


def test_students_by_squared_error_have_the_terms_of_the_authors_code(
    tiny_study: dict[str, Any], tmp_path: Path
) -> None:
    """From the study file to the numbers: disjoint draws, students by both losses, both decompositions."""
    kept = {key: value for key, value in tiny_study.items() if key not in ("defaults", "teachers")}
    arms = {"ce": {"loss": "cross_entropy"}, "se": {"loss": "squared_error"}}
    data = {"name": "digits", "test": 300, "validation": 200}
    run = run_study(resolve_study({**kept, "arms": arms, "data": data, "draw": {"kind": "disjoint"}}), tmp_path / "run")
    terms = {}
    for arm in arms:
        stored_terms, kept_terms = terms_of(run, arm, loss="squared_error"), run.predictions(arm)
        assert stored_terms is not None
        terms[arm] = stored_terms.decomposition.totals()
        expected = mse_estimator(kept_terms.mean_log_probs, stored_terms.labels)
        found = [one.value for one in (terms[arm].loss, terms[arm].bias, terms[arm].variance)]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert terms["se"].loss.value != pytest.approx(terms["ce"].loss.value, rel=1e-3)


def test_every_claim_has_its_cases() -> None:
    assert {claim.id for claim in CLAIMS} == {*CASES}
    for cases in CASES.values():
        assert {said for _, said in cases} == {HOLDS, FAILS, UNDECIDED}


@pytest.mark.parametrize(("reason", "expected"), [("at chance", HOLDS), ("not finite", UNDECIDED)])
def test_the_narrowest_networks_may_answer_at_chance(tmp_path: Path, reason: str, expected: str) -> None:
    """Two units can do no better, which is an outcome; numbers that are not finite are a fault."""
    made = curve(2.0, HUMP)
    arms = entries([*made])
    arms["w2"]["failed_replicas"] = [{"replica": 3, "reason": reason}]
    run = write_claims_run(tmp_path / "run", log_probs=made, claims={"Y2": [{"arms": [*made]}]}, arms=arms)
    assert set(claims_table([run])["overall"]) == {expected}


def test_widths_that_are_no_numbers_are_not_measured(tmp_path: Path) -> None:
    made = curve(2.0, HUMP)
    arms = entries([*made])
    arms["w4"]["student"] = {"model": "mlp", "hidden": [4, 4]}
    run = write_claims_run(tmp_path / "run", log_probs=made, claims={"Y2": [{"arms": [*made]}]}, arms=arms)
    assert claims_table([run])["detail"].tolist() == ["the records lack what this claim is measured by"]


def test_a_table_has_the_errors_of_plain_means(tmp_path: Path) -> None:
    """Risk is a mean over replicas and rows: sd / sqrt(R) over replicas, sd / sqrt(N) over rows."""
    made = curve(2.0, 1.0, widths=(2,), rows=500)
    run = over("Y1", made)(tmp_path / "run")
    table = table_of(run, [Column("w2", "risk")])
    assert table is not None
    losses = -made["w2"][:, np.arange(500), np.arange(500) % CLASSES]
    found = table.crossed(lambda means: float(means[0]))
    assert found.estimate == pytest.approx(losses.mean())
    assert found.components["replicas"].stderr == pytest.approx(losses.mean(1).std(ddof=1) / np.sqrt(REPLICAS))
    assert found.components["rows"].stderr == pytest.approx(losses.mean(0).std(ddof=1) / np.sqrt(500), rel=0.3)
    draws = table.draws(lambda means: means[:, 0], of=["replicas"])
    half = np.quantile(draws, [0.025, 0.975]) - found.estimate
    np.testing.assert_allclose(np.abs(half), 2.365 * found.components["replicas"].stderr, rtol=0.1)


def test_the_hump_of_a_quadratic_is_its_vertex() -> None:
    x = np.log2(WIDTHS)
    found = hump(x, 3.0 - 0.2 * (x - 2.5) ** 2)
    np.testing.assert_allclose(found[:4], [2.5, 3.0, 3.0 - 0.2 * 1.5**2, 3.0 - 0.2 * 3.5**2])
    assert found.inner
    for y, place in ((x, 6.0), (-x, 1.0), ((x - 3) ** 2, 6.0)):
        end = hump(x, y)
        assert (end.place, end.inner) == (pytest.approx(place), False)
        assert end.height == pytest.approx(max(end.low_end, end.high_end))


def test_the_inner_bump_is_the_one_that_stands_out_most() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        y = rng.normal(size=7)
        left, middle, right = inner_bump(y) or (0, 0, 0)
        assert left < middle < right
        best = max(min(y[j] - y[:j].min(), y[j] - y[j + 1 :].min()) for j in range(1, 6))
        assert min(y[middle] - y[left], y[middle] - y[right]) == best
    assert inner_bump(np.array([1.0, 2.0])) is None
