"""What a figure of the report is: which rows it draws, how, and what its caption says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING

from biasvar.report.arms.description import arm_label
from biasvar.report.arms.drawn import UNTAUGHT, titled, with_short_names, with_titles
from biasvar.report.statistics.left_by_masks import hardly_taught

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from biasvar.records import Run


def _with_plain_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with texts as Python's own: rows are picked from it by the hundred, which Arrow's are slow at."""
    texts = [name for name, kind in frame.dtypes.items() if kind == "string"]
    shown = frame.astype(dict.fromkeys(texts, object))
    shown.attrs = frame.attrs
    return shown


def _untaught(frame: pd.DataFrame, runs: list[Run]) -> list[str]:
    """The labels of arms of the frame whose masks leave them hardly any soft labels."""
    if not {"run", "arm"} <= set(frame.columns):
        return []
    shown = set(zip(frame["run"], frame["arm"], strict=True))
    if "control" in frame:
        shown |= set(zip(frame["run"], frame["control"], strict=True))
    found = [arm_label(run, arm) for run in runs for arm in hardly_taught(run) if (run.name, arm) in shown]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    Attributes:
        name: file name, and what `--figures` takes.
        title: what it shows, as a heading.
        how_to_read: one or two plain sentences; or frame and runs -> these, where they depend on what is shown.
        needs: what a run must hold for it, to complete "needs ...".
        collect: runs -> tidy frame of everything that is drawn, with n and errors and a column `run`; empty (no rows)
            if no run holds what the figure needs.
        draw: that frame, not empty -> the drawing, with names of arms that fit it (see `with_short_names`).
        caption: frame and runs -> n, replicas, teacher regime, target, view and data.
        title_of: frame -> the title of a report, where it depends on what is shown.
        kinds: the kinds of runs that it is about, where not all; a page without any does not say that it is missing.
        roles: the roles of the arms that it shows, where it does not show all; see `report.arms.roles.too_few`.
    """

    name: str
    title: str
    how_to_read: str | Callable[[pd.DataFrame, list[Run]], str]
    needs: str
    collect: Callable[[list[Run]], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Drawing]
    caption: Callable[[pd.DataFrame, list[Run]], str]
    roles: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    title_of: Callable[[pd.DataFrame], str] | None = None

    def __post_init__(self) -> None:
        gather, whole, said = self.collect, self.draw, self.caption

        @wraps(gather)
        def collect(runs: list[Run]) -> pd.DataFrame:
            frame = with_titles(gather(runs), runs)
            if untaught := _untaught(frame, runs):
                frame.attrs["untaught"] = tuple(untaught)
            return frame

        @wraps(whole)
        def draw(frame: pd.DataFrame) -> Drawing:
            return whole(with_short_names(titled(_with_plain_texts(frame))))

        @wraps(said)
        def caption(frame: pd.DataFrame, runs: list[Run]) -> str:
            marked = "; ".join(_untaught(frame, runs))
            note = f" {UNTAUGHT} {marked}: the mask leaves hardly any soft labels, so that true labels teach."
            return said(frame, runs) + note * bool(marked)

        object.__setattr__(self, "collect", collect)
        object.__setattr__(self, "caption", caption)
        object.__setattr__(self, "draw", draw)
