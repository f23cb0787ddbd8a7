"""The card's page and the files beside it, written together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import biasvar
from biasvar.analysis import Guarantee
from biasvar.errors import RecordError
from biasvar.messages import visible
from biasvar.report import style
from biasvar.report.card import draw
from biasvar.report.card.collect import Collected, Samples, collect
from biasvar.report.card.options import CardOptions, default_out
from biasvar.report.card.source import Source, open_clusters, open_source
from biasvar.report.card.tabulate import BINS, CalibrationError, Tables, accuracy, tabulate
from biasvar.report.card.verdict import LEVEL
from biasvar.report.output import (
    PAGE,
    SUMMARY,
    begin_drawing,
    into_place,
    json_value,
    write_page,
    write_summary,
    write_table,
)
from biasvar.report.pictures import Pictures, open_pictures
from biasvar.report.side_by_side import SideBySide
from biasvar.report.text import card as text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

LISTED = 20  # rows of a table on the page; the file beside it has more


def write_card(options: CardOptions, formats: Sequence[str], *, jobs: int = 1) -> Path:
    """Write the page, tables, figures and summary of one card, drawn by so many processes; returns the page's path.

    Everything is made in a temporary folder on the same disk and moved into place at the end, so a card that fails
    leaves an older one as it was.

    Raises FileNotFoundError, RecordError or ValueError saying what is wrong with the input, naming row and rule.
    """
    out = options.out or default_out(options)
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; name a directory for the card")
    source = open_source(options)
    collected = collect(source, options, open_clusters(options))
    samples = collected.samples
    pictures = None if options.images is None else _pictures(options.images, samples)
    names = _class_names(source, options, pictures)
    with into_place(out) as folder, style.context(), SideBySide(jobs) as aside:
        tables = tabulate(collected, names)
        for name, table in tables.files():
            write_table(folder, name, table)
        begun = [
            (name, vars(about), begin_drawing(folder, name, made, formats, aside))
            for name, made, about in _figures(collected, tables, names, pictures)
        ]
        write_summary(folder, json_value(_summary(collected, tables, source, options)))
        numbers = {"numbers_in": "a table beside this page"}
        figures = [{"name": name, **numbers, **about, **picture()} for name, about, picture in begun]
        write_page(
            folder,
            "card.html",
            title=source.name,
            paragraph=text.paragraph(collected, source, options, (tables.calibration_error or {}).get("width")),
            warnings=text.warnings(collected, source, names),
            verdict=text.verdict_rows(tables.verdict),
            figures=figures,
            k=tables.k,
            pairs=[{"k": k, "rows": text.pair_rows(pairs, LISTED // 2)} for k, pairs in tables.pairs.items()],
            classes=text.class_rows(tables.classes, LISTED),
            classes_left_out=max(len(tables.classes) - LISTED, 0),
            worst=[] if pictures is not None else text.worst_rows(tables.worst),
            worst_notes=text.worst_notes(collected.worst),
            files=[*sorted(path.name for path in folder.glob("*.csv")), SUMMARY],
            provenance=text.provenance(collected, source, options),
        )
    return out / PAGE


def _pictures(place: str, samples: Samples) -> Pictures:
    return open_pictures(place, samples.ids, samples.labels, one_a_row=True)


def _class_names(source: Source, options: CardOptions, pictures: Pictures | None) -> list[str]:
    given = options.class_names or source.class_names or (pictures.class_names if pictures else None)
    if options.class_names is not None and len(options.class_names) != source.num_classes:
        raise RecordError(f"--class-names must name {source.num_classes} classes, got {len(options.class_names)}")
    if given is None or len(given) != source.num_classes:
        return [str(c) for c in range(source.num_classes)]
    return [visible(name) for name in given]


def _figures(
    collected: Collected, tables: Tables, names: list[str], pictures: Pictures | None
) -> Iterator[tuple[str, Callable[[], Drawing], text.FigureText]]:
    """The figures in the order of the page: name, how to draw it, words."""
    n = len(collected.samples.labels)
    yield "indicators", partial(draw.draw_indicators, tables.top_sets), text.top_sets_text(collected, tables)
    if tables.threshold_sets is not None:
        about = text.threshold_sets_text(collected, tables.threshold_sets)
        yield "thresholds", partial(draw.draw_indicators, tables.threshold_sets), about
    for k, (classes, _) in tables.matrices.items():
        counts = collected.tops.counts(k=k)
        made = partial(draw.draw_matrix, counts, classes, names, f"k = {k}")
        yield f"co_occurrence_k{k}", made, text.matrix_text(counts, classes, n)
    if tables.entropy is not None:
        yield "entropy", partial(draw.draw_entropy, tables.entropy), text.entropy_text(tables.entropy, n)
    if tables.calibration is not None and tables.calibration_error is not None:
        made = partial(draw.draw_reliability, tables.calibration["width"], tables.calibration_error["width"])
        yield "calibration", made, text.calibration_text(tables.calibration_error, collected)
    if len(tables.worst) and pictures is not None:
        shown = sorted(set(tables.worst.loc[tables.worst["place"] < draw.ACROSS, "row"].astype(int)))
        images = dict(zip(shown, pictures.at(shown), strict=True))
        yield "worst", partial(draw.draw_worst, tables.worst, images), text.worst_text(collected.worst, draw.ACROSS)


def _calibration(errors: dict[str, CalibrationError]) -> dict[str, Any]:
    """The plain error by binning, and beside it the debiased ones with their intervals."""
    plain = {name: error.value for name, error in errors.items()}
    return {"bins": BINS, **plain, "intervals": {name: vars(error) for name, error in errors.items()}}


def _guarantee(sure: Guarantee) -> dict[str, Any]:
    """Whether all classes meet the condition, and where not which: by number, with their sums and ends."""
    lacking = [
        {"class": c, "sum": float(value[c]), "low": float(low[c]), "high": float(high[c]), "fails": c in sure.failing}
        for value, low, high in [sure.sums]
        for c in (*sure.failing, *sure.undecided)
    ]
    return {"stands": sure.stands, "k": sure.k, "lacking": lacking}


def _summary(collected: Collected, tables: Tables, source: Source, options: CardOptions) -> dict[str, Any]:
    """Everything in the card's summary.json."""
    samples, error = collected.samples, tables.calibration_error
    best = tables.top_sets[tables.top_sets["k"] == tables.k].iloc[0].to_dict()
    return {
        "soft_labels": source.name,
        "fingerprint": collected.fingerprint,
        "biasvar": biasvar.__version__,
        "n": len(samples.labels),
        "clusters": None if samples.clusters is None else collected.tops.sets[0].units,
        "num_classes": source.num_classes,
        "level": LEVEL,
        "options": {name: getattr(options, name) for name in ("temperature", "normalize", "scores", "ties", "seed")},
        "accuracy": dict(zip(("value", "low", "high"), accuracy(collected), strict=True)),
        "mean_truth": float(samples.truth.mean()),
        "mean_entropy": None if samples.entropy is None else float(samples.entropy.mean()),
        "calibration_error": None if error is None else _calibration(error),
        "best": {name: value for name, value in best.items() if "_tie_" not in str(name)},
        "verdict": [vars(row) for row in tables.verdict],
        "guarantee": _guarantee(collected.tops.guarantee(level=LEVEL)),
    }
