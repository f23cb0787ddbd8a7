"""People's labels as the truth: noise, bias, variance and verdicts against NumPy alone, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import biasvar.data
from biasvar.data.dataset import Dataset
from biasvar.errors import RecordError
from biasvar.records import Run
from biasvar.report import style
from biasvar.report.__main__ import main
from biasvar.report.claims.table import claims_table
from biasvar.report.figures.truth import FIGURE
from biasvar.report.statistics.estimates import decomposition_term
from biasvar.report.truth import PeopleRun, against_people, small_sample_noise
from biasvar.votes import CIFAR10
from tests.report.made import log_softmax
from tests.report.made_claims import write_claims_run

ROWS, REPLICAS, COPIES = 200, 8, 4
RNG = np.random.default_rng(5)
LABELS = np.arange(ROWS) % 10
ORIGINAL = RNG.permutation(10_000)[:ROWS]
VOTES = np.zeros((10_000, 10), dtype=np.uint8)
VOTES[np.arange(10_000), 0] = 50
VOTES[ORIGINAL] = RNG.multinomial(20, np.full(10, 0.1), size=ROWS)
VOTES[ORIGINAL, LABELS] += 30
VOTES[ORIGINAL[:20]] = 50 * np.eye(10)[LABELS[:20]]  # all agree
SHARES = VOTES[ORIGINAL] / VOTES[ORIGINAL].sum(axis=1, keepdims=True)
COMMON = 2.0 * np.eye(10)[LABELS] + RNG.normal(size=(ROWS, 10))
LOG_PROBS = {
    "ce": log_softmax(3.0 * COMMON + RNG.normal(size=(REPLICAS, ROWS, 10))),
    "kd": log_softmax(COMMON + 0.5 * RNG.normal(size=(REPLICAS, ROWS, 10))),
}
PAIR = [{"treatment": "kd", "control": "ce"}]


def dataset() -> Dataset:
    """The test rows, whose ids are 0 .. ROWS - 1, and as many training rows."""
    split = np.repeat(["test", "train"], ROWS)
    images = np.zeros((2 * ROWS, 3), np.float32)
    index = np.concatenate([ORIGINAL, np.arange(ROWS)])
    return Dataset("features", images, np.tile(LABELS, 2), CIFAR10, 1.0, "made up", split=split, original_index=index)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with four copies of one teacher, and people's labels of its test rows."""
    monkeypatch.setenv("BIASVAR_DATA", str(tmp_path))
    monkeypatch.setattr(biasvar.data, "load_dataset", lambda *_, **__: dataset())
    np.savez(tmp_path / "cifar10h.npz", counts=VOTES)
    return write_claims_run(
        tmp_path / "run", log_probs=LOG_PROBS, labels=LABELS, train_labels=LABELS, num_classes=10,
        claims=dict.fromkeys(("W1", "W2", "W3", "W8"), PAIR), arms={"kd": {"teacher": "main"}},
        teachers={"main": {"copies": COPIES, "regime": f"fixed, all training rows, {COPIES} copies"}},
        data={"name": "features", "features": 3, "fingerprint": dataset().fingerprint},
    )  # fmt: skip


def by_hand(log_probs: np.ndarray) -> tuple[float, float, float]:
    """Noise, bias and variance of (R, N, C) against the shares, plug-in, by Heskes' definition, means over rows."""
    mean = np.exp(log_probs.mean(axis=0))
    mean /= mean.sum(axis=1, keepdims=True)
    named = SHARES > 0
    logs = np.log(np.where(named, SHARES, 1.0))
    noise = -(SHARES * logs).sum(axis=1)
    bias = (SHARES * np.where(named, logs - np.log(mean), 0.0)).sum(axis=1)
    variance = (mean * (np.log(mean) - log_probs)).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(noise + bias + variance, -(SHARES * log_probs).sum(axis=2).mean(axis=0), rtol=1e-12)
    return noise.mean(), bias.mean(), variance.mean()


def test_terms_are_those_of_the_definition_against_the_shares_of_votes(made: Run) -> None:
    run = against_people(made, "cifar10h")
    for arm, log_probs in LOG_PROBS.items():
        _, bias, variance = by_hand(log_probs)
        raised = variance * REPLICAS / (REPLICAS - 1)
        for term, value in (("bias", bias - (raised - variance)), ("variance", raised)):
            row = decomposition_term(run, arm, term)
            assert row is not None
            assert row.estimate == pytest.approx(value, rel=1e-10)
            assert (row.n_samples, row.n_replicas, row.run) == (ROWS, REPLICAS, "made by cifar10h")
        label, people = decomposition_term(made, arm, "variance"), decomposition_term(run, arm, "variance")
        assert label is not None
        assert people is not None
        assert label.estimate == pytest.approx(people.estimate, rel=1e-12)  # whatever the truth
        assert decomposition_term(made, arm, "bias").estimate != pytest.approx(bias, rel=0.05)  # type: ignore[union-attr]
    assert decomposition_term(run, "ce", "bias", "member") is None  # nobody labelled training rows


def test_a_claim_over_copies_of_teachers_is_the_jackknife_of_these_terms(made: Run) -> None:
    table = claims_table([against_people(made, "cifar10h")]).set_index("id")
    assert list(table.index) == ["W1", "W2"]  # the others ask for a label
    copy = np.arange(REPLICAS) % COPIES

    def change(kept: np.ndarray) -> np.ndarray:
        treated, untreated = (np.array(by_hand(LOG_PROBS[arm][kept])) for arm in ("kd", "ce"))
        return treated - untreated

    whole = change(np.ones(REPLICAS, dtype=bool))
    left_out = np.mean([change(copy != number) for number in range(COPIES)], axis=0)
    variance = COPIES * whole[2] - (COPIES - 1) * left_out[2]
    assert table.loc["W2", "effect"] == pytest.approx(variance, rel=1e-9)
    assert table.loc["W1", "effect"] == pytest.approx(whole[1] + whole[2] - variance, rel=1e-9)
    assert table.loc["W1", "n_teachers"] == COPIES
    base = decomposition_term(against_people(made, "cifar10h"), "ce", "bias")
    assert base is not None
    assert table.loc["W1", "threshold"] == pytest.approx(0.05 * base.estimate)
    plain = claims_table([made]).set_index("id")
    assert {"W1", "W2", "W3", "W8"} == set(plain.index)
    assert plain.loc["W1", "effect"] != pytest.approx(table.loc["W1", "effect"], rel=0.05)
    assert plain.loc["W2", "effect"] == pytest.approx(table.loc["W2", "effect"], rel=1e-9)
    for said in table["said"]:
        assert said.endswith(", with people's labels (CIFAR-10H) as the truth, the features' pretraining included")
    assert not plain["said"].str.contains("people").any()


def test_noise_is_shown_with_what_few_votes_lack(made: Run) -> None:
    run = against_people(made, "cifar10h")
    frame = FIGURE.collect([made, run])
    assert set(frame["run"]) == {"made by cifar10h"}
    noise = frame[(frame["term"] == "noise") & (frame["truth"] == "people's labels")].set_index("row")
    entropies = -np.sum(SHARES * np.log(np.where(SHARES > 0, SHARES, 1.0)), axis=1)
    for name, inside in (("all", LABELS >= 0), ("cat", LABELS == 3)):
        assert noise.loc[name, "estimate"] == pytest.approx(entropies[inside].mean())
        error = entropies[inside].std(ddof=1) / np.sqrt(inside.sum())
        assert noise.loc[name, "stderr_samples"] == pytest.approx(error)
        assert noise.loc[name, "n_samples"] == inside.sum()
    assert noise.loc["all", "unanimous"] == pytest.approx(0.1)
    assert len(noise) == 11
    added = frame[(frame["truth"] == "noise with what few votes lack") & (frame["row"] == "all")]
    lacking = ((SHARES > 0).sum(axis=1) - 1) / 100
    assert added["estimate"].item() == pytest.approx((entropies + lacking).mean())
    with style.context():
        drawing = FIGURE.draw(frame)
    assert [ax.get_title(loc="left") or ax.get_title() for ax in drawing.axes] == [
        "Noise by true class: how far people disagree",
        "Bias, against each truth",
        "Variance, same for both",
    ]
    caption = FIGURE.caption(frame, [run])
    assert "n = 200 test rows, 50 votes a row" in caption
    assert "all votes agree on 10 %" in caption


def test_few_votes_lower_the_entropy_by_about_what_is_added(made: Run) -> None:
    people = against_people(made, "cifar10h").people
    true = np.array([0.6, 0.3, 0.1])
    votes = np.random.default_rng(0).multinomial(50, true, size=20_000)
    shares = votes / 50
    plain = -np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)), axis=1)
    exact = -np.sum(true * np.log(true))
    drawn = type(people)("x", np.arange(20_000), np.zeros(20_000, int), votes, None, {}, ("a", "b", "c"), "")
    gap = plain.mean() - exact
    assert gap < -0.015  # ten standard errors
    assert abs(gap + small_sample_noise(drawn).mean()) < 0.1 * abs(gap)


def test_the_report_names_the_truth_and_keeps_accuracies(made: Run, tmp_path: Path) -> None:
    assert main([str(made.directory), "--truth", "cifar10h", "--out", str(tmp_path / "out"), "--formats", "png"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"claims.csv", "index.html", "summary.json", "truth.csv", "truth.png"}
    content = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    (about,) = content["runs"].values()
    assert about["truth"].startswith("CIFAR-10H: 50 people's labels of 200 test images")
    kd = about["arms"]["kd"]
    assert kd["accuracy"]["value"] == pytest.approx((LOG_PROBS["kd"].argmax(axis=2) == LABELS).mean())
    assert kd["bias"]["value"] == pytest.approx(
        decomposition_term(against_people(made, "cifar10h"), "kd", "bias").estimate
    )  # type: ignore[union-attr]
    assert about["claims_fixed_before_the_run"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}", "--truth", "cifar10"], "no people's labels named 'cifar10', did you mean 'cifar10h'?"),
        (["{run}", "--truth", "cifar10n"], "no CIFAR-10N at "),
        (["{run}", "--truth", "cifar10h", "--figures", "effects,truth"], "--figures effects: drawn against"),
        (["--ledger", "{run}", "--truth", "cifar10h"], "--ledger takes no runs and no other option"),
        (["--soft-labels", "a.npy", "--truth", "cifar10h"], "--truth belong to a report on runs"),
    ],
)  # fmt: skip
def test_bad_options_are_one_line(
    made: Run, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(run=made.directory) for word in arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("biasvar: error: ")
    assert shown.count("\n") == 1
    assert words in shown


def test_runs_that_people_do_not_fit_are_refused(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(words: str, **changes: object) -> None:
        with pytest.raises(RecordError, match=words):
            against_people(Run(made.directory, {**made.manifest, **changes}), "cifar10h")

    refused("tests none of the claims W1, W2, S1, S2", claims={"W8": PAIR})
    refused("does not name its data", data={})
    refused("is not the data that .* was made with", data={**made.manifest["data"], "fingerprint": "another"})
    other = dataset()
    other.split[:] = np.where(np.arange(2 * ROWS) == 7, "train", other.split)
    monkeypatch.setattr(biasvar.data, "load_dataset", lambda *_, **__: other)
    refused("cifar10h has no labels of sample 7", data={**made.manifest["data"], "fingerprint": other.fingerprint})


def test_the_run_itself_stays_as_it_was(made: Run) -> None:
    run = against_people(made, "cifar10h")
    assert isinstance(run, PeopleRun)
    assert run.by_labels is made
    assert made.name == "made"
    assert FIGURE.collect([made]).empty
