"""The card's page and the files beside it: made in a temporary folder, then moved into place."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

import biasvar
from biasvar.analysis import calibration_error, reliability_table
from biasvar.analysis.statistics.proportions import clopper_pearson
from biasvar.errors import RecordError
from biasvar.report import style
from biasvar.report.card import figures, gallery, tables, words
from biasvar.report.card.collect import Collected, collect
from biasvar.report.card.options import CardOptions, default_out
from biasvar.report.card.source import Pictures, Source, open_pictures, open_source
from biasvar.report.card.verdict import LEVEL, Verdict, to_frame, verdicts
from biasvar.report.page import FLOATS, SUMMARY, TEMPLATES, into_place, write_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

BINS = 15
LISTED = 20  # rows of a table on the page; the file beside it has more
PAIRS = 200  # rows of that file


def write_card(options: CardOptions, formats: Sequence[str]) -> Path:
    """Write the page, tables, figures and summary of one card; returns the page's path.

    Everything is made in a temporary folder on the same disk and moved into place at the end, so a card that fails
    leaves an older one as it was.

    Raises FileNotFoundError, RecordError or ValueError saying what is wrong with the input, naming row and rule.
    """
    out = options.out or default_out(options)
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file; name a directory for the card")
    source = open_source(options)
    found = collect(source, options)
    samples = found.samples
    pictures = None if options.images is None else open_pictures(options.images, samples.ids, samples.labels)
    names = _names(source, options, pictures)
    with into_place(out) as folder, style.context():
        _Card(found, source, options, names, folder, formats).write(pictures)
    return out / "index.html"


def _names(source: Source, options: CardOptions, pictures: Pictures | None) -> list[str]:
    given = options.class_names or source.class_names or (pictures.class_names if pictures else None)
    if given is None:
        return [str(c) for c in range(source.num_classes)]
    if len(given) != source.num_classes:
        if options.class_names is None:
            return [str(c) for c in range(source.num_classes)]
        raise RecordError(f"--class-names must name {source.num_classes} classes, got {len(given)}")
    return list(given)


class _Card:
    """One card on its way into a folder."""

    def __init__(
        self,
        found: Collected,
        source: Source,
        options: CardOptions,
        names: list[str],
        folder: Path,
        formats: Sequence[str],
    ) -> None:
        self.found, self.source, self.options, self.names = found, source, options, names
        self.folder, self.formats = folder, formats
        self.n = len(found.samples.labels)
        self.figures: list[dict[str, Any]] = []

    def write(self, pictures: Pictures | None) -> None:
        found, names = self.found, self.names
        tops, samples = found.tops, found.samples
        rows = verdicts(found)
        self._table(to_frame(rows), "verdict")
        table = tops.table(level=LEVEL)
        self._sets(table)
        best = tops.best(level=LEVEL)
        k = int(best["k"])
        # At k = 1 only mistakes are seen; which labels share the top is seen at 2.
        details = [1, 2] if k == 1 and len(names) > 2 and 2 in [counts.k for counts in tops.sets] else [k]
        pairs = pd.concat([tops.pairs(k=one, top=PAIRS, level=LEVEL).assign(k=one) for one in details])
        self._table(tables.named(self.names, pairs, "true", "wrong"), "pairs")
        for one in details:
            self._matrix(one, pairs[pairs["k"] == one])
        classes = self._classes(k)
        error = self._quality()
        worst = gallery.worst_table(found.worst, samples, names) if found.worst else pd.DataFrame()
        if len(worst):
            self._table(worst, "worst")
        if len(worst) and pictures is not None:
            self._gallery(worst, pictures)
        self._summary(rows, table, k, error)
        about = {
            "title": self.source.name,
            "paragraph": words.paragraph(found, self.source, self.options, (error or {}).get("width")),
            "warnings": words.warnings(found, self.source, names),
            "verdict": words.verdict_rows(rows),
            "figures": self.figures,
            "k": k,
            "pairs": [tables.pair_rows(one, pairs[pairs["k"] == one].head(LISTED // 2), names) for one in details],
            "classes": tables.class_rows(classes, names, LISTED),
            "classes_left_out": max(len(classes) - LISTED, 0),
            "worst": [] if pictures is not None else tables.worst_rows(worst),
            "worst_notes": tables.worst_notes(found.worst),
            "files": [*sorted(path.name for path in self.folder.glob("*.csv")), SUMMARY],
            "provenance": words.provenance(found, self.source, self.options),
        }
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        page = environment.get_template("card.html").render(**about)
        (self.folder / "index.html").write_text(page, encoding="utf-8")

    def _table(self, frame: pd.DataFrame, name: str) -> None:
        frame.to_csv(self.folder / f"{name}.csv", index=False, lineterminator="\n", float_format=FLOATS)

    def _figure(self, drawing: Drawing, name: str, title: str, how: str, caption: str) -> None:
        style.lay_out(drawing)
        picture = io.BytesIO()
        style.save(drawing, picture, "png")
        for fmt in self.formats:
            path = self.folder / f"{name}.{fmt}"
            if fmt == "png":
                path.write_bytes(picture.getvalue())
            else:
                style.save(drawing, path, fmt)
        width, height = drawing.get_size_inches()
        self.figures.append(
            {
                "name": name, "number": len(self.figures) + 1, "title": title, "how_to_read": how, "caption": caption,
                "picture": base64.b64encode(picture.getvalue()).decode(),
                "width": round(100 * width), "height": round(100 * height),
                "files": [f"{name}.{fmt}" for fmt in self.formats],
            }
        )  # fmt: skip

    def _sets(self, table: pd.DataFrame) -> None:
        found = self.found
        table = tables.with_ties(table, found.tops)
        whole = table
        if found.masses is not None:
            whole = pd.concat([table, found.tops.with_margin(found.masses.table(level=LEVEL), LEVEL)])
        self._table(tables.named(self.names, whole, "worst_class", "worst_true", "worst_wrong"), "indicators")
        caption = words.set_caption(self.n, found.tops.sets[0].class_sizes, bool(table["ties"].any()))
        self._figure(
            figures.draw_indicators(table), "indicators", "Indicators against k",
            "Low Δ, γ and sum are good, high κ is. Judge by the k at which the sum is smallest: γ near 1 at a larger k "
            "is usual for an accurate network, since similar classes share the top of its labels.", caption,
        )  # fmt: skip
        if found.masses is not None:
            masses = found.masses.table(level=LEVEL)
            caption = words.set_caption(self.n, found.tops.sets[0].class_sizes, False)
            sizes = ", ".join(f"{size:,.2f}" for size in masses["set_size"])
            self._figure(
                figures.draw_indicators(masses), "thresholds", "The same for sets of all labels above a mass",
                "Sets vary in size here: a higher threshold lets fewer labels in.",
                f"Mean size of the sets, from left to right: {sizes}. {caption}",
            )  # fmt: skip

    def _matrix(self, k: int, pairs: pd.DataFrame) -> None:
        counts = self.found.tops.counts(k=k)
        classes = figures.chosen_classes(counts, pairs)
        name = f"co_occurrence_k{k}"
        grid = pd.DataFrame(
            [
                {"k": k, "true": c, "label": j, "share": counts.members[c, j] / counts.class_sizes[c],
                 "count": counts.members[c, j], "n": counts.class_sizes[c]}
                for c in classes for j in classes
            ]
        )  # fmt: skip
        self._table(tables.named(self.names, grid, "true", "label"), name)
        what = "is the largest entry" if k == 1 else f"is among the {k} largest entries"
        self._figure(
            figures.draw_matrix(counts, classes, self.names, f"k = {k}"), name,
            f"Which labels are singled out together, k = {k}",
            f"A row is a true class: how often each label {what} of its soft labels.",
            words.matrix_caption(counts, classes, self.n),
        )  # fmt: skip

    def _classes(self, k: int) -> pd.DataFrame:
        found = self.found
        frame = found.tops.per_class(k=k, level=LEVEL)
        size = len(frame)
        right = pd.Series(found.samples.correct).groupby(found.samples.labels).sum().reindex(range(size)).to_numpy()
        low, high = clopper_pearson(right, frame["n"].to_numpy(), 1.0 - LEVEL)
        student = found.tops.student_condition(level=LEVEL).to_frame()
        frame = frame.assign(
            accuracy=right / frame["n"], accuracy_low=low, accuracy_high=high, margin=student["margin"],
            margin_low=student["margin_low"], margin_high=student["margin_high"], margin_rival=student["rival"], k=k,
        )  # fmt: skip
        self._table(tables.named(self.names, frame, "class", "rival", "margin_rival"), "classes")
        return frame

    def _quality(self) -> dict[str, float] | None:
        samples = self.found.samples
        if samples.entropy is None or samples.confidence is None:
            return None
        entropies = figures.entropy_table(samples.entropy, samples.correct, self.source.num_classes)
        self._table(entropies, "entropy")
        logarithmic = " Counts on a logarithmic axis." if figures.log_counts(entropies) else ""
        self._figure(
            figures.draw_entropy(entropies), "entropy", "Entropy",
            "How much the soft labels leave open: 0 for a hard label.",
            f"n = {self.n:,}, {len(entropies)} bins. −Σ q ln q; ln K = {entropies['high'].iloc[-1]:.3f} for an even "
            f"soft label.{logarithmic}",
        )  # fmt: skip
        confidence = samples.confidence.clip(0.0, 1.0)
        error = {
            name: calibration_error(confidence, samples.correct, bins=BINS, binning=name) for name in ("width", "mass")
        }
        bins = {
            name: reliability_table(confidence, samples.correct, bins=BINS, binning=name, level=LEVEL) for name in error
        }
        self._table(pd.concat([table.assign(binning=name) for name, table in bins.items()]), "calibration")
        self._figure(
            figures.draw_reliability(bins["width"], error["width"]), "calibration", "Calibration",
            "On the dashed line a soft label of confidence 0.8 is right in 80 % of samples; below it, it is too sure.",
            f"n = {self.n:,}. {BINS} bins of equal width, empty ones left out; bars: 95 % Clopper-Pearson, each bin by "
            f"itself; orange: the gap. Expected calibration error {error['width']:.4f} in these bins, "
            f"{error['mass']:.4f} in {BINS} bins of equally many samples: the mean gap over bins, weighted by samples, "
            "which leans upwards.",
        )  # fmt: skip
        return error

    def _gallery(self, worst: pd.DataFrame, pictures: Pictures) -> None:
        shown = sorted(set(worst.loc[worst["place"] < gallery.ACROSS, "row"].astype(int)))
        images = dict(zip(shown, pictures.at(shown), strict=True))
        self._figure(
            gallery.draw_gallery(worst, images), "worst", "The worst samples",
            "Above each image its true class; below, the labels with most mass, the truth in blue.",
            f"The {gallery.ACROSS} most extreme of each kind. " + " ".join(tables.worst_notes(self.found.worst)),
        )  # fmt: skip

    def _summary(self, rows: list[Verdict], table: pd.DataFrame, k: int, error: dict[str, float] | None) -> None:
        samples = self.found.samples
        right = words.accuracy(self.found)
        best = table[table["k"] == k].iloc[0]
        summary = {
            "soft_labels": self.source.name, "fingerprint": self.found.fingerprint, "biasvar": biasvar.__version__,
            "n": self.n, "num_classes": self.source.num_classes, "level": LEVEL,
            "options": {"temperature": self.options.temperature, "normalize": self.options.normalize,
                        "scores": self.options.scores, "ties": self.options.ties, "seed": self.options.seed},
            "accuracy": dict(zip(("value", "low", "high"), right, strict=True)),
            "mean_truth": float(samples.truth.mean()),
            "mean_entropy": None if samples.entropy is None else float(samples.entropy.mean()),
            "calibration_error": None if error is None else {"bins": BINS, **error},
            "best": best.to_dict(),
            "verdict": [vars(row) for row in rows],
        }  # fmt: skip
        write_summary(self.folder, words.plain(summary))
