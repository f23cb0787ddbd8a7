"""The estimates of a dry run as a table, and how they were made."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from biasvar.files import in_bytes
from biasvar.training.context import StudyContext
from biasvar.training.estimates import Estimate, data_bytes
from biasvar.training.rehearsal import READ, Rehearsal

HEADS = ("", "network", "parameters", "step", "steps", "time", "memory", "disk")
UNITS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "days"))


def in_seconds(seconds: float) -> str:
    """A time in the unit in which it is read.

    >>> in_seconds(0.00062), in_seconds(0.62), in_seconds(95), in_seconds(1e4), in_seconds(1e6)
    ('0.62 ms', '620 ms', '95 s', '2.8 h', '11.6 days')
    """
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    size, unit = [pair for pair in UNITS if seconds >= 2 * pair[0] or pair[1] == "s"][-1]
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 100 or (unit == "s" and value >= 10) else f"{value:.1f} {unit}"


def estimates_in_words(rehearsal: Rehearsal, found: Sequence[Estimate], *, repeats: int = 1) -> list[str]:
    """The lines of a dry run: a table with a row for each teacher, rate and arm, its sum, and how it was made.

    Args:
        rehearsal: What was measured.
        found: The estimates.
        repeats: How often the whole is drawn.
    """
    context = rehearsal.context
    rows = [HEADS, *(_row(estimate) for estimate in found)]
    times = f"total of {repeats} redraws" if repeats > 1 else "total"
    seconds, disk = (repeats * sum(getattr(one, key) for one in found) for key in ("seconds", "bytes"))
    memory = max(one.memory for one in found) + data_bytes(context)
    steps = repeats * sum(one.steps for one in found)
    rows.append((times, "", "", "", f"{steps:,}", in_seconds(seconds), in_bytes(memory), in_bytes(disk)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    lines = ["  ".join(_aligned(cell, widths[i], i) for i, cell in enumerate(row)).rstrip() for row in rows]
    return [
        f"estimates, on {_device(context)}, measured now with a step of every teacher and arm:",
        *(f"  {line}" for line in lines),
        *(f"  {line}" for line in _how(rehearsal, found, repeats)),
    ]


def _row(one: Estimate) -> tuple[str, ...]:
    mark = "*" if one.cut else ""
    return (
        one.what, one.network, f"{one.parameters:,}" if one.parameters else "",
        in_seconds(one.step) + mark if one.steps else "", f"{one.steps:,}" if one.steps else "",
        in_seconds(one.seconds) if one.seconds else "", in_bytes(one.memory) + mark if one.memory else "",
        in_bytes(one.bytes) if one.disk else "",
    )  # fmt: skip


def _aligned(cell: str, width: int, place: int) -> str:
    return cell.ljust(width) if place < 2 else cell.rjust(width)


def _device(context: StudyContext) -> str:
    if context.device.type == "cuda":
        return f"{context.device} ({torch.cuda.get_device_name(context.device)})"
    threads = context.study.threads
    return f"the CPU, {threads} thread{'' if threads == 1 else 's'} a process"


def _how(rehearsal: Rehearsal, found: Sequence[Estimate], repeats: int) -> list[str]:
    """How the numbers of the table were made."""
    context = rehearsal.context
    timed = [one.timed for one in found if one.timed]
    cut = sorted({one.cut for one in found if one.cut})
    lines = [
        f"step: {_of_steps(timed)}, of all replicas that train together; a single one may hold what only a first step "
        "does",
    ]
    if cut:
        sizes = ", ".join(f"{rows} of {batch}" for rows, batch in cut)
        lines.append(
            f"*: the step was cut to fewer rows of a batch ({sizes}), and time and memory are scaled back to the whole "
            "batch by its rows; a whole batch mostly takes less time than that"
        )
    alone = context.device.type == "cpu" and context.study.threads == 1
    lines.append(
        "time: of one process, as if nothing of it were done, with records, evaluation and predictions; without "
        f"starting, reading of data, checkpoints{', and waiting for the disk, on a free processor' if alone else ''}"
    )
    if context.study.data.streamed is not None:
        read = "reading and cropping them is not timed, since they are not here"
        if rehearsal.reading:
            read = (
                f"one is ready every {in_seconds(rehearsal.reading)}, by the median of {READ}, if all processes that "
                "read ahead have a processor; a step that is quicker than its images takes as long as they do"
            )
        lines.append(f"streamed images: {read}; they are not held in memory")
    where = "of the device" if context.device.type == "cuda" else "of a process, above Python and its libraries"
    resets = "" if rehearsal.resets else "; at least: this system tells the highest of the whole process alone"
    lines.append(
        f"memory: {where}, the most of a step and of the evaluation after the last epoch, with a teacher's logits of "
        f"all rows; in the total with the data, {in_bytes(data_bytes(context))}{resets}"
    )
    parts: dict[str, float] = {}
    for one in found:
        for what, size in one.disk.items():
            parts[what] = parts.get(what, 0.0) + repeats * size
    passing = max((one.passing for one in found), default=0.0)
    more = f"; checkpoints and views of up to {in_bytes(passing)} an arm come and go" if passing else ""
    kept = ", ".join(f"{what} {in_bytes(size)}" for what, size in parts.items())
    lines.append(
        f"disk: {kept}. Records, predictions and logits as Parquet (zstd) of made numbers takes them; weights and soft "
        f"labels uncompressed{more}"
    )
    return lines


def _of_steps(numbers: Sequence[int]) -> str:
    low, high = min(numbers, default=1), max(numbers, default=1)
    if high == 1:
        return "one that was timed"
    return f"the median of {low} steps" if low == high else f"the median of {low} to {high} steps"
