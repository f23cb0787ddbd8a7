"""The batched crops are those of a loop over samples; what happens to a sample depends on its identity alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from biasvar.training.augmentation import augment, draw_views, normalise, take_views

N, H, W = 40, 12, 10
PINNED = [2, 4, 8, 1, 5, 5, 8, 2], [5, 6, 3, 6, 6, 3, 2, 2], [0, 0, 1, 1, 1, 0, 1, 0]
KEYS = {"seed": 5, "replica": 2, "epoch": 3}
COLOUR = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.3)}
GREY = {"mean": (0.3,), "std": (0.35,)}


def pictures(channels=None):
    shape = (N, H, W) if channels is None else (N, H, W, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def hashed(word):
    """The mixer written out for one Python integer, the modulus taken by division."""
    word ^= word // 2**16
    word = word * 0x21F0AAAD % 2**32
    word ^= word // 2**15
    word = word * 0x735A2D97 % 2**32
    return word ^ word // 2**15


def view_of(sample, seed, replica, epoch, pad):
    state = []
    for lane in (0x243F6A88, 0x13198A2E):
        key = hashed(lane)
        for word in (seed % 2**32, seed // 2**32 % 2**32, epoch, replica):
            key = hashed(key ^ word)
        state.append(key)
    view = hashed(hashed(sample ^ state[0]) ^ state[1]) * 2 * (2 * pad + 1) ** 2 // 2**32
    return view // 2 // (2 * pad + 1), view // 2 % (2 * pad + 1), view % 2 == 1


def one_by_one(images, ids, *, seed, replica, epoch, mean, std, pad=4, flip=True):
    """Pad with black, cut, mirror and normalise, a sample at a time, in float64."""
    out = []
    for sample in ids.tolist():
        image = images[sample].numpy().reshape(H, W, -1)
        padded = np.zeros((H + 2 * pad, W + 2 * pad, image.shape[2]))
        padded[pad : pad + H, pad : pad + W] = image
        top, left, flipped = view_of(sample, seed, replica, epoch, pad)
        crop = padded[top : top + H, left : left + W]
        if flip and flipped:
            crop = crop[:, ::-1]
        out.append(((crop / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1))
    return torch.tensor(np.stack(out))


@pytest.mark.parametrize(("channels", "statistics"), [(None, GREY), (1, GREY), (3, COLOUR)])
@pytest.mark.parametrize("pad", [0, 1, 4])
@pytest.mark.parametrize("flip", [True, False])
def test_a_batch_is_its_samples_one_by_one(channels, statistics, pad, flip):
    images, ids = pictures(channels), torch.tensor([3, 39, 0, 17, 3, 21])
    options = {**KEYS, **statistics, "pad": pad, "flip": flip}
    expected = one_by_one(images, ids, **options)
    ours = augment(images, ids, **options)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(augment(images, ids, **options, channels_last=False), ours, rtol=0, atol=0)


@pytest.mark.parametrize("seed", [0, 5, 2**31, 2**40 + 7, 2**62 - 1])
def test_views_are_the_written_out_hash(seed):
    ids = torch.tensor([0, 1, 2, 49_999, 2**31, 2**32 - 1])
    for replica, epoch in [(0, 1), (15, 240), (3, 7)]:
        top, left, flipped = draw_views(ids, seed=seed, replica=replica, epoch=epoch, pad=4)
        ours = list(zip(top.tolist(), left.tolist(), flipped.tolist(), strict=True))
        assert ours == [view_of(int(i), seed, replica, epoch, 4) for i in ids]


def test_views_are_pinned():
    """Changing them changes every recorded training."""
    top, left, flipped = draw_views(torch.arange(8), seed=1, replica=0, epoch=1)
    assert top.tolist() == PINNED[0]
    assert left.tolist() == PINNED[1]
    assert flipped.int().tolist() == PINNED[2]


def test_place_in_the_batch_and_its_size_do_not_matter():
    images = pictures(3)
    everyone = augment(images, torch.arange(N), **KEYS, **COLOUR)
    ids = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    for piece in ids.split(7):
        torch.testing.assert_close(augment(images, piece, **KEYS, **COLOUR), everyone[piece], rtol=0, atol=0)


def test_several_replicas_at_once_are_each_alone():
    images = pictures(3)
    ids = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(r))[:9] for r in range(3)])
    replicas = torch.tensor([[4], [0], [7]])
    together = augment(images, ids, **{**KEYS, "replica": replicas}, **COLOUR)
    assert together.shape == (3, 9, 3, H, W)
    for row, one, number in zip(together, ids, (4, 0, 7), strict=True):
        alone = augment(images, one, **{**KEYS, "replica": number}, **COLOUR)
        torch.testing.assert_close(row, alone, rtol=0, atol=0)
        assert row.is_contiguous(memory_format=torch.channels_last)


def test_views_of_a_whole_epoch_can_be_drawn_at_once():
    images, ids = pictures(3), torch.arange(N).reshape(4, 10)
    views = draw_views(ids, **KEYS)
    batch = take_views(images, ids[2], type(views)(*(value[2] for value in views)), **COLOUR)
    torch.testing.assert_close(batch, augment(images, ids[2], **KEYS, **COLOUR), rtol=0, atol=0)


def test_memory_formats():
    images, ids = pictures(3), torch.arange(5)
    quick = augment(images, ids, **KEYS, **COLOUR)
    plain = augment(images, ids, **KEYS, **COLOUR, channels_last=False)
    assert quick.is_contiguous(memory_format=torch.channels_last)
    assert not quick.is_contiguous()
    assert plain.is_contiguous()
    assert normalise(images, ids, **COLOUR).is_contiguous(memory_format=torch.channels_last)
    assert normalise(images, ids, **COLOUR, channels_last=False).is_contiguous()


def test_the_clean_view_is_the_normalised_image():
    for channels, statistics in ((None, GREY), (3, COLOUR)):
        images, ids = pictures(channels), torch.tensor([[8, 1], [0, 8]])
        clean = normalise(images, ids, **statistics)
        mean, std = (torch.tensor(statistics[name]).double() for name in ("mean", "std"))
        expected = (images[ids].reshape(2, 2, H, W, -1) / 255.0 - mean) / std
        torch.testing.assert_close(clean.double(), expected.movedim(-1, 2), rtol=0, atol=2e-6)
        untouched = augment(images, ids, **KEYS, **statistics, pad=0, flip=False)
        torch.testing.assert_close(untouched, clean, rtol=0, atol=0)


def test_statistics_may_be_tensors_and_pixels_may_have_another_scale():
    images, ids = pictures(3) // 16, torch.arange(6)
    tensors = {name: torch.tensor(values) for name, values in COLOUR.items()}
    ours = normalise(images, ids, **tensors, scale=16)
    torch.testing.assert_close(ours, normalise(images * 15, ids, **COLOUR, scale=240.0), rtol=0, atol=2e-6)


def chi_square_p(counts):
    return stats.chisquare(counts).pvalue


@pytest.mark.parametrize("pad", [1, 4])
def test_views_are_uniform_and_their_parts_independent(pad):
    """Over samples, over epochs and over replicas: every one of the 2 n^2 views as often as any other."""
    side = 2 * pad + 1
    ids = torch.arange(50_000)
    over = {
        "samples": draw_views(ids, seed=3, replica=0, epoch=1, pad=pad),
        "replicas": draw_views(torch.tensor(17), seed=3, replica=ids, epoch=1, pad=pad),
    }
    few = [draw_views(torch.arange(40), seed=3, replica=1, epoch=e, pad=pad) for e in range(1, 1251)]
    over["epochs"] = type(few[0])(*(torch.cat(part) for part in zip(*few, strict=True)))
    for top, left, flipped in over.values():
        assert top.min() == 0
        assert top.max() == side - 1
        joint = torch.bincount((top * side + left) * 2 + flipped, minlength=2 * side * side).numpy()
        assert chi_square_p(joint) > 1e-3
        for part, size in ((top, side), (left, side), (flipped.long(), 2)):
            assert chi_square_p(torch.bincount(part, minlength=size).numpy()) > 1e-3
        values = np.corrcoef(torch.stack([top.double(), left.double(), flipped.double()]).numpy())
        assert np.abs(values[np.triu_indices(3, 1)]).max() < 4 / np.sqrt(50_000)


@pytest.mark.parametrize("change", [{"epoch": 4}, {"replica": 3}, {"seed": 6}, {"seed": 5 + 2**32}, "next sample"])
def test_another_epoch_replica_seed_or_sample_is_another_view(change):
    """And an independent one: the pair of views is uniform over pairs, equal in 1 of 2 n^2 cases."""
    side, ids = 3, torch.arange(60_000)
    first = draw_views(ids, **KEYS, pad=1)
    if change == "next sample":
        second = draw_views(ids + 1, **KEYS, pad=1)
    else:
        second = draw_views(ids, **{**KEYS, **change}, pad=1)
    a, b = ((v.top * side + v.left) * 2 + v.flipped for v in (first, second))
    pairs = torch.bincount(a * 18 + b, minlength=18 * 18).numpy()
    assert chi_square_p(pairs) > 1e-3
    assert abs(float((a == b).double().mean()) - 1 / 18) < 4 * np.sqrt(1 / 18 / 60_000)


def test_crops_are_the_same_with_and_without_flips():
    images, ids = pictures(3), torch.arange(N)
    flipped = draw_views(ids, **KEYS).flipped
    with_flips = augment(images, ids, **KEYS, **COLOUR)
    without = augment(images, ids, **KEYS, **COLOUR, flip=False)
    expected = torch.where(flipped[:, None, None, None], without.flip(-1), without)
    torch.testing.assert_close(with_flips, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(4, 8, 8), "expected contiguous uint8"),
        (torch.zeros(4, 64, dtype=torch.uint8), "of shape \\(4, 64\\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8).permute(0, 2, 3, 1), "strides"),
    ],
)
def test_images_of_another_kind_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        normalise(images, torch.arange(2), **COLOUR)


def test_statistics_must_fit_the_channels_and_padding_be_a_number_of_pixels():
    with pytest.raises(ValueError, match="mean: 1 values for images of 3 channels"):
        normalise(pictures(3), torch.arange(2), **GREY)
    with pytest.raises(ValueError, match="pad -1"):
        augment(pictures(3), torch.arange(2), **KEYS, **COLOUR, pad=-1)


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_a_gpu_sees_the_same_views_and_is_never_waited_for():
    images, ids = pictures(3), torch.arange(N)
    on_gpu, ids_on_gpu = images.cuda(), ids.cuda()
    augment(on_gpu, ids_on_gpu, **KEYS, **COLOUR)
    torch.cuda.set_sync_debug_mode("error")
    try:
        ours = augment(on_gpu, ids_on_gpu, **KEYS, **COLOUR)
        views = draw_views(ids_on_gpu, **KEYS)
        clean = normalise(on_gpu, ids_on_gpu, **COLOUR)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for mine, other in zip(views, draw_views(ids, **KEYS), strict=True):
        assert torch.equal(mine.cpu(), other)
    torch.testing.assert_close(ours.cpu(), augment(images, ids, **KEYS, **COLOUR), rtol=0, atol=2e-6)
    torch.testing.assert_close(clean.cpu(), normalise(images, ids, **COLOUR), rtol=0, atol=2e-6)
