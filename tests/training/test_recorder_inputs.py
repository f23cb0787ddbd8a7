"""What the recorder is given: any arrays, rows to leave out, weights, flags, probabilities; nothing silent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import biasvar
from biasvar.analysis import arrays
from biasvar.errors import RecordError
from biasvar.training import recorder_terms

N, C = 24, 4


@pytest.fixture
def step():
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, N, C, generator=generator)
    labels = torch.randint(0, C, (N,), generator=generator)
    return {"sample_ids": torch.arange(N), "student_logits": student, "labels": labels, "teacher_logits": teacher}


def recorder(directory, **changes):
    return biasvar.Recorder(directory, **{"num_samples": N, "num_classes": C, "temperature": 4.0, **changes})


def recorded(directory, step, **options):
    with recorder(directory, **options) as writer:
        writer.update(**step)
    return biasvar.open_run(directory).records()


REFUSED = {
    "a masked array": lambda x: np.ma.array(x.numpy(), mask=np.zeros(x.shape, bool)),
    "a masked tensor": lambda x: torch.masked.masked_tensor(x, torch.ones_like(x, dtype=torch.bool)),
    "masked rows in a list": lambda x: [np.ma.array(row, mask=False) for row in x.numpy()],
    "objects": lambda x: x.numpy().astype(object),
    "words": lambda x: x.numpy().astype(str),
    "a word": lambda x: "logits",
    "None": lambda x: None,
    "a mapping": lambda x: {"a": 1},
    "a set": lambda x: {1, 2},
    "complex numbers": lambda x: x.to(torch.complex64),
    "a sparse tensor": lambda x: x.to_sparse(),
    "a nested tensor": lambda x: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
    "gaps": lambda x: pd.Series([None, *["a"] * (N - 1)]),
    "an object": lambda x: object(),
}


@pytest.mark.parametrize(
    "name", ["sample_ids", "student_logits", "labels", "teacher_logits", "loss_weight", "member", "where"]
)
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_what_is_no_array_is_refused_by_name(tmp_path, step, name, kind):
    step |= {"loss_weight": torch.ones(N), "member": torch.ones(N, dtype=torch.bool)}
    given = step | {name: REFUSED[kind](step.get(name, torch.ones(N, dtype=torch.bool)))}
    writer = recorder(tmp_path / "run")
    if kind == "None" and name in ("teacher_logits", "loss_weight", "member", "where"):
        return writer.update(**given)  # not given
    with pytest.raises((ValueError, TypeError), match=rf"Recorder.update, epoch 1: .*{name}|{name}") as refused:
        writer.update(**given)
    assert "\n" not in str(refused.value)


SAME = {
    "bfloat16 with a graph": lambda x: x.bfloat16().requires_grad_() if x.is_floating_point() else x,
    "a list of tensors": lambda x: list(x.bfloat16().requires_grad_() if x.is_floating_point() else x),
    "float64": lambda x: x.bfloat16().double() if x.is_floating_point() else x,
    "big-endian": lambda x: (
        x.bfloat16().float().numpy().astype(">f4") if x.is_floating_point() else x.numpy().astype(">i8")
    ),
    "long double": lambda x: x.bfloat16().float().numpy().astype(np.longdouble) if x.is_floating_point() else x.int(),
    "unsigned": lambda x: x.bfloat16() if x.is_floating_point() else x.numpy().astype(np.uint64),
    "unsigned tensors": lambda x: x.bfloat16() if x.is_floating_point() else x.to(torch.uint16),
    "frames": lambda x: pd.DataFrame(x.bfloat16().float().numpy()) if x.ndim == 2 else pd.Series(x.numpy()),
    "read-only": lambda x: np.broadcast_to(x.bfloat16().float().numpy() if x.ndim == 2 else x.numpy(), x.shape),
}


@pytest.mark.parametrize("kind", SAME)
def test_other_containers_and_dtypes_are_recorded_alike(tmp_path, step, kind):
    rounded = {name: value.bfloat16() if value.is_floating_point() else value for name, value in step.items()}
    expected = recorded(tmp_path / "tensors", rounded)
    assert recorded(tmp_path / "others", {name: SAME[kind](value) for name, value in step.items()}).equals(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sample_ids", torch.arange(N).float(), "sample_ids must be integers, not float32"),
        ("sample_ids", np.full(N, 2**63, np.uint64), "sample_ids must fit int64, got 9223372036854775808"),
        ("labels", torch.zeros(N), "labels must be integers, not float32; cast .* where="),
        ("labels", torch.zeros(N, dtype=torch.bool), "labels must be integers, not bool"),
        ("labels", ["cat"] * N, "labels must hold numbers, .*words are mapped"),
        ("labels", torch.zeros(N, C, dtype=torch.long), r"labels has shape \(24, 4\), expected \(24,\)"),
        ("student_logits", torch.zeros(N, C, dtype=torch.bool), "student_logits must hold real numbers, not bool"),
        ("teacher_logits", torch.zeros(1, C), r"teacher_logits has shape \(1, 4\), expected \(24, 4\)"),
        ("loss_weight", torch.ones(N, 1), r"loss_weight has shape \(24, 1\), expected \(24,\)"),
        ("member", torch.ones(N), "member must be bool .*not float32"),
        ("where", torch.ones(N), "where must be bool, True for the rows that count, not float32"),
        ("where", torch.ones(N, dtype=torch.int64), "where must be bool"),
        ("where", torch.ones(3, dtype=torch.bool), r"where has shape \(3,\), expected \(24,\)"),
    ],
)
def test_dtypes_and_shapes_that_do_not_fit(tmp_path, step, name, value, message):
    with pytest.raises(ValueError, match=f"Recorder.update, epoch 1: {message}"):
        recorder(tmp_path / "run").update(**step | {name: value})


@pytest.mark.parametrize("name", ["student_logits", "teacher_logits", "labels"])
def test_tensors_without_values_are_refused(tmp_path, step, name):
    with pytest.raises(ValueError, match="device meta"):
        recorded(tmp_path / "run", step | {name: step[name].to("meta")})


@pytest.mark.parametrize("mark", [-100, 255, -1])
@pytest.mark.parametrize("convert", [lambda x: x, lambda x: x.numpy(), lambda x: x.tolist()])
def test_rows_to_leave_out_are_as_if_never_given(tmp_path, step, mark, convert):
    out = torch.zeros(N, dtype=torch.bool)
    out[[2, 3, 11]] = True
    spoilt = {name: value.clone() for name, value in step.items()}
    spoilt["labels"][out] = mark
    spoilt["student_logits"][out] = float("nan")
    spoilt["teacher_logits"][out] = float("inf")
    spoilt["sample_ids"][out] = -1
    spoilt["loss_weight"] = torch.where(out, float("nan"), 1.0)
    spoilt["member"] = torch.where(out, 7, 1)
    with pytest.raises(ValueError, match="lie outside"):
        recorded(tmp_path / "refused", spoilt)
    kept = {name: value[~out] for name, value in step.items()}
    expected = recorded(tmp_path / "kept", kept)
    frame = recorded(tmp_path / "run", {name: convert(value) for name, value in (spoilt | {"where": ~out}).items()})
    assert frame.equals(expected)


def test_where_in_some_batches_and_of_several_replicas(tmp_path, step):
    where = torch.ones(2, N, dtype=torch.bool)
    where[1, 5:] = False
    both = {name: torch.stack([value, value]) for name, value in step.items()}
    with recorder(tmp_path / "run", replica=[0, 3]) as writer:
        for at in (slice(0, 4), slice(4, 9)):
            more = {"where": where[:, at]} if at.start else {}
            writer.update(**{name: value[:, at] for name, value in both.items()}, **more)
    frame = biasvar.open_run(tmp_path / "run").records()
    assert frame.groupby("replica")["sample_id"].apply(list).to_dict() == {0: list(range(9)), 3: list(range(5))}
    writer = recorder(tmp_path / "none")
    writer.update(**step, where=torch.zeros(N, dtype=torch.bool))
    with pytest.raises(ValueError, match="it has no samples, where= leaves all of them out"):
        writer.end_epoch()


def test_a_mark_among_the_labels_names_the_cure(tmp_path, step):
    step["labels"][4] = -100
    with pytest.raises(ValueError, match=r"labels -100 of sample_ids 4 lie outside 0 .. 3; .*where=labels != -100"):
        recorded(tmp_path / "run", step)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf"), -0.5, 1e39])
@pytest.mark.parametrize("teacher", [True, False])
def test_weights_that_are_none_are_refused_with_their_ids(tmp_path, step, weight, teacher):
    step["loss_weight"] = torch.ones(N, dtype=torch.float64)
    step["loss_weight"][[3, 8]] = weight
    step["teacher_logits"] = step["teacher_logits"] if teacher else None
    with pytest.raises(ValueError, match=r"loss_weight of sample_ids 3, 8 must be finite in float32 and not negative"):
        recorded(tmp_path / "run", step)
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_a_replica_whose_weights_are_not_finite_is_dropped_on_request(tmp_path, step):
    both = {name: torch.stack([value, value]) for name, value in step.items()}
    both["loss_weight"] = torch.ones(2, N)
    both["loss_weight"][0, 3] = float("nan")
    assert set(recorded(tmp_path / "run", both, replica=[4, 6], drop_not_finite=True)["replica"]) == {6}
    both["loss_weight"][1, 3] = -1.0
    with pytest.raises(ValueError, match="loss_weight of sample_ids 3 must be"):
        recorded(tmp_path / "negative", both, replica=[4, 6], drop_not_finite=True)


def test_members_are_flags(tmp_path, step):
    inside = torch.arange(N) % 2
    expected = recorded(tmp_path / "bool", step | {"member": inside.bool()})
    for name, kind in (("int64", torch.int64), ("uint8", torch.uint8)):
        assert recorded(tmp_path / name, step | {"member": inside.to(kind)}).equals(expected)
    with pytest.raises(ValueError, match=r"member must be bool, or 0 and 1; sample_ids 7 are not so"):
        recorded(tmp_path / "two", step | {"member": torch.where(torch.arange(N) == 7, 2, inside)})


@pytest.mark.parametrize("optional", ["loss_weight", "member", "teacher_logits"])
@pytest.mark.parametrize("reduced", [True, False])
def test_optional_arguments_come_in_all_batches_or_in_none(tmp_path, step, optional, reduced, monkeypatch):
    """Also after the waiting logits were turned into columns: the rest was silently taken as 1 then."""
    monkeypatch.setattr("biasvar.training.recorder_rows.PENDING_ELEMENTS", 1 if reduced else 10**6)
    step |= {"loss_weight": torch.full((N,), 0.5), "member": torch.ones(N, dtype=torch.bool)}
    writer = recorder(tmp_path / "run")
    writer.update(**{name: value[:5] for name, value in step.items()})
    rest = {name: value[5:] for name, value in step.items() if name != optional}
    with pytest.raises(ValueError, match=f"{optional} must be given in every batch of an epoch or in none"):
        writer.update(**rest)


def test_a_step_that_could_not_be_reduced_is_not_forgotten(tmp_path, step, monkeypatch):
    monkeypatch.setattr("biasvar.training.recorder_rows.PENDING_ELEMENTS", 1)
    terms = recorder_terms.record_terms

    def full(*_):
        raise torch.OutOfMemoryError

    writer = recorder(tmp_path / "run")
    monkeypatch.setattr("biasvar.training.recorder_rows.record_terms", full)
    with pytest.raises(torch.OutOfMemoryError):
        writer.update(**step)
    monkeypatch.setattr("biasvar.training.recorder_rows.record_terms", terms)
    assert writer.end_epoch()["n"].tolist() == [N]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": True}, "num_samples must be a whole number or None, not True"),
        ({"num_samples": 10.5}, "num_samples must be a whole number"),
        ({"num_samples": "10"}, "num_samples must be a whole number"),
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"num_classes": None}, "num_classes must be a whole number"),
        ({"num_classes": 1}, "num_classes 2, not 24 and 1"),
        ({"temperature": True}, "temperature must be a number"),
        ({"temperature": "4"}, "temperature must be a number"),
        ({"temperature": float("nan")}, "temperature must be a finite number above 0"),
        ({"group": 0.5}, "group must be a whole number"),
        ({"group": -1}, "group must be a whole number from 0 on"),
        ({"replica": 2**31}, "replica must be a whole number"),
        ({"replica": torch.zeros(2, device="meta")}, "replica must be a whole number"),
        ({"replica": np.zeros((9, 9))}, "replica must be a whole number"),
        ({"replica": [[0], [1, 2]]}, "replica must be a whole number"),
        ({"values": "probs"}, "values must be"),
        ({"clip": 0.1}, "clip=0.1 must lie between 0 and 1, and needs values"),
        ({"clip": 2.0, "values": "probabilities"}, "clip=2.0 must lie between"),
    ],
)
def test_settings_out_of_range(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        recorder(tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


def test_settings_may_be_numpy_numbers(tmp_path, step):
    plain = recorded(tmp_path / "plain", step, replica=2)
    numbers = {
        "num_samples": np.int32(N),
        "num_classes": np.uint8(C),
        "temperature": np.float32(4),
        "group": np.int64(2),
    }
    assert recorded(tmp_path / "numpy", step, replica=torch.tensor(2), **numbers).equals(plain)


def test_a_replica_of_another_group_is_not_recorded_twice(tmp_path, step):
    both = {name: torch.stack([value, value]) for name, value in step.items()}
    recorded(tmp_path / "run", both, replica=[0, 1])
    with pytest.raises(RecordError, match=r"group=000.parquet holds replica 1 of arm 'default' already; .*group=0"):
        recorder(tmp_path / "run", replica=1, resume=True)
    recorder(tmp_path / "run", replica=2)
    assert recorder(tmp_path / "run", replica=1, resume=True, group=0).epoch == 2


PROBABILITIES = {
    "float32": lambda z: z.softmax(-1),
    "float16": lambda z: z.softmax(-1).half(),
    "off by 1e-4": lambda z: z.double().softmax(-1) * 1.0001,
    "votes": lambda z: (z.softmax(-1) * 50).round(),
    "bytes": lambda z: (z.softmax(-1) * 255).round().to(torch.uint8),
    "percent": lambda z: z.double().softmax(-1) * 100,
}


@pytest.mark.parametrize("kind", PROBABILITIES)
@pytest.mark.parametrize("which", ["student_logits", "teacher_logits"])
@pytest.mark.parametrize("elements", [1, 10**6])
def test_probabilities_given_as_logits_are_refused(tmp_path, step, kind, which, elements, monkeypatch):
    monkeypatch.setattr("biasvar.training.recorder_rows.PENDING_ELEMENTS", elements)
    given = step | {which: PROBABILITIES[kind](step[which])}
    writer = recorder(tmp_path / "run")
    for at in range(0, N, 6):
        writer.update(**{name: value[at : at + 6] for name, value in given.items()})
    with pytest.raises(ValueError, match=f"epoch 1 of arm 'default' is not recorded: {which} look like .*values="):
        writer.end_epoch()
    assert not list((tmp_path / "run").rglob("*.parquet"))
    with recorder(tmp_path / "logits", values="logits") as writer:
        writer.update(**given)
    assert len(biasvar.open_run(tmp_path / "logits").records()) == N


def test_zeros_are_logits_and_rows_left_out_do_not_speak(tmp_path, step):
    zeros = torch.zeros(N, C)
    assert len(recorded(tmp_path / "zeros", step | {"student_logits": zeros, "teacher_logits": zeros})) == N
    half = torch.arange(N) < 12
    mixed = torch.where(half[:, None], step["student_logits"].softmax(-1), step["student_logits"])
    assert len(recorded(tmp_path / "both", step | {"student_logits": mixed})) == N
    with pytest.raises(ValueError, match="student_logits look like probabilities"):
        recorded(tmp_path / "half", step | {"student_logits": mixed, "where": half})


def test_probabilities_are_recorded_as_their_logarithms(tmp_path, step):
    expected = recorded(tmp_path / "logits", step)
    given = {name: v.double().softmax(-1) * 1.0005 if v.is_floating_point() else v for name, v in step.items()}
    frame = recorded(tmp_path / "run", given, values="probabilities")
    for name in expected.columns:
        if expected[name].dtype == np.float32:
            np.testing.assert_allclose(frame[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert frame[name].equals(expected[name])
    assert biasvar.open_run(tmp_path / "run").manifest["arms"]["default"]["values"] == "probabilities"


@pytest.mark.parametrize("which", ["student_logits", "teacher_logits"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.4, 0.05, 0.0], r"sum to 1 within 1e-3; sample_ids 3 are not so"),
        ([1.2, -0.2, 0.0, 0.0], r"without negative entries"),
        ([0.5, float("nan"), 0.5, 0.0], r"must be finite"),
        ([0.5, 0.5, 0.0, 0.0], r"must be above 0, .*clip=1e-7 to Recorder .* sample_ids 3 are not so"),
    ],
)
def test_probabilities_that_are_none(tmp_path, step, which, row, message):
    given = {name: v.softmax(-1) if v.is_floating_point() else v for name, v in step.items()}
    given[which][3] = torch.tensor(row)
    with pytest.raises(ValueError, match=message):
        recorded(tmp_path / "run", given, values="probabilities")


def test_zeros_among_probabilities_are_raised_on_request(tmp_path, step):
    given = {name: v.softmax(-1) if v.is_floating_point() else v for name, v in step.items()}
    given["student_logits"][3] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    given["labels"][3] = 1
    frame = recorded(tmp_path / "run", given, values="probabilities", clip=1e-4)
    assert frame["student_loss"][3] == pytest.approx(np.log(1.0003) - np.log(1e-4), rel=1e-6)


def test_a_device_without_float64_has_its_terms_on_the_cpu(tmp_path, step, monkeypatch):
    expected = recorded(tmp_path / "device", step)
    moved = []
    monkeypatch.setattr(recorder_terms, "holds_float64", lambda tensor: False)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: moved.append(tensor.dtype) or tensor)
    columns = recorder_terms.on_device_of_terms({"student": step["student_logits"], "sample_id": step["sample_ids"]})
    assert moved == [torch.float32, torch.int64]
    assert set(columns) == {"student", "sample_id"}
    assert recorded(tmp_path / "cpu", step).equals(expected)


def test_float64_is_asked_of_a_device_once(monkeypatch):
    asked = []

    def zeros(*shape, dtype, device):
        asked.append(str(device))
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(arrays, "_FLOAT64", {})
    monkeypatch.setattr(arrays.namespace(torch.zeros(1)), "zeros", zeros)
    tensor = torch.zeros(1)
    assert [arrays.holds_float64(tensor) for _ in range(3)] == [False] * 3
    assert asked == ["cpu"]
