"""Teachers that were trained elsewhere: the weights of a network, or the logits of every sample, from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from biasvar.errors import RecordError, StudyError
from biasvar.training.checkpoints import check_fit, read_weights
from biasvar.training.context import StudyContext
from biasvar.training.methods import method_of
from biasvar.training.soft_label_files import read_logits_file


def given_network(context: StudyContext, name: str) -> nn.Module:
    """The network of a teacher with a `checkpoint`, frozen.

    Raises:
        StudyError: The file cannot be read, or its tensors are not those of the network; names those that differ.
    """
    teacher = context.study.teachers[name]
    path = Path(str(teacher.checkpoint))
    network = context.model(teacher.model, teacher.hidden, "teacher init", 0)
    place = f"teachers.{name}.checkpoint"
    try:
        saved = read_weights(path)[0]
    except RecordError:
        raise StudyError(
            f"{place}: {path} is no whole safetensors file; safetensors.torch.save_file(network.state_dict(), path) "
            "writes one"
        ) from None
    cure = "Give the network that it was saved from (model, hidden), and its tensors under the names of that network"
    try:
        check_fit(saved, network.state_dict(), path=path, what=f"the network {teacher.model}", then=cure)
    except RecordError as error:
        raise StudyError(f"{place}: {error}") from None
    network.load_state_dict(saved)
    return network.train(teacher.train_mode).requires_grad_(False)


def given_logits(context: StudyContext, name: str) -> np.ndarray:
    """float32 (n, C): what the file of a teacher with `logits` says of the samples of the study, in their order.

    Raises:
        StudyError: The file does not fit the data, or lacks samples.
    """
    path = str(context.study.teachers[name].logits)
    return read_logits_file(path, name, context.dataset, context.used_ids).astype(np.float32)


def check_given_teachers(context: StudyContext) -> None:
    """Raise StudyError unless every teacher that is given as a file fits, and can be asked what arms ask it."""
    for name, teacher in context.study.teachers.items():
        if teacher.checkpoint is not None:
            given_network(context, name)
        elif teacher.logits is not None:
            given_logits(context, name)
            _check_asked(context, name)


def _check_asked(context: StudyContext, name: str) -> None:
    """Raise StudyError where an arm would ask a file of logits what only a network can answer."""
    study, place = context.study, f"teachers.{name}.logits"
    cure = "give the network itself, as checkpoint"
    asking = [arm for arm in study.arms if study.scored_against(arm) == name]
    if asking and context.inputs.augmented:
        raise StudyError(
            f"{place}: arm {asking[0]} is trained on augmented images (data.crop, data.flip), of which a file says "
            f"nothing; leave them out, or {cure}"
        )
    for arm in asking:
        selection = study.arms[arm].get("selection")
        if method_of(study.arms[arm]).features or (selection is not None and selection.model == "teacher"):
            raise StudyError(f"{place}: arm {arm} ({study.arms[arm].loss}) asks the network of its teacher; {cure}")
