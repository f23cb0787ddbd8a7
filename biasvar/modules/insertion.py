"""InfoDrop in any network, by the paths of its convolutions: parameters and module names stay as they are.

The module is put behind a convolution and what follows it without another layer between: a norm, an activation, a
max-pooling. Which these are is found by letting the network see the first image that comes and noting the order in
which its innermost modules are called. What a forward pass does by functions instead of modules is not seen: ReLU does
not matter (it leaves 0 where it is, and thinning before or after is the same), but pooling does: thinned is then what
goes into it. `after` names another module, such as a residual block, whose output is thinned instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from biasvar.messages import no_such
from biasvar.modules.infodrop import InfoDrop, pooling_like

ATTRIBUTE = "_infodrop"
NORMS = (
    nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm, nn.LocalResponseNorm,
)  # fmt: skip
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Hardswish)
SETTINGS = ("rate", "temperature", "bandwidth", "radius", "neighbours", "eval")
"""Arguments of `InfoDrop` that do not follow from the layer behind which it is put."""
FOLLOWERS = (*NORMS, *ACTIVATIONS, nn.MaxPool2d, nn.Identity)


def insert_infodrop(
    network: nn.Module, layers: Sequence[str], *, after: Mapping[str, str] | None = None, **settings: Any
) -> list[InfoDrop]:
    """Puts an InfoDrop behind each of these convolutions of a network, which is changed; returns the modules.

    They are no children of the network, so that its parameters, their names and its weight files stay as they are, and
    follow its mode (`train`, `eval`). Where they act is found in the first forward pass, with its first image and in
    evaluation mode.

    Args:
        network: Any module whose convolutions are `nn.Conv2d`.
        layers: Paths of convolutions, as `named_modules` names them.
        after: By path of a convolution, the module whose output is thinned instead of the convolution's own.
        settings: Of `InfoDrop`: rate, temperature, ...

    Raises:
        ValueError: The network has no convolution; a path that does not exist or is none; a setting that does not exist
            or is out of range. In the first forward pass: a convolution that is not called, or a module `after` that is
            not called after it.

    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    >>> (drop,) = insert_infodrop(network, ["0"], rate=1.0)
    >>> bool((network(torch.rand(2, 1, 8, 8)) == 0).any()), drop.pool.kernel_size
    (True, 2)
    """
    if infodrops_in(network):
        raise ValueError("the network has InfoDrop already; name all of its layers at once")
    modules = dict(network.named_modules())
    convolutions = {path: module for path, module in modules.items() if isinstance(module, nn.Conv2d)}
    if not convolutions:
        raise ValueError("InfoDrop follows convolutions (nn.Conv2d), of which this network has none")
    after = dict(after or {})
    if isinstance(layers, str):
        raise ValueError(f"layers must be a list of paths, such as [{layers!r}]")
    for path in layers:
        if path not in convolutions:
            raise ValueError(no_such(path, convolutions, "convolution"))
    for path, place in after.items():
        if path not in layers:
            raise ValueError(f"after: {path!r} is not among the layers; there is: {', '.join(layers)}")
        if place not in modules or not place:
            raise ValueError(f"after: {no_such(place, [name for name in modules if name], 'module')}")
    for key in settings:
        if key not in SETTINGS:
            raise ValueError(no_such(key, SETTINGS, "setting of InfoDrop"))
    if not layers or len({*layers}) != len(layers):
        raise ValueError(f"layers must name convolutions, each once, not {list(layers)}")
    inserted = _Inserted(network, {path: InfoDrop.after(convolutions[path], **settings) for path in layers}, after)
    setattr(network, ATTRIBUTE, inserted)
    return list(inserted.drops.values())


def infodrops_in(network: nn.Module) -> list[InfoDrop]:
    """The InfoDrop modules that `insert_infodrop` has put into a network, in the order of their layers.

    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
    >>> infodrops_in(network)
    []
    >>> insert_infodrop(network, ["0"], rate=1.0) == infodrops_in(network)
    True
    """
    inserted = getattr(network, ATTRIBUTE, None)
    return [] if inserted is None else list(inserted.drops.values())


class _Inserted:
    """The InfoDrop modules of a network by the paths of their convolutions, and the hooks by which they act."""

    def __init__(self, network: nn.Module, drops: Mapping[str, InfoDrop], after: Mapping[str, str]) -> None:
        self.drops, self.after = drops, after
        self._placed = False
        self._seen: dict[str, torch.Tensor] = {}
        network.register_forward_pre_hook(self._begin)

    def _begin(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Before every forward pass of the network: the mode is the network's; before the first, places are found."""
        if not self._placed:
            self._placed = True
            self._place(network, inputs)
        for drop in self.drops.values():
            drop.train(network.training)
        self._seen.clear()

    def _place(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        modules = dict(network.named_modules())
        calls = _calls(network, inputs)
        for path, drop in self.drops.items():
            place, pool = _place_of(path, self.after.get(path), calls, modules)
            drop.pool = pooling_like(pool)
            modules[path].register_forward_pre_hook(partial(self._keep, path))
            # First, so that hooks which were there before the first pass see what later ones see.
            modules[place].register_forward_hook(partial(self._thin, path), prepend=True)

    def _keep(self, path: str, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._seen[path] = inputs[0].detach()

    def _thin(self, path: str, module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor | None:
        """The output thinned, where it is that of the convolution: a module may be called for others too."""
        seen = self._seen.pop(path, None)
        return None if seen is None else self.drops[path](output, seen)


def _calls(network: nn.Module, inputs: tuple[Any, ...]) -> list[str]:
    """The paths of all modules of a network in the order in which they end, for the first image of a batch."""
    calls: list[str] = []
    training = [(module, module.training) for module in network.modules()]
    handles = [
        module.register_forward_hook(lambda *_, path=path: calls.append(path))
        for path, module in network.named_modules()
    ]
    network.eval()
    try:
        with torch.no_grad():
            network(*(x[:1] if isinstance(x, torch.Tensor) else x for x in inputs))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training:
            module.training = mode
    return calls


def _place_of(
    path: str, after: str | None, calls: Sequence[str], modules: Mapping[str, nn.Module]
) -> tuple[str, nn.MaxPool2d | None]:
    """The module whose output is thinned for a convolution, and the max-pooling before it, if any."""
    if path not in calls:
        raise ValueError(f"the convolution {path} is not called in the network's forward pass")
    later = calls[calls.index(path) + 1 :]
    if after is not None and after != path:
        if after not in later:
            raise ValueError(f"after: module {after} is not called after the convolution {path}, or does not hold it")
        later = later[: later.index(after) + 1]
        return after, next((m for p in later if isinstance(m := modules[p], nn.MaxPool2d)), None)
    place = path
    for other in () if after == path else _innermost(later, modules):
        module = modules[other]
        if not isinstance(module, FOLLOWERS) or getattr(module, "return_indices", False):
            break
        place = other
        if isinstance(module, nn.MaxPool2d):
            return place, module
    return place, None


def _innermost(paths: Sequence[str], modules: Mapping[str, nn.Module]) -> Iterator[str]:
    return (path for path in paths if not any(True for _ in modules[path].children()))
