"""Every loss of the package, as torch modules: with soft labels, of bad teachers, from soft labels alone."""

from biasvar.training.bad_teacher import (
    BadTeacherLoss,
    BadTeacherTerms,
    CompensationLoss,
    PunishmentLoss,
    RivalsLoss,
    draw_rivals,
)
from biasvar.training.losses import (
    KEEP,
    CrossEntropyLoss,
    DistillationLoss,
    LabelSmoothingLoss,
    MaskedDistillationLoss,
    WeightedSoftLabelLoss,
)
from biasvar.training.soft_losses import (
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
