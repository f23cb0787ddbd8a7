"""Classes masked with a logit of -inf: terms with q = 0 are 0, and the gradient is that of the classes left."""

from __future__ import annotations

import math

import pytest
import torch

from biasvar import losses
from biasvar.losses.terms import if_finite, log_sum_exp, weighted
from tests.losses.cases import CLASSES, LOSSES, arguments, call

SMOOTHED = ("LabelSmoothingLoss", "LabelSmoothingLoss of the code", "VirtualTeacherLoss")
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def masked_and_small(shape=(6,), dtype=torch.float64):
    """The same rows with a class more, masked in all that has classes, and without it."""
    small = arguments(shape, dtype=dtype)

    def wider(x, value):
        return torch.cat([x, torch.full((*shape, 1), value, dtype=x.dtype)], -1)

    large = small | {
        "logits": wider(small["logits"], -math.inf),
        "teacher_logits": wider(small["teacher_logits"], -math.inf),
        "student_logits": wider(small["student_logits"], -math.inf),
        "soft_labels": wider(small["soft_labels"], 0.0),
        "scores": wider(small["scores"], 0.0),
        "candidates": wider(small["candidates"], False),
    }
    return large, small


def test_the_number_that_is_right():
    logits = torch.tensor([[2.0, 0.0, -math.inf]], requires_grad=True)
    value = losses.DistillationLoss(temperature=4.0, alpha=1.0)(
        logits, torch.tensor([[1.0, 0.0, -math.inf]]), torch.tensor([0])
    )
    assert value.item() == pytest.approx(11.2147, abs=5e-5)
    value.backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in SMOOTHED])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_masked_class_is_no_class(name, dtype):
    """Loss and gradient are those of the other classes alone."""
    large, small = masked_and_small(dtype=dtype)
    if name == "ScoreLoss of logits":
        large["scores"][:, -1] = -math.inf
    if name == "CandidateSetLoss":  # a set of all classes that are left is one of all
        small["candidates"] = large["candidates"][:, :-1]
    z, y = large["logits"].requires_grad_(), small["logits"].requires_grad_()
    values, expected = call(name, large), call(name, small)
    torch.testing.assert_close(values, expected)
    values.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(z.grad[:, :-1], y.grad)
    assert (z.grad[:, -1] == 0).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in SMOOTHED])
def test_double_backward_is_finite(name):
    large, small = masked_and_small()
    if name == "ScoreLoss of logits":
        large["scores"][:, -1] = -math.inf

    def curvature(given, logits):
        first = torch.autograd.grad(call(name, given | {"logits": logits}).sum(), logits, create_graph=True)[0]
        return torch.autograd.grad(first[:, :CLASSES].square().sum(), logits)[0]

    z, y = large["logits"].requires_grad_(), small["logits"].requires_grad_()
    torch.testing.assert_close(curvature(large, z)[:, :CLASSES], curvature(small, y))
    assert torch.isfinite(curvature(large, z)).all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in SMOOTHED])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masked_classes_under_autocast(name, dtype):
    large, small = masked_and_small(dtype=torch.float32)
    if name == "ScoreLoss of logits":
        large["scores"][:, -1] = -math.inf
    with torch.autocast("cpu", dtype):
        values = call(name, {k: v.to(dtype) if v.dtype == torch.float32 else v for k, v in large.items()})
    torch.testing.assert_close(values.float(), call(name, small), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", SMOOTHED)
def test_smoothing_gives_a_masked_class_something(name):
    large, small = masked_and_small()
    z = large["logits"].requires_grad_()
    values = call(name, large)
    assert (values == math.inf).all()
    values.sum().backward()
    assert torch.isfinite(z.grad).all()
    p = torch.softmax(z.detach(), -1)
    one_hot = torch.nn.functional.one_hot(large["labels"], CLASSES + 1)
    target = {
        "LabelSmoothingLoss": 0.9 * one_hot + 0.1 / (CLASSES + 1),
        "LabelSmoothingLoss of the code": 0.9 * one_hot + 0.1 / CLASSES * (1 - one_hot),
    }
    if name in target:
        torch.testing.assert_close(z.grad, p - target[name])
    nothing = {"alpha": 0.0} if name == "VirtualTeacherLoss" else {"smoothing": 0.0}
    torch.testing.assert_close(call(name, large, **nothing), call("CrossEntropyLoss", small))


def test_a_weight_of_0_leaves_out_an_infinite_soft_label():
    """The student masks a class that the teacher believes in: L_kd is infinite, and not there at alpha or w = 0."""
    logits = torch.tensor([[2.0, 0.0, -math.inf], [0.0, 1.0, 2.0]], requires_grad=True)
    given = logits, torch.zeros(2, 3), torch.tensor([0, 1])
    plain = losses.CrossEntropyLoss(reduction="none")(*given[::2])
    assert losses.DistillationLoss(temperature=2.0, alpha=1.0, reduction="none")(*given)[0] == math.inf
    none = losses.DistillationLoss(temperature=2.0, alpha=0.0, reduction="none")(*given)
    torch.testing.assert_close(none, plain)
    loss = losses.DistillationLoss(temperature=2.0, alpha=1.0, reduction="none")
    for weights in (torch.tensor([0.0, 0.0]), torch.tensor([0, 0]), torch.tensor([False, False])):
        values = loss(*given, weights)
        torch.testing.assert_close(values, plain)
        gradients = [torch.autograd.grad(v.sum(), logits, retain_graph=True)[0] for v in (values, plain)]
        torch.testing.assert_close(*gradients)


def test_terms_of_a_bad_teacher_whose_truth_is_masked_or_all_there_is():
    logits = torch.tensor([[-math.inf, 1.0, 2.0], [3.0, -math.inf, -math.inf]], requires_grad=True)
    labels = torch.tensor([0, 0])
    values = losses.CompensationLoss(k=3, reduction="none")(logits, labels)
    assert values.tolist() == [0, 0]
    punished = losses.PunishmentLoss(reduction="none")(logits, labels)
    assert punished.tolist() == [0, math.inf]
    (values.sum() + punished.sum()).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] == 1  # p_y
    free = losses.BadTeacherLoss(k=3, punishment=0.0, compensation=1.0, rivals=0.0, reduction="none")
    assert free(logits, labels)[1] == 0


def test_candidates_that_are_all_masked_have_no_likelihood():
    logits = torch.tensor([[-math.inf, 1.0, 2.0], [-math.inf, 1.0, -math.inf], [-math.inf, 1.0, 2.0]])
    logits.requires_grad_()
    candidates = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    values = losses.CandidateSetLoss(reduction="none")(logits, candidates)
    assert values.tolist() == [math.inf, 0, 0]
    values.sum().backward()
    torch.testing.assert_close(logits.grad[0, 1:], torch.softmax(torch.tensor([1.0, 2.0]), -1))
    assert torch.isfinite(logits.grad).all()


def test_nan_stays_nan():
    """Terms that are 0 hide nothing else."""
    for name in LOSSES:
        given = arguments()
        given["logits"][2, 1] = math.nan
        values = call(name, given)
        if name in ("PunishmentLoss", "CompensationLoss", "CandidateSetLoss"):
            continue  # which ask whether there is a term at all
        assert values[2].isnan(), name
        assert values[[0, 1, 3, 4, 5]].isfinite().all()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo's own, at a break
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_sample_and_compiled_losses_are_the_same(name):
    """`torch.func.vmap` of the gradient, and `torch.compile` without a break: there no value can be read."""
    given = arguments(dtype=torch.float64)
    make, names = LOSSES[name]
    loss, others = make(reduction="mean"), [given[key] for key in names]
    expected = torch.stack(
        [torch.func.grad(loss)(given["logits"][i], *(value[i] for value in others)) for i in range(6)]
    )
    together = torch.func.vmap(torch.func.grad(loss))(given["logits"], *others)
    torch.testing.assert_close(together, expected)
    logits = given["logits"].requires_grad_()
    whole = not name.startswith("Weighted")  # whose weight is the arrays' own, with a NumPy error state around it
    compiled = torch.compile(make(reduction="none"), backend="eager", fullgraph=whole)
    where = torch.ones(6, dtype=torch.bool)
    torch.testing.assert_close(compiled(logits, *others), call(name, given))
    torch.testing.assert_close(compiled(logits, *others, where=where), call(name, given))


def test_the_masked_way_and_the_plain_way_are_the_same_numbers():
    """On other devices than the CPU the mask is always taken: same loss and gradient to the last bit."""
    generator = torch.Generator().manual_seed(7)
    q = torch.softmax(torch.randn(20, 5, generator=generator), -1)
    q[q < 0.1] = 0
    z = torch.randn(20, 5, generator=generator, requires_grad=True)
    log_p = torch.log_softmax(z, -1)
    for plain, masked in [
        ((q * log_p).sum(-1), weighted(q, log_p).sum(-1)),
        (z.logsumexp(-1), log_sum_exp(z.masked_fill(torch.zeros(20, 5, dtype=torch.bool), 0.0))),
    ]:
        assert torch.equal(plain, masked)
        gradients = [torch.autograd.grad(v.sum(), z, retain_graph=True)[0] for v in (plain, masked)]
        assert torch.equal(*gradients)
    assert if_finite(torch.zeros(2, device="meta"), lambda: torch.ones(2, device="meta")).device.type == "meta"
    taken = torch.func.vmap(lambda x: if_finite(x, lambda: x + 1))(torch.zeros(3))
    assert taken.tolist() == [1, 1, 1]


@pytest.mark.parametrize("weighted_out", [True, False])
def test_a_class_that_the_teacher_masks_in_a_row_without_weight_leaves_the_gradient_finite(weighted_out):
    """The distance of logits is infinite there: in a row of weight 0, or one that the port does not measure by it."""
    student = torch.tensor([[0.5, -0.2, 0.1], [0.3, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    teacher, labels = torch.tensor([[1.0, -math.inf, 0.0], [0.0, 0.2, 2.0]]).double(), torch.tensor([1, 2])
    if weighted_out:
        loss = losses.RevisedDistillationLoss(distance="mse_logits", eta=None, ce=0.0, reduction="sum")
        value = loss(student, teacher, labels, torch.tensor([0.0, 1.0]))
        expected = (student[1] - teacher[1]).square().mean()
    else:
        value = losses.PortedRevisionLoss(wrong=0.0)(student, teacher, labels)
        expected = -student[1].log_softmax(-1)[2] + 4 * (student[1] - teacher[1]).square().mean()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (value, expected)))
