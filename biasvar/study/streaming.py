"""The settings of images that do not fit in memory: how each is cropped, and how many processes read them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from biasvar.study.sections import Section

AreaShare = Annotated[float, Field(gt=0, le=1)]


class Streamed(Section):
    """Images that are read from their files as they are asked for: a folder of classes, or Parquet files.

    An evaluation sees the centre `image_size` x `image_size` pixels of an image whose shorter side was brought to
    `resize` pixels; training a random crop, resized to as many pixels and mirrored at random (`biasvar.data.crops`).
    Pixels are normalised by the mean and deviation of ImageNet. `{}` gives all keys their default.
    """

    image_size: int = Field(224, ge=8, le=8192)  # pixels of each side that networks see
    resize: int = Field(256, ge=8, le=8192)  # pixels of the shorter side before the centre crop of an evaluation
    augment: bool = True  # random crops in training; false: training sees what an evaluation sees
    # Least and largest share of an image's area that a random crop has.
    area: tuple[AreaShare, AreaShare] = (0.08, 1.0)
    # Processes that read and crop images ahead of the training; they change no number and are no part of the study's
    # identity. 0: the training process does it; none given: as many as it may use cores, at most 8.
    workers: int | None = Field(None, ge=0, le=512)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.image_size > self.resize:
            raise ValueError(
                f"image_size: {self.image_size} pixels are not in an image whose shorter side is made {self.resize}; "
                f"give a resize of at least {self.image_size} (usual: 8/7 of it)"
            )
        if self.area[0] > self.area[1]:
            raise ValueError(f"area: must be the least and the largest share, such as [0.08, 1], not {list(self.area)}")
        return self
