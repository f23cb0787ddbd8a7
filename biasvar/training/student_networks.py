"""The students of an arm as networks: fresh ones, and trained ones read back from a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from biasvar.records.schema import weights_path
from biasvar.training.checkpoints import check_fit, of_replica, read_weights
from biasvar.training.context import StudyContext
from biasvar.training.hooks import named, student_of
from biasvar.training.methods import method_of
from biasvar.training.replicas import groups_of


def new_students(context: StudyContext, arm: str, replicas: Iterable[int]) -> list[nn.Module]:
    """Fresh students of an arm; replica r starts from the same weights in every arm with the same network."""
    settings = context.study.arms[arm]
    network, method = settings.student or context.study.student, method_of(settings)
    with named(arm, settings):
        return [student_of(method, context.student(network, "init", r)) for r in replicas]


def trained_students(context: StudyContext, arm: str, replicas: Sequence[int]) -> list[nn.Module]:
    """The trained students of these replicas of an arm, in evaluation mode and without gradient.

    Raises:
        RecordError: A weights file is damaged, or does not fit the arm's network.
    """
    found: dict[int, nn.Module] = {}
    for number, group in enumerate(groups_of(context.study.backend, range(context.study.replicas))):
        here = [r for r in dict.fromkeys(replicas) if r in group]
        path = weights_path(context.directory, arm, number)
        saved = read_weights(path)[0] if here else {}
        for r, network in zip(here, new_students(context, arm, here), strict=True):
            mine = of_replica(saved, r)
            check_fit(mine, network.state_dict(), path=path, what=f"a student of arm {arm}")
            network.load_state_dict(mine)
            found[r] = network.eval().requires_grad_(False)
    return [found[r] for r in replicas]
