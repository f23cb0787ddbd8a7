"""The samples with the strongest terms of one's own run as images, with their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biasvar.report import style
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import named_control, reference_arm
from biasvar.report.figure import Figure
from biasvar.report.marks import images, masses
from biasvar.report.pictures import PicturedRun, pictures_of
from biasvar.report.statistics import own_samples
from biasvar.report.statistics.changes import each, unstyled
from biasvar.report.statistics.strongest import strongest_of
from biasvar.report.text.captions import conditions_in
from biasvar.report.text.numbers import level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run

COLUMNS = [
    "run", "arm", "label", "split", "row", "place", "sample_id", "name", "true_class", "class_name", "bias",
    "bias_stderr", "variance", "variance_stderr", "confidence", "variability", "accuracy", "over", "flag_share",
    "weight", "class", "predicted", "probability", "n_samples", "n_replicas",
]  # fmt: skip
ACROSS = 6
LABELS_SHOWN = 3


def collect(runs: list[Run]) -> pd.DataFrame:
    """One row per run, list, sample and label that the mean student names most; the images travel in `attrs`."""
    rows: list[dict[str, Any]] = []
    pictures: dict[tuple[str, int], np.ndarray] = {}
    for run in runs:
        arm = _arm(run) if isinstance(run, PicturedRun) else None
        if arm is not None:
            rows += _of_arm(run, arm, pictures)
    frame = style.styled(pd.DataFrame(rows, columns=COLUMNS), runs)
    frame.attrs["images"] = images.Images(pictures)
    return frame


def _arm(run: Run) -> str | None:
    """The first arm that others are not compared with; else the first."""
    arms = own_samples.own_arms(run)
    controls = {reference_arm(run), *(named_control(run, arm) for arm in arms)}
    return next((arm for arm in arms if arm not in controls), arms[0] if arms else None)


def _of_arm(run: Run, arm: str, shown: dict[tuple[str, int], np.ndarray]) -> list[dict[str, Any]]:
    place = own_samples.main_place(run, arm)
    found = strongest_of(run, arm)
    lists = {title: frame.head(ACROSS) for title, frame in found.lists().items()}
    ids = {int(number) for frame in lists.values() for number in frame["sample_id"]}
    pictures = pictures_of(run, place.split, ids)
    if not pictures:
        return []
    shown |= {(run.name, number): image for number, image in pictures.items()}
    means = own_samples.mean_predictions(run, arm, place, ids)
    names = own_samples.class_names(run)
    about = {"label": arm_label(run, arm), "n_samples": found.n}
    rows = []
    for title, frame in lists.items():
        for at, sample in enumerate(frame.to_dict("records")):
            one: dict[str, Any] = {
                **{str(key): value for key, value in sample.items()},
                **about,
                "row": title,
                "place": at,
                "n_replicas": sample["replicas"],
            }
            mean = means.get(sample["sample_id"])
            if mean is None:
                rows.append(one)
                continue
            order = np.argsort(-mean, kind="stable")[:LABELS_SHOWN].tolist()
            order += [] if sample["true_class"] in order else [sample["true_class"]]
            rows += [{**one, "class": c, "predicted": names[c], "probability": float(mean[c])} for c in order]
    return rows


def draw(frame: pd.DataFrame) -> Drawing:
    """Six samples across; each an image between its class and its id, and bars of what the mean student says."""
    _, bare = unstyled(frame)
    pictures: dict[tuple[str, int], np.ndarray] = frame.attrs.get("images", {})
    barred, several = bool(bare["probability"].notna().any()), bare["run"].nunique() > 1
    blocks = list(bare.groupby(["run", "row"], sort=False))
    counts = [((f"{run}: " if several else "") + str(row), block["place"].nunique()) for (run, row), block in blocks]
    figure, places = images.lists(
        counts, across=ACROSS, on_narrow=ACROSS // 2, height=2.65 if barred else 1.65,
        ratios=[1.25, 1.0][: 1 + barred], more=masses.LEGEND * barred,
    )  # fmt: skip
    width = masses.room(figure, style.abreast(ACROSS, on_narrow=ACROSS // 2))
    top = {
        run: max(float(image.max()) for (name, _), image in pictures.items() if name == run) for run in set(bare["run"])
    }
    for ((run, _), block), of_block in zip(blocks, places, strict=True):
        for axes, (_, sample) in zip(of_block, block.groupby("place"), strict=True):
            _sample(axes, sample, pictures[str(run), int(sample["sample_id"].iloc[0])], top[run], width)
    if barred:
        masses.legend(figure, "probability by the mean student")
    return figure


def _sample(axes: Sequence[Axes], labels: pd.DataFrame, image: np.ndarray, top: float, width: float) -> None:
    for ax in axes:
        images.bare(ax)
    first, upper = each(labels)[0], axes[0]
    images.draw(upper, image, top=top)
    upper.set_title(masses.short(str(first.class_name), masses.WIDEST_BY_IMAGE), fontsize=9.5, loc="center")
    upper.set_xlabel(f"id {first.sample_id}\n{_said(first)}", fontsize=9, labelpad=2)
    if len(axes) > 1 and labels["probability"].notna().all():
        truth = (labels["class"] == labels["true_class"]).tolist()
        masses.draw(axes[1], labels["predicted"].tolist(), labels["probability"].tolist(), truth, width=width)


def _said(sample: Any) -> str:
    """The number that a sample is listed for, with its error where it has one."""
    if sample.row.startswith("Most often"):
        return f"flagged {100 * sample.flag_share:.0f} %"
    if sample.row.startswith("Least"):
        return f"truth {sample.confidence:.2f}"
    term = "bias" if sample.row == "Most bias" else "variance"
    value, error = getattr(sample, term), getattr(sample, f"{term}_stderr")
    return level(value, 2) + ("" if np.isnan(error) else f" ± {error:.2f}") + " nats"


def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
    """Which arm, of how many samples, what the numbers are, how images were found."""
    several = frame["run"].nunique() > 1
    said = "; ".join(
        f"{f'{row.run}, ' if several else ''}{row.label}, of n = {row.n_samples:,} {row.split} samples, "
        f"{row.n_replicas} replicas"
        for row in each(frame.drop_duplicates("run"))
    )
    rules = sorted({rule for run in runs if isinstance(run, PicturedRun) for rule in _rules(run)})
    bars = (
        " Bars: probability of the most likely classes and of the truth (blue) by the mean prediction, the normalised "
        "geometric mean over replicas."
        if frame["probability"].notna().any()
        else ""
    )
    return (
        f"The extremes of {said}: chosen for being extreme, so each number leans to overstate. Above an image the true "
        "class, below it the sample id and what it is listed for: bias and variance in nats, corrected, ± jackknife "
        "standard error over replicas; flagged: share of epochs and replicas in which it is a regularization sample."
        f"{bars} Images were found {' and '.join(rules)}. {conditions_in(frame, runs)}"
    )


def _rules(run: PicturedRun) -> list[str]:
    return [pictures.rule for _, pictures in run.pictures.values()]


FIGURE = Figure(
    name="strongest",
    title="The strongest samples as images",
    how_to_read="A high bias is a sample that all replicas miss alike: look for a wrong label or a rare kind. A high "
    "variance is one that they disagree about.",
    needs="a record of your own loop, or imported predictions, and --images",
    collect=collect,
    draw=draw,
    caption=caption,
    kinds=own_samples.OWN,
)
