"""Methods that do what a method must not, one each."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from pydantic import field_validator
from torch import nn
from torch.nn import functional as F

from biasvar.data.draws import Rows
from biasvar.study import Arm
from biasvar.training.methods import Method, Phase


class Settings(Arm):
    pass


class Sound(Method):
    Settings = Settings

    def loss(self, state, batch):
        return cross_entropy(batch), None


def cross_entropy(batch):
    truth = batch.labels.flatten()
    return F.cross_entropy(batch.logits.flatten(0, 1), truth, reduction="none").reshape(batch.labels.shape)


def with_loss(loss):
    return type("WithLoss", (Sound,), {"loss": lambda self, state, batch: loss(batch)})


Scalar = with_loss(lambda batch: (cross_entropy(batch).mean(), None))
Whole = with_loss(lambda batch: (cross_entropy(batch).long(), None))
Cut = with_loss(lambda batch: (cross_entropy(batch).detach(), None))
Bare = with_loss(cross_entropy)  # of two replicas it would be taken for losses and weights
Nothing = with_loss(lambda batch: None)
NarrowWeights = with_loss(lambda batch: (cross_entropy(batch), torch.ones(3)))
Leaves = with_loss(lambda batch: sys.exit(3))


class TooLarge(Sound):
    def loss(self, state, batch):
        raise MemoryError


class TwoPartError(Exception):
    def __init__(self, one, two):  # cannot be unpickled, as such errors of users cannot
        super().__init__(one)


class Raises(Sound):
    def loss(self, state, batch):
        if batch.epoch == 3:
            raise TwoPartError("in the middle", 2)
        return super().loss(state, batch)


class Lossless(Method):
    Settings = Settings


class MisspeltNeed(Sound):
    needs = frozenset({"teachers"})


class PathOnly(Sound):
    features = "layers"


class NoPhases(Sound):
    def phases(self, epochs):
        return ()


class HalfEpochs(Sound):
    def phases(self, epochs):
        return Phase("a", epochs - 1.5), Phase("b", 1.5)


class Uphill(Sound):
    def phases(self, epochs):
        return (Phase("a", epochs, rate=-1.0),)


class NoRows(Sound):
    def rows(self, context, replicas):
        drawn = context.rows(replicas)
        return Rows(drawn.ids[:, :0], None, replicas)


class TestRows(Sound):
    __test__ = False

    def rows(self, context, replicas):
        return Rows(np.stack([context.blocks["test"] for _ in replicas]), None, replicas)


class NoStudent(Sound):
    def student(self, network):
        return None


class NothingToTrain(Sound):
    def prepare(self, context, replicas):
        return [nn.ReLU() for _ in replicas]

    def modules(self, state):
        return state


class SavesNumbers(Sound):
    def saved(self, state):
        return {"steps": 1}


class OwnLabel(Sound):
    class Settings(Arm):
        label: int = 0


class OwnTau(Sound):
    class Settings(Arm):
        temperature: str = "hot"


class LooseTeacher(Sound):
    class Settings(Arm):
        teacher: str = ""


class SetOfNames(Sound):
    class Settings(Arm):
        names: set[str] = set()  # noqa: RUF012 (a field of a pydantic class)


class Anything(Sound):
    class Settings(Arm):
        value: Any = object()


class Validated(Sound):
    class Settings(Arm):
        value: int = 0

        @field_validator("value")
        @classmethod
        def _check(cls, value):
            raise KeyError(value)


def _made():
    class Local(Arm):
        pass

    return Local


class Hidden(Sound):
    Settings = _made()


class Star(Sound):
    class Settings(Arm):
        plays = "star"
