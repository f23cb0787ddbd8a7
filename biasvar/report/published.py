"""Published numbers to set a run beside: read from `published.yaml`, each with where it was found."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

FILE = Path(__file__).parent / "published.yaml"


def weighting() -> pd.DataFrame:
    """WSL less KD and less the student alone, in percentage points, one row a published comparison that was found.

    Columns: by ("authors" or "others"), who, data, pair, against ("KD" or "student alone"), difference, same_source
    (whether both accuracies come from one source), source (of both).
    """
    rows = []
    for entry in _read()["weighting"]:
        for key, against in (("kd", "KD"), ("student", "student alone")):
            if key not in entry:
                continue
            first, second = str(entry["source"]), str(entry[f"{key}_source"])
            same = first == second
            rows.append(
                {
                    **{name: str(entry.get(name, "")) for name in ("by", "who", "data", "pair")},
                    "against": against,
                    "difference": round(float(entry["wsl"]) - float(entry[key]), 6),
                    "same_source": same,
                    "source": first if same else f"WSL: {first}; {against}: {second}",
                }
            )
    return pd.DataFrame(rows)


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
    content: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return content
