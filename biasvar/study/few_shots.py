"""What a study file says of few-shot episodes: the classes held out for them, and what an episode is."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from biasvar.study.sections import MOST, Section

WAYS, SHOTS = 5, (1, 5)
"""Classes of an episode, and labelled images of each: what claims on few shots are about, and the defaults."""


class FewShots(Section):
    """Classes that no student is trained on, and episodes of them; the study's seed draws both."""

    classes: int = Field(ge=2)  # held out: no row of them is trained on, chosen by or tested on
    ways: int = Field(WAYS, ge=2)  # classes of an episode
    shots: list[Annotated[int, Field(ge=1)]] = Field([*SHOTS], min_length=1)  # labelled images of each
    queries: int = Field(15, ge=1)  # images of each to tell apart, the same for every number of shots
    episodes: int = Field(400, ge=2, le=MOST)

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.classes < self.ways:
            raise ValueError(
                f"classes: {self.classes} held out are fewer than the {self.ways} classes of an episode (ways); hold "
                f"out {self.ways} or more"
            )
        if sorted(set(self.shots)) != self.shots:
            raise ValueError(f"shots: must be increasing numbers of labelled images, such as [1, 5], not {self.shots}")
        return self

    @property
    def images(self) -> int:
        """How many images of each of its classes an episode takes."""
        return max(self.shots) + self.queries

    def __str__(self) -> str:
        shots = " and ".join(f"{number}" for number in self.shots)
        episodes = f"{self.episodes:,} episodes of {self.ways} of them"
        return f"{self.classes} classes held out, {episodes} with {shots} shots and {self.queries} queries each"
