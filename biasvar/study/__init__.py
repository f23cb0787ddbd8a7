"""A study file: YAML, validated before anything runs, with every default written out.

    study = load_study("experiments/digits.yaml", overrides=["arms.kd.temperature=3"])
    study.order()        # the arms, each after the arms whose record it uses

An error names the file, the key, what is allowed there and the nearest spelling. Unknown keys are errors.
"""

from biasvar.study.arms import ARMS, Arm, Predictions, Record, TaughtArm
from biasvar.study.networks import MODELS, Network
from biasvar.study.reading import load_study, resolve_study
from biasvar.study.schema import Study
from biasvar.study.sections import ArmName, SoftLabelName, TaughtBy, TeacherName, WeightsOf
from biasvar.study.soft_labels import KINDS, SoftLabel
from biasvar.study.teachers import Teacher

__all__ = [
    "ARMS", "KINDS", "MODELS", "Arm", "ArmName", "Network", "Predictions", "Record", "SoftLabel", "SoftLabelName",
    "Study", "TaughtArm", "TaughtBy", "Teacher", "TeacherName", "WeightsOf", "load_study", "resolve_study",
]  # fmt: skip
