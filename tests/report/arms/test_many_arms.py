"""What is asked of every arm does not look at all the others again."""

from __future__ import annotations

from pathlib import Path

from biasvar.records import Run
from biasvar.records.arms import ArmEntry
from biasvar.report.arms.roles import baseline_of


def made(arms: int) -> Run:
    """A run of one arm by cross-entropy, then many that distil in the same network."""
    entries = {"ce": {"loss": "cross_entropy", "student": {"hidden": [8]}}}
    entries |= {f"kd_{n}": {"loss": "distillation", "student": {"hidden": [8]}} for n in range(arms)}
    return Run(Path("nowhere"), {"kind": "recorder", "num_classes": 2, "arms": entries})


def test_the_baselines_of_all_arms_take_time_by_their_number(monkeypatch):
    read, asked = ArmEntry.read, []
    monkeypatch.setattr(ArmEntry, "read", staticmethod(lambda name, entry: asked.append(name) or read(name, entry)))
    counts = []
    for arms in (20, 40):
        run = made(arms)
        monkeypatch.setitem(run.__dict__, "arms", list(run.manifest["arms"]))
        asked.clear()
        found = {arm: baseline_of(run, arm) for arm in run.arms}
        assert set(found.values()) == {"ce"}
        counts.append(len(asked))
    assert counts[1] <= 2.2 * counts[0]
