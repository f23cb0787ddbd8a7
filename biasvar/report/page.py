"""The report on runs: figures, tables, summary and page, written together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from biasvar.messages import all_visible
from biasvar.progress import InHand, Progress
from biasvar.records import Redraws, Run, open_run
from biasvar.report import style, summary
from biasvar.report.arms.own_claims import ask_claims
from biasvar.report.claims.table import claims_table
from biasvar.report.figures import load
from biasvar.report.output import PAGE, begin_figure, into_place, write_page, write_summary, write_table
from biasvar.report.redraws import write_redraws
from biasvar.report.samples import SAMPLES, write_samples
from biasvar.report.side_by_side import SideBySide
from biasvar.report.text import budgets, description
from biasvar.report.text.page import judged, shared


def open_runs(directories: Sequence[Path]) -> list[Run]:
    """Open runs for one report; two of the same name are told apart by their directories.

    Raises as `biasvar.open_run` does, and RecordError where a manifest contradicts its study file.
    """
    unique: dict[Path, Path] = {}
    for directory in directories:
        unique.setdefault(directory.resolve(), directory)
    runs = [open_run(directory) for directory in unique.values()]
    named = told_apart([Run(run.directory, all_visible({**run.manifest, "name": run.name})) for run in runs])
    for run in named:
        _ = run.study  # held against the manifest when it is read
    return named


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs; of those that share a name copies under names of their own, after their directories."""
    names = [run.name for run in runs]
    seen: list[str] = []
    told: list[Run] = []
    for run in runs:
        name = run.name if names.count(run.name) == 1 else f"{run.name} ({run.directory.name})"
        while name in seen:
            name += " again"
        seen.append(name)
        if name != run.name:
            run = copy.copy(run)
            run.manifest = {**run.manifest, "name": name}
        told.append(run)
    return told


def write_report(
    runs: list[Run] | Redraws, out: Path, *, figures: Sequence[str], formats: Sequence[str], jobs: int = 1
) -> Path:
    """Write figures, tables, summary and page into `out`; returns the page's path.

    Everything is made in a temporary folder on the same disk and moved into place at the end, so a report that fails
    leaves an older one as it was. Files in `out` that no report wrote are left alone; see `into_place`.

    Args:
        runs: of several runs one page with all of them; of redraws one of what they say together.
        figures: names out of `FIGURES`, and `SAMPLES` for the table of samples of somebody's own runs.
        formats: of "png", "svg" and "pdf", the files to write for each figure; the page holds its own pictures.
        jobs: processes that draw; they change no byte of what is written.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; name a directory for the report")
    if isinstance(runs, Redraws):
        return write_redraws(runs, out, formats=formats)
    for run in runs:
        ask_claims(run)
    names = [name for name in figures if name != SAMPLES]
    with (
        into_place(out) as folder,
        style.context(),
        Progress(len(names), len(names), unit="possible figures", called="report") as progress,
        SideBySide(jobs) as aside,
    ):
        begun = []
        for name in names:
            progress.begin(name, InHand(name, 1.0))
            ended = partial(progress.end, name)
            begun.append(begin_figure(load(name), runs, folder, formats, aside, ended))
        claims = claims_table(runs)
        write_table(folder, "claims", claims)
        write_summary(folder, summary.summarise(runs, claims))
        described = [_run(run) for run in runs]
        samples = write_samples(folder, runs) if SAMPLES in figures else []
        drawn = [about() for about in begun]
        write_page(
            folder,
            "report.html",
            title=described[0]["title"] if len(runs) == 1 else f"Report on {', '.join(run.name for run in runs)}",
            runs=described,
            missing=[figure for figure in drawn if "picture" not in figure and not _elsewhere(figure["name"], runs)],
            samples=samples,
            **shared([figure for figure in drawn if "picture" in figure], runs),
            **judged(claims, runs),
        )
    return out / PAGE


def _elsewhere(name: str, runs: list[Run]) -> bool:
    """True of a figure that is about other kinds of runs than there are here."""
    kinds = load(name).kinds
    return bool(kinds) and not any(run.manifest.get("kind") in kinds for run in runs)


def _run(run: Run) -> dict[str, Any]:
    """What the page says of one run."""
    lead, more = description.first_sentence(description.paragraph(run))
    return {
        "name": run.name,
        "title": run.manifest.get("title") or run.name,
        "lead": lead,
        "more": more,
        "warnings": description.warnings(run),
        "provenance": description.provenance(run),
        "arms": description.arm_rows(run),
        "rates": description.rate_table(run),
        "budgets": budgets.budget_rows(run),
    }
