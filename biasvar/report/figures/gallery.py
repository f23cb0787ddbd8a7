"""The samples with the strongest terms, as images, with what teacher and students say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_arms, reference_arm, taken_over
from biasvar.report.figure import Figure
from biasvar.report.marks import images, legends
from biasvar.report.pictures import PicturedRun, pictures_of
from biasvar.report.statistics import own_samples, stored
from biasvar.report.statistics.changes import SampleChange, change, each, unstyled
from biasvar.report.text.captions import any_own, conditions
from biasvar.report.text.numbers import signed
from biasvar.report.truth import dataset_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run
    from biasvar.records.reader import Predictions

COLUMNS = [
    "run", "arm", "label", "control", "control_label", "row", "place", "sample_id", "true_class", "d_bias", "se_bias",
    "d_variance", "se_variance", "flagged", "has_image", "series", "class", "class_name", "probability", "teacher",
    "n_replicas", "n_samples", "epoch",
]  # fmt: skip
ACROSS = 4
IMAGE, IMAGE_ON_NARROW = 0.42, 0.36  # of the width of a sample; its numbers stand beside it
ROWS = {
    "bias up most": ("d_bias", False),
    "bias down most": ("d_bias", True),
    "variance down most": ("d_variance", True),
    "flagged most": ("flagged", False),
}
SERIES = ("teacher", "control", "treatment")
MOST_CLASSES = 12
TRUE_CLASS = "#fff1c9"


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, row of the gallery, sample, series and class; the images travel in `attrs`."""
    rows: list[dict[str, Any]] = []
    pictures: dict[tuple[str, int], np.ndarray] = {}
    for run in runs:
        pair = _pair(run)
        if pair and not set(pair) <= taken_over(run, runs):
            rows += _of_run(run, *pair, pictures)
    frame = style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)
    frame.attrs["images"] = images.Images(pictures)
    return frame


def _pair(run: Run) -> tuple[str, str] | None:
    """The first pair of claim W6; without it the first arm after cross-entropy, distillation before others."""
    failed = failed_arms(run)
    claims = (run.manifest.get("claims") or {}).get("W6") or []
    pairs = [(str(entry.get("treatment")), str(entry.get("control"))) for entry in claims]
    control = reference_arm(run)
    others = [arm for arm in run.arms if arm != control]
    others.sort(key=lambda arm: run.entry(arm).plays != "distillation")
    if control is not None:
        pairs += [(arm, control) for arm in others]
    sound = (pair for pair in pairs if all(arm in run.arms and arm not in failed for arm in pair))
    return next((pair for pair in sound if change(run, *pair) is not None), None)


def _of_run(run: Run, arm: str, control: str, shown: dict[tuple[str, int], np.ndarray]) -> list[dict[str, Any]]:
    changed = change(run, arm, control)
    if changed is None or run.num_classes > MOST_CLASSES:
        return []
    frame = changed.frame.assign(flagged=_flagged(run, changed))
    terms = stored.terms(run, arm)
    labels = dict(zip(terms.sample_ids, terms.labels, strict=True)) if terms is not None else {}
    distributions = _distributions(run, arm, control)
    pictures = None if isinstance(run, PicturedRun) else _pictures(run)
    names = run.manifest.get("class_names") or list(map(str, range(run.num_classes)))
    rows = []
    for row, (column, rising) in ROWS.items():
        # Of samples that are flagged equally often, those whose terms change most.
        size = frame["d_bias"].abs() + frame["d_variance"].abs()
        order = frame.assign(key=frame[column] * (1 if rising else -1), size=-size).dropna(subset=["key"])
        for place, one in enumerate(each(order.sort_values(["key", "size"]).head(ACROSS))):
            number = int(one.sample_id)
            given = pictures_of(run, changed.split, [number])
            if number in given:
                shown[run.name, number] = given[number]
            elif pictures is not None and number < len(pictures):
                shown[run.name, number] = pictures[number]
            about = {
                "run": run.name,
                "arm": arm,
                "label": arm_label(run, arm),
                "control": control,
                "control_label": arm_label(run, control),
                "row": row,
                "place": place,
                "sample_id": number,
                "true_class": int(labels[number]),
                **{name: getattr(one, name) for name in ("d_bias", "se_bias", "d_variance", "se_variance", "flagged")},
                "has_image": (run.name, number) in shown,
                "teacher": run.entry(arm).teacher,
                "n_replicas": changed.n_replicas,
                "n_samples": changed.n_samples,
                "epoch": changed.epoch,
            }
            for series, by_sample in distributions.items():
                for number_of_class, probability in enumerate(by_sample[number]):
                    about_class = {"class": number_of_class, "class_name": names[number_of_class]}
                    rows.append({**about, "series": series, **about_class, "probability": float(probability)})
    return rows


def _flagged(run: Run, found: SampleChange) -> np.ndarray:
    """The share of the treatment's replicas that flag each sample in the clean pass; NaN without a record of it."""
    records = stored.records(
        run, found.treatment, found.split, "clean", (found.epoch,), ("replica", "sample_id", "opposing")
    )
    if records is None or records["opposing"].isna().any():
        return np.full(found.n_samples, np.nan)
    share = records["opposing"].astype(float).groupby(records["sample_id"]).mean()
    return share.reindex(found.frame["sample_id"]).to_numpy()


def _distributions(run: Run, arm: str, control: str) -> dict[str, dict[int, np.ndarray]]:
    """By series and sample: the teacher's distribution and both arms' normalised geometric means, at temperature 1."""
    result: dict[str, dict[int, np.ndarray]] = {}
    name = run.entry(arm).teacher
    if name and (run.directory / "teachers" / f"{name}.parquet").is_file():
        teacher = run.teacher(name)
        logits = teacher.logits.astype(np.float64)
        log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        mean = log_probs if logits.ndim == 2 else log_probs.mean(axis=0)
        result["teacher"] = _by_sample(teacher.sample_ids, mean)
    for series, one in (("control", control), ("treatment", arm)):
        predictions = run.predictions(one)
        result[series] = _by_sample(predictions.sample_ids, _geometric(predictions))
    return result


def _geometric(found: Predictions) -> np.ndarray:
    weights = found.counts / np.maximum(found.counts.sum(axis=0), 1)
    return (weights[:, :, None] * found.mean_log_probs).sum(axis=0)


def _by_sample(ids: np.ndarray, logits: np.ndarray) -> dict[int, np.ndarray]:
    probs = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
    return dict(zip(ids.tolist(), probs, strict=True))


def _pictures(run: Run) -> np.ndarray | None:
    """The images of the run's data by sample_id; None where they are not at hand or not the same, and of features."""
    if (run.manifest.get("data") or {}).get("features"):
        return None
    try:
        return dataset_of(run).images
    except (ValueError, OSError):
        return None


def draw(frame: pd.DataFrame) -> Drawing:
    """Four samples across; each an image, its numbers, and a small chart of three distributions."""
    styles, bare = unstyled(frame)
    pictures: dict[tuple[str, int], np.ndarray] = frame.attrs.get("images", {})
    upright, several = _upright(bare), bare["run"].nunique() > 1
    blocks = list(bare.groupby(["run", "row"], sort=False))
    counts = [
        ((f"{run}: " if several else "") + str(row).capitalize(), block["place"].nunique())
        for (run, row), block in blocks
    ]
    entries = _entries(bare)
    figure, places = images.lists(
        counts,
        across=ACROSS,
        on_narrow=2,
        height=2.45 if upright else 2.0,
        ratios=[1.0, 1.15],
        more=0.3 + 0.19 * len(entries),
    )
    legends.below(figure, entries, columns=1)
    across = style.abreast(ACROSS, on_narrow=2)
    for ((run, _), block), of_block in zip(blocks, places, strict=True):
        for at, ((top, bottom), (_, one)) in enumerate(zip(of_block, block.groupby("place"), strict=True)):
            top.set_axis_off()
            _picture(top, one, pictures.get((str(run), int(one["sample_id"].iloc[0]))))
            _chart(bottom, one, styles, named=at % across == 0, upright=upright)
    return figure


def _entries(frame: pd.DataFrame) -> list[Any]:
    """What the numbers and the bars of a sample are."""
    said = ["bias, var.: change of bias and variance, nats"]
    if frame["flagged"].notna().any():
        said.append("flagged: replicas whose regularization sample it is")
    pairs = ", ".join(dict.fromkeys(f"{row.control_label} → {row.label}" for row in each(frame)))
    said += [f"p: mean probability of the true class, {pairs}", "bars: mean probability of each class"]
    return [*(legends.dot("", text) for text in said), legends.patch(TRUE_CLASS, "the true class")]


def _upright(frame: pd.DataFrame) -> bool:
    """True if the names of the classes are too long to stand side by side."""
    names = frame.drop_duplicates(["run", "class"])
    return bool((names.groupby("run")["class_name"].agg(lambda part: part.astype(str).str.len().sum()) > 16).any())


def _picture(ax: Any, rows: pd.DataFrame, image: np.ndarray | None) -> None:
    """The image at the left, the numbers of the sample's rows at the right."""
    one: Any = rows.iloc[0]
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    wide = IMAGE_ON_NARROW if style.narrow() else IMAGE
    inset = ax.inset_axes((0.0, 0.0, wide, 1.0))
    images.draw(inset, image, frame=True)
    inset.set_anchor("W")
    flagged = "" if pd.isna(one.flagged) else f"\nflagged {100 * one.flagged:.0f} %"
    of_truth = rows[rows["class"] == one.true_class].set_index("series")["probability"]
    from_to = f"p {_probability(of_truth['control'])} → {_probability(of_truth['treatment'])}"
    text = f"id {one.sample_id}\nbias {_signed(one.d_bias)}\nvar. {_signed(one.d_variance)}\n{from_to}{flagged}"
    ax.text(wide + 0.04, 1.0, text, va="top", fontsize=9, linespacing=1.1)


def _chart(ax: Any, one: pd.DataFrame, styles: dict[str, style.Look], *, named: bool, upright: bool) -> None:
    """Three small bar charts over one another, the true class shaded."""
    first = one.iloc[0]
    colors = {"teacher": "#8c8c8c", "control": styles[first.control].color, "treatment": styles[first.arm].color}
    labels = {"teacher": "teacher", "control": first.control_label, "treatment": first.label}
    there = [series for series in SERIES if series in set(one["series"])]
    ax.axvspan(first.true_class - 0.5, first.true_class + 0.5, color=TRUE_CLASS, linewidth=0)
    for level, series in enumerate(reversed(there)):
        part = one[one["series"] == series]
        ax.bar(part["class"], part["probability"], bottom=1.2 * level, width=0.72, color=colors[series])
        ax.axhline(1.2 * level, color=style.MUTED, linewidth=0.7)
    names = one.drop_duplicates("class").set_index("class")["class_name"]
    ax.set_xticks(names.index, names, fontsize=9, rotation=90 if upright else 0)
    for tick, number in zip(ax.get_xticklabels(), names.index, strict=True):
        tick.set_weight("bold" if number == first.true_class else "normal")
    ax.set_yticks(
        [1.2 * level + 0.45 for level in range(len(there))],
        [labels[series] for series in reversed(there)] if named else [""] * len(there),
    )
    ax.tick_params(length=0)
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_visible(False)
    ax.grid(visible=False)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.set_ylim(0, 1.2 * len(there) - 0.15)


def _signed(value: float) -> str:
    return signed(value, 2 if abs(value) >= 0.1 else 3)


def _probability(value: float) -> str:
    """In few characters: two decimals, one digit and its power of ten where these would be 0."""
    if value < 0.005:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.2f}".removeprefix("0") if value < 0.995 else "1.0"


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """What is shown, of how many, and where images are missing."""
    own = {run.name for run in runs if own_samples.is_own(run)}
    said = "; ".join(
        f"{row.run + ': ' if len(runs) > 1 else ''}{row.label} against {row.control_label}, "
        f"n = {row.n_samples:,} test rows, {row.n_replicas} replicas, "
        + ("after training" if row.run in own else f"epoch {row.epoch}")
        for row in each(frame.drop_duplicates("run"))
    )
    gap = ""
    if not frame["has_image"].all():
        gap = " No image where the data is not at hand or differs from what was trained on."
        if all(own_samples.is_own(run) for run in runs):
            gap = " No images: they come with --images."
        elif all((run.manifest.get("data") or {}).get("features") for run in runs):
            gap = " The rows are vectors of features, which have no image."
    given = sorted(
        {pictures.rule for run in runs if isinstance(run, PicturedRun) for _, pictures in run.pictures.values()}
    )
    gap += f" Images were found {' and '.join(given)}." if given else ""
    flag = (
        "; flagged: share of replicas in which the row is a regularization sample (b > |a|, not augmented)"
        if frame["flagged"].notna().any()
        else ""
    )
    teacher = "the teacher's, and " if _has_teacher(frame) else ""
    return (
        f"The extremes of the test rows ({said}): chosen for being extreme, so each change leans to overstate. "
        f"Numbers: change of corrected bias and variance (var.), nats{flag}. Bars: probability of each class at "
        f"temperature 1, the full height being 1: {teacher}the students' mean prediction (normalised geometric mean "
        f"over replicas). Shaded and bold: the true class.{gap} {conditions(runs)}"
    )


def how_to_read(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Whose answers stand under an image."""
    whose = "its teacher and the mean student make" if _has_teacher(frame) else "the mean student makes"
    of = "by both arms" if any_own(frame, runs) else "without and with the soft label"
    return (
        f"Under each sample's image stands what {whose} of it, {of}. Bias is in logs of the true class's probability: "
        "where that falls from .01 to .0001 it grows by 4.6 nats, and no bar shows either."
    )


def _has_teacher(frame: pd.DataFrame) -> bool:
    return bool((frame["series"] == "teacher").any())


FIGURE = Figure(
    name="gallery",
    title="The samples with the strongest terms",
    how_to_read=how_to_read,
    needs="predictions of a cross-entropy arm and another arm on test rows, of at most 12 classes",
    collect=collect,
    draw=draw,
    caption=caption,
    roles=("main",),
)
