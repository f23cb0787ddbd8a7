"""Labels with noise: those that students are trained on in the place of the true ones."""

from __future__ import annotations

import numpy as np

from biasvar.messages import first_few
from biasvar.seeding import uniforms

KINDS = ("shuffle", "uniform", "uniform_other")


def noisy_labels(
    labels: np.ndarray, sample_ids: np.ndarray, *, kind: str, share: float, num_classes: int, seed: int
) -> np.ndarray:
    """Labels of which a share is noise, the same for a sample in every arm and replica.

    Every sample has two random numbers by (seed, "label noise", sample_id). The round(share x n) rows of the smallest
    first number are noise, so that those of a smaller share are among those of a larger one, whatever the kind. The
    second number says which class a row gets. "shuffle": the labels of these rows in the order of their second number,
    so that about sum_c p_c^2 of them keep theirs (a tenth, of 10 equal classes). "uniform": class
    floor(u x num_classes). "uniform_other": one of the other num_classes - 1.

    Args:
        labels: int (n,), the true ones.
        sample_ids: int (n,), each once.
        kind: One of `KINDS`.
        share: In [0, 1).
        num_classes: 2 or more.
        seed: Of the study.

    Returns:
        int64 (n,).

    Raises:
        ValueError: An unknown kind, a share outside [0, 1), fewer than two classes, labels outside
            0 .. num_classes - 1, or sample_ids that are not one for each label, each once.

    Source: Yang et al. 2020, "Rethinking bias-variance trade-off", label noise (shuffle).

    >>> labels = np.arange(10) % 2
    >>> (noisy_labels(labels, np.arange(10), kind="uniform_other", share=0.3, num_classes=2, seed=0) != labels).sum()
    np.int64(3)
    """
    labels, ids = np.asarray(labels), np.asarray(sample_ids)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), not {share!r}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be 2 or more, not {num_classes!r}")
    if labels.ndim != 1 or ids.shape != labels.shape or len(np.unique(ids)) < len(ids):
        raise ValueError(
            f"sample_ids must be one for each label, each once; labels have shape {labels.shape}, sample_ids "
            f"{ids.shape} with {len(np.unique(ids))} different ones"
        )
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise ValueError(f"labels must lie in 0 .. {num_classes - 1}, not {first_few(outside)}")
    observed = labels.astype(np.int64)
    chance, which = uniforms(seed, "label noise", ids, 2).T
    chosen = np.argsort(chance, kind="stable")[: round(share * len(labels))]
    if kind == "shuffle":
        chosen = np.sort(chosen)
        observed[chosen] = labels[chosen[np.argsort(which[chosen], kind="stable")]]
    elif kind == "uniform":
        observed[chosen] = np.floor(which[chosen] * num_classes)
    else:
        observed[chosen] = (labels[chosen] + 1 + np.floor(which[chosen] * (num_classes - 1))) % num_classes
    return observed
