"""The report on runs: figures, tables, summary and page, written together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from biasvar.messages import all_visible
from biasvar.records import Run, open_run
from biasvar.report import style, summary
from biasvar.report.claims.table import claims_table
from biasvar.report.figure import Figure
from biasvar.report.figures import FIGURES, load
from biasvar.report.output import PAGE, into_place, write_drawing, write_page, write_summary, write_table
from biasvar.report.text import description
from biasvar.report.text.claims import claim_groups, outcome


def open_runs(directories: Sequence[Path]) -> list[Run]:
    """Open runs for one report; two of the same name are told apart by their directories.

    Raises as `biasvar.open_run` does, and RecordError where a manifest contradicts its study file.
    """
    unique: dict[Path, Path] = {}
    for directory in directories:
        unique.setdefault(directory.resolve(), directory)
    runs = [open_run(directory) for directory in unique.values()]
    names = [run.name for run in runs]
    seen: list[str] = []
    for run in runs:
        name = run.name if names.count(run.name) == 1 else f"{run.name} ({run.directory.name})"
        while name in seen:
            name += " again"
        seen.append(name)
    named = [Run(run.directory, all_visible({**run.manifest, "name": n})) for run, n in zip(runs, seen, strict=True)]
    for run in named:
        _ = run.study  # held against the manifest when it is read
    return named


def write_report(runs: list[Run], out: Path, *, figures: Sequence[str], formats: Sequence[str]) -> Path:
    """Write figures, tables, summary and page into `out`; returns the page's path.

    Everything is made in a temporary folder on the same disk and moved into place at the end, so a report that fails
    leaves an older one as it was. Files in `out` that no report wrote are left alone; see `into_place`.

    Args:
        figures: names out of `FIGURES`.
        formats: of "png", "svg" and "pdf", the files to write for each figure; the page holds its own pictures.
    """
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; name a directory for the report")
    with into_place(out) as folder, style.context():
        progress = tqdm(figures, disable=None, unit="figure", dynamic_ncols=True)
        drawn = [_figure(load(name), runs, folder, formats) for name in progress]
        claims = claims_table(runs)
        write_table(folder, "claims", claims)
        write_summary(folder, summary.summarise(runs, claims))
        described = [_run(run) for run in runs]
        names = ", ".join(run.name for run in runs)
        write_page(
            folder,
            "report.html",
            title=described[0]["title"] if len(runs) == 1 else f"Report on {names}",
            runs=described,
            figures=[figure for figure in drawn if "picture" in figure],
            missing=[figure for figure in drawn if "picture" not in figure],
            outcome=outcome(claims),
            claims=claim_groups(claims),
        )
    return out / PAGE


def _figure(figure: Figure, runs: list[Run], folder: Path, formats: Sequence[str]) -> dict[str, Any]:
    """Draw one figure into the folder; returns what the page says of it."""
    about: dict[str, Any] = {
        "name": figure.name,
        "number": FIGURES.index(figure.name) + 1,
        "title": figure.title,
        "how_to_read": figure.how_to_read,
        "needs": figure.needs,
    }
    frame = figure.collect(runs)
    if frame.empty:
        return about
    picture = write_drawing(folder, figure.name, figure.draw(frame), formats)
    write_table(folder, figure.name, frame)
    table = f"{figure.name}.csv"
    about |= {"caption": figure.caption(frame, runs), "numbers_in": table}
    return about | picture | {"files": [table, *picture["files"]]}


def _run(run: Run) -> dict[str, Any]:
    """What the page says of one run."""
    return {
        "name": run.name,
        "title": run.manifest.get("title") or run.name,
        "paragraph": description.paragraph(run),
        "warnings": description.warnings(run),
        "provenance": description.provenance(run),
        "arms": description.arm_rows(run),
        "rates": description.rate_table(run),
    }
