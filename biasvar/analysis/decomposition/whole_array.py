"""Noise, bias and variance of the expected loss, sample by sample, over trainings of the same network.

For cross-entropy (Heskes 1998; Yang et al. 2020): with m the mean over replicas of the log-softmax l of the logits,

    variance = -logsumexp(m),  ybar = softmax(m),  bias = KL(target || ybar),  noise = H(target)

and mean cross-entropy = noise + bias + variance exactly, per sample. The variance does not depend on the target.
For squared error, with pbar the mean probability: variance = mean |p - pbar|^2, bias = |q - pbar|^2, noise = 1 - |q|^2.
Both are Bregman divergences, for which `Bregman` has the general form. For the 0-1 loss (Domingos 2000), with the main
prediction the class that most replicas answer (ties: the lowest): bias = 1 where it is wrong, variance = the share of
replicas that answer another, noise = 0, and mean loss = bias + net variance, which is the variance where the main
prediction is right and -(share of replicas that are right) where it is wrong. With few replicas that split is far off:
`biasvar.analysis.decomposition.zero_one` says how far.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from biasvar.analysis.arrays import Array, namespace
from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.decomposition.by_loss import averaged, terms_of_sums
from biasvar.analysis.decomposition.groups import assemble, warn_of_one
from biasvar.analysis.decomposition.kernels import Terms, squared_error_terms
from biasvar.analysis.decomposition.replicas import Part, Replicas, group_sums
from biasvar.analysis.decomposition.result import Decomposition
from biasvar.arguments import checked


@checked
def decompose(
    logits: Any,
    target: Any,
    *,
    loss: str | Bregman = "cross_entropy",
    where: Any = None,
    groups: int = 16,
    errors: bool = True,
    values: Literal["logits", "probabilities"] | None = None,
) -> Decomposition:
    """Split the mean loss over replicas into noise, bias and variance for every sample.

    The values are plug-in: noise + bias + variance is the mean loss exactly (for "zero_one" with the `net_variance` in
    place of the variance), with the variance low by about (R - 1) / R; `.corrected()` mends that. Logits are cast to
    float64 before the softmax. Replica r belongs to jackknife group r mod `groups`.

    Yang et al. 2020 estimate from T networks on disjoint splits of the training rows, as replicas here: for
    "squared_error" their bias squared and variance are the means over rows of `.corrected()` terms (the last row of
    their log), for "cross_entropy" of the plug-in terms. Networks of other partitions of the same rows share rows with
    these, so the correction is made by partition, and the corrected terms averaged.

    Args:
        logits: `(R, N, C)`, real and finite (where they count).
        target: `(N,)` class numbers, or `(N, C)` distributions (each row sums to 1 within 1e-3, then exactly); not read
            where no replica counts.
        loss: "cross_entropy" (nats), "squared_error" (of probabilities, summed over classes), "zero_one" (of
            answers; the target must be class numbers) or a `Bregman` divergence.
        where: bool `(R, N)`, which replicas count for which row, or `(N,)`, which rows count; logits elsewhere are not
            read. A row with none is NaN.
        groups: jackknife groups; with R <= groups the jackknife leaves out one replica at a time.
        errors: False skips the deleted values, for about half the time.
        values: what `logits` holds: "logits", or "probabilities" (rows sum to 1 within 1e-3, then exactly; for
            cross-entropy none may be 0). None: logits, and refused if they look like anything else (`analysis.scale`).

    Returns:
        `Decomposition`, float64, in the namespace and on the device of `logits`.

    Warns:
        UserWarning: no row has more than one replica, whose variance is 0 whatever its spread.

    Raises:
        ValueError: for wrong shapes, targets out of range, distributions that do not sum to one, logits that are not
            finite (naming the first few as (replica, row)), probabilities or votes in place of logits, an unknown loss.

    >>> import numpy as np
    >>> logits = np.log([[[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.5], [0.1, 0.9]]])  # 2 replicas, 2 rows, 2 classes
    >>> result = decompose(logits, [0, 0])
    >>> result.bias.round(4).tolist(), result.variance.round(4).tolist()
    ([0.6931, 0.6931], [0.0, 0.5108])
    """
    found = decomposed(logits, target, loss=loss, where=where, groups=groups, errors=errors, values=values)
    warn_of_one(found.counts, stacklevel=3)
    return found


def decomposed(
    logits: Any, target: Any, *, loss: str | Bregman, where: Any, groups: int, errors: bool, values: str | None
) -> Decomposition:
    """What `decompose` gives, for those who say themselves what one replica does not tell."""
    replicas = Replicas.of(logits, target, loss=loss, where=where, groups=groups, errors=errors, values=values)
    parts = [_decompose_chunk(part, loss, errors) for part in replicas.parts()]
    return assemble(parts, replicas.target, replicas.counts, loss, errors)


def _decompose_chunk(part: Part, loss: str | Bregman, errors: bool) -> Terms:
    with np.errstate(invalid="ignore", over="ignore"):
        values = averaged(part.logits, part.kept, loss, part.start)
        if loss == "squared_error":
            means, squares = _group_moments(values, part.kept, part.counts)
            part.require_finite(means)
            return squared_error_terms(means, squares, part.counts, part.target, errors)
        sums = group_sums(values, part.counts.shape[0])
        part.require_finite(sums)
        return terms_of_sums(sums, part.counts, part.target, loss, errors)


def _group_moments(p: Array, kept: Array | None, count: Array) -> tuple[Array, Array]:
    """Mean of `p` and sum of squared deviations from it, by group: `(G, n, C)` and `(G, n)`."""
    xp = namespace(p)
    groups = count.shape[0]
    means = group_sums(p, groups) / xp.where(count > 0, count, 1.0)[..., None]
    squares = []
    for g in range(groups):
        apart = (p[g::groups] - means[g]) ** 2
        if kept is not None:
            apart = xp.where(kept[g::groups], apart, 0.0)
        squares.append(xp.sum(apart, axis=(0, -1)))
    return means, xp.stack(squares, axis=0)
