"""What a run's study says about its claims: when they were fixed, by which rules, and how many designs were tried.

What is said on a page comes from the study file that lies with the run and from what the run noted when it began; runs
of other programs have no study, and nothing is said of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.own_claims import NOT_FIXED
from biasvar.report.truth import PeopleRun
from biasvar.study.claims import Claim, ledger_hash
from biasvar.study.sections import Section
from biasvar.study.statements import ClaimsFixed, DesignsTried

Said = TypeVar("Said", bound=Section)


@dataclass(frozen=True)
class Fixing:
    """Whether a run's claims were fixed before it began.

    Attributes:
        fixed: What its study file says; None if it says nothing.
        begun: The day on which the run began; None of runs of earlier versions, which did not note it.
        before: True if the study file said so when the run began, of the claim definitions that are used here.
        in_words: The same as a sentence, with what is missing.
    """

    fixed: ClaimsFixed | None
    begun: str | None
    before: bool
    in_words: str


def fixing(run: Run) -> Fixing | None:
    """Whether a run's claims were fixed before it began; None where no study says what they are."""
    if not run.manifest.get("claims"):
        return None
    if not _is_study(run):
        return Fixing(None, None, False, NOT_FIXED)
    fixed = _said(run, "claims_fixed", ClaimsFixed)
    noted = run.manifest.get("begun") or {}
    begun = noted.get("date")
    if fixed is None:
        return Fixing(None, begun, False, "The study file does not say when its claims were fixed.")
    ours = ledger_hash(run.manifest["claims"])
    faults = []
    if fixed.ledger != ours:
        then = ", which were those in force when the run began" if noted.get("ledger") == fixed.ledger else ""
        faults.append(f"it names other claim definitions ({fixed.ledger}{then}) than those used here ({ours})")
    if noted.get("claims_fixed") != fixed.model_dump():
        changed = "changed" if noted.get("claims_fixed") else "added"
        on = f", on {begun}" if begun else ""
        faults.append(f"the statement was {changed} after the run began{on}")
    elif begun and fixed.date > begun:
        faults.append(f"the run began before that day, on {begun}")
    if isinstance(run, PeopleRun):
        faults.append(f"{run.title} as the truth are this report's")
    if faults:
        said = f"The study file says that its claims were fixed on {fixed.date}, but {', and '.join(faults)}."
        return Fixing(fixed, begun, False, said)
    words = (
        f"The study file says that its claims were fixed on {fixed.date} by the definitions used here, "
        f"and the run noted this when it began, on {begun}{_taken_over(run)}. Earlier runs of the study are not seen "
        "by this."
    )
    return Fixing(fixed, begun, True, words)


def _taken_over(run: Run) -> str:
    """A word on arms that another run trained, of which this one's beginning says nothing."""
    sources = {arm: run.arm(arm).get("shared_from") or [] for arm in run.arms}
    arms = [arm for arm, names in sources.items() if names]
    if not arms:
        return ""
    runs = sorted({name for names in sources.values() for name in names})
    taken = first_few(arm_label(run, arm) for arm in arms)
    return f"; this does not hold of the arms that were taken over from {first_few(runs)}: {taken}"


def designs_tried(run: Run) -> DesignsTried | None:
    """How many designs a run's study says were tried, and on which seeds; None where it says nothing."""
    return _said(run, "designs_tried", DesignsTried) if _is_study(run) else None


def tried_in_words(run: Run) -> str:
    """The same as a sentence; "" where nothing is said."""
    tried = designs_tried(run)
    if tried is None:
        return ""
    if tried.count == 1:
        return "No other design of the study was tried."
    seeds = sorted(set(tried.seeds))
    here = (run.study or {}).get("seed")
    own = "that seed" if seeds == [here] else "one of them" if here in seeds else "another"
    on = f"on seed{'s' if len(seeds) > 1 else ''} {first_few(seeds, 10)}"
    return f"{tried.count:,} designs of the study were tried, {on}; this run has {own}."


def unconfirmed(run: Run, claim: Claim) -> str:
    """Why a claim that a search can find is undecided in a run, whatever its numbers; "" if it is not.

    What was found by trying designs must be found again with a seed on which none was tried, which draws other
    students, teachers and test rows. Where the test rows are all of an official test split they are the same ones.
    """
    tried = designs_tried(run) if claim.searched else None
    if tried is None or tried.count == 1:
        return ""
    seed = (run.study or {}).get("seed")
    if seed in tried.seeds:
        return f"found by trying {tried.count:,} designs on this seed ({seed}): run it with another"
    if _same_test_rows(run):
        return (
            f"found by trying {tried.count:,} designs on these test rows, with any seed all of the official test "
            "split: run it on others, as with data.split: train"
        )
    return ""


def _same_test_rows(run: Run) -> bool:
    noted = (run.manifest.get("data") or {}).get("test_is_whole_split")
    data = (run.study or {}).get("data") or {}
    return bool(noted) if noted is not None else data.get("test") is None and data.get("split") is None


def _is_study(run: Run) -> bool:
    return run.manifest.get("kind") == "study"


def _said(run: Run, key: str, kind: type[Said]) -> Said | None:
    """A statement of the study file that lies with a run."""
    value = (run.study or {}).get(key)
    if value is None:
        return None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        said = error.errors()[0]
        place = ".".join(map(str, (key, *said["loc"])))
        reason = said["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise RecordError(
            f"{run.directory / 'study.yaml'} is damaged: {place}: {reason}; put back what was there"
        ) from None
