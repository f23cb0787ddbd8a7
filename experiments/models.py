"""Train the teachers of the published studies anew: make models, or python experiments/models.py [NAME ...] [...].

A study is published where a summary.json under figures/ has a run of its name. Its teachers, without its students, go
into DIR/NAME, a run directory that goes on where it was interrupted, and to which `biasvar-run STUDY.yaml --out
DIR/NAME` adds the students. DIR/teachers.csv has a row for each file of weights, DIR/log.txt a line for each study.
Networks that several studies name (`keep_teachers`) are trained once, and none is taken from an earlier DIR.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from biasvar.data.layout import data_folder
from biasvar.messages import no_such, one_line
from biasvar.records import Run, open_redraws, open_run
from biasvar.study import Study, load_study
from biasvar.training.checks import open_study
from biasvar.training.execute import run_study
from biasvar.training.redraws import run_redraws

ROOT = Path(__file__).parent
PUBLISHED = ROOT.parent / "figures"
CLOSE = 1e-8  # summaries and CSV files have ten digits
"""How far an accuracy may lie from the published one and still count as equal."""


def main(arguments: list[str] | None = None) -> int:
    """Train, print the table; returns 0, or 1 where a study failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", metavar="NAME", help="names of published studies (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/models"), help="where they go (default: runs/models)")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes; changes no number")
    options = parser.parse_args(arguments)
    files = published_studies()
    unknown = [name for name in options.studies if name not in files]
    if unknown:
        parser.error(no_such(unknown[0], files, "published study", limit=None))
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["BIASVAR_DATA"] = str(data_folder())
    os.environ["BIASVAR_CACHE"] = str(options.out / "cache")  # with no weights of earlier runs
    outcomes = {}
    for name in options.studies or files:
        outcomes[name] = train(files[name], options.out / name, options.jobs)
        line = f"{datetime.now().isoformat(' ', 'seconds')}  {name}: {outcomes[name]}"
        print(line, flush=True)
        with (options.out / "log.txt").open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        table = teachers_table(files, options.out)
        table.to_csv(options.out / "teachers.csv", index=False)
    print(f"\n{in_words(table[table['study'].isin(outcomes)])}\n")
    for name, outcome in outcomes.items():
        if not outcome.startswith("trained"):
            print(f"{name}: {outcome}")
    print(f"the table with whole hashes: {options.out / 'teachers.csv'}")
    return int(any(outcome.startswith("failed") for outcome in outcomes.values()))


def published_studies() -> dict[str, Path]:
    """The file of each study with published figures, by name; none of the full-size ones."""
    names = {name for path in PUBLISHED.rglob("summary.json") for name in json.loads(path.read_text("utf-8"))["runs"]}
    files = [path for path in sorted(ROOT.rglob("*.yaml")) if "full" not in path.parts]
    named = {yaml.safe_load(path.read_text("utf-8")).get("name", ""): path for path in files}
    return {name: path for name, path in named.items() if name in names}


def train(file: Path, directory: Path, jobs: int) -> str:
    """Train the teachers of one study that `directory` lacks; returns how it went: a fault of one stops no other."""
    try:
        study = load_study(file)
        if not study.teachers:
            return "no teachers"
        try:
            open_study(study, directory, torch.device("cpu"))
        except FileNotFoundError as error:
            return f"skipped, its data are not there: {one_line(error).partition(';')[0]}"
        runner = run_redraws if study.redraws else run_study
        runner(study, directory, device="cpu", jobs=jobs, teachers_only=True)
    except Exception as error:
        return f"failed, {type(error).__name__}: {one_line(error)}"
    return f"trained into {directory}"


def teachers_table(files: dict[str, Path], out: Path) -> pd.DataFrame:
    """A row for each file of weights of the runs in `out`, and one for each teacher that has none."""
    rows = [
        row
        for name, file in files.items()
        if (out / name / "manifest.json").is_file()
        for row in rows_of_study(load_study(file), out / name)
    ]
    columns = [
        "study", "redraw", "teacher", "networks", "note", "file", "sha256", "accuracy_test", "accuracy_validation",
        "accuracy_published", "as_published", "seconds", "commit", "begun", "device", "threads", "versions",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def rows_of_study(study: Study, directory: Path) -> Iterator[dict[str, Any]]:
    """The rows of one study."""
    published = {} if study.redraws else published_accuracies(study.name)
    runs = open_redraws(directory).runs if study.redraws else [open_run(directory)]
    for run in runs:
        for teacher in study.teachers:
            row = {
                "study": study.name,
                "redraw": run.directory.name if study.redraws else "",
                "teacher": teacher,
                "networks": study.teacher_count(teacher),
                **of_teacher(run, study, teacher, published.get(teacher)),
            }
            hashes = (run.manifest.get("teachers") or {}).get(teacher, {}).get("weights_sha256") or {"": ""}
            for file, digest in hashes.items():
                yield {**row, "file": file and f"weights/teacher={teacher}/{file}", "sha256": digest}


def of_teacher(run: Run, study: Study, name: str, published: float | None) -> dict[str, Any]:
    """What a run says of a teacher, beside its published accuracy."""
    entry = (run.manifest.get("teachers") or {}).get(name)
    if entry is None:
        own = name not in study.shared_teachers
        return {"note": "one a replica, trained with the students" if own else "not trained yet"}
    accuracy, sessions = entry["accuracy_test"], run.manifest["sessions"]
    same = published is not None and math.isclose(accuracy, published, abs_tol=CLOSE)
    return {
        "note": "" if entry["weights_sha256"] else "no weights of its own",
        **{key: entry.get(key) for key in ("accuracy_test", "accuracy_validation", "seconds")},
        "accuracy_published": published,
        "as_published": "not published" if published is None else "equal" if same else "differs",
        "begun": run.manifest["begun"]["date"],
        **{key: said(session[key] for session in sessions) for key in ("commit", "device", "threads", "versions")},
    }


def said(values: Iterable[Any]) -> str:
    """What the sessions of a run say of themselves, each thing once."""
    words = (" ".join(map(" ".join, v.items())) if isinstance(v, dict) else str(v or "unknown") for v in values)
    return "; ".join(dict.fromkeys(words))


def published_accuracies(study: str) -> dict[str, float]:
    """The test accuracy of a study's teachers, by name, where a summary or a figure's numbers have it."""
    found: dict[str, float] = {}
    for path in sorted(PUBLISHED.rglob("summary.json")):
        run = json.loads(path.read_text("utf-8"))["runs"].get(study)
        if run is None:
            continue
        for file in ("teachers.csv", "accuracy.csv"):
            if (path.parent / file).is_file():
                frame = pd.read_csv(path.parent / file).query("run == @study").dropna(subset="teacher_accuracy")
                found |= dict(zip(frame["teacher"], frame["teacher_accuracy"], strict=True))
        told = [arm["teacher_accuracy"] for arm in run["arms"].values() if arm.get("teacher_accuracy")]
        found |= {one["teacher"]: one["value"] for one in told}
    return found


def in_words(table: pd.DataFrame) -> str:
    """The table for a terminal: a line for each teacher, with the begin of the hash of its first file."""
    if table.empty:
        return "no teachers"
    first = table.groupby(["study", "redraw", "teacher"], sort=False, dropna=False)
    shown = first.first().assign(files=first["file"].agg(lambda files: files.ne("").sum())).reset_index()
    shown["study"] = (shown["study"] + "/" + shown["redraw"]).str.rstrip("/")
    shown["sha256"] = shown["sha256"].str[:12]
    shown["as_published"] = shown["as_published"].fillna("").where(shown["note"].eq(""), shown["note"])
    columns = ["study", "teacher", "networks", "accuracy_test", "as_published", "seconds", "files", "sha256"]
    return shown[columns].to_string(index=False, na_rep="", float_format="{:.4g}".format)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on from here")
