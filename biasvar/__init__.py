"""biasvar: the sample-wise bias and variance of soft labels, measured, recorded, reported and used as weights.

Every public name is listed here and imported on first use, so that `import biasvar` is quick and never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Accumulator": "biasvar.analysis",
    "Bregman": "biasvar.analysis",
    "Decomposition": "biasvar.analysis",
    "decompose": "biasvar.analysis",
    "TopK": "biasvar.analysis",
    "token_ids": "biasvar.analysis",
    "tradeoff_terms": "biasvar.analysis",
    "regularization_samples": "biasvar.analysis",
    "wsl_weights": "biasvar.analysis",
    "unreliability": "biasvar.analysis",
    "ambiguity": "biasvar.analysis",
    "effectiveness": "biasvar.analysis",
    "ensemble_diversity": "biasvar.analysis",
    "measure_indicators": "biasvar.analysis",
    "IndicatorAccumulator": "biasvar.analysis",
    "learnability": "biasvar.analysis",
    "student_condition": "biasvar.analysis",
    "plan": "biasvar.analysis",
    "open_soft_labels": "biasvar.records.soft_labels",
    "Recorder": "biasvar.training.recorder",
    "import_predictions": "biasvar.records",
    "open_run": "biasvar.records",
    "Run": "biasvar.records",
    "with_sample_ids": "biasvar.data.sample_ids",
    "run_study": "biasvar.training.from_python",
    "build_network": "biasvar.training.networks",
}
_MODULES = {
    "analysis": "biasvar.analysis",
    "data": "biasvar.data",
    "losses": "biasvar.losses",
    "modules": "biasvar.modules",
    "errors": "biasvar.errors",
    "integrations": "biasvar.integrations",
    "plots": "biasvar.plots",
}

__all__ = [
    "Accumulator",
    "Bregman",
    "Decomposition",
    "IndicatorAccumulator",
    "Recorder",
    "Run",
    "TopK",
    "ambiguity",
    "analysis",
    "build_network",
    "data",
    "decompose",
    "effectiveness",
    "ensemble_diversity",
    "errors",
    "import_predictions",
    "integrations",
    "learnability",
    "losses",
    "measure_indicators",
    "modules",
    "open_run",
    "open_soft_labels",
    "plan",
    "plots",
    "regularization_samples",
    "run_study",
    "student_condition",
    "token_ids",
    "tradeoff_terms",
    "unreliability",
    "with_sample_ids",
    "wsl_weights",
]

if TYPE_CHECKING:
    from biasvar import analysis, data, errors, integrations, losses, modules, plots
    from biasvar.analysis import (
        Accumulator,
        Bregman,
        Decomposition,
        IndicatorAccumulator,
        TopK,
        ambiguity,
        decompose,
        effectiveness,
        ensemble_diversity,
        learnability,
        measure_indicators,
        plan,
        regularization_samples,
        student_condition,
        token_ids,
        tradeoff_terms,
        unreliability,
        wsl_weights,
    )
    from biasvar.data.sample_ids import with_sample_ids
    from biasvar.records import Run, import_predictions, open_run
    from biasvar.records.soft_labels import open_soft_labels
    from biasvar.training.from_python import run_study
    from biasvar.training.networks import build_network
    from biasvar.training.recorder import Recorder


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'biasvar' has no attribute {name!r}; its public names are {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
