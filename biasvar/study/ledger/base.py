"""What a claim is, the rule that all claims share, and the smallest effects of interest, which stand here once."""

from __future__ import annotations

from dataclasses import dataclass

REVISION = 2
LISTS = frozenset({"arms", "controls", "truths"})  # the roles that several arms play

# The smallest effects of interest.
ACCURACY, SHARE, CORRELATION, AUC = 0.002, 0.02, 0.2, 0.10  # AUC: above one half
TERM = 0.05  # of the control's bias or variance
TRADE_OFF = 0.05  # share of samples that go against the mean, less its null
NEAR = 0.03  # accuracy below that of training on true labels
BAD = 0.30  # accuracy of a bad teacher
KEPT_GAIN = 0.5  # of what distillation gains, without what its soft labels say of similar classes
HALF = 0.5  # of the growth of the risk
DOUBLINGS = 0.5  # of the width
SECONDS = 1.02  # of training, over those of the control
DEPTH = 0.1  # of the centroid of layer weights, 0 at the shallowest layer of a group and 1 at its deepest
AMBIGUITY = 0.05  # rank correlation of a sample's ambiguity with its change of variance
CHEAP_SECONDS = 0.5  # of all training that a student needs, over that of the control's
# Where a claim can be judged.
LEAST_TEACHERS_W5 = 26
LEAST_WIDTHS = 5
DATA_SETS = 3  # that L2 is judged over
LEAST_MISSED = 20  # rows of each side of a comparison of rows, or that a correlation is over
RANDOM_WEIGHTS = 5  # draws of random layer weights
MEMBERS = 3  # teachers of an ensemble
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


def rule(measured: str, holds: str) -> str:
    """The rule of a claim in one line."""
    return f"measured as {measured}; holds if {holds}"


def accuracy(bound: str) -> str:
    """The rule of a difference of test accuracies."""
    return rule("test accuracy, treatment less control, paired by replica", f"it is {bound}")
