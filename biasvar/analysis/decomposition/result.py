"""What a decomposition returns: the terms of the expected loss per sample, their errors, totals, and paired changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from biasvar.analysis.arrays import Array, namespace, to_numpy
from biasvar.analysis.decomposition.totals import LEAST_BIAS, LEAST_VARIANCE, Totals, make_totals
from biasvar.analysis.inputs import as_names
from biasvar.analysis.statistics.jackknife import jackknife_stderr

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Noise, bias and variance of the expected loss for every sample.

    `noise + bias + variance` is the sample's mean loss over its replicas, exactly. Arrays are float64 in the namespace
    and on the device of the input; cross-entropy terms are in nats. A row no replica counts for is NaN.

    Attributes:
        noise, bias, variance: `(N,)`.
        counts: `(N,)`, how many replicas each row has.
        loss: "cross_entropy" or "squared_error".
        group_counts: `(G, N)`, replicas by jackknife group, or None without errors.
        deleted_bias, deleted_variance: `(G, N)`, the term with group g left out, or None without errors.
        is_corrected: whether the variance has been multiplied by R / (R - 1).
    """

    noise: Array
    bias: Array
    variance: Array
    counts: Array
    loss: str
    group_counts: Array | None = None
    deleted_bias: Array | None = None
    deleted_variance: Array | None = None
    is_corrected: bool = False

    def __repr__(self) -> str:
        kind = f"{self.loss}, {'corrected' if self.is_corrected else 'plug-in'}"
        return f"<Decomposition ({kind}) of {self.noise.shape[0]:,} samples; {_said(self.totals())}>"

    @property
    def bias_stderr(self) -> Array:
        """Jackknife error of each sample's bias over replicas, `(N,)`; NaN below 2 groups or without errors."""
        return _stderr(self.bias, self.deleted_bias, self.group_counts, LEAST_BIAS)

    @property
    def variance_stderr(self) -> Array:
        """Jackknife error of each sample's variance over replicas, `(N,)`; NaN below 3 groups or without errors."""
        return _stderr(self.variance, self.deleted_variance, self.group_counts, LEAST_VARIANCE)

    def corrected(self) -> Decomposition:
        """The same with the variance of R replicas raised by R / (R - 1) and the bias lowered by as much.

        The plug-in variance is low by about (R - 1) / R and the plug-in bias high by the same amount (exact for squared
        error, to about 1 % at R = 5 for cross-entropy). Nothing is clipped, so a corrected bias may be negative; rows
        with one replica are NaN. Every deleted value is corrected with its own count, so the errors are those of the
        corrected terms.
        """
        if self.is_corrected:
            return self
        bias, variance = _corrected(self.bias, self.variance, self.counts)
        if self.group_counts is None:
            return replace(self, bias=bias, variance=variance, is_corrected=True)
        left = self.counts - self.group_counts
        deleted_bias, deleted_variance = _corrected(self.deleted_bias, self.deleted_variance, left)
        return replace(
            self,
            bias=bias,
            variance=variance,
            deleted_bias=deleted_bias,
            deleted_variance=deleted_variance,
            is_corrected=True,
        )

    def totals(self, rows: Array | None = None) -> Totals:
        """Means over samples, each with its error over replicas and over samples.

        The jackknife is of the total itself (the mean over rows with a group left out), never combined from per-sample
        errors. Rows that are NaN, or would be NaN with some group left out, are left out of all four means; `n_samples`
        says how many remain. If no row survives every deletion, the means are over the rows that have a value and the
        replica errors are NaN.

        Args:
            rows: bool `(N,)` or integer row numbers; all rows by default.
        """
        return make_totals(
            self.noise,
            self.bias,
            self.variance,
            self.counts,
            self.group_counts,
            self.deleted_bias,
            self.deleted_variance,
            rows,
        )

    def to_frame(self, sample_ids: Any = None) -> pd.DataFrame:
        """One row per sample: sample_id, noise, bias, variance, bias_stderr, variance_stderr, replicas."""
        import pandas as pd

        n = self.noise.shape[0]
        ids = range(n) if sample_ids is None else as_names(sample_ids, "sample_ids")
        if len(ids) != n:
            raise ValueError(f"sample_ids must hold one id for each of the {n} rows, got {len(ids)}")
        columns = ("noise", "bias", "variance", "bias_stderr", "variance_stderr")
        frame = pd.DataFrame({"sample_id": ids} | {name: to_numpy(getattr(self, name)) for name in columns})
        return frame.assign(replicas=to_numpy(self.counts).astype("int64"))


@dataclass(frozen=True, eq=False)
class Change:
    """Treatment minus control for every sample, on paired replicas: arrays as in `Decomposition`, noise unchanged."""

    bias: Array
    variance: Array
    counts: Array
    group_counts: Array | None = None
    deleted_bias: Array | None = None
    deleted_variance: Array | None = None
    is_corrected: bool = False

    def __repr__(self) -> str:
        kind = "corrected" if self.is_corrected else "plug-in"
        return f"<Change ({kind}) of {self.bias.shape[0]:,} samples; {_said(self.totals())}>"

    @property
    def bias_stderr(self) -> Array:
        """Paired jackknife error of the change of bias, `(N,)`; NaN below 2 groups or without errors."""
        return _stderr(self.bias, self.deleted_bias, self.group_counts, LEAST_BIAS)

    @property
    def variance_stderr(self) -> Array:
        """Paired jackknife error of the change of variance, `(N,)`; NaN below 3 groups or without errors."""
        return _stderr(self.variance, self.deleted_variance, self.group_counts, LEAST_VARIANCE)

    def totals(self, rows: Array | None = None) -> Totals:
        """Mean changes over samples with paired errors; see `Decomposition.totals`. The change of noise is 0."""
        return make_totals(
            0.0 * self.bias,
            self.bias,
            self.variance,
            self.counts,
            self.group_counts,
            self.deleted_bias,
            self.deleted_variance,
            rows,
        )


def paired_change(treatment: Decomposition, control: Decomposition) -> Change:
    """Per-sample change of bias and variance between two arms whose replica r is the same draw.

    The error is the jackknife of the difference (both arms lose the same replicas), so what the draws share cancels.

    Args:
        treatment, control: of the same rows, target, replicas and groups, both plug-in or both corrected.

    Raises:
        ValueError: if they differ in any of these.

    >>> import numpy as np
    >>> from biasvar.analysis import decompose
    >>> logits = np.random.default_rng(0).normal(size=(8, 5, 3))
    >>> change = paired_change(decompose(2 * logits, np.zeros(5, int)), decompose(logits, np.zeros(5, int)))
    >>> bool((change.variance > 0).all())
    True
    """
    for name, arm in (("treatment", treatment), ("control", control)):
        if not isinstance(arm, Decomposition):
            raise TypeError(f"{name} must be a Decomposition, as `decompose` gives it, not {type(arm).__name__}")
    for field in ("loss", "is_corrected"):
        if getattr(treatment, field) != getattr(control, field):
            raise ValueError(
                f"treatment and control differ in {field}:"
                f" {getattr(treatment, field)!r} and {getattr(control, field)!r}"
            )
    xp = namespace(treatment.bias)
    for field in ("counts", "group_counts", "noise"):
        first, second = getattr(treatment, field), getattr(control, field)
        if (first is None) != (second is None):
            raise ValueError("treatment and control must both have errors or both lack them")
        if first is None:
            continue
        if tuple(first.shape) != tuple(second.shape):
            raise ValueError(
                f"treatment and control differ in the shape of {field}: {tuple(first.shape)}, {tuple(second.shape)}"
            )
        same = (xp.abs(first - second) < 1e-9) | (xp.isnan(first) & xp.isnan(second))
        if not bool(xp.all(same)):
            what = "the target" if field == "noise" else "which replicas count for which row"
            raise ValueError(f"treatment and control differ in {field}, so in {what}; a paired change needs the same")

    def difference(field: str) -> Array | None:
        first = getattr(treatment, field)
        return None if first is None else first - getattr(control, field)

    return Change(
        bias=treatment.bias - control.bias,
        variance=treatment.variance - control.variance,
        counts=treatment.counts,
        group_counts=treatment.group_counts,
        deleted_bias=difference("deleted_bias"),
        deleted_variance=difference("deleted_variance"),
        is_corrected=treatment.is_corrected,
    )


def _said(totals: Totals) -> str:
    return f"{totals.bias.n_replicas} replicas: bias {totals.bias}; variance {totals.variance}"


def _stderr(value: Array, deleted: Array | None, sizes: Array | None, least: int) -> Array:
    if deleted is None:
        return value * float("nan")
    return jackknife_stderr(value, deleted, sizes, least=least)


def _corrected(bias: Array, variance: Array, counts: Array) -> tuple[Array, Array]:
    xp = namespace(variance)
    below = xp.where(counts > 1, counts - 1.0, float("nan"))
    missing = variance / below
    return bias - missing, variance + missing
