"""The ledger of claims: what each says, whose it is, the roles that arms play in its tests, and its rule.

The smallest effects stand once, in `biasvar.study.ledger.base`: the measures (`biasvar.report.claims`) import them and
the rules are written with them, so that what a rule says and what is computed are the same number. A study file says
which of its arms play which role, and may say by which ledger its claims were fixed: `ledger_hash`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict

from biasvar.study.ledger import (
    bias_variance,
    biased_soft_labels,
    dfa,
    distillation,
    infodrop,
    label_revision,
    proximal,
    samples,
    teacher_free,
)
from biasvar.study.ledger.base import JUDGED, LISTS, REVISION, Claim

__all__ = ["CLAIM_ROLES", "JUDGED", "LEDGER", "LISTS", "REVISION", "Claim", "ledger_hash"]

LEDGER: tuple[Claim, ...] = (
    *distillation.CLAIMS, *biased_soft_labels.CLAIMS, *proximal.CLAIMS, *infodrop.CLAIMS, *teacher_free.CLAIMS,
    *label_revision.CLAIMS,
    *dfa.CLAIMS, *samples.CLAIMS, *bias_variance.CLAIMS,
)  # fmt: skip
CLAIM_ROLES = {claim.id: frozenset(claim.roles) for claim in LEDGER}


def ledger_hash(claims: Iterable[str] | None = None) -> str:
    """The hash of claims, 16 characters: of the revision, the rule that all claims share, and all of each of these.

    A study that names it in `claims_fixed` says which definitions its claims were fixed by; the hash is of those that
    it tests, so that a claim which is added to the ledger changes nothing for it. Their order does not count.

    Args:
        claims: Ids of claims; none given: all of the ledger.
    """
    asked = None if claims is None else set(claims)
    defined = [asdict(claim) for claim in LEDGER if asked is None or claim.id in asked]
    content = {"revision": REVISION, "judged": JUDGED, "claims": defined}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
