"""A network of one's own, as a study names it by import path."""

from torch import nn


def make(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes)
    )


def linear(in_channels: int, num_classes: int) -> nn.Module:
    """Of images of 8x8 pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))


def headless(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def normed(in_channels: int, num_classes: int) -> nn.Module:
    """Of images of 8x8 pixels, with batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, num_classes)
    )
