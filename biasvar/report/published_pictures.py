"""The pictures of published reports in the README.md above them, with how to read them."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path

from biasvar.errors import BiasvarError
from biasvar.report.figures import FIGURES, load

BEGIN, END = "<!-- pictures: made by `biasvar-report --ledger`, not by hand -->", "<!-- end of pictures -->"
WIDTH = 620  # pixels


def pages(directory: Path) -> Iterator[Path]:
    """The README.md files under a directory, itself included, that have a place for pictures."""
    for page in sorted(directory.rglob("README.md")):
        if BEGIN in page.read_text(encoding="utf-8"):
            yield page


def pictures(folder: Path) -> str:
    """The pictures of the reports in a folder and in those below it, in Markdown: a heading for each report.

    Raises BiasvarError for a summary.json that is damaged.
    """
    parts: list[str] = []
    told: set[str] = set()
    for summary in sorted(folder.rglob("summary.json"), key=lambda path: (path.parent != folder, str(path))):
        there = [name for name in FIGURES if (summary.parent / f"{name}.png").is_file()]
        if not there:
            continue
        place = summary.parent.relative_to(folder).as_posix()
        title = _title(summary)
        parts.append(f"### {title}\n" if place == "." else f"### {place}: {title}\n")
        for name in there:
            figure = load(name)
            source = f"{name}.png" if place == "." else f"{place}/{name}.png"
            parts.append(f"**{figure.title}**")
            if name not in told and isinstance(figure.how_to_read, str):  # else it hangs on what is shown
                parts.append(figure.how_to_read)
            told.add(name)
            parts.append(f'\n<img src="{source}" alt="{html.escape(figure.title)}" width="{WIDTH}">\n')
    return "\n".join(parts)


def _title(summary: Path) -> str:
    try:
        runs = json.loads(summary.read_text(encoding="utf-8"))["runs"]
        return ", ".join(str(run.get("title") or name) for name, run in runs.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BiasvarError(f"{summary.parent} is no whole report ({error}); publish it anew") from None
