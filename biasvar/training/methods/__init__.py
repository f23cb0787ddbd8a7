"""The methods that train students, one room each, named by the loss that a study file gives."""

from __future__ import annotations

import importlib

from biasvar.study import Arm
from biasvar.study.import_path import import_named
from biasvar.training.methods.base import Batch, Method, Need, Result, Step
from biasvar.training.schedules import Phase

__all__ = ["Batch", "Method", "Need", "Phase", "Result", "Step", "method_of"]


def method_of(arm: Arm) -> Method:
    """The method of an arm, with the arm's settings.

    Raises:
        ValueError: A user's own method cannot be imported, or is no `Method`.
    """
    if ":" in arm.loss:
        cls = import_named(arm.loss, what="method", kind="Method", example="mylab.methods:MyMethod")
        if not (isinstance(cls, type) and issubclass(cls, Method)):
            raise ValueError(f"method {arm.loss}: must be a subclass of biasvar.training.methods.Method")
        return cls(arm)
    room = importlib.import_module(f"{__name__}.{arm.loss}")
    (cls,) = (
        found
        for found in vars(room).values()
        if isinstance(found, type) and issubclass(found, Method) and getattr(found, "Settings", None) is type(arm)
    )
    return cls(arm)
