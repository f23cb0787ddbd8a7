"""The last layer of a classifier: gradients by sample, and the damped Hessian of its mean cross-entropy.

With features h (N, D), to which a 1 is appended where the head has a bias, logits z = W h, p = softmax(z) and one-hot
labels y, all with respect to W (C, D'):

    g_i = (p_i - y_i) h_i^T
    H   = 1/N sum_i (diag(p_i) - p_i p_i^T) (x) h_i h_i^T + damping I

The Hessian of the head is exact, not an approximation by outer products of gradients; what lies below the head is
taken as fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from biasvar.analysis.arrays import log_softmax, to_numpy
from biasvar.analysis.inputs import as_array, as_labels, as_logits, check_real
from biasvar.messages import first_few

MOST_EXACT = 5_000
"""Parameters up to which the Hessian is held and factored; beyond, systems are solved by conjugate gradients."""
_BLOCK = 64  # right-hand sides that conjugate gradients solve at a time


@dataclass(frozen=True, eq=False)
class SoftmaxHead:
    """A softmax head on some samples.

    Attributes:
        features: (N, D) what the head is given.
        logits: (N, C) what it answers.
        labels: int (N,).
        bias: The head has one.

    >>> head = SoftmaxHead(np.array([[1.0], [-1.0]]), np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([0, 1]), bias=False)
    >>> head.mean_gradient().tolist()  # of a head that knows nothing yet
    [[-0.5], [0.5]]
    """

    features: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    bias: bool = True

    def __post_init__(self) -> None:
        logits = to_numpy(as_logits(self.logits, "logits", "(N, C)"))
        features = to_numpy(as_array(self.features, "features"))
        check_real(features, "features")
        if features.ndim != 2 or len(features) != len(logits):
            raise ValueError(f"features must have shape ({len(logits)}, D) to match logits, got {features.shape}")
        bad = ~np.isfinite(features).all(axis=1) | np.isnan(logits).any(axis=1)
        if bad.any():
            raise ValueError(
                f"features and logits must be finite; those of rows {first_few(np.flatnonzero(bad))} are not"
            )
        labels = to_numpy(as_labels(self.labels, logits, (len(logits),), logits.shape[1]))
        for name, value in (("features", features), ("logits", logits), ("labels", labels)):
            object.__setattr__(self, name, value)

    @cached_property
    def inputs(self) -> np.ndarray:
        """(N, D') float64 features, with a 1 for the bias."""
        h = self.features.astype(np.float64)
        return np.hstack([h, np.ones((len(h), 1))]) if self.bias else h

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(N, C) float64."""
        return np.exp(np.asarray(log_softmax(self.logits.astype(np.float64))))

    @cached_property
    def errors(self) -> np.ndarray:
        """(N, C) p - y: the gradient with respect to the logits."""
        errors = self.probabilities.copy()
        errors[np.arange(len(errors)), self.labels] -= 1.0
        return errors

    @property
    def parameters(self) -> int:
        """C D'."""
        return int(self.logits.shape[1] * self.inputs.shape[1])

    def mean_gradient(self) -> np.ndarray:
        """(C, D') the gradient of the mean cross-entropy."""
        return self.errors.T @ self.inputs / len(self.inputs)

    def hessian(self, damping: float) -> np.ndarray:
        """(C D', C D') the damped Hessian, class after class."""
        p, h = self.probabilities, self.inputs
        classes, width = p.shape[1], h.shape[1]
        found = np.empty((classes, width, classes, width))
        for a in range(classes):
            for b in range(a, classes):
                curvature = p[:, a] * ((a == b) - p[:, b])
                block = (h * curvature[:, None]).T @ h / len(h)
                found[a, :, b], found[b, :, a] = block, block
        flat = found.reshape(classes * width, classes * width)
        flat[np.diag_indices(len(flat))] += damping
        return flat

    def times_hessian(self, vectors: np.ndarray, damping: float) -> np.ndarray:
        """The damped Hessian times vectors (C, D', M), without holding it."""
        p, h = self.probabilities, self.inputs
        moved = np.einsum("nd,cdm->ncm", h, vectors, optimize=True)
        mean = np.einsum("nc,ncm->nm", p, moved, optimize=True)
        bent = p[:, :, None] * (moved - mean[:, None])
        product: np.ndarray = np.einsum("nd,ncm->cdm", h, bent, optimize=True) / len(h) + damping * vectors
        return product

    def solver(self, damping: float, *, exact: bool | None = None) -> Callable[[np.ndarray], np.ndarray]:
        """H^-1 as a function of right-hand sides (C, D', M).

        Args:
            damping: Above 0: without it the Hessian of a softmax is singular.
            exact: By Cholesky, or by conjugate gradients; None: exact up to `MOST_EXACT` parameters.

        Raises:
            ValueError: The Hessian is singular, or conjugate gradients do not converge; take a larger damping.
        """
        if not 0 < damping < np.inf:
            raise ValueError(f"damping must be above 0 and finite, not {damping:g}: a softmax's Hessian is singular")
        if exact is None:
            exact = self.parameters <= MOST_EXACT
        if exact:
            from scipy.linalg import cho_factor, cho_solve

            try:
                factor = cho_factor(self.hessian(damping), lower=True, overwrite_a=True)
            except np.linalg.LinAlgError:
                raise ValueError(
                    f"the Hessian is singular at damping {damping:g}, as far as float64 goes; take a larger damping"
                ) from None

            def solve(b: np.ndarray) -> np.ndarray:
                return np.asarray(cho_solve(factor, b.reshape(self.parameters, -1))).reshape(b.shape)

            return solve

        def by_gradients(b: np.ndarray) -> np.ndarray:
            parts = [b[..., at : at + _BLOCK] for at in range(0, b.shape[-1], _BLOCK)]
            return np.concatenate([_conjugate_gradients(self, part, damping) for part in parts], axis=-1)

        return by_gradients


def _conjugate_gradients(
    head: SoftmaxHead, b: np.ndarray, damping: float, *, tolerance: float = 1e-10, most: int = 2_000
) -> np.ndarray:
    """x with |b - H x| <= tolerance |b| in every column of b (C, D', M) (Hestenes and Stiefel 1952)."""

    def dot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.asarray((u * v).sum(axis=(0, 1)))

    x, residual = np.zeros_like(b), b.copy()
    direction, size = residual.copy(), dot(b, b)
    aim = tolerance**2 * size
    for _ in range(most):
        going = size > aim
        if not going.any():
            return x
        moved = head.times_hessian(direction, damping)
        step = np.where(going, size / np.where(going, dot(direction, moved), 1.0), 0.0)
        x += step * direction
        residual -= step * moved
        after = np.where(going, dot(residual, residual), size)
        direction = residual + np.where(going, after / np.where(going, size, 1.0), 0.0) * direction
        size = after
    raise ValueError(
        f"conjugate gradients did not converge in {most} steps at damping {damping:g}; take a larger damping"
    )
