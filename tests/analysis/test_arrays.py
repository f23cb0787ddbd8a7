"""The one way in for arrays: masked, mixed, on other devices, with rows to leave out."""

import numpy as np
import pandas as pd
import pytest
import torch

from biasvar import analysis, losses
from biasvar.analysis import arrays, decompose, tempered, tradeoff_terms, wsl_weights
from biasvar.analysis.inputs import as_array
from biasvar.errors import RecordError

pytestmark = pytest.mark.filterwarnings("ignore:there is one replica")  # of small cases, on purpose

SHARES = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
LOGITS = np.array([[1.0, -1.0], [0.0, -2.0], [0.5, 3.0]])
TRUTH = np.array([1, 0, 1])
HIDDEN = np.ma.array(SHARES, mask=[[False, True]] * 3)
LABELS = np.ma.array(TRUTH, mask=[True, False, False])
TAKERS = {
    "decompose": lambda x: decompose(x[None], TRUTH),
    "decompose, target": lambda x: decompose(LOGITS[None], x),
    "decompose, where": lambda x: decompose(LOGITS[None], TRUTH, where=x[None, :, 0] > 0),
    "decompose_groups": lambda x: analysis.decompose_groups(np.ones((1, 3)), x[None], TRUTH),
    "Accumulator": lambda x: analysis.Accumulator(3, 2).update(x),
    "tradeoff_terms": lambda x: tradeoff_terms(x, LOGITS, TRUTH, temperature=1.0),
    "tradeoff_terms, teacher": lambda x: tradeoff_terms(LOGITS, x, TRUTH, temperature=1.0),
    "wsl_weights": lambda x: wsl_weights(x, LOGITS, TRUTH),
    "wsl_weights, labels": lambda x: wsl_weights(LOGITS, LOGITS, LABELS),
    "unreliability": lambda x: analysis.unreliability(x, TRUTH, k=1),
    "unreliability, labels": lambda x: analysis.unreliability(SHARES, LABELS, k=1),
    "ambiguity": lambda x: analysis.ambiguity(x, TRUTH, k=1),
    "effectiveness": lambda x: analysis.effectiveness(x, TRUTH, ks=[1]),
    "measure_indicators": lambda x: analysis.measure_indicators(x, TRUTH, ks=[1]),
    "tempered": lambda x: tempered(x, 1.0),
    "from_votes": lambda x: analysis.from_votes(x),
    "project_to_simplex": lambda x: analysis.project_to_simplex(x),
    "smooth_labels": lambda x: analysis.smooth_labels(LABELS, 2, 0.1),
    "partial_labels": lambda x: analysis.partial_labels(LABELS, 2, drop=0.1, add=0.1, seed=0),
    "add_noise": lambda x: analysis.add_noise(x, 0.1, seed=0),
    "roc_auc": lambda x: analysis.roc_auc(LABELS, TRUTH > 0),
    "a list of rows": lambda x: as_array([row for row in x], "rows"),  # noqa: C416
}


@pytest.mark.parametrize("name", TAKERS)
def test_masked_arrays_are_refused(name):
    with pytest.raises(ValueError, match=r"is a masked array, and masks are not read.*where"):
        TAKERS[name](HIDDEN)


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_masked_tensors_are_refused_as_masked_arrays_are():
    hidden = torch.masked.masked_tensor(torch.tensor(LOGITS), torch.tensor([[True, False]] * 3))
    for call in (lambda: decompose(hidden[None], TRUTH), lambda: tempered(hidden, 1.0), lambda: as_array([hidden])):
        with pytest.raises(ValueError, match=r"is a masked array, and masks are not read.*where"):
            call()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_lists_of_tensors_are_read(dtype):
    rows = [torch.tensor(row, dtype=dtype, requires_grad=True) for row in LOGITS]
    np.testing.assert_array_equal(as_array(rows), LOGITS)
    np.testing.assert_array_equal(as_array([rows, tuple(rows)]), [LOGITS, LOGITS])
    np.testing.assert_allclose(decompose([rows], TRUTH).bias, decompose(LOGITS[None], TRUTH).bias)
    whole = torch.tensor(LOGITS, dtype=dtype, requires_grad=True)
    np.testing.assert_allclose(decompose(whole[None], TRUTH).bias, decompose(LOGITS[None], TRUTH).bias)
    terms = tradeoff_terms(LOGITS, whole, TRUTH, temperature=2.0)
    np.testing.assert_allclose(
        terms.variance_gradient, tradeoff_terms(LOGITS, LOGITS, TRUTH, temperature=2.0).variance_gradient
    )


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (None, TypeError, "logits must be an array.*missing"),
        ("logits.npy", TypeError, "logits must be an array.*a str"),
        ({"a": [1.0]}, TypeError, "a dict"),
        ([[1.0, 2.0], [3.0]], ValueError, "the rows of logits must be of one length; row 1 has 1 entries, row 0 2"),
        ([[1.0, None]], ValueError, "logits must hold real numbers.*gaps"),
        ([[2**70, 1]], ValueError, "logits must hold real numbers"),
        (np.array([["a", "b"]], dtype=object), ValueError, "logits must hold real numbers.*of type str"),
        (torch.zeros(2, 2, device="meta"), ValueError, "logits must be a dense tensor"),
        (torch.zeros(2, 2).to_sparse(), ValueError, "logits must be a dense tensor"),
        ([["a", "b"]], ValueError, "logits must hold real numbers"),
        ([[True, False]], ValueError, "logits must hold real numbers"),
        (3.0, ValueError, "logits must have shape"),
        ([[1.0], [2.0]], ValueError, "one column of a sigmoid"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(x, error, message):
    with pytest.raises(error, match=message):
        tempered(x, 1.0)


def test_devices_without_float64_hand_over_to_the_processor(monkeypatch):
    class Elsewhere(torch.Tensor):
        moved = False

        def cpu(self):
            Elsewhere.moved = True
            return torch.tensor(self.tolist())

    x = torch.tensor(LOGITS).as_subclass(Elsewhere)
    monkeypatch.setitem(arrays._FLOAT64, "cpu", False)
    for function in (as_array, arrays.as_float64):
        Elsewhere.moved = False
        assert type(function(x)) is torch.Tensor
        assert Elsewhere.moved
    flags, weights = (
        loss(temperature=2.0, alpha=1.0).weights(x, x + 1.0, torch.tensor([0, 1, 0]))
        for loss in (losses.MaskedDistillationLoss, losses.WeightedSoftLabelLoss)
    )
    assert flags.dtype == weights.dtype == torch.float64


def test_a_device_is_tried_once_for_float64(monkeypatch):
    monkeypatch.setattr(arrays, "_FLOAT64", {})
    as_array(torch.zeros(2))
    assert arrays._FLOAT64 == {"cpu": True}


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_rows_to_leave_out(convert):
    labels = np.array([1, -100, 1])
    student = np.where(labels[:, None] < 0, np.nan, LOGITS)
    where = convert(labels != -100)
    for value in (-100, 255, -1):
        marked = np.where(labels < 0, value, labels)
        with pytest.raises(ValueError, match=rf"row 1 does not.*{value} marks rows.*where=labels != {value}"):
            wsl_weights(LOGITS, LOGITS, marked)
        with pytest.raises(ValueError, match=f"where=labels != {value}"):
            decompose(LOGITS[None], marked)
        weights = np.asarray(wsl_weights(convert(student), convert(LOGITS), convert(marked), where=where))
        expected = wsl_weights(LOGITS, LOGITS, TRUTH)
        np.testing.assert_allclose(weights, [expected[0], np.nan, expected[2]])
        terms = tradeoff_terms(student, LOGITS, marked, temperature=2.0, where=where)
        assert np.isnan(terms.student_loss).tolist() == [False, True, False]
        assert np.isnan(terms.variance_norm).tolist() == [False, True, False]
        result = decompose(student[None], marked, where=np.asarray(where)[None])
        assert np.isnan(result.bias).tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"where must be a bool array of shape \(3,\)"):
        tradeoff_terms(LOGITS, LOGITS, TRUTH, temperature=2.0, where=[1, 0, 1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 2], "start at 1: subtract 1"),
        (["cat", "dog", "dog"], r"labels must be integers.*words.*index"),
        ([1.0, np.nan, 0.0], "labels must be integers.*gap"),
        (np.eye(2)[TRUTH], r"labels must have shape \(3,\).*one-hot"),
        ([True, False, True], "labels must be integers"),
        ([0, 1], r"labels must have shape \(3,\)"),
        (None, "labels must be an array"),
    ],
)
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_labels_that_are_no_class_numbers_are_told_the_cause(labels, message, convert):
    with pytest.raises((ValueError, TypeError), match=message):
        wsl_weights(convert(LOGITS), LOGITS, labels)


def test_labels_lack_only_the_axes_that_the_teacher_lacks():
    students = np.stack([LOGITS, -LOGITS])
    shared = wsl_weights(students, LOGITS, TRUTH)
    np.testing.assert_allclose(shared, wsl_weights(students, np.stack([LOGITS] * 2), np.stack([TRUTH] * 2)))
    np.testing.assert_allclose(wsl_weights(students[:, 0], LOGITS[0], TRUTH[0]), shared[:, 0])
    for labels in (0, [0]):
        with pytest.raises(ValueError, match="labels must have shape"):
            wsl_weights(LOGITS, LOGITS, labels)


def test_classes_that_are_masked_with_minus_infinity_have_probability_zero():
    student, teacher = np.array([[2.0, 0.0, -np.inf]]), np.array([[0.0, -1.0, -np.inf]])
    terms = tradeoff_terms(student, teacher, [0], temperature=4.0)
    short = tradeoff_terms(student[:, :2], teacher[:, :2], [0], temperature=4.0)
    for field in ("bias_gradient", "variance_gradient", "bias_norm", "variance_norm", "student_loss", "teacher_loss"):
        np.testing.assert_allclose(getattr(terms, field), getattr(short, field))
    np.testing.assert_allclose(wsl_weights(student, teacher, [0]), wsl_weights(student[:, :2], teacher[:, :2], [0]))


@pytest.mark.parametrize("bad", [True, "2", None, float("nan"), float("inf"), 0.0, -1.0, [2.0]])
def test_temperatures_are_finite_numbers_above_zero(bad):
    for call in (lambda: tempered(LOGITS, bad), lambda: tradeoff_terms(LOGITS, LOGITS, TRUTH, temperature=bad)):
        with pytest.raises((ValueError, TypeError), match="temperature must be a"):
            call()


def frames():
    shares = np.random.default_rng(0).normal(size=(30, 12))
    frame = pd.DataFrame(shares, columns=[f"class_{i}" for i in range(12)])
    return shares, frame[sorted(frame.columns)]  # 0, 1, 10, 11, 2: the order of text


def test_the_columns_of_a_frame_go_by_their_numbers():
    shares, frame = frames()
    labels = np.arange(30) % 12
    expected = decompose(shares[None], labels).bias
    np.testing.assert_array_equal(as_array(frame), shares)
    np.testing.assert_array_equal(decompose([frame], labels).bias, expected)
    np.testing.assert_array_equal(decompose([frame], pd.Series(labels)).bias, expected)
    np.testing.assert_array_equal(as_array(pd.DataFrame(shares)), shares)
    named = pd.DataFrame(shares[:, :2], columns=["cat", "ant"])  # the user's own order
    np.testing.assert_array_equal(as_array(named), shares[:, :2])


@pytest.mark.parametrize("column", ["id", "sample_id", "__index_level_0__", "label", "rank"])
def test_columns_of_a_frame_that_are_no_class_are_refused(column):
    frame = frames()[1]
    frame[column] = np.arange(30)
    for call in (lambda: decompose([frame], np.zeros(30, int)), lambda: tempered(frame, 1.0)):
        with pytest.raises(RecordError, match=f"logits: column '{column}' is no class by name"):
            call()
    with pytest.raises(RecordError, match="'name' is no class"):
        tempered(frames()[1].assign(name="x"), 1.0)
