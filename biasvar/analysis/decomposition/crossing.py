"""The error of a total of bias or variance over all that was drawn: replicas or teachers, and rows.

`Decomposition.totals` gives two errors, one over replicas for these rows and one over rows for these replicas. A
sentence about the world needs both at once.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.decomposition.result import Change, Decomposition
from biasvar.analysis.decomposition.totals import LEAST_BIAS, LEAST_VARIANCE, rows_counted
from biasvar.analysis.inputs import as_names
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.crossed import Component, Crossed, combined
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.arguments import checked

_LEAST = {"bias": LEAST_BIAS, "variance": LEAST_VARIANCE}


@checked
def crossed_total(found: Decomposition | Change, term: str, *, teachers: Any = None, rows: Any = None) -> Crossed:
    """The mean over rows of a term, or of its change, with its error over replicas and rows together.

    variance = (jackknife error of the total over groups of replicas)^2 + (sd over rows)^2 / N, by `combined`. What
    replicas and rows interact in is counted in both, which makes the interval wide rather than narrow where a few rows
    carry most of a bias. For the same reason the rows' degrees of freedom are those of a sample variance of values with
    kurtosis k, 2 / (2 / (N - 1) + (k - 3) / N), at most N - 1.

    Where replicas share teachers and the sentence is about teachers like these, the groups must be the teachers
    (`decompose_groups(..., merge=)`) and the terms corrected by "jackknife": the ratio R / (R - 1) takes replicas of
    one teacher for independent. The error is then over teachers, their replicas included, and the interval's degrees of
    freedom are T - 1 at most.

    Simulated (`experiments/benchmarks/coverage.py`), 95 % intervals of a change of corrected bias and of variance cover
    the population's in 93 % or more for 5, 8 and 16 replicas of 200 rows or more, if 5 % of the rows are badly wrong;
    for less than about 10 badly wrong rows in the sample, in less.

    Args:
        found: made with errors; corrected, if the sentence is about the population.
        term: "bias" or "variance".
        teachers: `(G,)`, the name of each group's teacher, each once. None, or one name for all: no teacher was drawn,
            and the error holds with this one.
        rows: bool `(N,)` or integer row numbers; all rows by default.

    Returns:
        A mean with components "replicas" (or "teachers") and "rows". Its error is NaN below 2 groups for a bias, 3 for
        a variance (of two teachers one is left, which shows nothing of how they differ: simulated, such an error was
        .03 to .8 of the spread), and below 2 rows.

    Raises:
        ValueError: for an unknown term, a decomposition without errors, teachers that are not one for each group.

    >>> from biasvar.analysis import decompose
    >>> logits = np.random.default_rng(0).normal(size=(8, 50, 3))
    >>> total = crossed_total(decompose(logits, np.zeros(50, int)).corrected(), "variance")
    >>> sorted(total.components), round(total.estimate, 3), round(total.stderr, 3)
    (['replicas', 'rows'], 0.258, 0.024)
    """
    if not isinstance(found, Decomposition | Change):
        raise TypeError(f"found must be a Decomposition or a Change, not {type(found).__name__}")
    if term not in _LEAST:
        raise ValueError(f"term must be one of {', '.join(_LEAST)}, got {term!r}")
    if found.group_counts is None:
        raise ValueError("found must be made with errors=True: its error comes from the terms with a group left out")
    use = rows_counted(found.bias, found.variance, found.deleted_bias, found.deleted_variance, rows)
    values = to_numpy(getattr(found, term)[use])
    deleted = to_numpy(getattr(found, f"deleted_{term}")[:, use])
    sizes = to_numpy(found.group_counts[:, use]).sum(axis=1)
    drawn = _teachers_drawn(teachers, sizes)
    groups = int(np.count_nonzero(sizes))
    if not len(values):
        errors = {"replicas": Component(math.nan, 0, groups), "rows": Component(math.nan, 0, 0)}
        return combined(math.nan, errors)
    mean = values.mean()
    least = _LEAST[term]
    stderr = float(jackknife_stderr(np.asarray(mean), deleted.mean(axis=1), sizes, least=least))
    factor = "teachers" if drawn else "replicas"
    total = combined(float(mean), {factor: Component(stderr, groups - 1, groups), "rows": over_rows(values)})
    return replace(total, df=min(total.df, groups - 1)) if drawn else total


def _teachers_drawn(teachers: Any, sizes: np.ndarray) -> bool:
    """Whether the groups are different teachers; ValueError where some share one."""
    if teachers is None:
        return False
    names = as_names(teachers, "teachers")
    if len(names) != len(sizes):
        raise ValueError(f"teachers must name one for each of the {len(sizes)} groups, got {len(names)}")
    different = len({str(name) for name in names[sizes > 0].tolist()})
    if 1 < different < np.count_nonzero(sizes):
        raise ValueError(
            f"{np.count_nonzero(sizes)} groups share {different} teachers: make the groups of one teacher one group, "
            "with decompose_groups(..., merge=teachers)"
        )
    return different > 1


def over_rows(values: np.ndarray) -> Component:
    """The error over rows, with the degrees of freedom that their kurtosis leaves."""
    n = len(values)
    apart = (values - values.mean()) ** 2
    if n < 2 or not apart.any():
        return Component(mean_interval(values).stderr, n - 1, n)
    kurtosis = float(np.mean((apart / apart.mean()) ** 2))
    df = 2.0 / (2.0 / (n - 1) + max(kurtosis - 3.0, 0.0) / n)
    return Component(mean_interval(values).stderr, max(df, 1.0), n)
