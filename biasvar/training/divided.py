"""Whether a study can be trained over several devices, asked before anything is trained."""

from __future__ import annotations

import torch
from torch import nn

from biasvar.errors import RecordError, StudyError
from biasvar.messages import first_few
from biasvar.records.manifest import read_manifest
from biasvar.training.context import StudyContext
from biasvar.training.methods import Method, method_of


def check_divided(context: StudyContext, devices: int, jobs: int = 1) -> None:
    """Raise unless every network of a study can be trained by so many devices, and a run that was begun go on so.

    Raises:
        ValueError: A number of devices that cannot be, or is not there.
        StudyError: Names what needs whole batches.
        RecordError: The run was begun on another number of devices, and batch norm makes that another training.
    """
    _check_number(context, devices, jobs)
    if devices > 1:
        _check_methods(context, devices)
    _check_begun(context, devices)


def _check_number(context: StudyContext, devices: int, jobs: int) -> None:
    if devices < 1:
        raise ValueError(f"devices must be at least 1, not {devices}")
    if devices == 1:
        return
    if jobs > 1:
        raise ValueError(f"{devices} devices train one network at a time: leave jobs={jobs} out, or take one device")
    if context.device.type not in ("cpu", "cuda"):
        raise ValueError(f"several devices can be of kind cpu or cuda, not {context.device.type}")
    if context.device.index is not None:
        raise ValueError(
            f"{devices} devices are numbers 0 to {devices - 1} of their kind: give device {context.device.type}, not "
            f"{context.device}"
        )
    if context.device.type == "cuda":
        there = torch.cuda.device_count()
        if devices > there:
            raise ValueError(f"{devices} devices are asked for, and {there} CUDA device{'s' * (there > 1)} can be seen")


def _check_methods(context: StudyContext, devices: int) -> None:
    study = context.study
    cure = "leave it out, or train on one device"
    if study.backend == "batched":
        raise StudyError(
            f"backend: batched trains all replicas in one pass, which cannot be divided over {devices} devices; use "
            "backend: sequential, or one device"
        )
    for name in study.arms:
        method = method_of(study.arms[name])
        if not method.splits:
            raise StudyError(
                f"arms.{name}: {study.arms[name].loss}, as it is set here, needs whole batches, which {devices} "
                f"devices would divide (its method does not say that it splits); {cure}"
            )
        if type(method).saved is not Method.saved:
            raise StudyError(
                f"arms.{name}: {study.arms[name].loss} keeps a state of its own (saved), which {devices} devices would "
                f"each change by their share; {cure}"
            )


def _check_begun(context: StudyContext, devices: int) -> None:
    """Refuse to go on with another number of devices where that changes more than the order of sums."""
    try:
        manifest = read_manifest(context.directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    if manifest.get("study_hash") not in context.study.hashes or manifest.get("status") == "complete":
        return
    before = manifest.get("devices") or 1
    normed = batch_normed(context) if before != devices else []
    if normed:
        raise RecordError(
            f"{context.directory} was begun on {before} device{'s' * (before > 1)} and is to go on on {devices}: with "
            f"batch norm ({first_few(normed)}) that is another training, since each device has the statistics of its "
            f"share; give devices {before}, or another --out"
        )


def divided_entry(context: StudyContext) -> dict[str, str]:
    """What the manifest of a run says of being trained over several devices, beside their number."""
    if context.ranks.world == 1 or not batch_normed(context):
        return {}
    return {"batch_norm": "the statistics of a step are those of each device's share; kept are device 0's"}


def batch_normed(context: StudyContext) -> list[str]:
    """The networks of a study that have batch norm, whose statistics are then those of each device's share."""
    study = context.study
    students = {"student": study.student}
    students |= {f"arms.{name}.student": arm.student for name, arm in study.arms.items() if arm.student}
    found = [
        key for key, network in students.items() if _has_batch_norm(context.student(network, "init", 0, device="cpu"))
    ]
    return found + [
        f"teachers.{name}"
        for name, teacher in study.teachers.items()
        if teacher.is_trained
        and _has_batch_norm(context.model(teacher.model, teacher.hidden, "teacher init", 0, device="cpu"))
    ]


def _has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
