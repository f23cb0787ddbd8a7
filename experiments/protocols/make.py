"""Write the study files of the standard protocols, a file for each published pair of networks, and their table.

    python experiments/protocols/make.py [--out FOLDER]

What the pairs of a protocol share is `base.yaml` of its folder, written by hand; what sets them apart, and the table of
README.md, is made here from the published numbers (`biasvar/report/published.yaml`). A file that is made says so.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from biasvar.report import published
from biasvar.report.published import pair_title
from biasvar.study import Study, load_study
from biasvar.training.networks import build_network

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BEGIN, END = "<!-- made by make.py: from here -->", "<!-- made by make.py: to here -->"
SLOW_RATE = ("mobilenetv2", "shufflenetv1", "shufflenetv2")
"""The students that CRD trains at .01."""


@dataclass(frozen=True)
class File:
    """A study file: its folder and name, what it is about, what it says beside its base, and the numbers in its row."""

    folder: str
    name: str
    about: str
    data: str
    body: str
    numbers: str
    row: Mapping[str, str]

    @property
    def path(self) -> Path:
        return Path(self.folder) / f"{self.name}.yaml"


def safe(name: str) -> str:
    """A network's name as part of a file's."""
    return name.removeprefix("imagenet_").replace("-", "_").replace(".", "p")


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def pairs() -> Iterator[File]:
    """A file for each published pair of teacher and student."""
    for entry in published.pairs():
        teacher, student, by = entry["teacher"], entry["student"], entry.get("by", "")
        folder = folder_of(entry)
        if not (HERE / folder / "base.yaml").is_file():
            continue
        pair = pair_title(teacher, student)
        theirs = published.wsl(entry["data"], pair)
        wsl = percent(theirs.get("wsl"))
        said = [f"teacher {percent(entry['teacher_alone'])}", f"student alone {percent(entry['student_alone'])}"]
        said += [f"KD {percent(entry['kd'])}"] if "kd" in entry else []
        said += [f"{by} {percent(entry['method'])}"] if by and by != "WSL" else []
        said += [f"WSL {wsl}"] if wsl else []
        sources = [entry["source"], entry.get("method_source", "")]
        sources += [f"WSL: {theirs['source']}"] if wsl and by != "WSL" else []
        body = [f"student: {{model: {student}}}"]
        if folder == "cifar100" and student in SLOW_RATE:
            body.append("learning_rate: {value: 0.01}")
        body += ["teachers:", f"  main: {{model: {teacher}}}"]
        yield File(
            folder, f"{safe(teacher)}_to_{safe(student)}", f"{entry['data']}, {pair}", data_of(folder), "\n".join(body),
            f"Published: {', '.join(said)} % ({'; '.join(filter(None, sources))}).",
            {
                "teacher": percent(entry["teacher_alone"]), "student alone": percent(entry["student_alone"]),
                "KD": percent(entry.get("kd")), "CRD": percent(entry["method"]) if by == "CRD" else "",
                "DFA": percent(entry["method"]) if by == "DFA" else "", "WSL": wsl,
            },
        )  # fmt: skip


def folder_of(entry: Mapping[str, Any]) -> str:
    if entry["data"] == "CIFAR-100":
        return "dfa_cifar100" if entry.get("by") == "DFA" else "cifar100"
    return {"CINIC-10": "dfa_cinic10", "ImageNet": "imagenet"}[entry["data"]]


def data_of(folder: str) -> str:
    """The data set of a folder's base."""
    line = next(line for line in (HERE / folder / "base.yaml").read_text().splitlines() if "name: " in line)
    return line.partition("name: ")[2].partition(",")[0].strip("} ")


RESNET = ("0.1, temperature: 20, multiplier: 100", "0.95, temperature: 6, multiplier: 50", "0.6, temperature: 20")
# Alpha, tau and m of the authors' CIFAR-100 configurations, by student: of Tf-KD_reg, Tf-KD_self and KD. Of ResNet50
# theirs has only alpha and tau of Tf-KD_self; the others are those of ResNet18.
TEACHER_FREE = {
    "resnet18": RESNET,
    "resnet50": RESNET,
    "mobilenetv2": ("0.95, temperature: 40", "0.95, temperature: 20", "0.95, temperature: 20"),
    "shufflenetv2": ("0.95, temperature: 10", "0.95, temperature: 20", "0.95, temperature: 20"),
}  # fmt: skip
STOPS = {"resnet18": 1, "resnet50": 50}
"""The epoch after which a poor teacher is left as it is."""


def teacher_free() -> Iterator[File]:
    """A file for each student of Tf-KD's tables whose network there is."""
    for entry in published.teacher_free():
        student, tiny = entry["student"], entry["data"] != "CIFAR-100"
        reg, self_, kd = TEACHER_FREE[student]
        kinds = {kind: entry.get(kind, {}) for kind in ("kd", "poor", "reversed")}
        body = []
        if tiny:
            batch, rate = (64, 0.05) if student == "resnet50" else (128, 0.1)
            body += [
                "data: {name: tiny_imagenet_32, validation: 1000}",
                f"schedule: {{batch_size: {batch}, gamma: 0.1}}",
            ]
            body += [f"learning_rate: {{value: {rate}}}"] if student == "resnet50" else []
        body += [f"student: {{model: {student}}}", "teachers:"]
        same = "epochs: 200, batch_size: 128, learning_rate: 0.1"
        for kind, by_teacher in kinds.items():
            for teacher in by_teacher:
                name = f"{safe(teacher)}_poor" if kind == "poor" else safe(teacher)
                stop = f", stop: {STOPS[teacher]}" if kind == "poor" else ""
                body.append(f"  {name}: {{model: {teacher}, {same}{stop}}}")
        body += ["arms:", f"  reg: {{loss: tfkd_reg, variant: code, alpha: {reg}, label: Tf-KD_reg}}"]
        body.append(f"  self: {{loss: tfkd_self, variant: code, teacher: ce, alpha: {self_}, label: Tf-KD_self}}")
        words = {"kd": "KD from {}", "poor": "KD from a poor {}", "reversed": "Reversed KD from {}"}
        claims: dict[str, list[str]] = {"T1": [], "T2": []}
        said = [f"alone {percent(entry['alone'])}", f"LS {percent(entry['ls'])}", f"Tf-KD_reg {percent(entry['reg'])}"]
        said.append(f"Tf-KD_self {percent(entry['self'])}")
        for kind, by_teacher in kinds.items():
            for teacher, accuracy in by_teacher.items():
                arm, label = f"{kind}_{safe(teacher)}", words[kind].format(teacher)
                name = f"{safe(teacher)}_poor" if kind == "poor" else safe(teacher)
                body.append(
                    f"  {arm}: {{loss: tfkd_self, variant: code, teacher: {name}, alpha: {kd}, label: {label}}}"
                )
                said.append(f"{label} {percent(accuracy)}")
                if kind != "kd":
                    claims["T1" if kind == "reversed" else "T2"].append(f"{{treatment: {arm}, control: ce}}")
        body += ["claims:", *(f"  {claim}: [{', '.join(tests)}]" for claim, tests in claims.items() if tests)]
        keys = {"student alone": "alone", "LS": "ls", "Tf-KD_reg": "reg", "Tf-KD_self": "self"}
        row = {title: percent(entry[key]) for title, key in keys.items()}
        for title, kind in (("KD from", "kd"), ("from a poor", "poor"), ("reversed, from", "reversed")):
            row[title] = ", ".join(f"{percent(value)} ({name})" for name, value in kinds[kind].items())
        where, name = ("Tiny-ImageNet at 32x32", "tiny_imagenet") if tiny else ("CIFAR-100", "cifar100")
        yield File(
            "teacher_free", f"{name}_{safe(student)}", f"Tf-KD on {where}, {student}",
            "tiny_imagenet_32" if tiny else "cifar100", "\n".join(body),
            f"Published: {', '.join(said)} % ({entry['source']}).{TINY if tiny else ''}", row,
        )  # fmt: skip


TINY = (
    " There with 64x64 pixels and by settings that were not found: alpha, tau and m here are those of CIFAR-100, so"
    " that signs may be compared, not digits."
)


@cache
def operations(name: str, classes: int, size: int) -> tuple[float, float]:
    """Floating-point operations of an image: of a forward pass, and of a training step."""
    network, images = build_network(name, num_classes=classes, image_size=size), torch.zeros(1, 3, size, size)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        network(images)
    with FlopCounterMode(display=False) as training:
        network(images).sum().backward()
    return forward.get_total_flops(), training.get_total_flops()


ROWS = {"cifar100": (50_000, 100, 32), "tiny_imagenet_32": (100_000, 200, 32), "cinic10": (90_000, 10, 32),
        "imagenet": (1_281_167, 1000, 224)}  # fmt: skip
"""By data set: training rows, classes, pixels."""


def cost(study: Study, data: str) -> tuple[float, float]:
    """PFLOP of a study's trainings, with what its teachers are asked, and millions of steps of its students."""
    rows, classes, size = ROWS[data]
    epochs, seen = study.schedule.epochs, rows * study.schedule.epochs
    total = 0.0
    for arm in study.arms.values():
        total += study.replicas * seen * operations(study.student.model, classes, size)[1]
        if (teacher := arm.get("teacher")) is not None:
            taught = study.teachers.get(teacher)
            model = study.student.model if taught is None else taught.model
            total += study.replicas * seen * operations(model, classes, size)[0]
    for one in study.teachers.values():
        total += rows * (one.stop or one.epochs) * operations(one.model, classes, size)[1]
    steps = len(study.arms) * study.replicas * epochs * math.ceil(rows / study.schedule.batch_size)
    return total / 1e15, steps / 1e6


def header(file: File, spent: str) -> str:
    """The comment of a file: what it is, the published numbers, the command, the cost."""
    words = f"NOT RUN. {file.about}, by the protocol of base.yaml. {file.numbers}"
    command = f"BIASVAR_DATA=folder-with-{file.data} python -m biasvar.run experiments/protocols/{file.path.as_posix()}"
    made = "# Made by experiments/protocols/make.py, which is where to change it."
    return "\n".join([made, *wrapped(words), "#", f"#   {command}", "#", *wrapped(f"Cost, derived: {spent}.")])


def wrapped(text: str, width: int = 128) -> list[str]:
    """Lines of a comment."""
    lines, line = [], "#"
    for word in text.split():
        if len(line) + 1 + len(word) > width:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]


def write(out: Path) -> list[Path]:
    """Write every file, and the tables of README.md, under `out`; the paths that were written."""
    written, rows = [], []
    for file in [*pairs(), *teacher_free()]:
        text = (
            f"extends: base.yaml\nname: protocol_{file.folder}_{file.name}\n"
            f"title: \"{file.about}\"\n\n{file.body}\n"
        )  # fmt: skip
        path = out / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        base = path.parent / "base.yaml"
        if not base.exists():
            base.write_text((HERE / file.folder / "base.yaml").read_text())
        path.write_text(text)
        operations_, steps = cost(load_study(path), file.data)
        spent = f"{operations_:,.0f} PFLOP, {steps:,.1f} million steps of students"
        path.write_text(f"{header(file, spent)}\n{text}")
        written.append(path)
        rows.append((file, f"{operations_:,.0f}"))
    written.append(write_tables(out, rows))
    return written


def write_tables(out: Path, rows: list[tuple[File, str]]) -> Path:
    """README.md with the tables anew: one for each folder, a row for each file."""
    lines = [BEGIN, ""]
    for folder in dict.fromkeys(file.folder for file, _ in rows):
        inside = [(file, spent) for file, spent in rows if file.folder == folder]
        columns = [name for name in inside[0][0].row if any(file.row.get(name) for file, _ in inside)]
        columns += [name for file, _ in inside for name in file.row if name not in columns and file.row[name]]
        lines += [f"### {folder}", "", f"| study | {' | '.join(columns)} | PFLOP |", "|" + "---|" * (len(columns) + 2)]
        for file, spent in inside:
            cells = [file.row.get(name) or "–" for name in columns]
            lines.append(f"| [{file.about}]({file.path.as_posix()}) | {' | '.join(cells)} | {spent} |")
        lines.append("")
    before, _, rest = (HERE / "README.md").read_text().partition(BEGIN)
    path = out / "README.md"
    path.write_text(before + "\n".join([*lines, END]) + rest.partition(END)[2])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to, in place of experiments/protocols")
    for path in write(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
