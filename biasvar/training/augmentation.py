"""Random crops and flips of whole batches, on the device that holds the images.

What happens to a sample depends on (seed, replica, epoch, sample_id) and on nothing else: not on its place in the
batch, the size of the batch, the arm or the device. So teacher and student, and every arm, see the same view, and a
resumed training goes on with the views that it would have seen. The numbers come from a hash of those four, not from
a generator with a state, and nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch

_WORD = 0xFFFFFFFF
_LANES = (0x243F6A88, 0x13198A2E)  # two unlike starts (digits of pi), so that keys have 64 bits

Word = TypeVar("Word", int, torch.Tensor)
Statistics = Sequence[float] | torch.Tensor


class Views(NamedTuple):
    """Crop and flip of each sample; all of the shape of the ids.

    Attributes:
        top, left: int64, 0 to 2 * pad: first row and column of the crop in the padded image.
        flipped: bool: mirrored left to right after the crop.
    """

    top: torch.Tensor
    left: torch.Tensor
    flipped: torch.Tensor


def draw_views(sample_ids: torch.Tensor, *, seed: int, replica: int | torch.Tensor, epoch: int, pad: int = 4) -> Views:
    """The views of samples in an epoch: top, left and flipped are uniform and independent, for every sample anew.

    One 32-bit hash h of (seed, epoch, replica, sample_id) gives one of the 2 n^2 views, n = 2 pad + 1, by
    v = floor(h * 2 n^2 / 2^32); v is read as (top, left, flipped). The hash mixes 32-bit words held in int64, where no
    product overflows, hence the same integers on every device; the mixer is [16 21f0aaad 15 735a2d97 15] of
    github.com/skeeto/hash-prospector (issue 19).

    Args:
        sample_ids: int (...), below 2^32.
        seed: Of the study.
        replica: A replica number, or an int tensor of them that broadcasts with `sample_ids`, such as (R, 1).
        epoch: From 1.
        pad: Pixels of padding on every side.

    Raises:
        ValueError: `pad` is negative.

    >>> ids = torch.tensor([[7, 8], [8, 9]])
    >>> views = draw_views(ids, seed=1, replica=0, epoch=3)
    >>> views.top[0, 1] == views.top[1, 0], views.top.shape
    (tensor(True), torch.Size([2, 2]))
    """
    if pad < 0:
        raise ValueError(f"pad {pad}: expected a number of pixels, 0 or more")
    ids = sample_ids.long()
    first, second = (_key(lane, seed, epoch, replica) for lane in _LANES)
    hashed = _mix(_mix(ids ^ first) ^ second)
    side = 2 * pad + 1
    view = (hashed * (2 * side * side)) >> 32
    place = view >> 1
    return Views(place // side, place % side, (view & 1).bool())


def _key(lane: int, seed: int, epoch: int, replica: int | torch.Tensor) -> int | torch.Tensor:
    state = _mix(lane)
    for word in (seed & _WORD, (seed >> 32) & _WORD, epoch & _WORD):
        state = _mix(state ^ word)
    if isinstance(replica, torch.Tensor):
        return _mix((replica.long() & _WORD) ^ state)
    return _mix((replica & _WORD) ^ state)


def _mix(word: Word) -> Word:
    """A bijection of 32-bit words of which every output bit depends on every input bit."""
    word = word ^ (word >> 16)
    word = (word * 0x21F0AAAD) & _WORD
    word = word ^ (word >> 15)
    word = (word * 0x735A2D97) & _WORD
    return word ^ (word >> 15)


def augment(
    images: torch.Tensor,
    sample_ids: torch.Tensor,
    *,
    seed: int,
    replica: int | torch.Tensor,
    epoch: int,
    mean: Statistics,
    std: Statistics,
    pad: int = 4,
    flip: bool = True,
    scale: float = 255.0,
    channels_last: bool = True,
) -> torch.Tensor:
    """A batch of augmented, normalised images: padded with black, cropped, perhaps mirrored, (x / scale - mean) / std.

    Padding is by pixels of value 0 before normalisation, as in the distillation benchmark of Tian et al. 2020
    (RepDistiller, dataset/cifar100.py), not by zeros after it. `flip=False` leaves the crops as they are with flips.

    Args:
        images: uint8 (N, H, W) or (N, H, W, C), contiguous; row i is sample i.
        sample_ids: int (...), on the same device.
        seed, replica, epoch: See `draw_views`.
        mean, std: Per channel (C), in units of `scale`; a tensor must be on the device.
        pad: Pixels of padding on every side; 0 for no crop.
        flip: Mirror every other image or so.
        scale: The pixel value that stands for 1.
        channels_last: Memory layout of the images in the result; it is the quick one here, and for convolutions.

    Returns:
        float32 (..., C, H, W).

    Raises:
        ValueError: Images or statistics of another type or shape.

    >>> images = torch.randint(0, 256, (50, 32, 32, 3), dtype=torch.uint8)
    >>> options = {"seed": 1, "epoch": 1, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    >>> augment(images, torch.arange(8), replica=0, **options).shape
    torch.Size([8, 3, 32, 32])
    """
    views = draw_views(sample_ids, seed=seed, replica=replica, epoch=epoch, pad=pad)
    if not flip:
        views = views._replace(flipped=torch.zeros_like(views.flipped))
    return take_views(
        images, sample_ids, views, pad=pad, mean=mean, std=std, scale=scale, channels_last=channels_last
    )  # fmt: skip


def take_views(
    images: torch.Tensor,
    sample_ids: torch.Tensor,
    views: Views,
    *,
    mean: Statistics,
    std: Statistics,
    pad: int = 4,
    scale: float = 255.0,
    channels_last: bool = True,
) -> torch.Tensor:
    """What `augment` returns, for views already drawn (for a whole epoch at once, say); `pad` as they were drawn with.

    >>> images = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3)
    >>> corner = Views(*(torch.tensor([value]) for value in (0, 2, True)))
    >>> take_views(images, torch.tensor([0]), corner, pad=1, mean=[0], std=[1], scale=1)[0, 0].int().tolist()
    [[0, 0, 0], [0, 2, 1], [0, 5, 4]]
    """
    height, width, channels = _shape(images)
    ids, top, left, flipped = (value.reshape(-1, 1) for value in (sample_ids.long(), *views))
    rows = torch.arange(height, device=images.device) + (top - pad)
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flipped, width - 1 - columns, columns) + (left - pad)
    # Pixels outside the image are read from its border and then blacked out: no padded copy, and one gather for all.
    index = (ids * height + rows.clamp(0, height - 1))[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    pixels = images.view(-1, channels).index_select(0, index.view(-1)).view(-1, height, width * channels)
    inside_rows = ((rows >= 0) & (rows < height))[:, :, None]
    inside_columns = ((columns >= 0) & (columns < width))[:, None, :, None].expand(-1, -1, -1, channels).flatten(2)
    return _finish(pixels.mul_(inside_columns).mul_(inside_rows), images, sample_ids, mean, std, scale, channels_last)


def normalise(
    images: torch.Tensor,
    sample_ids: torch.Tensor,
    *,
    mean: Statistics,
    std: Statistics,
    scale: float = 255.0,
    channels_last: bool = True,
) -> torch.Tensor:
    """The clean view, for evaluation: (x / scale - mean) / std; arguments, result and errors as for `augment`.

    >>> images = torch.full((2, 8, 8), 255, dtype=torch.uint8)
    >>> normalise(images, torch.tensor([1]), mean=[0.5], std=[0.25])[0, 0, 0, 0]
    tensor(2.)
    """
    height, width, channels = _shape(images)
    pixels = images.index_select(0, sample_ids.reshape(-1)).view(-1, height, width * channels)
    return _finish(pixels, images, sample_ids, mean, std, scale, channels_last)


def _shape(images: torch.Tensor) -> tuple[int, int, int]:
    """Height, width and channels."""
    if images.dtype != torch.uint8 or images.ndim not in (3, 4) or not images.is_contiguous():
        raise ValueError(
            "images: expected contiguous uint8 of shape (N, H, W) or (N, H, W, C), not "
            f"{str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)} and strides {images.stride()}"
        )
    return images.shape[1], images.shape[2], images.shape[3] if images.ndim == 4 else 1


def _finish(
    pixels: torch.Tensor, images: torch.Tensor, sample_ids: torch.Tensor,
    mean: Statistics, std: Statistics, scale: float, channels_last: bool,
) -> torch.Tensor:  # fmt: skip
    """uint8 (B, H, W * C) to normalised float32 (..., C, H, W)."""
    height, width, channels = _shape(images)
    center, spread = _on_device(mean, "mean", images, channels), _on_device(std, "std", images, channels)
    # Gain and offset are spread over a row of pixels: on a CPU, an inner loop of W * C is 7 times as fast as one of C.
    out = pixels.float().mul_((1 / (spread * scale)).repeat(width)).add_((-center / spread).repeat(width))
    out = out.view(-1, height, width, channels).permute(0, 3, 1, 2)
    if not channels_last:
        out = out.contiguous()
    return out.view(*sample_ids.shape, *out.shape[1:])


def _on_device(values: Statistics, name: str, images: torch.Tensor, channels: int) -> torch.Tensor:
    """float32 (C,) beside the images. Numbers are filled in by the device: a copy to it would be waited for."""
    if isinstance(values, torch.Tensor):
        out = values.float().reshape(-1)
    else:
        out = torch.stack([torch.full((), float(value), device=images.device) for value in values])
    if len(out) != channels:
        raise ValueError(f"{name}: {len(out)} values for images of {channels} channels; expected one a channel")
    return out
