"""The arms of a run that others are compared with, that a study turns on, and that figures leave out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from biasvar.records import Run
from biasvar.report.arms.description import OF_THE_TEACHER, PLAIN, arm_label, is_plain
from biasvar.report.arms.revision import REVISED

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("main", "control", "regime")
"""The roles of arms that most figures show; a teacher sweep has a figure of its own."""
COMPARED = ("main", "regime")
"""The roles of arms that figures of methods compare."""
LISTED = (*ROLES, "grid")
"""The roles of arms that `listed_arms` takes from; those of a grid where they are few."""
MOST_LISTED = 60


def arms_with_role(run: Run, roles: Iterable[str] = ROLES) -> list[str]:
    """The arms of a run that play one of the roles, in its order; an arm that says no role is a main one."""
    return [arm for arm in run.arms if run.entry(arm).role in tuple(roles)]


def listed_arms(run: Run) -> list[str]:
    """The arms that a figure with a row for each arm lists; those of a grid too, where it has little else to list."""
    listed, all_of = arms_with_role(run), arms_with_role(run, LISTED)
    return all_of if len(listed) < 2 and len(all_of) <= MOST_LISTED else listed


def too_few(runs: list[Run], roles: tuple[str, ...]) -> str:
    """ "shows arms of role ... only, and ..." where those of a grid are left out and fewer than two are left, else "".

    Args:
        runs: What a figure is drawn of.
        roles: The roles of the arms that the figure shows; empty if it shows all, `LISTED` if it shows `listed_arms`.
    """
    listed = roles == LISTED
    count = sum(len(listed_arms(run) if listed else arms_with_role(run, roles)) for run in runs)
    grid, total = sum(len(arms_with_role(run, ("grid",))) for run in runs), sum(len(run.arms) for run in runs)
    if not roles or not grid or count > (0 if listed else 1):
        return ""
    shown = ROLES if listed else roles
    said = " or ".join([*filter(None, [", ".join(shown[:-1])]), shown[-1]])
    said += f", and up to {MOST_LISTED} of role grid" if listed else " only"
    which = f"all {total:,} here are" if grid == total else f"{grid:,} of the {total:,} here are"
    return f"shows arms of role {said}: {which} of role grid, as those of a sweep"


def failed_replicas(run: Run, arm: str) -> list[int]:
    """The replicas of an arm that are at chance or not finite."""
    return [item.replica for item in run.entry(arm).failed]


def reference_arms(run: Run) -> dict[str, str]:
    """The arms that others are compared with: "cross-entropy" and "KD", each where the run has one.

    KD is the first main distillation arm from the reference teacher at the study's reference temperature, with all its
    soft labels as they are: neither permuted nor revised, of all rows. In a run without a study it is the first
    distillation arm.
    """
    references: dict[str, str] = {}
    temperature = (run.study or {}).get("reference_temperature")
    for arm in arms_with_role(run, ("main",)):
        entry = run.entry(arm)
        if entry.plays == "baseline":
            references.setdefault("cross-entropy", arm)
        elif (
            entry.plays == "distillation"
            and entry.teacher == run.manifest.get("reference_teacher")
            and (temperature is None or entry.temperature == temperature)
            and not any(entry.setting(key) for key in ("weights_from", "alpha_from", "permute", *REVISED))
        ):
            references.setdefault("KD", arm)
    return references


def failed_arms(run: Run) -> list[str]:
    """Arms with replicas at chance or not finite: left out of figures, and named."""
    return list(_failed(run))


@lru_cache(maxsize=8)
def _failed(run: Run) -> tuple[str, ...]:
    return tuple(arm for arm in run.arms if failed_replicas(run, arm))


def reference_arm(run: Run) -> str | None:
    """The arm that others are compared with: the first main arm trained by cross-entropy, or the first control named.

    None if there is none.
    """
    for arm in run.arms:
        entry = run.entry(arm)
        if entry.plays == "baseline" and entry.role == "main":
            return arm
    return next((control for arm in run.arms if (control := named_control(run, arm))), None)


def named_control(run: Run, arm: str) -> str | None:
    """The arm that the run itself says an arm is compared with, as somebody's own loop may; None if it does not."""
    control = run.entry(arm).control
    return control if control in run.arms else None


def baseline_of(run: Run, arm: str) -> str | None:
    """The arm that an arm is compared with: its control where it names one, else cross-entropy of the same network."""
    if control := named_control(run, arm):
        return control
    student = run.entry(arm).setting("student")
    for other in run.arms:  # most often one of the first, so not all of a large grid are looked at for each
        entry = run.entry(other)
        if entry.role in ("main", "control") and entry.plays == "baseline" and entry.setting("student") == student:
            return other
    return reference_arm(run)


def baselines_in_words(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Arms that others are compared with, for a caption: "CE", or "CE or CE, wide, whichever has the same network"."""
    by_name = {run.name: run for run in runs}
    pairs = zip(frame["run"], frame["control"], strict=True)
    named = list(dict.fromkeys(arm_label(by_name[run], arm) for run, arm in pairs))
    return " or ".join(named) + (", whichever has the same network" if len(named) > 1 else "")


def core_arms(run: Run) -> list[str]:
    """Cross-entropy, label smoothing, KD and WSL as the study means them, and the last two under other teacher regimes.

    One arm each: the first main one at the reference setting (see `reference_arms`; WSL at KD's teacher and
    temperature), all main arms whose students drop places, and all arms of role "regime" with these losses. In a run
    that is no study, all its main arms. Arms with failed replicas are left out.
    """
    failed, main = failed_arms(run), arms_with_role(run, ("main",))
    if run.manifest.get("kind") != "study" or not any(run.entry(arm).loss for arm in run.arms):
        return [arm for arm in main if arm not in failed]
    core = set(reference_arms(run).values()) | {arm for arm in [weighted_arm(run)] if arm}
    core |= set([arm for arm in main if run.entry(arm).plays == "smoothing"][:1])
    core |= {arm for arm in main if run.entry(arm).plays == "dropout"}
    for arm in arms_with_role(run, ("regime",)):
        entry = run.entry(arm)
        if entry.plays in PLAIN and is_plain(entry):
            core.add(arm)
    return [arm for arm in run.arms if arm in core and arm not in failed]


def weighted_arm(run: Run) -> str | None:
    """WSL at the teacher and temperature of KD (the first main one if there is no KD)."""
    kd = reference_arms(run).get("KD")
    for arm in arms_with_role(run, ("main",)):
        entry = run.entry(arm)
        if entry.plays != "weighting" or not is_plain(entry):
            continue
        if kd is None or entry.shares(run.entry(kd), *OF_THE_TEACHER):
            return arm
    return None


def taken_over(run: Run, runs: list[Run]) -> set[str]:
    """The arms that a run took over, untrained, from another run of the same report, which shows them already."""
    others = {name for one in runs if one is not run for name in (one.name, one.directory.name)}
    return {arm for arm in run.arms if set(run.entry(arm).shared_from) & others}


def taken_note(runs: list[Run]) -> str:
    """A sentence for a figure that leaves those out, with a space before it; empty if there is none."""
    if any(taken_over(run, runs) for run in runs):
        return " What a run took over from another of this report is shown with that one only."
    return ""


def left_out(runs: list[Run], roles: tuple[str, ...] = ("main", "regime")) -> str:
    """A sentence on the arms left out for failed replicas, with a space before it; empty if there is none."""
    said = [
        (f"{run.name}: " if len(runs) > 1 else "") + arm_label(run, arm)
        for run in runs
        for arm in arms_with_role(run, roles)
        if arm in failed_arms(run)
    ]
    return f" Left out, since replicas are at chance or not finite: {'; '.join(said)}." if said else ""
