"""How one network runs: the memory order of its images, and whether `torch.compile` makes its training pass.

Neither changes what is computed, only the order of sums: numbers agree to rounding, and two runs by different engines
are as far apart as runs on two devices. So an engine is no part of a study; a run keeps to the one it was begun with.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from biasvar.errors import RecordError
from biasvar.messages import did_you_mean
from biasvar.seeding import generator

WARM_UP, TIMED = 3, 10  # steps


@dataclass(frozen=True)
class Engine:
    """Images (B, C, H, W) in channels_last memory order or not; the training pass compiled or not.

    A network with hooks, which watch or change its modules, is never compiled, nor is an evaluation pass.
    """

    channels_last: bool = True
    compiled: bool = False

    def runner(self, model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """What runs the model's training pass: the model itself, or what `torch.compile` made of it."""
        if not self.compiled or _hooked(model):
            return model
        # Compiled code is kept by the code of a network, at most eight times for all that have it, and then no more.
        torch.compiler.reset()
        return torch.compile(model, dynamic=False)


DEFAULT = Engine()
ENGINES = {
    "channels_last": DEFAULT,
    "contiguous": Engine(channels_last=False),
    "channels_last+compile": Engine(compiled=True),
    "contiguous+compile": Engine(channels_last=False, compiled=True),
}
AUTO = "auto"


def check_engine(name: str) -> None:
    """Raise ValueError unless an engine has that name, or it is "auto"."""
    if name not in (AUTO, *ENGINES):
        names = (AUTO, *ENGINES)
        raise ValueError(f"engine {name!r}{did_you_mean(name, names) or ':'} there is {', '.join(names)}")


def engine_in(manifest: Mapping[str, Any]) -> Engine:
    """The engine of a run; the default one of runs that were begun before there were others."""
    entry = manifest.get("engine") or {}
    return Engine(**{key: entry.get(key, usual) for key, usual in asdict(DEFAULT).items()})


def agree(manifest: Mapping[str, Any], asked: str | None, directory: object) -> None:
    """Raise RecordError where a run was begun with another engine than is asked for by name."""
    if asked in (None, AUTO) or engine_in(manifest) == ENGINES[str(asked)]:
        return
    (begun,) = (name for name, engine in ENGINES.items() if engine == engine_in(manifest))
    raise RecordError(f"{directory} was begun with --engine {begun}: go on with it, or give {asked} another --out")


def chosen(
    asked: str,
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    num_classes: int,
    *,
    device: torch.device,
    steps: int,
    precision: str = "float32",
) -> dict[str, Any]:
    """The manifest's entry "engine": which one, why, and the seconds of a step that decided it.

    Args:
        asked: Its name, or "auto" for the quickest of all, measured on training steps of the student on made images.
        make: Gives a fresh student on the device.
        shape: (B, C, H, W) of a batch.
        num_classes: Logits of the student.
        device: Where it is trained.
        steps: Of one training: what compiling takes is spread over them.
        precision: "bf16" for mixed precision on a CUDA device.
    """
    if asked != AUTO:
        return {**asdict(ENGINES[asked]), "name": asked, "chosen": "asked"}
    seconds, failed = {}, {}
    for name, engine in ENGINES.items():
        try:
            seconds[name] = _step_seconds(engine, make(), shape, num_classes, device, steps, precision)
        except Exception as error:  # no compiler, or a network that it cannot read: said in the manifest
            if not engine.compiled:
                raise
            failed[name] = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    name = min(seconds, key=lambda one: seconds[one])
    entry = {**asdict(ENGINES[name]), "name": name, "chosen": "measured", "step_seconds": seconds}
    return {**entry, "failed": failed} if failed else entry


def _step_seconds(
    engine: Engine, model: nn.Module, shape: tuple[int, ...], num_classes: int, device: torch.device, steps: int,
    precision: str,
) -> float:  # fmt: skip
    """Median seconds of a training step, and the share that falls to it of what compiling took."""
    order = torch.channels_last if engine.channels_last else torch.contiguous_format
    model = model.to(memory_format=order).train()  # type: ignore[call-overload]
    run = engine.runner(model)
    draw = generator(0, "engine")
    x = torch.as_tensor(draw.standard_normal(shape, np.float32), device=device).contiguous(memory_format=order)
    y = torch.as_tensor(draw.integers(num_classes, size=shape[0]), device=device)
    mixed = precision == "bf16" and device.type == "cuda"

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            loss = F.cross_entropy(run(x).float(), y)
        loss.backward()
        model.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    first = [step() for _ in range(WARM_UP)]
    usual = statistics.median(step() for _ in range(TIMED))
    compiling = sum(first) - WARM_UP * usual if engine.compiled else 0.0
    return round(usual + max(compiling, 0.0) / steps, 6)


def _hooked(model: nn.Module) -> bool:
    return any(_any(module._forward_hooks, module._forward_pre_hooks) for module in model.modules())


def _any(*hooks: Iterable[Any]) -> bool:
    return any(True for some in hooks for _ in some)
