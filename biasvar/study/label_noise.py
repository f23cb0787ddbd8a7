"""The settings of label noise: which part of the training rows has other labels, and which ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from biasvar.study.sections import Section


class LabelNoise(Section):
    """Labels of training rows that are not the true ones; test and validation rows keep theirs.

    shuffle: the labels of the chosen rows change places among themselves, so that some get their own back (Yang et al.
    2020: of 10 classes "10 %" are 9 % wrong labels). uniform: each gets one of all classes, its own among them.
    uniform_other: each gets one of the other classes.
    """

    kind: Literal["shuffle", "uniform", "uniform_other"] = "shuffle"
    share: float = Field(ge=0, lt=1)  # of the training rows

    def in_words(self) -> str:
        """The noise in a few characters, "labels 10 % uniform_other"."""
        return f"labels {100 * self.share:g} % {self.kind}" if self.share else "true labels"
