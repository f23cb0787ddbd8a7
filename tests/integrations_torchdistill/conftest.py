"""torchdistill beside a torch for the CPU: torchvision's compiled operators are not needed, only their names."""

from __future__ import annotations

import importlib.util
import sys

import torch

OPERATORS: list[torch.library.Library] = []  # names are gone with their library


def name_operators() -> None:
    """Let a torchvision be imported that was built for another torch, without its operators for detection."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        OPERATORS.append(library := torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


if importlib.util.find_spec("torchdistill"):
    name_operators()
