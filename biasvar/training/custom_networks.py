"""A user's own network by import path, tried before anything is trained, and the hash of its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from biasvar.analysis.scale import ScaleEvidence
from biasvar.study import Study
from biasvar.study.import_path import import_named, source_hash


def load_network(
    path: str,
    *,
    in_channels: int,
    num_classes: int,
    image_size: tuple[int, int],
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A user's own network: the torch module that a factory, named by its import path, returns.

    The factory is called as `factory(in_channels=..., num_classes=..., **options)`. What it returns is tried on two
    black images, in evaluation mode and without touching the random state, before anything is trained.

    Args:
        path: "package.module:factory", importable where the study runs (installed, or in the current folder).
        in_channels, num_classes: Passed to the factory.
        image_size: (H, W) of the images it will be given.
        options: Further keyword arguments for the factory.

    Returns:
        The module, in the mode (training or evaluation) in which the factory returned it.

    Raises:
        ValueError: Not a path of that form; no such module or name; not callable; it fails when called; it returns
            something else than an `nn.Module`; the trial fails its output has not the shape (B, num_classes), or is
            probabilities.

    >>> load_network("biasvar.training.networks:no_such", in_channels=1, num_classes=10, image_size=(28, 28))
    Traceback (most recent call last):
    ValueError: network biasvar.training.networks:no_such: module biasvar.training.networks has no 'no_such'
    """
    arguments = {"in_channels": in_channels, "num_classes": num_classes, **(options or {})}
    factory = _import(path)
    call = f"{path}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
    try:
        network = factory(**arguments)
    except Exception as error:
        raise ValueError(f"network {call} failed with {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"network {call} returned {type(network).__name__}, not a torch.nn.Module")
    _try(network, call, (2, in_channels, *image_size), num_classes)
    return network


def source_hashes(study: Study) -> dict[str, str]:
    """SHA-256 of the source file of each of the study's networks and methods that is given by import path."""
    hashes = {path: source_hash(path) for path in [*study.models, *(arm.loss for arm in study.arms.values())]}
    return {path: value for path, value in hashes.items() if value is not None}


def _import(path: str) -> Callable[..., object]:
    """The callable that a path names."""
    factory = import_named(path, what="network", kind="factory", example="mylab.nets:wide_net")
    if not callable(factory):
        raise ValueError(
            f"network {path}: {path.partition(':')[2]!r} is {type(factory).__name__}, which cannot be called"
        )
    return factory


def _try(network: nn.Module, call: str, shape: tuple[int, ...], num_classes: int) -> None:
    """Raise unless images of that shape become logits; the module's mode and the random state stay as they were."""
    training = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network(torch.zeros(shape))
    except Exception as error:
        raise ValueError(
            f"network {call} failed on images of shape {shape} with {type(error).__name__}: {error}"
        ) from error
    finally:
        for module, mode in training:
            module.training = mode
    wanted = (shape[0], num_classes)
    if not isinstance(logits, torch.Tensor):
        raise ValueError(f"network {call} gave {type(logits).__name__} for a batch of images, not a tensor of logits")
    if tuple(logits.shape) != wanted:
        raise ValueError(
            f"network {call} gave shape {tuple(logits.shape)} for images of shape {shape}; expected {wanted}: "
            "one logit a class for each image"
        )
    evidence = ScaleEvidence()
    evidence.add(logits)
    if evidence.found() is not None:
        raise ValueError(
            f"network {call} gave {evidence.found()} on black images; it must give logits: leave its last softmax out, "
            "the losses take their own (or end it with a log-softmax, whose values are logits)"
        )
