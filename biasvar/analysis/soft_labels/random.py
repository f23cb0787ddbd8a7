"""Soft labels made at random: partial labels, noise added to scores, teachers that know nothing of the truth.

All draws belong to (seed, sample_id), or (seed, sample_id, epoch): rows may come in any order, in chunks, or in part,
and a sample keeps its soft label. Without an epoch a sample's draw is *fixed*, so that a student with room enough can
memorise it; with one it is *redrawn*, so that over epochs a student sees the expected soft label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.arrays import Array, named, namespace, to_numpy
from biasvar.analysis.inputs import as_array, as_labels, as_logits, like
from biasvar.arguments import checked
from biasvar.seeding import normals, uniforms

EMPTY_RULES = ("all", "redraw")


@dataclass(frozen=True, eq=False)
class PartialLabels:
    """Candidate sets and their soft labels, made by `partial_labels`.

    Attributes:
        soft_labels: `(N, K)` float64, uniform on the candidates.
        candidates: `(N, K)` bool.
        was_empty: `(N,)` bool, samples whose first draw left no candidate.
        delta: realised unreliability: share of samples without the truth among their candidates.
        gamma: realised ambiguity: largest share, over classes that occur and wrong labels, of a class's samples with
            that candidate.

    >>> made = partial_labels([0, 1, 2, 0], 3, drop=0.0, add=0.5, seed=0)
    >>> made.delta, bool(made.candidates[range(4), [0, 1, 2, 0]].all()), made.soft_labels.sum(axis=1).tolist()
    (0.0, True, [1.0, 1.0, 1.0, 1.0])
    """

    soft_labels: Array
    candidates: Array
    was_empty: Array
    delta: float
    gamma: float


@checked
def partial_labels(
    labels: Any,
    num_classes: int,
    *,
    drop: float,
    add: float,
    seed: int,
    sample_ids: Any = None,
    epoch: int | None = None,
    empty: str = "all",
) -> PartialLabels:
    """Partial labels with given indicators: the truth dropped with probability `drop`, each wrong one added with `add`.

    All draws are independent, so that Delta = drop and gamma = add at every x and the independent exponent applies, but
    for empty sets, of probability p0 = drop (1 - add)^(K - 1). Under the rule

    - "all" (default): an empty set becomes the set of all labels. Then Delta = drop - p0 and gamma = add + p0: **their
      sum stays**, and so do the probabilities that decide on learning, of truth in and rival out and of the reverse.
      The
      argument: to a learner that counts missed sets, no label and all labels say the same, nothing; and the uniform
      soft label says nothing to a student trained by cross-entropy. Any other rule lets information in.
    - "redraw": drawn again until some label is in. Then Delta = (drop - p0) / (1 - p0) and gamma = add / (1 - p0); the
      sum moves, and sets are no longer independent draws per label.

    The result reports realised indicators; take those, not `drop` and `add`, as the place in a grid. The soft label is
    uniform
    on the candidates: its indicators are those of `threshold=0`.

    Args:
        labels: `(N,)` true classes.
        num_classes: K.
        drop, add: probabilities.
        seed, sample_ids, epoch: what the draws belong to; ids default to 0 .. N - 1.

    Raises:
        ValueError: for values out of range; "redraw" where every draw is empty.

    >>> made = partial_labels([0, 1, 2], 3, drop=0.0, add=1.0, seed=0)
    >>> bool(made.candidates.all()), made.delta, made.gamma
    (True, 0.0, 1.0)
    """
    for name, value in (("drop", drop), ("add", add)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} must be a probability in 0 .. 1, got {value}")
    if empty not in EMPTY_RULES:
        raise ValueError(f"empty must be one of {', '.join(EMPTY_RULES)}, got {empty!r}")
    if empty == "redraw" and drop == 1.0 and add == 0.0:
        raise ValueError("drop=1 and add=0 leave every candidate set empty, however often it is redrawn")
    reference, truth, ids = _samples(labels, num_classes, sample_ids)
    probability = np.where(np.arange(num_classes) == truth[:, None], 1.0 - drop, add)
    moment = 0 if epoch is None else epoch + 1

    def drawn(rows: Any, attempt: int) -> np.ndarray:
        u = uniforms(seed, f"partial labels {attempt}", ids[rows], num_classes, epoch=moment)
        return np.asarray(u < probability[rows])

    sets = drawn(slice(None), 0)
    was_empty = ~sets.any(axis=1)
    if empty == "all":
        sets[was_empty] = True
    attempt, left = 1, np.flatnonzero(~sets.any(axis=1))
    while len(left):
        sets[left] = drawn(left, attempt)
        attempt, left = attempt + 1, left[~sets[left].any(axis=1)]

    here = np.unique(truth)
    shares = np.stack([sets[truth == c].mean(axis=0) for c in here])
    shares[np.arange(len(here)), here] = 0.0
    delta = 1.0 - float(sets[np.arange(len(truth)), truth].mean())
    soft = sets / sets.sum(axis=1, keepdims=True)
    return PartialLabels(
        like(soft, reference), like(sets, reference), like(was_empty, reference), delta, float(shares.max())
    )


@checked
def add_noise(soft_labels: Any, scale: float, *, seed: int, sample_ids: Any = None, epoch: int | None = None) -> Array:
    """Raw scores: soft labels + scale x standard normal noise in every entry, float64 `(N, K)`.

    They are no distributions: ask for their indicators with `scores=True`, and train on `project_to_simplex` of them or
    by squared error. For one-hot labels `additive_noise_indicators` gives Delta and gamma.

    Args:
        soft_labels: `(N, K)` finite numbers, such as `smooth_labels(labels, K, 0.0)`.
        scale: standard deviation of the noise, 0 or more.
        seed, sample_ids, epoch: what the noise belongs to; ids default to 0 .. N - 1. Without an epoch it is fixed per
            sample; with one redrawn, with mean 0 over epochs.

    Raises:
        ValueError: for a negative scale, soft labels that are not finite (naming rows), shapes that disagree.

    >>> once = add_noise([[1.0, 0.0], [0.0, 1.0]], 0.5, seed=1)
    >>> bool((add_noise([[0.0, 1.0]], 0.5, seed=1, sample_ids=[1]) == once[1:]).all())
    True
    """
    if not 0.0 <= scale < math.inf:
        raise ValueError(f"scale must be a finite number from 0 up, got {scale}")
    values = as_logits(soft_labels, "soft_labels", "(N, K)")
    xp = namespace(values)
    bad = ~xp.all(xp.isfinite(xp.astype(values, xp.float64)), axis=-1)
    if bool(xp.any(bad)):
        raise ValueError(f"soft_labels must be finite; row {named(bad)} holds NaN or infinity")
    ids = _ids(sample_ids, values.shape[0])
    noise = normals(seed, "additive noise", ids, values.shape[1], epoch=0 if epoch is None else epoch + 1)
    return xp.astype(values, xp.float64) + scale * like(noise, values)


@checked
def random_soft_labels(
    sample_ids: Any, num_classes: int, *, seed: int, concentration: float = 1.0, epoch: int | None = None
) -> Array:
    """A teacher that knows nothing: for every sample a draw from a symmetric Dirichlet distribution, float64 `(n, K)`.

    Nothing of the truth is in them: at every k, Delta = 1 - k / K and gamma = k / K, so Delta + gamma = 1 in
    expectation. A small concentration makes nearly one-hot labels, 1 the uniform distribution on the simplex, a large
    one nearly uniform labels.

    Args:
        sample_ids: `(n,)` whole numbers.
        num_classes: K, at least 2.
        concentration: of every class, above 0.
        seed, epoch: of the draws, beside the sample ids.

    Raises:
        ValueError: for values out of range.

    >>> random_soft_labels([5, 9], 3, seed=0).sum(axis=1).round(12).tolist()
    [1.0, 1.0]
    """
    from scipy.special import gammaincinv

    _check_classes(num_classes)
    if not 0.0 < concentration < math.inf:
        raise ValueError(f"concentration must be a finite number above 0, got {concentration}")
    reference = as_array(sample_ids, "sample_ids")
    ids, moment = to_numpy(reference), 0 if epoch is None else epoch + 1
    shape, power = (
        uniforms(seed, f"random soft labels, {part}", ids, num_classes, epoch=moment) for part in ("shape", "power")
    )
    # Gamma(c) is Gamma(c + 1) U^(1 / c); in logarithms, since at small concentrations all of a row would round to 0.
    logs = np.log(gammaincinv(concentration + 1.0, shape)) + np.log(power) / concentration
    values = np.exp(logs - logs.max(axis=1, keepdims=True))
    return like(values / values.sum(axis=1, keepdims=True), reference)


def _samples(labels: Any, num_classes: int, sample_ids: Any) -> tuple[Array, np.ndarray, np.ndarray]:
    _check_classes(num_classes)
    reference = as_array(labels, "labels")
    if reference.ndim != 1 or not reference.shape[0]:
        raise ValueError(f"labels must have shape (N,) with at least one, got {tuple(reference.shape)}")
    truth = to_numpy(as_labels(reference, reference, tuple(reference.shape), num_classes))
    return reference, truth, _ids(sample_ids, len(truth))


def _ids(sample_ids: Any, n: int) -> np.ndarray:
    if sample_ids is None:
        return np.arange(n)
    ids = to_numpy(as_array(sample_ids, "sample_ids"))
    if ids.shape != (n,):
        raise ValueError(f"sample_ids must have shape ({n},), one for each sample, got {ids.shape}")
    return ids


def _check_classes(num_classes: int) -> None:
    if not 2 <= num_classes <= 10**9:
        raise ValueError(f"num_classes must be at least 2 and at most 10^9, got {num_classes}")
