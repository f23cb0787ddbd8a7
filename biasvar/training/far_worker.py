"""A worker on another machine: it has what its driver has, sets the study up, runs tasks, and ends with its driver.

Nothing here knows how a task came here: an executor calls `there`, with what `about` said of its study.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from biasvar.errors import BiasvarError, RecordError
from biasvar.messages import first_few, one_line
from biasvar.progress import tell_into
from biasvar.study import Study
from biasvar.training import workers
from biasvar.training.continuing import versions
from biasvar.training.custom_networks import source_hashes
from biasvar.training.drivers import is_driven, working
from biasvar.training.memory import is_out_of_memory
from biasvar.training.reuse import code_hash

SECONDS_ASKED = 1.0  # between two looks for the driver


def about(study: Study, directory: Path, device: torch.device, word: str) -> dict[str, Any]:
    """What a worker has to know, as plain values."""
    return {
        "versions": versions(),
        "code": code_hash(),
        "sources": source_hashes(study),
        "study": pickle.dumps(study),
        "directory": str(directory),
        "device": str(device),
        "word": word,
        "folder": os.getcwd(),
        "looked up": "" in sys.path or os.getcwd() in sys.path,
    }


_set_up_for: str | None = None  # in a worker: the word of the driver whose study is set up


def there(
    known: Mapping[str, Any], say: Callable[[list[float]], object], function: Callable, arguments: tuple[Any, ...]
) -> tuple[str, Any, str]:
    """In a worker: run a task; ("done", its result, "") or ("failed", its error, the traceback)."""
    directory, word = Path(known["directory"]), known["word"]
    told: list[float] = [0.0, 0.0, 0.0]
    ended = threading.Event()

    def look() -> None:
        """Tell how far the task is, and end this worker when its driver has ended."""
        last = list(told)
        while not ended.wait(SECONDS_ASKED):
            if not is_driven(directory, word):
                os._exit(1)
            if told != last:
                last = list(told)
                say(last)

    try:
        _check_here(known)
        with working(directory):
            _check_driven(directory, word)
            threading.Thread(target=look, daemon=True).start()
            try:
                _set_up_once(known)
                tell_into(told)
                return "done", function(*arguments), ""
            finally:
                ended.set()
    except Exception as error:
        said = traceback.format_exc()
        try:
            return "failed", pickle.dumps(error), said
        except Exception:  # one that cannot travel
            return "failed", pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}")), said


def _check_here(known: Mapping[str, Any]) -> None:
    """Raise unless this machine has what the driver has."""
    if known["looked up"] and known["folder"] not in sys.path:
        sys.path.insert(0, known["folder"])
    if os.path.isdir(known["folder"]):
        os.chdir(known["folder"])  # paths of a study may be relative to it
    here = versions()
    there = known["versions"]
    other = [f"{name} {here[name]} instead of {there[name]}" for name in there if here[name] != there[name]]
    if not other and code_hash() != known["code"]:
        other = [f"other sources of biasvar {here['biasvar']}"]
    if other:
        raise BiasvarError(
            f"machine {socket.gethostname()} has {first_few(other)}: install there what the driver has, then the same "
            "command goes on from what was recorded"
        )


def _check_driven(directory: Path, word: str) -> None:
    """Raise unless this machine sees the run directory of the driver."""
    if not is_driven(directory, word):
        raise RecordError(
            f"machine {socket.gethostname()} does not see {directory} as its driver does; the run directory has to be "
            "on a file system that all machines share, at the same path"
        )


def _set_up_once(known: Mapping[str, Any]) -> None:
    """Set the study up, unless a task before did so in this process."""
    global _set_up_for
    if _set_up_for == known["word"]:
        return
    study = pickle.loads(known["study"])
    try:
        if source_hashes(study) != known["sources"]:
            raise RecordError(f"the source of {first_few(known['sources'])} is not the one that the driver has")
        workers.set_up(study, Path(known["directory"]), known["device"])
    except (BiasvarError, ValueError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise RecordError(f"{one_line(error)} (on machine {socket.gethostname()})") from error
    _set_up_for = known["word"]
