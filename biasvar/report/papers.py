"""An index of papers: every figure and table that is known of them, the study that answers it, and its state.

What the papers show and which study answers it stands in `papers.yaml`; the states follow from what is published.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from biasvar.errors import BiasvarError
from biasvar.files import load_yaml

FILE = Path(__file__).parent / "papers.yaml"
AS_PUBLISHED, SMALLER, READY = "as published", "smaller", "ready but not run"
REASONS = {
    "no study": "nothing here answers it, for the reason given",
    "source not found": "what the paper shows is not known here",
    "out of scope": "nothing that a study of samples could answer",
}
STATES = {
    AS_PUBLISHED: "run with the paper's networks and data, but for what is said of the study below, under Commands",
    SMALLER: "run on less data, smaller networks or, where the paper's were not found, settings of ours",
    READY: "there is a study file, and no report on it",
    **REASONS,
}
"""Every state an item can have, and what it means; those of REASONS are written in papers.yaml, the others derived."""
ITEMS = ("in the paper", "shows", "state", "study, or why there is none", "figure")
COMMANDS = ("study, and what it is", "commands")


def papers_index(directory: Path) -> str:
    """Markdown: a table a paper, one row for each study of each of its figures and tables, and every study's commands.

    A study counts as run where a report under `directory` is of a run of its name. Links are relative to `directory`,
    study files being in `../experiments`. Raises BiasvarError where a `summary.json` is damaged.
    """
    folders = _folders(directory)
    lines = ["", *(f"- **{state}**: {meaning}" for state, meaning in STATES.items())]
    for paper in read()["papers"]:
        lines += ["", f"### {paper['paper']}", "", f"Known from: {paper['known']}.", ""]
        lines += _table(ITEMS, (row for item in paper["items"] for row in _rows(item, directory, folders)))
    lines += ["", "### Commands", "", "For all figures of a study that the tables above name.", ""]
    lines += _table(COMMANDS, map(_commands, read()["studies"]))
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=1)
def read() -> dict[str, Any]:
    """`papers.yaml`: `studies` (by file under experiments/, .yaml left out) and `papers` with their items."""
    content: dict[str, Any] = load_yaml(FILE.read_text(encoding="utf-8"))
    return content


def file_of(study: str) -> str:
    """The file of a study: "experiments/digits.yaml", "experiments/bias_variance/linear_network.py"."""
    return f"experiments/{study}" if study.endswith(".py") else f"experiments/{study}.yaml"


def figures_of(study: str) -> list[str]:
    """The figures of a study that items of the index name, in their order there."""
    items = (item for paper in read()["papers"] for item in paper["items"])
    return list(dict.fromkeys(item["studies"][study] for item in items if study in item.get("studies", {})))


def _folders(directory: Path) -> dict[str, str]:
    """The folder of the report on each run, the first by name where there are several."""
    folders: dict[str, str] = {}
    for path in sorted(directory.rglob("summary.json")):
        try:
            names = list(json.loads(path.read_text(encoding="utf-8"))["runs"].keys())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BiasvarError(f"{path.parent} is no whole report ({error}); publish it anew") from None
        for name in names:
            folders.setdefault(name, path.parent.relative_to(directory).as_posix())
    return folders


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ("---",) * len(heads), *rows)]


def _rows(item: dict[str, Any], directory: Path, folders: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """An item's rows; after the first, what the item is stays empty."""
    head = (item["item"], item["shows"])
    if "studies" not in item:
        yield (*head, item["state"], item["reason"], "")
        return
    for study, figure in item["studies"].items():
        state, shown = _published(study, figure, directory, folders)
        yield (*head, state, f"[{study}](../{file_of(study)})", shown)
        head = ("", "")


def _published(study: str, figure: str, directory: Path, folders: dict[str, str]) -> tuple[str, str]:
    """The state of a study, and its figure: linked where it is published, marked where the report is without it."""
    known = read()["studies"][study]
    folder = known.get("folder") or folders.get(known["run"])
    if folder is None or not (directory / folder).is_dir():
        return READY, figure
    picture = f"{folder}/{figure}.png"
    drawn = (directory / picture).is_file()
    return known.get("scale", SMALLER), f"[{figure}]({picture})" if drawn else f"{figure} (not published)"


def _commands(study: str) -> tuple[str, ...]:
    """A study with its size, and what to type for the figures that the index names, from the data on."""
    known = read()["studies"][study]
    if "folder" in known:
        lines = [f"python {file_of(study)} --out figures/{known['folder']}"]
    else:
        lines = [f"python experiments/{known['first']}"] if "first" in known else []
        lines.append(f"python -m biasvar.run {file_of(study)}")
        lines.append(f"python -m biasvar.report runs/{known['run']} --figures {','.join(figures_of(study))}")
    return f"{study}<br>{known['size']}", "<br>".join(f"`{line}`" for line in lines)
