"""Every loss with arguments that fit it, for tests that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from biasvar import losses

CLASSES, K = 4, 3


def _distillation(make: Callable[..., nn.Module], **settings: Any) -> Callable[..., nn.Module]:
    return lambda **more: make(**({"temperature": 4.0, "alpha": 2.0} | settings | more))


LOSSES: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "CrossEntropyLoss": (losses.CrossEntropyLoss, ("labels",)),
    "SquaredErrorLoss": (losses.SquaredErrorLoss, ("labels",)),
    "LabelSmoothingLoss": (lambda **more: losses.LabelSmoothingLoss(**({"smoothing": 0.1} | more)), ("labels",)),
    "DistillationLoss": (_distillation(losses.DistillationLoss), ("teacher_logits", "labels", "weights")),
    "WeightedSoftLabelLoss": (_distillation(losses.WeightedSoftLabelLoss), ("teacher_logits", "labels")),
    "WeightedSoftLabelLoss at 0": (
        _distillation(losses.WeightedSoftLabelLoss, epsilon=0.0),
        ("teacher_logits", "labels"),
    ),
    "MaskedDistillationLoss": (_distillation(losses.MaskedDistillationLoss), ("teacher_logits", "labels")),
    "MaskedDistillationLoss at 1": (
        _distillation(losses.MaskedDistillationLoss, keep="regularization", temperature=1.0),
        ("teacher_logits", "labels"),
    ),
    "RevisedDistillationLoss": (losses.RevisedDistillationLoss, ("teacher_logits", "labels", "weights")),
    "RevisedDistillationLoss of logits": (
        lambda **more: losses.RevisedDistillationLoss(**({"distance": "mse_logits", "rows": "wrong"} | more)),
        ("teacher_logits", "labels"),
    ),
    "PortedRevisionLoss": (losses.PortedRevisionLoss, ("teacher_logits", "labels")),
    "LabelSmoothingLoss of the code": (
        lambda **more: losses.LabelSmoothingLoss(**({"smoothing": 0.1, "variant": "code"} | more)),
        ("labels",),
    ),
    "SelfDistillationLoss": (
        lambda **more: losses.SelfDistillationLoss(**({"alpha": 0.4, "temperature": 4.0, "variant": "paper"} | more)),
        ("teacher_logits", "labels"),
    ),
    "VirtualTeacherLoss": (
        lambda **more: losses.VirtualTeacherLoss(**({"alpha": 0.4, "temperature": 4.0, "variant": "paper"} | more)),
        ("labels",),
    ),
    "SoftLabelLoss": (losses.SoftLabelLoss, ("soft_labels",)),
    "ScoreLoss": (losses.ScoreLoss, ("scores",)),
    "ScoreLoss of logits": (lambda **more: losses.ScoreLoss(output="logits", **more), ("scores",)),
    "CandidateAverageLoss": (losses.CandidateAverageLoss, ("candidates",)),
    "CandidateSetLoss": (losses.CandidateSetLoss, ("candidates",)),
    "ProximalTeacherLoss": (
        lambda **more: losses.ProximalTeacherLoss(**({"pull": 0.3} | more)),
        ("student_logits", "labels"),
    ),
    "ProximalTeacherLoss, dual": (
        lambda **more: losses.ProximalTeacherLoss(dual={"multiplier": 0.7, "bound": 0.0}, **more),
        ("student_logits", "labels"),
    ),
    "LocalTargetLoss": (losses.LocalTargetLoss, ("teacher_logits",)),
    "LocalTargetLoss and labels": (
        lambda **more: losses.LocalTargetLoss(**({"temperature": 2.0, "soft": 0.5, "hard": 0.5} | more)),
        ("teacher_logits", "labels"),
    ),
    "PunishmentLoss": (losses.PunishmentLoss, ("labels",)),
    "CompensationLoss": (lambda **more: losses.CompensationLoss(k=K, **more), ("labels",)),
    "RivalsLoss": (losses.RivalsLoss, ("rivals",)),
    "BadTeacherLoss": (
        lambda **more: losses.BadTeacherLoss(
            **({"k": K, "punishment": 2.0, "compensation": 3.0, "rivals": 1.0} | more)
        ),
        ("labels", "rivals"),
    ),
}
"""By name: how to make it, and its arguments after the logits."""


def logits_name(name: str) -> str:
    """What a loss calls its logits."""
    if name.startswith("ProximalTeacher"):
        return "teacher_logits"
    bad = ("PunishmentLoss", "CompensationLoss", "RivalsLoss", "BadTeacherLoss")
    return "logits" if name in bad else "student_logits"


def arguments(shape: tuple[int, ...] = (6,), *, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Arguments of every loss for rows of this shape, by name; "logits" are the student's."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> torch.Tensor:
        return (torch.randn(*shape, CLASSES, generator=generator, dtype=torch.float64) * 2).to(dtype)

    labels = torch.randint(0, CLASSES, shape, generator=generator)
    return {
        "logits": normal(),
        "teacher_logits": normal(),
        "labels": labels,
        "weights": torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype),
        "soft_labels": normal().softmax(-1),
        "scores": normal(),
        "candidates": torch.rand(*shape, CLASSES, generator=generator) < 0.5,
        "rivals": (labels[..., None] + torch.tensor([1, 2])) % CLASSES,
        "student_logits": normal(),
    }


def call(name: str, given: dict[str, Any], *, reduction: str = "none", where: Any = None, **settings: Any) -> Any:
    """The loss of that name on its own arguments among these."""
    make, names = LOSSES[name]
    loss = make(reduction=reduction, **settings)
    return loss(given["logits"], *(given[key] for key in names), where=where)
