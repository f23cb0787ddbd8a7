"""The arithmetic of a decomposition on one chunk of rows, from sums over the replicas of each jackknife group.

Everything is float64. `counts` is `(G, n)`; a row without replicas, and a deletion that leaves none, becomes NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_compat

from biasvar.analysis.arrays import Array, log1p_others, named, namespace, pick
from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.inputs import as_array, as_labels, as_soft_labels, check_real, like
from biasvar.analysis.scale import log_probabilities

LOSSES = ("cross_entropy", "squared_error", "zero_one")
# exp of this is 0, and it can be added and subtracted.
_ROUNDING = 1e-9  # of the log-probabilities of one replica, whose exponentials sum to 1 but for it
_LOG_OF_NOTHING = -1000.0


@dataclass(frozen=True, eq=False)
class Target:
    """What the loss is expected against: class numbers `(N,)` or distributions `(N, C)`, and its noise `(N,)`.

    `value` `(N,)` is that of the generator at the target, for Bregman losses.
    """

    labels: Array | None
    soft: Array | None
    noise: Array
    value: Array | None = None

    def rows(self, start: int, stop: int) -> Target:
        """The same for rows start .. stop - 1."""
        cut = slice(start, stop)
        return Target(
            None if self.labels is None else self.labels[cut],
            None if self.soft is None else self.soft[cut],
            self.noise[cut],
            None if self.value is None else self.value[cut],
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
    """Bias and variance `(n,)`, and with each group left out `(G, n)` or None.

    `net` is what the variance adds to the loss, None where that is the variance itself.
    """

    bias: Array
    variance: Array
    net: Array | None = None
    deleted_bias: Array | None = None
    deleted_variance: Array | None = None
    deleted_net: Array | None = None


def make_target(target: Any, reference: Array, counts: Array, num_classes: int, loss: str | Bregman) -> Target:
    """Check a target for (N, C) and compute its noise: the entropy, 1 - |q|^2 for squared error, or a generator's.

    Rows that no replica counts for, by `counts` `(G, N)`, may hold anything: their terms are NaN.
    """
    target = as_array(target, "target")
    shape = (int(counts.shape[1]), num_classes)
    counted = namespace(counts).any(counts > 0, axis=0)
    if target.ndim == 1:
        labels = as_labels(target, reference, shape[:1], num_classes, "target", where=counted)
        xp = namespace(labels)
        noise = xp.zeros(shape[0], dtype=xp.float64, device=array_api_compat.device(labels))
        if isinstance(loss, Bregman):
            return Target(labels, None, noise, xp.take(loss.vertices(labels, num_classes), labels))
        return Target(labels, None, noise)
    if target.ndim != 2 or tuple(target.shape) != shape:
        raise ValueError(
            f"target must be class numbers {shape[:1]} or distributions {shape}, got shape {tuple(target.shape)}"
        )
    if loss == "zero_one":
        raise ValueError(
            'loss="zero_one" takes class numbers (N,) as target: the noise of a distribution enters the 0-1 loss by a'
            " factor of its own for every sample (Domingos 2000), and no terms would add up; take"
            " target.argmax(axis=-1), or another loss"
        )
    target = like(target, reference, "target")
    check_real(target, "target")
    xp = namespace(target)
    if xp.isdtype(target.dtype, "integral"):
        target = xp.astype(target, xp.float64)
    soft = as_soft_labels(xp.where(counted[:, None], target, 1.0 / num_classes), "target")
    if loss == "squared_error":
        return Target(None, soft, 1.0 - xp.sum(soft**2, axis=-1))
    if isinstance(loss, Bregman):
        value = loss.value(soft)
        mean_value = xp.sum(soft * loss.vertices(soft, num_classes), axis=-1)
        return Target(None, soft, loss.require_gaps(mean_value - value, xp.abs(mean_value)), value)
    return Target(None, soft, -xp.sum(_times_log(soft), axis=-1))


def log_inputs(p: Array, name: str, loss: str | Bregman, start: int = 0) -> Array:
    """The logits of probabilities `(..., C)`: their logarithms, and but for cross-entropy a floor for those of 0.

    Raises:
        ValueError: for rows that are no distributions, and for cross-entropy for a probability of 0.
    """
    x = log_probabilities(p, name, start)
    xp = namespace(x)
    if loss != "cross_entropy":
        return xp.where(x < _LOG_OF_NOTHING, _LOG_OF_NOTHING, x)
    zero = xp.any(x == -float("inf"), axis=-1)
    if bool(xp.any(zero)):
        raise ValueError(
            f"probabilities must be above 0 for cross-entropy; row {named(zero, start)} of {name} holds a 0: raise them"
            ' to a floor of your choice first, or take loss="squared_error"'
        )
    return x


def check_loss(loss: str | Bregman) -> None:
    """Refuse an unknown loss, and a generator that bears the name of another one."""
    if isinstance(loss, Bregman):
        if loss.name in LOSSES:
            raise ValueError(f"the name of a Bregman loss must be another than {', '.join(LOSSES)}, got {loss.name!r}")
    elif not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)} or a Bregman loss, got {loss!r}")


def loss_name(loss: str | Bregman) -> str:
    """What a `Decomposition` calls the loss."""
    return loss.name if isinstance(loss, Bregman) else loss


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
    bias, variance = _heskes(xp.sum(sums, axis=0) / divisor(n)[:, None], target)
    variance = _none_of_one(variance, n)
    if not errors:
        return Terms(bias, variance)
    left = divisor(n - counts)
    deleted_bias, deleted_variance = _heskes(sums_of_others(sums) / left[..., None], target)
    return Terms(bias, variance, None, deleted_bias, _none_of_one(deleted_variance, n - counts))


def _none_of_one(variance: Array, n: Array) -> Array:
    """Plug-in variances, 0 where they are of one replica and a few last bits of its own softmax."""
    return namespace(variance).where((n == 1) & (variance < _ROUNDING), 0.0, variance)


def _heskes(mean: Array, target: Target) -> tuple[Array, Array]:
    """Bias and variance `(..., n)` of mean log-probabilities `(..., n, C)`."""
    top, shifted, rest = log1p_others(mean)
    # By Jensen's inequality logsumexp(m) <= 0: what is above 0 can only be the last bits of the sums.
    variance = _not_negative(-(top + rest))
    if target.labels is None:
        return _not_negative(rest - target.noise - target.expect(shifted)), variance
    # All of one sign, so that the small bias of a confident sample keeps its relative precision.
    return rest - target.expect(shifted), variance


def sums_of_others(sums: Array) -> Array:
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


def bregman_terms(sums: Array, counts: Array, target: Target, loss: Bregman, errors: bool) -> Terms:
    """Pfau's split from the sums over each group of gradients and conjugates, `sums` `(G, n, C + 1)`."""
    xp = namespace(sums)
    n = xp.sum(counts, axis=0)
    terms = _pfau(xp.sum(sums, axis=0), n, target, loss, True)
    if not errors:
        return Terms(*terms)
    return Terms(*terms, None, *_pfau(sums_of_others(sums), n - counts, target, loss, False))


def _pfau(sums: Array, n: Array, target: Target, loss: Bregman, checked: bool) -> tuple[Array, Array]:
    """Bias D(q || c) and variance F(c) - <g, c> + mean conjugate, `(..., n)`; NaN where `n` is 0."""
    xp = namespace(sums)
    # The generator is asked about the other rows only: it need not know of NaN.
    kept = (n > 0)[..., None]
    stand_in = xp.broadcast_to(loss.dual(xp.ones_like(sums[..., :-1]) / (sums.shape[-1] - 1)), sums.shape)
    mean = xp.where(kept, sums / divisor(n)[..., None], stand_in)
    slope, conjugate = mean[..., :-1], mean[..., -1]
    centre, value = loss.centre(slope, checked)
    inner = xp.sum(slope * centre, axis=-1)
    bias = target.value - value - target.expect(slope) + inner
    size = xp.abs(value) + xp.abs(inner)
    gaps = (loss.require_gaps(bias, size + xp.abs(target.value)), loss.require_gaps(value - inner + conjugate, size))
    return gaps[0] + 0.0 * divisor(n), gaps[1] + 0.0 * divisor(n)


def squared_error_terms(means: Array, squares: Array, counts: Array, target: Target, errors: bool) -> Terms:
    """bias = |q - pbar|^2, variance = mean |p - pbar|^2 from group means `(G, n, C)` and squared deviations `(G, n)`.

    Groups are joined and left out by the parallel form of Welford's update (Chan, Golub and LeVeque 1983).
    """
    xp = namespace(means)
    n = xp.sum(counts, axis=0)
    some = divisor(n)
    mean = xp.sum(counts[..., None] * means, axis=0) / some[:, None]
    apart = xp.sum((means - mean) ** 2, axis=-1)
    total = xp.sum(squares + counts * apart, axis=0)
    bias, variance = target.distance(mean), total / some
    if not errors:
        return Terms(bias, variance)
    left = divisor(n - counts)
    mean_without = mean + (counts / left)[..., None] * (mean - means)
    # A sum of squares; subtracting can leave a few negative last bits where the group held all the spread.
    rest = _not_negative(total - squares - counts * some / left * apart)
    return Terms(bias, variance, None, target.distance(mean_without), rest / left)


def _times_log(q: Array) -> Array:
    xp = namespace(q)
    return q * xp.log(xp.where(q > 0, q, 1.0))


def _not_negative(x: Array) -> Array:
    return namespace(x).where(x <= 0, 0.0, x)  # <= so that -0.0 becomes 0.0


def divisor(n: Array) -> Array:
    """`n`, NaN where it is 0."""
    return namespace(n).where(n > 0, n, float("nan"))
