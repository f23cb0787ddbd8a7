"""A method for tests of machines that are lost: cross-entropy that takes its time, and notes every step in a file."""

from __future__ import annotations

import os
import time

from torch.nn import functional as F

from biasvar.study import Arm
from biasvar.training.methods import Method


class Slow(Method):
    """Cross-entropy; as BIASVAR_TEST_SLOW (seconds a step), BIASVAR_TEST_LOG (a file) and BIASVAR_TEST_END say."""

    Settings = Arm

    def prepare(self, context, replicas):
        return replicas[0]

    def loss(self, state, batch):
        if "BIASVAR_TEST_LOG" in os.environ:
            with open(os.environ["BIASVAR_TEST_LOG"], "a") as file:
                file.write(f"{os.getpid()} {state} {batch.epoch}\n")
        time.sleep(float(os.environ.get("BIASVAR_TEST_SLOW", 0)))
        end = os.environ.get("BIASVAR_TEST_END")
        if end == "error":
            raise ValueError("no such\nluck")
        if end == "memory":
            raise MemoryError("Unable to allocate 3.00 GiB")
        if end == "killed":
            os.kill(os.getpid(), 9)
        return F.cross_entropy(batch.logits.flatten(0, 1), batch.labels.flatten(), reduction="none").view(
            batch.labels.shape
        ), None
