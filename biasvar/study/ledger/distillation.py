"""What Zhou et al. 2021 say of distillation, and others of label-smoothed teachers."""

from __future__ import annotations

from biasvar.study.ledger.base import (
    ACCURACY,
    AUC,
    CORRELATION,
    LEAST_TEACHERS_W5,
    SELF_AUC,
    SHARE,
    TERM,
    TRADE_OFF,
    Claim,
    accuracy,
    rule,
)

ZHOU, MUELLER = "Zhou et al. 2021", "Müller et al. 2019, Chandrasegaran et al. 2022"
_LATE = "share of regularization samples in the last tenth of all epochs"

CLAIMS = (
    Claim(
        "W1", "Distillation raises bias against cross-entropy.", ZHOU,
        rule("mean corrected bias, treatment less control", f"it is above {100 * TERM:g} % of the control's bias"),
        remembered=True,
    ),
    Claim(
        "W2", "Distillation lowers variance.", ZHOU,
        rule(
            "mean corrected variance, treatment less control",
            f"it is below −{100 * TERM:g} % of the control's variance",
        ),
        remembered=True,
    ),
    Claim(
        "W3", "The trade-off differs from sample to sample.", ZHOU,
        rule(
            "share of samples whose change of bias or of variance differs in sign from the mean's by more than 2 "
            "standard errors, less that share without any effect: both arms' means made equal and the arms exchanged "
            "in half of the pairs of replicas",
            f"it is above {TRADE_OFF:g}",
        ),
    ),
    Claim(
        "W4", "The trade-off changes through training.", ZHOU,
        rule(
            f"{_LATE} less that in the first tenth, same replica", f"it is above {SHARE:g} or below −{SHARE:g}"
        ),
        ("arm",),
    ),
    Claim(
        "W5", "At fixed temperature, more regularization samples go with worse distillation.", ZHOU,
        rule(
            f"rank correlation over teachers of the {_LATE} with the student's test accuracy",
            f"it is below −{CORRELATION:g}, over {LEAST_TEACHERS_W5} teachers or more",
        ),
        ("arms",), regime="fixed, one teacher an arm",
    ),
    Claim(
        "W6", "Regularization samples are those whose bias rises and whose variance falls.", ZHOU,
        rule(
            "AUC of the flag for bias up and variance down, on replicas that it was not read from",
            f"it is above {0.5 + AUC:g}; judged only where the AUC of that target against itself, between halves of "
            f"the replicas, has a lower end of {SELF_AUC:g} or more",
        ),
    ),
    Claim(
        "W7", "Filtering regularization samples out completely hurts, and more than filtering as many at random.", ZHOU,
        rule(
            "test accuracy, masked less full and masked less random mask of the same size, paired by replica",
            f"both are below −{ACCURACY:g}",
        ),
        ("masked", "full", "random"),
    ),
    Claim("W8", "WSL beats KD.", ZHOU, accuracy(f"above {ACCURACY:g}")),
    Claim(
        "W9", "WSL's gain comes from which samples it weights: it beats its mean weight, and its weights shuffled.",
        ZHOU,
        rule(
            "test accuracy, treatment less the same with its mean weight and less the same with its weights shuffled, "
            "paired by replica",
            f"both are above {ACCURACY:g}",
        ),
        ("treatment", "scaled", "shuffled"),
    ),
    Claim(
        "W10", "A label-smoothed teacher gives more regularization samples.", ZHOU,
        rule(
            f"{_LATE}, treatment less control, with the mean over all epochs beside it", f"it is above {SHARE:g}"
        ),
    ),
    Claim(
        "W11", "A label-smoothed teacher gives a worse student.", ZHOU, accuracy(f"below −{ACCURACY:g}")
    ),
    Claim(
        "W12", "A label-smoothed teacher gives a worse student even under WSL.", ZHOU,
        accuracy(f"below −{ACCURACY:g}"),
    ),
    Claim(
        "M1", "The harm of a label-smoothed teacher grows with temperature.", MUELLER,
        rule(
            "test accuracy, treatment less control, at the higher temperature less the same at temperature 1, paired "
            "by replica",
            f"it is below −{ACCURACY:g}",
        ),
        ("treatment", "control", "treatment_t1", "control_t1"),
    ),
    Claim(
        "M2", "At temperature 1 a label-smoothed teacher does not hurt.", MUELLER,
        accuracy(f"above −{ACCURACY:g}"),
    ),
)  # fmt: skip
