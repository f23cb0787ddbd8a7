"""A transformer over bytes of which R replicas train together, each with weights of its own."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

VOCABULARY = 256


class ByteTransformer(nn.Module):
    """Logits (R, B, T, 256) of the next byte after each of bytes (R, B, T); decoder-only, pre-norm, tied embeddings."""

    def __init__(self, replicas: int, width: int, layers: int, length: int, *, heads: int = 4, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def weight(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(replicas, *shape, generator=generator) * scale)

        self.replicas, self.width, self.heads = replicas, width, heads
        self.bytes = weight(VOCABULARY, width, scale=0.1)
        self.places = weight(length, width, scale=0.02)
        deep = math.sqrt(2 * layers)
        blocks = [
            nn.ParameterList(
                [
                    weight(width, 3 * width, scale=width**-0.5),
                    weight(width, width, scale=width**-0.5 / deep),
                    weight(width, 4 * width, scale=width**-0.5),
                    weight(4 * width, width, scale=(4 * width) ** -0.5 / deep),
                ]
            )
            for _ in range(layers)
        ]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        replicas, batch, length = x.shape
        rows = (replicas, batch * length, self.width)
        table = torch.stack([F.embedding(own, weight) for own, weight in zip(x, self.bytes, strict=True)])
        h = (table + self.places[:, None, :length]).reshape(rows)
        for block in self.blocks:
            inside, out, up, down = block
            mixed = torch.bmm(_normed(h), inside).view(replicas * batch, length, 3, self.heads, -1)
            query, key, value = mixed.permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            h = h + torch.bmm(seen.transpose(1, 2).reshape(rows), out)
            h = h + torch.bmm(F.gelu(torch.bmm(_normed(h), up)), down)
        return torch.bmm(_normed(h), self.bytes.transpose(1, 2)).view(replicas, batch, length, VOCABULARY)

    @property
    def size(self) -> int:
        """Parameters of one replica."""
        return sum(p.numel() for p in self.parameters()) // self.replicas


def _normed(h: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(h, h.shape[-1:])
