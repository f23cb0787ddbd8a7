"""The arithmetic of a decomposition on one chunk of rows, from sums over the replicas of each jackknife group.

Everything is float64. `counts` is `(G, n)`; a row without replicas, and a deletion that leaves none, becomes NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_compat

from biasvar.analysis.arrays import Array, log1p_others, named, namespace, pick
from biasvar.analysis.inputs import as_array, as_labels, as_soft_labels, check_real, like
from biasvar.analysis.scale import log_probabilities

LOSSES = ("cross_entropy", "squared_error")
# exp of this is 0, and it can be added and subtracted.
_LOG_OF_NOTHING = -1000.0


@dataclass(frozen=True, eq=False)
class Target:
    """What the loss is expected against: class numbers `(N,)` or distributions `(N, C)`, and its noise `(N,)`."""

    labels: Array | None
    soft: Array | None
    noise: Array

    def rows(self, start: int, stop: int) -> Target:
        """The same for rows start .. stop - 1."""
        cut = slice(start, stop)
        return Target(
            None if self.labels is None else self.labels[cut],
            None if self.soft is None else self.soft[cut],
            self.noise[cut],
        )

    def expect(self, x: Array) -> Array:
        """The expectation of `x` `(..., n, C)` over classes drawn from the target, `(..., n)`."""
        xp = namespace(x)
        if self.labels is None:
            return xp.sum(self.soft * x, axis=-1)
        return pick(x, xp.broadcast_to(self.labels, x.shape[:-1]))

    def distance(self, p: Array) -> Array:
        """|q - p|^2 for `p` `(..., n, C)`, `(..., n)`."""
        xp = namespace(p)
        q = self.soft
        if self.labels is not None:
            classes = xp.arange(p.shape[-1], device=array_api_compat.device(p))
            q = xp.astype(classes == self.labels[:, None], xp.float64)
        return xp.sum((q - p) ** 2, axis=-1)


@dataclass(frozen=True, eq=False)
class Terms:
    """Bias and variance `(n,)`, and with each group left out `(G, n)` or None."""

    bias: Array
    variance: Array
    deleted_bias: Array | None = None
    deleted_variance: Array | None = None


def make_target(target: Any, reference: Array, counts: Array, num_classes: int, loss: str) -> Target:
    """Check a target for (N, C) and compute its noise: the entropy, or 1 - |q|^2 for squared error.

    Rows that no replica counts for, by `counts` `(G, N)`, may hold anything: their terms are NaN.
    """
    target = as_array(target, "target")
    shape = (int(counts.shape[1]), num_classes)
    counted = namespace(counts).any(counts > 0, axis=0)
    if target.ndim == 1:
        labels = as_labels(target, reference, shape[:1], num_classes, "target", where=counted)
        xp = namespace(labels)
        return Target(labels, None, xp.zeros(shape[0], dtype=xp.float64, device=array_api_compat.device(labels)))
    if target.ndim != 2 or tuple(target.shape) != shape:
        raise ValueError(
            f"target must be class numbers {shape[:1]} or distributions {shape}, got shape {tuple(target.shape)}"
        )
    target = like(target, reference, "target")
    check_real(target, "target")
    xp = namespace(target)
    if xp.isdtype(target.dtype, "integral"):
        target = xp.astype(target, xp.float64)
    soft = as_soft_labels(xp.where(counted[:, None], target, 1.0 / num_classes), "target")
    if loss == "squared_error":
        return Target(None, soft, 1.0 - xp.sum(soft**2, axis=-1))
    return Target(None, soft, -xp.sum(_times_log(soft), axis=-1))


def log_inputs(p: Array, name: str, loss: str, start: int = 0) -> Array:
    """The logits of probabilities `(..., C)`: their logarithms, and where squares are taken a floor for those of 0.

    Raises:
        ValueError: for rows that are no distributions, and for cross-entropy for a probability of 0.
    """
    x = log_probabilities(p, name, start)
    xp = namespace(x)
    if loss == "squared_error":
        return xp.where(x < _LOG_OF_NOTHING, _LOG_OF_NOTHING, x)
    zero = xp.any(x == -float("inf"), axis=-1)
    if bool(xp.any(zero)):
        raise ValueError(
            f"probabilities must be above 0 for cross-entropy; row {named(zero, start)} of {name} holds a 0: raise them"
            ' to a floor of your choice first, or take loss="squared_error"'
        )
    return x


def check_loss(loss: str) -> None:
    """Refuse an unknown loss."""
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")


def check_groups(groups: int) -> int:
    """Refuse a number of jackknife groups that is no positive integer."""
    if isinstance(groups, bool) or int(groups) != groups or groups < 1:
        raise ValueError(f"groups must be a whole number from 1 up, got {groups!r}")
    return int(groups)


def cross_entropy_terms(sums: Array, counts: Array, target: Target, errors: bool) -> Terms:
    """Heskes' split from the sum of log-probabilities of each group, `sums` `(G, n, C)`.

    With m the mean log-probability, variance = -logsumexp(m) and bias = KL(target || softmax(m)).
    """
    xp = namespace(sums)
    n = xp.sum(counts, axis=0)
    bias, variance = _heskes(xp.sum(sums, axis=0) / _or_nan(n)[:, None], target)
    if not errors:
        return Terms(bias, variance)
    left = _or_nan(n - counts)
    return Terms(bias, variance, *_heskes(_sums_of_others(sums) / left[..., None], target))


def _heskes(mean: Array, target: Target) -> tuple[Array, Array]:
    """Bias and variance `(..., n)` of mean log-probabilities `(..., n, C)`."""
    top, shifted, rest = log1p_others(mean)
    # By Jensen's inequality logsumexp(m) <= 0: what is above 0 can only be the last bits of the sums.
    variance = _not_negative(-(top + rest))
    if target.labels is None:
        return _not_negative(rest - target.noise - target.expect(shifted)), variance
    # All of one sign, so that the small bias of a confident sample keeps its relative precision.
    return rest - target.expect(shifted), variance


def _sums_of_others(sums: Array) -> Array:
    """For each group the sum `(G, ...)` of all others, added up and not subtracted from the total.

    Beside a group far from the truth, a difference would round away what confident groups have.
    """
    xp, groups = namespace(sums), sums.shape[0]
    others, before, after = xp.zeros_like(sums), xp.zeros_like(sums[0]), xp.zeros_like(sums[0])
    for g in range(groups):
        others[g] += before
        before += sums[g]
        others[groups - 1 - g] += after
        after += sums[groups - 1 - g]
    return others


def squared_error_terms(means: Array, squares: Array, counts: Array, target: Target, errors: bool) -> Terms:
    """bias = |q - pbar|^2, variance = mean |p - pbar|^2 from group means `(G, n, C)` and squared deviations `(G, n)`.

    Groups are joined and left out by the parallel form of Welford's update (Chan, Golub and LeVeque 1983).
    """
    xp = namespace(means)
    n = xp.sum(counts, axis=0)
    some = _or_nan(n)
    mean = xp.sum(counts[..., None] * means, axis=0) / some[:, None]
    apart = xp.sum((means - mean) ** 2, axis=-1)
    total = xp.sum(squares + counts * apart, axis=0)
    bias, variance = target.distance(mean), total / some
    if not errors:
        return Terms(bias, variance)
    left = _or_nan(n - counts)
    mean_without = mean + (counts / left)[..., None] * (mean - means)
    # A sum of squares; subtracting can leave a few negative last bits where the group held all the spread.
    rest = _not_negative(total - squares - counts * some / left * apart)
    return Terms(bias, variance, target.distance(mean_without), rest / left)


def _times_log(q: Array) -> Array:
    xp = namespace(q)
    return q * xp.log(xp.where(q > 0, q, 1.0))


def _not_negative(x: Array) -> Array:
    return namespace(x).where(x <= 0, 0.0, x)  # <= so that -0.0 becomes 0.0


def _or_nan(n: Array) -> Array:
    return namespace(n).where(n > 0, n, float("nan"))
