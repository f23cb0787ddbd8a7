"""Small networks with features, for tests: a student, teachers whose layers are made, and one without features."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Student(nn.Module):
    """8x8 images: features of 4 channels at 8x8, of 6 at 4x4."""

    feature_taps = ("first", "second")

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.unused = nn.Linear(1, 1)
        self.head = nn.Linear(6, num_classes)

    def after_first(self, features: torch.Tensor) -> torch.Tensor:
        return self.after_second(self.second(F.max_pool2d(F.relu(features), 2)))

    def after_second(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(features).mean((2, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after_first(self.first(x))


class Teacher(nn.Module):
    """Three layers of 3 channels at 8x8, two of 5 at 4x4, and one of 7 channels at 4x4 that is no tap of its own."""

    feature_taps = ("a", "b", "c", "d", "e")

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(in_channels, 3, 3, padding=1)
        self.b = nn.Conv2d(3, 3, 3, padding=1)
        self.c = nn.Conv2d(3, 3, 3, padding=1)
        self.d = nn.Conv2d(3, 5, 3, 2, padding=1)
        self.e = nn.Conv2d(5, 5, 3, padding=1)
        self.wide = nn.Conv2d(5, 7, 1)
        self.head = nn.Linear(7, num_classes)

    def layers(self, x: torch.Tensor) -> list[list[torch.Tensor]]:
        a = self.a(x)
        b = self.b(a.tanh())
        c = self.c(b.tanh())
        d = self.d(c.tanh())
        return [[a, b, c], [d, self.e(d.tanh())]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.wide(self.layers(x)[1][1].tanh()).mean((2, 3)))


class Blank(nn.Module):
    """Features that are 0 everywhere."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.0 * x


class Made(nn.Module):
    """Layers at 8x8 pixels: one that is blank, and one that is the image."""

    feature_taps = ("blank", "image")

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.blank, self.image = Blank(), nn.Conv2d(in_channels, in_channels, 1, bias=False)
        with torch.no_grad():
            self.image.weight.fill_(1.0)
        self.image.requires_grad_(False)
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.blank(x) + self.image(x)).mean((2, 3)))


class OneLayer(Student):
    """The student with one feature only."""

    feature_taps = ("first",)


class Nameless(Student):
    """Has features, names none."""

    feature_taps = ()
