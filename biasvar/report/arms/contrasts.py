"""The pairs of arms whose difference answers a question, found from their settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from biasvar.records import Run
from biasvar.report.arms.description import OF_THE_TEACHER, PLAIN, is_plain, same_but
from biasvar.report.arms.roles import core_arms, named_control, reference_arms

AGAINST_LABELS = "Soft labels against the true labels"
FILTERING = "Filtering regularization samples"
WEIGHTING = "Weighted soft labels (WSL) against KD"
CONTROLS = "Which samples, or only how much weight?"
SMOOTHED = "A label-smoothed teacher against a plain one"

TEACHER_SETTINGS = (
    *("model", "hidden", "draw", "rows", "epochs", "batch_size", "learning_rate", "train_mode", "copies", "mean_of"),
    *("space", "stop"),
)
"""What makes two teachers differ, besides label smoothing."""


@dataclass(frozen=True)
class Contrast:
    """Two arms, treatment less control, and the question their difference answers."""

    question: str
    treatment: str
    control: str


def contrasts(run: Run) -> list[Contrast]:
    """Every pair that answers a question, each once, by question, in the order of the run's arms."""
    if not reference_arms(run) and not any(named_control(run, arm) for arm in run.arms):
        return []
    pairs = [*_against_labels(run), *_filtering(run), *_weighting(run), *_controls(run), *_smoothed(run)]
    return [Contrast(*pair) for pair in dict.fromkeys(pairs)]


Pairs = Iterator[tuple[str, str, str]]


def _against_labels(run: Run) -> Pairs:
    """The arms that the study turns on, and KD at cross-entropy's own learning rate, against cross-entropy.

    An arm of somebody's own loop against the control that it names.
    """
    named = {arm: control for arm in core_arms(run) if (control := named_control(run, arm))}
    yield from ((AGAINST_LABELS, arm, control) for arm, control in named.items())
    control = reference_arms(run).get("cross-entropy")
    if control is None:
        return
    core = core_arms(run)
    kd = reference_arms(run).get("KD")
    rate = run.entry(control).learning_rate
    for arm in run.arms:
        fixed_rate = (
            kd is not None
            and arm != kd
            and rate is not None
            and rate == run.entry(arm).learning_rate != run.entry(kd).learning_rate
            and same_but(run, arm) == kd
        )
        if arm != control and arm not in named and (arm in core or fixed_rate):
            yield AGAINST_LABELS, arm, control


def _filtering(run: Run) -> Pairs:
    """Masked distillation against KD with all its soft labels, and against a random mask of the same size."""
    masked = [arm for arm in run.arms if run.entry(arm).plays == "masking"]
    for arm in masked:
        whole = same_but(run, arm, plays="distillation", keep=None)
        if whole is not None:
            yield FILTERING, arm, whole
    for arm in masked:
        random = same_but(run, arm, keep="random") if run.entry(arm).setting("keep") == "other" else None
        if random is not None:
            yield FILTERING, arm, random


def _weighting(run: Run) -> Pairs:
    """WSL against KD from the same teacher, for every teacher, at the reference temperature and alpha."""
    for arm in _weighted(run):
        kd = same_but(run, arm, plays="distillation")
        if kd is not None:
            yield WEIGHTING, arm, kd


def _controls(run: Run) -> Pairs:
    """WSL against its mean weight as alpha, its weights shuffled and recorded weights; and these against KD."""
    for wsl in _weighted(run):
        scaled = {arm: None for arm in run.arms if run.entry(arm).setting("alpha_from") == wsl}
        shuffled = same_but(run, wsl, shuffle=True)
        scaled |= {shuffled: None} if shuffled else {}
        scaled |= {
            arm: None
            for arm in run.arms
            if run.entry(arm).setting("weights_from") and run.entry(arm).shares(run.entry(wsl), *OF_THE_TEACHER)
        }
        for arm in scaled:
            yield CONTROLS, wsl, arm
        kd = same_but(run, wsl, plays="distillation")
        for arm in scaled if kd is not None else ():
            yield CONTROLS, arm, str(kd)


def _smoothed(run: Run) -> Pairs:
    """KD and WSL from a teacher trained with label smoothing against the same from one that differs in nothing else.

    Arms of a teacher sweep at the reference temperature only, all others at every temperature.
    """
    teachers: dict[str, Any] = run.manifest.get("teachers") or {}
    plain: dict[Any, str] = {}
    for name, teacher in teachers.items():
        if not teacher.get("smoothing"):
            plain.setdefault(_settings(teacher), name)
    for arm in run.arms:
        entry = run.entry(arm)
        teacher = teachers.get(str(entry.teacher)) or {}
        if not teacher.get("smoothing") or entry.plays not in PLAIN or not is_plain(entry):
            continue
        alike = plain.get(_settings(teacher))
        other = same_but(run, arm, teacher=alike) if alike is not None else None
        reference = (run.study or {}).get("reference_temperature")
        if entry.role == "teacher sweep" and reference not in (None, entry.temperature):
            continue
        if other is not None:
            yield SMOOTHED, arm, other


def _settings(teacher: dict[str, Any]) -> str:
    return repr([teacher.get(name) for name in TEACHER_SETTINGS])


def _weighted(run: Run) -> list[str]:
    kd = reference_arms(run).get("KD")
    weighted = []
    for arm in run.arms:
        entry = run.entry(arm)
        if entry.plays != "weighting" or not is_plain(entry):
            continue
        if kd is None or entry.shares(run.entry(kd), "temperature", "alpha"):
            weighted.append(arm)
    return weighted
