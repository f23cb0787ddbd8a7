"""A run in words, from its manifest: what the page says before and after the figures."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import biasvar
from biasvar.analysis.statistics.comparison import mean_interval
from biasvar.analysis.statistics.intervals import Interval
from biasvar.records import Run
from biasvar.records.stored_files import incomplete_records
from biasvar.report.arms.description import arm_label, loss_in_words
from biasvar.report.arms.drawn import UNTAUGHT
from biasvar.report.arms.sweep import sweep_in_words
from biasvar.report.arms.teachers import teacher_label
from biasvar.report.statistics.estimates import final_level
from biasvar.report.statistics.left_by_masks import hardly_taught
from biasvar.report.statistics.teacher_accuracy import accuracy_of_its_teacher
from biasvar.report.text.budgets import not_converged
from biasvar.report.text.captions import draw_note, replica_count
from biasvar.report.text.numbers import counted, plain_number
from biasvar.report.text.recorded import recorder_warnings
from biasvar.study.claims import ledger_hash

REPLICAS_FOR_A_RATE = 8
"""Replicas on which a learning rate should be chosen: the choice carries an error of its own."""


def paragraph(run: Run) -> str:
    """What the run is: data, arms, replicas, draw, teachers, and the rows that everything is measured on."""
    kind = run.manifest.get("kind")
    return {"study": _study, "import": _import}.get(str(kind), _recorder)(run)


def first_sentence(paragraph: str) -> tuple[str, str]:
    """A paragraph's first sentence, and the rest.

    >>> first_sentence("One arm. Each has 2.5 of them. More.")
    ('One arm.', 'Each has 2.5 of them. More.')
    """
    first, _, rest = paragraph.partition(". ")
    return (f"{first}.", rest) if rest else (paragraph, "")


def _study(run: Run) -> str:
    manifest = run.manifest
    data = manifest.get("data") or {}
    replicas = replica_count(run)
    rows = run.samples["split"].value_counts()
    network = (run.study or {}).get("student") or {}
    hidden = " and ".join(str(width) for width in network.get("hidden", []))
    student = f" (an MLP with {hidden} hidden units)" if network.get("model") == "mlp" and hidden else ""
    swept = sweep_in_words(run)
    others = 0 if swept else sum(run.entry(arm).setting("student") is not None for arm in run.arms)
    student += f" or, in {others} of them, another" if others else ""
    on = data.get("note") or data.get("name") or "data that the run does not name"
    text = [
        f"{_ways(len(run.arms), student, swept)} {on}.",
        f"Each arm has {replicas} replicas{draw_note(run)}. Replica r has the same rows, initial weights and batch "
        "order in every arm, so arms compare in pairs.",
    ]
    if "test" in rows:
        text.append(
            f"Bias, variance and accuracy are those on {rows['test']:,} test rows that no training and no choice saw"
            + (f"; choices were made on {rows['validation']:,} validation rows." if "validation" in rows else ".")
        )
    teachers = manifest.get("teachers") or {}
    if teachers:
        text.append(
            f"Soft labels come from {counted(len(teachers), 'teacher')}, by what each was trained on: "
            f"{_regimes(teachers)}. A result about bias or variance holds for its teacher's regime only."
        )
    return " ".join(text)


def _ways(arms: int, student: str, sweep: str) -> str:
    """What is compared, up to the data.

    >>> _ways(1, " (an MLP with 8 hidden units)", "")
    'One way of training a network (an MLP with 8 hidden units), on'
    """
    if arms == 1:
        return f"One way of training a network{student}, on"
    if sweep:
        return f"{arms} ways of training a network{student}, called arms, {sweep}; compared on"
    return f"{arms} ways of training the same network{student}, called arms, compared on"


def _regimes(teachers: dict[str, Any]) -> str:
    """How many teachers there are of each regime, the most frequent first; those on some training rows together."""
    counts = Counter(str(teacher.get("regime")) for teacher in teachers.values())
    some = sorted((name for name in counts if re.fullmatch(r"fixed, \d+ training rows", name)), key=_row_count)
    said = {name: count for name, count in counts.items() if name not in some}
    if some:
        sizes = [str(_row_count(name)) for name in some]
        listed = " or ".join([", ".join(sizes[:-1]), sizes[-1]]) if len(sizes) > 1 else sizes[0]
        said[f"fixed, {listed} training rows"] = sum(counts[name] for name in some)
    ranked = sorted(said.items(), key=lambda item: -item[1])
    return "; ".join(f"{name} ({count})" for name, count in ranked)


def _row_count(regime: str) -> int:
    return int(regime.split()[1])


def _import(run: Run) -> str:
    rows = run.samples["split"].value_counts()
    said = " and ".join(f"{rows[split]:,} {split} rows" for split in sorted(rows.index))
    return (
        f"Finished predictions of {counted(len(run.arms), 'arm')} ({_named(run, run.arms)}), {replica_count(run)} "
        f"replicas, on {said}. No training was recorded, so figures of gradients and weights have nothing to show."
    )


def _recorder(run: Run) -> str:
    metrics = run.metrics
    parts = [
        f"The record of a training loop outside this package: {counted(len(run.arms), 'arm')} ({_named(run, run.arms)})"
    ]
    if len(metrics):
        parts.append(
            f"{counted(replica_count(run), 'replica')}, epochs {metrics['epoch'].min()} to {metrics['epoch'].max()}"
        )
        parts.append(f"{metrics['n'].max():,} samples an epoch")
    return ", ".join(parts) + "."


def _named(run: Run, arms: Iterable[str]) -> str:
    return ", ".join(arm_label(run, arm) for arm in arms)


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing a number: failed replicas, arms that are not finished."""
    lines = []
    if run.manifest.get("kind") == "study" and run.manifest.get("status") != "complete":
        done = sum(run.entry(arm).status == "complete" for arm in run.arms)
        total = len((run.study or {}).get("arms", {})) or len(run.arms)
        lines.append(f"The run is not finished: {done} of {total} arms are complete.")
    lines += _lost(run)
    lines += [f"Not complete, and left out: {said}." for said in incomplete_records(run.directory)]
    for arm in run.arms:
        entry = run.entry(arm)
        lines += [f"Arm {arm_label(run, arm)}, {said}." for said in run.arm(arm).get("warnings") or []]
        reasons: dict[str, list[str]] = {}
        for failed in entry.failed:
            reasons.setdefault(failed.reason, []).append(str(failed.replica))
        of_all = "?" if entry.replicas is None else entry.replicas
        for reason, replicas in reasons.items():
            which = "" if len(replicas) == of_all else f" ({', '.join(replicas)})"
            lines.append(
                f"Arm {arm_label(run, arm)}: {len(replicas)} of {of_all} replicas {reason}{which}; "
                "claims on its students are undecided."
            )
    return [*lines, *_hardly_taught(run), *recorder_warnings(run), *not_converged(run)]


def _hardly_taught(run: Run) -> list[str]:
    """A warning for arms whose mask leaves hardly any soft labels, which pictures mark."""
    return [
        f"Arm {arm_label(run, arm)} ({UNTAUGHT} in the figures): its mask leaves soft labels to {100 * share:.2g} % of "
        "the rows, in the mean over epochs; its students learn from labels all but alone, at the learning rate "
        f"{run.entry(arm).learning_rate}."
        for arm, share in hardly_taught(run).items()
    ]


def _lost(run: Run) -> list[str]:
    """A warning for complete arms of a study without predictions, one sentence where that is all of them."""
    complete = [arm for arm in run.arms if run.entry(arm).status == "complete"]
    stored = run.directory / "predictions"
    lost = [arm for arm in complete if not any(stored.glob(f"arm={arm}/split=*/membership=*/epoch=*/*.parquet"))]
    if run.manifest.get("kind") != "study" or not lost:
        return []
    if lost == complete:
        return ["No arm has predictions: there is no bias and variance to show, and claims about it are undecided."]
    return [
        f"Arm {arm_label(run, arm)} has no predictions: it is missing from the figures of bias and "
        "variance, and claims about those that rest on it are undecided."
        for arm in lost
    ]


def provenance(run: Run) -> list[tuple[str, str]]:
    """Names and values of where the numbers come from."""
    manifest = run.manifest
    data = manifest.get("data") or {}
    rows = run.samples["split"].value_counts()
    versions = {**(manifest.get("versions") or {})}
    facts = [
        ("Run", f"{run.name}, {manifest.get('title')}" if manifest.get("title") else run.name),
        ("Study hash", manifest.get("study_hash")),
        (
            "Commit",
            manifest.get("commit") or ("unknown (run outside a checkout)" if manifest.get("kind") == "study" else None),
        ),
        ("Seed", manifest.get("seed")),
        ("Replicas", replica_count(run)),
        ("Training rows of a replica", _drawn(manifest.get("draw") or {})),
        ("Data", data.get("note") or data.get("name")),
        ("Fingerprint of the data", data.get("fingerprint")),
        ("Fingerprint of the claims", ledger_hash(claims) if (claims := manifest.get("claims")) else None),
        ("Rows", ", ".join(f"{split} {rows[split]:,}" for split in sorted(rows.index))),
        (
            "Reference teacher",
            teacher_label(run, reference) if (reference := manifest.get("reference_teacher")) else None,
        ),
        ("Device", manifest.get("device")),
        ("Devices that trained each network together", several if (several := manifest.get("devices")) != 1 else None),
        ("Batch norm", manifest.get("batch_norm")),
        ("Threads", manifest.get("threads")),
        ("Versions of the run", ", ".join(f"{name} {version}" for name, version in versions.items())),
        *((f"Session {number}", said) for number, said in enumerate(_sessions(run), 1)),
        ("Version of the report", f"biasvar {biasvar.__version__}"),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _drawn(draw: dict[str, Any]) -> str:
    """How a replica's training rows were drawn.

    >>> _drawn({"kind": "subsample", "rows": 300, "pool": 800}), _drawn({"kind": "seed_only", "rows": None})
    ('subsample, 300 of 800', 'seed only')
    """
    kind, rows, pool = (draw.get(key) for key in ("kind", "rows", "pool"))
    count = f"{rows:,} of {pool:,}" if rows and pool else f"{rows:,}" if rows else f"of {pool:,}" if pool else ""
    return ", ".join(filter(None, (str(kind or "").replace("_", " "), count)))


def _sessions(run: Run) -> list[str]:
    """Under what each part of a run was made that was made under several versions, commits or devices."""
    manifest = run.manifest
    sessions = manifest.get("sessions") or []
    if len(sessions) < 2:
        return []
    done = [set(entry.get("arms_before") or ()) for entry in sessions] + [set(manifest.get("arms") or ())]
    said = []
    for entry, (before, after) in zip(sessions, pairwise(done), strict=True):
        versions = ", ".join(f"{name} {version}" for name, version in (entry.get("versions") or {}).items())
        arms = [arm for arm in manifest.get("arms") or () if arm in after - before]
        facts = {key: entry.get(key) for key in ("device", "devices", "threads", "commit")}
        rest = ", ".join(f"{key} {value}" for key, value in facts.items() if value not in (None, ""))
        said.append(f"{versions}; {rest}; arms ended in it: {_named(run, arms) or 'none'}")
    return said


def arm_rows(run: Run) -> list[dict[str, str]]:
    """What each arm is, for a table, with its accuracy and that of its teacher."""
    rows = []
    labels = {arm: arm_label(run, arm) for arm in run.arms}
    for arm in run.arms:
        entry = run.entry(arm)
        rows.append(
            {
                "arm": arm,
                "label": entry.label,
                "role": entry.role,
                "loss": loss_in_words(entry, labels),
                "teacher": teacher_label(run, entry.teacher) if entry.teacher else "–",
                "regime": entry.regime,
                "temperature": plain_number(entry.temperature),
                "alpha": plain_number(entry.alpha),
                "rate": plain_number(entry.learning_rate),
                "accuracy": _accuracy(run, arm),
                "own": own.in_words if (own := accuracy_of_its_teacher(run, arm)) else "–",
            }
        )
    return rows


def _accuracy(run: Run, arm: str) -> str:
    """An arm's accuracy on the first held-out split, "0.912 ± 0.004, n = 1,000"."""
    row = final_level(run, arm, "accuracy")
    if row is None:
        return "–"
    error = f" ± {row.stderr:.3f}" if math.isfinite(row.stderr) else ""
    return f"{row.estimate:.3f}{error}, n = {row.n_samples:,}{'' if row.split == 'test' else f' {row.split}'}"


def rate_table(run: Run) -> dict[str, Any] | None:
    """The learning-rate grid: validation accuracy or nll, by which rates were chosen, by loss family and rate.

    None if no rate was chosen.
    """
    tuning = run.tuning
    if tuning is None or tuning.empty:
        return None
    rates = sorted(tuning["learning_rate"].unique())
    by = ((run.study or {}).get("learning_rate") or {}).get("by", "accuracy")
    lines, ends = [], []
    for (family, arm), part in tuning.groupby(["family", "arm"], sort=False):
        cells, means = [], {}
        for rate in rates:
            here = part[part["learning_rate"] == rate]
            interval = mean_interval(here[by]) if len(here) else None
            text = f"{interval.estimate:.3f} ± {interval.stderr:.3f}" if interval else "–"
            cells.append({"text": text, "chosen": bool(here["chosen"].any())})
            if interval and math.isfinite(interval.estimate):
                means[rate] = interval
        near = [plain_number(rate) for rate in _as_good(means, by) if not cells[rates.index(rate)]["chosen"]]
        chosen = part.loc[part["chosen"], "learning_rate"].unique().tolist()
        if end := _at_an_end(part["learning_rate"].unique().tolist(), chosen):
            ends.append(f"{str(family).replace('_', ' ')} ({end})")
        about = {
            "family": str(family).replace("_", " "),
            "arm": arm_label(run, str(arm)),
            "as_good": ", ".join(near) or "–",
        }
        lines.append({**about, "cells": cells})
    replicas = int(tuning.groupby(["family", "learning_rate"])["replica"].nunique().max())
    return {
        "by": {"accuracy": "accuracy", "nll": "loss (nll)"}[by],
        "rates": [plain_number(rate) for rate in rates],
        "lines": lines,
        "ends": "; ".join(ends),
        "replicas": replicas,
        "few": replicas < REPLICAS_FOR_A_RATE,
    }


def _at_an_end(tried: list[float], chosen: list[float]) -> str:
    """What a chosen rate is of those that were tried if it is their lowest or highest, in words; empty for another.

    >>> _at_an_end([0.01, 0.1, 1.0], [1.0]), _at_an_end([0.01, 0.1, 1.0], [0.1]), _at_an_end([0.1], [0.1])
    ('1, the highest that was tried', '', '')
    """
    for end, said in ((min, "lowest"), (max, "highest")):
        if len(tried) > 1 and chosen == [end(tried)]:
            return f"{plain_number(chosen[0])}, the {said} that was tried"
    return ""


def _as_good(means: Mapping[float, Interval], by: str) -> list[float]:
    """The rates whose mean accuracy or nll lies within one standard error, the best one's, of the best."""
    if not means:
        return []
    sign = -1 if by == "nll" else 1
    best = max(means.values(), key=lambda one: sign * one.estimate)
    return [rate for rate, one in means.items() if sign * (one.estimate - best.estimate) >= -best.stderr]
