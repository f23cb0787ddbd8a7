"""`decompose` against definitions, identities over random inputs, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biasvar.analysis import decompose, decompose_groups
from biasvar.analysis.arrays import log_softmax
from tests.analysis import reference
from tests.analysis.reference import quick

LOSSES = ("cross_entropy", "squared_error")
seeds = st.integers(0, 10_000)
sizes = st.integers(1, 7)
spreads = st.sampled_from([1e-4, 0.3, 3.0, 40.0])


def draw(seed, replicas, spread, soft):
    logits, labels, q = reference.arrays(seed, replicas=replicas, rows=5, spread=spread)
    return logits, q if soft else labels


@pytest.mark.filterwarnings("ignore:there is one replica")
@quick
@given(seeds, sizes, spreads, st.booleans(), st.sampled_from(LOSSES))
def test_terms_add_up_to_the_mean_loss_and_none_is_negative(seed, replicas, spread, soft, loss):
    logits, target = draw(seed, replicas, spread, soft)
    result = decompose(logits, target, loss=loss)
    whole = result.noise + result.bias + result.variance
    np.testing.assert_allclose(whole, reference.mean_loss(logits, target, loss), rtol=0, atol=1e-10)
    assert (result.variance >= 0).all()
    assert (result.bias >= 0).all()
    if replicas == 1:
        np.testing.assert_allclose(result.variance, 0, atol=1e-14)


@pytest.mark.filterwarnings("ignore:there is one replica")
@quick
@given(seeds, sizes, spreads, st.booleans(), st.sampled_from(LOSSES))
def test_terms_are_those_of_the_definitions(seed, replicas, spread, soft, loss):
    logits, target = draw(seed, replicas, spread, soft)
    result = decompose(logits, target, loss=loss)
    expected = reference.terms(logits, target, loss=loss)
    np.testing.assert_allclose(np.stack([result.noise, result.bias, result.variance], axis=1), expected, atol=1e-12)


@quick
@given(seeds, st.sampled_from(LOSSES), st.booleans())
def test_order_of_replicas_samples_and_classes_and_shifts_of_logits_do_not_matter(seed, loss, soft):
    rng = np.random.default_rng(seed)
    logits, labels, q = reference.arrays(seed)
    target = q if soft else labels
    plain = decompose(logits, target, loss=loss)

    shuffled = decompose(logits[rng.permutation(len(logits))], target, loss=loss)
    for field in ("bias", "variance", "bias_stderr", "variance_stderr"):
        np.testing.assert_allclose(getattr(shuffled, field), getattr(plain, field), atol=1e-12)

    rows = rng.permutation(logits.shape[1])
    np.testing.assert_allclose(decompose(logits[:, rows], target[rows], loss=loss).bias, plain.bias[rows], atol=1e-13)

    classes = rng.permutation(logits.shape[2])
    renamed = q[:, classes] if soft else np.argsort(classes)[labels]
    relabelled = decompose(logits[:, :, classes], renamed, loss=loss)
    np.testing.assert_allclose(relabelled.bias, plain.bias, atol=1e-12)
    np.testing.assert_allclose(relabelled.variance, plain.variance, atol=1e-12)

    moved = decompose(logits + rng.normal(size=(*logits.shape[:2], 1)) * 100, target, loss=loss)
    np.testing.assert_allclose(moved.variance, plain.variance, atol=1e-12)


def test_the_variance_does_not_depend_on_the_target():
    logits, labels, q = reference.arrays(1)
    np.testing.assert_array_equal(decompose(logits, labels).variance, decompose(logits, q).variance)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("groups", [3, 16])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_values_with_a_group_left_out_are_those_of_the_other_replicas(loss, soft, groups, masked, convert):
    logits, labels, q = reference.arrays(2, replicas=7, rows=40)
    target = q if soft else labels
    where = np.random.default_rng(0).random((7, 40)) < 0.4 if masked else None
    if masked:
        where[:, 0] = False
        logits[~where] = np.nan  # must not be read
    result = decompose(
        convert(logits), convert(target), loss=loss, groups=groups, where=None if where is None else convert(where)
    )
    assert type(result.bias) is type(convert(logits))
    used = np.nan_to_num(logits)
    expected = reference.terms(used, target, loss=loss, where=where)
    np.testing.assert_allclose(np.asarray(result.bias), expected[:, 1], atol=1e-12)
    np.testing.assert_allclose(np.asarray(result.variance), expected[:, 2], atol=1e-12)
    np.testing.assert_allclose(np.asarray(result.noise), expected[:, 0], atol=1e-12)
    for g in range(min(groups, 7)):
        expected = reference.terms(used, target, loss=loss, where=where, leave_out=g, groups=groups)
        np.testing.assert_allclose(np.asarray(result.deleted_bias)[g], expected[:, 1], atol=1e-12)
        np.testing.assert_allclose(np.asarray(result.deleted_variance)[g], expected[:, 2], atol=1e-12)
    counts = np.full(40, 7) if where is None else where.sum(0)
    np.testing.assert_array_equal(np.asarray(result.counts), counts)
    bare = decompose(
        convert(logits), convert(target), loss=loss, errors=False, where=None if where is None else convert(where)
    )
    np.testing.assert_allclose(np.asarray(bare.variance), np.asarray(result.variance), atol=1e-12)
    assert bare.deleted_bias is None


def test_results_stay_in_the_namespace_and_the_graph_of_a_tensor_is_left_alone():
    logits, labels, _ = reference.arrays(3)
    tensor = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    result = decompose(tensor, labels)  # NumPy labels beside a tensor
    assert result.variance.dtype == torch.float64
    assert not result.variance.requires_grad
    np.testing.assert_allclose(result.variance, decompose(logits.astype(np.float32), labels).variance, atol=1e-14)
    half = torch.tensor(logits, dtype=torch.bfloat16)
    np.testing.assert_allclose(decompose(half, labels).bias, decompose(half.double().numpy(), labels).bias, atol=1e-14)
    as_lists = decompose(logits.tolist(), labels.tolist())
    np.testing.assert_array_equal(as_lists.bias, decompose(logits, labels).bias)
    whole = decompose(np.round(logits).astype(int), torch.as_tensor(labels))
    np.testing.assert_array_equal(whole.bias, decompose(np.round(logits), labels).bias)


def test_the_input_is_never_written_to():
    logits, labels, _ = reference.arrays(4)
    for loss in LOSSES:
        before = logits.copy()
        decompose(logits, labels, loss=loss)
        np.testing.assert_array_equal(logits, before)


def test_chunks_of_rows_change_nothing(monkeypatch):
    logits, labels, q = reference.arrays(5, rows=23)
    whole = [decompose(logits, labels), decompose(logits, q, loss="squared_error")]
    monkeypatch.setattr("biasvar.analysis.decomposition.groups._CHUNK_CPU", 8 * 6 * 4 * 5)
    for result, again in zip(
        whole, [decompose(logits, labels), decompose(logits, q, loss="squared_error")], strict=True
    ):
        for field in ("bias", "variance", "deleted_bias", "deleted_variance"):
            np.testing.assert_allclose(getattr(again, field), getattr(result, field), atol=1e-14)


def test_group_statistics_give_the_same_as_the_logits():
    logits, labels, q = reference.arrays(6, replicas=10)
    log_probs = log_softmax(logits)
    counts = np.array([[3] * 9, [3] * 9, [2] * 9, [2] * 9, [0] * 9])
    means = np.stack([log_probs[g::4].mean(0) for g in range(4)] + [np.full((9, 4), np.nan)])
    for target in (labels, q):
        whole = decompose(logits, target, groups=4)
        grouped = decompose_groups(counts, means, target)
        for field in ("bias", "variance", "deleted_bias", "deleted_variance", "group_counts"):
            np.testing.assert_allclose(getattr(grouped, field), getattr(whole, field), atol=1e-13)
        bare = decompose_groups(counts, means, target, errors=False)
        np.testing.assert_allclose(bare.variance, whole.variance, atol=1e-14)
        assert bare.group_counts is None
        np.testing.assert_array_equal(bare.counts, 10)


def test_group_statistics_of_nothing_are_nan():
    result = decompose_groups(np.zeros((2, 3)), np.zeros((2, 3, 4)), [0, 1, 2])
    assert np.isnan(result.bias).all()
    assert np.isnan(result.totals().bias.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.ones((2, 2))}, r"counts must have shape \(2, 3\)"),
        ({"counts": -np.ones((2, 3))}, "counts must be whole numbers"),
        ({"means": np.full((2, 3, 4), np.nan)}, r"finite where counts are above 0.*\(0, 0\)"),
        ({"means": np.full((2, 3, 4), np.log(0.25) + 1e-7)}, "no means of log-probabilities"),
        ({"target": [0, 1]}, r"target must have shape \(3,\)"),
    ],
)
def test_bad_group_statistics_are_refused(change, message):
    given_ = {"counts": np.ones((2, 3)), "means": np.full((2, 3, 4), np.log(0.25)), "target": [0, 1, 2]} | change
    with pytest.raises(ValueError, match=message):
        decompose_groups(given_["counts"], given_["means"], given_["target"])


def spoiled(value):
    logits = np.zeros((3, 4, 2))
    logits[1, 2, 0] = value
    logits[2, 3, 1] = value
    return logits


@pytest.mark.parametrize(
    ("logits", "target", "options", "message"),
    [
        (np.zeros((4, 2)), [0] * 4, {}, r"logits must have shape \(R, N, C\)"),
        (np.zeros((1, 4, 1)), [0] * 4, {}, "at least two classes"),
        (np.zeros((0, 4, 2)), [0] * 4, {}, "at least two classes and one of everything else"),
        (np.zeros((1, 4, 2), complex), [0] * 4, {}, "real numbers"),
        (np.zeros((1, 4, 2), object), [0] * 4, {}, "real numbers"),
        (spoiled(np.nan), [0] * 4, {}, r"\(replica, row\) \(1, 2\), \(2, 3\)"),
        (spoiled(np.inf), [0] * 4, {}, r"\(replica, row\) \(1, 2\), \(2, 3\)"),
        (spoiled(-np.inf), [0] * 4, {}, r"\(replica, row\) \(1, 2\), \(2, 3\)"),
        (spoiled(-np.inf), [0] * 4, {"loss": "squared_error"}, r"\(replica, row\) \(1, 2\), \(2, 3\)"),
        (np.array([[[1e308, -1e308]]]), [0], {}, "more than float64 can hold"),
        (np.zeros((1, 4, 2)), [0, 2, 0, -1], {}, r"target must lie in 0 .. 1; row 1, 3"),
        (np.zeros((1, 4, 2)), [0.0] * 4, {}, "integers"),
        (np.zeros((1, 4, 2)), [0] * 3, {}, r"target must have shape \(4,\)"),
        (np.zeros((1, 4, 2)), [[1.0, 0.0]] * 3, {}, "got shape"),
        (np.zeros((1, 2, 2)), [[1.0, 0.0], [0.5, 0.4]], {}, "sum to 1 within 0.001; row 1 does not.*0.9"),
        (np.zeros((1, 2, 2)), [[1.0, 0.0], [1.5, -0.5]], {}, "negative; row 1"),
        (np.zeros((1, 2, 2)), [[1.0, 0.0], [np.nan, 1.0]], {}, "finite; row 1"),
        (np.zeros((1, 4, 2)), [0] * 4, {"loss": "hinge"}, "cross_entropy, squared_error"),
        (np.zeros((1, 4, 2)), [0] * 4, {"groups": 0}, "groups must be a whole number"),
        (
            np.zeros((1, 4, 2)),
            [0] * 4,
            {"where": np.ones((4, 1), bool)},
            r"where must be a bool array of shape \(1, 4\)",
        ),
        (np.zeros((1, 4, 2)), [0] * 4, {"where": np.ones((1, 4))}, "where must be a bool array"),
    ],
)
def test_bad_input_is_refused_by_name(logits, target, options, message):
    with pytest.raises(ValueError, match=message):
        decompose(logits, target, **options)


@pytest.mark.parametrize("options", [{}, {"errors": False}, {"loss": "squared_error"}, {"groups": 2}])
def test_minus_infinity_at_a_class_nobody_asks_for_is_refused_too(options):
    logits = np.zeros((3, 200, 10))
    logits[1, 150, 7] = -np.inf
    with pytest.raises(ValueError, match=r"\(1, 150\) hold NaN or infinity"):
        decompose(logits, np.zeros(200, int), **options)


def test_only_the_first_few_bad_places_are_named():
    with pytest.raises(ValueError, match="and 7 more"):
        decompose(np.zeros((1, 12, 2)), [5] * 12)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("loss", LOSSES)
def test_rows_marked_in_the_labels_are_left_out_as_the_message_says(convert, loss):
    logits, labels, _ = reference.arrays(5, replicas=3, rows=6, spread=2.0)
    expected = decompose(logits, labels, loss=loss).bias
    labels = np.where(np.arange(6) == 2, -100, labels)
    with pytest.raises(ValueError, match="where=labels != -100"):
        decompose(convert(logits), convert(labels), loss=loss)
    found = np.asarray(decompose(convert(logits), convert(labels), loss=loss, where=convert(labels) != -100).bias)
    np.testing.assert_allclose(found, np.where(np.arange(6) == 2, np.nan, expected), atol=1e-12)
