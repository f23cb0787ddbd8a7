"""The error of a mean over crossed factors: replicas, test rows and teachers, each a sample of more like it.

An interval over replicas holds for these rows and these teachers. A sentence about the world needs the error over all
that was drawn: the variances over the factors add up, and what is counted in several of them is taken off again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from biasvar.analysis.equality import EqualByNumbers
from biasvar.analysis.statistics.checks import as_real, not_negative
from biasvar.analysis.statistics.intervals import Interval, interval_from, t_quantile
from biasvar.arguments import checked

_HIGHEST = 0.9995


@dataclass(frozen=True, eq=False)
class Component(EqualByNumbers):
    """One factor: the standard error of the mean if that factor alone were drawn anew, its df and its levels n.

    >>> Component(stderr=0.3, df=4, n=5)
    Component(stderr=0.3, df=4, n=5)
    """

    stderr: float
    df: float
    n: int


@dataclass(frozen=True)
class Crossed:
    """A mean with its error over all factors together.

    Attributes:
        estimate: the mean.
        stderr: its standard error over all factors.
        df: Satterthwaite's degrees of freedom of `stderr`.
        components: by factor, its error alone, which counts the factor's interactions too.

    >>> from biasvar.analysis import crossed_mean
    >>> mean = crossed_mean([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]], ["replicas", "rows"])
    >>> mean.estimate, sorted(mean.components), mean.n
    (2.5, ['replicas', 'rows'], 2)
    >>> mean.stderr > mean.components["replicas"].stderr
    True
    """

    estimate: float
    stderr: float
    df: float
    components: Mapping[str, Component]

    @property
    def n(self) -> int:
        """Levels of the factor with the fewest: what limits the interval."""
        return min(component.n for component in self.components.values())

    def interval(self, level: float = 0.95) -> Interval:
        """estimate -+ t(df) stderr."""
        return interval_from(self.estimate, self.stderr, self.df, self.n, level)


def crossed_mean(values: Any, factors: Sequence[str]) -> Crossed:
    """The mean of a table with one value for each combination of levels, and its error over all factors.

    With V_S the mean square of the effect of a set S of factors divided by the number of cells,

        variance = sum over non-empty S of (-1)^(|S| + 1) V_S

    which is unbiased for random effects of any order (two factors: V_a + V_b - V_ab; Cornfield and Tukey 1956), but
    never less than the largest V_a: interactions are estimated too. Degrees of freedom by Satterthwaite (1946),
    variance^2 / sum V_S^2 / df_S, at least the smallest df_S, and so few that no interval is narrower than one over a
    factor alone. A factor without any variance adds nothing and takes no
    degrees of freedom.

    Args:
        values: one axis a factor, each of at least 2 levels.
        factors: the names of the axes, such as ("replicas", "rows").

    Raises:
        ValueError: for as many names as there are not axes, a factor of one level, values that are no numbers.

    >>> found = crossed_mean([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]], ("replicas", "rows"))
    >>> round(found.estimate, 3), round(found.stderr, 3), round(found.df, 2)
    (3.5, 1.756, 1.0)
    """
    table = as_real(values, "values")
    if not isinstance(factors, list | tuple) or not all(isinstance(name, str) for name in factors):
        raise ValueError(f"factors must be a list of the names of the axes of values, not {factors!r}")
    if table.ndim != len(factors) or not factors or len(set(factors)) < len(factors):
        raise ValueError(f"factors must name each of the {table.ndim} axes of values once, got {list(factors)}")
    for name, n in zip(factors, table.shape, strict=True):
        if n < 2:
            raise ValueError(f"values must have at least 2 levels of {name}, got {n}")
    axes = range(table.ndim)
    squares: dict[tuple[int, ...], tuple[float, float]] = {}  # V_S and its degrees of freedom
    effects: dict[tuple[int, ...], np.ndarray] = {(): table.mean(keepdims=True)}
    with np.errstate(invalid="ignore", over="ignore"):
        for size in range(1, table.ndim + 1):
            for chosen in combinations(axes, size):
                others = tuple(axis for axis in axes if axis not in chosen)
                lower = sum(effect for inner, effect in effects.items() if set(inner) < set(chosen))
                effect = table.mean(axis=others, keepdims=True) - lower
                df = math.prod(table.shape[axis] - 1 for axis in chosen)
                cells = math.prod(table.shape[axis] for axis in chosen)
                effects[chosen] = effect
                squares[chosen] = float(np.sum(effect**2)) / df / cells, float(df)
    signed = [(value if len(chosen) % 2 else -value, df) for chosen, (value, df) in squares.items()]
    alone = {name: squares[axis,] for axis, name in enumerate(factors)}
    components = {
        name: Component(math.sqrt(value), df, table.shape[list(factors).index(name)])
        for name, (value, df) in alone.items()
    }
    largest = max(alone.values(), key=lambda one: one[0])
    variance = sum(value for value, _ in signed)
    stderr, df = math.sqrt(largest[0]), largest[1]
    if variance > largest[0]:
        stderr, df = math.sqrt(variance), _satterthwaite(variance, signed)
    return Crossed(float(table.mean()), stderr, _as_wide_as_each(stderr, df, components), components)


@checked
def combined(estimate: float, components: Mapping[str, Component]) -> Crossed:
    """An estimate whose errors over several factors are known one by one, not their interactions.

    stderr = sqrt(sum of squares), which counts interactions once for each of their factors and so is too large rather
    than too small; degrees of freedom by Satterthwaite. A component whose error is NaN (nobody measured it) makes the
    error NaN; leave out factors that were not drawn. No interval is narrower than one over a factor alone.

    Raises:
        ValueError: for no components, what is none, a negative error.

    >>> both = combined(1.0, {"replicas": Component(0.3, 4, 5), "rows": Component(0.4, 99, 100)})
    >>> round(both.stderr, 3), round(both.df, 1)
    (0.5, 4)
    """
    parts = [(part.stderr**2, part.df) for part in checked_components(components, "components").values()]
    variance = sum(value for value, _ in parts)
    if math.isnan(variance):
        df = math.nan
    else:
        df = max(df for _, df in parts) if variance == 0.0 else _satterthwaite(variance, parts)
    stderr = math.sqrt(variance)
    return Crossed(float(estimate), stderr, _as_wide_as_each(stderr, df, components), dict(components))


def checked_components(components: Any, name: str) -> Mapping[str, Component]:
    """Components by factor, or ValueError: at least one, with an error of 0 or more or NaN."""
    if not isinstance(components, Mapping) or not all(isinstance(part, Component) for part in components.values()):
        raise ValueError(
            f"{name} must be a Component for each factor, such as {{'replicas': Component(...)}}, or a Crossed, as"
            " crossed_mean and crossed_total return"
        )
    if not components:
        raise ValueError(f"{name} must hold at least one component")
    for factor, part in components.items():
        not_negative(part.stderr, f"{name}: the error over {factor}")
        if part.df < 1.0 and part.stderr == part.stderr:
            raise ValueError(f"{name}: the degrees of freedom over {factor} must be at least 1, got {part.df}")
    return components


def _as_wide_as_each(stderr: float, df: float, components: Mapping[str, Component]) -> float:
    """Degrees of freedom with which no interval, up to the level .999, is narrower than one over a factor alone.

    Satterthwaite's are those of the factors with the most variance: beside hundreds of rows they can hide that two
    replicas, or two teachers, leave a single one.
    """
    for part in components.values():
        alone = t_quantile(_HIGHEST, part.df) * part.stderr
        if part.df < df and alone > t_quantile(_HIGHEST, df) * stderr:
            df = part.df
    return df


def _satterthwaite(variance: float, parts: Sequence[tuple[float, float]]) -> float:
    """variance^2 / sum of part^2 / df; infinite where the parts that count have none to lose."""
    lost = sum((part / variance) ** 2 / df for part, df in parts if part != 0.0)
    return max(1.0 / lost, min(df for _, df in parts)) if lost > 0.0 else math.inf
