"""Every loss of the package, as torch modules: with soft labels, of bad teachers, from soft labels alone.

All of them check what they are given in one way (`biasvar.losses.inputs`): logits are floating-point (..., C), what
comes with them has that shape, or that of the rows (...), and lies on the same device; labels are of any integers, and
on the CPU their range is looked at. Everything else is a TypeError or a ValueError that names the argument.

`where=` of every `forward`, bool (...), True = counts, leaves rows out: their loss and gradient are 0, nothing of them
is read (labels of -100, NaN), and a mean is over the others; over no rows it is 0, with a gradient of 0.

A class may be masked with a logit of -inf: terms q ln p with q = 0 are 0. An infinite loss remains where a masked class
has q > 0, as in `LabelSmoothingLoss` and `VirtualTeacherLoss` with `correct` below 1: they give every class something.
"""

from biasvar.losses.bad_teacher import (
    BadTeacherLoss,
    BadTeacherTerms,
    CompensationLoss,
    PunishmentLoss,
    RivalsLoss,
    draw_rivals,
)
from biasvar.losses.distillation import KEEP, DistillationLoss, MaskedDistillationLoss, WeightedSoftLabelLoss
from biasvar.losses.labels import CrossEntropyLoss, LabelSmoothingLoss, SquaredErrorLoss
from biasvar.losses.proximal import LocalTargetLoss, ProximalTeacherLoss, PullConstraint
from biasvar.losses.revision import DISTANCES, PortedRevisionLoss, RevisedDistillationLoss, revise_logits
from biasvar.losses.soft_labels import (
    CandidateAverageLoss,
    CandidateSetLoss,
    ScoreLoss,
    SoftLabelLoss,
    top_candidates,
)
from biasvar.losses.teacher_free import SelfDistillationLoss, VirtualTeacherLoss

__all__ = [
    "DISTANCES",
    "KEEP",
    "BadTeacherLoss",
    "BadTeacherTerms",
    "CandidateAverageLoss",
    "CandidateSetLoss",
    "CompensationLoss",
    "CrossEntropyLoss",
    "DistillationLoss",
    "LabelSmoothingLoss",
    "LocalTargetLoss",
    "MaskedDistillationLoss",
    "PortedRevisionLoss",
    "ProximalTeacherLoss",
    "PullConstraint",
    "PunishmentLoss",
    "RevisedDistillationLoss",
    "RivalsLoss",
    "ScoreLoss",
    "SelfDistillationLoss",
    "SoftLabelLoss",
    "SquaredErrorLoss",
    "VirtualTeacherLoss",
    "WeightedSoftLabelLoss",
    "draw_rivals",
    "revise_logits",
    "top_candidates",
]
