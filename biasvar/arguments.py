"""Plain arguments of public functions: a number where a number belongs, or an error that names the argument.

`@checked` reads the annotations of a function: `float`, `int`, `bool`, `str`, `Path` and `Literal`, also with `None`.
Parameters of any other type, such as arrays, are the function's own to check.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import reprlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

Function = TypeVar("Function", bound=Callable[..., Any])
KINDS = {"float": "a number", "int": "a whole number", "bool": "True or False", "str": "text", "Path": "a path"}
TYPES = {"float": float, "int": int, "bool": bool, "str": str, "Path": Path, "NoneType": type(None)}


def checked(function: Function) -> Function:
    """The function, which refuses a plain argument of another kind than its annotation before anything else happens.

    NumPy's numbers, and arrays and tensors without axes, are taken as the Python numbers they hold; a whole float
    stands for an int, 0 and 1 for False and True. A bool is no number, and text is none.

    Raises:
        ValueError: An argument is of another kind, or no whole number where one is asked for; names it.

    >>> @checked
    ... def scaled(values: list, factor: float = 1.0, *, times: int | None = None) -> str:
    ...     return f"{values} {factor!r} {times!r}"
    >>> scaled([1], 2, times=3.0)
    '[1] 2 3'
    >>> scaled([1], "2")
    Traceback (most recent call last):
    ValueError: factor must be a number, not '2' (str)
    """
    parameters = inspect.signature(function).parameters.values()
    plain = {
        parameter.name: (place, kinds, {TYPES[kind] for kind in kinds})
        for place, parameter in enumerate(parameters)
        if (kinds := _kinds(parameter.annotation, function.__globals__)) is not None
    }
    assert plain, f"{function.__qualname__} has no plain argument to check"

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        for name, (place, kinds, types) in plain.items():
            if name in options:
                if type(options[name]) not in types:
                    options[name] = plain_value(options[name], name, kinds)
            elif place < len(args) and type(args[place]) not in types:
                args = (*args[:place], plain_value(args[place], name, kinds), *args[place + 1 :])
        return function(*args, **options)

    return call  # type: ignore[return-value]


def plain_value(value: Any, name: str, kinds: tuple[str, ...]) -> Any:
    """`value` as a Python number, bool, text or path of one of these kinds (`KINDS`, and "NoneType")."""
    found = _held(value)
    if found is None and "NoneType" in kinds:
        return None
    if isinstance(found, str) and "str" in kinds:
        return str(found)
    if isinstance(found, os.PathLike) and "Path" in kinds:
        return Path(found)
    if "bool" in kinds and (isinstance(found, bool) or (isinstance(found, int) and found in (0, 1))):
        return bool(found)
    if isinstance(found, numbers.Number) and not isinstance(found, bool | complex):
        if "float" in kinds and not (isinstance(found, int) and abs(found) > sys.float_info.max):
            return found if isinstance(found, int | float) else float(found)  # type: ignore[arg-type]
        if "int" in kinds and (isinstance(found, int) or _is_whole(found)):
            return int(found)  # type: ignore[call-overload]
    wanted = [KINDS[kind] for kind in kinds if kind in KINDS] + ["None"] * ("NoneType" in kinds)
    raise ValueError(f"{name} must be {' or '.join(wanted)}, not {_shown(value)} ({type(value).__name__})")


def _kinds(annotation: Any, names: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the types that an annotation allows; None if it allows others than plain ones."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    parts = tuple("NoneType" if part == "None" else _kind(part, names) for part in text.split(" | "))
    return parts if set(parts) <= {*KINDS, "NoneType"} else None


def _kind(part: str, names: Mapping[str, Any]) -> str:
    """`part`, or "str" for a Literal, spelled out or by its name: which texts are allowed the function says."""
    return "str" if part.startswith("Literal[") or get_origin(names.get(part)) is Literal else part


def _held(value: Any) -> Any:
    """What an array or a tensor without axes holds, such as NumPy's numbers; anything else as it is."""
    try:
        if getattr(value, "shape", None) != () or hasattr(value, "mask"):
            return value
        return value.item()
    except (RuntimeError, AttributeError, TypeError):  # a tensor without data, or without a shape
        return value


def _is_whole(value: Any) -> bool:
    return math.isfinite(value) and value == int(value)


def _shown(value: Any) -> str:
    return " ".join(reprlib.repr(value).split())
