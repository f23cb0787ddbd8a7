"""The ledger of claims: what each says, whose it is, the roles that arms play in its tests, and its rule.

The smallest effects stand here once: the measures (`biasvar.report.claims`) import them and the rules are written with
them, so that what a rule says and what is computed are the same number. A study file says which of its arms play which
role, and may say by which ledger its claims were fixed: `ledger_hash`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

REVISION = 2
LISTS = frozenset({"arms", "truths"})  # the roles that several arms play

# The smallest effects of interest.
ACCURACY, SHARE, CORRELATION, AUC = 0.002, 0.02, 0.2, 0.10  # AUC: above one half
TERM = 0.05  # of the control's bias or variance
TRADE_OFF = 0.05  # share of samples that go against the mean, less its null
NEAR = 0.03  # accuracy below that of training on true labels
BAD = 0.30  # accuracy of a bad teacher
# Where a claim can be judged.
LEAST_TEACHERS_W5 = 26
DATA_SETS = 3  # that L2 is judged over
SELF_AUC = 0.75  # lower end of the AUC of W6's target against itself
BELOW_ONE, ABOVE_ONE = 0.9, 1.1  # delta + gamma that is surely below 1, or above

JUDGED = (
    "A claim holds where the whole interval, over replicas, test rows and teachers where several were drawn, lies "
    "beyond the smallest effect in the claimed direction; it does not hold where the interval lies short of it, and is "
    "undecided otherwise. A claim of several parts holds if all of them do. Intervals are widened for the number of "
    "tests (Holm)."
)
"""The rule that all claims share."""


@dataclass(frozen=True)
class Claim:
    """One claim of the ledger.

    Attributes:
        id, sentence, source: its name, what it says, and whose it is.
        rule: what it is measured as, and when it holds.
        roles: what the arms of a test are called.
        remembered: its words were not checked against the paper's text.
        regime: the teacher regime that it is judged in; "" for that of its arms.
        chance_is_an_outcome: replicas at chance do not leave it undecided: where soft labels are tried, some teach
            nothing.
        searched: one design for which it holds can be found by trying many, so it is undecided on a seed, or on test
            rows, on which several were tried.
    """

    id: str
    sentence: str
    source: str
    rule: str
    roles: tuple[str, ...] = ("treatment", "control")
    remembered: bool = False
    regime: str = ""
    chance_is_an_outcome: bool = False
    searched: bool = False

    @property
    def origin(self) -> str:
        """The source, with a word on claims that were not checked against it."""
        return f"{self.source} (as remembered, not checked against the text)" if self.remembered else self.source


def _rule(measured: str, holds: str) -> str:
    return f"measured as {measured}; holds if {holds}"


def _accuracy(bound: str) -> str:
    return _rule("test accuracy, treatment less control, paired by replica", f"it is {bound}")


ZHOU, MUELLER = "Zhou et al. 2021", "Müller et al. 2019, Chandrasegaran et al. 2022"
YUAN = "Yuan et al. 2023"
_FRESH = "judged only on a seed and test rows on which no other design was tried"
SEARCHED = ("L1", "L2", "L4")
_LATE = "share of regularization samples in the last tenth of all epochs"


def _on_soft_labels(*claims: tuple[str, str, str, tuple[str, ...]]) -> list[Claim]:
    return [
        Claim(name, sentence, YUAN, rule, roles, chance_is_an_outcome=True, searched=name in SEARCHED)
        for name, sentence, rule, roles in claims
    ]


LEDGER = (
    Claim(
        "W1", "Distillation raises bias against cross-entropy.", ZHOU,
        _rule("mean corrected bias, treatment less control", f"it is above {100 * TERM:g} % of the control's bias"),
        remembered=True,
    ),
    Claim(
        "W2", "Distillation lowers variance.", ZHOU,
        _rule(
            "mean corrected variance, treatment less control",
            f"it is below −{100 * TERM:g} % of the control's variance",
        ),
        remembered=True,
    ),
    Claim(
        "W3", "The trade-off differs from sample to sample.", ZHOU,
        _rule(
            "share of samples whose change of bias or of variance differs in sign from the mean's by more than 2 "
            "standard errors, less that share without any effect: both arms' means made equal and the arms exchanged "
            "in half of the pairs of replicas",
            f"it is above {TRADE_OFF:g}",
        ),
    ),
    Claim(
        "W4", "The trade-off changes through training.", ZHOU,
        _rule(
            f"{_LATE} less that in the first tenth, same replica", f"it is above {SHARE:g} or below −{SHARE:g}"
        ),
        ("arm",),
    ),
    Claim(
        "W5", "At fixed temperature, more regularization samples go with worse distillation.", ZHOU,
        _rule(
            f"rank correlation over teachers of the {_LATE} with the student's test accuracy",
            f"it is below −{CORRELATION:g}, over {LEAST_TEACHERS_W5} teachers or more",
        ),
        ("arms",), regime="fixed, one teacher an arm",
    ),
    Claim(
        "W6", "Regularization samples are those whose bias rises and whose variance falls.", ZHOU,
        _rule(
            "AUC of the flag for bias up and variance down, on replicas that it was not read from",
            f"it is above {0.5 + AUC:g}; judged only where the AUC of that target against itself, between halves of "
            f"the replicas, has a lower end of {SELF_AUC:g} or more",
        ),
    ),
    Claim(
        "W7", "Filtering regularization samples out completely hurts, and more than filtering as many at random.", ZHOU,
        _rule(
            "test accuracy, masked less full and masked less random mask of the same size, paired by replica",
            f"both are below −{ACCURACY:g}",
        ),
        ("masked", "full", "random"),
    ),
    Claim("W8", "WSL beats KD.", ZHOU, _accuracy(f"above {ACCURACY:g}")),
    Claim(
        "W9", "WSL's gain comes from which samples it weights: it beats its mean weight, and its weights shuffled.",
        ZHOU,
        _rule(
            "test accuracy, treatment less the same with its mean weight and less the same with its weights shuffled, "
            "paired by replica",
            f"both are above {ACCURACY:g}",
        ),
        ("treatment", "scaled", "shuffled"),
    ),
    Claim(
        "W10", "A label-smoothed teacher gives more regularization samples.", ZHOU,
        _rule(
            f"{_LATE}, treatment less control, with the mean over all epochs beside it", f"it is above {SHARE:g}"
        ),
    ),
    Claim(
        "W11", "A label-smoothed teacher gives a worse student.", ZHOU, _accuracy(f"below −{ACCURACY:g}")
    ),
    Claim(
        "W12", "A label-smoothed teacher gives a worse student even under WSL.", ZHOU,
        _accuracy(f"below −{ACCURACY:g}"),
    ),
    Claim(
        "M1", "The harm of a label-smoothed teacher grows with temperature.", MUELLER,
        _rule(
            "test accuracy, treatment less control, at the higher temperature less the same at temperature 1, paired "
            "by replica",
            f"it is below −{ACCURACY:g}",
        ),
        ("treatment", "control", "treatment_t1", "control_t1"),
    ),
    Claim(
        "M2", "At temperature 1 a label-smoothed teacher does not hurt.", MUELLER,
        _accuracy(f"above −{ACCURACY:g}"),
    ),
    *_on_soft_labels(
        (
            "L1", "Teachers below 30 % accuracy can teach good students.",
            _rule(
                "test accuracy of the student less that of training on true labels, and the teacher's test accuracy",
                f"the first is above −{NEAR:g} and the second below {BAD:g}; {_FRESH}",
            ),
            ("student", "truth"),
        ),
        (
            "L2", "The indicators predict the student better than the teacher's accuracy does.",
            _rule(
                "rank correlation over soft labels of Δ + γ (best k) with the student's test accuracy, and its size "
                "less that of the teacher's accuracy",
                f"the first is below −{CORRELATION:g} and the second above 0; judged over {DATA_SETS} data sets or "
                f"more on which the same kinds were tried; {_FRESH}",
            ),
            ("arms", "truth"),
        ),
        (
            "L3", "Δ + γ < 1 suffices: the gap to true labels closes as rows grow.",
            _rule(
                "slope in log n of the gap in test accuracy to true labels, and that gap at the largest n",
                f"the slope is below −{ACCURACY:g} and the gap below {NEAR:g}; judged only where the upper bound of "
                f"Δ + γ is below {BELOW_ONE:g}",
            ),
            ("arms", "truths"),
        ),
        (
            "L4", "Δ + γ < 1 is not necessary for a good student.",
            _rule(
                "test accuracy of the student less that of training on true labels, and Δ + γ of its soft labels",
                f"the first is above −{NEAR:g} and the second above {ABOVE_ONE:g}; {_FRESH}",
            ),
            ("student", "truth"),
        ),
        (
            "L5", "With partial labels accuracy falls as Δ or γ grows.",
            _rule(
                "rank correlations over the grid of Δ and of γ with the student's test accuracy",
                f"both are below −{CORRELATION:g}",
            ),
            ("arms",),
        ),
        (
            "L6", "With additive noise students stay good while Δ + γ < 1.",
            _rule(
                "worst test accuracy, less that of training on true labels, over the settings whose exact Δ + γ is "
                f"below {BELOW_ONE:g}",
                f"it is above −{NEAR:g}",
            ),
            ("arms", "truth"),
        ),
    ),
)  # fmt: skip
CLAIM_ROLES = {claim.id: frozenset(claim.roles) for claim in LEDGER}


def ledger_hash() -> str:
    """The hash of the ledger, 16 characters: of its revision, the rule that all claims share, and all of every claim.

    A study that names it in `claims_fixed` says which definitions its claims were fixed by.
    """
    content = {"revision": REVISION, "judged": JUDGED, "claims": [asdict(claim) for claim in LEDGER]}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
