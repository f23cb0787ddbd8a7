"""InfoDrop's map in plain loops, in float64, written from the list of its steps and from nothing of biasvar."""

from __future__ import annotations

import math

import numpy as np


def value(image, row, column):
    """A pixel (c,) of (c, H, W), 0 outside."""
    channels, height, width = image.shape
    return image[:, row, column] if 0 <= row < height and 0 <= column < width else np.zeros(channels)


def drop_map(x, offsets, *, kernel, stride, padding, bandwidth, temperature, pool=None):
    """(B, h, w): for each neighbour the squared distances, summed over channels and the kernel's window, divided by
    their mean over batch, neighbours and places; a Gaussian kernel; the mean over neighbours; the power 1 / T; the
    smallest of each window of the pooling (kernel, stride, padding); divided by the sum over places."""
    batch, _, height, width = x.shape
    rows = [a * stride - padding for a in range((height + 2 * padding - kernel) // stride + 1)]
    columns = [b * stride - padding for b in range((width + 2 * padding - kernel) // stride + 1)]
    distance = np.zeros((batch, len(offsets), len(rows), len(columns)))
    for n in range(batch):
        for m, (i, j) in enumerate(offsets):
            for a, top in enumerate(rows):
                for b, left in enumerate(columns):
                    for u in range(top, top + kernel):
                        for v in range(left, left + kernel):
                            difference = value(x[n], u, v) - value(x[n], u + i, v + j)
                            distance[n, m, a, b] += (difference**2).sum()
    likeness = np.exp(-distance / distance.mean() / (2 * bandwidth**2)).mean(1)
    r = likeness ** (1 / temperature)
    if pool is not None:
        r = np.stack([smallest(one, *pool) for one in r])
    return r / r.sum((1, 2), keepdims=True)


def smallest(r, kernel, stride, padding):
    """The minimum of each window of (h, w); places outside do not count."""
    height, width = r.shape
    pooled = np.empty(((height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1))
    for a in range(pooled.shape[0]):
        for b in range(pooled.shape[1]):
            inside = [
                r[u, v]
                for u in range(a * stride - padding, a * stride - padding + kernel)
                for v in range(b * stride - padding, b * stride - padding + kernel)
                if 0 <= u < height and 0 <= v < width
            ]
            pooled[a, b] = min(inside)
    return pooled


def kept_in_draws(r, draws):
    """The probability that a place is never drawn in `draws` draws with replacement from r + 1e-8."""
    chances = [(value + 1e-8) for value in r]
    total = math.fsum(chances)
    return np.array([(1 - chance / total) ** draws for chance in chances])
