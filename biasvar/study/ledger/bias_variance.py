"""What Yang et al. 2020 say of bias and variance over the width, the depth and the labels of a network."""

from __future__ import annotations

from biasvar.study.ledger.base import CORRELATION, DOUBLINGS, HALF, LEAST_WIDTHS, TERM, Claim, rule

YANG = "Yang et al. 2020"
_LOSS = "by squared error where the arms are trained by it and by cross-entropy elsewhere"
_WIDTHS = f"on held-out rows, {LEAST_WIDTHS} widths or more"
_FIT = f"a quadratic in the logarithm of the width, fitted to the mean corrected variance {_WIDTHS}"


def _rule(measured: str, holds: str) -> str:
    """The rule of a claim by the decomposition of the loss that its arms are trained by."""
    return rule(f"{measured}, {_LOSS}", holds)


CLAIMS = (
    Claim(
        "Y1", "Bias falls as networks grow wider.", YANG,
        _rule(
            f"rank correlation of the width with the mean corrected bias, {_WIDTHS}, with the interval of draws of "
            "all biases together, with their errors over replicas and rows",
            f"it is below −{CORRELATION:g}",
        ),
        ("arms",), chance_is_an_outcome=True,
    ),
    Claim(
        "Y2", "Variance first rises, then falls, as networks grow wider.", YANG,
        _rule(
            f"{_FIT}: its maximum within the widths, less its value at the narrowest and at the widest",
            f"both are above {100 * TERM:g} % of the maximum",
        ),
        ("arms",), chance_is_an_outcome=True,
    ),
    Claim(
        "Y3", "Label noise raises the peak of the variance and moves it to wider networks.", YANG,
        _rule(
            f"{_FIT}, with label noise (arms) and without (controls) at the same widths: the maximum, and the base-2 "
            "logarithm of the width where it is, with noise less without",
            f"the first is above {100 * TERM:g} % of that without noise, and the second above {DOUBLINGS:g} doublings; "
            "the second is judged where both maxima lie between the ends",
        ),
        ("arms", "controls"), chance_is_an_outcome=True,
    ),
    Claim(
        "Y4", "Out of distribution, mostly bias grows.", YANG,
        _rule(
            "the change of mean corrected bias from the test rows as they are to all corruptions of the study, as a "
            "share of the change of the risk, replicas and rows paired",
            f"it is above {HALF:g}; judged where the risk grows",
        ),
        ("arm",),
    ),
    Claim(
        "Y5", "Deeper networks have less bias and more variance.", YANG,
        _rule(
            "mean corrected bias and variance, deeper less shallower, on test rows as they are and, where the study "
            "has any, on its corruptions",
            f"the first are below −{100 * TERM:g} % and the second above {100 * TERM:g} % of the shallower network's",
        ),
        ("deeper", "shallower"),
    ),
    Claim(
        "Y6", "With label noise the risk descends twice as networks grow wider.", YANG,
        _rule(
            f"mean risk {_WIDTHS}: at an inner width less the least at narrower and at wider ones, the three "
            "widths being chosen on one half of the replicas and measured on the other, then the halves change places",
            f"both are above {100 * TERM:g} % of the risk at that inner width",
        ),
        ("arms",), chance_is_an_outcome=True,
    ),
)  # fmt: skip

ONE_LOSS = frozenset(claim.id for claim in CLAIMS)
"""Claims whose arms are all trained by one loss, since they speak of its decomposition."""
