"""What does not belong together is refused by name, in every loss; and nothing of a row that is left out is read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from biasvar import losses
from biasvar.losses.bad_teacher import classes_above, log_rest
from biasvar.losses.distillation import shuffle_within_batch
from tests.losses.cases import CLASSES, LOSSES, arguments, call, logits_name

PAIRS = [(name, argument) for name, (_, names) in LOSSES.items() for argument in names]
BY_ROW = {"labels", "weights"}


def refused(name, argument, value, error=(TypeError, ValueError)):
    """The message with which a loss refuses this value of an argument."""
    with pytest.raises(error) as caught:
        call(name, arguments() | {argument: value})
    said = logits_name(name) if argument == "logits" else argument
    assert str(caught.value).startswith(f"{said} must"), caught.value
    return str(caught.value)


def test_weights_of_shape_b_1_do_not_train_a_product_of_all_rows():
    loss = losses.DistillationLoss(temperature=1.0, alpha=1.0)
    given = torch.tensor([[0.0, 0], [4, 0]]), torch.tensor([[0.0, 4], [0, 4]]), torch.tensor([0, 0])
    assert loss(*given, torch.tensor([1.0, 0.0])).item() == pytest.approx(0.7022, abs=5e-5)
    with pytest.raises(ValueError, match=r"weights must have .* \(2,\), got \(2, 1\)"):
        loss(*given, torch.tensor([[1.0], [0.0]]))
    for name in LOSSES:
        values, made = arguments(), LOSSES[name][0]()
        if isinstance(made, losses.DistillationLoss):
            with pytest.raises(ValueError, match=r"weights must have"):
                made(values["logits"], values["teacher_logits"], values["labels"], torch.ones(6, 1))
            with pytest.raises(ValueError, match=r"weights must have"):
                made(values["logits"], values["teacher_logits"], values["labels"], torch.tensor(1.0))


@pytest.mark.parametrize(("name", "argument"), PAIRS)
def test_shapes_that_would_broadcast_or_be_cut_are_refused(name, argument):
    right = arguments()[argument]
    wrong = [right[:2], right[None], right[..., None], right[0], right[0, ...].reshape(-1)[0], torch.cat([right] * 2)]
    if argument not in BY_ROW:
        wrong += [right[:, :1], right[:, :0], right[:1]]
    for value in wrong:
        if argument == "rivals" and name == "RivalsLoss" and value.shape == (6, 1):
            continue  # one rival of every row
        refused(name, argument, value, ValueError)


@pytest.mark.parametrize("name", LOSSES)
def test_logits_have_two_classes_at_least(name):
    for shape in [(), (6, 1), (6, 0)]:
        refused(name, "logits", torch.zeros(shape), ValueError)
    assert "(0, z)" in refused(name, "logits", torch.zeros(6, 1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors is in prototype stage")
@pytest.mark.parametrize(("name", "argument"), [*PAIRS, *((name, "logits") for name in LOSSES)])
def test_what_is_no_dense_tensor_is_refused(name, argument):
    right = arguments()[argument]
    masked = np.ma.masked_array(right.numpy(), mask=right.numpy() > 0)
    others = [right.numpy(), right.tolist(), "text", 3, {}, masked]
    for value in others if argument == "weights" else [*others, None]:
        if value is None and argument == "rivals" and name == "BadTeacherLoss":
            continue  # may be left out, but not with a weight of its own
        message = refused(name, argument, value, TypeError)
        assert "torch.Tensor" in message
    assert "where=" in refused(name, argument, masked)
    assert "where=" in refused(name, argument, torch.masked.masked_tensor(right, torch.ones_like(right).bool()))
    assert "sparse" in refused(name, argument, right.to_sparse(), TypeError)


@pytest.mark.parametrize(("name", "argument"), [*PAIRS, *((name, "logits") for name in LOSSES)])
def test_dtypes_that_cannot_be_meant_are_refused(name, argument):
    right = arguments()[argument]
    wrong = {
        "labels": [torch.bool, torch.float32, torch.complex64],
        "rivals": [torch.bool, torch.float32],
        "weights": [torch.complex64],
        "candidates": [torch.float32, torch.int64, torch.uint8],
        "soft_labels": [torch.bool, torch.complex64, torch.float8_e5m2],
        "scores": [torch.bool, torch.complex64],
    }.get(argument, [torch.bool, torch.int64, torch.uint8, torch.complex64, torch.float8_e5m2])
    for dtype in wrong:
        message = refused(name, argument, right.to(dtype), TypeError)
        assert str(dtype).removeprefix("torch.") in message


@pytest.mark.parametrize(("name", "argument"), PAIRS)
def test_tensors_on_another_device_are_refused(name, argument):
    message = refused(name, argument, arguments()[argument].to("meta"), ValueError)
    assert "device" in message
    assert "cpu" in message


@pytest.mark.parametrize("name", [name for name, (_, names) in LOSSES.items() if "labels" in names])
@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int16, torch.int32, torch.uint8, torch.uint16, torch.uint32, torch.uint64]
)
def test_labels_of_all_integers_are_taken(name, dtype):
    given = arguments()
    narrow = given | {"labels": given["labels"].to(dtype), "rivals": given["rivals"].to(dtype)}
    torch.testing.assert_close(call(name, narrow), call(name, given), rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name, (_, names) in LOSSES.items() if "labels" in names])
@pytest.mark.parametrize(
    ("value", "dtype", "cure"),
    [
        (-100, torch.int64, r"where=\(labels != -100\)"),
        (255, torch.uint8, r"where=\(labels != 255\)"),
        (-1, torch.int8, r"where="),
        (4, torch.int32, r"where="),
    ],
)
def test_labels_out_of_range_are_named(name, value, dtype, cure):
    labels = torch.zeros(6, dtype=dtype)
    labels[2] = value
    with pytest.raises(ValueError, match=rf"labels must lie in 0 \.\. 3; row 2 has {value}\. Rows .*{cure}"):
        call(name, arguments() | {"labels": labels})


def test_labels_that_start_at_1_are_said_to():
    with pytest.raises(ValueError, match=r"row 3 has 4\. They seem to start at 1: subtract 1"):
        losses.CrossEntropyLoss()(torch.zeros(4, 4), torch.tensor([1, 2, 3, 4]))
    with pytest.raises(ValueError, match=r"row \(1, 0\) has 9"):
        losses.CrossEntropyLoss()(torch.zeros(2, 2, 4), torch.tensor([[1, 2], [9, 0]]))
    with pytest.raises(ValueError, match=r"rivals must lie in 0 \.\. 3"):
        losses.RivalsLoss()(torch.zeros(2, 4), torch.tensor([[1, 2], [4, 0]]))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rows_left_out_are_not_read(name, shape, dtype):
    """Whatever stands there: the others have the loss and gradient that they have alone."""
    if name == "PortedRevisionLoss" and len(shape) > 1:
        pytest.skip("its means are over each batch, so that rows of two batches are not the rows of one")
    given = arguments(shape, dtype=dtype)
    where = torch.tensor([True, False, True, True, False, True]).reshape(shape)
    spoilt = {key: value.clone() for key, value in given.items()}
    for value in spoilt.values():
        if value.is_floating_point():
            value[~where] = math.nan
        elif value.dtype != torch.bool:
            value[~where] = -100
    alone = {key: value[where] for key, value in given.items()}
    for reduction in ("none", "sum", "mean"):
        logits = spoilt["logits"].clone().requires_grad_()
        kept = alone["logits"].clone().requires_grad_()
        values = call(name, spoilt | {"logits": logits}, reduction=reduction, where=where)
        expected = call(name, alone | {"logits": kept}, reduction=reduction)
        if reduction == "none":
            assert (values[~where] == 0).all()
            values = values[where]
        torch.testing.assert_close(values, expected)
        values.sum().backward()
        expected.sum().backward()
        assert (logits.grad[~where] == 0).all()
        torch.testing.assert_close(logits.grad[where], kept.grad)


@pytest.mark.parametrize("name", LOSSES)
def test_a_mean_of_no_rows_is_0_with_a_gradient_of_0(name):
    given = arguments()
    logits = torch.full_like(given["logits"], math.nan).requires_grad_()
    value = call(name, given | {"logits": logits}, reduction="mean", where=torch.zeros(6, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()
    empty = {key: value[:0] for key, value in given.items()}
    assert call(name, empty, reduction="mean").item() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_where_is_bool_and_by_row(name):
    for value, error in [
        (torch.ones(6), TypeError),
        (torch.ones(6, dtype=torch.int64), TypeError),
        ([True] * 6, TypeError),
        (np.ones(6, bool), TypeError),
        (torch.ones(6, 1, dtype=torch.bool), ValueError),
        (torch.ones(6, CLASSES, dtype=torch.bool), ValueError),
        (torch.tensor(True), ValueError),
    ]:
        with pytest.raises(error, match=r"^where must"):
            call(name, arguments(), where=value)
    torch.testing.assert_close(
        call(name, arguments(), reduction="mean", where=torch.ones(6, dtype=torch.bool)),
        call(name, arguments(), reduction="mean"),
    )


def test_half_precision_means_of_some_rows_do_not_overflow():
    logits = torch.tensor([[3e4, 0.0]] * 8, dtype=torch.float16)
    where = torch.tensor([True] * 7 + [False])
    value = losses.CrossEntropyLoss()(logits, torch.ones(8, dtype=torch.int64), where=where)
    assert value.dtype == torch.float16
    assert value.item() == 30000


def test_weights_of_rows_left_out_are_0_and_random_masks_stay_among_the_others():
    given = arguments((3, 40), seed=3)
    where = torch.rand(3, 40, generator=torch.Generator().manual_seed(1)) < 0.6
    keys = torch.rand(3, 40, generator=torch.Generator().manual_seed(2))
    keys[~where] = math.nan
    inputs = given["logits"], given["teacher_logits"], given["labels"]
    wsl = losses.WeightedSoftLabelLoss(temperature=2.0, alpha=1.0)
    weights = wsl.weights(*inputs, where=where)
    torch.testing.assert_close(weights, torch.where(where, wsl.weights(*inputs), 0.0))
    other = losses.MaskedDistillationLoss(temperature=2.0, alpha=1.0, keep="other").weights(*inputs, where=where)
    drawn = losses.MaskedDistillationLoss(temperature=2.0, alpha=1.0, keep="random").weights(*inputs, keys, where=where)
    assert (drawn[~where] == 0).all()
    torch.testing.assert_close(drawn.sum(-1), other.sum(-1))
    for row in range(3):
        alone = shuffle_within_batch(other[row][where[row]], keys[row][where[row]])
        torch.testing.assert_close(drawn[row][where[row]], alone)
    everyone = shuffle_within_batch(other, keys.nan_to_num(), where=torch.ones_like(where))
    torch.testing.assert_close(everyone, shuffle_within_batch(other, keys.nan_to_num()))
    kept = shuffle_within_batch(other + torch.arange(40), keys, where=where)
    torch.testing.assert_close(kept[~where], (other + torch.arange(40))[~where])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: classes_above([[1.0, 2.0]], torch.tensor([0])), TypeError, "logits must be a torch.Tensor"),
        (lambda: log_rest(torch.zeros(2, 3), torch.zeros(1, dtype=torch.long)), ValueError, "labels must have"),
        (lambda: shuffle_within_batch([1.0]), TypeError, "values must be a torch.Tensor, not list"),
        (lambda: shuffle_within_batch(torch.zeros(3), torch.zeros(2)), ValueError, "keys must have"),
        (lambda: shuffle_within_batch(torch.zeros(3), where=torch.zeros(3)), TypeError, "where must be bool"),
        (lambda: losses.top_candidates([[0.1, 0.9]], 1), TypeError, "soft_labels must be a torch.Tensor"),
        (lambda: losses.top_candidates(torch.zeros(2, 3), True), ValueError, "k must be a whole number, not True"),
        (lambda: losses.top_candidates(torch.zeros(2, 3), 1.5), ValueError, "k must be a whole number, not 1.5"),
        (lambda: losses.draw_rivals(np.array([0, 1]), 3, 2, seed=1), TypeError, "labels must be a torch.Tensor"),
        (lambda: losses.draw_rivals(torch.tensor([0.0, 1]), 3, 2, seed=1), TypeError, "labels must be integers"),
        (lambda: losses.draw_rivals(torch.tensor([0, 1]), 3, 2, seed=-1), ValueError, "seed must be"),
        (lambda: losses.draw_rivals(torch.tensor([0, 1]), 3, 2, seed=None), ValueError, "seed must be a whole number"),
        (lambda: losses.draw_rivals(torch.tensor([0, 1]), 3, 2, seed=1, epoch="a"), ValueError, "epoch must be"),
        (lambda: losses.draw_rivals(torch.tensor([0, 1]), 3, 2, seed=1, replica=0.5), ValueError, "replica must be"),
    ],
)
def test_functions_refuse_by_name_too(call, error, message):
    with pytest.raises(error, match=message):
        call()


NUMBERS = [
    ("DistillationLoss", "temperature"),
    ("DistillationLoss", "alpha"),
    ("WeightedSoftLabelLoss", "alpha"),
    ("WeightedSoftLabelLoss", "epsilon"),
    ("MaskedDistillationLoss", "temperature"),
    ("LabelSmoothingLoss", "smoothing"),
    ("BadTeacherLoss", "k"),
    ("BadTeacherLoss", "punishment"),
    ("BadTeacherLoss", "compensation"),
    ("BadTeacherLoss", "rivals"),
]


@pytest.mark.parametrize(("name", "setting"), NUMBERS)
def test_settings_are_finite_numbers(name, setting):
    make, _ = LOSSES[name]
    for value in (math.nan, math.inf, -math.inf, np.float32("nan"), -1, -(10**400)):
        with pytest.raises(ValueError, match=f"^{setting} must"):
            make(**{setting: value})
    for value in (True, np.bool_(True), "4", None, [4], np.array([4.0]), 1j):
        with pytest.raises(ValueError, match=f"^{setting} must be a (whole )?number, not "):
            make(**{setting: value})
    for value in (np.float32(0.5), np.int64(0)) if setting in ("smoothing", "alpha") else (np.float64(2), np.int8(2)):
        assert getattr(make(**{setting: value}), setting) == value


@pytest.mark.parametrize("temperature", [1e200, 1e20, 1e-20, 1e-200])
def test_temperatures_without_a_square_in_float32_are_refused(temperature):
    with pytest.raises(ValueError, match=r"temperature must lie between 1e-15 and 1e\+15, not "):
        losses.DistillationLoss(temperature=temperature, alpha=1.0)


@pytest.mark.parametrize("temperature", [1e15, 1e-15])
def test_the_furthest_temperatures_give_numbers(temperature):
    loss = losses.DistillationLoss(temperature=temperature, alpha=1.0)
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]], requires_grad=True)
    value = loss(logits, logits.detach().flip(0), torch.tensor([0, 0]))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("value", [None, 3, ["mean"], np.array(["mean", "sum"]), "means"])
def test_choices_are_words(value):
    for name in LOSSES:
        with pytest.raises(ValueError, match=r"reduction must be ('none', 'mean' or 'sum'|text)"):
            LOSSES[name][0](reduction=value)
    with pytest.raises(ValueError, match=r"keep must be (one of|text)"):
        losses.MaskedDistillationLoss(temperature=1.0, alpha=1.0, keep=value)
    with pytest.raises(ValueError, match=r"output must be (one of|text)"):
        losses.ScoreLoss(output=value)


@pytest.mark.parametrize("name", [name for name, (_, names) in LOSSES.items() if "teacher_logits" in names])
def test_a_teacher_of_another_precision_has_its_soft_label_in_the_higher_of_the_two(name):
    given = arguments(dtype=torch.float32)
    low = given["teacher_logits"].bfloat16()
    mixed = call(name, given | {"teacher_logits": low})
    torch.testing.assert_close(mixed, call(name, given | {"teacher_logits": low.float()}), rtol=0, atol=0)
    double = call(name, given | {"teacher_logits": given["teacher_logits"].double()})
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), call(name, given))
