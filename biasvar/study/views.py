"""What a study file may show instead of an image: corruptions, renderings, shuffled patches and attacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from biasvar.messages import did_you_mean

CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "gaussian_blur", "motion_blur"),
    *("fog", "brightness", "contrast", "jpeg", "pixelate", "elastic"),
)
"""Corruptions, each of severity 1 to 5; `biasvar.data.corruptions` makes them."""
RENDERINGS = ("grey", "edges", "posterised")
"""Other ways to draw the same picture; `biasvar.data.renderings` makes them."""
PATCHES = "shuffled_patches"
ATTACKS = ("fgsm", "pgd")
"""Attacks on the student that is evaluated, each within a radius; `biasvar.training.attacks` makes them."""
ORIGINAL = "original"
"""The image as it is, among the renderings that training rows are shown through."""
ALL_CORRUPTIONS = "corruptions"
KINDS = (*CORRUPTIONS, PATCHES, *RENDERINGS, *ATTACKS)
SEVERITIES = range(1, 6)


@dataclass(frozen=True)
class View:
    """One way to show the rows of a split: what is done to the images, and how much.

    Attributes:
        kind: One of `KINDS`.
        amount: A severity, a number of patches a side, or a radius; None for a rendering.
    """

    kind: str
    amount: float | None = None

    @property
    def name(self) -> str:
        """The name by which a run keeps the view.

        >>> View("gaussian_noise", 3).name, View("fgsm", 0.03).name, View("grey").name
        ('gaussian_noise-3', 'fgsm-0.03', 'grey')
        """
        return self.kind if self.amount is None else f"{self.kind}-{self.amount:g}"


def views_in(views: Mapping[str, Sequence[float]]) -> list[View]:
    """The views that `data.views` names, in its order, each once.

    >>> [view.name for view in views_in({"jpeg": [1, 5], "grey": []})]
    ['jpeg-1', 'jpeg-5', 'grey']
    """
    found = []
    for kind, amounts in views.items():
        found += [View(one, amount) for one in kinds_of(kind) for amount in amounts or (None,)]
    return list(dict.fromkeys(found))


def kinds_of(kind: str) -> tuple[str, ...]:
    """The kinds that a key of `data.views` stands for."""
    return CORRUPTIONS if kind == ALL_CORRUPTIONS else (kind,)


def listed(value: Any) -> Any:
    """`data.views` as YAML gives it with a list for every kind: nothing is no amount, one number is a list of it."""
    if not isinstance(value, Mapping):
        return value
    return {
        kind: [] if amounts is None else [amounts] if isinstance(amounts, int | float) else amounts
        for kind, amounts in value.items()
    }


def check_views(views: Mapping[str, Sequence[float]]) -> None:
    """Raise ValueError for a kind that is not there, or an amount that it does not take."""
    for kind, amounts in views.items():
        if kind not in (*KINDS, ALL_CORRUPTIONS):
            raise ValueError(
                f"no view named {kind!r}{did_you_mean(kind, (*KINDS, ALL_CORRUPTIONS), after=';') or ';'} there is: "
                f"{', '.join((*KINDS, ALL_CORRUPTIONS))} (all corruptions)"
            )
        fault = _fault(kind, amounts)
        if fault:
            raise ValueError(f"{kind}: {fault}")
        if len(set(amounts)) < len(amounts):
            raise ValueError(f"{kind}: {_shown(amounts)} names a view twice; name it once")


def check_renderings(names: Sequence[str]) -> None:
    """Raise ValueError for training views that are no renderings, or named twice."""
    allowed = (ORIGINAL, *RENDERINGS)
    for name in names:
        if name not in allowed:
            raise ValueError(
                f"no rendering named {name!r}{did_you_mean(name, allowed, after=';') or ';'} training rows can be "
                f"shown as: {', '.join(allowed)}"
            )
    if len(set(names)) < len(names):
        raise ValueError(
            f"{', '.join(names)} names a rendering twice; each has the same share of the rows: name it once"
        )


def _fault(kind: str, amounts: Sequence[float]) -> str | None:
    """What is wrong with the amounts of a kind."""
    wrong = _shown(amounts) if amounts else "nothing"
    if kind in RENDERINGS:
        return f"takes no number, not {wrong}; write {kind}: []" if amounts else None
    if kind in ATTACKS:
        if amounts and all(0 < amount < 1 for amount in amounts):
            return None
        return (
            "needs radii above 0 and below 1, in units of pixel values in [0, 1], such as [0.03] (8 of 255), "
            f"not {wrong}"
        )
    if kind == PATCHES:
        if amounts and all(amount == int(amount) and amount >= 2 for amount in amounts):
            return None
        return f"needs numbers of patches a side, whole and at least 2, such as [4], not {wrong}"
    if amounts and all(amount in SEVERITIES for amount in amounts):
        return None
    return f"needs severities, whole numbers from 1 to 5, such as [1, 3, 5], not {wrong}"


def _shown(amounts: Iterable[float]) -> str:
    return ", ".join(f"{amount:g}" for amount in amounts)
