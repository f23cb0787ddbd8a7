"""How figures speak of arms: names of rows, entries of legends, and which arms have failed replicas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from biasvar.report import style
from biasvar.report.arms import soft_labels
from biasvar.report.arms.series import SYMBOLS
from biasvar.report.arms.sweep import LOSSES
from biasvar.report.marks import legends
from biasvar.report.marks.labels import shortened

if TYPE_CHECKING:
    import pandas as pd

    from biasvar.records import Run

LONGEST_NOTE = 90  # characters that fit the width of a figure
LONGEST_NAME = 36  # letters of an arm's name in a picture
NAMES = ("label", "control_label", "teacher_label", "series")  # columns that hold what a picture calls arms
STOPPED = ", stopped after "  # in the name of a regime
UNTAUGHT = "‡"  # beside the name of an arm whose mask leaves it hardly any soft labels
OTHER_LOOKS = (("#5c4426", "P", "-."), ("#c9a66b", "X", ":"), ("#8c564b", "v", "--"), ("#7f7f7f", "p", "-"))


def with_titles(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The frame, carrying for `titled` what pictures call each of several runs: what its title alone says.

    That is where all titles begin alike, up to a mark, and go on differently; else runs are called by their names.
    """
    titles = [str(run.manifest.get("title") or "") for run in runs]
    letters = takewhile(lambda one: len(set(one)) == 1, zip(*titles, strict=False))
    alike = re.match(r".*[:?.;,] ", "".join(one[0] for one in letters))
    ends = [title[alike.end() :] for title in titles] if alike else []
    if len(runs) > 1 and len(set(ends)) == len(runs) and all(0 < len(end) <= LONGEST_NAME for end in ends):
        frame.attrs["titles"] = {run.name: end for run, end in zip(runs, ends, strict=True)}
    return frame


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with runs called as `with_titles` has it; one with images, which lie by the run's name, as it is."""
    titles: dict[str, str] = frame.attrs.get("titles") or {}
    if not titles or "images" in frame.attrs:
        return frame
    shown = frame.assign(run=frame["run"].map(lambda name: titles.get(name, name)))
    shown.attrs = dict(frame.attrs)
    return shown


def with_short_names(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame and its looks with names of at most `LONGEST_NAME` letters, shortened in the middle, none twice.

    Arms of a sweep that have no label of their own are called by their loss; those of `attrs["untaught"]` get a mark.
    The frame itself, whose table and caption have the whole names, is left as it is.
    """
    columns = [name for name in NAMES if name in frame]
    looks: dict[str, style.Look] = frame.attrs.get("styles") or {}
    names = {str(name) for column in columns for name in frame[column].dropna()} | {one.label for one in looks.values()}
    short = _short_names(sorted(names), _by_loss(frame))
    short |= {name: f"{short[name]} {UNTAUGHT}" for name in frame.attrs.get("untaught", ()) if name in short}
    if all(name == said for name, said in short.items()):
        return frame
    attrs = {key: value for key, value in frame.attrs.items() if key != "styles"}
    shown = frame.assign(**{column: frame[column].map(lambda name: short.get(name, name)) for column in columns})
    shown.attrs = attrs
    if not looks:
        return shown
    return style.with_looks(shown, {arm: replace(look, label=short[look.label]) for arm, look in looks.items()})


def _by_loss(frame: pd.DataFrame) -> dict[str, str]:
    """The labels of a sweep that begin with an arm's name, and with its loss in words: cross-entropy, width 8."""
    if not {"arm", "label", "loss"} <= set(frame.columns):
        return {}
    found: dict[str, str] = {}
    for arm, label, loss in frame[["arm", "label", "loss"]].drop_duplicates().itertuples(index=False):
        name, comma, values = str(label).partition(",")
        if comma and loss in LOSSES and str(arm).startswith(f"{name}_"):
            found[str(label)] = f"{LOSSES[loss]},{values}"
    return found


def _short_names(names: Iterable[str], said: dict[str, str]) -> dict[str, str]:
    """Each name's short one, of what is said for it if anything; those that would be alike get a number."""
    short: dict[str, str] = {}
    for name in names:
        whole, number = said.get(name, name), 1
        new = shortened(whole, LONGEST_NAME)
        while new in short.values():
            number += 1
            new = f"{shortened(whole, LONGEST_NAME - 3 - len(str(number)))} ({number})"
        short[name] = new
    return short


def row_names(frame: pd.DataFrame) -> list[str]:
    """The label of each run's arms in the order of the frame, with a dagger for an arm with failed replicas."""
    named = frame.drop_duplicates(["run", "arm"])
    return [
        f"{label} †" if failed else str(label) for label, failed in zip(named["label"], named["failed"], strict=True)
    ]


def regime_entries(frame: pd.DataFrame, *, hollow: bool = True) -> list[Any]:
    """A legend entry for each teacher regime of the frame, and one that explains the dagger where there is one.

    With `hollow` it says too that dots of failed arms are hollow; without, that they are not.
    """
    regimes = [name for name in dict.fromkeys(frame["regime"]) if set(frame["regime"]) != {"none"}]
    entries = [legends.dot(marker, text) for marker, text in _by_marker(regimes)]
    note = failure_note(frame)
    if len(note) > LONGEST_NOTE:  # the caption has it
        note = "replicas at chance or not finite (see below)"
    return [*entries, legends.dot("o" if hollow else "", f"† {note}", hollow=True)] if note else entries


def _by_marker(regimes: list[str]) -> list[tuple[str, str]]:
    """(marker, label) of teacher regimes; those that differ only in when the teacher was stopped have one marker."""
    stopped: dict[tuple[str, str], list[str]] = {}
    for name in regimes:
        trained, _, when = style.regime_label(name).partition(STOPPED)
        stopped.setdefault((style.regime_marker(name), trained), []).append(when)
    return [
        (marker, trained + (STOPPED + " or ".join(when) if all(when) else ""))
        for (marker, trained), when in stopped.items()
    ]


def kind_entries(kinds: Iterable[str]) -> list[Any]:
    """A legend entry for each of some kinds of soft labels, in the order of all kinds."""
    shown = set(kinds)
    looks = [look for kind, look in soft_labels.KINDS.items() if kind in shown]
    return [legends.dot(look.marker, look.label, color=look.color, size=6.5) for look in looks]


def failed_arms_in(frame: pd.DataFrame, *, of: str = "n_replicas") -> str:
    """The arms of a frame with failed replicas and how many of the column `of`: "KD, 4 of 16"; empty if none has."""
    failed = frame[frame["failed"] > 0].drop_duplicates(["run", "arm"])
    several = of == "replicas" and frame["run"].nunique() > 1
    return "; ".join(
        (f"{row['run']}: " if several else "") + f"{row['label']}, {row['failed']} of {row[of]}"
        for row in failed.to_dict("records")
    )


def failure_note(frame: pd.DataFrame) -> str:
    """Which arms have failed replicas, as a caption says it; empty if none has."""
    said = failed_arms_in(frame, of="replicas")
    return f"replicas at chance or not finite ({said})" if said else ""


def dagger_note(frame: pd.DataFrame) -> str:
    """The same as a sentence for lines that a dagger marks, with a space before it."""
    said = failed_arms_in(frame)
    return f" † With replicas at chance or not finite: {said}." if said else ""


def series_looks(frame: pd.DataFrame) -> dict[str, style.Look]:
    """The look of every series of arms: its reference arm's, unless another has it already, as arms of one role do."""
    styles = style.styles_of(frame)
    found: dict[str, style.Look] = {}
    others = iter(OTHER_LOOKS * 3)
    named = frame[frame["series"].notna() & (frame["series"] != "")].drop_duplicates("series")
    for name, reference, arm in zip(named["series"], named["reference"], named["arm"], strict=True):
        look = styles.get(str(reference)) or styles[str(arm)]  # a frame of some arms may lack it
        if any((look.color, look.marker) == (other.color, other.marker) for other in found.values()):
            look = style.Look(*next(others), look.label)
        found[str(name)] = replace(look, label=str(name))
    return found


def held_settings(frame: pd.DataFrame) -> str:
    """The settings that the arms of the frame share, as "α 2.25" or "τ 2 and 4"; empty if there is none."""
    said = []
    for name, rows in frame[frame["held_value"].notna()].groupby("held", sort=False):
        values = sorted(set(rows["held_value"].astype(float)))
        said.append(f"{SYMBOLS[str(name)]} {' and '.join(f'{value:g}' for value in values)}")
    return ", ".join(said)


def hollow_note(frame: pd.DataFrame) -> str:
    """Which arms of a series have failed replicas, as a sentence with a space before it; empty if none has."""
    said = failed_arms_in(frame)
    return f" Hollow: with replicas at chance or not finite ({said}); these do not set the scale." if said else ""
