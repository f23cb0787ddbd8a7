"""The report on a directory of redraws: one page of what they say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.errors import RecordError
from biasvar.messages import command, first_few
from biasvar.records import Redraws, Run, open_redraws
from biasvar.records.redraws import holds_redraws
from biasvar.report import style
from biasvar.report.claims.over_redraws import claims_over_redraws, redrawn_in_words, same_test_rows
from biasvar.report.figures import load
from biasvar.report.output import PAGE, into_place, json_value, write_figure, write_page, write_summary, write_table
from biasvar.report.statistics.estimates import final_accuracy
from biasvar.report.statistics.teacher_accuracy import accuracy_of_its_teacher
from biasvar.report.summary import DIGITS, PROVENANCE, header, statements_of
from biasvar.report.text import description
from biasvar.report.text.claims import rules
from biasvar.report.text.numbers import counted, plain_number
from biasvar.report.text.page import judged, shared
from biasvar.study.claims import JUDGED

NAME = "redraws"  # of the only figure that is drawn of redraws
OVER = (
    "Here every interval is over redraws of the study from the rows that its data set has: they overlap between "
    "redraws, so the verdicts hold for these rows, and what other rows would add is not in the intervals."
)
OF_ONE = ("seed", "study_hash")
"""What the provenance of a run says of it alone."""


def redraws_among(directories: Sequence[Path], figures: Sequence[str] = ()) -> Redraws | None:
    """The redraws that a directory holds; None if none of the directories is one of redraws.

    Raises:
        RecordError: One of several directories holds redraws, which are reported alone; other figures are asked for; or
            as `open_redraws` does.
    """
    found = [directory for directory in directories if holds_redraws(directory)]
    if not found:
        return None
    if len(directories) > 1:
        raise RecordError(f"{found[0]} holds redraws, which are reported alone: name no other directory beside it")
    others = [name for name in figures if name != NAME]
    if others:
        raise RecordError(
            f"{found[0]} holds redraws, of which only the figure {NAME} is drawn, not {first_few(others)}: name one of "
            f"its runs, such as {found[0] / 'redraw=000'}, for all figures"
        )
    redraws = open_redraws(found[0])
    if not redraws.runs:
        raise RecordError(f"{found[0]} holds no redraw that was begun: run the study again")
    for run in redraws.runs:
        _ = run.study  # held against the manifest when it is read
    return redraws


def write_redraws(redraws: Redraws, out: Path, *, formats: Sequence[str]) -> Path:
    """Write the figure, the claims, the summary and the page of redraws into `out`; returns the page's path.

    As `biasvar.report.page.write_report` does for runs.
    """
    with into_place(out) as folder, style.context():
        claims = claims_over_redraws(redraws)
        # Without what is said of one run alone; of no claims every column would go.
        told = claims if claims.empty else claims.dropna(axis="columns", how="all")
        drawn = write_figure(load(NAME), redraws.runs, folder, formats)
        write_table(folder, "claims", told)
        write_summary(folder, _summary(redraws, told))
        write_page(
            folder,
            "redraws.html",
            title=redraws.manifest.get("title") or redraws.name,
            runs=[_described(redraws)],
            redraws=_listed(redraws),
            report=command("report"),
            missing=[] if "picture" in drawn else [drawn],
            samples=[],
            **shared([drawn] if "picture" in drawn else [], redraws.runs),
            **judged(claims, redraws.runs) | {"rules": rules(redraws.runs) | {"judged": f"{JUDGED} {OVER}"}},
        )
    return out / PAGE


def _described(redraws: Redraws) -> dict[str, Any]:
    """What the page says of the redraws as if they were one run; arms and draw are those of the first."""
    first = redraws.runs[0]
    drawn = (
        f"Everything was drawn {redraws.count} times, each time from a seed of its own: {redrawn_in_words(redraws)}."
    )
    rows = " Only the test rows are the same in all redraws, those of the official test split: an error over redraws "
    rows += "says nothing of other test rows."
    said_of_claims = " Claims are judged by their mean over redraws, with Student's t interval; n counts redraws."
    return {
        "name": redraws.name,
        "title": redraws.manifest.get("title") or redraws.name,
        "lead": drawn,
        "more": f"{rows if same_test_rows(redraws) else ''}{said_of_claims}".strip(),
        "one": description.paragraph(first),
        "warnings": _warnings(redraws),
        "provenance": _provenance(redraws),
        "arms": [{**row, **_over_redraws(redraws, row["arm"])} for row in description.arm_rows(first)],
        "rates": None,
        "budgets": [],
    }


def _warnings(redraws: Redraws) -> list[str]:
    lines = [f"{run.directory.name}: {line}" for run in redraws.runs for line in description.warnings(run)]
    if redraws.missing:
        lines.append(f"{counted(len(redraws.missing), 'redraw')} not begun: {first_few(redraws.missing)}.")
    return lines


def _provenance(redraws: Redraws) -> list[tuple[str, str]]:
    """Names and values of where the numbers come from: of the study, and what each redraw's run says."""
    said: dict[str, list[str]] = {}
    for run in redraws.runs:
        for name, value in description.provenance(run):
            if name not in ("Run", "Study hash", "Seed"):
                said.setdefault(name, []).append(value)
    manifest = redraws.manifest
    facts = [("Study", redraws.name), ("Study hash", str(manifest["study_hash"])), ("Seed", str(manifest.get("seed")))]
    facts.append(("Redraws", str(redraws.count)))
    rates = _rates(redraws)
    facts += [("Learning rates", rates)] if rates else []
    return facts + [(name, "; ".join(dict.fromkeys(values))) for name, values in said.items()]


def _rates(redraws: Redraws) -> str:
    """How often each learning rate was chosen, by family of losses; "" where none was chosen."""
    counts: dict[str, dict[float, int]] = {}
    for run in redraws.runs:
        if run.tuning is not None:
            for family, rate in run.tuning.query("chosen")[["family", "learning_rate"]].drop_duplicates().to_numpy():
                chosen = counts.setdefault(str(family).replace("_", " "), {})
                chosen[float(rate)] = chosen.get(float(rate), 0) + 1
    said = []
    for family, chosen in counts.items():
        times = ", ".join(f"{rate:g} in {count}" for rate, count in sorted(chosen.items()))
        said.append(f"{family}: {times} redraws")
    return "; ".join(said) and f"chosen anew in each redraw on its validation rows; {'; '.join(said)}"


def _over_redraws(redraws: Redraws, arm: str) -> dict[str, str]:
    """Rates, accuracy and the teacher's accuracy of an arm over redraws, for the table of arms."""
    own = [found.value for run in redraws.runs if arm in run.arms and (found := accuracy_of_its_teacher(run, arm))]
    means = [mean_interval(values) if values else None for values in (_means(redraws.runs, arm), own)]
    said = ["–" if one is None else f"{one.estimate:.3f}{_error(one.stderr)}, n = {one.n}" for one in means]
    return {"rate": _rates_of(redraws, arm), "accuracy": said[0], "own": said[1]}


def _error(stderr: float) -> str:
    return f" ± {stderr:.3f}" if math.isfinite(stderr) else ""


def _rates_of(redraws: Redraws, arm: str) -> str:
    """The learning rates that an arm had in one redraw or another."""
    rates = {run.entry(arm).learning_rate for run in redraws.runs if arm in run.arms}
    return ", ".join(plain_number(rate) for rate in sorted(rate for rate in rates if rate is not None)) or "–"


def _listed(redraws: Redraws) -> list[dict[str, str]]:
    """Each redraw with its seed and its state, and the accuracy of its arms."""
    place = redraws.directory
    rows = []
    for number, seed in enumerate(redraws.manifest["seeds"]):
        folder = f"redraw={number:03d}"
        run = next((run for run in redraws.runs if run.directory.name == folder), None)
        status = "not begun" if run is None else str(run.manifest.get("status"))
        rows.append({"folder": folder, "path": str(place / folder), "seed": str(seed), "status": status})
    return rows


def _summary(redraws: Redraws, claims: Any) -> dict[str, Any]:
    """Everything in summary.json."""
    arms = list(dict.fromkeys(arm for run in redraws.runs for arm in run.arms))
    first = redraws.runs[0].manifest
    content = {
        "title": redraws.manifest.get("title"),
        "kind": "redraws",
        "status": redraws.manifest["status"],
        **statements_of(redraws.runs[0]),
        "claims_fixed_before_the_run": all(
            said["claims_fixed_before_the_run"] for said in map(statements_of, redraws.runs)
        ),
        "arms": {arm: _of_arm(redraws.runs, arm) for arm in arms},
        "claims": [
            {key: json_value(value, DIGITS) for key, value in row.items()}
            for row in claims.drop(columns="run").to_dict("records")
        ],
        "redraws": {
            run.directory.name: {
                **{key: run.manifest.get(key) for key in (*OF_ONE, "status", "commit")},
                "failed_replicas": {arm: failed for arm in run.arms if (failed := run.arm(arm).get("failed_replicas"))},
            }
            for run in redraws.runs
        },
        "provenance": {
            **{key: first.get(key) for key in PROVENANCE if key not in ("sessions", *OF_ONE)},
            **{key: redraws.manifest.get(key) for key in OF_ONE},
        },
    }
    return {**header(redraws.runs), "runs": {redraws.name: content}}


def _means(runs: Sequence[Run], arm: str) -> list[float]:
    """An arm's mean test accuracy in every redraw that has it."""
    return [float(value.mean()) for run in runs if arm in run.arms and len(value := final_accuracy(run, arm))]


def _of_arm(runs: Sequence[Run], arm: str) -> dict[str, Any]:
    """An arm's test accuracy as the mean over redraws, with its error over them."""
    entry = runs[0].arm(arm) if arm in runs[0].arms else {}
    means = _means(runs, arm)
    content = {key: entry.get(key) for key in ("label", "role", "loss", "teacher", "regime", "temperature", "alpha")}
    if not means:
        return content
    over = mean_interval(means)
    numbers = {"value": over.estimate, "stderr_redraws": over.stderr, "n_redraws": over.n}
    return content | {"accuracy": {key: json_value(value, DIGITS) for key, value in numbers.items()}}
