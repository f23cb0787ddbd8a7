"""A study file: YAML, validated before anything runs, with every default written out.

    study = load_study("experiments/digits.yaml", overrides=["arms.kd.temperature=3"])
    study.order()        # the arms, each after the arms whose record it uses

An error names the file, the key, what is allowed there and the nearest spelling. Unknown keys are errors.
"""

from biasvar.study.reading import load_study, resolve_study
from biasvar.study.schema import MODELS, Arm, Record, Study, Teacher
from biasvar.study.soft_labels import SoftLabel

__all__ = ["MODELS", "Arm", "Record", "SoftLabel", "Study", "Teacher", "load_study", "resolve_study"]
