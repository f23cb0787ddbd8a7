"""What the losses are made of: terms that a weight of 0 takes away, and sums over classes that may be masked.

A class is masked by a logit of -inf: its probability is 0. Terms q ln p with q = 0 are 0, as in the limit, where 0
times infinity would be NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def weighted(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """weights * values, and 0 where the weight is 0, whatever the value; no gradient flows into the weights.

    >>> weighted(torch.tensor([0.5, 0.0]), torch.tensor([2.0, -torch.inf]))
    tensor([1., 0.])
    """
    weights = weights.detach()
    # Masked after the product: in its gradient, weights times the gradient above, nothing is infinite.
    return (weights * values).masked_fill(weights == 0, 0.0)


def scaled(weight: float, values: torch.Tensor) -> torch.Tensor:
    """weight * values, and 0 for a weight of 0, whatever the values."""
    return weight * values if weight else torch.zeros_like(values)


def expected(soft_labels: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
    """sum_k q_k ln p_k (...) of soft labels q and log-probabilities (..., C)."""
    plain = (soft_labels.detach() * log_probs).sum(-1)
    return if_finite(plain, lambda: weighted(soft_labels, log_probs).sum(-1))


def divergence(log_target: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
    """KL(t || p) = sum_k t_k (ln t_k - ln p_k) (...) of log-probabilities (..., C); no gradient flows into t.

    >>> divergence(torch.tensor([-torch.inf, 0.0]), torch.tensor([0.5, 0.5]).log())
    tensor(0.6931)
    """
    log_target = log_target.detach()
    target = log_target.exp()
    plain = (target * (log_target - log_probs)).sum(-1)
    return if_finite(plain, lambda: weighted(target, log_target - log_probs).sum(-1))


def true_class(log_probs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The log-probability (...) of the true class, from those of all (..., C)."""
    return log_probs.gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def log_sum_exp(logits: torch.Tensor) -> torch.Tensor:
    """ln sum_k exp z_k (...), with a gradient of 0, where torch's is NaN, if all classes are masked."""

    def masked() -> torch.Tensor:
        none = logits.detach().amax(-1) == -torch.inf
        return logits.masked_fill(none.unsqueeze(-1), 0.0).logsumexp(-1).masked_fill(none, -torch.inf)

    return if_finite(logits.logsumexp(-1), masked)


def if_finite(plain: torch.Tensor, masked: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The plain values (...) if they are finite, else, and wherever that cannot be asked without waiting, the masked.

    Both are the same numbers where they are finite. On a CPU a mask over all classes costs more than the loss itself.
    """
    return plain if read(plain.detach().isfinite().all()) == [True] else masked()


def read(*values: torch.Tensor) -> list[int | float | bool] | None:
    """Single numbers as Python's, of tensors on the CPU; None where a device would have to be waited for.

    None also under `torch.compile`, `torch.func.vmap` and the like, where there are no numbers to read.
    """
    if values[0].device.type != "cpu" or torch.compiler.is_compiling():
        return None
    try:
        return [value.item() for value in values]
    except RuntimeError:
        return None
