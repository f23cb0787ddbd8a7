"""The command biasvar-report (python -m biasvar.report): draw the figures of runs and write one page about them."""

from __future__ import annotations

from biasvar.interrupts import begin_command, end_command, ending_as_interrupts, importing, uninterrupted

if __name__ == "__main__":
    begin_command("interrupted; no file was changed")

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biasvar.command_line import Parser, whole_number
from biasvar.errors import BiasvarError
from biasvar.files import short_of
from biasvar.messages import command, no_such, note, one_line, unlisted
from biasvar.report.card.options import add_options, from_arguments, in_words, wanted
from biasvar.report.figures import FIGURES
from biasvar.votes import PEOPLE

if TYPE_CHECKING:
    from biasvar.records import Redraws, Run

FORMATS = ("png", "svg", "pdf")
DEFAULT_FORMATS = "png"
SAMPLES = "samples"
"""The table of all samples of a recorded loop or of imported predictions, which is no figure."""
TRUTH = "truth"
"""The figure of people's labels as the truth."""

OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""Python looks for cycles after 700 new objects; figures and frames make millions. Fewer looks save 7 % of a report's
time for 4 % more memory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0 done, 2 bad input, 130 interrupted (Ctrl-C, SIGTERM, SIGHUP)."""
    try:
        with ending_as_interrupts():
            return _main(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted; no file was changed", file=sys.stderr)
        return 130


def _main(arguments: Sequence[str] | None) -> int:
    parser = Parser(
        prog=command("report"),
        usage="%(prog)s [RUN ...] [options]\n       %(prog)s --soft-labels FILE [--labels FILE] [options]\n"
        "       %(prog)s --ledger DIR",
        description="Draw the figures of one or more runs, and write the tables behind them, the verdicts on the "
        "claims they test, and one self-contained page (index.html).",
        epilog=f"Figures: {', '.join((*FIGURES, SAMPLES))} (a table).",
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="run directories (default: the newest under runs/)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where to write (default: RUN/report; report/ for several runs; for a card NAME_card/)",
    )
    parser.add_argument("--figures", metavar="A,B", help="only these figures, by name (default: all)")
    parser.add_argument(
        "--formats", metavar="A,B", default=DEFAULT_FORMATS,
        help="png, pdf, svg: the files written for each figure (default: %(default)s; the page itself needs none)",
    )  # fmt: skip
    parser.add_argument(
        "--truth", metavar="NAME",
        help=f"take bias and variance of test rows against people's labels ({', '.join(PEOPLE)}) instead of one label "
        "a row: the claims on them alone, and the figure truth",
    )  # fmt: skip
    parser.add_argument(
        "--control", metavar="ARM=OTHER", action="append", default=[],
        help="the arm that an arm of your own loop, or of imported predictions, is compared with; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--loss", metavar="ARM=LOSS", action="append", default=[],
        help="what such an arm was trained by: all others are compared with one of cross_entropy; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--ledger",
        metavar="DIR",
        help="instead: the verdicts of all reports published under DIR, into DIR/README.md (between its marks, "
        "and the index of papers between theirs if it has them) and DIR/claims.md",
    )
    parser.add_argument(
        "-j", "--jobs", metavar="N", type=whole_number,
        help="processes that draw, which change no byte of what is written (default: one for each usable core)",
    )  # fmt: skip
    add_options(parser)
    options = parser.parse_args(arguments)
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        if options.ledger is not None:
            return _ledger(options)
        if wanted(options):
            return _card(options)
        figures = _figures(options)
        formats, jobs = _chosen(options.formats, FORMATS, "format"), _jobs(options)
        directories = [Path(name) for name in options.runs] or [_said(_newest(Path("runs")))]
        default = directories[0] / "report" if len(directories) == 1 else Path("report")
        out = Path(options.out) if options.out else default

        with importing():
            from biasvar.report.page import open_runs, write_report
            from biasvar.report.redraws import redraws_among

        source = redraws_among(directories, figures if options.figures is not None else []) or open_runs(directories)
        if options.truth is not None:
            source = _against_people(source, options.truth)
        if options.control or options.loss:
            _say(source, options)
        if options.images is not None:
            source = _with_images(source, options.images)
        page = write_report(source, out, figures=figures, formats=formats, jobs=jobs)
        with uninterrupted():
            came_out = _came_out(page)
            print(page, flush=True)
            print(came_out, file=sys.stderr)
    except (BiasvarError, OSError, ValueError) as error:  # ValueError: a run that is damaged or odd
        print(f"biasvar: error: {one_line(error)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        short = short_of(error)
        if short is None:
            raise
        print(f"biasvar: error: {short}; no file was changed", file=sys.stderr)
        return 2
    return 0


def _came_out(page: Path) -> str:
    """What the claims of a report came out as, if it has any, and the page's address for a browser."""
    import pandas as pd

    from biasvar.report.text.claims import outcome

    table = page.with_name("claims.csv")
    said = outcome(pd.read_csv(table)) if table.is_file() else ""
    return f"{said}{' ' if said else ''}Open it in a browser: {page.resolve().as_uri()}"


def _figures(options: argparse.Namespace) -> list[str]:
    """The names of the figures that are asked for; all others than `truth` are about the runs' own labels."""
    names = (*FIGURES, SAMPLES)
    chosen = _chosen(options.figures, names, "figure") if options.figures is not None else list(names)
    if options.truth is None:
        return chosen
    others = [name for name in chosen if name != TRUTH] if options.figures is not None else []
    if others:
        raise BiasvarError(
            f"--figures {','.join(others)}: drawn against the runs' own labels; with --truth there is: {TRUTH}"
        )
    return [TRUTH]


def _against_people(source: list[Run] | Redraws, name: str) -> list[Run]:
    """The runs with people's labels as the truth of their test rows."""
    from biasvar.records import Redraws
    from biasvar.report.truth import against_people

    if isinstance(source, Redraws):
        raise BiasvarError("--truth takes runs, not redraws of a study")
    return [against_people(run, name) for run in source]


def _say(source: list[Run] | Redraws, options: argparse.Namespace) -> None:
    """Take what the arguments say of arms."""
    from biasvar.records import Redraws
    from biasvar.report.arms.said import say

    if isinstance(source, Redraws):
        raise BiasvarError("--control and --loss are for your own loop's arms; a study says what its arms are")
    say(source, options.control, options.loss)


def _with_images(source: list[Run] | Redraws, place: str) -> list[Run]:
    """The runs with images of the samples that figures show; refused before anything is drawn where they do not fit."""
    from biasvar.records import Redraws
    from biasvar.report.pictures import with_pictures
    from biasvar.report.statistics import own_samples
    from biasvar.report.truth import PeopleRun

    if isinstance(source, Redraws) or any(isinstance(run, PeopleRun) for run in source):
        raise BiasvarError("--images is for a report on runs, without --truth, or for a card (--soft-labels)")
    if len(source) > 1:
        raise BiasvarError(f"--images shows samples of one run; name one of {', '.join(run.name for run in source)}")
    (run,) = source
    splits = [own_samples.main_place(run, arm).split for arm in own_samples.own_arms(run)]
    return [with_pictures(run, place, ["test", *splits])]


def _ledger(options: argparse.Namespace) -> int:
    """Write the tables of all published claims."""
    others = (options.out, options.figures, options.truth, options.images, options.jobs, options.formats)
    if options.runs or others != (None, None, None, None, None, DEFAULT_FORMATS) or wanted(options):
        raise BiasvarError("--ledger takes no runs and no other option: it reads the reports published under its DIR")

    with importing():
        from biasvar.report.ledger import write_ledger

    print(write_ledger(Path(options.ledger)))
    return 0


def _card(options: argparse.Namespace) -> int:
    """Write the card of soft labels that the arguments ask for."""
    card, formats, jobs = from_arguments(options), _chosen(options.formats, FORMATS, "format"), _jobs(options)

    with importing():
        from biasvar.report.card.render import write_card

    try:
        page = write_card(card, formats, jobs=jobs)
    except ValueError as error:
        raise BiasvarError(in_words(error)) from None
    print(page)
    return 0


def _jobs(options: argparse.Namespace) -> int:
    """How many processes draw."""
    from biasvar.report.side_by_side import usable_cores

    if options.jobs is None:
        return usable_cores()
    if options.jobs < 1:
        raise BiasvarError(f"--jobs must be at least 1, not {options.jobs}")
    return int(options.jobs)


def _chosen(text: str, allowed: Sequence[str], what: str) -> list[str]:
    """The names in a comma-separated list, in the order of `allowed`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in allowed:
            lists = f"{command('report')} --help"
            raise BiasvarError(
                no_such(name, allowed, what) if allowed is FORMATS else unlisted(name, allowed, what, lists)
            )
    if not names:
        raise BiasvarError(f"--{what}s needs at least one name; `{command('report')} --help` lists all")
    return [name for name in allowed if name in names]


def _said(run: Path) -> Path:
    """The run, which nobody named, once it has been said that it is drawn."""
    note(f"no run named: this report is on the newest, {run}")
    return run


def _newest(root: Path) -> Path:
    """The run under `root` whose manifest was written last."""
    manifests = [path for path in root.glob("*/manifest.json") if path.is_file()]
    if not manifests:
        raise BiasvarError(
            f"no run named, and none under {root}/: make one with `{command('run')} experiments/digits.yaml`"
        )
    return max(manifests, key=lambda path: (path.stat().st_mtime_ns, path.parent.name)).parent


if __name__ == "__main__":
    sys.exit(end_command(main()))
