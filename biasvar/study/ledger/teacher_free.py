"""What Yuan et al. 2020 say of distillation without a good teacher, and without any (Tf-KD)."""

from __future__ import annotations

from biasvar.study.ledger.base import ACCURACY, KEPT_GAIN, SECONDS, Claim, accuracy, rule

YUAN_TFKD = "Yuan et al. 2020"

CLAIMS = (
    Claim("T1", "A student can teach its teacher (reversed distillation).", YUAN_TFKD, accuracy(f"above {ACCURACY:g}")),
    Claim(
        "T2", "A poor teacher, less accurate than the student, still helps (defective distillation).", YUAN_TFKD,
        rule(
            "test accuracy, treatment less control, paired by replica",
            f"it is above {ACCURACY:g}; judged only where the teacher's test accuracy is below the control's",
        ),
    ),
    Claim("T3", "Self-training (Tf-KD_self) helps.", YUAN_TFKD, accuracy(f"above {ACCURACY:g}")),
    Claim(
        "T4", "A virtual teacher (Tf-KD_reg) helps.", YUAN_TFKD,
        rule(
            "test accuracy, treatment less control, paired by replica, the paper's and the code's variant apart",
            f"it is above {ACCURACY:g}",
        ),
    ),
    Claim(
        "T5", "A virtual teacher helps more than label smoothing.", YUAN_TFKD,
        rule(
            "test accuracy, treatment less label smoothing as the paper writes it, paired by replica",
            f"it is above {ACCURACY:g}",
        ),
    ),
    Claim(
        "T6", "What distillation gains is regularization at least as much as similarity of classes.", YUAN_TFKD,
        rule(
            "what distillation gains in test accuracy where each sample's non-target teacher probabilities are "
            "permuted over what it gains where they are not",
            f"it is above {KEPT_GAIN:g}; judged only where the interval of the gain lies above {ACCURACY:g}",
        ),
        ("permuted", "distilled", "control"),
    ),
    Claim(
        "T7", "Tf-KD is comparable with normal distillation.", YUAN_TFKD,
        rule(
            "test accuracy, self-training less distillation and the virtual teacher less distillation, paired by "
            "replica",
            f"both are above −{ACCURACY:g} and below {ACCURACY:g}",
        ),
        ("self_taught", "virtual", "distilled"),
    ),
    Claim(
        "T8", "A virtual teacher costs nothing.", YUAN_TFKD,
        rule(
            "seconds of training, treatment over control, of the same replica on the same machine in the same run, of "
            "the processor where that trains",
            f"it is below {SECONDS:g}",
        ),
    ),
)  # fmt: skip
