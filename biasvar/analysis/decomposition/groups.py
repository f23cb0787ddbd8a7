"""Decompositions from what is known of each jackknife group: counts with mean log-probabilities or other moments."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from biasvar.analysis.arrays import Array, named, namespace, on_cpu
from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.decomposition.by_loss import terms_of_sums
from biasvar.analysis.decomposition.kernels import Target, Terms, loss_name, make_target, squared_error_terms
from biasvar.analysis.decomposition.result import Decomposition
from biasvar.analysis.inputs import as_logits, as_names, check_real, like
from biasvar.arguments import checked

# Bytes of float64 worked on at a time: what stays in a core's cache, or what keeps an accelerator busy.
_CHUNK_CPU = 2**18
_CHUNK_DEVICE = 2**27
# exp(mean log-probability) sums to at most 1; float64 rounding stays far below this, float32 log-probabilities do not.
_EXCESS = 1e-9


@checked
def decompose_groups(
    counts: Any,
    mean_log_probs: Any,
    target: Any,
    *,
    errors: bool = True,
    keep_groups: bool = False,
    merge: Any = None,
) -> Decomposition:
    """The cross-entropy decomposition from what a store keeps: counts and mean log-probabilities by jackknife group.

    The same result as `decompose` of the replicas behind them, to rounding. Groups empty in every row are dropped.

    Args:
        counts: `(G, N)`, replicas of each group that count for each row.
        mean_log_probs: `(G, N, C)` float64, the mean over those replicas of the log-softmax of their float64 logits;
            not read where the count is 0.
        target, errors: as for `decompose`.
        keep_groups: keeps groups that are empty in every row, for `joined`.
        merge: `(G,)` names; groups of one name become one, in the order in which the names first come. Replicas that
            learned from one teacher, named by it, are then left out together.

    Raises:
        ValueError: also when the means are no means of log-probabilities (their exponentials sum to more than one),
            which is what happens to log-probabilities taken in float32.

    >>> import numpy as np
    >>> decompose_groups([[1], [1]], np.log([[[0.9, 0.1]], [[0.1, 0.9]]]), [0]).variance.round(4).tolist()
    [0.5108]
    """
    mean_log_probs = as_logits(mean_log_probs, "mean_log_probs", "(G, N, C)")
    xp = namespace(mean_log_probs)
    groups, rows, classes = mean_log_probs.shape
    count = like(counts, mean_log_probs, "counts")
    check_real(count, "counts")
    if tuple(count.shape) != (groups, rows):
        raise ValueError(f"counts must have shape {(groups, rows)} to match mean_log_probs, got {tuple(count.shape)}")
    count = xp.astype(count, xp.float64)
    if not bool(xp.all(count >= 0)):
        raise ValueError("counts must be whole numbers from 0 up")
    goal = make_target(target, mean_log_probs, count, classes, "cross_entropy")
    if merge is not None:
        count, mean_log_probs = _merged(count, mean_log_probs, merge)
    return decompose_moments(count, mean_log_probs, None, goal, "cross_entropy", errors, keep_groups=keep_groups)


def _merged(count: Array, means: Array, names: Any) -> tuple[Array, Array]:
    """Counts and float64 means of the groups of each name together."""
    xp = namespace(means)
    names = as_names(names, "merge")
    if len(names) != count.shape[0]:
        raise ValueError(f"merge must name each of the {count.shape[0]} groups, got {len(names)}")
    members: dict[str, list[int]] = {}
    for g, name in enumerate(names.tolist()):
        members.setdefault(str(name), []).append(g)
    counts, together = [], []
    with np.errstate(over="ignore", invalid="ignore"):  # what is no mean of log-probabilities is refused by its group
        for own in members.values():
            counts.append(sum(count[g] for g in own))
            sums = sum(count[g][:, None] * _read(means[g], count[g]) for g in own)
            together.append(sums / xp.where(counts[-1] > 0, counts[-1], 1.0)[:, None])
    return xp.stack(counts, axis=0), xp.stack(together, axis=0)


def _read(means: Array, count: Array) -> Array:
    """Means in float64, 0 where nothing counts."""
    xp = namespace(means)
    return xp.where((count > 0)[..., None], xp.astype(means, xp.float64, copy=False), 0.0)


def joined(parts: Sequence[Decomposition]) -> Decomposition:
    """One `Decomposition` of the rows of all parts, in their order; all must have the same groups."""
    if len(parts) == 1:
        return parts[0]
    xp = namespace(parts[0].bias)
    arrays: dict[str, Any] = {}
    for field in fields(Decomposition):
        values = [getattr(part, field.name) for part in parts]
        if values[0] is not None and not isinstance(values[0], str):
            join = np.concatenate if isinstance(values[0], np.ndarray) else xp.concat  # sample ids are NumPy's always
            arrays[field.name] = join(values, axis=-1)
    return replace(parts[0], **arrays)


def decompose_moments(
    count: Array,
    means: Array,
    squares: Array | None,
    target: Target,
    loss: str | Bregman,
    errors: bool,
    *,
    keep_groups: bool = False,
) -> Decomposition:
    """The decomposition from checked group statistics: means of what the loss averages, `(G, N, K)`.

    `squares` `(G, N)` are sums of squared deviations of probabilities, for squared error alone. `count` `(G, N)` is
    float64; groups empty in every row are dropped, so that they cost nothing.
    """
    xp = namespace(means)
    filled = xp.sum(count, axis=1) > 0
    if not keep_groups and not bool(xp.all(filled)) and bool(xp.any(filled)):
        count, means = count[filled], means[filled]
        squares = None if squares is None else squares[filled]
    step = rows_per_chunk(means, count.shape[0] * means.shape[2])
    parts = []
    for start in range(0, means.shape[1], step):
        cut = slice(start, min(start + step, means.shape[1]))
        weight, chunk = count[:, cut], target.rows(start, cut.stop)
        mean = _read(means[:, cut], weight)
        if squares is None:
            if loss == "cross_entropy":
                _check_log_probs(mean, weight, start)
            parts.append(terms_of_sums(weight[..., None] * mean, weight, chunk, loss, errors))
        else:
            parts.append(squared_error_terms(mean, squares[:, cut], weight, chunk, errors))
    return assemble(parts, target, count, loss, errors)


def rows_per_chunk(x: Array, row: int) -> int:
    """How many rows of `row` float64 numbers to work on at a time, on the device of `x`."""
    return max(1, (_CHUNK_CPU if on_cpu(x) else _CHUNK_DEVICE) // (8 * row))


def assemble(parts: list[Terms], target: Target, count: Array, loss: str | Bregman, errors: bool) -> Decomposition:
    """One `Decomposition` from the terms of consecutive chunks of rows."""
    xp = namespace(count)

    def joined(field: str) -> Array | None:
        values = [getattr(part, field) for part in parts]
        return None if values[0] is None else xp.concat(values, axis=-1)

    return Decomposition(
        noise=xp.where(xp.sum(count, axis=0) > 0, target.noise, float("nan")),
        bias=joined("bias"),
        variance=joined("variance"),
        counts=xp.sum(count, axis=0),
        loss=loss_name(loss),
        group_counts=count if errors else None,
        deleted_bias=joined("deleted_bias"),
        deleted_variance=joined("deleted_variance"),
        signed_variance=joined("net"),
        deleted_signed_variance=joined("deleted_net"),
    )


def warn_of_one(counts: Array, stacklevel: int) -> None:
    """A UserWarning where no row has more than one of the replicas that are counted, `(N,)`.

    `stacklevel` is that of `warnings.warn`, from the caller's place on.
    """
    if counts.shape[0] and float(namespace(counts).max(counts)) == 1:
        warnings.warn(
            "there is one replica: its variance is 0 by definition, its bias is its whole loss less the noise, and "
            "neither has a standard error over replicas; what is bias and what is variance shows from two trainings on",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def _check_log_probs(mean: Array, count: Array, start: int) -> None:
    xp = namespace(mean)
    bad = (count > 0) & ~xp.all(xp.isfinite(mean), axis=-1)
    if bool(xp.any(bad)):
        raise ValueError(
            "mean_log_probs must be finite where counts are above 0;"
            f" (group, row) {named(bad, start)} hold NaN or infinity"
        )
    bad = (count > 0) & (xp.sum(xp.exp(xp.where(mean > 1.0, 1.0, mean)), axis=-1) > 1.0 + _EXCESS)
    if bool(xp.any(bad)):
        raise ValueError(
            "mean_log_probs are no means of log-probabilities: the exponentials of"
            f" (group, row) {named(bad, start)} sum to more than 1 + {_EXCESS:g};"
            " take the log-softmax of the logits in float64"
        )
