"""Attacks on the students that are evaluated: the nearby images that raise their loss, each replica's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from biasvar.seeding import uniforms
from biasvar.training.inputs import Inputs
from biasvar.training.replicas import Replicas

STEPS = 10
STRIDE = 2.5  # of projected gradient descent: step size x steps over radius, with which every point can be reached
SEED = 0  # of its starting points: an attack is the same in every study


@dataclass(frozen=True)
class Attack:
    """An attack within a radius in the largest norm (L-infinity), in units of pixel values in [0, 1].

    "fgsm": x' = clip(x + r sign(gradient of the cross-entropy)) (Goodfellow, Shlens and Szegedy 2015). "pgd": from a
    point drawn uniformly in the ball, `STEPS` such steps of r * `STRIDE` / `STEPS`, each followed by a projection onto
    the ball and onto [0, 1] (Madry et al. 2018). Networks are in evaluation mode.

    Attributes:
        kind: "fgsm" or "pgd".
        radius: r, above 0.
    """

    kind: str
    radius: float

    def logits(
        self, replicas: Replicas, inputs: Inputs, ids: torch.Tensor, labels: torch.Tensor, *, chunk: int | None = None
    ) -> torch.Tensor:
        """(R, n, C) float64 logits of R replicas, each on its own adversarial images of the same n samples.

        Args:
            replicas: The students, which are put into evaluation mode.
            inputs: Of images.
            ids: int (n,).
            labels: int, by sample id: the classes that the attack leads away from.
            chunk: Samples at a time; default: those of an evaluation pass.
        """
        replicas.train(False)
        size = next(iter(replicas.parameters().values())).shape[0]
        pieces = []
        for piece, clean in inputs.clean_pass(ids, chunk):
            x = clean.expand(size, *clean.shape).contiguous()
            found = self._found(replicas, x, labels[piece].expand(size, -1), inputs, piece)
            with torch.no_grad():
                pieces.append(replicas(found).double())
        return torch.cat(pieces, dim=1)

    def _found(
        self, replicas: Replicas, x: torch.Tensor, labels: torch.Tensor, inputs: Inputs, ids: torch.Tensor
    ) -> torch.Tensor:
        mean, unit = (_per_channel(values, x) for values in inputs.pixel_scale)
        black, white, radius = (0 - mean) / unit, (1 - mean) / unit, self.radius / unit
        lowest, highest = torch.maximum(x - radius, black), torch.minimum(x + radius, white)
        if self.kind == "fgsm":
            return (x + radius * _gradient(replicas, x, labels).sign()).clamp(lowest, highest)
        drawn = uniforms(SEED, "pgd", ids.cpu().numpy(), int(np.prod(x.shape[2:])))
        start = torch.as_tensor(2 * drawn - 1, dtype=x.dtype, device=x.device).reshape(x.shape[1:])
        found = (x + radius * start).clamp(lowest, highest)
        for _ in range(STEPS):
            step = radius * (STRIDE / STEPS) * _gradient(replicas, found, labels).sign()
            found = (found + step).clamp(lowest, highest)
        return found


def _gradient(replicas: Replicas, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient of each sample's cross-entropy by its input, (R, B, ...)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(replicas(x).flatten(0, 1), labels.flatten(), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
    return gradient


def _per_channel(values: Sequence[float], x: torch.Tensor) -> torch.Tensor:
    """Numbers of each channel so that they go with inputs (R, B, C, H, W), or one number with (R, B, D)."""
    shape = (-1, 1, 1) if x.ndim == 5 else (-1,)
    return torch.tensor(values, dtype=x.dtype, device=x.device).reshape(shape)
