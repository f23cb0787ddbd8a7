"""What a reader must know of a run that somebody's own loop recorded."""

from __future__ import annotations

from biasvar.messages import first_few
from biasvar.records import Run
from biasvar.records.stored_files import last_of_each, stored_files
from biasvar.report.arms.description import arm_label


def recorder_warnings(run: Run) -> list[str]:
    """Warnings of somebody's own loop: recorders that are open, controls that are not there, trainings that differ."""
    lines = []
    for arm in run.arms if run.manifest.get("kind") == "recorder" else []:
        label = arm_label(run, arm)
        open_ones = [place for place, state in (run.arm(arm).get("recording") or {}).items() if state != "complete"]
        if open_ones:
            lines.append(
                f"Arm {label}: still under way, cut short, or never closed (with, or close()): {first_few(open_ones)}."
            )
        control = run.entry(arm).control
        if control is not None and control not in run.arms:
            lines.append(f"Arm {label} names the control {control}, which is not in the run.")
        files = stored_files(run.directory, "predictions", arm=arm) if _prediction_splits(run, arm) else []
        for split in dict.fromkeys(file.split for file in files):
            last = last_of_each([file for file in files if file.split == split and file.part != "nonmember"])
            epochs = sorted({file.epoch for file in last})
            if len(epochs) > 1:
                lines.append(
                    f"Arm {label}, split {split}: replicas end after different epochs ({epochs[0]} to {epochs[-1]}); "
                    "bias and variance are of each one's last."
                )
    return lines


def _prediction_splits(run: Run, arm: str) -> list[str]:
    """The splits of which an arm has predictions."""
    return [path.name[6:] for path in (run.directory / "predictions" / f"arm={arm}").glob("split=*")]
