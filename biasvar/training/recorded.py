"""What an arm recorded of its training rows, for arms that go by it: their weights, and selections of rows."""

from __future__ import annotations

import numpy as np

from biasvar.errors import RecordError
from biasvar.records import open_run
from biasvar.training.context import StudyContext
from biasvar.training.hooks import Fault, named, rows_of
from biasvar.training.methods import method_of


def check_recorded(context: StudyContext, arm: str, key: str) -> None:
    """Raise ValueError, "key: what is wrong", unless an arm records every row that its replicas draw."""
    settings = context.study.arms[arm]
    with named(arm, settings):
        rows = rows_of(context, method_of(settings), [0]).ids.shape[1]
    drawn = context.rows([0]).ids.shape[1]
    if rows < drawn:
        raise ValueError(
            f"{key}: arm {arm} is trained on {rows} of the {drawn} rows that replica 0 draws, and records no others; "
            "name an arm that is trained on all of them"
        )


def recorded_means(context: StudyContext, arm: str, column: str, key: str) -> np.ndarray:
    """(R, N): the mean through training of what an arm recorded, by replica and sample id; NaN where nothing.

    Raises:
        Fault: All replicas of the arm failed before anything was recorded.
    """
    run = open_run(context.directory)
    try:
        frame = run.weights(arm, column=column, by="replica")
    except RecordError as error:
        if len(run.arm(arm).get("failed_replicas") or ()) < context.study.replicas:
            raise
        raise Fault(
            f"{key}: arm {arm} has no record: all of its replicas failed; give it a lower learning rate"
        ) from error
    table = np.full((context.study.replicas, len(context.labels)), np.nan)
    table[frame["replica"], frame["sample_id"]] = frame["weight"]
    return table
