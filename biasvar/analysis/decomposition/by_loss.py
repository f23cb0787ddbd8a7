"""Which numbers of every replica are averaged for which loss, and which terms come of their sums by group."""

from __future__ import annotations

from biasvar.analysis.arrays import Array, exponentials, namespace
from biasvar.analysis.decomposition.bregman import Bregman, require_finite_dual
from biasvar.analysis.decomposition.kernels import Target, Terms, bregman_terms, cross_entropy_terms
from biasvar.analysis.decomposition.zero_one import votes, zero_one_terms


def averaged(logits: Array, kept: Array | None, loss: str | Bregman, start: int = 0) -> Array:
    """What a loss averages over replicas, `(..., n, K)` float64 from logits `(..., n, C)`, 0 where not `kept`.

    Log-probabilities, probabilities, one-hot answers, or gradients with their conjugate. NaN where a row's logits are
    not finite. `start` is the place of the first row in the whole, for messages.
    """
    xp = namespace(logits)
    if loss == "zero_one":
        values = votes(logits) + 0.0 * xp.sum(logits, axis=-1, keepdims=True)
    else:
        _, x, exponential, others = exponentials(logits)
        if loss == "cross_entropy":
            # Not the logarithm of a sum that includes the largest: it would round away all that a confident row has.
            values = x - xp.log1p(others)[..., None]
        else:
            # NaN also where a logit is -inf, whose exponential alone would pass for a 0.
            values = exponential / (1.0 + others)[..., None] + 0.0 * xp.sum(x, axis=-1, keepdims=True)
            if isinstance(loss, Bregman):
                values = loss.dual(values)
                finite = xp.all(xp.isfinite(logits), axis=-1, keepdims=True)
                require_finite_dual(values, finite if kept is None else finite & kept, loss, start)
                values = xp.where(finite, values, float("nan"))
    return values if kept is None else xp.where(kept, values, 0.0)


def width(loss: str | Bregman, classes: int) -> int:
    """K, how many numbers `averaged` gives for a row."""
    return classes + isinstance(loss, Bregman)


def terms_of_sums(sums: Array, counts: Array, target: Target, loss: str | Bregman, errors: bool) -> Terms:
    """Terms of any loss but squared error, from the sums over each group of what is `averaged`, `(G, n, K)`."""
    if isinstance(loss, Bregman):
        return bregman_terms(sums, counts, target, loss, errors)
    return (zero_one_terms if loss == "zero_one" else cross_entropy_terms)(sums, counts, target, errors)
