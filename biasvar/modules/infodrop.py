"""InfoDrop (Shi et al. 2020, arXiv:2008.04254): a dropout that thins out where an image says nothing new.

A place that looks like its neighbourhood, such as a texture, carries little information and is dropped often; an edge,
such as an outline, carries much and is kept. What is implemented is what the authors' code computes (bfshi/InfoDrop),
which divides distances by their mean, min-pools the map, and draws with replacement without rescaling what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.arguments import checked
from biasvar.seeding import generator

Evaluation = Literal["random", "expected", "off"]
Size = int | tuple[int, int]
FLOOR = 1e-8  # added to every probability before places are drawn
LEAST = 1e-6  # temperature and bandwidth: their quotients stay within float32


class InfoDrop(nn.Module):
    """Sets places of a convolution's activations to 0, the likelier the more they resemble their neighbourhood.

    For the input x (B, c, H, W) of the convolution, with its kernel, stride and padding p, and neighbour offsets o in
    [-R, R]^2 (R the radius):

        D_o = sum over channels, then over each kernel window, of (x - x shifted by o)^2      (x padded by p + R zeros)
        q   = mean over o of exp(-D_o / (2 h^2 mean D))     mean D: over samples, offsets and places; h the bandwidth
        r   = q^(1/T), min-pooled as the activations are max-pooled, divided by its sum over places

    `int(rate * h * w)` places of every image and channel are drawn from r + 1e-8 **with** replacement and set to 0;
    those kept are not rescaled, so a place is kept with probability (1 - r)^n, about exp(-rate h w r). The map is
    without gradient, and the convolution's weights play no part in it. T -> infinity is dropout that keeps
    exp(-rate) of all places, wherever they are (`temperature=math.inf`).

    In training, offsets are drawn anew in every forward pass, one set for the batch. In evaluation every forward pass
    draws the same random numbers, so that an answer can be asked for again. With fewer than one place to draw, or with
    `active` False, it is the identity.

    `forward(activations, seen)`: activations (B, C, h, w) after the convolution, its norm, ReLU and max-pool, and what
    the convolution has seen (B, c, H, W). Before the ReLU is the same, which leaves 0 where it is. Under
    `torch.func.vmap` over replicas every replica has a map, a mean D and draws of its own.

    Args:
        kernel, stride, padding: Of the convolution; a number, or one each for rows and columns.
        pool: The max-pooling that the activations have been through: a module, or a number of places as kernel and
            stride; None: none.
        rate: Draws by place, r_0.
        temperature: T; .03 in the authors' code for ResNets, .01 for CaffeNet, .5 with few shots. inf: plain dropout.
        bandwidth: h of the kernel, in units of the root of the mean distance.
        radius: R.
        neighbours: How many offsets are drawn, at most (2 R + 1)^2; or "all" of these, the place itself among them.
        eval: What happens in evaluation: "random" drops as in training (the authors' ResNet), "expected" multiplies by
            exp(-rate h w r) (their CaffeNet), "off" does nothing.

    Attributes:
        active: False makes it the identity: fine-tuning without it.
        streams: NumPy generators of the training draws, one for each replica of a vmap; none: torch's own generator.

    Raises:
        ValueError: A setting out of range; activations of another size than the map, or no images.

    >>> convolution, images = nn.Conv2d(3, 16, 3, padding=1), torch.rand(8, 3, 32, 32)
    >>> drop = InfoDrop(3, padding=1, pool=2)
    >>> pooled = F.max_pool2d(convolution(images).relu(), 2)
    >>> drop(pooled, images).shape
    torch.Size([8, 16, 16, 16])
    >>> drop.drop_probability(images).sum((2, 3))[:2].round(decimals=4).flatten()
    tensor([1., 1.])
    """

    @checked
    def __init__(
        self, kernel: Size, *, stride: Size = 1, padding: Size = 0, pool: nn.MaxPool2d | int | None = None,
        rate: float = 1.5, temperature: float = 0.03, bandwidth: float = 1.0, radius: int = 3,
        neighbours: int | Literal["all"] = 9, eval: Evaluation = "random",
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel, self.stride = _pair(kernel, "kernel", least=1), _pair(stride, "stride", least=1)
        self.padding = _pair(padding, "padding", least=0)
        self.pool = pooling_like(pool)
        self.rate = _within(rate, "rate", "0 or more", rate >= 0 and math.isfinite(rate))
        self.temperature = _within(temperature, "temperature", f"{LEAST:g} or more", temperature >= LEAST)
        most = 1 / LEAST
        self.bandwidth = _within(
            bandwidth, "bandwidth", f"a number from {LEAST:g} to {most:g}", LEAST <= bandwidth <= most
        )
        self.radius = int(_within(radius, "radius", "1 or more", radius >= 1))
        if neighbours != "all" and (isinstance(neighbours, str) or neighbours < 1):
            raise ValueError(f"neighbours must be a whole number of 1 or more, or 'all', not {neighbours!r}")
        square = (2 * self.radius + 1) ** 2
        if neighbours != "all" and int(neighbours) > square:
            raise ValueError(
                f"neighbours must be at most the {square} places of radius {self.radius}, of which 'all' takes each "
                f"once, not {neighbours}"
            )
        self.neighbours = neighbours
        if eval not in get_args(Evaluation):
            raise ValueError(f"eval must be {', '.join(map(repr, get_args(Evaluation)))}, not {eval!r}")
        self.evaluation: Evaluation = eval
        self.active = True
        self.streams: Sequence[np.random.Generator] = ()

    @classmethod
    def after(cls, convolution: nn.Conv2d, *, pool: nn.MaxPool2d | int | None = None, **settings: Any) -> Self:
        """InfoDrop with the geometry of a convolution, and of the max-pooling that follows it, if any.

        Raises:
            ValueError: The convolution is dilated, or padded to "same" with an even kernel.

        >>> InfoDrop.after(nn.Conv2d(3, 8, 5, padding="same"), pool=2, rate=1.0).padding
        (2, 2)
        """
        if convolution.dilation != (1, 1):
            raise ValueError(f"InfoDrop follows convolutions of dilation 1, not {convolution.dilation}")
        padding: Any = convolution.padding
        if isinstance(padding, str):
            if padding == "same" and not all(k % 2 for k in convolution.kernel_size):
                raise ValueError(f"padding 'same' needs an odd kernel here, not {convolution.kernel_size}")
            padding = tuple(k // 2 if padding == "same" else 0 for k in convolution.kernel_size)
        kernel: Any = convolution.kernel_size
        stride: Any = convolution.stride
        return cls(kernel, stride=stride, padding=padding, pool=pool, **settings)

    @torch.no_grad()
    def drop_probability(self, x: torch.Tensor, offsets: Any = None) -> torch.Tensor:
        """The map r (B, 1, h, w), which sums to 1 over the places of every image, without gradient.

        Computed in logarithms, since q^(1/T) spans 26 powers of ten at T = .01. Where nothing differs from its
        neighbours in the whole batch, r is the same everywhere.

        Args:
            x: (B, c, H, W), what the convolution sees.
            offsets: int (n, 2) neighbours, rows and columns, each from -radius to radius; None: drawn, or all.

        Raises:
            ValueError: No images, or offsets that are none.

        >>> x = torch.zeros(1, 1, 4, 4)
        >>> x[..., 2:] = 1.0  # an edge in the middle
        >>> r = InfoDrop(1, radius=1, neighbours="all", temperature=1.0).drop_probability(x)[0, 0]
        >>> bool(r[1, 0] > r[1, 1])  # the flat part is dropped more often than the edge
        True
        """
        if not isinstance(x, torch.Tensor) or x.ndim != 4 or not x.is_floating_point():
            said = f"shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(f"what the convolution sees must be floating-point images (B, c, H, W), not {said}")
        chosen = self.neighbour_offsets() if offsets is None else self._checked_offsets(offsets)
        log_map = self._log_map(x, chosen)
        return log_map.flatten(1).softmax(-1).view(log_map.shape)

    def draw(self, r: torch.Tensor, channels: int) -> torch.Tensor:
        """int (B, channels, n) places to drop, numbered row by row, drawn with replacement from r (B, 1, h, w) + 1e-8.

        n = int(rate * h * w).
        """
        return self._draw(r, channels, self.streams[0] if self.streams else None)

    @staticmethod
    def thinned(activations: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The activations (B, C, h, w) with 0 at the places (B, C, n), the others as they are.

        >>> InfoDrop.thinned(torch.ones(1, 1, 2, 2), torch.tensor([[[3, 0, 3]]]))
        tensor([[[[0., 1.],
                  [1., 0.]]]])
        """
        return activations * _kept(places, activations)

    def forward(self, activations: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        if not self.active or (not self.training and self.evaluation == "off"):
            return activations
        if activations.ndim == 4 and int(self.rate * activations.shape[2] * activations.shape[3]) == 0:
            return activations
        return activations * _Factor.apply(seen.detach(), activations.detach(), self)

    def extra_repr(self) -> str:
        return (
            f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}, rate={self.rate}, "
            f"temperature={self.temperature}, bandwidth={self.bandwidth}, radius={self.radius}, "
            f"neighbours={self.neighbours!r}, eval={self.evaluation!r}"
        )

    def neighbour_offsets(self, stream: np.random.Generator | None = None) -> list[tuple[int, int]]:
        """Neighbours for one forward pass: drawn evenly from [-R, R]^2 with replacement, or all of it."""
        reach = range(-self.radius, self.radius + 1)
        if self.neighbours == "all":
            return [(i, j) for i in reach for j in reach]
        stream = stream or (self.streams[0] if self.streams else None)
        drawn = _uniforms((int(self.neighbours), 2), stream, torch.device("cpu")) * len(reach)
        return [(int(i) - self.radius, int(j) - self.radius) for i, j in drawn.tolist()]

    def _factor(
        self, seen: torch.Tensor, activations: torch.Tensor, stream: np.random.Generator | None
    ) -> torch.Tensor:
        """What the activations (B, C, h, w) of one replica are multiplied by."""
        if not self.training:
            stream = generator(0, "infodrop evaluation")
        r = self.drop_probability(seen, self.neighbour_offsets(stream))
        if activations.ndim != 4:
            raise ValueError(f"InfoDrop was given activations of shape {tuple(activations.shape)}, not (B, C, h, w)")
        batch, channels, *size = activations.shape
        if r.shape != (batch, 1, *size):
            raise ValueError(
                f"InfoDrop was given activations (B, C, h, w) = {tuple(activations.shape)}, but its map is "
                f"{r.shape[-2]}x{r.shape[-1]} for {len(r)} images seen: kernel, stride, padding and pool must be those "
                "of what lies between the two"
            )
        if not self.training and self.evaluation == "expected":
            return torch.exp(-self.rate * math.prod(size) * r).expand(-1, channels, -1, -1).to(activations.dtype)
        return _kept(self._draw(r, channels, stream), activations)

    def _draw(self, r: torch.Tensor, channels: int, stream: np.random.Generator | None) -> torch.Tensor:
        places = r.shape[-2] * r.shape[-1]
        number = int(self.rate * places)
        bounds = (r.flatten(1).double() + FLOOR).cumsum(-1)
        drawn = _uniforms((len(r), channels * number), stream, r.device) * bounds[:, -1:]
        found = torch.searchsorted(bounds, drawn, right=True).clamp_(max=places - 1)  # NaN is sorted last
        return found.view(len(r), channels, number)

    def _log_map(self, x: torch.Tensor, offsets: Sequence[tuple[int, int]]) -> torch.Tensor:
        """log q / T (B, 1, h, w), min-pooled: r but for the division by its sum."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        (rows, columns), reach = self.padding, self.radius
        near = F.pad(x, (columns + reach, columns + reach, rows + reach, rows + reach))
        height, width = x.shape[-2] + 2 * rows, x.shape[-1] + 2 * columns
        centre = near[..., reach : reach + height, reach : reach + width]
        distances = torch.stack(
            [
                (centre - near[..., reach + i : reach + i + height, reach + j : reach + j + width]).square().sum(1)
                for i, j in offsets
            ],
            dim=1,
        )
        distances = F.avg_pool2d(distances, self.kernel, self.stride, divisor_override=1)  # sums over windows
        mean = distances.mean()
        distances = distances / torch.where(mean > 0, mean, 1.0)
        log_q = torch.logsumexp(-distances / (2 * self.bandwidth**2), 1, keepdim=True) - math.log(len(offsets))
        log_r = log_q / self.temperature
        return -self.pool(-log_r) if self.pool else log_r

    def _checked_offsets(self, offsets: Any) -> list[tuple[int, int]]:
        given = torch.as_tensor(offsets)
        whole = not given.is_floating_point() and not given.is_complex() and given.dtype != torch.bool
        if not whole or given.ndim != 2 or given.shape[1] != 2 or not len(given) or given.abs().max() > self.radius:
            raise ValueError(
                f"offsets must be whole numbers of shape (n, 2), from {-self.radius} to {self.radius} (the radius), "
                f"not {given.dtype} of shape {tuple(given.shape)}"
                + (f" up to {given.abs().max()}" if whole and given.numel() else "")
            )
        return [(int(i), int(j)) for i, j in given.tolist()]


class _Factor(torch.autograd.Function):
    """`InfoDrop._factor`, replica by replica under `torch.func.vmap`, which has no random numbers of its own."""

    @staticmethod
    def forward(seen: torch.Tensor, activations: torch.Tensor, drop: InfoDrop) -> torch.Tensor:
        return drop._factor(seen, activations, drop.streams[0] if drop.streams else None)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: torch.Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, None]:
        return None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], seen: torch.Tensor, activations: torch.Tensor, drop: InfoDrop
    ) -> tuple[torch.Tensor, int]:
        replicas: int = info.batch_size
        given = drop.streams if drop.training else ()
        if given and len(given) != replicas:
            raise ValueError(f"InfoDrop has {len(given)} streams for {replicas} replicas; give it one for each")
        streams: list[np.random.Generator | None] = list(given) if given else [None] * replicas
        factors = [
            drop._factor(_of_replica(seen, in_dims[0], r), _of_replica(activations, in_dims[1], r), stream)
            for r, stream in enumerate(streams)
        ]
        return torch.stack(factors), 0


def _of_replica(x: torch.Tensor, dim: int | None, replica: int) -> torch.Tensor:
    return x if dim is None else x.select(dim, replica)


def _kept(places: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
    """1 (B, C, h, w) for the activations that are kept, 0 at the places (B, C, n)."""
    return torch.ones_like(activations).flatten(2).scatter_(2, places, 0).view(activations.shape)


def _uniforms(shape: tuple[int, int], stream: np.random.Generator | None, device: torch.device) -> torch.Tensor:
    """float64 numbers from 0 to below 1, from a stream, or from torch's own generator."""
    if stream is None:
        return torch.rand(shape, dtype=torch.float64, device=device)
    return torch.from_numpy(stream.random(shape)).to(device)


def pooling_like(pool: nn.MaxPool2d | int | None) -> nn.MaxPool2d | None:
    """A max-pooling of the same geometry, without the hooks of the one given."""
    if pool is None or isinstance(pool, nn.MaxPool2d):
        return pool and nn.MaxPool2d(
            pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode
        )
    if isinstance(pool, bool) or not isinstance(pool, int) or pool < 1:
        raise ValueError(f"pool must be an nn.MaxPool2d, a whole number of 1 or more, or None, not {pool!r}")
    return nn.MaxPool2d(pool)


def _pair(value: Any, name: str, *, least: int) -> tuple[int, int]:
    """A number for rows and columns, or one each."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < least for n in pair):
        raise ValueError(
            f"{name} must be a whole number of {least} or more, or one each for rows and columns, not {value!r}"
        )
    return pair[0], pair[1]


def _within(value: float, name: str, allowed: str, fits: bool) -> float:
    if not fits:
        raise ValueError(f"{name} must be {allowed}, not {value}")
    return value
