"""The ledger of claims: what each says, whose it is, and the roles that arms play in its tests, fixed before any run.

What a claim is measured by, in which direction and beyond which smallest effect, is in `biasvar.report.claims`. A study
file says only which of its arms play which role.
"""

from __future__ import annotations

from dataclasses import dataclass

LISTS = frozenset({"arms", "truths"})  # the roles that several arms play


@dataclass(frozen=True)
class Claim:
    """One claim of the ledger.

    Attributes:
        id, sentence, source: its name, what it says, and whose it is.
        roles: what the arms of a test are called.
        remembered: its words were not checked against the paper's text.
        regime: the teacher regime that it is judged in; "" for that of its arms.
        chance_is_an_outcome: replicas at chance do not leave it undecided: where soft labels are tried, some teach
            nothing.
    """

    id: str
    sentence: str
    source: str
    roles: tuple[str, ...] = ("treatment", "control")
    remembered: bool = False
    regime: str = ""
    chance_is_an_outcome: bool = False

    @property
    def origin(self) -> str:
        """The source, with a word on claims that were not checked against it."""
        return f"{self.source} (as remembered, not checked against the text)" if self.remembered else self.source


ZHOU, MUELLER = "Zhou et al. 2021", "Müller et al. 2019, Chandrasegaran et al. 2022"
YUAN = "Yuan et al. 2023"


def _on_soft_labels(*claims: tuple[str, str, tuple[str, ...]]) -> list[Claim]:
    return [Claim(name, sentence, YUAN, roles, chance_is_an_outcome=True) for name, sentence, roles in claims]


LEDGER = (
    Claim("W1", "Distillation raises bias against cross-entropy.", ZHOU, remembered=True),
    Claim("W2", "Distillation lowers variance.", ZHOU, remembered=True),
    Claim("W3", "The trade-off differs from sample to sample.", ZHOU),
    Claim("W4", "The trade-off changes through training.", ZHOU, ("arm",)),
    Claim(
        "W5", "At fixed temperature, more regularization samples go with worse distillation.", ZHOU, ("arms",),
        regime="fixed, one teacher an arm",
    ),
    Claim("W6", "Regularization samples are those whose bias rises and whose variance falls.", ZHOU),
    Claim(
        "W7", "Filtering regularization samples out completely hurts, and more than filtering as many at random.", ZHOU,
        ("masked", "full", "random"),
    ),
    Claim("W8", "WSL beats KD.", ZHOU),
    Claim(
        "W9", "WSL's gain comes from which samples it weights: it beats its mean weight, and its weights shuffled.",
        ZHOU, ("treatment", "scaled", "shuffled"),
    ),
    Claim("W10", "A label-smoothed teacher gives more regularization samples.", ZHOU),
    Claim("W11", "A label-smoothed teacher gives a worse student.", ZHOU),
    Claim("W12", "A label-smoothed teacher gives a worse student even under WSL.", ZHOU),
    Claim(
        "M1", "The harm of a label-smoothed teacher grows with temperature.", MUELLER,
        ("treatment", "control", "treatment_t1", "control_t1"),
    ),
    Claim("M2", "At temperature 1 a label-smoothed teacher does not hurt.", MUELLER),
    *_on_soft_labels(
        ("L1", "Teachers below 30 % accuracy can teach good students.", ("student", "truth")),
        ("L2", "The indicators predict the student better than the teacher's accuracy does.", ("arms", "truth")),
        ("L3", "Δ + γ < 1 suffices: the gap to true labels closes as rows grow.", ("arms", "truths")),
        ("L4", "Δ + γ < 1 is not necessary for a good student.", ("student", "truth")),
        ("L5", "With partial labels accuracy falls as Δ or γ grows.", ("arms",)),
        ("L6", "With additive noise students stay good while Δ + γ < 1.", ("arms", "truth")),
    ),
)  # fmt: skip
CLAIM_ROLES = {claim.id: frozenset(claim.roles) for claim in LEDGER}
