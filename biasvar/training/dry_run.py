"""A dry run: all of a study checked and built, a step of every teacher and arm, and what the whole would take."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from biasvar.data.layout import data_folder
from biasvar.messages import counted, note
from biasvar.records import RunWriter
from biasvar.records.schema import redraw_path
from biasvar.study import Study
from biasvar.study.redraws import redraws_of
from biasvar.training.bookkeeping import Bookkeeping
from biasvar.training.checks import open_study
from biasvar.training.context import StudyContext
from biasvar.training.continuing import check_same_data, check_same_study
from biasvar.training.cost import grid_in_words
from biasvar.training.divided import check_divided
from biasvar.training.estimate_words import estimates_in_words
from biasvar.training.estimates import Estimate, estimates
from biasvar.training.redraws import check_redraws
from biasvar.training.rehearsal import Rehearsal, rehearse


def dry_run(study: Study, directory: Path, device: torch.device, *, devices: int = 1, jobs: int = 1) -> list[str]:
    """What a study's sweep is, and what the study would take, line by line; nothing is written into the run directory.

    What it is doing is said on standard error, at once and from then on.

    The data are made where they are known and not here. Of a study that is drawn anew the first redraw is rehearsed.

    Args:
        study: A validated study.
        directory: The run directory, which need not exist.
        device: Where a run would train.
        devices, jobs: Over how many devices a run would divide, in how many processes; estimates are of one.

    Raises:
        As `biasvar.training.checks.open_study` and `biasvar.training.rehearsal.rehearse`.
    """
    context = open_for_rehearsal(study, directory, device)
    check_divided(context, devices, jobs)
    grid = [] if study.redraws else grid_in_words(context)
    taught = [name for name, teacher in study.teachers.items() if teacher.is_trained]
    what = " and ".join(counted(names, of) for names, of in ((taught, "teacher"), (study.arms, "arm")) if names)
    note(f"the dry run takes a step of {what} on {device}; then it says what all of it would take")
    rehearsal, found = estimated(context)
    return [*made_in_words(context), *grid, *estimates_in_words(rehearsal, found, repeats=study.redraws or 1)]


def open_for_rehearsal(study: Study, directory: Path, device: torch.device) -> StudyContext:
    """The study, or its first redraw, checked as a run checks it, with made images where its data are not here."""
    check_same_study(study, directory)
    first = redraws_of(study)[0] if study.redraws else study
    place = redraw_path(directory, 0) if study.redraws else directory
    context = open_study(first, place, device, make_absent=True)
    if context.dataset.made:
        return context
    if study.redraws:
        check_redraws(study, directory)
    else:
        check_same_data(context)
    return context


def estimated(context: StudyContext) -> tuple[Rehearsal, list[Estimate]]:
    """The rehearsal of a study, and the estimates from it; what is written goes into a folder that goes away."""
    threads = torch.get_num_threads()
    torch.set_num_threads(context.study.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="biasvar-dry-run-") as folder:
            rehearsal = rehearse(context, Path(folder) / "small")
            classes = context.dataset.num_classes
            writer = RunWriter(Path(folder) / "books", manifest={"kind": "recorder", "num_classes": classes})
            return rehearsal, estimates(rehearsal, Bookkeeping(context, writer))
    finally:
        torch.set_num_threads(threads)


def made_in_words(context: StudyContext) -> list[str]:
    """The line that says that images are made; none where they are the data set's."""
    data = context.dataset
    if not data.made:
        return []
    shape = "x".join(map(str, data.images.shape[1:]))
    return [
        f"made images: {data.name} is not in {data_folder()}, so this dry run is on random pixels in its place "
        f"({len(data.labels):,} rows of {shape}, {data.num_classes} classes); a run needs the data"
    ]
