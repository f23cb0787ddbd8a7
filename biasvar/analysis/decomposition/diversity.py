"""What an ensemble of the replicas gains over one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from biasvar.analysis.arrays import Array, namespace
from biasvar.analysis.decomposition.bregman import Bregman
from biasvar.analysis.decomposition.by_loss import averaged
from biasvar.analysis.decomposition.kernels import Target, divisor
from biasvar.analysis.decomposition.per_sample import PerSample
from biasvar.analysis.decomposition.replicas import Part, Replicas
from biasvar.analysis.decomposition.result import Change
from biasvar.analysis.decomposition.totals import Estimate
from biasvar.analysis.decomposition.whole_array import decompose
from biasvar.analysis.decomposition.zero_one import votes
from biasvar.arguments import checked

COMBINERS = ("matching", "mean_probability")


@dataclass(frozen=True, eq=False)
class Diversity:
    """Mean loss of the members, loss of their ensemble, and the difference, the diversity.

    Attributes:
        members, ensemble, diversity: `(N,)`, float64; diversity = members - ensemble.
        diversity_stderr: `(N,)`, jackknife over members, NaN below 3 groups.
        total_members, total_ensemble, total_diversity: means over rows with their errors over members and over rows.
        loss, combiner: as they were given.

    >>> found = ensemble_diversity([[[2.0, 0.0]], [[0.0, 0.0]]], [0])  # 2 members, 1 sample
    >>> [round(float(part[0]), 3) for part in (found.members, found.ensemble, found.diversity)]
    [0.41, 0.313, 0.097]
    """

    members: Array
    ensemble: Array
    diversity: Array
    diversity_stderr: Array
    total_members: Estimate
    total_ensemble: Estimate
    total_diversity: Estimate
    loss: str
    combiner: str

    def __repr__(self) -> str:
        total = self.total_diversity
        return (
            f"<Diversity ({self.loss}, {self.combiner}) of {total.n_replicas} members on {total.n_samples:,} samples:"
            f" {total}>"
        )


@checked
def ensemble_diversity(
    logits: Any,
    target: Any,
    *,
    loss: str | Bregman = "cross_entropy",
    combiner: Literal["matching", "mean_probability"] = "matching",
    where: Any = None,
    groups: int = 16,
    values: Literal["logits", "probabilities"] | None = None,
) -> Diversity:
    """The mean loss of replicas less the loss of the ensemble of them, for every sample.

    With the combiner that matches the loss the ensemble is the central prediction of `decompose`, its loss is noise +
    bias, and the diversity is the variance, whatever the target (Wood et al. 2023): the normalised geometric mean for
    cross-entropy, the mean probability for squared error, the dual mean for a `Bregman` loss. For "zero_one" it is the
    vote, and the diversity the net variance, which depends on the target and can be negative.

    The mean probability, which most ensembles take, is another one for cross-entropy: by Jensen's inequality it is no
    worse than its members either, but what it gains depends on the target and is no variance.

    All is plug-in, of an ensemble of just these members: nothing is corrected for their number.

    Args:
        logits, target, loss, where, groups, values: as for `decompose`.
        combiner: "matching", or "mean_probability" for the mean of the members' probabilities.

    >>> import numpy as np
    >>> logits = np.log([[[0.9, 0.1]], [[0.5, 0.5]]])  # 2 members, one row
    >>> for combiner in ("matching", "mean_probability"):
    ...     found = ensemble_diversity(logits, [0], combiner=combiner)
    ...     print(found.members.round(3), found.ensemble.round(3), found.diversity.round(3))
    [0.399] [0.288] [0.112]
    [0.399] [0.357] [0.043]
    """
    if combiner not in COMBINERS:
        raise ValueError(f"combiner must be one of {', '.join(COMBINERS)}, got {combiner!r}")
    split = decompose(logits, target, loss=loss, where=where, groups=groups, values=values)
    ensemble, deleted = split.noise + split.bias, split.noise + _present(split.deleted_bias)
    members = ensemble + split.net_variance
    deleted_members = deleted + _present(split.deleted_net_variance)
    if combiner == "mean_probability":
        replicas = Replicas.of(logits, target, loss=loss, where=where, groups=groups, errors=True, values=values)
        found = [_of_mean_probability(part, loss) for part in replicas.parts()]
        xp = namespace(members)
        ensemble, deleted = (xp.concat([part[i] for part in found], axis=-1) for i in (0, 1))
    gain: PerSample = Change(
        bias=ensemble,
        variance=members - ensemble,
        counts=split.counts,
        group_counts=split.group_counts,
        deleted_bias=deleted,
        deleted_variance=deleted_members - deleted,
    )
    totals = gain.totals()
    return Diversity(
        members=members,
        ensemble=ensemble,
        diversity=gain.variance,
        diversity_stderr=gain.variance_stderr,
        total_members=totals.loss,
        total_ensemble=totals.bias,
        total_diversity=totals.variance,
        loss=split.loss,
        combiner=combiner,
    )


def _of_mean_probability(part: Part, loss: str | Bregman) -> tuple[Array, Array]:
    """The loss of the mean probability, `(n,)`, and with each group left out, `(G, n)`."""
    xp = namespace(part.logits)
    log_p = averaged(part.logits, None, "cross_entropy", part.start)
    if part.kept is not None:
        log_p = xp.where(part.kept, log_p, -float("inf"))
    groups, n = part.counts.shape[0], xp.sum(part.counts, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Logarithms all the way, so that the mean of probabilities that round to 0 has one.
        of_groups = xp.stack([_log_sum(log_p[g::groups]) for g in range(groups)], axis=0)
        others = _log_sums_of_others(of_groups) - xp.log(divisor(n - part.counts))[..., None]
        whole = _log_sum(of_groups) - xp.log(divisor(n))[:, None]
    return _expected_loss(whole, part.target, loss), _expected_loss(others, part.target, loss)


def _log_sum(x: Array) -> Array:
    """The logarithm of the sum of exponentials over the first axis."""
    xp = namespace(x)
    top = xp.max(x, axis=0)
    top = xp.where(top == -float("inf"), 0.0, top)
    return top + xp.log(xp.sum(xp.exp(x - top), axis=0))


def _log_sums_of_others(x: Array) -> Array:
    """For each of `(G, ...)` the logarithm of the sum of exponentials of all others."""
    xp, groups = namespace(x), x.shape[0]
    nothing = xp.full_like(x[0], -float("inf"))
    before, after = [nothing], [nothing]
    for g in range(groups - 1):
        before.append(xp.logaddexp(before[-1], x[g]))
        after.append(xp.logaddexp(after[-1], x[-1 - g]))
    return xp.stack([xp.logaddexp(*pair) for pair in zip(before, reversed(after), strict=True)], axis=0)


def _expected_loss(log_p: Array, target: Target, loss: str | Bregman) -> Array:
    """The loss of predictions `(..., n, C)`, given by their logarithms, expected over the target, `(..., n)`."""
    xp = namespace(log_p)
    if loss == "cross_entropy":
        return -target.expect(log_p)
    if loss == "zero_one":
        return 1.0 - target.expect(votes(log_p)) + 0.0 * xp.max(log_p, axis=-1)
    p = xp.exp(log_p)
    if isinstance(loss, Bregman):
        known = ~xp.any(xp.isnan(p), axis=-1, keepdims=True)
        dual = loss.dual(xp.where(known, p, 1.0 / p.shape[-1]))
        found = target.noise + target.value - target.expect(dual[..., :-1]) + dual[..., -1]
        return xp.where(known[..., 0], found, float("nan"))
    return target.noise + target.distance(p)


def _present(deleted: Array | None) -> Array:
    assert deleted is not None
    return deleted
