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

import array_api_compat
import numpy as np

from biasvar.analysis.arrays import Array, named, namespace
from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.decomposition.by_loss import averaged, terms_of_sums
from biasvar.analysis.decomposition.groups import assemble, rows_per_chunk
from biasvar.analysis.decomposition.kernels import (
    Target,
    Terms,
    check_groups,
    check_loss,
    log_inputs,
    make_target,
    squared_error_terms,
)
from biasvar.analysis.decomposition.result import Decomposition
from biasvar.analysis.inputs import as_array, as_logits, as_where
from biasvar.analysis.scale import check_scale
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

    Raises:
        ValueError: for wrong shapes, targets out of range, distributions that do not sum to one, logits that are not
            finite (naming the first few as (replica, row)), probabilities or votes in place of logits, an unknown loss.

    >>> import numpy as np
    >>> logits = np.log([[[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.5], [0.1, 0.9]]])  # 2 replicas, 2 rows, 2 classes
    >>> result = decompose(logits, [0, 0])
    >>> result.bias.round(4).tolist(), result.variance.round(4).tolist()
    ([0.6931, 0.6931], [0.0, 0.5108])
    """
    check_loss(loss)
    groups = check_groups(groups)
    logits = as_logits(logits, "logits", "(R, N, C)")
    xp = namespace(logits)
    replicas, rows, classes = logits.shape
    mask = None if where is None else _mask(where, logits)
    check_scale(logits, "logits", values, mask)
    groups = min(groups, replicas) if errors else 1
    count = _group_counts(xp, logits, mask, groups)
    goal = make_target(target, logits, count, classes, loss)
    step = rows_per_chunk(logits, replicas * classes)
    parts = []
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        x = xp.astype(logits[:, start:stop], xp.float64, copy=False)
        kept = None if mask is None else mask[:, start:stop, None]
        if kept is not None:
            x = xp.where(kept, x, 0.0)
        if values == "probabilities":
            part = logits[:, start:stop]
            p = part if kept is None else xp.where(kept, part, xp.ones_like(part) / classes)
            x = log_inputs(p, "logits", loss, start)
        chunk = goal.rows(start, stop)
        parts.append(_decompose_chunk(x, kept, count[:, start:stop], chunk, loss, errors, start))
    return assemble(parts, goal, count, loss, errors)


def _mask(where: Any, logits: Array) -> Array:
    """`where` as bool `(R, N)`."""
    where = as_array(where, "where")
    replicas, rows, _ = logits.shape
    if where.ndim != 1:
        return as_where(where, logits, (replicas, rows))
    return namespace(logits).broadcast_to(as_where(where, logits, (rows,))[None], (replicas, rows))


def _decompose_chunk(
    logits: Array, kept: Array | None, count: Array, target: Target, loss: str | Bregman, errors: bool, start: int
) -> Terms:
    """Terms of one chunk `(R, n, C)` of float64 logits, which can be the caller's memory: nothing is done in place."""
    with np.errstate(invalid="ignore", over="ignore"):
        values = averaged(logits, kept, loss, start)
        if loss == "squared_error":
            means, squares = _group_moments(values, kept, count)
            _require_finite(means, logits, start)
            return squared_error_terms(means, squares, count, target, errors)
        sums = _group_sums(values, count.shape[0])
        _require_finite(sums, logits, start)
        return terms_of_sums(sums, count, target, loss, errors)


def _group_sums(x: Array, groups: int) -> Array:
    """Sums over the replicas r with r mod groups = g, `(G, ...)`."""
    if x.shape[0] == groups:
        return x
    xp = namespace(x)
    return xp.stack([xp.sum(x[g::groups], axis=0) for g in range(groups)], axis=0)


def _group_moments(p: Array, kept: Array | None, count: Array) -> tuple[Array, Array]:
    """Mean of `p` and sum of squared deviations from it, by group: `(G, n, C)` and `(G, n)`."""
    xp = namespace(p)
    groups = count.shape[0]
    means = _group_sums(p, groups) / xp.where(count > 0, count, 1.0)[..., None]
    squares = []
    for g in range(groups):
        apart = (p[g::groups] - means[g]) ** 2
        if kept is not None:
            apart = xp.where(kept[g::groups], apart, 0.0)
        squares.append(xp.sum(apart, axis=(0, -1)))
    return means, xp.stack(squares, axis=0)


def _group_counts(xp: Any, logits: Array, mask: Array | None, groups: int) -> Array:
    replicas, rows, _ = logits.shape
    if mask is None:
        sizes = [float(len(range(g, replicas, groups))) for g in range(groups)]
        column = xp.asarray(sizes, dtype=xp.float64, device=array_api_compat.device(logits))
        return xp.broadcast_to(column[:, None], (groups, rows))
    return _group_sums(xp.astype(mask, xp.float64), groups)


def _require_finite(sums: Array, x: Array, start: int) -> None:
    """Refuse logits `x` whose sums by group are not finite: far fewer numbers to look at than the logits."""
    xp = namespace(x)
    if bool(xp.all(xp.isfinite(xp.sum(sums, axis=0)))):
        return
    bad = ~xp.all(xp.isfinite(x), axis=-1)
    if not bool(xp.any(bad)):
        raise ValueError(f"logits between rows {start} and {start + x.shape[1]} spread over more than float64 can hold")
    raise ValueError(
        f"logits must be finite; (replica, row) {named(bad, start)} hold NaN or infinity"
        " (leave failed replicas out with `where`)"
    )
