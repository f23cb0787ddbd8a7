"""The ledger: each claim's words, direction, statistic and smallest effect of interest, fixed before any run.

A study file says only which of its arms play which role.
"""

from __future__ import annotations

from dataclasses import dataclass

from biasvar.report.claims import measures as m
from biasvar.report.claims import soft_label_measures as s
from biasvar.report.claims.measurement import ACCURACY, Measure


@dataclass(frozen=True)
class Claim:
    """One claim of the ledger.

    Attributes:
        id, sentence, source: its name, what it says, and whose it is.
        measure: what it is judged by.
        remembered: its words were not checked against the paper's text.
        regime: the teacher regime that it is judged in; "" for that of its arms.
        chance_is_an_outcome: replicas at chance do not leave it undecided: where soft labels are tried, some teach
            nothing.
    """

    id: str
    sentence: str
    source: str
    measure: Measure
    remembered: bool = False
    regime: str = ""
    chance_is_an_outcome: bool = False

    @property
    def origin(self) -> str:
        """The source, with a word on claims that were not checked against it."""
        return f"{self.source} (as remembered, not checked against the text)" if self.remembered else self.source


ZHOU, MUELLER = "Zhou et al. 2021", "Müller et al. 2019, Chandrasegaran et al. 2022"
YUAN = "Yuan et al. 2023"


def _on_soft_labels(*claims: tuple[str, str, Measure]) -> list[Claim]:
    return [Claim(*claim[:2], YUAN, claim[2], chance_is_an_outcome=True) for claim in claims]


LEDGER = (
    Claim("W1", "Distillation raises bias against cross-entropy.", ZHOU, m.change_of_term("bias", "greater"), True),
    Claim("W2", "Distillation lowers variance.", ZHOU, m.change_of_term("variance", "less"), True),
    Claim("W3", "The trade-off differs from sample to sample.", ZHOU, m.sample_trade_offs),
    Claim("W4", "The trade-off changes through training.", ZHOU, m.share_through_training),
    Claim(
        "W5", "At fixed temperature, more regularization samples go with worse distillation.", ZHOU,
        m.share_and_accuracy, regime="fixed, one teacher an arm",
    ),
    Claim("W6", "Regularization samples are those whose bias rises and whose variance falls.", ZHOU, m.flag_meaning),
    Claim(
        "W7", "Filtering regularization samples out completely hurts, and more than filtering as many at random.", ZHOU,
        m.accuracy_difference(("masked", "full"), ("masked", "random"), direction="less"),
    ),
    Claim("W8", "WSL beats KD.", ZHOU, m.accuracy_difference(("treatment", "control"), direction="greater")),
    Claim(
        "W9", "WSL's gain comes from which samples it weights: it beats its mean weight, and its weights shuffled.",
        ZHOU, m.accuracy_difference(("treatment", "scaled"), ("treatment", "shuffled"), direction="greater"),
    ),
    Claim("W10", "A label-smoothed teacher gives more regularization samples.", ZHOU, m.share_difference),
    Claim(
        "W11", "A label-smoothed teacher gives a worse student.", ZHOU,
        m.accuracy_difference(("treatment", "control"), direction="less"),
    ),
    Claim(
        "W12", "A label-smoothed teacher gives a worse student even under WSL.", ZHOU,
        m.accuracy_difference(("treatment", "control"), direction="less"),
    ),
    Claim("M1", "The harm of a label-smoothed teacher grows with temperature.", MUELLER, m.harm_with_temperature),
    Claim(
        "M2", "At temperature 1 a label-smoothed teacher does not hurt.", MUELLER,
        m.accuracy_difference(("treatment", "control"), direction="greater", threshold=-ACCURACY),
    ),
    *_on_soft_labels(
        ("L1", "Teachers below 30 % accuracy can teach good students.", s.good_student),
        ("L2", "The indicators predict the student better than the teacher's accuracy does.", s.indicators_predict),
        ("L3", "Δ + γ < 1 suffices: the gap to true labels closes as rows grow.", s.gap_closes),
        ("L4", "Δ + γ < 1 is not necessary for a good student.", s.not_necessary),
        ("L5", "With partial labels accuracy falls as Δ or γ grows.", s.falls_over_grid),
        ("L6", "With additive noise students stay good while Δ + γ < 1.", s.gap_below_one),
    ),
)  # fmt: skip
