"""What Yuan et al. 2023 say of biased soft labels."""

from __future__ import annotations

from biasvar.study.ledger.base import ABOVE_ONE, ACCURACY, BAD, BELOW_ONE, CORRELATION, DATA_SETS, NEAR, Claim, rule

YUAN = "Yuan et al. 2023"
_FRESH = "judged only on a seed and test rows on which no other design was tried"
SEARCHED = ("L1", "L2", "L4")


def _on_soft_labels(*claims: tuple[str, str, str, tuple[str, ...]]) -> list[Claim]:
    return [
        Claim(name, sentence, YUAN, rule, roles, chance_is_an_outcome=True, searched=name in SEARCHED)
        for name, sentence, rule, roles in claims
    ]


CLAIMS = (
    *_on_soft_labels(
        (
            "L1", "Teachers below 30 % accuracy can teach good students.",
            rule(
                "test accuracy of the student less that of training on true labels, and the teacher's test accuracy",
                f"the first is above −{NEAR:g} and the second below {BAD:g}; {_FRESH}",
            ),
            ("student", "truth"),
        ),
        (
            "L2", "The indicators predict the student better than the teacher's accuracy does.",
            rule(
                "rank correlation over soft labels of Δ + γ (best k) with the student's test accuracy, and its size "
                "less that of the teacher's accuracy",
                f"the first is below −{CORRELATION:g} and the second above 0; judged over {DATA_SETS} data sets or "
                f"more on which the same kinds were tried; {_FRESH}",
            ),
            ("arms", "truth"),
        ),
        (
            "L3", "Δ + γ < 1 suffices: the gap to true labels closes as rows grow.",
            rule(
                "slope in log n of the gap in test accuracy to true labels, and that gap at the largest n",
                f"the slope is below −{ACCURACY:g} and the gap below {NEAR:g}; judged only where the upper bound of "
                f"Δ + γ is below {BELOW_ONE:g}",
            ),
            ("arms", "truths"),
        ),
        (
            "L4", "Δ + γ < 1 is not necessary for a good student.",
            rule(
                "test accuracy of the student less that of training on true labels, and Δ + γ of its soft labels",
                f"the first is above −{NEAR:g} and the second above {ABOVE_ONE:g}; {_FRESH}",
            ),
            ("student", "truth"),
        ),
        (
            "L5", "With partial labels accuracy falls as Δ or γ grows.",
            rule(
                "rank correlations over the grid of Δ and of γ with the student's test accuracy",
                f"both are below −{CORRELATION:g}",
            ),
            ("arms",),
        ),
        (
            "L6", "With additive noise students stay good while Δ + γ < 1.",
            rule(
                "worst test accuracy, less that of training on true labels, over the settings whose exact Δ + γ is "
                f"below {BELOW_ONE:g}",
                f"it is above −{NEAR:g}",
            ),
            ("arms", "truth"),
        ),
    ),
)  # fmt: skip
