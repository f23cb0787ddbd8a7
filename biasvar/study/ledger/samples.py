"""What label smoothing does to bias and variance, and what a sample's own soft label says of its change of both."""

from __future__ import annotations

from biasvar.study.ledger.base import AMBIGUITY, LEAST_MISSED, TERM, Claim, rule

_K = (
    "soft labels are the teacher's answers at the treatment's temperature, the mean over its networks, and k is the "
    "one from 2 up with the smallest Δ + γ on these rows"
)

CLAIMS = (
    Claim(
        "S1", "Label smoothing raises bias against cross-entropy.", "ours",
        rule("mean corrected bias, treatment less control", f"it is above {100 * TERM:g} % of the control's bias"),
    ),
    Claim(
        "S2", "Label smoothing lowers variance.", "ours",
        rule(
            "mean corrected variance, treatment less control",
            f"it is below −{100 * TERM:g} % of the control's variance",
        ),
    ),
    Claim(
        "X1", "A sample whose soft label misses the truth among its k first gains bias.", "ours",
        rule(
            "mean change of corrected bias, treatment less control, over test rows whose soft label misses the truth "
            f"among its k first, less that over the other rows ({_K})",
            f"it is above {100 * TERM:g} % of the control's bias, with {LEAST_MISSED} rows or more on either side",
        ),
    ),
    Claim(
        "X2", "Among the other samples, variance falls less the more ambiguous the set of the k first.", "ours",
        rule(
            "rank correlation, over test rows whose soft label has the truth among its k first, of the change of "
            "corrected variance with the row's ambiguity, the largest share of its class whose k first hold the same "
            f"wrong label ({_K})",
            f"it is above {AMBIGUITY:g}, over {LEAST_MISSED} rows or more",
        ),
    ),
)  # fmt: skip
