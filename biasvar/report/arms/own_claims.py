"""The claims that arms of somebody's own loop, or of imported predictions, can be asked, by what they learned by."""

from __future__ import annotations

from biasvar.records import Run
from biasvar.report.arms.roles import baseline_of, failed_arms, named_control

OF_LOSSES = {"distillation": ("W1", "W2", "W3"), "smoothing": ("S1", "S2")}
"""By the part of an arm's loss, the claims on it against the arm of cross-entropy."""
AGAINST_KD = {"weighting": ("W8",)}
"""The same against the first arm of distillation at the same temperature."""
NOT_FIXED = (
    "No study fixed the claims of this run beforehand: they are those that the losses of its arms allow, and the "
    "replicas are what somebody's own loop trained."
)


def ask_claims(run: Run) -> None:
    """Put into the manifest in memory which claims a run can be asked; nothing on disk changes, nothing of a study."""
    if run.manifest.get("kind") not in ("recorder", "import") or run.manifest.get("claims"):
        return
    asked: dict[str, list[dict[str, str]]] = {}
    arms = [arm for arm in run.arms if arm not in failed_arms(run) and _has_predictions(run, arm)]
    for arm in arms:
        entry = run.entry(arm)
        control = named_control(run, arm) or baseline_of(run, arm)
        if control in arms and control != arm and run.entry(control).plays == "baseline":
            for claim in OF_LOSSES.get(entry.plays or "", ()):
                asked.setdefault(claim, []).append({"treatment": arm, "control": control})
        taught = [
            kd for kd in arms if run.entry(kd).plays == "distillation" and run.entry(kd).shares(entry, "temperature")
        ]
        for claim in AGAINST_KD.get(entry.plays or "", ()) if taught else ():
            asked.setdefault(claim, []).append({"treatment": arm, "control": taught[0]})
    for arm in {arm for roles in asked.values() for role in roles for arm in role.values()}:
        states = set((run.arm(arm).get("recording") or {}).values())
        if states == {"complete"}:
            run.manifest["arms"][arm]["status"] = "complete"
    run.manifest["claims"] = asked


def _has_predictions(run: Run, arm: str) -> bool:
    """True of an arm with predictions of two replicas or more on test rows."""
    if not (run.directory / "predictions" / f"arm={arm}" / "split=test" / "membership=all").is_dir():
        return False
    means, _, _ = run.stored_means(arm, "test", "all", None)
    return int(means.counts.max(axis=1, initial=0).sum()) > 1
