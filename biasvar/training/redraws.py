"""Running a study with `redraws`: each redraw is an ordinary run, one after another, in a directory of its own."""

from __future__ import annotations

from pathlib import Path

import torch

from biasvar.records.redraws import Redraws, begin_redraws, end_redraws, open_redraws, write_study
from biasvar.records.schema import redraw_path
from biasvar.study import Study
from biasvar.study.redraws import redraws_of
from biasvar.training.checks import open_study
from biasvar.training.continuing import check_same_study
from biasvar.training.execute import run_study
from biasvar.training.workers import MakeExecutor, make_executor


def run_redraws(
    study: Study,
    directory: str | Path,
    *,
    device: torch.device | str | None = None,
    devices: int = 1,
    jobs: int = 1,
    teachers_only: bool = False,
    engine: str | None = None,
    executors: MakeExecutor = make_executor,
) -> Redraws:
    """Train every redraw of a study that `directory` does not hold yet.

    Redraw k is the run of the study with its own seed, in `directory/redraw=00k`; it goes on where it was interrupted,
    and is left as it is where it is complete. A larger `redraws` adds further ones.

    Args:
        study: A validated study with `redraws`.
        directory: What holds the redraws, made when absent.
        device: Default: CUDA where there is one, else the CPU.
        devices, jobs, teachers_only, engine, executors: As `run_study`'s.

    Raises:
        RecordError: The directory holds a run, redraws of another study, or more redraws than are asked for.
        As `run_study` does.
    """
    directory = Path(directory)
    redraws = redraws_of(study)
    check_same_study(study, directory)
    check_redraws(study, directory)
    begin_redraws(
        directory, name=study.name, title=study.title, study_hash=study.hash, seed=study.seed,
        seeds=[redraw.seed for redraw in redraws],
    )  # fmt: skip
    write_study(directory, study.to_yaml())
    for number, redraw in enumerate(redraws):
        called = f"redraw {number + 1} of {len(redraws)}"
        place = redraw_path(directory, number)
        run_study(
            redraw, place, device=device, devices=devices, jobs=jobs, called=called, teachers_only=teachers_only,
            engine=engine, executors=executors,
        )  # fmt: skip
    if not teachers_only:
        end_redraws(directory)
    return open_redraws(directory)


def check_redraws(study: Study, directory: str | Path) -> None:
    """Raise, as `open_study` does, unless every redraw goes with the data: a block may lack a class in one of them."""
    for number, redraw in enumerate(redraws_of(study)):
        open_study(redraw, redraw_path(directory, number), torch.device("cpu"))
