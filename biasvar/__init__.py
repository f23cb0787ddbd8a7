"""biasvar: the sample-wise bias and variance of soft labels, measured, recorded, reported and used as weights.

Every public name is listed here and imported on first use, so that `import biasvar` is quick and never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Accumulator": "biasvar.analysis",
    "Decomposition": "biasvar.analysis",
    "decompose": "biasvar.analysis",
    "tradeoff_terms": "biasvar.analysis",
    "regularization_samples": "biasvar.analysis",
    "wsl_weights": "biasvar.analysis",
    "unreliability": "biasvar.analysis",
    "ambiguity": "biasvar.analysis",
    "effectiveness": "biasvar.analysis",
    "Recorder": "biasvar.training.recorder",
    "import_predictions": "biasvar.records",
    "open_run": "biasvar.records",
}
_MODULES = {"analysis": "biasvar.analysis", "losses": "biasvar.training.losses", "errors": "biasvar.errors"}

__all__ = [
    "Accumulator",
    "Decomposition",
    "Recorder",
    "ambiguity",
    "analysis",
    "decompose",
    "effectiveness",
    "errors",
    "import_predictions",
    "losses",
    "open_run",
    "regularization_samples",
    "tradeoff_terms",
    "unreliability",
    "wsl_weights",
]

if TYPE_CHECKING:
    import biasvar.training.losses as losses
    from biasvar import analysis, errors
    from biasvar.analysis import (
        Accumulator,
        Decomposition,
        ambiguity,
        decompose,
        effectiveness,
        regularization_samples,
        tradeoff_terms,
        unreliability,
        wsl_weights,
    )
    from biasvar.records import import_predictions, open_run
    from biasvar.training.recorder import Recorder


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'biasvar' has no attribute {name!r}; its public names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
