"""Results that are equal where all their numbers are, NaN to NaN too, on every version of Python."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


class EqualByNumbers:
    """Base of result dataclasses (with ``eq=False``) that hold numbers, texts and one another.

    An undefined error is NaN, and NaN is not equal to itself: whether a dataclass with one equals its copy depends on
    the version of Python. Here two results of one type are equal where each pair of fields is equal or both are NaN.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _comparable(self) == _comparable(other)

    def __hash__(self) -> int:
        return hash(_comparable(self))


def _comparable(result: Any) -> tuple[Any, ...]:
    """The fields, with one text for every NaN."""
    values = (getattr(result, field.name) for field in fields(result))
    return tuple("NaN" if isinstance(value, float) and value != value else value for value in values)
