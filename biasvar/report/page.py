"""The page and the files beside it: drawn into a temporary folder first, then moved into place."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from tqdm import tqdm

from biasvar.errors import RecordError
from biasvar.records import Run, open_run
from biasvar.report import describe, style, summary
from biasvar.report.claims.table import claims_table
from biasvar.report.figure import Figure
from biasvar.report.figures import FIGURES, load

TEMPLATES = Path(__file__).parent / "templates"
SUMMARY = "summary.json"
FLOATS = "%.10g"  # beyond what any number here is known to, and the same on every machine


def open_runs(directories: Sequence[Path]) -> list[Run]:
    """Open runs for one report; two of the same name are told apart by their directories.

    Raises as `biasvar.open_run` does, and RecordError for a manifest that a report cannot be made of.
    """
    unique: dict[Path, Path] = {}
    for directory in directories:
        unique.setdefault(directory.resolve(), directory)
    runs = [open_run(directory) for directory in unique.values()]
    for run in runs:
        _check(run)
    names = [run.name for run in runs]
    seen: list[str] = []
    for run in runs:
        name = run.name if names.count(run.name) == 1 else f"{run.name} ({run.directory.name})"
        while name in seen:
            name += " again"
        seen.append(name)
    return [Run(run.directory, {**run.manifest, "name": name}) for run, name in zip(runs, seen, strict=True)]


def _check(run: Run) -> None:
    """Raises RecordError, naming the key, where the manifest holds something else than what the report reads there."""

    def need(held: bool, key: str, value: Any, what: str) -> None:
        if not held:
            path = run.directory / "manifest.json"
            raise RecordError(f"{path} is damaged: {key} is {value!r:.60}, it must be {what}; restore it")

    replicas, claims = run.manifest.get("replicas"), run.manifest.get("claims")
    whole = isinstance(replicas, int) and not isinstance(replicas, bool)
    need(replicas is None or whole, "replicas", replicas, "a whole number")
    for arm, entry in run.manifest["arms"].items():
        need(isinstance(entry, dict), f"arms.{arm}", entry, "an object")
    need(claims is None or isinstance(claims, dict), "claims", claims, "an object")
    for name, entries in (claims or {}).items():
        listed = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
        need(listed, f"claims.{name}", entries, "a list of objects")
        for entry in entries:
            for role, arms in entry.items():
                named = all(isinstance(arm, str) for arm in (arms if isinstance(arms, list) else [arms]))
                need(named, f"claims.{name}, {role}", arms, "the name of an arm or a list of them")


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
        claims.to_csv(folder / "claims.csv", index=False, lineterminator="\n", float_format=FLOATS)
        write_summary(folder, summary.summarise(runs, claims))
        (folder / "index.html").write_text(_page(runs, drawn, claims), encoding="utf-8")
    return out / "index.html"


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
    drawing = figure.draw(frame)
    frame.to_csv(folder / f"{figure.name}.csv", index=False, lineterminator="\n", float_format=FLOATS)
    picture = io.BytesIO()
    style.lay_out(drawing)
    style.save(drawing, picture, "png")
    for fmt in formats:
        path = folder / f"{figure.name}.{fmt}"
        if fmt == "png":
            path.write_bytes(picture.getvalue())
        else:
            style.save(drawing, path, fmt)
    width, height = drawing.get_size_inches()
    return about | {
        "caption": figure.caption(frame, runs),
        "picture": base64.b64encode(picture.getvalue()).decode(),
        "width": round(100 * width),
        "height": round(100 * height),
        "files": [f"{figure.name}.{suffix}" for suffix in ("csv", *formats)],
    }


def _page(runs: list[Run], drawn: list[dict[str, Any]], claims: pd.DataFrame) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    about = [
        {
            "name": run.name,
            "title": run.manifest.get("title") or run.name,
            "paragraph": describe.paragraph(run),
            "warnings": describe.warnings(run),
            "provenance": describe.provenance(run),
            "arms": describe.arm_rows(run),
            "rates": describe.rate_table(run),
        }
        for run in runs
    ]
    return environment.get_template("index.html").render(
        title=about[0]["title"] if len(about) == 1 else "Report on " + ", ".join(str(run["name"]) for run in about),
        runs=about,
        figures=[figure for figure in drawn if "picture" in figure],
        missing=[figure for figure in drawn if "picture" not in figure],
        outcome=describe.outcome(claims),
        claims=describe.claim_groups(claims),
    )


@contextmanager
def into_place(out: Path) -> Iterator[Path]:
    """A temporary folder whose files move to `out` at the end; on an error nothing is left of it.

    Its summary.json gets a list of the files. Those that the summary.json in `out` lists, and that are not written
    again, are removed: figures of an earlier report that would pass for this one's. Any other file is left alone.
    """
    there = out.absolute().parent
    while not there.exists():
        there = there.parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=".report-", dir=there))
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(out)) from None
    try:
        yield folder
        names = sorted(path.name for path in folder.iterdir())
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        write_summary(folder, content | {"files": names})
        out.mkdir(parents=True, exist_ok=True)
        former = _written(out)
        # The page last: until it is there, the page of an older report stands.
        for name in sorted(names, key=lambda name: (name == "index.html", name)):
            os.replace(folder / name, out / name)
        for name in former - set(names):
            (out / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_summary(folder: Path, content: dict[str, Any]) -> None:
    """Write summary.json."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def _written(out: Path) -> set[str]:
    """The files in a folder that an earlier report or card wrote there, as its summary.json says; none without one."""
    try:
        content = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    ours = isinstance(content, dict) and "biasvar" in content and isinstance(content.get("files"), list)
    names = {name for name in content["files"] if isinstance(name, str)} if ours else set()
    return {name for name in names if Path(name).name == name and not (out / name).is_dir()}
