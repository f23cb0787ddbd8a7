"""Characters that the font of the figures lacks: fonts to fall back on, and one line about those that none has."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager

_GLYPH = re.compile(r"Glyph (\d+) ")
_MISSING = r"Glyph \d+ .*missing from|Matplotlib currently does not support .* natively"
SHOWN = 5  # characters that the line names


def families() -> list[str]:
    """The font of figures, then those of the user's own Matplotlib settings, for characters that the first lacks.

    A character that the first font has is drawn with it whatever the settings say. Fonts that are not installed are
    left out.
    """
    settings: dict[Any, Any] = {**mpl.rcParams}
    own = [name for family in settings["font.family"] for name in settings.get(f"font.{family}", [family])]
    usual = [*mpl.rcParamsDefault["font.sans-serif"], "sans-serif"]
    there = set(font_manager.get_font_names())
    return ["sans-serif", *dict.fromkeys(name for name in own if name in there and name not in usual)]


@contextmanager
def one_line_for_missing_glyphs() -> Iterator[None]:
    """Gathers Matplotlib's warnings of characters without a glyph, several for each text, into one line on stderr.

    Other warnings are shown at the end.
    """
    missing: dict[str, None] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _MISSING)
        yield
    for one in caught:
        text = str(one.message)
        if not re.match(_MISSING, text):
            warnings.showwarning(one.message, one.category, one.filename, one.lineno)
        elif glyph := _GLYPH.match(text):
            missing[chr(int(glyph[1]))] = None
    if missing:
        print(f"biasvar: note: {_said(list(missing))}", file=sys.stderr)


def _said(missing: list[str]) -> str:
    some = " ".join(missing[:SHOWN]) + (" ..." if len(missing) > SHOWN else "")
    return (
        f"the figures show boxes for {len(missing)} characters that their fonts lack ({some}); name an installed font "
        "that has them in a file matplotlibrc in the current folder, such as the line font.family: Noto Sans CJK SC, "
        "and make the report again"
    )
