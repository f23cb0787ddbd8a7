"""Numbers as they stand in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def signed(value: float, places: int) -> str:
    """A number with its sign; one that rounds to 0 has none.

    >>> signed(-0.24, 1), signed(-0.004, 2)
    ('−0.2', '0.00')
    """
    text = f"{value:+.{places}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def level(value: float, places: int) -> str:
    """A number that is no difference: with a sign only below 0.

    >>> level(0.996, 2), level(-0.5, 1)
    ('1.00', '−0.5')
    """
    return signed(value, places).removeprefix("+")


def sizes(counts: Iterable[float]) -> str:
    """Different numbers of rows, as a caption lists them; they may come as floats from a column with gaps.

    >>> sizes([1100, 97.0, 40, 97])
    '40, 97 and 1,100'
    """
    listed = [f"{count:,}" for count in sorted({int(count) for count in counts})]
    return in_a_row(listed)


def in_a_row(names: Iterable[str]) -> str:
    """Names as a sentence lists them.

    >>> in_a_row(["CE"]), in_a_row(["4", "8", "16"])
    ('CE', '4, 8 and 16')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def counted(number: int, what: str) -> str:
    """A number and what it counts, in the plural where it is not 1.

    >>> counted(1, "arm"), counted(3, "arm")
    ('1 arm', '3 arms')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def short_number(value: float) -> str:
    """A number for a table: three digits after the point, whole above 100.

    >>> short_number(0.12345), short_number(7702.4), short_number(math.inf), short_number(-0.5)
    ('0.123', '7,702', '∞', '−0.500')
    """
    if math.isinf(value):
        return "∞"
    if abs(value) >= 1e7:
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return signed(value, 3).replace("+", "") if value < 0 else f"{value:.3f}"


def plain_number(value: Any) -> str:
    """A setting as a table shows it; a dash for None."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def decimals(stderr: float) -> int:
    """Decimals that show two digits of a standard error, 3 where it is unknown.

    >>> decimals(0.0123), decimals(2.5), decimals(math.nan)
    (3, 1, 3)
    """
    if not math.isfinite(stderr) or stderr <= 0:
        return 3
    return min(max(1 - math.floor(math.log10(stderr)), 0), 6)
