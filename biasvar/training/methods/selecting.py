"""What methods share whose teacher is asked about a selection of the rows only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biasvar.training.context import StudyContext
from biasvar.training.methods.base import Method, Step
from biasvar.training.selecting import Selected, check_selection, select


class SelectingMethod(Method):
    """A method whose settings may have a `selection` (`biasvar.study.selecting.Selecting`), which is its state."""

    def check(self, context: StudyContext) -> None:
        check_selection(context, self.settings)

    def prepare(self, context: StudyContext, replicas: Sequence[int]) -> Selected | None:
        return select(context, self.settings, replicas)

    def asks(self, state: Selected | None, step: Step) -> np.ndarray | None:
        return None if state is None else state.on_host(step)

    def tables(self, state: Selected | None) -> Mapping[str, Mapping[str, Any]]:
        return {} if state is None else state.tables()
