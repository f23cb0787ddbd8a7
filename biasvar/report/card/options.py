"""The card's part of the command line: what it asks for, and what fits together."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biasvar.command_line import number, whole_number
from biasvar.errors import BiasvarError

OF_A_FILE = ("class_names", "columns", "values", "num_classes", "rest")
"""Options that only a file needs, by the names of `open_soft_labels`."""
VALUES, RESTS = ("logits", "probabilities"), ("uniform", "zero")  # as in biasvar.analysis, which --help need not load
TIES = ("random", "include", "exclude_zero")


@dataclass(frozen=True)
class CardOptions:
    """What one card is made of; `from_arguments` states the fields' meaning as the command's help does."""

    soft_labels: str
    labels: str | None = None
    images: str | None = None
    out: Path | None = None
    temperature: float | None = None
    normalize: bool = False
    scores: bool = False
    ks: tuple[int, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    ties: str = "random"
    seed: int = 0
    class_names: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    values: str | None = None
    num_classes: int | None = None
    rest: str | None = None
    split: str | None = None
    replica: int | None = None
    held_out: bool = False
    clusters: str | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a card to the report's, and those that both have."""
    parser.add_argument(
        "--images", metavar="FILE",
        help="to show samples, in a report those of the gallery and the strongest, in a card the worst: a .npy of "
        "(N, H, W) or (N, H, W, 3) in the order of the sample ids; a .parquet with encoded images; a folder of image "
        "files named by sample id or in order; or a data set's name, checked by label",
    )  # fmt: skip
    card = parser.add_argument_group(
        "card of soft labels", "With --soft-labels, one page about any soft labels, in place of a report on runs."
    )
    for flag, metavar, kind, text in (
        ("--soft-labels", "FILE", str, "rows of K numbers (.npy, .npz, .parquet); or RUN:NAME, the teacher, the stored "
         "soft labels or the arm (its mean prediction) of that name in a run; or RUN: its reference teacher"),
        ("--labels", "FILE", str, "true classes, one a row (.npy, .npz, .csv, .parquet); a run, or a file with a "
         "column 'label', needs none"),
        ("--clusters", "FILE_OR_COLUMN", str, "which rows share an image, person or document, one name a row (a .npy, "
         ".npz, .csv or .parquet, FILE:COLUMN, or a column of the soft labels or labels): intervals are then over "
         "these clusters"),
        ("--temperature", "T", number, "the numbers are logits: take softmax(logits / T) (default for a teacher or an "
         "arm in a run: 1)"),
        ("--ks", "1,2,5", str, "sizes of the top sets (default: 1 to 10, less than K)"),
        ("--thresholds", "0,0.1", str, "least masses of the threshold sets, 0 meaning mass above 0 (default: 0, 0.02, "
         "0.05, 0.1, 0.2, 0.5; of scores none)"),
        ("--class-names", "A,B", str, "names of the classes (default: the run's or the data set's, else numbers)"),
        ("--columns", "A,B", str, "of a table: its class columns, in the order of the classes (default: those "
         "numbered 0 to K - 1 after one prefix, or named by --class-names)"),
        ("--num-classes", "K", whole_number, "of a file that keeps the largest entries only (indices and values)"),
        ("--split", "NAME", str, "of a run: only these rows (default: all of a teacher's, test for an arm)"),
        ("--replica", "R", whole_number, "of a run: whose teacher or soft labels, where each replica has its own"),
    ):  # fmt: skip
        card.add_argument(flag, metavar=metavar, type=kind, help=text)
    for flag, text in (
        ("--normalize", "divide rows by their sum instead of refusing those that do not sum to 1"),
        ("--scores", "the numbers are raw scores, no distributions: no entropy, no calibration"),
        ("--held-out", "of a run: leave out the rows that the teacher was trained on"),
    ):
        card.add_argument(flag, action="store_true", help=text)
    card.add_argument(
        "--ties", choices=TIES, default="random",
        help="equal entries at the edge of a top set: draw among them, include all, or leave out labels without mass "
        "and draw among others (default: %(default)s)",
    )  # fmt: skip
    card.add_argument(
        "--values", choices=VALUES,
        help="with --temperature: what the numbers are (default: logits, and refused if they look like anything else)",
    )  # fmt: skip
    card.add_argument(
        "--rest", choices=RESTS, help="of a file that keeps the largest entries only: what the other classes get"
    )
    card.add_argument("--seed", type=whole_number, default=0, help="of that draw (default: %(default)s)")


def wanted(options: argparse.Namespace) -> bool:
    """True if the arguments ask for a card; BiasvarError if they ask for a card's part without --soft-labels."""
    if options.soft_labels is not None:
        if options.runs or options.figures is not None or options.truth is not None:
            raise BiasvarError("--soft-labels makes a card: RUN, --figures and --truth belong to a report on runs")
        return True
    plain = ("labels", "clusters", "temperature", "ks", "thresholds", *OF_A_FILE, "split", "replica")
    given = [name for name in plain if getattr(options, name) is not None]
    given += [name for name in ("normalize", "scores", "held_out") if getattr(options, name)]
    if given:
        raise BiasvarError(f"--{given[0].replace('_', '-')} belongs to a card: name its soft labels by --soft-labels")
    return False


def from_arguments(options: argparse.Namespace) -> CardOptions:
    """The options of a card; raises BiasvarError for those that cannot be read or do not go together."""
    if options.normalize and options.scores:
        raise BiasvarError("--normalize makes distributions of the rows, --scores says they are none: give one of them")
    if options.temperature is not None and (options.normalize or options.scores):
        raise BiasvarError("--temperature makes distributions of logits: --normalize and --scores do not go with it")
    if options.temperature is not None and not 0.0 < options.temperature < float("inf"):
        raise BiasvarError(f"--temperature must be a finite number above 0, got {options.temperature:g}")
    if options.values is not None and options.temperature is None:
        raise BiasvarError("--values says what --temperature divides: give --temperature too")
    names = _listed(options.class_names, str, "class-names", "names, apart by commas")
    return CardOptions(
        soft_labels=options.soft_labels,
        labels=options.labels,
        images=options.images,
        out=Path(options.out) if options.out else None,
        temperature=options.temperature,
        normalize=options.normalize,
        scores=options.scores,
        ks=_listed(options.ks, int, "ks", "whole numbers, as in 1,2,5"),
        thresholds=_listed(options.thresholds, float, "thresholds", "numbers, as in 0,0.1,0.5"),
        ties=options.ties,
        seed=options.seed,
        class_names=names,
        columns=_listed(options.columns, str, "columns", "names, apart by commas"),
        values=options.values,
        num_classes=options.num_classes,
        rest=options.rest,
        split=options.split,
        replica=options.replica,
        held_out=options.held_out,
        clusters=options.clusters,
    )


def default_out(options: CardOptions) -> Path:
    """Where a card goes if nothing is said: a folder named after the soft labels, in the current one."""
    words = re.split(r"[/\\:]+", options.soft_labels.rstrip("/\\:"))[-2:]
    last = words if ":" in options.soft_labels and not Path(options.soft_labels).exists() else words[-1:]
    stem = "_".join(re.sub(r"\.(npy|npz|parquet)$", "", word) for word in last if word not in ("", ".", ".."))
    return Path(f"{stem or 'soft_labels'}_card")


def in_words(error: Exception) -> str:
    """An error in one line, with the options of the command line in place of the arguments of a function."""
    text = " ".join(str(error).split())
    text = text.replace("pass scores=True if these are raw scores",
                        "give --scores if these are raw scores, --temperature 1 if they are logits")  # fmt: skip
    text = re.sub(r"columns=\[(.*?)\]", lambda found: "--columns " + found[1].replace("'", "").replace(", ", ","), text)
    for argument, option in (
        ("normalize=True divides", "--normalize divides"),
        ("ties='exclude_zero'", "--ties exclude_zero"),
        (": name one of [", ": name one by --replica out of ["),
        ('values="probabilities"', "--values probabilities"),
        ('values="logits"', "--values logits"),
        ("rest='uniform' or 'zero'", "--rest uniform or zero"),
        ("num_classes=", "--num-classes K"),
        ("class_names=", "--class-names A,B"),
        ("clusters must name", "--clusters must name"),
        ("clusters must be named", "--clusters must be named"),
        ("clusters: '", "--clusters: '"),
    ):
        text = text.replace(argument, option)
    return text


def _listed(text: str | None, kind: Callable[[str], Any], option: str, what: str) -> Any:
    if text is None:
        return None
    words: Sequence[str] = [word.strip() for word in text.split(",")]
    try:
        values = tuple(kind(word) for word in words if word)
    except ValueError:
        values = ()
    if not values:
        raise BiasvarError(f"--{option} takes {what}; got {text!r}")
    return values
