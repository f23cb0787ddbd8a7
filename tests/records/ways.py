"""Ways of reading the predictions of the arm `kd` of a run, which must all notice what is wrong with them."""

from __future__ import annotations

from biasvar.records import Run


def decompose(run: Run) -> object:
    return run.decomposition("kd").bias


def predict(run: Run) -> object:
    return run.predictions("kd").mean_log_probs


def walk(run: Run) -> object:
    return [part.mean_log_probs for part in run.iter_predictions("kd")]
