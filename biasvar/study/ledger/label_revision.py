"""What Lan et al. 2024 say of revised labels, and of distilling a selection of the rows only."""

from __future__ import annotations

from biasvar.study.ledger.base import ACCURACY, Claim, rule

LAN = "Lan et al. 2024"
ETAS = (0.2, 0.5, 0.8, 0.95)
MULTIPLES = (0.25, 1.0, 4.0)
"""Settings that R5 is judged over: eta, and what either weight of the loss is multiplied by."""

CLAIMS = (
    Claim(
        "R1", "Revised labels beat distillation from the teacher's own.", LAN,
        rule(
            "test accuracy, treatment less distillation from the same teacher at the same temperature, paired by "
            "replica, revision of all rows and of those that the teacher has wrong apart",
            f"it is above {ACCURACY:g}",
        ),
    ),
    Claim(
        "R2", "Distilling a selection of the rows beats distilling all of them, and as many at random.", LAN,
        rule(
            "test accuracy, treatment less distillation of all rows and less a random selection of the same size, "
            "paired by replica, every score that the study tries apart",
            f"both are above {ACCURACY:g}",
        ),
        ("treatment", "control", "random"),
    ),
    Claim(
        "R3", "Revision and selection together beat either.", LAN,
        rule(
            "test accuracy, treatment less revision alone and less selection alone, paired by replica: beating both "
            "is beating the better one, which nobody has to choose",
            f"both are above {ACCURACY:g}",
        ),
        ("treatment", "revision", "selection"),
    ),
    Claim(
        "R4", "Revision and selection can be added to other methods.", LAN,
        rule(
            "test accuracy, WSL with both less WSL, and distillation of the last feature with both less the same "
            "without, paired by replica",
            f"both are above {ACCURACY:g}",
        ),
        ("arms", "controls"),
    ),
    Claim(
        "R5", "Label revision is robust to its settings.", LAN,
        rule(
            f"test accuracy of the worst setting among eta {', '.join(f'{eta:g}' for eta in ETAS)} and the weights of "
            f"cross-entropy and of the distance times {', '.join(f'{one:g}' for one in MULTIPLES)}, one changed at a "
            "time or all together, less distillation, paired by replica, with an interval that knows that the worst "
            "was looked for",
            f"it is above −{ACCURACY:g}",
        ),
        ("arms", "control"), chance_is_an_outcome=True,
    ),
)  # fmt: skip
