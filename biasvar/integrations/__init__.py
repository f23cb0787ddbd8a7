"""biasvar in other people's training loops: a module for each library, imported on first use.

`biasvar.integrations.NAME` needs the library itself: `pip install 'biasvar[NAME]'`.
"""

from importlib import import_module
from typing import Any

__all__ = ["huggingface", "lightning", "tensorboard", "torchdistill"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; there is {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__]
