"""What a study file says about itself: by which rules its claims were fixed and when, and how many designs were tried.

Neither is part of a study's identity: they may be added to the file of a run that exists, and the page says so then.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, Field

from biasvar.study.sections import MOST, Section

HASH = r"[0-9a-f]{16}"


def as_date(text: str) -> date:
    """A day from its ISO form.

    Raises:
        ValueError: Any other text, or no day of the calendar.

    >>> as_date("2026-11-28")
    datetime.date(2026, 11, 28)
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise ValueError(f"must be a day such as '2026-11-28', year, month and day, not {text!r:.40}")
    return day


def _is_day(text: str) -> str:
    as_date(text)
    return text


def _is_hash(text: str) -> str:
    if not re.fullmatch(HASH, text):
        raise ValueError(
            "must be the 16 characters (0-9, a-f) that biasvar.study.claims.ledger_hash(claims) gives, or --dry-run "
            f"shows, not {text!r:.40}"
        )
    return text


class ClaimsFixed(Section):
    date: Annotated[str, AfterValidator(_is_day)]  # when what would count was written down
    ledger: Annotated[str, AfterValidator(_is_hash)]  # the claim definitions by which: their hash then


class DesignsTried(Section):
    """How many designs were tried, this one among them, on which seeds.

    A count for the study, not for each claim, since a study is one design; with the seeds, since what was found on a
    seed is not confirmed on it (L1, L2, L4), and the same file run with another (`--set seed=7`) says the right thing.
    """

    count: int = Field(ge=1, le=MOST)
    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(min_length=1)
