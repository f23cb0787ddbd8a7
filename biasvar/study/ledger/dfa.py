"""What Guan et al. 2020 say of the search of a teacher's layer weights (DFA)."""

from __future__ import annotations

from biasvar.study.ledger.base import ACCURACY, CHEAP_SECONDS, DEPTH, MEMBERS, RANDOM_WEIGHTS, Claim, rule

GUAN = "Guan et al. 2020"
SEARCHED = (
    "judged only where every search behind it learned: in the last epoch of each group, what the label's part of its "
    "loss classifies is above chance by three standard errors on the rows that train the weights, in every replica"
)
"""What all claims on searched weights share."""

CLAIMS = (
    Claim(
        "D1", "Searched layer weights beat taking the teacher's last feature.", GUAN,
        rule(
            "test accuracy, searched weights less all weight on the last layers, paired by replica",
            f"it is above {ACCURACY:g}; {SEARCHED}",
        ),
    ),
    Claim(
        "D2", "They beat random and average weights.", GUAN,
        rule(
            "test accuracy, searched weights less average ones, and less the mean over random ones, paired by replica, "
            "the latter with the error over draws of the weights too",
            f"both are above {ACCURACY:g}; with {RANDOM_WEIGHTS} draws of random weights or more; {SEARCHED}",
        ),
        ("treatment", "average", "arms"),
    ),
    Claim(
        "D3", "A search by the student's loss drifts to shallow layers.", GUAN,
        rule(
            "centroid of the found weights over the depth of a group (0 its shallowest layer, 1 its deepest), mean "
            "over groups of several layers, search by the bridge loss less search by the student's, paired by replica",
            f"it is above {DEPTH:g}; {SEARCHED}",
        ),
        chance_is_an_outcome=True,
    ),
    Claim(
        "D4", "... and that costs accuracy.", GUAN,
        rule(
            "test accuracy, weights searched by the bridge loss less weights searched by the student's, paired by "
            "replica",
            f"it is above {ACCURACY:g}; {SEARCHED}",
        ),
    ),
    Claim(
        "D5", "Weights found on one data set serve another.", GUAN,
        rule(
            "test accuracy on another data set, the weights given in the study less all weight on the last layers, "
            "paired by replica",
            f"it is above {ACCURACY:g}",
        ),
    ),
    Claim(
        "D6", "One teacher's features do what several teachers do, for less.", GUAN,
        rule(
            f"test accuracy, searched weights of one teacher less distillation from an ensemble of {MEMBERS} teachers "
            "or more, paired by replica, and the seconds of one student, those of its search and of all networks that "
            "teach it included, treatment over control, of the same run",
            f"the first is above −{ACCURACY:g} and the second below {CHEAP_SECONDS:g}; {SEARCHED}",
        ),
    ),
)  # fmt: skip
