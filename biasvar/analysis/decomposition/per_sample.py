"""What a decomposition and a change of one have in common: terms of every sample, their errors and totals."""

from __future__ import annotations

from biasvar.analysis.arrays import Array
from biasvar.analysis.decomposition.totals import LEAST_BIAS, LEAST_VARIANCE, Totals, make_totals
from biasvar.analysis.statistics.jackknife import jackknife_stderr


class PerSample:
    """Base of the result dataclasses, which declare these arrays as fields."""

    bias: Array
    variance: Array
    counts: Array
    group_counts: Array | None
    deleted_bias: Array | None
    deleted_variance: Array | None
    signed_variance: Array | None
    deleted_signed_variance: Array | None
    correction: str | None

    @property
    def is_corrected(self) -> bool:
        """Whether the terms are corrected, by whichever method."""
        return self.correction is not None

    @property
    def net_variance(self) -> Array:
        """What the variance adds to the mean loss, `(N,)`: itself, but for the loss "zero_one"."""
        return self.variance if self.signed_variance is None else self.signed_variance

    @property
    def deleted_net_variance(self) -> Array | None:
        """`net_variance` with group g left out, `(G, N)`, or None without errors."""
        return self.deleted_variance if self.signed_variance is None else self.deleted_signed_variance

    @property
    def bias_stderr(self) -> Array:
        """Jackknife error of each sample's bias over replicas, `(N,)`; NaN below 2 groups or without errors."""
        return _stderr(self.bias, self.deleted_bias, self.group_counts, LEAST_BIAS)

    @property
    def variance_stderr(self) -> Array:
        """Jackknife error of each sample's variance over replicas, `(N,)`; NaN below 3 groups or without errors."""
        return _stderr(self.variance, self.deleted_variance, self.group_counts, LEAST_VARIANCE)

    def totals(self, rows: Array | None = None) -> Totals:
        """Means over samples, each with its error over replicas and over samples.

        The jackknife is of the total itself (the mean over rows with a group left out), never combined from per-sample
        errors; of a change it is paired. Rows that are NaN, or would be NaN with some group left out, are left out of
        all means; `n_samples` says how many remain. If no row survives every deletion, the means are over the rows that
        have a value and the replica errors are NaN. The noise of a change is 0.

        Args:
            rows: bool `(N,)` or integer row numbers; all rows by default.
        """
        return make_totals(self._noise(), self, rows)

    def _noise(self) -> Array:
        return 0.0 * self.bias


def _stderr(value: Array, deleted: Array | None, sizes: Array | None, least: int) -> Array:
    if deleted is None:
        return value * float("nan")
    return jackknife_stderr(value, deleted, sizes, least=least)
