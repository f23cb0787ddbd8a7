"""A teacher whose non-target classes changed places: what it knows of similar classes is lost, all else is kept.

Every sample has an order of its own, the same in every epoch and replica. The probability of the true class, and the
set of the others, stay as they are. Records are about the teacher as it is, not as it is permuted.
"""

from __future__ import annotations

import numpy as np
import torch

from biasvar.seeding import uniforms
from biasvar.training.context import StudyContext


def check_permuted(context: StudyContext) -> None:
    """Raise ValueError where a data set has one non-target class only, which changes places with none."""
    if context.dataset.num_classes < 3:
        raise ValueError(
            f"permute: {context.dataset.name} has {context.dataset.num_classes} classes, one of them non-target, which "
            "can change places with none; needed: three classes or more"
        )


def non_target_orders(context: StudyContext) -> torch.Tensor:
    """int (N, C) by sample id: which class stands at each place; the true class at its own."""
    orders = draw_non_target_orders(context.dataset.labels, context.dataset.num_classes, context.study.seed)
    return torch.as_tensor(orders, device=context.device)


def draw_non_target_orders(labels: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """int (N, C): row i an order of the classes in which the label of sample i stays and the others are shuffled.

    Row i depends on (seed, i) and its label alone.

    >>> draw_non_target_orders(np.array([1, 0, 2]), 4, seed=0).tolist()
    [[0, 1, 3, 2], [0, 1, 2, 3], [3, 0, 2, 1]]
    """
    rows = np.arange(len(labels))
    keys = uniforms(seed, "non-target classes", rows, num_classes)
    places = np.tile(np.arange(num_classes), (len(labels), 1))
    keys[rows, labels] = -1.0  # the true class is first in both orders, so that it meets itself
    places[rows, labels] = -1
    orders = np.empty_like(places)
    np.put_along_axis(orders, np.argsort(places, axis=1), np.argsort(keys, axis=1), axis=1)
    return orders


def permuted(logits: torch.Tensor, orders: torch.Tensor | None, ids: torch.Tensor) -> torch.Tensor:
    """(R, B, C) logits of (R, B) samples with their classes in the samples' orders; as they are for None."""
    return logits if orders is None else logits.gather(-1, orders[ids])
