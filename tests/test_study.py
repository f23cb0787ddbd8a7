from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from biasvar.errors import StudyError
from biasvar.study import Record, load_study, resolve_study
from biasvar.study.identity import VERSION
from biasvar.study.schema import Data, Schedule
from biasvar.study.sections import Section

DIGITS = Path(__file__).parents[1] / "experiments" / "digits.yaml"

FIXED = {"date": "2026-11-28", "ledger": "0123456789abcdef"}


def put(study, key, value):
    *path, last = key.split(".")
    for part in path:
        study = study.setdefault(part, {})
    study[last] = value


def test_the_shipped_study_is_valid_and_keeps_its_promises():
    study = load_study(DIGITS)
    assert study.replicas >= 16
    losses = {arm.loss for arm in study.arms.values()}
    assert losses == {
        "cross_entropy", "label_smoothing", "distillation", "weighted_soft_label", "masked_distillation"
    }  # fmt: skip
    kd = {n: a for n, a in study.arms.items() if (a.loss, a.teacher_name) == ("distillation", "main")}
    plain = [a for n, a in kd.items() if not study.uses(n)]
    assert {1, 2, 4, 8} <= {arm.temperature for arm in plain}
    assert {study.teachers[a.teacher_name].regime for a in study.arms.values() if a.teacher_name} >= {
        "fixed, all training rows", "fixed, disjoint rows", "per replica"
    }  # fmt: skip
    sweep = study.claims["W5"][0]["arms"]
    assert len({study.arms[name].teacher for name in sweep}) == len(sweep) >= 12
    assert len({(study.arms[name].temperature, study.arms[name].alpha) for name in sweep}) == 1


def test_resolved_study_is_a_study_of_the_same_identity(tiny_study, tmp_path):
    study = resolve_study(tiny_study)
    (tmp_path / "resolved.yaml").write_text(study.to_yaml())
    again = load_study(tmp_path / "resolved.yaml")
    assert again == study
    assert again.hash == study.hash
    assert resolve_study({**tiny_study, "seed": 4}).hash != study.hash
    assert study.arms["ce"].label == "ce"
    assert study.arms["wsl"].family == "weighted_soft_label"
    assert study.reference_teacher == "main"


def test_arms_follow_the_arms_they_use(tiny_study):
    order = resolve_study(tiny_study).order()
    assert order.index("kd") < order.index("wsl_recorded")
    assert order.index("wsl") < order.index("kd_scaled")
    assert [a for a in order if a not in ("kd", "wsl_recorded")] == [
        a for a in tiny_study["arms"] if a not in ("kd", "wsl_recorded")
    ]


def test_overrides(tmp_path, tiny_study):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tiny_study))
    study = load_study(path, overrides=["arms.kd.temperature=3", "schedule.epochs=7", "draw={kind: bootstrap}"])
    assert study.arms["kd"].temperature == 3
    assert study.schedule.epochs == 7
    assert study.draw.kind == "bootstrap"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("arms.kd.temperature", "write it as dotted.key=value"),
        ("=3", "write it as dotted.key=value"),
        ("arms.kdd.temperature=3", "no section 'arms.kdd'"),
        ("arms.kd.temprature=3", "arms.kd.temprature: unknown key, did you mean 'temperature'"),
        ("seed={", "--set seed: '{' is no valid YAML"),
        ("seed.deep=3", "no section 'seed'"),
    ],
)
def test_bad_overrides_are_named(tmp_path, tiny_study, override, message):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tiny_study))
    with pytest.raises(StudyError, match=message):
        load_study(path, overrides=[override])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("replicaz", 3, r"replicaz: unknown key, did you mean 'replicas'\?; allowed here: .*seed"),
        ("schedule.epoch", 3, r"schedule.epoch: unknown key, did you mean 'epochs'"),
        ("teachers.main.width", 3, r"teachers.main.width: unknown key; allowed here: label, model, hidden"),
        ("record.epoch", 3, r"record.epoch: unknown key, did you mean 'epochs'"),
        ("arms.kd.record", {"epoch": 1}, r"arms.kd.record.epoch: unknown key, did you mean 'epochs'"),
        ("arms.kd.loss", "destillation", r"arms.kd.loss: must be .*not 'destillation', did you mean 'distillation'"),
        ("backend", "batch", r"backend: must be 'batched' or 'sequential', not 'batch', did you mean 'batched'"),
        ("replicas", 1, "replicas: must be greater than or equal to 2, not 1"),
        ("replicas", "many", "replicas: must be a valid integer.*not 'many'"),
        ("student", {"model": "mlp"}, "student: hidden: model mlp needs the widths"),
        ("student.hidden", [0], r"student.hidden.0: must be greater than or equal to 1, not 0"),
        ("student.hidden", [10**8], r"student.hidden.0: must be less than or equal to 65536"),
        ("teachers.main.hidden", [-1], r"teachers.main.hidden.0: must be greater than or equal to 1"),
        ("teachers.main.weight_decay", -1, "teachers.main.weight_decay: must be greater than or equal to 0"),
        ("teachers.main.augment", "half", "teachers.main.augment: must be a valid boolean"),
        ("teachers.main.rows", 0, "teachers.main.rows.*must be greater than or equal to 1"),
        ("teachers.a/b", {"hidden": [3]}, "teachers.a/b"),
        ("arms.a b", {"loss": "cross_entropy"}, "arms.a b"),
        ("record.epochs", 0, "record.epochs.*must be greater than or equal to 1"),
        ("record.epochs", [], "record.epochs"),
        ("record.epochs", [-3], "record.epochs"),
        ("record.epochs", True, "record.epochs"),
        ("arms.kd.temperature", float("inf"), "arms.kd.temperature: must be a finite number"),
        ("claims", {"Z9": []}, "claims.Z9: no claim named 'Z9'"),
        (
            "claims",
            {"W1": [{"treat": "kd"}]},
            r"the roles control, treatment, not treat, did you mean 'treatment'",
        ),
        (
            "claims",
            {"Y1": [{"arms": ["ce"]}, {"arms": ["ce", "kd"]}]},
            r"claims.Y1\[1\]: its arms are trained by 2 losses \(ce by cross_entropy, kd by distillation\), and bias "
            "and variance are those of one; give each loss a test of its own",
        ),
        ("student", "mlp", r"student: must be a mapping of keys to values, such as \{model: mlp\}, not 'mlp'"),
        ("seed", 1e40, r"seed: must be a smaller whole number, not 1e\+40"),
        ("claims", {"W1": [{"treatment": ["kd"], "control": "ce"}]}, r"claims.W1\[0\].treatment: one arm is needed"),
        ("claims", {"W5": [{"arms": "kd"}]}, r"claims.W5\[0\].arms: a list of arms is needed"),
        ("arms.kd.teacher", "mian", r"no teacher named 'mian', did you mean 'main'\? there is: main, own, disjoint"),
        ("arms.kd.keep", "other", "arms.kd.keep: not used by loss distillation, which takes alpha"),
        ("arms.ce.temperature", 4, "arms.ce.temperature: not used by loss cross_entropy, which takes nothing more"),
        ("arms.kd_random.keep", None, "arms.kd_random.keep: needed for loss masked_distillation"),
        ("arms.wsl_recorded.weights_from", "kdd", "no arm named 'kdd', did you mean 'kd'"),
        ("arms.kd.weights_from", "wsl_recorded", "needs its own record, by way of wsl_recorded -> kd -> wsl_recorded"),
        ("arms.kd.temperature", 1e20, r"arms.kd.temperature: must lie between 1e-06 and 1e\+06, .*, not 1e\+20"),
        ("arms.kd.temperature", 1e-30, r"arms.kd.temperature: must lie between 1e-06 and 1e\+06, .*, not 1e-30"),
        ("reference_temperature", 1e30, r"reference_temperature: must lie between 1e-06 and 1e\+06, "),
        ("reference_teacher", "none", "reference_teacher: no teacher named 'none'"),
        ("data.split", "tset", "data.split: must be 'train' or 'test', not 'tset', did you mean 'test'"),
        ("data", {"split": "test", "reserved": 9}, "data.test: a number of rows is needed where all rows are cut from"),
        ("data.reserved", 0, "reserved rows are asked for, but data.reserved is 0"),
        ("teachers.main.rows", "own", "rows: own .* needs draw: per_replica"),
        ("draw.rows", None, "draw.rows: needed for draw.kind subsample"),
        ("draw.kind", "bootstrap", "draw.rows: not used by draw.kind bootstrap"),
        ("learning_rate", "x", r"learning_rate: must be a number above 0, or a mapping .*\{grid: \[.*, not 'x'"),
        ("learning_rate", True, "learning_rate: must be a number above 0, or a mapping"),
        ("learning_rate", None, "learning_rate: must be a number above 0, or a mapping"),
        ("learning_rate", {}, "give either value .* or grid"),
        ("learning_rate", {"grid": [0.1, -1], "families": {}}, "learning_rate.grid.1: must be greater than 0, not -1"),
        ("learning_rate", {"grid": [0.1], "families": {"x": "kdd"}}, "no arm named 'kdd'"),
        ("learning_rate", {"grid": [0.1], "families": {"x": "kd_scaled"}}, "choose the rate on one that does not"),
        ("learning_rate", {"grid": [0.1], "families": {"cross_entropy": "ce"}}, "'label_smoothing' has no entry"),
        (
            "learning_rate",
            {"value": 0.1, "by": "nll"},
            "learning_rate.by: nll chooses among a grid, and one rate for all",
        ),
        ("schedule.momentum", 0, "nesterov: true needs a momentum above 0"),
        ("claims", {"W1": [{"treatment": "kdx", "control": "ce"}]}, r"claims.W1\[0\].treatment: no arm named 'kdx'"),
        ("claims_fixed", "yes", "claims_fixed: must be a mapping of keys to values, not 'yes'|claims_fixed: .*'yes'"),
        ("claims_fixed", {"date": "2026-11-28"}, "claims_fixed.ledger: missing; the study needs it"),
        ("claims_fixed", {"ledger": "0" * 16}, "claims_fixed.date: missing; the study needs it"),
        (
            "claims_fixed",
            FIXED | {"date": "28.11.2026"},
            "claims_fixed.date: must be a day such as '2026-11-28'.*'28.11",
        ),
        ("claims_fixed", FIXED | {"date": "2026-02-30"}, "claims_fixed.date: must be a day .* not '2026-02-30'"),
        ("claims_fixed", FIXED | {"date": "20261128"}, "claims_fixed.date: must be a day .* not '20261128'"),
        (
            "claims_fixed",
            FIXED | {"ledger": "abc"},
            r"claims_fixed.ledger: must be the 16 characters .*ledger_hash\(claims\)",
        ),
        ("claims_fixed", FIXED | {"by": "me"}, "claims_fixed.by: unknown key; allowed here: date, ledger"),
        ("designs_tried", 6, "designs_tried: .*not 6"),
        ("designs_tried", {"count": 6}, "designs_tried.seeds: missing"),
        ("designs_tried", {"count": 0, "seeds": [1]}, "designs_tried.count: must be greater than or equal to 1, not 0"),
        ("designs_tried", {"count": 6, "seeds": []}, "designs_tried.seeds: must not be empty"),
        ("designs_tried", {"count": 6, "seeds": [-1]}, "designs_tried.seeds.0: must be greater than or equal to 0"),
        ("designs_tried", {"count": True, "seeds": [1]}, "designs_tried.count: must be a number, not true or false"),
        ("defaults.tau", 3, "defaults.tau: allowed here: teacher, temperature"),
        ("name", "My study", "name: .*pattern"),
        ("arms", {}, "arms: "),
    ],
)
def test_faults_are_named_with_the_key_and_what_is_allowed(tiny_study, key, value, message):
    put(tiny_study, key, value)
    with pytest.raises(StudyError, match=message):
        resolve_study(tiny_study)


def test_a_fault_of_a_default_says_where_the_value_stands(tiny_study):
    tiny_study["defaults"]["alpha"] = 2.25
    tiny_study["arms"]["reg"] = {"loss": "tfkd_reg", "variant": "paper"}
    message = (
        r"arms.reg.alpha: must be less than or equal to 1, not 2.25, which is of defaults; give the arm its own alpha"
    )
    with pytest.raises(StudyError, match=message):
        resolve_study(tiny_study)


def test_all_faults_are_listed_at_once(tiny_study):
    tiny_study["replicaz"] = 1
    tiny_study["seed"] = -1
    with pytest.raises(StudyError, match=r"study: seed: .*; replicaz: "):
        resolve_study(tiny_study)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is no valid YAML"),
        ("- a\n", "is a mapping of keys to values, this one holds a list"),
        ("", "this one holds nothing"),
    ],
)
def test_files_that_are_no_studies(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=message):
        load_study(path)


@pytest.mark.parametrize("typed", ["studies/cifar.yml", "studies/cifr.yaml", "studies/cifar", "studys/cifar.yaml"])
def test_the_nearest_file_is_named(tmp_path, typed):
    (tmp_path / "studies").mkdir()
    for name in ("cifar.yaml", "digits.yaml", "cifar.png"):
        (tmp_path / "studies" / name).touch()
    there = re.escape(str(tmp_path / "studies/cifar.yaml"))
    with pytest.raises(FileNotFoundError, match=f"no study file at .*; did you mean '{there}'"):
        load_study(tmp_path / typed)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no study file at .*; the repository keeps its studies"):
        load_study(tmp_path / "none.yaml")
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="no valid YAML"):
        load_study(path)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [("all", {1, 2, 3, 4, 5, 6, 7}), ("last", {7}), (3, {1, 3, 6, 7}), ([2, 5, 9], {2, 5})],
)
def test_recorded_epochs(epochs, expected):
    assert Record(epochs=epochs).selected(7) == expected


def test_an_arm_whose_weights_are_used_is_recorded_through_training(tiny_study):
    tiny_study["record"] = {"epochs": "last"}
    study = resolve_study(tiny_study)
    assert study.arms["kd"].record == Record(epochs="all")
    assert study.arms["ce"].record == Record(epochs="last")


STUDIES = sorted((DIGITS.parent).rglob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: str(path.relative_to(DIGITS.parent)))
def test_every_shipped_study_is_valid(path):
    if path.name == "base.yaml":
        return  # what others extend
    study = load_study(path)
    assert study.title
    assert study.hash == load_study(path).hash
    shipped = {load_study(other).name for other in STUDIES if other.name != "base.yaml"} if study.share else set()
    assert set(study.share) <= shipped


# What runs of the shipped studies carry in their manifests, by version 2 of the identity and by version 1: a study
# whose hashes change cannot resume its own runs.
HASHES = {
    "all_methods.yaml": ("b3b75577c38c342a",),
    "bias_variance/convnet.yaml": ("16519cf903367ddc",),
    "bias_variance/convnet_squared_error.yaml": ("665db619987074bb",),
    "bias_variance/corruptions.yaml": ("952e8ce553822a91",),
    "bias_variance/corruptions_cifar10.yaml": ("8185dec018872acd",),
    "bias_variance/depth.yaml": ("30f5eff8b215fc2f",),
    "bias_variance/digits.yaml": ("1d613df0b0fcace3",),
    "bias_variance/fashion_mnist.yaml": ("14e65f3d1dc5ed59",),
    "bias_variance/full/cifar10_resnet34.yaml": ("28edf9fe4e0026de",),
    "biased_soft_labels/additive_noise.yaml": ("c8cd45369812af03", "44cf0b4a1cb821d5"),
    "biased_soft_labels/additive_noise_fashion_mnist.yaml": ("c72cc2a50cd43b36",),
    "biased_soft_labels/bad_teacher_digits.yaml": ("26336c6b3cbf9f37", "acfd783fe5b0c635"),
    "biased_soft_labels/bad_teacher_fashion_mnist.yaml": ("c3d7ebc76e99024c", "6dd6fe533f0801a6"),
    "biased_soft_labels/bad_teacher_features.yaml": ("396b105540f19b84",),
    "biased_soft_labels/full/additive_noise.yaml": ("c2c67dbb4d5a1cb4", "5e0debfad4c74482"),
    "biased_soft_labels/full/bad_teacher_cifar10.yaml": ("cf52560b76542cc2", "7e2e2056e2392bf5"),
    "biased_soft_labels/full/bad_teacher_cifar100.yaml": ("58cb2673289a6fd4", "8e21b643f3b78c98"),
    "biased_soft_labels/full/incomplete_supervision.yaml": ("fb135646fa482cab", "e8dfc698801e5838"),
    "biased_soft_labels/full/partial_labels.yaml": ("27a46d20a4ee0b12", "f7f55974dc3a8341"),
    "biased_soft_labels/full/people.yaml": ("28b14aeb6cf2efb7", "2b9bb31dbeb976b2"),
    "biased_soft_labels/full/people_cifar10h.yaml": ("672b4f47d823013b", "bf6b814ccb847d5d"),
    "biased_soft_labels/full/which_indicator.yaml": ("6688e10d638e91ad", "0c9df6493f0077f3"),
    "biased_soft_labels/growing_rows.yaml": ("3ae0a337ecef4088",),
    "biased_soft_labels/incomplete_supervision.yaml": ("51597d35ad55a1c2", "6cea12f4ebd40dc0"),
    "biased_soft_labels/not_necessary.yaml": ("e6cd1ec33f359831", "6a9981bd1c71139f"),
    "biased_soft_labels/partial_labels.yaml": ("90eea4d561105262", "e35ba11d5dc55ece"),
    "biased_soft_labels/people.yaml": ("18d13f6bb12f1af6", "2f9b927cf8e86746"),
    "biased_soft_labels/people_cifar10h.yaml": ("47785d7d3ddfc895", "a63bec9b4fe3a422"),
    "biased_soft_labels/which_indicator.yaml": ("74cfb5c69fdc3ac4",),
    "biased_soft_labels/which_indicator_fashion_mnist.yaml": ("482d7132b68e1f83",),
    "biased_soft_labels/which_indicator_features.yaml": ("17c1ae7d9bb54046",),
    "converged/ablations.yaml": ("4f66fde6035253cb",),
    "converged/digits.yaml": ("0d799d0ceddd7b55",),
    "converged/fashion_mnist.yaml": ("bcfefec9e03e1d9a",),
    "converged/features_narrow.yaml": ("d62b63b2da839f7f",),
    "converged/teachers_features.yaml": ("e63082bc25ee6115", "91469d3bc2c2e9fe"),
    "converged/teachers_fashion_mnist.yaml": ("94e358c69a5c6a0c",),
    "converged/convnet.yaml": ("deb0b7fd40119c47",),
    "converged/features.yaml": ("9568ecc2ff7906a8",),
    "dfa/drift.yaml": ("62f70b95f0b68694",),
    "dfa/gains.yaml": ("9b84b558214a26aa",),
    "dfa/transfer.yaml": ("7f7d296f3449a0b3",),
    "dfa/ensemble.yaml": ("0e1f0f635d689091",),
    "digits.yaml": ("d1c15e5da9930673", "e4c62de323de23a6"),
    "digits_redrawn.yaml": ("a2fdef87850cb9ed", "bbdb22600ca46b97"),
    "gpu/cifar10_resnet20.yaml": ("cf370fb6ecc24e9d", "add792bdcab8ab24"),
    "label_revision/fashion_mnist.yaml": ("58385dd36df17ef2",),
    "label_revision/features.yaml": ("93742a490f95dbf3",),
    "label_revision/four_classes.yaml": ("652113192b7a4df5",),
    "label_revision/one_rate.yaml": ("938c7fecd4066bba",),
    "own_method/study.yaml": ("5c7176489ce34a93",),
    "infodrop/cifar10_grey.yaml": ("a72a4ad33651fa7b",),
    "infodrop/few_shots.yaml": ("bf4c8a20c8321c86",),
    "infodrop/few_shots_in_parts.yaml": ("a163b97b55da9ae3",),
    "infodrop/left_out_edges.yaml": ("3eb4bac29a939536",),
    "infodrop/left_out_grey.yaml": ("e5bfba84efc5d268",),
    "infodrop/left_out_original.yaml": ("0d47ca41939a76f9",),
    "infodrop/left_out_posterised.yaml": ("35b58928b80f49e0",),
    "protocols/cifar100/resnet110_to_resnet20.yaml": ("4ec1ec93b115c674",),
    "protocols/cifar100/resnet110_to_resnet32.yaml": ("e009d7f861cb5016",),
    "protocols/cifar100/resnet32x4_to_resnet8x4.yaml": ("b9819fc4e79b8425",),
    "protocols/cifar100/resnet32x4_to_shufflenetv1.yaml": ("7be84054f2092641",),
    "protocols/cifar100/resnet32x4_to_shufflenetv2.yaml": ("62e6968c9c252539",),
    "protocols/cifar100/resnet50_to_mobilenetv2.yaml": ("22df2c1033f58a5d",),
    "protocols/cifar100/resnet50_to_vgg8.yaml": ("7ce50ab1614679dc",),
    "protocols/cifar100/resnet56_to_resnet20.yaml": ("a2ebd93e3d6d0485",),
    "protocols/cifar100/vgg13_to_mobilenetv2.yaml": ("89dbc1c6470e36b4",),
    "protocols/cifar100/vgg13_to_vgg8.yaml": ("06a7f93376b79ad8",),
    "protocols/cifar100/wrn_40_2_to_shufflenetv1.yaml": ("8d5709447ad26b05",),
    "protocols/cifar100/wrn_40_2_to_wrn_16_2.yaml": ("77908bbdd47faf60",),
    "protocols/cifar100/wrn_40_2_to_wrn_40_1.yaml": ("321b92058f1073c5",),
    "protocols/dfa_cifar100/wrn_28_4_to_wrn_16_2.yaml": ("47987d72b057e366",),
    "protocols/dfa_cifar100/wrn_28_4_to_wrn_16_4.yaml": ("952d334d9e0ffb2e",),
    "protocols/dfa_cifar100/wrn_28_4_to_wrn_28_2.yaml": ("76a50da70e52934e",),
    "protocols/dfa_cinic10/shufflenetv2_2_to_shufflenetv2.yaml": ("49c07228f1b1b4e0",),
    "protocols/dfa_cinic10/shufflenetv2_2_to_shufflenetv2_0p5.yaml": ("895358c9afbc9527",),
    "protocols/dfa_cinic10/shufflenetv2_to_shufflenetv2_0p5.yaml": ("5f4c9eff88a9a728",),
    "protocols/imagenet/resnet34_to_resnet18.yaml": ("73b064fcf850b054",),
    "protocols/imagenet/resnet50_to_mobilenetv1.yaml": ("0bc32ac70fb4142d",),
    "protocols/teacher_free/cifar100_mobilenetv2.yaml": ("1073cc9871985311",),
    "protocols/teacher_free/cifar100_resnet18.yaml": ("7cd67e967f02bcdf",),
    "protocols/teacher_free/cifar100_shufflenetv2.yaml": ("fa00052752da6242",),
    "protocols/teacher_free/tiny_imagenet_mobilenetv2.yaml": ("398b9c33c57f0a87",),
    "protocols/teacher_free/tiny_imagenet_resnet50.yaml": ("2caae7e177dd7276",),
    "protocols/teacher_free/tiny_imagenet_shufflenetv2.yaml": ("04e82670da6da15d",),
    "prokt/docstrings.yaml": ("4e3122c2cbe2ab91",),
    "prokt/features.yaml": ("b4da1127871dd030",),
    "prokt/full/cifar10.yaml": ("36b6b54017ad00d8",),
    "prokt/seeds.yaml": ("9ba9b138dbfff2ee",),
    "teacher_free/digits.yaml": ("48dcbc599fef36a0",),
    "teacher_free/fashion_mnist.yaml": ("cdee6d3058f9b45d",),
    "teacher_free/features.yaml": ("d14bbffcefcc1ce1",),
    "teacher_free/full/cifar10.yaml": ("73753ff4988c0b98",),
    "teacher_free/full/cifar100.yaml": ("cb8a7bb9fa3f3eb9",),
    "teacher_free/scale.yaml": ("ad6f59660641f064",),
    "teacher_free/seconds.yaml": ("4832b97a78adb7f0",),
    "wsl/full/decomposition.yaml": ("aee1227ea5d5af90", "c6eb8cd76bc8ea8f"),
    "wsl/full/filtering.yaml": ("e7c54dba4c656a36", "b91890feff2896db"),
    "wsl/full/regularization_samples.yaml": ("8eb97052dfad429a", "d9cc352ef10ff15b"),
    "wsl/full/wsl.yaml": ("ef0b0463bae3f39f", "ce6ab3d72a6699fb"),
    "wsl/full/wsl_cifar100.yaml": ("19e55723e7bc6f24", "7f13780c73681163"),
    "wsl/full/wsl_resnet110.yaml": ("ebd1a04fa008d7e2", "d9f548d7a97fb7e5"),
    "wsl/full/wsl_tiny_imagenet_32.yaml": ("a594df1b1bd8450c", "36ca24516a64c5aa"),
}


def test_shipped_studies_keep_the_identities_that_their_runs_carry():
    paths = [path for path in STUDIES if path.name != "base.yaml"]
    assert {path.relative_to(DIGITS.parent).as_posix(): load_study(path).hashes for path in paths} == HASHES


def test_a_study_extends_another(tmp_path, tiny_study):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/first.yaml").write_text(yaml.safe_dump(tiny_study))
    (tmp_path / "second.yaml").write_text(
        "extends: base/first.yaml\nname: second\nschedule: {epochs: 9}\narms: {kd: {temperature: 8}, ce: {label: CE}}\n"
    )
    base, study = load_study(tmp_path / "base/first.yaml"), load_study(tmp_path / "second.yaml")
    assert study.name == "second"
    assert (study.schedule.epochs, study.schedule.batch_size) == (9, base.schedule.batch_size)
    assert list(study.arms) == list(base.arms)
    assert (study.arms["kd"].temperature, study.arms["kd"].loss) == (8, "distillation")
    assert study.arms["ce"].label == "CE"
    assert "extends" not in study.to_yaml()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("extends: none.yaml", FileNotFoundError, r"study.yaml: extends: no study file at .*none.yaml"),
        ("extends: study.yaml", StudyError, "study.yaml extends this file in turn"),
        ("extends: [a]", StudyError, "extends: must be the path of a study file"),
        ("extends: list.yaml", StudyError, "list.yaml: a study file is a mapping"),
    ],
)
def test_what_cannot_be_extended_is_named(tmp_path, text, error, message):
    (tmp_path / "study.yaml").write_text(text)
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(error, match=message):
        load_study(tmp_path / "study.yaml")


def test_a_study_does_not_share_with_itself(tiny_study):
    with pytest.raises(StudyError, match="share: 'tiny' is this study itself"):
        resolve_study({**tiny_study, "share": ["tiny"]})


def taught(tiny_study, **soft_label):
    tiny_study["soft_labels"] = {"s": soft_label}
    tiny_study["arms"]["taught"] = {"loss": "soft_label", "soft_label": "s"}
    return tiny_study


def test_students_of_soft_labels_alone(tiny_study):
    study = resolve_study(taught(tiny_study, kind="student", arm="kd", labelled=50))
    assert study.uses("taught") == ["kd"]
    assert study.order().index("kd") < study.order().index("taught")
    assert study.arms["taught"].family == "soft_label"


@pytest.mark.parametrize(
    ("soft_label", "message"),
    [
        ({"kind": "teachr"}, "soft_labels.s.kind: must be .*did you mean 'teacher'"),
        ({"kind": "teacher"}, r"soft_labels\.s\.teacher: needed for kind teacher"),
        ({"kind": "teacher", "teacher": "mian"}, "soft_labels.s.teacher: no teacher.*'mian', did you mean 'main'"),
        ({"kind": "smoothing", "smoothing": 0.1, "scale": 1}, "scale: not used by kind smoothing, which takes smooth"),
        ({"kind": "student", "arm": "kdd", "labelled": 5}, "soft_labels.s.arm: no arm"),
        ({"kind": "student", "arm": "taught", "labelled": 5}, "arms.taught: needs its own record"),
        ({"kind": "votes", "people": "cifar10h", "votes": "worst"}, "votes: worst .*; cifar10h has all and majority"),
        ({"kind": "partial", "unreliability": 0.1, "ambiguity": 1.5}, "soft_labels.s.ambiguity: must be less than"),
        ({"kind": "label", "labeled": 3}, "soft_labels.s.labeled: unknown key, did you mean 'labelled'"),
    ],
)
def test_soft_labels_that_cannot_be_are_named(tiny_study, soft_label, message):
    with pytest.raises(StudyError, match=message):
        resolve_study(taught(tiny_study, **soft_label))


@pytest.mark.parametrize(
    ("people", "split", "message"),
    [
        ("cifar10h", None, "cifar10h labels the official test images, but the students' rows are train images; give "
         "data.split: test, with a number of rows for data.test, or take people: cifar10n"),
        ("cifar10h", "train", "cifar10h labels the official test images"),
        ("cifar10n", "test", "cifar10n labels the official train images, but the students' rows are test images; give "
         "no data.split, or take people: cifar10h"),
    ],
)  # fmt: skip
def test_people_labelled_other_images(tiny_study, people, split, message):
    taught(tiny_study, kind="votes", people=people)["data"] |= {"name": "cifar10", "split": split}
    with pytest.raises(StudyError, match=f"soft_labels.s.people: {message}"):
        resolve_study(tiny_study)


def test_people_labelled_these_images(tiny_study):
    taught(tiny_study, kind="votes", people="cifar10n", votes="majority")["data"]["name"] = "cifar10"
    assert resolve_study(tiny_study).data.split is None
    tiny_study["soft_labels"]["s"]["people"], tiny_study["data"]["split"] = "cifar10h", "test"
    assert resolve_study(tiny_study).data.split == "test"


def every_section():
    """Every class that describes a part of a study."""
    found, waiting = {}, [Section]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("biasvar.") and cls.model_fields:
            found[cls.__name__] = cls
    return [found[name] for name in sorted(found)]


def test_a_key_at_its_default_is_no_part_of_the_identity(tiny_study):
    """So that a key can be added and no study becomes another, and each that is set makes another."""
    taught(tiny_study, kind="partial", unreliability=0.1, ambiguity=0.2)
    hashes = [resolve_study(tiny_study).hash]
    for section in (Data, Schedule):
        content = {key: field.default for key, field in section.model_fields.items() if not field.is_required()}
        entry = tiny_study.setdefault(section.__name__.lower(), {})
        tiny_study[section.__name__.lower()] = {**content, **entry}
    tiny_study["teachers"]["main"] |= {"augment": True, "weight_decay": None}
    tiny_study["soft_labels"]["s"]["labelled"] = None
    tiny_study["arms"]["kd"] |= {"student": None, "label": "KD", "weights_from": None, "shuffle": False}
    assert resolve_study(tiny_study).hash == hashes[0]
    for section, key, value in (
        (tiny_study["data"], "split", "train"),
        (tiny_study["data"], "split", "test"),
        (tiny_study["teachers"]["main"], "augment", False),
        (tiny_study["teachers"]["main"], "weight_decay", 0.0),
        (tiny_study["soft_labels"]["s"], "labelled", 7),
        (tiny_study["arms"]["kd"], "student", {"hidden": [3]}),
    ):
        section[key] = value
        hashes.append(resolve_study(tiny_study).hash)
    assert len(set(hashes)) == len(hashes)


def test_what_a_file_says_of_itself_is_not_said_of_files_that_extend_it(tmp_path, tiny_study):
    said = {"claims_fixed": FIXED, "designs_tried": {"count": 6, "seeds": [3]}}
    (tmp_path / "first.yaml").write_text(yaml.safe_dump({**tiny_study, **said}))
    (tmp_path / "second.yaml").write_text("extends: first.yaml\nname: second\n")
    (tmp_path / "third.yaml").write_text("extends: second.yaml\ndesigns_tried: {count: 2, seeds: [5]}\n")
    first, second, third = (load_study(tmp_path / f"{name}.yaml") for name in ("first", "second", "third"))
    assert first.claims_fixed.model_dump() == FIXED
    assert (second.claims_fixed, second.designs_tried) == (None, None)
    assert third.designs_tried.model_dump() == {"count": 2, "seeds": [5]}


def test_what_a_study_says_of_itself_is_no_part_of_its_identity(tiny_study):
    """Nor of the first version's, so that it can be added to the study of any run that exists."""
    before = resolve_study(tiny_study).hashes
    assert len(before) == 2
    said = {"claims_fixed": FIXED, "designs_tried": {"count": 6, "seeds": [3]}, "title": "T"}
    study = resolve_study({**tiny_study, **said})
    assert study.hashes == before
    assert resolve_study(yaml.safe_load(study.to_yaml())) == study


def test_a_study_that_says_something_new_has_no_identity_of_the_first_version(tiny_study):
    assert len(resolve_study(tiny_study).hashes) == 2
    tiny_study["arms"]["kd"]["student"] = {"hidden": [5]}
    assert len(resolve_study(tiny_study).hashes) == 1


def test_defaults_are_those_of_this_version_of_the_identity():
    """A default that changes makes the same file another study: give `biasvar.study.identity` a new version then."""
    known = json.loads((Path(__file__).parent / "study_defaults.json").read_text())
    now = {
        cls.__name__: {key: repr(field.default) for key, field in cls.model_fields.items() if not field.is_required()}
        for cls in every_section()
    }
    changed = {
        f"{name}.{key}": (default, now[name][key])
        for name, keys in known["defaults"].items()
        for key, default in keys.items()
        if now.get(name, {}).get(key) != default
    }
    assert known["version"] == VERSION
    assert not changed


def test_an_arm_names_a_soft_label_that_is_there(tiny_study):
    taught(tiny_study, kind="label")["arms"]["taught"]["soft_label"] = "t"
    with pytest.raises(StudyError, match=r"arms\.taught\.soft_label: no soft label"):
        resolve_study(tiny_study)
    del tiny_study["arms"]["taught"]["soft_label"]
    with pytest.raises(StudyError, match=r"arms\.taught\.soft_label: needed for loss soft_label"):
        resolve_study(tiny_study)


def test_nought_is_a_setting(tiny_study):
    tiny_study["arms"]["kd"]["alpha"] = 0
    taught(tiny_study, kind="partial", unreliability=0, ambiguity=0.5)
    study = resolve_study(tiny_study)
    assert study.arms["kd"].alpha == 0
    assert study.soft_labels["s"].unreliability == 0
