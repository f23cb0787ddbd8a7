"""Names that lead nowhere, and the nearest that would lead somewhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_SHOWN = 12


def no_such(name: str, allowed: Iterable[str], what: str) -> str:
    allowed = list(allowed)
    shown = ", ".join(allowed[:MOST_SHOWN]) + (f" and {len(allowed) - MOST_SHOWN} more" if allowed[MOST_SHOWN:] else "")
    return f"no {what} named {name!r}{nearest(name, allowed)}; there is: {shown or 'none'}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
