"""What a page says of all its figures together, and of its claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from biasvar.report.text.captions import conditions
from biasvar.report.text.claims import claim_groups, outcome, rules
from biasvar.report.text.words import GLOSSARY, key

if TYPE_CHECKING:
    import pandas as pd

    from biasvar.records import Run


def shared(figures: list[dict[str, Any]], runs: Sequence[Run]) -> dict[str, Any]:
    """The figures of a page, and what holds for all of them: said once, not in every caption."""
    closing = conditions(runs)
    titles = [figure["title"] for figure in figures]
    captions = [numbered(_without(figure["caption"], closing), titles) for figure in figures]
    labels = [str(run.arm(arm).get("label") or arm) for run in runs for arm in run.arms]
    heads = [figure[part] for figure in figures for part in ("title", "how_to_read")]
    return {
        "figures": [figure | {"caption": said} for figure, said in zip(figures, captions, strict=True)],
        "conditions": closing,
        "short": key([*labels, *captions, *heads]),
        "words": GLOSSARY,
    }


def _without(caption: str, closing: str) -> str:
    """A caption without what is said for all figures, after which a mark may still be explained."""
    before, said, after = caption.rpartition(closing) if closing else (caption, "", "")
    return " ".join(filter(None, [before.rstrip(), after.strip()])) if said else caption.rstrip()


def numbered(caption: str, titles: Sequence[str]) -> str:
    """A caption with the figures that it names by their titles named by their numbers on the page.

    >>> numbered("All: figure “Costs”. More: figure “Not drawn”.", ["Accuracy", "Costs"])
    'All: Figure 2. More: figure “Not drawn”.'
    """
    for number, title in enumerate(titles, 1):
        caption = caption.replace(f"figure “{title}”", f"Figure {number}")
    return caption


def judged(claims: pd.DataFrame, runs: Sequence[Run]) -> dict[str, Any]:
    """What a page says of the claims."""
    return {"outcome": outcome(claims), "claims": claim_groups(claims), "rules": rules(runs)}
