"""What Shi et al. 2021 say of a teacher that trains along and stays near its student (ProKT)."""

from __future__ import annotations

from biasvar.study.ledger.base import ACCURACY, TERM, Claim, accuracy, rule

SHI = "Shi et al. 2021"

CLAIMS = (
    Claim("P1", "ProKT beats KD from the converged teacher.", SHI, accuracy(f"above {ACCURACY:g}")),
    Claim(
        "P2", "ProKT gains because the target stays near the student.", SHI,
        rule(
            "test accuracy of the arm with the best mean validation accuracy among those with a pull above 0, less "
            "that of the control with a pull of 0 at the same temperature, paired by replica",
            f"it is above {ACCURACY:g}",
        ),
        ("arms", "control"),
    ),
    Claim(
        "P3", "The pull keeps local targets close.", SHI,
        rule(
            "mean over all steps of KL(student || teacher after its step), treatment with a pull above 0 less control "
            "with a pull of 0, paired by replica",
            f"it is below −{100 * TERM:g} % of the control's",
        ),
    ),
    Claim(
        "P4", "The local targets are a path: their bias falls through training.", "ours",
        rule(
            "mean corrected bias of the answers of the teachers that train along, on held-out rows, first tenth of all "
            "epochs less last tenth, over the epochs of each that are kept",
            f"it is above {100 * TERM:g} % of the first tenth's",
        ),
        ("arm",),
    ),
    Claim(
        "P5", "ProKT is less sensitive to the quirks of optimisation.", SHI,
        rule(
            "mean corrected variance over seeds at one fixed draw of the rows (draw: seed_only), treatment less "
            "control",
            f"it is below −{100 * TERM:g} % of the control's variance",
        ),
    ),
)  # fmt: skip
