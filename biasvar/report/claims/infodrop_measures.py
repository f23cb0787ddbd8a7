"""What measures the claims on InfoDrop: accuracy on other views of the test rows, and in episodes of other classes."""

from __future__ import annotations

from collections.abc import Mapping

from biasvar.records import Run
from biasvar.report.claims.common import change_of_term, versus
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics.estimates import accuracy_on_views
from biasvar.report.statistics.few_shots import few_shot_accuracy, few_shots_of
from biasvar.report.statistics.views import views_of
from biasvar.study.few_shots import SHOTS, WAYS
from biasvar.study.ledger.base import ACCURACY, SHARE
from biasvar.study.ledger.infodrop import RENDERED
from biasvar.study.views import ALL_CORRUPTIONS, ATTACKS, ORIGINAL

SHUFFLED = "shuffled_patches-4"


def on_corruptions(run: Run, roles: Roles) -> list[Measurement]:
    """Accuracy on all corruptions of the study, each with the same weight, treatment less control (I1, I2)."""
    return _mean_over(run, roles, ALL_CORRUPTIONS, "corruptions")


def cost_of_shuffling(run: Run, roles: Roles) -> list[Measurement]:
    """Loss of accuracy by shuffling 4x4 patches, treatment less control (I3)."""
    views = {"clean": 1.0, SHUFFLED: -1.0}
    return _part(run, roles, views, "loss of accuracy by shuffling 4x4 patches", SHARE)


def under_attack(run: Run, roles: Roles) -> list[Measurement]:
    """Accuracy under FGSM and under PGD, treatment less control (I5); no part without both."""
    parts = [_mean_over(run, roles, kind, kind.upper()) for kind in ATTACKS]
    return [*parts[0], *parts[1]] if all(parts) else []


def left_out(run: Run, roles: Roles) -> list[Measurement]:
    """Accuracy in every rendering that the training rows are not shown through, treatment less control (I6)."""
    trained = set(((run.study or {}).get("data") or {}).get("train_views") or ())
    if not trained:
        return []
    shown = {kind: ["clean"] if kind == ORIGINAL else views_of(run, kind) for kind in RENDERED if kind not in trained}
    return [
        part
        for kind, views in shown.items()
        if views
        for part in _part(
            run, roles, dict.fromkeys(views, 1.0), f"accuracy on {kind} images, left out of training", ACCURACY
        )
    ]


def with_few_shots(run: Run, roles: Roles) -> list[Measurement]:
    """Accuracy in episodes of held-out classes with one and with five shots, treatment less control (I7).

    No part in episodes of another number of classes, or without both numbers of shots.
    """
    told = few_shots_of(run)
    if told.get("ways") != WAYS or not {*SHOTS} <= {*told.get("shots", ())}:
        return []
    treatment, control = roles["treatment"], roles["control"]
    between = versus(run, treatment, control)
    parts = []
    for shots in SHOTS:
        row = few_shot_accuracy(run, {treatment: 1.0, control: -1.0}, shots, control=control)
        if row is None:
            return []
        said = f"accuracy in {WAYS}-way episodes with {shots} {'shot' if shots == 1 else 'shots'}"
        parts.append(Measurement(f"{said}, {between}", row, ACCURACY, "greater", "accuracy"))
    return parts


def _mean_over(run: Run, roles: Roles, kind: str, said: str) -> list[Measurement]:
    views = views_of(run, kind)
    named = f"accuracy, mean over {said} ({', '.join(views)})"
    return _part(run, roles, {view: 1 / len(views) for view in views}, named, ACCURACY)


def _part(run: Run, roles: Roles, views: Mapping[str, float], said: str, smallest: float) -> list[Measurement]:
    """One part of a claim that the treatment's accuracy on views is greater; none where a view is missing."""
    treatment, control = roles["treatment"], roles["control"]
    row = accuracy_on_views(run, {treatment: 1.0, control: -1.0}, views) if views else None
    if row is None:
        return []
    return [Measurement(f"{said}, {versus(run, treatment, control)}", row, smallest, "greater", "accuracy")]


MEASURES: dict[str, Measure] = {
    "I1": on_corruptions,
    "I2": on_corruptions,
    "I3": cost_of_shuffling,
    "I4": change_of_term("variance", "less"),
    "I5": under_attack,
    "I6": left_out,
    "I7": with_few_shots,
}
"""What each claim is measured by."""
