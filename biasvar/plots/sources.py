"""What a figure is drawn from: runs, as a report opens them, or a frame, as a figure collects it."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd

from biasvar.messages import first_few
from biasvar.records import Redraws, Run
from biasvar.report.arms.own_claims import ask_claims
from biasvar.report.arms.roles import baseline_of
from biasvar.report.page import open_runs, told_apart
from biasvar.report.pictures import with_pictures
from biasvar.report.redraws import redraws_among
from biasvar.report.statistics import own_samples
from biasvar.report.truth import against_people

MARKED = ("'=", "'+", "'-", "'@")
"""How texts begin in a CSV that a spreadsheet would take for formulas: see `biasvar.report.output.as_text`."""

EMPTY = {"against", "control", "reference", "series", "setting", "unlearned"}
"""Columns of texts which no row need have: pandas reads them as numbers where none has."""

_READY: WeakKeyDictionary[Run, Run] = WeakKeyDictionary()


def opened(source: Any) -> list[Run]:
    """The runs of a source, ready to be drawn; those that are given stay as they are.

    Raises:
        ValueError: The source is neither a run nor a directory, nor a list of them.
        FileNotFoundError, RecordError: As `biasvar.open_run`.
    """
    if isinstance(source, Redraws):
        return list(source.runs)
    items = list(source) if isinstance(source, Sequence) and not isinstance(source, str) else [source]
    if not items:
        raise ValueError("source holds no run")
    for item in items:
        if not isinstance(item, Run | str | os.PathLike):
            raise ValueError(
                "source must be a run, its directory, a list of these, or the figure's frame, not "
                f"{type(item).__name__}"
            )
    places = [Path(item) for item in items if not isinstance(item, Run)]
    redraws = redraws_among(places) if len(places) == len(items) else None
    if redraws is not None:
        return list(redraws.runs)
    return told_apart([_ready(item) if isinstance(item, Run) else _ready(open_runs([Path(item)])[0]) for item in items])


def _ready(run: Run) -> Run:
    """A copy of the run that has been asked its claims, the same at each call."""
    if run not in _READY:
        ready = copy.copy(run)
        ready.manifest = copy.deepcopy(run.manifest)
        ask_claims(ready)
        _READY[run] = ready
    return _READY[run]


def narrowed(run: Run, arms: Sequence[str]) -> Run:
    """The run as if it had no other arms than these and those that they are compared with."""
    kept = {*arms} | {baseline_of(run, arm) for arm in arms if arm in run.arms}
    fewer = copy.copy(run)
    fewer.__dict__["arms"] = [arm for arm in run.arms if arm in kept]
    return fewer


def with_images(value: Any, runs: list[Run]) -> list[Run]:
    """The runs with images of their samples, from a file, a folder or a data set.

    Raises:
        ValueError: It is no path; or as `biasvar.report.pictures.with_pictures`.
    """
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"images must be a path or the name of a data set, not {type(value).__name__}")
    pictured: list[Run] = []
    for run in runs:
        splits = [own_samples.main_place(run, arm).split for arm in own_samples.own_arms(run)]
        pictured.append(with_pictures(run, os.fspath(value), ["test", *splits]))
    return pictured


def against(value: Any, runs: list[Run]) -> list[Run]:
    """The runs with people's labels as the truth of their test rows; RecordError as `against_people`."""
    if not isinstance(value, str):
        raise ValueError(f"people must be the name of people's labels, not {type(value).__name__}")
    return [against_people(run, value) for run in runs]


def as_collected(frame: pd.DataFrame, name: str, columns: Sequence[str] | None) -> pd.DataFrame:
    """A figure's frame as it collected it, also if it was read from a CSV file.

    Raises:
        ValueError: It lacks a column of the figure, as that of another does and one of an older report may; or it has
            no rows.
    """
    lacking = [column for column in columns or ("run",) if column not in frame]
    if lacking:
        raise ValueError(
            f"this is not the frame of {name}: it lacks {first_few(lacking)}; a report of this version writes it as "
            f"{name}.csv"
        )
    if frame.empty:
        raise ValueError(f"the frame of {name} has no rows")
    return frame if "styles" in frame.attrs else with_texts(frame)


def with_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of a report's CSV with its texts as they were collected: without marks before them, "" for none."""
    read = frame.copy()
    for column in read.select_dtypes(["object", "string"]):
        read[column] = pd.Series([_text(value) for value in read[column]], index=read.index, dtype=object)
    for column in EMPTY & set(read.columns[read.isna().all()]):
        read[column] = pd.Series("", index=read.index, dtype=object)
    return read


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value[1:] if value[:2] in MARKED else value
    return "" if pd.isna(value) else value
