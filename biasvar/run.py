"""The command biasvar-run (python -m biasvar.run): train what a study file describes, and leave a run directory."""

from __future__ import annotations

from biasvar.interrupts import begin_command, end_command, ending_as_interrupts, importing

if __name__ == "__main__":
    begin_command("interrupted before anything was trained")

import argparse
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biasvar.command_line import Parser, number, whole_number
from biasvar.errors import BiasvarError, DiskFullError
from biasvar.files import disk_full, is_full, short_of
from biasvar.messages import command, counted, first_few, one_line, visible

if TYPE_CHECKING:
    import torch

    from biasvar.study import Study
    from biasvar.training.workers import MakeExecutor


KINDS = ("cpu", "cuda", "mps")
"""The kinds of devices."""


class _Version(argparse.Action):
    """Prints the version and ends; nothing is imported for it before it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from biasvar import __version__

        print(f"biasvar {__version__}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 done, 2 bad input, 130 interrupted (Ctrl-C, SIGTERM, SIGHUP)."""
    try:
        with ending_as_interrupts():
            return _main(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted before anything was trained", file=sys.stderr)
        return 130


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser(
        prog=command("run"),
        description="Train the arms of a study and record every sample's bias and variance terms. A run that was "
        "interrupted goes on where it stopped; a run that is complete is left as it is.",
        epilog=f"Then: {command('report')} RUN",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version of biasvar, and do nothing else")
    parser.add_argument("study", metavar="STUDY.yaml", help="study file, such as experiments/digits.yaml")
    parser.add_argument("--out", metavar="DIR", help="run directory (default: runs/NAME, NAME being the study's)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
        help="override a key of the study, such as arms.kd.temperature=3; may be repeated; needs its own --out",
    )  # fmt: skip
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    parser.add_argument(
        "--devices", type=whole_number, default=1, metavar="N",
        help="devices of that kind that train every network together, a process each (default: 1); needs the extra "
        "'fabric' and backend: sequential",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=whole_number, metavar="N",
        help="processes that train side by side (default: the CPU cores, at most 4; 1 on a GPU, or with streamed "
        "images); changes no number",
    )  # fmt: skip
    parser.add_argument(
        "--engine", metavar="NAME",
        help="how networks for images run: channels_last, contiguous, either with +compile, or auto for the quickest "
        "by measurement (default: auto on a GPU, else channels_last); numbers agree to rounding",
    )  # fmt: skip
    parser.add_argument(
        "--executor", metavar="ADDRESS",
        help="train on the machines of a Ray cluster: ray (begun here), auto, HOST:PORT or ray://HOST:PORT; --jobs "
        "then says how many tasks at a time (default: as many as fit)",
    )  # fmt: skip
    parser.add_argument(
        "--cpus-per-task",
        type=number,
        metavar="N",
        help="with --executor: CPUs of each task (default: study's threads)",
    )
    parser.add_argument(
        "--gpus-per-task", type=number, metavar="N",
        help="with --executor: GPUs of each task, or a part of one (default: 1 on a CUDA device, else 0)",
    )  # fmt: skip
    parser.add_argument(
        "--teachers-only", action="store_true",
        help="stop after the teachers that all replicas share; without this the same command goes on from there",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="validate the study, take a step of every teacher and arm (on made images where the data are not here), "
        "print what would run and what time, memory and disk it would take, write nothing; imports what the study "
        "names by import path",
    )  # fmt: skip
    parser.add_argument(
        "--no-code", action="store_true",
        help="for a study file from somebody else: refuse methods and networks given as package.module:name, which are "
        "imported and run, also by --dry-run",
    )  # fmt: skip
    parser.add_argument(
        "--max-arms", type=whole_number, metavar="N",
        help="refuse a study whose sweep has more arms than N (default: 200)",
    )  # fmt: skip
    parser.add_argument(
        "--init", action="store_true",
        help="write STUDY.yaml, which must not be there yet: a first study that runs as it is, with comments",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="PATH",
        help="with --init: the data that it is for, a name or the path of your own (.npz, .csv, .parquet, a folder of "
        "images, ...; default: digits)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.no_code:
        from biasvar.study.import_path import no_code

        with no_code():
            return _obey(options)
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # networks and methods of one's own, as `python -m` would find them
    return _obey(options)


def _obey(options: argparse.Namespace) -> int:
    """Do what the command line asks for; returns the exit status."""
    try:
        if options.init:
            return _begin(options)
        if options.data is not None:
            raise ValueError("--data goes with --init; a study names its data as data.name (--set data.name=...)")
        with importing():
            from biasvar.study import load_study
            from biasvar.study.sweep import MOST_ARMS

        most = MOST_ARMS if options.max_arms is None else options.max_arms
        if most < 1:
            raise ValueError(f"--max-arms must be at least 1, not {most}")
        study = load_study(options.study, overrides=options.overrides, max_arms=most)
        directory = Path(options.out) if options.out else Path("runs") / study.name
        _check_amounts(options)
        _check_names(options)
        if "://" in (options.out or ""):
            raise ValueError(f"--out {options.out}: a run directory is a folder by its path, not an address")
        device = _device(options.device)
        if options.dry_run:
            with importing():
                from biasvar.training.dry_run import dry_run

            _check_folder(directory)
            with _within_memory(study, directory, device, 1):  # checked and built as a run does
                lines = dry_run(study, directory, device, devices=options.devices, jobs=options.jobs or 1)
            _print("\n".join([describe(study, directory), *lines]))
            return 0
        return _run(study, directory, device, options)
    except OSError as error:
        full = isinstance(error, DiskFullError) or is_full(error)
        _complain(_with_space(error) if full else _of_file(error, options.out))
        return 2
    except (BiasvarError, ValueError) as error:
        _complain(error)
        return 2
    except (MemoryError, RuntimeError) as error:
        short = short_of(error)
        if short is None:
            raise
        _complain(f"{short}, then the same command goes on from what was recorded")
        return 2


def _check_amounts(options: argparse.Namespace) -> None:
    """Raise for numbers of jobs, CPUs and GPUs that cannot be, or that go with nothing."""
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {options.jobs}")
    if options.devices < 1:
        raise ValueError(f"--devices must be at least 1, not {options.devices}")
    if options.devices > 1 and options.executor is not None:
        raise ValueError(
            "--devices is for one machine, and --executor gives each task one device: leave out one of them"
        )
    if options.executor is not None and ":" in (options.device or ""):
        kind = options.device.partition(":")[0]
        raise ValueError(f"--device {options.device}: Ray chooses which one; say --device {kind}")
    for key, least in (("cpus_per_task", "above 0"), ("gpus_per_task", "at least 0")):
        value, name = getattr(options, key), f"--{key.replace('_', '-')}"
        if value is None:
            continue
        if options.executor is None:
            raise ValueError(f"{name} goes with --executor")
        if not 0 <= value < float("inf") or (value == 0 and key == "cpus_per_task"):
            raise ValueError(f"{name} must be {least}, not {value:g}")


def _check_names(options: argparse.Namespace) -> None:
    """Raise for an engine, an address, a device or a folder that cannot be, before anything is built."""
    for key in ("out", "device"):
        if getattr(options, key) == "":
            raise ValueError(f"--{key} is empty; give it a value, or leave it out")
    with importing():
        from biasvar.training.engine import check_engine
        from biasvar.training.ray_executor import place_of

    if options.engine is not None:
        check_engine(options.engine)
    if options.executor is not None:
        place_of(options.executor)


def _check_folder(directory: Path) -> None:
    """Raise where a run cannot be, since a file is in its place or above it."""
    for place in (directory, *directory.absolute().parents):
        if place.exists() and not place.is_dir():
            raise ValueError(f"{directory} cannot be made: {place} is a file; name a folder by --out")


def _begin(options: argparse.Namespace) -> int:
    """Write a first study."""
    from biasvar.training.template import write_template

    dataset = write_template(Path(options.study), options.data)
    _print(f"{options.study}: a study on {dataset.note}\nnext: {command('run')} {options.study} --dry-run")
    return 0


def _print(text: str) -> None:
    """Print, to a reader that may have read enough (`| head`)."""
    try:
        print("\n".join(map(visible, text.split("\n"))), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing is flushed at the end


def _complain(error: object) -> None:
    """One line, whatever the error spans."""
    print(f"biasvar: error: {one_line(error)}", file=sys.stderr)


def _with_space(error: OSError) -> str:
    """What a full disk did not take, and what to do."""
    from biasvar.data.layout import cache_folder

    if not isinstance(error, DiskFullError) and error.filename:
        error = disk_full(error, os.fsdecode(error.filename))
    said = error.strerror or str(error)
    kept = os.path.abspath(cache_folder())
    elsewhere = " or set BIASVAR_CACHE to a folder on another disk" if kept in said else ""
    return f"{said}; free some space{elsewhere}, then the same command goes on from what was recorded"


def _of_file(error: OSError, out: str | None) -> object:
    """What the system refused, with the file's name first; of the run directory what to do about it."""
    if error.strerror is None or error.filename is None:
        return error  # one of ours, which says all of it
    place = Path(os.path.abspath(os.fsdecode(error.filename)))
    if out is not None and Path(os.path.abspath(out)).is_relative_to(place):
        return f"--out {out} cannot be made: {place}: {error.strerror}; name a folder in one that you may write to"
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


@contextmanager
def _within_memory(study: Study, directory: Path, device: torch.device, jobs: int) -> Iterator[None]:
    """Memory that runs out in the block becomes an error that says what to lower."""
    from biasvar.training.memory import is_out_of_memory, out_of_memory

    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if isinstance(error, BiasvarError) or not is_out_of_memory(error):
            raise
        raise out_of_memory(error, study, directory, device, jobs) from error


def _device(name: str | None) -> torch.device:
    """The device of that name, of None the default one; ValueError where it cannot be used."""
    with importing():
        import torch

        from biasvar.training.execute import default_device

    if name and name.partition(":")[0] not in KINDS:
        raise ValueError(f"--device {name}: not usable here; there is: {', '.join(_devices_here())}")
    try:
        device = torch.device(name) if name else default_device()
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: not usable here ({why}); there is: {', '.join(_devices_here())}") from error
    return device


def _devices_here() -> list[str]:
    """The devices that this machine has, by name."""
    import torch

    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(["cuda"] if cuda else []), *cuda, *mps]


@contextmanager
def _executors(study: Study, device: torch.device, options: argparse.Namespace) -> Iterator[tuple[int, MakeExecutor]]:
    """How many tasks run at a time, and what makes their executor."""
    if options.executor is None:
        from biasvar.training.workers import make_executor

        alone = device.type != "cpu" or options.devices > 1 or study.data.streamed is not None
        yield options.jobs or (1 if alone else min(4, len(os.sched_getaffinity(0)))), make_executor
        return
    from biasvar.training.ray_executor import connected

    gpus = options.gpus_per_task if options.gpus_per_task is not None else float(device.type == "cuda")
    with connected(options.executor, cpus=options.cpus_per_task or float(study.threads), gpus=gpus) as cluster:
        yield options.jobs or cluster.slots, cluster.executor


def _run(study: Study, directory: Path, device: torch.device, options: argparse.Namespace) -> int:
    with importing():
        from biasvar.training.execute import run_study
        from biasvar.training.redraws import run_redraws

    try:
        with _executors(study, device, options) as (jobs, executors), _within_memory(study, directory, device, jobs):
            how: dict[str, Any] = {"device": device, "jobs": jobs, "executors": executors, "engine": options.engine}
            how |= {"devices": options.devices, "teachers_only": options.teachers_only}
            runs = run_redraws(study, directory, **how).runs if study.redraws else [run_study(study, directory, **how)]
    except KeyboardInterrupt:
        print(f"\ninterrupted; {directory} is whole so far, the same command goes on from here", file=sys.stderr)
        return 130
    if options.teachers_only:
        print(_teachers_in_words(study, directory, [run.manifest.get("teachers", {}) for run in runs]))
        return 0
    for run in runs:
        for name in run.arms:
            where = f"{run.directory.name}, arm {name}" if study.redraws else f"arm {name}"
            failed = run.arm(name).get("failed_replicas") or []
            expected = "at chance" if name in study.arms and study.arms[name].at_chance else None
            _warn_of_failures([item for item in failed if item["reason"] != expected], study.replicas, where)
    arms = [(run, name) for run in runs for name in run.arms]
    seconds = sum(run.arm(name).get("seconds", 0.0) for run, name in arms)
    redraws = f"{study.redraws} redraws of " if study.redraws else ""
    shared = [name for run, name in arms if run.arm(name).get("shared_from")]
    taken = f"; taken over: {', '.join(shared)}" if shared else ""
    print(
        f"{directory}: {redraws}{len(arms) // len(runs)} arms of {study.replicas} replicas, {seconds:.0f} s of training"
        f"{taken}"
    )
    print(f"next, its page: {command('report')} {shlex.quote(str(directory))}", file=sys.stderr)
    return 0


def _teachers_in_words(study: Study, directory: Path, teachers: Sequence[Mapping[str, Any]]) -> str:
    """The line of a run that stopped after its teachers."""
    entries = [of_run[name] for of_run in teachers for name in study.shared_teachers]
    seconds = sum(entry.get("seconds", 0.0) for entry in entries)
    own = [name for name in study.teachers if name not in study.shared_teachers]
    left = f"; with the students, one for each replica: {', '.join(own)}" if own else ""
    return f"{directory}: {counted(entries, 'teacher')}, {seconds:.0f} s of training, no students{left}"


def _warn_of_failures(failed: list[dict[str, Any]], replicas: int, where: str) -> None:
    """Say on standard error that replicas of an arm failed, and why."""
    reasons = Counter(item["reason"] for item in failed)
    if reasons:
        shown = ", ".join(f"{count} of {replicas} replicas {reason}" for reason, count in sorted(reasons.items()))
        print(f"biasvar: warning: {where}: {shown}; its claims will be undecided", file=sys.stderr)


def describe(study: Study, directory: Path) -> str:
    """What a run of the study would do, as plain text."""
    from biasvar.study.claims import ledger_hash

    rate = study.learning_rate
    grid = ", ".join(f"{value:g}" for value in rate.grid)
    chosen = f"from {grid} by {rate.by} on the validation split, for {', '.join(rate.families)}"
    rates = f"{rate.value:g} for all" if rate.value is not None else chosen
    teachers = ", ".join(f"{name} ({teacher.regime})" for name, teacher in study.teachers.items())
    lines = [
        f"study {study.name} ({study.hash}) into {directory}",
        f"data {study.data.name}; {study.replicas} replicas, draw {study.draw.kind}, {study.schedule.epochs} epochs, "
        f"{study.backend} on {study.threads} thread{'s' if study.threads > 1 else ''}",
        *([f"few shots: {study.data.few_shots}"] if study.data.few_shots else []),
        *_redraws_in_words(study),
        f"learning rate: {rates}",
        *_evaluated_in_words(study),
        *_shared_in_words(study, directory),
        f"{counted(study.teachers, 'teacher')}{': ' if teachers else ''}{teachers}",
        f"{counted(study.arms, 'arm')}, in this order:",
    ]
    lines += [f"  {name}: {study.arms[name].in_words()}" for name in study.order()]
    if study.claims:
        lines.append(f"claims {', '.join(study.claims)}, by the definitions {ledger_hash(study.claims)}")
    return "\n".join(lines)


def _evaluated_in_words(study: Study) -> list[str]:
    """A line of `describe` where no epoch but the first and those of predictions is evaluated; else none."""
    if study.evaluate_every <= study.schedule.epochs:
        return []
    return [
        f"evaluate_every {study.evaluate_every} is more than the {study.schedule.epochs} epochs: only the first epoch "
        "and those of predictions are evaluated"
    ]


def _shared_in_words(study: Study, directory: Path) -> list[str]:
    """For each run that the study shares arms with, a line of `describe`: a name that is not there may be misspelt."""
    from biasvar.training.reuse import shared_runs

    there = {run.directory.name for run in shared_runs(directory, study)}  # those that a run would look at
    return [
        f"share: {directory.parent / name} is "
        + (
            "there; its arms of the same name and settings are taken over"
            if name in there
            else "not there; all arms are trained"
        )
        for name in study.share
    ]


def _redraws_in_words(study: Study) -> list[str]:
    """What a run of the study would draw anew, as a line of `describe`; none for a study of one draw."""
    from biasvar.study.redraws import redraws_of

    redraws = redraws_of(study)
    if not redraws:
        return []
    seeds = first_few(redraw.seed for redraw in redraws)
    held = "test rows as well" if study.data.test is not None else "but the official test rows stay"
    return [
        f"{len(redraws)} redraws of all of it, redraw=000 to redraw={len(redraws) - 1:03d}, each with its own split, "
        f"teachers and replicas ({held}), seeds {seeds}"
    ]


if __name__ == "__main__":
    sys.exit(end_command(main()))
