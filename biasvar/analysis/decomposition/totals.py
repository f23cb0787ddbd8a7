"""Means of per-sample terms over samples, each with an error over replicas and one over samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from biasvar.analysis.arrays import Array, namespace
from biasvar.analysis.equality import EqualByNumbers
from biasvar.analysis.inputs import like
from biasvar.analysis.statistics.jackknife import jackknife_stderr

LEAST_BIAS = 2  # groups below which an error is NaN: a bias needs two values to differ,
LEAST_VARIANCE = 3  # and a variance needs two replicas left after one group has gone


@dataclass(frozen=True, eq=False)
class Estimate(EqualByNumbers):
    """A mean over samples with two errors: over replicas (same samples) and over samples (same replicas).

    `n_replicas` counts the replicas that bear on it, `n_samples` the rows it is a mean of.

    >>> print(Estimate(0.5, 0.01, 0.02, n_replicas=8, n_samples=100))
    0.5 ± 0.01 over replicas, ± 0.02 over samples
    """

    value: float
    stderr_replicas: float
    stderr_samples: float
    n_replicas: int
    n_samples: int

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.stderr_replicas:.2g} over replicas, ± {self.stderr_samples:.2g} over samples"


@dataclass(frozen=True, eq=False)
class Totals(EqualByNumbers):
    """Means over the same samples of noise, bias, variance and loss, which is noise + bias + net variance.

    The net variance is the variance but for the loss "zero_one".

    >>> from biasvar.analysis import decompose
    >>> totals = decompose([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 2.0]]], [0, 1]).totals()
    >>> total = totals.noise.value + totals.bias.value + totals.variance.value
    >>> round(total, 6) == round(totals.loss.value, 6)
    True
    """

    noise: Estimate
    bias: Estimate
    variance: Estimate
    loss: Estimate
    net_variance: Estimate


def make_totals(noise: Array, terms: Any, rows: Array | None) -> Totals:
    """Totals of the terms of a `PerSample` over `rows`; its `totals` says which rows count and what the errors are."""
    bias, group_counts, deleted_bias = terms.bias, terms.group_counts, terms.deleted_bias
    net, deleted_net = terms.net_variance, terms.deleted_net_variance
    xp = namespace(bias)
    use = rows_counted(bias, terms.variance, deleted_bias, terms.deleted_variance, rows)
    n = int(xp.sum(xp.astype(use, xp.int64)))
    sizes = None if group_counts is None or n == 0 else xp.sum(group_counts[:, use], axis=1)
    n_replicas = 0
    if n:
        # With `where`, no row need have every replica: the groups' largest counts add up to those that bear on the
        # total.
        largest = xp.max(terms.counts[use]) if group_counts is None else xp.sum(xp.max(group_counts[:, use], axis=1))
        n_replicas = int(largest)

    def estimate(value: Array, deleted: Array | None, least: int) -> Estimate:
        kept = value[use]
        if n == 0:
            return Estimate(math.nan, math.nan, math.nan, 0, 0)
        mean = xp.mean(kept)
        stderr = math.nan
        if deleted is not None:
            stderr = float(jackknife_stderr(mean, xp.mean(deleted[:, use], axis=1), sizes, least=least))
        spread = math.sqrt(float(xp.sum((kept - mean) ** 2)) / (n - 1) / n) if n > 1 else math.nan
        return Estimate(float(mean), stderr, spread, n_replicas, n)

    # The target has no error over replicas: 0 wherever there are replicas to speak of, NaN without errors like the
    # rest.
    noise_total = estimate(noise, None, LEAST_BIAS)
    if sizes is not None:
        noise_total = replace(noise_total, stderr_replicas=0.0)
    deleted_loss = None if deleted_bias is None else noise + deleted_bias + deleted_net
    return Totals(
        noise=noise_total,
        bias=estimate(bias, deleted_bias, LEAST_BIAS),
        variance=estimate(terms.variance, terms.deleted_variance, LEAST_VARIANCE),
        loss=estimate(noise + bias + net, deleted_loss, LEAST_BIAS),
        net_variance=estimate(net, deleted_net, LEAST_VARIANCE),
    )


def rows_counted(
    bias: Array, variance: Array, deleted_bias: Array | None, deleted_variance: Array | None, rows: Array | None
) -> Array:
    """Which rows a total is over, bool `(N,)`: those with a value for every deletion, or if none has, with a value."""
    xp = namespace(bias)
    use = xp.isfinite(bias) & xp.isfinite(variance)
    if rows is not None:
        use = use & _row_mask(rows, bias)
    if deleted_bias is not None:
        survives = use & xp.all(xp.isfinite(deleted_bias) & xp.isfinite(deleted_variance), axis=0)
        if bool(xp.any(survives)):
            use = survives
    return use


def row_numbers(rows: Array, reference: Array) -> Array:
    """`rows`, bool `(N,)` or row numbers, as int64 row numbers beside `reference` `(N,)`."""
    rows = like(rows, reference, "rows")
    xp = namespace(reference)
    n = reference.shape[0]
    if xp.isdtype(rows.dtype, "bool"):
        if tuple(rows.shape) != (n,):
            raise ValueError(f"rows as a mask must have shape ({n},), got {tuple(rows.shape)}")
        return xp.nonzero(rows)[0]
    if not xp.isdtype(rows.dtype, "integral") or rows.ndim != 1:
        raise ValueError(
            f"rows must be a bool mask ({n},) or a list of row numbers,"
            f" got dtype {rows.dtype}, shape {tuple(rows.shape)}"
        )
    if bool(xp.any((rows < 0) | (rows >= n))):
        raise ValueError(f"rows must lie in 0 .. {n - 1}")
    return xp.astype(rows, xp.int64)


def _row_mask(rows: Array, reference: Array) -> Array:
    mask = 0.0 * reference != 0.0
    mask[row_numbers(rows, reference)] = True
    return mask
