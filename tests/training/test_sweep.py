"""Sweeps: the arms that one study file makes, what they share, and what is refused before training."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
import yaml

from biasvar.errors import StudyError
from biasvar.records import open_run
from biasvar.run import main
from biasvar.study import load_study, resolve_study
from biasvar.training.checks import open_study
from biasvar.training.cost import parameters_of
from biasvar.training.execute import run_study
from biasvar.training.networks import MLP, build_network

WIDTHS, SHARES = [2, 6], [0, 0.25]
CE = {"loss": "cross_entropy"}


def swept(tiny_study, **more):
    kept = {key: value for key, value in tiny_study.items() if key not in ("teachers", "defaults")}
    sweep = {"student.width": WIDTHS, "data.label_noise.share": SHARES}
    return {**kept, "student": {"model": "mlp"}, "arms": {"ce": {"loss": "cross_entropy"}}, "sweep": sweep, **more}


NAMES = ["ce_width2_share0", "ce_width2_share0p25", "ce_width6_share0", "ce_width6_share0p25"]


def test_every_arm_comes_once_for_each_combination(tiny_study):
    claims = {"W5": [{"arms": ["ce_share0p25"]}, {"arms": ["ce"]}, {"arms": ["ce_width2"]}]}
    study = resolve_study(swept(tiny_study, claims=claims))
    assert list(study.arms) == NAMES
    arm = study.arms["ce_width6_share0p25"]
    assert (arm.student.width, arm.label_noise.share, arm.label_noise.kind) == (6, 0.25, "shuffle")
    assert (arm.label, arm.role) == ("ce, width 6, label noise 0.25", "grid")
    assert arm.swept == {"student.width": 6, "data.label_noise.share": 0.25}
    assert [test["arms"] for test in study.claims["W5"]] == [NAMES[1::2], NAMES, NAMES[:2]]
    longer = swept(tiny_study, sweep={"student.width": [2, 4, 6], "data.label_noise.share": [0, 0.1, 0.25]})
    assert {name: resolve_study(longer).arms[name] for name in NAMES} == study.arms


def test_a_sweep_written_out_is_the_same_study(tiny_study, tmp_path):
    study = resolve_study(swept(tiny_study))
    (tmp_path / "resolved.yaml").write_text(study.to_yaml())
    assert load_study(tmp_path / "resolved.yaml") == study
    by_hand = swept(tiny_study, sweep=None, student={"model": "mlp", "width": 2})
    by_hand["data"] = {**by_hand["data"], "label_noise": {"share": 0}}
    by_hand["arms"] = {
        name: {**CE, "role": "grid", "student": {"width": width}, "label_noise": {"share": share}}
        for name, (width, share) in zip(NAMES, itertools.product(WIDTHS, SHARES), strict=True)
    }
    assert resolve_study(by_hand).hash == study.hash


def test_a_swept_key_is_overridden_by_its_whole_name(tiny_study, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(swept(tiny_study)))
    study = load_study(path, overrides=["sweep.student.width=[3]", "sweep.data.label_noise.share=[0.5]"])
    assert list(study.arms) == ["ce_width3_share0p5"]
    assert list(load_study(path, overrides=["sweep=null", "student.width=7"]).arms) == ["ce"]
    with pytest.raises(StudyError, match=r"sweep\.student\.wdth: unknown key, did you mean 'student\.width'"):
        load_study(path, overrides=["sweep.student.wdth=[3]"])


def test_arms_keep_what_they_say_themselves(tiny_study):
    arms = {
        "ce": {"loss": "cross_entropy"},
        "wide": {"loss": "cross_entropy", "student": {"width": 9}, "role": "control"},
        "deep": {"loss": "cross_entropy", "student": {"hidden": [5, 5]}, "label_noise": {"kind": "uniform"}},
        "plain": {"loss": "cross_entropy", "student": {"width": 3}, "label_noise": {"share": 0}},
    }
    study = resolve_study(swept(tiny_study, student={"model": "mlp", "bias": False}, arms=arms))
    assert list(study.arms)[4:] == ["wide_share0", "wide_share0p25", "deep_share0", "deep_share0p25", "plain"]
    wide, deep, plain = (study.arms[name] for name in ("wide_share0p25", "deep_share0p25", "plain"))
    assert (wide.student.width, wide.student.bias, wide.role) == (9, False, "control")
    assert (deep.student.hidden, deep.student.width, deep.label_noise.kind) == ([5, 5], None, "uniform")
    assert (plain.swept, plain.role, plain.label_noise.share) == ({}, "main", 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sweep": {"student.widht": [1]}}, r"sweep\.student\.widht: unknown key, did you mean 'student\.width'\?"),
        ({"sweep": {"student.model": [1]}}, r"sweep\.student\.model: is no number; a sweep goes over student\.width"),
        ({"sweep": {"schedule.epochs": [1]}}, r"sweep\.schedule\.epochs: is shared by all arms; a sweep goes over"),
        ({"sweep": {"student": [1]}}, r"sweep\.student: is no number"),
        ({"sweep": {"data.label_noise.share": [0, 1]}}, r"share: must be less than 1, not 1"),
        ({"sweep": {"data.label_noise.share": [-0.1]}}, r"share: must be greater than or equal to 0, not -0\.1"),
        ({"sweep": {"data.label_noise.share": [float("nan")]}}, r"share: must be numbers, not nan"),
        ({"sweep": {"student.width": ["wide"]}}, r"width: must be numbers, not 'wide'"),
        ({"sweep": {"student.width": [True]}}, r"width: must be numbers, not true"),
        ({"sweep": {"student.width": [0]}}, r"width: must be greater than or equal to 1, not 0"),
        ({"sweep": {"student.width": [2, 2]}}, r"width: 2 is there more than once"),
        ({"sweep": {"data.label_noise.share": [0.1, 0.1000001]}}, r"0\.1 and 0\.1000001 are both 0\.1 in the"),
        ({"arms": {"a": {**CE, "swept": {"student.width": 3}, "student": {"width": 2}}}},
         r"arms\.a\.swept\.student\.width: 3, but the arm says 2; leave swept out"),
        ({"arms": {"a": {**CE, "swept": {"student.width": 3}}}}, r"swept\.student\.width: 3, but the arm says none"),
        ({"arms": {"a": {**CE, "swept": {"width": 3}}}}, r"a\.swept\.width: a sweep goes over student\.width"),
        ({"sweep": {"student.width": []}}, r"width: must be a list of one value or more"),
        ({"sweep": [2]}, r"sweep: must be a mapping of keys to lists of values, not a list"),
        ({"sweep": {"student.width": [*range(1, 202)]}}, r"make 201 arms, more than 200; .* by --max-arms 201"),
        ({"student": {"hidden": [4]}}, r"sweep\.student\.width: student\.hidden says the widths already"),
        (
            {"student": {"model": "resnet8x4"}, "backend": "sequential"},
            "student: width: resnet8x4 has the widths that its name says; take resnet8",
        ),
        ({"arms": {"ce": CE, "ce_width2_share0": {**CE, "student": {"width": 3}, "label_noise": {"share": 0}}}},
         r"arms\.ce_width2_share0: the name is needed for an arm of the sweep"),
        ({"claims": {"W8": [{"treatment": "ce", "control": "ce"}]}}, "no arm named 'ce', did you mean 'ce_width2_"),
    ],
)  # fmt: skip
def test_what_no_sweep_can_be_is_refused(tiny_study, change, said):
    with pytest.raises(StudyError, match=said):
        resolve_study(swept(tiny_study, **change))


@pytest.mark.parametrize(("kind", "share"), [("shuffle", 0.001), ("uniform", 1e-4), ("uniform_other", 1e-9)])
def test_noise_of_no_row_is_refused(tiny_study, tmp_path, kind, share):
    study = resolve_study(swept(tiny_study, sweep={"student.width": [2]}, arms={"a": {**CE, "label_noise": {
        "kind": kind, "share": share}}}))  # fmt: skip
    with pytest.raises(
        StudyError, match=rf"^arms\.a_width2\.label_noise\.share: .* training rows of students .*, and {kind}"
    ):
        open_study(study, tmp_path, torch.device("cpu"))


def test_noise_of_its_own_is_refused_beside_a_teacher(tiny_study):
    """What a teacher was trained on is the same for all arms."""
    arms = {"kd": {"loss": "distillation", "teacher": "main", "temperature": 4, "alpha": 1}}
    study = swept(tiny_study, arms=arms, teachers={"main": {"hidden": [8]}})
    with pytest.raises(StudyError, match=r"arms\.kd_width2_share0p25\.label_noise: not with main, which is made from"):
        resolve_study(study)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from tests.conftest import TINY

    study = swept(copy.deepcopy(TINY))
    return run_study(resolve_study(study), tmp_path_factory.mktemp("sweep") / "run", device="cpu")


def test_arms_share_their_rows_and_differ_in_their_labels(run):
    records = {name: run.records(arm=name, split="train", view="augmented", epochs=[1]) for name in NAMES}
    truth = run.samples.set_index("sample_id")["label"]
    for name, rows in records.items():
        np.testing.assert_array_equal(rows["sample_id"], records[NAMES[0]]["sample_id"])
        wrong = (rows["label"] != truth[rows["sample_id"]].to_numpy()).mean()
        assert wrong == pytest.approx(0.25 * 0.9 if name.endswith("0p25") else 0.0, abs=0.1), name
        assert (wrong > 0) == name.endswith("0p25")
        stored = run.manifest["arms"][name]["wrong_labels"]
        assert stored == pytest.approx(wrong, abs=0.1)
        test = run.records(arm=name, split="test", view="clean")
        np.testing.assert_array_equal(test["label"], truth[test["sample_id"]])
    np.testing.assert_array_equal(records[NAMES[1]]["label"], records[NAMES[3]]["label"])


def test_an_arm_of_a_sweep_is_what_it_is_alone(run, tiny_study, tmp_path):
    study = swept(tiny_study, sweep=None, student={"model": "mlp", "hidden": [6]})
    study["data"] = {**study["data"], "label_noise": {"share": 0.25}}
    alone = run_study(resolve_study(study), tmp_path / "alone", device="cpu")
    np.testing.assert_array_equal(
        alone.predictions("ce").mean_log_probs, run.predictions("ce_width6_share0p25").mean_log_probs
    )


def test_a_run_of_a_sweep_is_left_as_it_is(run):
    """Its own study file, with all arms written out, is the study that it holds."""
    before = (run.directory / "manifest.json").read_text()
    again = run_study(load_study(run.directory / "study.yaml"), run.directory, device="cpu")
    assert (again.directory / "manifest.json").read_text() == before
    assert open_run(run.directory).entry(NAMES[1]).setting("label_noise")["share"] == 0.25


def test_a_dry_run_shows_the_grid_and_its_cost(tiny_study, tmp_path, capsys):
    path = tmp_path / "study.yaml"
    path.write_text(resolve_study(swept(tiny_study)).to_yaml())
    assert main([str(path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "sweep over student.width 2, 6; data.label_noise.share 0, 0.25: 4 of 4 arms" in out
    assert f"students of {64 * 2 + 2 + 10 * 2 + 10:,} to {64 * 6 + 6 + 10 * 6 + 10:,} parameters" in out
    assert "ce_width6_share0p25: cross_entropy, student mlp 6, labels 25 % shuffle" in out
    path.write_text(yaml.safe_dump(swept(tiny_study)))
    assert main([str(path), "--dry-run", "--max-arms", "3"]) == 2
    assert "make 4 arms, more than 3" in capsys.readouterr().err


def test_a_width_means_the_same_in_every_family():
    """k in the first hidden layer or stage, twice as much after each pooling, and what a name has by itself."""
    for name, usual in (("convnet", 16), ("convnet_deep", 16), ("resnet8", 16)):
        made = [build_network(name, in_channels=3, num_classes=7, width=k) for k in (usual, None)]
        shapes = [{key: tuple(value.shape) for key, value in one.state_dict().items()} for one in made]
        assert shapes[0] == shapes[1]
        narrow = build_network(name, in_channels=3, num_classes=7, width=3)
        convolutions = [m.out_channels for m in narrow.modules() if isinstance(m, torch.nn.Conv2d)]
        assert sorted({*convolutions}) == [3, 6, 12]
        assert narrow(torch.zeros(2, 3, 16, 16)).shape == (2, 7)


def test_resnets_of_four_stages_have_k_to_8k_channels():
    """ResNet18 with the stem for small images: 11,220,132 parameters for 100 classes (kuangliu's, Tian et al. 2020)."""
    with torch.device("meta"):
        made = {depth: build_network(f"resnet{depth}", in_channels=3, num_classes=100) for depth in (18, 34)}
    counts = {depth: sum(parameter.numel() for parameter in net.parameters()) for depth, net in made.items()}
    assert counts == {18: 11_220_132, 34: 21_328_292}
    narrow = build_network("resnet18", in_channels=1, num_classes=5, width=2)
    assert narrow(torch.zeros(2, 1, 28, 28)).shape == (2, 5)
    assert [narrow.get_submodule(f"layer{i}.0.conv1").out_channels for i in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert narrow.feature_taps == tuple(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1))


def factory_without_width(*, in_channels, num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64 * in_channels, num_classes))


def factory_with_width(*, in_channels, num_classes, width=3):
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64 * in_channels, width), torch.nn.Linear(width, num_classes)
    )


@pytest.mark.parametrize("name", ["factory_with_width", "factory_without_width"])
def test_a_width_that_a_factory_lacks_is_refused(tiny_study, tmp_path, name):
    model = {"model": f"{__name__}:{name}"}
    study = resolve_study(swept(tiny_study, student=model, backend="sequential"))
    if name == "factory_with_width":
        context = open_study(study, tmp_path / "run", torch.device("cpu"))
        assert parameters_of(context, NAMES[2]) == 64 * 6 + 6 + 6 * 10 + 10
        return
    with pytest.raises(StudyError, match=r"student\.width: network .*width=2\) failed with TypeError"):
        open_study(study, tmp_path / "run", torch.device("cpu"))


def test_a_network_without_biases_is_homogeneous():
    net = MLP(5, [4], 3, bias=False)
    assert sum(parameter.numel() for parameter in net.parameters()) == 5 * 4 + 4 * 3
    x = torch.randn(2, 6, 5)
    stacked = {name: value.detach().expand(2, *value.shape) for name, value in net.named_parameters()}
    torch.testing.assert_close(net.forward_stacked(stacked, x), net(x))
    torch.testing.assert_close(net(3 * x), 3 * net(x))
