"""Draw the published figures anew from the numbers beside them: python experiments/redraw.py [FOLDER ...] [--out DIR].

Each FIGURE.csv of a folder under figures/ holds everything that FIGURE.png shows but the looks of the arms, and these
follow from the study file of the run, so pictures can be made by today's code without training anything again. Figures
whose CSV is not published (too large) are left as they are and named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from biasvar.plots.sources import with_texts
from biasvar.progress import over
from biasvar.records import Run
from biasvar.report import style
from biasvar.report.arms.drawn import with_titles
from biasvar.report.arms.roles import reference_arm
from biasvar.report.arms.sweep import LOSSES
from biasvar.report.figures import FIGURES, load
from biasvar.report.figures.accuracy import group_of
from biasvar.report.output import write_drawing
from biasvar.study import load_study

ROOT = Path(__file__).parent
PUBLISHED = ROOT.parent / "figures"


def main() -> int:
    """Redraw the folders that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, help="folders under figures/ (default: all)")
    parser.add_argument("--figures", help="only these, by name (a,b)")
    parser.add_argument("--out", type=Path, help="write NAME.png there instead, and NAME.narrow.png beside it")
    options = parser.parse_args()
    folders = [path.resolve() for path in options.folders] or sorted(
        path.parent for path in PUBLISHED.rglob("summary.json")
    )
    names = options.figures.split(",") if options.figures else list(FIGURES)
    jobs = [(folder, name) for folder in folders for name in names if (folder / f"{name}.png").exists()]
    left = [f"{folder}/{name}.png" for folder, name in jobs if not (folder / f"{name}.csv").exists()]
    with style.context():
        steps = {str(folder / name): (folder, name) for folder, name in jobs}
        for folder, name in (steps[step] for step in over(steps, unit="figures")):
            if (folder / f"{name}.csv").exists():
                redraw(folder, name, options.out and options.out / folder.relative_to(PUBLISHED))
    for path in left:
        print(f"left as it is, for its numbers are not beside it: {path}")
    return 0


def redraw(folder: Path, name: str, out: Path | None) -> None:
    """Write NAME.png of one folder anew."""
    frame = frame_of(folder, name)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        draw_narrow(folder, name, out / f"{name}.narrow.png")
    write_drawing(out or folder, name, lambda: load(name).draw(frame), ["png"])


def draw_narrow(folder: Path, name: str, path: Path) -> None:
    """Write one figure of one folder as narrow screens show it."""
    with style.for_narrow_screens():
        drawing = load(name).draw(frame_of(folder, name))
        style.lay_out(drawing)
        style.save(drawing, path, "png")


def frame_of(folder: Path, name: str) -> pd.DataFrame:
    """The numbers of a published figure, with the looks of its arms."""
    runs = described(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["runs"])
    return with_titles(style.styled(completed(read_frame(folder / f"{name}.csv"), name, runs), runs), runs)


def read_frame(path: Path) -> pd.DataFrame:
    """A figure's table as its `collect` made it."""
    return with_texts(pd.read_csv(path, keep_default_na=False, na_values=[""]))


def completed(frame: pd.DataFrame, name: str, runs: list[Run]) -> pd.DataFrame:
    """The frame with the columns that a report of before did not write: what follows from the arms, else nothing."""
    by_name = {run.name: run for run in runs}
    said = {
        "control": lambda run, arm: arm == reference_arm(by_name[run]),
        "group": lambda run, arm: group_of(by_name[run], arm),
    }
    if {"curve", "base"} <= set(frame.columns):  # named by the key of an arm without a label
        losses = {arm: LOSSES.get(run.entry(arm).loss or "", arm) for run in runs for arm in run.arms}
        by_base = {base: losses[part["arm"].iloc[0]] for base, part in frame[frame["arm"] != ""].groupby("base")}
        frame["curve"] = [
            by_base[base] + curve.removeprefix(base) if curve.startswith(f"{base}, ") else curve
            for base, curve in zip(frame["base"], frame["curve"], strict=True)
        ]
    for column in getattr(import_module(load(name).collect.__module__), "COLUMNS", []):
        if column not in frame:
            frame[column] = [said[column](*pair) for pair in pairs(frame)] if column in said else None
    return frame


def pairs(frame: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Run and arm of every row."""
    return zip(frame["run"], frame["arm"], strict=True)


def described(summaries: dict[str, Any]) -> list[Run]:
    """Runs without records that say of their arms what the study files do."""
    return [_run(name, about) for name, about in summaries.items()]


def _run(name: str, about: dict[str, Any]) -> Run:
    study = load_study(_study_files()[name.split(" by ")[0]])
    arms: dict[str, Any] = {}
    for arm, said in about["arms"].items():
        given = study.arms.get(arm)
        known: dict[str, Any] = {"failed_replicas": said.get("failed_replicas") or []}
        if given is not None:
            known |= given.model_dump(mode="json", exclude={"record", "predictions"})
            known |= {"plays": given.plays, "regime": study.regime(arm)}
        keys = ("label", "role", "loss", "teacher", "regime", "temperature", "alpha", "learning_rate", "status")
        arms[arm] = known | {key: said.get(key) for key in keys}
    manifest = {"kind": about["kind"], "name": name, "title": about["title"], "arms": arms}
    return Run(PUBLISHED / name, manifest | {"reference_teacher": study.reference_teacher})


def _study_files() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "name" in content and "full" not in path.parts:
            found[str(content["name"])] = path
    return found


if __name__ == "__main__":
    sys.exit(main())
