"""Squared error of the class probabilities with the label."""

from __future__ import annotations

from typing import Any

from biasvar.losses import SquaredErrorLoss
from biasvar.study.arms import SquaredError
from biasvar.training.methods.base import Batch, Method, Result


class SquaredErrorMethod(Method):
    """The Brier score, as Yang et al. 2020 train: `biasvar.losses.SquaredErrorLoss`."""

    Settings = SquaredError
    splits = True

    def loss(self, state: Any, batch: Batch) -> Result:
        return SquaredErrorLoss(reduction="none")(batch.logits, batch.labels), None
