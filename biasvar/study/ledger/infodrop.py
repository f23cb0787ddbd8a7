"""What Shi et al. 2020 say of a dropout of places that carry little information (InfoDrop)."""

from __future__ import annotations

from biasvar.study.few_shots import SHOTS, WAYS
from biasvar.study.ledger.base import ACCURACY, SHARE, TERM, Claim, rule

SHI = "Shi et al. 2020"
RENDERED = ("original", "grey", "edges", "posterised")
"""The renderings of which a study of I6 leaves one out of its training rows; "original" are images as they are."""
_PAIRED = "treatment less control, paired by replica and row, the treatment with epochs without InfoDrop at its end"

CLAIMS = (
    Claim(
        "I1", "InfoDrop makes networks sturdier on corrupted images.", SHI,
        rule(
            f"accuracy on test rows, mean over all corruptions of the study, {_PAIRED}", f"it is above {ACCURACY:g}"
        ),
    ),
    Claim(
        "I2", "... more than plain dropout of as many places.", SHI,
        rule(
            "accuracy on test rows, mean over all corruptions of the study, treatment less a control that drops as "
            "many places evenly, paired by replica and row",
            f"it is above {ACCURACY:g}",
        ),
    ),
    Claim(
        "I3", "It turns the network from texture to shape.", SHI,
        rule(
            f"loss of accuracy on test rows by shuffling 4x4 patches, {_PAIRED}: who sees shapes loses more",
            f"it is above {SHARE:g}",
        ),
    ),
    Claim(
        "I4", "It lowers the student's variance.", "ours",
        rule(
            "mean corrected variance, treatment less control",
            f"it is below −{100 * TERM:g} % of the control's variance",
        ),
    ),
    Claim(
        "I5", "It makes networks sturdier against attacks.", SHI,
        rule(
            f"accuracy on test rows under FGSM, and under 10 steps of PGD, mean over the radii of the study, {_PAIRED}",
            f"both are above {ACCURACY:g}",
        ),
    ),
    Claim(
        "I6", "It helps in a domain that was left out of training.", SHI,
        rule(
            f"accuracy on test rows in those of {', '.join(RENDERED)} that training rows are not shown through, "
            f"{_PAIRED}, one part a rendering left out",
            f"all are above {ACCURACY:g}",
        ),
    ),
    Claim(
        "I7", "It helps with few shots of classes that were held out of training.", SHI,
        rule(
            f"accuracy in {WAYS}-way episodes of classes held out of training, by the nearest mean of the shots in "
            f"the penultimate features of the trained students, with {SHOTS[0]} and with {SHOTS[1]} shots, treatment "
            "less control, paired by replica and episode, the treatment with epochs without InfoDrop at its end",
            f"both are above {ACCURACY:g}",
        ),
    ),
)  # fmt: skip
