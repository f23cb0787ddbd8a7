"""Published numbers to set a run beside: read from `published.yaml`, each with where it was found."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from biasvar.files import load_yaml

FILE = Path(__file__).parent / "published.yaml"


def gains() -> pd.DataFrame:
    """WSL less KD, WSL and KD less the student alone, in percentage points: a row for each comparison that was found.

    Columns: by ("authors" or "others"), who (in whose table it is, "" the authors of WSL), data, pair, treatment
    ("WSL" or "KD"), against ("KD" or "student alone"), difference, same_source (whether both accuracies come from one
    source), source (of both).
    """
    rows = []
    for entry in _read()["weighting"]:
        about = {name: str(entry.get(name, "")) for name in ("by", "who", "data", "pair")}
        for key, against in (("kd", "KD"), ("student", "student alone")):
            if key not in entry:
                continue
            first, second = str(entry["source"]), str(entry[f"{key}_source"])
            same = first == second
            row = {"treatment": "WSL", "against": against, "difference": float(entry["wsl"]) - float(entry[key])}
            source = first if same else f"WSL: {first}; {against}: {second}"
            rows.append({**about, **row, "same_source": same, "source": source})
    rows += [
        {
            "by": "authors", "who": "CRD" if entry.get("by") == "CRD" else "framework of Guan",
            "data": str(entry["data"]), "pair": pair_title(entry["teacher"], entry["student"]),
            "treatment": "KD", "against": "student alone",
            "difference": float(entry["kd"]) - float(entry["student_alone"]), "same_source": True,
            "source": str(entry["source"]),
        }
        for entry in pairs() if "kd" in entry
    ]  # fmt: skip
    return pd.DataFrame(rows).round({"difference": 6})


def pairs() -> list[dict[str, Any]]:
    """Published accuracies in % of pairs of teacher and student, one entry a pair of a paper's table.

    Keys: data, teacher, student (as study files name networks), teacher_alone, student_alone, source; where they were
    found kd, and by (the paper) with method (its accuracy) and method_source, if that is another.
    """
    return [dict(entry) for entry in _read()["pairs"]]


def wsl(data: str, pair: str) -> dict[str, Any]:
    """The accuracy in % that the authors of WSL published of a pair, as `wsl` and `source`; empty if none was found."""
    found = (one for one in _read()["weighting"] if (one["by"], one["data"], one["pair"]) == ("authors", data, pair))
    return {key: value for key, value in next(found, {}).items() if key in ("wsl", "source")}


def teacher_free() -> list[dict[str, Any]]:
    """Published accuracies in % of Tf-KD, one entry a data set and student.

    Keys: data, student (as study files name networks), alone, ls, reg, self, source; by teacher kd, poor and reversed.
    """
    return [dict(entry) for entry in _read()["teacher_free"]]


def pair_title(teacher: str, student: str) -> str:
    """A pair of networks, as study files name them, in the words of published tables.

    >>> pair_title("resnet56", "resnet20"), pair_title("imagenet_resnet50", "imagenet_mobilenetv1")
    ('ResNet-56 → 20', 'ResNet-50 → MobileNetV1')
    """
    one, other = (_title(model) for model in (teacher, student))
    return f"{one} → {other.removeprefix(_TITLES['resnet']) if one.startswith(_TITLES['resnet']) else other}"


_TITLES = {
    "resnet": "ResNet-", "wrn": "WRN", "vgg": "VGG-", "mobilenetv": "MobileNetV", "shufflenetv": "ShuffleNetV",
}  # fmt: skip


def _title(model: str) -> str:
    name = model.removeprefix("imagenet_")
    return next((title + name.removeprefix(start) for start, title in _TITLES.items() if name.startswith(start)), name)


def over_widths(data: str, model: str) -> pd.DataFrame:
    """Published curves over the width of a network on a data set: share (of label noise), quantity, value, estimate.

    Quantities: bias, variance and their sum, the risk, of squared error, and accuracy. Empty where none was found.
    """
    part = _read()["widths"]
    rows: list[dict[str, Any]] = []
    if (data, model) == (part["data"], part["model"]):
        for entry in part["runs"]:
            for place, width in enumerate(part["values"]):
                bias, variance = float(entry["bias"][place]), float(entry["variance"][place])
                found = {"bias": bias, "variance": variance, "risk": round(bias + variance, 6)}
                found["accuracy"] = round(1 - float(entry["error"][place]) / 100, 6)
                about = {"share": float(entry["share"]), "value": float(width), "who": str(part["who"])}
                rows += [{**about, "quantity": quantity, "estimate": value} for quantity, value in found.items()]
    return pd.DataFrame(rows, columns=["share", "value", "who", "quantity", "estimate"])


@lru_cache(maxsize=1)
def _read() -> dict[str, Any]:
    content: dict[str, Any] = load_yaml(FILE.read_text(encoding="utf-8"))
    return content
