"""Every claim of the ledger with what published reports say of it: one table for a README, one of all numbers.

A published report is a folder with `claims.csv` and `summary.json`, as `biasvar-report RUN --out FOLDER` leaves them.
The tables are made of these files alone, so that no verdict stands anywhere but where it was measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from biasvar.errors import BiasvarError
from biasvar.files import write_bytes
from biasvar.messages import visible
from biasvar.report import published_pictures
from biasvar.report.claims.words import FAILS, HOLDS
from biasvar.report.deciding import deciding
from biasvar.report.papers import papers_index
from biasvar.report.text.claims import LEVELS, VERDICTS, claim_row
from biasvar.report.text.numbers import counted, decimals, level, signed
from biasvar.study.claims import LEDGER, REVISION, Claim

README, NUMBERS = "README.md", "claims.md"
BEGIN, END = "<!-- claims: made by `biasvar-report --ledger`, not by hand -->", "<!-- end of claims -->"
PAPERS_BEGIN, PAPERS_END = (
    "<!-- papers: made by `biasvar-report --ledger`, not by hand -->",
    "<!-- end of papers -->",
)
EARLIER, FOUND = "¹", "²"
"""Mark verdicts by an earlier revision of the rules, and what such a one could not tell from luck in a search."""
TEXTS = ("id", "arms", "test", "direction", "overall", "verdict")
NUMBERS_IN = ("effect", "low", "high", "stderr", "threshold", "level")
COUNTS = ("n", "n_replicas", "n_samples", "n_teachers", "designs_tried")
LATER = ("low_replicas", "high_replicas", "stderr_samples", "stderr_crossed", *COUNTS)
"""Columns of a table of claims: texts and numbers that all have, and numbers that older ones have not."""
IN_CSV = (
    "In each folder's `claims.csv` a test has its error over all that was drawn as `stderr_crossed`, by which it is\n"
    "judged and whose interval is `low` to `high`; `stderr` is its error over replicas alone, for these rows and\n"
    "these teachers, with `low_replicas` to `high_replicas`; `stderr_samples` and `stderr_teachers` are those over\n"
    "test rows and over teachers.\n"
)
ERRORS = (
    "± is one standard error: over all that was drawn (replicas, test rows and, where there are several, teachers)\n"
    "where a report has that, else over replicas alone, or what [claims.md](claims.md) says of the test. Beside a\n"
    "verdict stand the numbers of the tests that decided it, with the arm where the teacher does not tell them apart.\n"
)
NOTES = {
    EARLIER: "By an earlier revision of the rules, over replicas alone, until the study is run anew.",
    FOUND: "Found on a seed on which designs had been tried, which confirms nothing.",
}


@dataclass(frozen=True, eq=False)
class Report:
    """One published report: where it is, by which revision of the rules, its table of claims, and its arms' labels."""

    folder: str
    title: str
    revision: int
    claims: pd.DataFrame
    labels: dict[str, str]


def write_ledger(directory: Path) -> Path:
    """Write the claims into README.md between their two marks, and all numbers into claims.md; returns README.md.

    A README.md that has the marks of the index of papers too gets that as well, and those with the marks of pictures
    under the directory theirs. Raises BiasvarError where there is no
    README.md with the marks of the claims, or no published report, or one that is damaged.
    """
    reports = published(directory)
    page = directory / README
    try:
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
    except UnicodeDecodeError as error:
        raise BiasvarError(f"{page} is no text in UTF-8 ({error})") from None
    text = _between(text, BEGIN, END, overview(reports), page)
    if PAPERS_BEGIN in text or PAPERS_END in text:
        text = _between(text, PAPERS_BEGIN, PAPERS_END, papers_index(directory), page)
    tests = numbers(reports)  # before anything is written
    shown = {
        place: _between(
            text if place == page else place.read_text(encoding="utf-8"), published_pictures.BEGIN,
            published_pictures.END, published_pictures.pictures(place.parent), place,
        )
        for place in published_pictures.pages(directory)
    }  # fmt: skip
    text = shown.pop(page, text)
    for place, with_pictures in shown.items():
        write_bytes(place, with_pictures.encode())
    write_bytes(directory / NUMBERS, tests.encode())
    write_bytes(page, text.encode())
    return page


def _between(text: str, begin: str, end: str, table: str, page: Path) -> str:
    """The text with a table in place of what stood between two marks."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise BiasvarError(
            f"{page} must hold the lines {begin} and {end}, once and in this order: the table goes between"
        )
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}{end}{rest.split(end)[1]}"


def published(directory: Path) -> list[Report]:
    """The reports under a directory with a table of claims, by folder."""
    found = [_report(path, directory) for path in sorted(directory.rglob("claims.csv"))]
    if not found:
        raise BiasvarError(f"{directory} holds no published report: make one with `biasvar-report RUN --out FOLDER`")
    return [report for report in found if len(report.claims)]


def _report(table: Path, root: Path) -> Report:
    beside = table.parent / "summary.json"
    try:
        claims = pd.read_csv(table)
        summary = json.loads(beside.read_text(encoding="utf-8"))
        titles = [str(run.get("title") or name) for name, run in summary["runs"].items()]
        arms = [arm for run in summary["runs"].values() for arm in (run.get("arms") or {}).items()]
        labels = {str(name): str(arm.get("label") or name) for name, arm in arms}
        about = summary.get("ledger")
        revision = 1 if about is None else int(about["revision"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BiasvarError(f"{table.parent} is no whole report ({error}); publish it anew") from None
    lacking = {*TEXTS, *NUMBERS_IN, "regime", "unit"} - set(claims.columns)
    if lacking:
        raise BiasvarError(f"{table} lacks the columns {', '.join(sorted(lacking))}; publish the report anew")
    for column in claims.columns:
        _check_column(claims[column], str(column), table)
    return Report(table.parent.relative_to(root).as_posix(), "; ".join(titles), revision, claims, labels)


def _check_column(values: pd.Series[Any], column: str, table: Path) -> None:
    """Raise BiasvarError, naming the row, for what a column of a table of claims cannot hold."""
    wanted = ""
    if column in ("overall", "verdict"):
        wanted, wrong = f"one of {', '.join(VERDICTS)}", ~values.isin(VERDICTS)
    elif column in TEXTS:
        wanted, wrong = "a text", values.isna()
    elif column in (*NUMBERS_IN, *LATER):
        wanted, found = "a number", pd.to_numeric(values, errors="coerce")
        wrong = found.isna() & values.notna()
        if column in COUNTS:
            wanted, wrong = "a count", wrong | (found < 0) | found.abs().eq(math.inf)
    if wanted and wrong.any():
        row = int(wrong.to_numpy().argmax())
        given = values.tolist()[row]
        raise BiasvarError(
            f"{table}, row {row + 1}, column {column}: must be {wanted}, not {given!r}; publish the report anew"
        )


def overview(reports: list[Report]) -> str:
    """Markdown: one row a claim, with each report's verdicts, effects with their standard errors, and counts."""
    lines = ["", IN_CSV, "| claim | reports and verdicts |", "|---|---|"]
    for claim in LEDGER:
        said = [
            f"[{report.folder}]({report.folder}){_mark(report)}: {'; '.join(_verdicts(claim, report, part))}"
            for report, part in _of(claim, reports)
        ]
        lines.append(f"| **{claim.id}** {_cell(claim.sentence)} | {'<br>'.join(said) or 'not tested yet'} |")
    table = "\n".join(lines) + "\n"
    table += f"\n{ERRORS}" if " ± " in table else ""
    for mark, meaning in NOTES.items():
        table += f"\n{mark} {meaning}\n" if mark in table else ""
    return table


def numbers(reports: list[Report]) -> str:
    """Markdown: one row a test, with effect, interval, that over replicas alone, counts, designs tried and detail."""
    lines = [
        "# Every test of every claim",
        "",
        "Made by `biasvar-report --ledger figures`, not by hand. Intervals are over all that was drawn (replicas, test",
        "rows and, where there are several, teachers), widened for the number of tests; beside them, over replicas.",
    ]
    for claim in LEDGER:
        lines += ["", f"## {claim.id}: {claim.sentence}", "", f"{claim.source}. Rule: {claim.rule}.", ""]
        rows = [_row(report, row) for report, part in _of(claim, reports) for row in part.to_dict("records")]
        if not rows:
            lines.append("Not tested yet.")
            continue
        heads = ("report", "test", "effect", "interval", "replicas alone", "from", "verdict")
        lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *rows]
    return "\n".join(lines) + "\n"


def _of(claim: Claim, reports: list[Report]) -> Iterator[tuple[Report, pd.DataFrame]]:
    for report in reports:
        part = report.claims[report.claims["id"] == claim.id]
        if len(part):
            yield report, part


def _mark(report: Report) -> str:
    return f" {EARLIER}" if report.revision < REVISION else ""


def _verdicts(claim: Claim, report: Report, part: pd.DataFrame) -> list[str]:
    """What a claim's comparisons came to, by verdict: "holds (all +.026 ± .023 nats)", the effects that decided it."""
    shown = deciding(claim, part, report.labels)
    several = part["regime"].nunique() > 1
    said = []
    for verdict in VERDICTS:
        mine = [row for row in shown if row["overall"] == verdict]
        if mine:
            units = [row["unit"] if isinstance(row["unit"], str) else "" for row in mine]
            effects = [f"{_whose(row, several)}{_effect(row)}" for row in mine]
            unit = units[0]
            if len(set(units)) > 1:
                effects, unit = [f"{effect} {of}".strip() for effect, of in zip(effects, units, strict=True)], ""
            word = f"**{verdict}**" if verdict == FAILS else verdict
            luck = f" {FOUND}" if verdict == HOLDS and claim.searched and report.revision < REVISION else ""
            between = "; " if mine[0]["name"] else ", "
            said.append(f"{word}{luck} ({between.join(effects)}{f' {unit}' if unit else ''})")
    return said


def _whose(row: dict[Any, Any], several: bool) -> str:
    """Which teacher and which arm a number is of, as far as it takes: "per replica ", "LS 0.1: "."""
    regime = _regime(row) if several else ""
    if row["name"]:
        return f"{', '.join(filter(None, (regime, _cell(row['name']))))}: "
    return f"{regime} " if regime else ""


def _regime(row: dict[Any, Any]) -> str:
    """Which teacher, in a word or two: "all training rows", "per replica"."""
    return str(row["regime"]).removeprefix("fixed, ")


def _effect(row: dict[Any, Any]) -> str:
    effect, stderr = float(row["effect"]), _stderr(row)
    if not math.isfinite(effect):
        return "no number"
    places = decimals(stderr)
    error = f" ± {stderr:.{places}f}" if math.isfinite(stderr) else ""
    return f"{(level if row['unit'] in LEVELS else signed)(effect, places)}{error}"


def _stderr(row: dict[Any, Any]) -> float:
    crossed = float(row.get("stderr_crossed", math.nan))
    return crossed if math.isfinite(crossed) else float(row["stderr"])


def _row(report: Report, row: dict[Any, Any]) -> str:
    known = claim_row({"said": "", "detail": "", **row})
    interval = f"{known['interval']} ({known['level']})" if known["interval"] else "–"
    unit = f" {known['unit']}" if known["unit"] else ""
    tried = row.get("designs_tried", math.nan)
    designs = f", {counted(int(tried), 'design')} tried" if pd.notna(tried) and tried > 1 else ""
    verdict = f"{known['verdict']} {known['said']}".strip()
    detail = f" ({known['detail']})" if known["detail"] else ""
    cells = (
        f"[{report.folder}]({report.folder}){_mark(report)}", known["test"].removeprefix("'"), known["effect"] + unit,
        interval, known["alone"] or "–", (known["n"] or "–") + designs, verdict + detail,
    )  # fmt: skip
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return visible(text).replace("|", "\\|")
