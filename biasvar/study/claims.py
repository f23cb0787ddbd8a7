"""The roles that arms play in the tests of each claim."""

from __future__ import annotations

# The roles that the tests of each claim need; what is measured is fixed in biasvar/report/claims/ledger.py.
_PAIR = frozenset({"treatment", "control"})
CLAIM_ROLES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("W1", "W2", "W3", "W6", "W8", "W10", "W11", "W12", "M2"), _PAIR),
    "W4": frozenset({"arm"}),
    "W5": frozenset({"arms"}),
    "W7": frozenset({"masked", "full", "random"}),
    "W9": frozenset({"treatment", "scaled", "shuffled"}),
    "M1": frozenset({"treatment", "control", "treatment_t1", "control_t1"}),
    **dict.fromkeys(("L1", "L4"), frozenset({"student", "truth"})),
    **dict.fromkeys(("L2", "L6"), frozenset({"arms", "truth"})),
    "L3": frozenset({"arms", "truths"}),
    "L5": frozenset({"arms"}),
}
LISTS = frozenset({"arms", "truths"})  # the roles that several arms play
