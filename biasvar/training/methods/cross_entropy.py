"""Cross-entropy with the label."""

from __future__ import annotations

from typing import Any

from biasvar.losses import CrossEntropyLoss
from biasvar.study.arms import CrossEntropy
from biasvar.training.methods.base import Batch, Method, Result


class CrossEntropyMethod(Method):
    """-ln p_y: `biasvar.losses.CrossEntropyLoss`."""

    Settings = CrossEntropy
    splits = True

    def loss(self, state: Any, batch: Batch) -> Result:
        return CrossEntropyLoss(reduction="none")(batch.logits, batch.labels), None
