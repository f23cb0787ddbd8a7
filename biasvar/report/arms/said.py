"""What the command line says of the arms of somebody's own loop, or of imported predictions."""

from __future__ import annotations

from collections.abc import Sequence

from biasvar.errors import BiasvarError
from biasvar.messages import did_you_mean, first_few
from biasvar.records import Run
from biasvar.records.arms import PARTS


def say(runs: Sequence[Run], controls: Sequence[str], losses: Sequence[str]) -> None:
    """Take "ARM=CONTROL" and "ARM=LOSS" for these runs as if their manifests said so; nothing on disk changes.

    Raises:
        BiasvarError: Words of another form, arms that no run has, arms of a study, which says it itself.
    """
    for option, key, words in (("--control", "control", controls), ("--loss", "loss", losses)):
        for word in words:
            arm, between, value = word.partition("=")
            if not (arm and between and value) or (key == "control" and arm == value):
                raise BiasvarError(f"{option} {word}: give ARM={'OTHER_ARM' if key == 'control' else 'LOSS'}")
            having = [run for run in runs if arm in run.arms and (key != "control" or value in run.arms)]
            if not having:
                arms = list(dict.fromkeys(name for run in runs for name in run.arms))
                lacking = value if key == "control" and arm in arms else arm
                hint = did_you_mean(lacking, arms, after=";")
                raise BiasvarError(
                    f"{option} {word}: no run has an arm {lacking!r}{hint or ';'} there is {first_few(arms)}"
                )
            for run in having:
                if run.manifest.get("kind") == "study":
                    raise BiasvarError(f"{option} {word}: {run.name} is a study, whose file says what its arms are")
                plays = {"plays": PARTS.get(value)} if key == "loss" else {}
                run.manifest["arms"].setdefault(arm, {}).update({key: value, **plays})
