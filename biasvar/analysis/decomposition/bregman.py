"""The loss of a Bregman divergence, given by its generator, and its split into noise, bias and variance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import array_api_compat

from biasvar.analysis.arrays import Array, named, namespace

# How far the answers of a generator may be from what they must be, beside its own size.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Bregman:
    """A loss D(y || p) = F(y) - F(p) - <grad F(p), y - p> of predictions p and one-hot labels y, for convex F.

    With g the mean over replicas of grad F(p), the central prediction c is the distribution with grad F(c) = g (the
    mean in the dual space; up to a constant over classes, which no difference of distributions notices), and for labels
    drawn from q (Pfau 2013; Adlam et al. 2022)

        mean loss = [sum_k q_k F(e_k) - F(q)] + D(q || c) + mean D(c || p) = noise + bias + variance.

    Negative entropy gives cross-entropy, |p|^2 squared error. The mean of the predictions themselves is not central in
    general: D takes them second, where it is not convex.

    Attributes:
        name: what a `Decomposition` calls the loss.
        value: F, from float64 `(..., C)` distributions to `(...)`, in their namespace; finite at one-hot labels.
        gradient: grad F, `(..., C)` to `(..., C)`, finite at every prediction.
        inverse_gradient: the distribution `(..., C)` whose gradient is `(..., C)` up to a constant over classes.

    >>> import numpy as np
    >>> from scipy.special import softmax, xlogy
    >>> entropy = Bregman("negative entropy", lambda p: xlogy(p, p).sum(-1), np.log, lambda g: softmax(g, axis=-1))
    >>> from biasvar.analysis import decompose
    >>> logits = np.log([[[0.9, 0.1]], [[0.1, 0.9]]])
    >>> [decompose(logits, [0], loss=loss).variance.round(4).tolist() for loss in (entropy, "cross_entropy")]
    [[0.5108], [0.5108]]
    """

    name: str
    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    inverse_gradient: Callable[[Array], Array]

    def __str__(self) -> str:
        return self.name

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"the name of a Bregman loss must be a text, got {self.name!r}")
        for part in ("value", "gradient", "inverse_gradient"):
            if not callable(getattr(self, part)):
                raise ValueError(f"{part} of the Bregman loss {self.name!r} must be a function of arrays")

    def dual(self, p: Array) -> Array:
        """The gradient at predictions `(..., C)` and <gradient, p> - F(p), `(..., C + 1)`: what is averaged."""
        xp = namespace(p)
        slope = self._answer("gradient", p, p.shape)
        conjugate = xp.sum(slope * p, axis=-1) - self._answer("value", p, p.shape[:-1])
        return xp.concat([slope, conjugate[..., None]], axis=-1)

    def vertices(self, reference: Array, classes: int) -> Array:
        """F at the one-hot labels, `(C,)`, beside `reference`."""
        xp = namespace(reference)
        found = self._answer("value", xp.eye(classes, **_beside(reference)), (classes,))
        if not bool(xp.all(xp.isfinite(found))):
            raise ValueError(f"the value of the Bregman loss {self.name!r} must be finite at one-hot labels; it is not")
        self._check_gradient(reference, classes)
        return found

    def _check_gradient(self, reference: Array, classes: int) -> None:
        """Refuse a gradient that is not the value's: held against differences at a few distributions."""
        xp = namespace(reference)
        corners = xp.eye(classes, **_beside(reference))
        inner = 0.5 * corners + 0.5 / classes
        along = corners - xp.roll(corners, 1, axis=0)  # from one class to the next; sums to 0
        step = 1e-4 / classes
        ahead, behind = (self._answer("value", inner + sign * step * along, (classes,)) for sign in (1.0, -1.0))
        slope = xp.sum(self._answer("gradient", inner, inner.shape) * along, axis=-1)
        difference = (ahead - behind) / (2.0 * step)
        apart = xp.abs(slope - difference) > 1e-3 * (xp.abs(slope) + xp.abs(difference)) + 1e-5
        if bool(xp.any(apart)):
            raise ValueError(
                f"the gradient of the Bregman loss {self.name!r} is not that of its value: from class to class it says "
                f"{float(slope[apart][0]):.4g} where the value changes by {float(difference[apart][0]):.4g}"
            )

    def centre(self, slope: Array, checked: bool) -> tuple[Array, Array]:
        """The central prediction of mean gradients `(..., C)`, and F there `(...)`; `checked`: held against `gradient`.

        Raises:
            ValueError: where it is no distribution, or has another gradient.
        """
        xp = namespace(slope)
        centre = self._answer("inverse_gradient", slope, slope.shape)
        if checked:
            apart = self._answer("gradient", centre, centre.shape) - slope
            spread = xp.max(apart, axis=-1) - xp.min(apart, axis=-1)
            close = spread <= _TOLERANCE * (1.0 + xp.max(xp.abs(slope), axis=-1))
            if not bool(xp.all(close & (xp.abs(xp.sum(centre, axis=-1) - 1.0) <= _TOLERANCE))):
                raise ValueError(
                    f"inverse_gradient of the Bregman loss {self.name!r} must give the distribution over classes whose"
                    " gradient it is given, up to a constant over classes; it does not"
                )
        return centre, self._answer("value", centre, centre.shape[:-1])

    def require_gaps(self, gaps: Array, size: Array) -> Array:
        """`gaps`, mean divergences of terms of some `size`, with last bits below 0 raised to 0.

        Raises:
            ValueError: where one is negative beyond rounding, as for a function that is not convex.
        """
        xp = namespace(gaps)
        if bool(xp.any(gaps < -_TOLERANCE * (1.0 + size))):
            raise ValueError(
                f"the Bregman loss {self.name!r} gives a negative divergence: its value must be convex, and its"
                " gradient that of its value"
            )
        return xp.where(gaps <= 0, 0.0, gaps)

    def _answer(self, part: str, x: Array, shape: tuple[int, ...]) -> Array:
        found = getattr(self, part)(x)
        if tuple(getattr(found, "shape", ())) != tuple(shape) or type(found) is not type(x):
            raise ValueError(
                f"{part} of the Bregman loss {self.name!r} must give an array of shape {tuple(shape)} like its argument"
                f", got {tuple(getattr(found, 'shape', ()))} ({type(found).__name__})"
            )
        return namespace(x).astype(found, x.dtype, copy=False)


def require_finite_dual(dual: Array, kept: Array, loss: Bregman, start: int) -> None:
    """Refuse predictions `(R, n, C + 1)` that count, `kept` `(R, n, 1)`, at which the gradient is not finite."""
    xp = namespace(dual)
    bad = xp.any(~xp.all(xp.isfinite(dual), axis=-1) & kept[..., 0], axis=0)
    if bool(xp.any(bad)):
        raise ValueError(
            f"the gradient of the Bregman loss {loss.name!r} is not finite at the predictions of row"
            f" {named(bad, start)}: a probability there may be 0"
        )


def _beside(reference: Array) -> dict[str, object]:
    return {"dtype": namespace(reference).float64, "device": array_api_compat.device(reference)}
