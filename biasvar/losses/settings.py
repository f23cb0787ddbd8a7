"""The ranges of what a loss is made with, and the reduction over samples; `biasvar.arguments` sees to the kinds."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from biasvar.messages import did_you_mean

Reduction = Literal["none", "mean", "sum"]


def number(value: float, name: str, rule: str, allowed: Callable[[float], bool]) -> float:
    """A setting, a number already, as a float.

    Args:
        value: The number.
        name: Of the setting, for messages.
        rule: What it must do, such as "be above 0 and finite".
        allowed: Whether a finite number obeys the rule.

    Raises:
        ValueError: It is NaN or infinite, or against the rule.
    """
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not (math.isfinite(found) and allowed(found)):
        raise ValueError(f"{name} must {rule}, not {value if math.isfinite(found) else found}")
    return found


def from_zero_up(value: float, name: str, rule: str = "be at least 0 and finite") -> float:
    """A setting that is a finite number of 0 or more."""
    return number(value, name, rule, lambda found: found >= 0)


def check_temperature(value: float) -> float:
    """A temperature: above 0, and neither so large nor so small that float32 could not hold its square, a factor."""
    return number(value, "temperature", "lie between 1e-15 and 1e+15", lambda t: 1e-15 <= t <= 1e15)


def whole(value: int, name: str, least: int, most: int | None = None, *, rule: str = "") -> int:
    """A setting, a whole number already, within its bounds; `rule` says in words what is allowed.

    Raises:
        ValueError: It is out of bounds.
    """
    if value < least or (most is not None and value > most):
        raise ValueError(f"{name} must {rule or f'be a whole number from {least} up'}, not {reprlib.repr(value)}")
    return value


def one_of(value: str, name: str, allowed: Sequence[str]) -> str:
    """A setting, text already, that is one of some words.

    Raises:
        ValueError: It is none of them.
    """
    if value not in allowed:
        near = did_you_mean(value, allowed)
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}{near}")
    return value


def check_reduction(reduction: Any) -> Reduction:
    """The reduction, if it is one; else ValueError."""
    if not isinstance(reduction, str) or reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction must be 'none', 'mean' or 'sum', not {reprlib.repr(reduction)}")
    return cast(Reduction, reduction)
