"""Weighted sums of a teacher's layers, the connectors between channels, and the distance that a student is taught by.

Guan et al. 2020 (DFA): A_i = sum_j a_ij T_ij with sum_j a_ij = 1; F_s maps the student's channels to the teacher's, F_t
the teacher's to the student's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from biasvar.seeding import generator
from biasvar.training.context import StudyContext
from biasvar.training.feature_groups import FeatureGroup
from biasvar.training.networks import seeded
from biasvar.training.taps import tapped
from biasvar.training.teachers import teacher_networks

KEPT = 512 * 2**20  # bytes of a teacher's features that are kept for a replica; beyond, it is asked at every step
CHUNK = 256  # images that a teacher is asked about at a time where its features are kept


class Connector(nn.Sequential):
    """A 1x1 convolution without bias from `inside` to `outside` channels, with BatchNorm where `norm` is set.

    Shapes: (B, inside, H, W) -> (B, outside, H, W). Weights are normal with variance 2 / outside, as in the framework
    of DFA's first author (github.com/PkuDavidGuan/Distillation).

    >>> Connector(4, 8, norm=True)(torch.zeros(2, 4, 3, 3)).shape
    torch.Size([2, 8, 3, 3])
    """

    def __init__(self, inside: int, outside: int, *, norm: bool) -> None:
        convolution = nn.Conv2d(inside, outside, 1, bias=False)
        nn.init.normal_(convolution.weight, std=(2.0 / outside) ** 0.5)
        super().__init__(convolution, *([nn.BatchNorm2d(outside)] if norm else []))


class Connectors(nn.Module):
    """The connectors of one replica, one a group: F_s of the student's features, F_t of the teacher's.

    Attributes:
        student: F_s, from the student's channels to the teacher's.
        teacher: F_t, from the teacher's channels to the student's; none where nothing goes that way.
    """

    def __init__(self, groups: Sequence[FeatureGroup], *, norm: bool, back: bool) -> None:
        super().__init__()
        ends = [(group.student_channels, group.teacher_channels) for group in groups]
        self.student = nn.ModuleList(Connector(a, b, norm=norm) for a, b in ends)
        self.teacher = nn.ModuleList(Connector(b, a, norm=norm) for a, b in ends if back)


def make_connectors(
    context: StudyContext, groups: Sequence[FeatureGroup], replica: int, *, norm: bool, back: bool = False
) -> Connectors:
    """The connectors of a replica; their weights depend on the study's seed and the replica alone."""
    seed = int(generator(context.study.seed, "connectors", replica).integers(2**62))
    return seeded(seed, lambda: Connectors(groups, norm=norm, back=back)).to(context.device)


def check_norm(groups: Sequence[FeatureGroup], rows: Sequence[int], batch_size: int, *, some: bool = False) -> None:
    """Raise ValueError where a connector's BatchNorm would be given a single value, of which there is no variance.

    Args:
        groups: Of connectors with BatchNorm.
        rows: How many rows each replica is trained on.
        batch_size: Of the schedule.
        some: Connectors see a selection of each batch, which may be one row.
    """
    for i, group in enumerate(groups):
        alone = some or any(count % batch_size == 1 or batch_size == 1 for count in rows)
        if group.height * group.width == 1 and alone:
            why = "a batch may have one selected row" if some else "the last batch of an epoch has one row"
            raise ValueError(
                f"connector_norm: group {i} ({group.student}) has one pixel, and {why}: BatchNorm takes more than one "
                f"value; give connector_norm: false{'' if some else ', or another schedule.batch_size'}"
            )


def aggregated(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """A = sum_j a_j T_j.

    Args:
        features: (B, J, C, H, W), a teacher's layers T_j.
        weights: (J,), a_j.

    Returns:
        (B, C, H, W).

    >>> aggregated(torch.ones(1, 2, 1, 1, 1), torch.tensor([0.25, 0.5])).item()
    0.75
    """
    return torch.einsum("bjchw,j->bchw", features, weights)


def distance(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(B,) mean over channels and pixels of the squared difference of two features (B, C, H, W).

    The paper writes a squared norm; a mean makes groups of different size count alike [not in the paper].

    >>> distance(torch.zeros(1, 2, 1, 1), torch.tensor([[[[1.0]], [[2.0]]]]))
    tensor([2.5000])
    """
    return (student - target).square().mean((1, 2, 3))


class TeacherFeatures:
    """A frozen teacher's features of the images that one replica sees, by group; in evaluation mode, without gradient.

    Where images are not augmented and the features fit in `KEPT` bytes the teacher is asked once, in an order of its
    own, so that what it says does not depend on when it is asked.

    Args:
        context: The study's.
        network: The teacher.
        groups: Whose layers.
        ids: int (n,) sample ids of all images that may be asked about.
        weights: One (J,) a group: then the features are aggregated, (B, C, H, W); else all layers, (B, J, C, H, W).
    """

    def __init__(
        self, context: StudyContext, network: nn.Module, groups: Sequence[FeatureGroup], ids: torch.Tensor,
        weights: Sequence[torch.Tensor] | None = None,
    ) -> None:  # fmt: skip
        self._network, self._groups, self._weights = network.eval(), groups, weights
        self._kept: list[torch.Tensor] | None = None
        per_image = bytes_of_features(groups, summed=weights is not None)
        if not context.inputs.augmented and per_image * len(ids) <= KEPT:
            pieces = [self._ask(context.inputs.clean(piece)) for piece in ids.split(CHUNK)]
            self._kept = [torch.cat(parts) for parts in zip(*pieces, strict=True)]
            self._position = torch.full((len(context.labels),), -1, dtype=torch.int64, device=ids.device)
            self._position[ids] = torch.arange(len(ids), device=ids.device)

    def at(self, ids: torch.Tensor, images: torch.Tensor) -> list[torch.Tensor]:
        """The features of a batch: of sample ids (B,), seen as images (B, C, H, W); one tensor a group."""
        if self._kept is None:
            return self._ask(images)
        return [features[self._position[ids]] for features in self._kept]

    @torch.no_grad()
    def _ask(self, images: torch.Tensor) -> list[torch.Tensor]:
        paths = list(dict.fromkeys(path for group in self._groups for path in group.teacher))
        with tapped(self._network, paths, of="teacher") as outputs:
            self._network(images)
        stacks = [torch.stack([outputs[path] for path in group.teacher], dim=1).float() for group in self._groups]
        if self._weights is None:
            return stacks
        return [aggregated(stack, a) for stack, a in zip(stacks, self._weights, strict=True)]


def bytes_of_features(groups: Sequence[FeatureGroup], *, summed: bool) -> int:
    """Bytes of a teacher's features of an image: of the sum of each group's layers, or of all layers."""
    layers = [1 if summed else len(group.teacher) for group in groups]
    sizes = [group.teacher_channels * group.height * group.width for group in groups]
    return 4 * sum(count * size for count, size in zip(layers, sizes, strict=True))


def teacher_of(context: StudyContext, name: str, shift: int | None, replica: int) -> nn.Module:
    """The trained teacher that a replica of an arm learns from, frozen."""
    number = (replica + (shift or 0)) % context.study.teacher_count(name)
    (network,) = teacher_networks(context, name, [number])
    return network
