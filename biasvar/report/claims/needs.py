"""What would decide an undecided test, in words: an order of magnitude with its spread, in the unit that counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from biasvar.analysis.statistics.crossed import Crossed
from biasvar.analysis.statistics.plan import Plan, one_digit, plan
from biasvar.arguments import checked

MOST = 100_000
"""More replicas, teachers or rows than a study can have."""

_NAMES = {"rows": "test rows"}


@checked
def would_decide(gap: float, crossed: Crossed, level: float) -> str:
    """What would decide a test with 80 % power, such as "about 100 (40 to 600) replicas would decide".

    The number is for an effect as it was estimated; beside it stand those for a gap one standard error larger and one
    smaller. Where the smaller gap is 0 there is no upper end: the effect may lie at the threshold. It is in the unit of
    the factor with the largest error, if more of it would do; else in that of the factor that would do, or of all.

    Args:
        gap: distance of the estimate from the threshold, on the scale of the error; its sign does not matter.
        crossed: the estimate with its error by "replicas", "rows", "teachers", "redraws" or what else was drawn.
        level: of the interval, such as .95 (1 - alpha).

    >>> from biasvar.analysis import Component, combined
    >>> rows = combined(0.01, {"replicas": Component(0.001, 7, 8), "rows": Component(0.02, 199, 200)})
    >>> would_decide(0.05, rows, 0.95)
    'about 300 (200 to 700) test rows would decide; more replicas alone would not'
    """
    if not level >= 0.5:
        raise ValueError(f"level must be that of an interval, such as .95 (1 - alpha), got {level}")
    size, parts = abs(gap), crossed.components.values()
    if not math.isfinite(size) or not all(math.isfinite(part.stderr) and part.df >= 1.0 for part in parts):
        return "what would decide cannot be said: the effect or its error could not be computed"
    if size == 0.0:
        return "what would decide is more than can be said: the estimate lies at the threshold"
    plans = [plan(crossed, size, level=level), plan(crossed, size + crossed.stderr, level=level)]
    if size > crossed.stderr:
        plans.append(plan(crossed, size - crossed.stderr, level=level))
    middle = plans[0]
    factor = _deciding(middle)
    if factor is not None:
        said = f"about {_number([found.alone[factor] for found in plans])} {_name(factor)} would decide"
        unable = [_name(name) for name, n in middle.alone.items() if _is_beyond(n)]
        return said + (f"; more {' or '.join(unable)} alone would not" if unable else "")
    names = [name for name, n in middle.now.items() if middle.together is None or middle.together[name] > n]
    several = "together " * (len(names) > 1)
    if middle.together is None or all(_is_beyond(middle.together[name]) for name in names):
        return f"more than {MOST:,} {' and '.join(map(_name, names))} {several}would decide"
    numbers = [f"{_number([_together(found, name) for found in plans])} {_name(name)}" for name in names]
    return f"about {' and '.join(numbers)} {several}would decide; more of one alone would not"


def _deciding(found: Plan) -> str | None:
    """The factor with the largest error if more of it would decide, else the one that needs the fewest times more."""
    if found.counts is not None and not _is_beyond(found.alone[found.counts]):
        return found.counts
    times = {name: n / found.now[name] for name, n in found.alone.items() if n is not None and n <= MOST}
    return min(times, key=lambda name: times[name], default=None)


def _number(levels: Sequence[int | None]) -> str:
    """Levels with their spread: for the gap as estimated, a larger one, and a smaller one unless that is 0."""
    middle, least, *most = (f"more than {MOST:,}" if n is None or n > MOST else one_digit(n) for n in levels)
    if not most:
        return f"{middle} ({least} or more)"
    return middle if least == middle == most[0] else f"{middle} ({least} to {most[0]})"


def _together(found: Plan, name: str) -> int | None:
    return None if found.together is None else found.together[name]


def _is_beyond(n: int | None) -> bool:
    return n is None or n > MOST


def _name(factor: str) -> str:
    return _NAMES.get(factor, factor)
