"""The claims on biased soft labels on made data: for each, data where it holds, fails and stays undecided."""

from __future__ import annotations

import numpy as np

from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import final_accuracy
from tests.report.made_claims import CLASSES, answers, predictions, write_claims_run


def test_a_made_run_holds_what_it_was_made_of(tmp_path):
    right = {"ce": answers(0.7, 4, 200, seed=0), "kd": answers(0.8, 4, 200, seed=1, of_rows=1.0)}
    assert abs(answers(0.7, 200, 200, seed=0, of_rows=1.0, of_replicas=0.5).mean() - 0.7) < 0.05
    log_probs = predictions(2.0, 1.0, np.arange(200) % CLASSES, 4, seed=2)
    shares = np.linspace(0.1, 0.4, 20)[:, None] + np.arange(4) / 100
    run = write_claims_run(
        tmp_path / "run", right, log_probs={"wsl": log_probs}, shares={"kd": shares}, claims={"W4": [{"arm": "kd"}]},
        arms={"kd": {"teacher": "main", "label": "KD"}}, teachers={"main": {"copies": 2}},
    )  # fmt: skip
    assert run.study is not None
    assert run.arms == ["ce", "kd", "wsl"]
    assert (run.entry("kd").teacher, run.entry("kd").label, run.entry("ce").loss) == ("main", "KD", "cross_entropy")
    for arm in ("ce", "kd"):
        assert np.array_equal(final_accuracy(run, arm), right[arm].mean(axis=1))
        record = run.records(["label", "student_prediction"], arm=arm, split="test", view="clean")
        answered = (record["student_prediction"] == record["label"]).to_numpy()
        assert np.array_equal(answered.reshape(4, 200), right[arm])
    assert np.array_equal(final_accuracy(run, "wsl"), (log_probs.argmax(-1) == np.arange(200) % CLASSES).mean(1))
    kept = run.predictions("wsl")  # whose losses are held against the metrics
    assert np.allclose(kept.mean_log_probs, log_probs)
    training = stored.metrics_of(run, "kd", "train", "augmented").pivot(
        index="epoch", columns="replica", values="share_opposing"
    )
    assert training.index.tolist() == [*range(1, 21)]
    assert np.array_equal(training, shares)
