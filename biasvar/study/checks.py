"""What a schema cannot see: keys of a study that do not go together, and names that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from biasvar.messages import did_you_mean, first_few, no_such
from biasvar.study.arms import Arm
from biasvar.study.claims import CLAIM_ROLES, LISTS
from biasvar.study.ledger.bias_variance import ONE_LOSS
from biasvar.study.schema import Study
from biasvar.study.sections import Section
from biasvar.study.soft_labels import SoftLabel
from biasvar.study.teachers import Teacher
from biasvar.votes import PEOPLE


def faults(study: Study) -> Iterable[str]:
    """What a schema cannot see: keys that do not go together and names that lead nowhere."""
    if study.backend == "batched" and set(study.models) != {"mlp"}:
        networks = {"student": study.student.model}
        networks |= {f"arms.{name}": model for name, arm in study.arms.items() for model in arm.models}
        networks |= {f"arms.{name}.student": arm.student.model for name, arm in study.arms.items() if arm.student}
        networks |= {
            f"teachers.{name}": teacher.model for name, teacher in study.teachers.items() if teacher.is_network
        }
        others = [f"{place} is {model}" for place, model in networks.items() if model != "mlp"]
        yield f"backend: batched trains model mlp only, and {first_few(others)}; use backend: sequential"
    if study.data.streamed and study.backend == "batched":
        yield "data.streamed: images are streamed to one replica at a time; use backend: sequential"
    if study.draw.kind == "subsample" and study.draw.rows is None:
        yield "draw.rows: needed for draw.kind subsample"
    if study.draw.kind in ("bootstrap", "seed_only") and study.draw.rows is not None:
        yield f"draw.rows: not used by draw.kind {study.draw.kind}; leave it out"
    if study.reference_teacher and study.reference_teacher not in study.teachers:
        yield f"reference_teacher: {no_such(study.reference_teacher, study.teachers, 'teacher')}"
    if study.name in study.share:
        yield f"share: {study.name!r} is this study itself"
    if study.share and study.redraws:
        yield "share: not with redraws: each redraw has a seed of its own, so no other run holds its arms; leave it out"
    for name, teacher in study.teachers.items():
        yield from _teacher_faults(study, name, teacher)
    if study.data.split and study.data.test is None:
        yield f"data.test: a number of rows is needed where all rows are cut from one split ({study.data.split})"
    for name, arm in study.arms.items():
        yield from _reference_faults(study, f"arms.{name}", arm)
        if arm.teacher_shift and study.copies_of(arm) <= arm.teacher_shift:
            yield (
                f"arms.{name}.teacher_shift: {arm.teacher_shift} needs a teacher with more copies than that, such as "
                f"teachers.NAME.copies: {arm.teacher_shift + 1}"
            )
        yield from _own_faults(study, name, arm)
        yield from _swept_faults(name, arm)
        taught = [other for _, mark, other in arm.references() if mark.to != "arm"]
        if taught and arm.label_noise not in (None, study.data.label_noise):
            yield (
                f"arms.{name}.label_noise: not with {taught[0]}, which is made from the labels of data.label_noise "
                "once for all arms; leave it out, or give each noise a study of its own"
            )
        for key, mark, other in arm.references():
            if mark.to == "teacher":
                yield from _joint_faults(study, f"arms.{name}.{key}", other)
    for name, source in study.soft_labels.items():
        yield from _reference_faults(study, f"soft_labels.{name}", source)
    yield from _people_faults(study)
    yield from _rate_faults(study)
    yield from _claim_faults(study)


def _teacher_faults(study: Study, name: str, teacher: Teacher) -> Iterable[str]:
    if teacher.rows == "reserved" and study.data.reserved == 0:
        yield f"teachers.{name}.rows: reserved rows are asked for, but data.reserved is 0"
    if teacher.copies > study.replicas:
        yield (
            f"teachers.{name}.copies: {teacher.copies} are more than the {study.replicas} replicas; replica r learns "
            f"from number r mod {teacher.copies}, so some would teach nobody"
        )
    wrong = list(_reference_faults(study, f"teachers.{name}", teacher))
    yield from wrong
    members = [] if wrong else teacher.mean_of or []
    nested = [other for other in members if study.teachers[other].mean_of]
    if nested:
        yield f"teachers.{name}.mean_of: {nested[0]} is an ensemble itself; name the teachers that it is made of"
        return
    spoken = [other for other in members if study.teachers[other].logits is not None]
    if spoken:
        yield f"teachers.{name}.mean_of: {spoken[0]} is a file of logits; name teachers that are networks"
        return
    counts = {other: study.teacher_count(other) for other in members if study.teacher_count(other) > 1}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{other} ({count})" for other, count in counts.items())
        yield f"teachers.{name}.mean_of: teachers must be one or equally many networks, not {said}"


def _own_faults(study: Study, name: str, arm: Arm) -> Iterable[str]:
    """What the settings class of a method says of an arm, which may be a user's own."""
    try:
        found = list(arm.faults(study.soft_labels))
    except Exception as error:
        found = [("loss", f"faults of the settings of {arm.loss} failed with {type(error).__name__}: {error}")]
    for key, text in found:
        yield f"arms.{name}.{key}: {text}"
    if not isinstance(arm.teacher_name, str | None):
        yield f"arms.{name}.teacher: must be one name, not {arm.teacher_name!r}"
    tau = arm.tau
    if tau is not None and not (isinstance(tau, int | float) and 0 < tau < float("inf")):
        yield f"arms.{name}.temperature: must be a number above 0, at which the arm is recorded, not {tau!r}"


def _swept_faults(name: str, arm: Arm) -> Iterable[str]:
    """The values of a sweep, which a resolved study file repeats, must be those that the arm is trained with."""
    has = {
        "student.width": arm.student.width if arm.student else None,
        "data.label_noise.share": arm.label_noise.share if arm.label_noise else None,
    }
    for key, value in arm.swept.items():
        if key not in has:
            yield f"arms.{name}.swept.{key}: a sweep goes over {', '.join(has)}"
        elif has[key] != value:
            own = "says none" if has[key] is None else f"says {has[key]:g}"
            yield f"arms.{name}.swept.{key}: {value:g}, but the arm {own}; leave swept out, which a sweep writes itself"


def _joint_faults(study: Study, place: str, init: str) -> Iterable[str]:
    """A teacher whose weights another starts from must be trained itself."""
    if init in study.teachers and study.teachers[init].mean_of:
        yield f"{place}: {init} is an ensemble, which has no weights of its own; name one that it is made of"
    elif init in study.teachers and study.teachers[init].logits is not None:
        yield f"{place}: {init} is a file of logits, which has no weights; name a teacher that is a network"


def _reference_faults(study: Study, place: str, section: Section) -> Iterable[str]:
    """Names that lead nowhere, or to something that cannot be used there."""
    known: dict[str, list[str]] = {
        "teacher": [*study.teachers], "arm": [*study.arms], "soft label": [*study.soft_labels],
        "taught by": [*study.teachers, *study.arms],
    }  # fmt: skip
    for key, mark, name in section.references():
        if name not in known[mark.to]:
            taught = mark.to == "taught by"  # an arm can teach too, but a teacher is what is mostly meant
            allowed = [*study.teachers] if taught else known[mark.to]
            more = ", or an arm, whose students teach" if taught else ""
            yield f"{place}.{key}: {no_such(name, allowed, 'teacher' if taught else mark.to)}{more}"
        elif mark.weights and not _has_weights(study, name):
            yield f"{place}.{key}: arm {name!r} is recorded without a teacher, so it has no weights"
        elif mark.to == "soft label" and isinstance(section, SoftLabel):
            part = study.soft_labels[name]
            if not part.mixable or part.redrawn or part.raw:
                what = "no mixture, soft labels of students, noise that is drawn anew, or raw scores"
                yield f"{place}.{key}.{name}: {what}"


def _has_weights(study: Study, name: str) -> bool:
    """True if an arm is recorded with a teacher: its own, its loss's or the reference teacher."""
    arm = study.arms[name]
    return arm.own_teacher or bool(arm.teacher_name or study.reference_teacher or study.teachers)


def _people_faults(study: Study) -> Iterable[str]:
    """People labelled one official split of a data set; the students' pool must be drawn from that one."""
    drawn = study.data.split or "train"
    for people, source in PEOPLE.items():
        names = [name for name, soft_label in study.soft_labels.items() if soft_label.get("people") == people]
        if names and study.data.few_shots:
            yield (
                f"soft_labels.{names[0]}.people: {people} labels all classes of {source.title}, of which "
                "data.few_shots holds some out; leave one of the two out"
            )
            continue
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
                lacking = sorted(CLAIM_ROLES[claim] - set(test))
                near = (did_you_mean(role, lacking) for role in sorted(set(test) - CLAIM_ROLES[claim]))
                meant = next(filter(None, near), "")
                yield f"{place}: needs the roles {wanted}, not {given}{meant}"
                continue
            for role, names in test.items():
                if isinstance(names, str) == (role in LISTS):
                    what = "a list of arms" if role in LISTS else "one arm"
                    yield f"{place}.{role}: {what} is needed, not {names!r}"
                    continue
                for other in [names] if isinstance(names, str) else names:
                    if other not in study.arms:
                        yield f"{place}.{role}: {no_such(other, study.arms, 'arm')}"
            if claim in ONE_LOSS:
                yield from _mixed_losses(study, place, test)


def _mixed_losses(study: Study, place: str, test: Mapping[str, str | list[str]]) -> Iterable[str]:
    """A claim on the decomposition of a loss whose arms are trained by several."""
    names = [name for given in test.values() for name in ([given] if isinstance(given, str) else given)]
    first: dict[str, str] = {}
    for name in names:
        if name in study.arms:
            first.setdefault(study.arms[name].loss, name)
    if len(first) > 1:
        said = ", ".join(f"{name} by {loss}" for loss, name in first.items())
        yield (
            f"{place}: its arms are trained by {len(first)} losses ({said}), and bias and variance are those of one; "
            "give each loss a test of its own"
        )


def _rate_faults(study: Study) -> Iterable[str]:
    rate = study.learning_rate
    if (rate.value is None) == (not rate.grid):
        yield "learning_rate: give either value (one rate for all) or grid with families, not both and not neither"
        return
    if rate.value is not None and rate.by != "accuracy":
        yield f"learning_rate.by: {rate.by} chooses among a grid, and one rate for all is not chosen; leave it out"
    for family, chosen_on in rate.families.items():
        place = f"learning_rate.families.{family}"
        if chosen_on not in study.arms:
            yield f"{place}: {no_such(chosen_on, study.arms, 'arm')}"
        elif study.uses(chosen_on):
            yield f"{place}: arm {chosen_on!r} needs another arm's record; choose the rate on one that does not"
        elif reason := study.arms[chosen_on].at_chance:
            yield (
                f"{place}: students of arm {chosen_on!r} answer at chance at any rate ({reason}), so that none can be "
                "chosen on it; choose the rate on another arm of the family"
            )
    if rate.grid:
        for name, arm in study.arms.items():
            family = arm.family or arm.loss
            if family not in rate.families:
                known = ", ".join(rate.families) or "none"
                yield f"arms.{name}.family: {family!r} has no entry under learning_rate.families, which has: {known}"
