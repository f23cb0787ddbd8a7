"""Docstrings as mkdocstrings reads them: examples as code, and an entry for each of several names that share one."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^([ ]*)>>> .*(?:\n(?![ ]*$).*)*", re.MULTILINE)
_SHARED = re.compile(r"^([ ]{4,})((?:\w+, )+\w+)(: .*(?:\n\1[ ]+.*)*)", re.MULTILINE)


def readable(docstring: str) -> str:
    """The docstring with each doctest, up to the next empty line, as code, and "x, y: ..." as two entries."""
    fenced = _EXAMPLE.sub(lambda match: f"{match[1]}```pycon\n{match[0]}\n{match[1]}```", docstring)
    return _SHARED.sub(_apart, fenced)


def _apart(match: re.Match[str]) -> str:
    return "\n".join(match[1] + name + match[3] for name in match[2].split(", "))


class Docstrings(griffe.Extension):
    """Makes the docstring of everything that is documented readable."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = readable(obj.docstring.value)
