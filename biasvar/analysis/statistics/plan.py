"""What to draw more of, so that an effect would be decided: replicas, rows, teachers, or all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from biasvar.analysis.statistics.checks import in_unit
from biasvar.analysis.statistics.crossed import Component, Crossed, checked_components, combined
from biasvar.analysis.statistics.intervals import check_level, t_quantile
from biasvar.arguments import checked

_MOST = 10**9  # levels of a factor; an answer beyond this is no answer


@dataclass(frozen=True)
class Plan:
    """How many levels of each factor it takes to decide an effect that lies `gap` from what it is compared with.

    Attributes:
        gap, level, power: what was asked for.
        now: by factor, the levels there are.
        alone: by factor, the levels it takes in all if no other factor gets more, at least those there are; None where
            no number of them would do, since the other factors' errors alone are too large.
        counts: the factor with the largest error; None where nothing varies.
        times: the least number by which all factors that vary would be multiplied together; 1 where what is there does,
            None beyond a billion levels.
        together: by factor, the levels that this makes; None with `times`.

    >>> found = plan({"replicas": Component(0.3, 4, 5), "rows": Component(0.1, 199, 200)}, 0.5)
    >>> found.counts, found.now, found.alone["rows"] is None
    ('replicas', {'replicas': 5, 'rows': 200}, True)
    """

    gap: float
    level: float
    power: float
    now: Mapping[str, int]
    alone: Mapping[str, int | None]
    counts: str | None
    times: float | None
    together: Mapping[str, int] | None

    def __str__(self) -> str:
        if self.times == 1.0:
            return f"what is there is enough: {_listed(self.now)}"
        able = sorted((n, factor) for factor, n in self.alone.items() if n is not None)
        ways = [f"about {one_digit(n)} {factor}" for n, factor in able]
        grown = {factor: n for factor, n in (self.together or {}).items() if n > self.now[factor]}
        if len(grown) > 1:
            ways.append(f"about {_listed(grown, one_digit)} together")
        unable = [factor for factor, n in self.alone.items() if n is None]
        cannot = f"{' or '.join(unable)} alone cannot" if unable and ways else ""
        return "; ".join(filter(None, [", or ".join(ways) or "not even a billion of each would do", cannot]))


@checked
def plan(effect: Crossed | Mapping[str, Component], gap: float, *, level: float = 0.95, power: float = 0.8) -> Plan:
    """What to draw more of, so that an interval at `level` decides an effect with the given power.

    The squared error of a factor with n levels falls as 1 / n and its degrees of freedom rise as n - 1; the squares are
    added and their degrees of freedom are Satterthwaite's. An effect at distance `gap` from the threshold is decided if

        (t(1 - (1 - level) / 2, df) + t(power, df)) stderr <= |gap|

    Args:
        effect: a mean over crossed factors, or the error that each factor has alone, by its name. Where interactions
            make the error of a `Crossed` other than the sum of its components, all are scaled to it; where it has no
            more degrees of freedom than one of its factors, as over a few teachers, that factor stays the limit.
        gap: distance of the effect from the threshold (the smallest effect of interest), not 0.

    Raises:
        ValueError: for no components, an error, n or df that is none or below 0, fewer than 2 levels, a gap of 0 or
            that is not finite, a level or power outside (0, 1).

    >>> from biasvar.analysis import Component
    >>> pilot = {"replicas": Component(0.3, 4, 5), "rows": Component(0.1, 199, 200)}
    >>> print(plan(pilot, 0.5))
    about 20 replicas, or about 20 replicas and 700 rows together; rows alone cannot
    """
    components, scale = _checked_components(effect)
    limit = _limit(effect, components)
    if not math.isfinite(gap) or gap == 0.0:
        raise ValueError(f"gap must be a finite number other than 0, got {gap}")
    check_level(level)
    in_unit(power, "power")

    def decides(levels: Mapping[str, float]) -> bool:
        drawn = {name: _drawn(part, levels.get(name, part.n), scale) for name, part in components.items()}
        total = combined(0.0, drawn)
        df = total.df if limit is None else min(total.df, drawn[limit].df)
        return (t_quantile(0.5 + level / 2.0, df) + t_quantile(power, df)) * total.stderr <= abs(gap)

    now = {name: part.n for name, part in components.items()}

    def needed(name: str) -> int | None:
        return _least(lambda n: decides({name: n}), now[name])

    varying = {name: n for name, n in now.items() if components[name].stderr > 0.0}

    def grown(steps: int) -> dict[str, int]:
        """All factors that vary, multiplied by the number that gives the largest of them `steps` levels."""
        return now | {name: math.ceil(n * steps / largest) for name, n in varying.items()}

    largest = max(varying.values(), default=1)
    steps = _least(lambda n: decides(grown(n)), largest)
    return Plan(
        gap,
        level,
        power,
        now,
        {name: needed(name) for name in now},
        max(varying, key=lambda name: components[name].stderr, default=None),
        None if steps is None else steps / largest,
        None if steps is None else grown(steps),
    )


def one_digit(number: float) -> str:
    """A number of levels as an order of magnitude: to one digit, up to 10 as it is.

    >>> one_digit(7), one_digit(17), one_digit(1_870)
    ('7', '20', '2,000')
    """
    if number <= 10:
        return f"{math.ceil(number)}"
    size = 10 ** math.floor(math.log10(number))
    return f"{round(number / size) * size:,}"


def _checked_components(effect: Crossed | Mapping[str, Component]) -> tuple[Mapping[str, Component], float]:
    """The components, and by how much their squared errors are scaled to add up to that of the effect."""
    components = effect.components if isinstance(effect, Crossed) else checked_components(effect, "effect")
    for name, part in components.items():
        if not math.isfinite(part.stderr):
            raise ValueError(f"effect must have a finite error over {name}, got {part.stderr}")
        if part.n < 2 or not part.df >= 1.0:
            raise ValueError(f"effect must have 2 {name} or more and 1 degree of freedom, got {part.n} and {part.df}")
    squares = sum(part.stderr**2 for part in components.values())
    known = effect.stderr**2 if isinstance(effect, Crossed) else squares
    return components, known / squares if squares > 0.0 and math.isfinite(known) else 1.0


def _limit(effect: Crossed | Mapping[str, Component], components: Mapping[str, Component]) -> str | None:
    """The factor with the fewest degrees of freedom, if the effect has no more than these: of teachers, say."""
    fewest = min(components, key=lambda name: components[name].df)
    return fewest if isinstance(effect, Crossed) and effect.df <= components[fewest].df else None


def _drawn(part: Component, n: float, scale: float) -> Component:
    """The factor with n levels; its degrees of freedom keep their share of n - 1, as those of uneven rows do."""
    stderr = part.stderr * math.sqrt(scale * part.n / n)
    return Component(stderr, part.df * (n - 1) / (part.n - 1), int(n))


def _least(decides: Callable[[int], bool], now: int) -> int | None:
    """The least number from `now` up at which it decides; None beyond a billion."""
    if decides(now):
        return now
    if not decides(_MOST):
        return None
    low, high = now, 2 * now
    while not decides(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _listed(levels: Mapping[str, int], shown: Callable[[float], str] = "{:,}".format) -> str:
    parts = [f"{shown(n)} {factor}" for factor, n in levels.items()]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
