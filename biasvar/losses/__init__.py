"""Every loss of the package, as torch modules: with soft labels, of bad teachers, from soft labels alone."""

from biasvar.losses.bad_teacher import (
    BadTeacherLoss,
    BadTeacherTerms,
    CompensationLoss,
    PunishmentLoss,
    RivalsLoss,
    draw_rivals,
)
from biasvar.losses.distillation import KEEP, DistillationLoss, MaskedDistillationLoss, WeightedSoftLabelLoss
from biasvar.losses.labels import CrossEntropyLoss, LabelSmoothingLoss
from biasvar.losses.soft_labels import (
    CandidateAverageLoss,
    CandidateSetLoss,
    ScoreLoss,
    SoftLabelLoss,
    top_candidates,
)

__all__ = [
    "KEEP",
    "BadTeacherLoss",
    "BadTeacherTerms",
    "CandidateAverageLoss",
    "CandidateSetLoss",
    "CompensationLoss",
    "CrossEntropyLoss",
    "DistillationLoss",
    "LabelSmoothingLoss",
    "MaskedDistillationLoss",
    "PunishmentLoss",
    "RivalsLoss",
    "ScoreLoss",
    "SoftLabelLoss",
    "WeightedSoftLabelLoss",
    "draw_rivals",
    "top_candidates",
]
