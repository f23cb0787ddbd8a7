"""What a schema cannot see: keys of a study that do not go together, and names that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterable

from biasvar.messages import no_such
from biasvar.study.claims import CLAIM_ROLES, LISTS
from biasvar.study.schema import LOSS_KEYS, Arm, Study
from biasvar.votes import PEOPLE

_STORED = {"record", "predictions"}  # what is kept of an arm, whatever its loss


def faults(study: Study) -> Iterable[str]:
    """What a schema cannot see: keys that do not go together and names that lead nowhere."""
    if study.backend == "batched" and set(study.models) != {"mlp"}:
        yield "backend: batched trains model mlp only; use backend: sequential"
    if study.draw.kind == "subsample" and study.draw.rows is None:
        yield "draw.rows: needed for draw.kind subsample"
    if study.draw.kind in ("bootstrap", "seed_only") and study.draw.rows is not None:
        yield f"draw.rows: not used by draw.kind {study.draw.kind}; leave it out"
    if study.reference_teacher and study.reference_teacher not in study.teachers:
        yield f"reference_teacher: {no_such(study.reference_teacher, study.teachers, 'teacher')}"
    if study.name in study.share:
        yield f"share: {study.name!r} is this study itself"
    for name, teacher in study.teachers.items():
        if teacher.rows == "reserved" and study.data.reserved == 0:
            yield f"teachers.{name}.rows: reserved rows are asked for, but data.reserved is 0"
    if study.data.split and study.data.test is None:
        yield f"data.test: a number of rows is needed where all rows are cut from one split ({study.data.split})"
    for name, arm in study.arms.items():
        needed, optional = LOSS_KEYS[arm.loss]
        settings = {key: getattr(arm, key) for key in set(Arm.model_fields) - _STORED}
        given = {key for key, value in settings.items() if not (value is None or value is False or value == "")}
        for key in sorted(needed - given):
            yield f"arms.{name}.{key}: needed for loss {arm.loss}, in the arm or under defaults"
        for key in sorted(given - needed - optional - {"loss", "label", "role", "family"}):
            takes = ", ".join(sorted(needed | optional)) or "nothing more"
            yield f"arms.{name}.{key}: not used by loss {arm.loss}, which takes {takes}"
        if arm.teacher and arm.teacher not in study.teachers:
            yield f"arms.{name}.teacher: {no_such(arm.teacher, study.teachers, 'teacher')}"
        if arm.soft_label and arm.soft_label not in study.soft_labels:
            yield f"arms.{name}.soft_label: {no_such(arm.soft_label, study.soft_labels, 'soft label')}"
        for key in ("weights_from", "alpha_from"):
            other = getattr(arm, key)
            if other and other not in study.arms:
                yield f"arms.{name}.{key}: {no_such(other, study.arms, 'arm')}"
            elif other and study.arms[other].teacher is None and study.reference_teacher is None and not study.teachers:
                yield f"arms.{name}.{key}: arm {other!r} is recorded without a teacher, so it has no weights"
        taught_by = study.soft_labels.get(arm.soft_label or "")
        if taught_by and taught_by.raw and arm.measure in (None, "cross_entropy"):
            yield (
                f"arms.{name}.measure: {arm.soft_label} are raw scores, whose cross-entropy has no lower bound; take "
                f"squared_error, or soft_labels.{arm.soft_label}.project: true"
            )
    for name, source in study.soft_labels.items():
        if source.teacher and source.teacher not in study.teachers:
            yield f"soft_labels.{name}.teacher: {no_such(source.teacher, study.teachers, 'teacher')}"
        if source.arm and source.arm not in study.arms:
            yield f"soft_labels.{name}.arm: {no_such(source.arm, study.arms, 'arm')}"
        for part in source.shares or ():
            place, found = f"soft_labels.{name}.shares.{part}", study.soft_labels.get(part)
            if found is None:
                yield f"{place}: {no_such(part, study.soft_labels, 'soft label')}"
            elif found.kind in ("mixture", "student") or found.redraw or found.raw:
                yield f"{place}: no mixture, soft labels of students, noise that is drawn anew, or raw scores"
    yield from _people_faults(study)
    yield from _rate_faults(study)
    yield from _claim_faults(study)


def _people_faults(study: Study) -> Iterable[str]:
    """People labelled one official split of a data set; the students' pool must be drawn from that one."""
    drawn = study.data.split or "train"
    for people, source in PEOPLE.items():
        names = [name for name, soft_label in study.soft_labels.items() if soft_label.people == people]
        if not names or source.split == drawn or study.data.name != source.dataset:
            continue
        cure = "data.split: test, with a number of rows for data.test" if source.split == "test" else "no data.split"
        fit = [name for name, other in PEOPLE.items() if (other.dataset, other.split) == (source.dataset, drawn)]
        yield (
            f"soft_labels.{names[0]}.people: {people} labels the official {source.split} images, but the students' "
            f"rows are {drawn} images; give {cure}{f', or take people: {fit[0]}' if fit else ''}"
        )


def _claim_faults(study: Study) -> Iterable[str]:
    for claim, tests in study.claims.items():
        if claim not in CLAIM_ROLES:
            yield f"claims.{claim}: {no_such(claim, CLAIM_ROLES, 'claim')}"
            continue
        for i, test in enumerate(tests):
            place = f"claims.{claim}[{i}]"
            if set(test) != CLAIM_ROLES[claim]:
                wanted, given = (", ".join(sorted(roles)) or "none" for roles in (CLAIM_ROLES[claim], test))
                yield f"{place}: needs the roles {wanted}, not {given}"
                continue
            for role, names in test.items():
                if isinstance(names, str) == (role in LISTS):
                    what = "a list of arms" if role in LISTS else "one arm"
                    yield f"{place}.{role}: {what} is needed, not {names!r}"
                    continue
                for other in [names] if isinstance(names, str) else names:
                    if other not in study.arms:
                        yield f"{place}.{role}: {no_such(other, study.arms, 'arm')}"


def _rate_faults(study: Study) -> Iterable[str]:
    rate = study.learning_rate
    if (rate.value is None) == (not rate.grid):
        yield "learning_rate: give either value (one rate for all) or grid with families, not both and not neither"
        return
    for family, chosen_on in rate.families.items():
        place = f"learning_rate.families.{family}"
        if chosen_on not in study.arms:
            yield f"{place}: {no_such(chosen_on, study.arms, 'arm')}"
        elif study.uses(chosen_on):
            yield f"{place}: arm {chosen_on!r} needs another arm's record; choose the rate on one that does not"
    if rate.grid:
        for name, arm in study.arms.items():
            family = arm.family or arm.loss
            if family not in rate.families:
                known = ", ".join(rate.families) or "none"
                yield f"arms.{name}.family: {family!r} has no entry under learning_rate.families, which has: {known}"
