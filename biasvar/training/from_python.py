"""A study from Python: a mapping or a study that was read, run to a finished run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from biasvar.arguments import checked
from biasvar.errors import StudyError
from biasvar.messages import command
from biasvar.records import Run
from biasvar.study import Study, resolve_study
from biasvar.study.places import place_data, place_files
from biasvar.training import execute


@checked
def run_study(
    study: Mapping[str, Any] | Study,
    directory: str | Path,
    *,
    device: torch.device | str | None = None,
    devices: int = 1,
    jobs: int = 1,
) -> Run:
    """Train every arm of a study and return the finished run, as `python -m biasvar.run` does for a study file.

    A run that was interrupted goes on where it stopped, and one that is complete is opened as it is.

    Args:
        study: What a study file says, as a mapping, or what `biasvar.study.load_study` read from one. Paths in a
            mapping are relative to the working directory.
        directory: The run directory, made when absent.
        device: "cpu", "cuda", ...; default: CUDA where there is one, else the CPU.
        devices: How many devices of its kind train every network together, a process each; needs the extra "fabric" and
            `backend: sequential`.
        jobs: Processes that train side by side; changes no number. More than one of either needs a script that runs its
            code under `if __name__ == "__main__":`.

    Raises:
        TypeError: `study` is neither.
        StudyError: Anything wrong in the study, as for a file, or a study with `redraws`, of which each is a run.
        ValueError: The data do not go with the study, `directory` is no path, devices that cannot be used, or `jobs`
            below 1.
        FileNotFoundError: The data are not there.
        RecordError: The directory holds another study, or was begun with other data.

    >>> import tempfile
    >>> study = {
    ...     "name": "first", "replicas": 2, "data": {"test": 0.2, "validation": 0.1}, "draw": {"rows": 200},
    ...     "schedule": {"epochs": 1}, "student": {"hidden": [8]}, "learning_rate": 0.1,
    ...     "arms": {"ce": {"loss": "cross_entropy"}},
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = run_study(study, folder)
    ...     len(run.decomposition("ce").bias)
    359
    """
    if not isinstance(study, Study):
        if not isinstance(study, Mapping):
            raise TypeError(f"study must be a mapping of keys to values, or a Study, not {type(study).__name__}")
        raw = copy.deepcopy(dict(study))
        place_data(raw, Path())
        place_files(raw, Path())
        study = resolve_study(raw)
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    if study.redraws:
        raise StudyError(
            "redraws: each redraw is a run of its own; leave it out, or run the study as a file, by "
            f"{command('run')} STUDY.yaml"
        )
    return execute.run_study(study, directory, device=_device(device), devices=devices, jobs=jobs)


def _device(given: torch.device | str | None) -> torch.device:
    try:
        device = torch.device(given) if given is not None else execute.default_device()
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"device {given!r} cannot be used here ({str(error).splitlines()[0]})") from error
    except TypeError:
        raise TypeError(f"device must be the name of one, such as 'cpu', not {type(given).__name__}") from None
    return device
