"""Labels as people have them: words, one-hot rows, numbers from 1, marks for rows to leave out; and odd predictions."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from biasvar.errors import RecordError
from biasvar.records import import_predictions

pytestmark = pytest.mark.filterwarnings("ignore:there is one replica")  # of small cases, on purpose

N, C = 30, 4
NAMES = ["cat", "dog", "emu", "fox"]


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(scale=3, size=(N, C))


@pytest.fixture
def labels():
    return np.random.default_rng(1).permutation(np.arange(N) % C)


@pytest.fixture
def refused(tmp_path, logits, labels):
    """RecordError, and nothing written."""

    def check(message, *, files=None, given=None, **options):
        with pytest.raises(RecordError, match=message) as error:
            import_predictions(
                [logits] if files is None else files,
                labels if given is None else given,
                directory=tmp_path / "refused",
                **options,
            )
        assert "\n" not in str(error.value)
        assert not (tmp_path / "refused").exists()

    return check


def test_words_are_looked_up_in_the_class_names(tmp_path, logits, labels, refused):
    words = np.array(NAMES)[labels]
    pd.DataFrame({"label": words}).to_csv(tmp_path / "labels.csv", index=False)
    pd.Series(words).to_csv(tmp_path / "bare.csv", index=False, header=False)
    np.save(tmp_path / "labels.npy", words)
    frame = pd.DataFrame({"y": pd.Categorical(words)})
    frame.to_parquet(tmp_path / "labels.parquet")
    files = [tmp_path / name for name in ("labels.csv", "bare.csv", "labels.npy", "labels.parquet")]
    kinds = [words, words.tolist(), words.astype(object), np.char.encode(words), frame, frame["y"], pd.Series(words)]
    for number, given in enumerate((*files, *kinds)):
        run = import_predictions([logits], given, class_names=NAMES, directory=tmp_path / str(number))
        assert run.predictions("predictions").labels.tolist() == labels.tolist()
        refused("labels.*: are these the names of classes. then pass class_names=", given=given)
    odd = words.copy()
    odd[[3, 7]] = "dgo"
    refused(r"labels: 'dgo' are none of class_names \(row 3 first\); did you mean 'dog'\? there is: cat, dog, emu, fox",
            given=odd, class_names=NAMES)  # fmt: skip
    refused("class_names has a name more than once", given=words, class_names=["cat", "cat", "emu", "fox"])
    refused(r"they are text, <U\d+: pass labels.astype\(int\)", given=labels.astype(str))


def test_labels_from_one_and_marks_for_rows_to_leave_out(logits, labels, refused):
    refused("are out of range; allowed: 0 to 3 .*they run from 1 to 4: if they start at 1, pass labels - 1",
            given=labels + 1)  # fmt: skip
    for mark in (-100, -1, 255):
        marked = np.where(np.arange(N) % 5 == 0, mark, labels)
        refused(f"{mark} often marks rows to leave out: pass where= .*here labels != {mark}", given=marked)
    refused("rows 0, 5, 10, 15, 20 and 1 more lack a label; pass where=",
            given=np.where(np.arange(N) % 5 == 0, np.nan, labels))  # fmt: skip
    words = np.array(NAMES, dtype=object)[labels]
    words[4] = None
    refused("rows 4 lack a label; pass where=", given=words, class_names=NAMES)
    refused("labels of sample_id .* allowed: 0 to 3 .the first is 7.$", given=np.where(labels == 3, 7, labels))


@pytest.mark.parametrize("mark", [-100, 255, np.nan])
def test_rows_that_do_not_count_are_not_in_the_run(tmp_path, logits, labels, mark):
    where = np.arange(N) % 5 != 0
    ids = np.random.default_rng(3).permutation(90)[:N]
    marked = np.where(where, labels, mark)
    unread = np.where(where[:, None], logits, np.nan)
    options = {"where": where, "sample_ids": ids}
    run = import_predictions([unread, logits], marked, directory=tmp_path / "run", **options)
    right = import_predictions([logits[where]] * 2, labels[where], directory=tmp_path / "right", sample_ids=ids[where])
    assert run.predictions("predictions").sample_ids.tolist() == sorted(ids[where])
    for name in ("bias", "variance"):
        found, wanted = (getattr(one.decomposition("predictions"), name) for one in (run, right))
        np.testing.assert_array_equal(found, wanted)
    assert run.records().equals(right.records())
    order = np.random.default_rng(4).permutation(N)
    frame = pd.DataFrame(logits[order]).assign(sample_id=ids[order]).rename(columns=str)
    by_id = import_predictions([frame], marked, directory=tmp_path / "frame", **options)
    np.testing.assert_array_equal(by_id.decomposition("predictions").bias, right.decomposition("predictions").bias)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (np.ones(N - 1, bool), r"where must be bool of shape \(30,\), True for the rows that count, not bool \(29,\)"),
        (np.ones(N), "where must be bool of shape .*, not float64"),
        (np.zeros(N, bool), "where leaves no row: True is for the rows that count"),
    ],
)
def test_a_where_that_does_not_fit(refused, where, message):
    refused(message, where=where)


def test_one_hot_rows(tmp_path, logits, labels, refused):
    hot = np.eye(C, dtype=int)[labels]
    frame = pd.DataFrame(hot).add_prefix("class_")
    frame[sorted(frame.columns, reverse=True)].to_parquet(tmp_path / "hot.parquet")
    for number, given in enumerate((hot, hot.astype(bool), hot.tolist(), torch.tensor(hot), tmp_path / "hot.parquet")):
        run = import_predictions([logits], given, directory=tmp_path / str(number))
        assert run.predictions("predictions").labels.tolist() == labels.tolist()
    soft = hot * 0.9 + 0.025
    refused(
        r"shape \(N,\), not \(30, 4\); as one-hot rows each needs one 1 and else 0, and 30 of 30 have not", given=soft
    )
    refused("its one-hot rows have 5 classes, the predictions 4", given=np.eye(5)[labels])
    refused(r"not \(30, 1\); pass labels\[:, 0\]", given=labels[:, None])
    refused("from 0 for the first class, not bool", given=labels > 1)


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_every_type_of_predictions_is_right_or_refused(tmp_path, logits, labels, refused):
    halves = np.round(logits * 4) / 4  # exact in every type of float
    right = import_predictions([halves], labels, directory=tmp_path / "right").predictions("predictions").mean_log_probs
    tensor = torch.tensor(halves)
    same = [
        *(halves.astype(kind) for kind in (np.float16, np.float32, np.longdouble, ">f4")),
        *(tensor.to(kind) for kind in (torch.bfloat16, torch.float16, torch.float32)),
        tensor.clone().requires_grad_(),
        tensor.bfloat16().requires_grad_(),
        [row.bfloat16() for row in tensor],
        [row.clone().requires_grad_() for row in tensor],
        halves.tolist(),
        np.asfortranarray(halves),
        pd.DataFrame(halves).astype("float32"),
        pd.DataFrame(halves).astype("Float64"),
        {f"class_{c}": halves[:, c] for c in range(C)},
    ]
    for number, values in enumerate(same):
        run = import_predictions([values], labels, directory=tmp_path / str(number))
        np.testing.assert_allclose(run.predictions("predictions").mean_log_probs, right, atol=1e-12)
    for kind in (np.complex64, bool, "U8", "M8[s]", "m8[s]", object):
        refused(r"files\[0\](: predictions)? must (be|hold) real numbers", files=[halves.astype(int).astype(kind)])
        np.save(tmp_path / "bad.npy", halves.astype(int).astype(kind))
        refused("bad.npy.*(predictions must be real numbers, not|holds Python objects)", files=[tmp_path / "bad.npy"])
    np.save(tmp_path / "brain.npy", halves.astype(np.float16).view("V2"))
    refused("brain.npy: holds .V2, as NumPy reads bfloat16 back; save it as float32", files=[tmp_path / "brain.npy"])
    for bad in (np.nan, np.inf, -np.inf):
        odd = halves.copy()
        odd[[2, 9], 1] = bad
        for values in (odd, odd.astype(np.float32), torch.tensor(odd).bfloat16(), pd.DataFrame(odd)):
            refused(r"files\[1\]: rows 2, 9 hold values that are not finite", files=[halves, values])
    huge = np.full((N, C), np.longdouble("-1e4000"))
    if np.isfinite(huge).all():  # where longdouble is larger than float64
        refused("rows 0, 1, 2, 3, 4 and 25 more hold values that are not finite", files=[huge])
    masked = np.ma.masked_array(halves, mask=np.zeros((N, C)))
    refused(r"files\[0\] is a masked array, .*where= \(bool", files=[masked])
    refused(
        r"files\[0\] is a masked array", files=[torch.masked.masked_tensor(torch.tensor(halves), torch.ones(N, C) > 0)]
    )
    refused(r"files\[0\] is a masked array", files=np.ma.masked_array(halves[None], mask=True))
    refused("labels is a masked array, .*where=", given=np.ma.masked_array(labels, mask=labels == 0))


def test_one_number_a_sample_is_likely_a_sigmoid(tmp_path, logits, refused):
    p = 1 / (1 + np.exp(-logits[:, 0]))
    truth = np.arange(N) % 2
    np.save(tmp_path / "p.npy", p)
    pd.DataFrame({"score": p}).to_parquet(tmp_path / "p.parquet")
    cure = "is it the output of a sigmoid. then give two columns: 1 - p and p .* or 0 and z of its logits"
    for values in (p[:, None], pd.DataFrame({"score": p}), tmp_path / "p.npy", tmp_path / "p.parquet"):
        refused(cure, files=[values], given=truth)
    a = import_predictions([np.stack([1 - p, p], 1)], truth, directory=tmp_path / "a", values="probabilities")
    b = import_predictions([np.stack([0 * p, logits[:, 0]], 1)], truth, directory=tmp_path / "b")
    np.testing.assert_allclose(a.decomposition("predictions").bias, b.decomposition("predictions").bias, rtol=1e-9)


def test_the_old_name_of_values_says_so(tmp_path, logits, labels, refused):
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with pytest.warns(FutureWarning, match='pass values="probabilities"'):
        old = import_predictions([probs], labels, directory=tmp_path / "old", probabilities=True)
    new = import_predictions([probs], labels, directory=tmp_path / "new", values="probabilities")
    np.testing.assert_array_equal(old.decomposition("predictions").bias, new.decomposition("predictions").bias)
    with pytest.warns(FutureWarning):
        refused("contradict each other; give values", files=[probs], values="logits", probabilities=True)


def test_probabilities_and_votes_are_not_taken_for_logits(tmp_path, refused):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    p = rng.dirichlet(np.ones(5), 200)
    # A softmax in float32 whose float64 copy misses a sum of 1 by 1.09e-6 in one row.
    single = p.astype(np.float32).astype(np.float64)
    single[7] *= 1 + 1.09e-6
    assert np.abs(single.sum(axis=1) - 1).max() > 1e-6
    votes = rng.multinomial(51, p)
    for values, cure in (
        (single, 'values="probabilities"'),
        (p * 1.0005, 'values="probabilities"'),
        (p.astype(np.float16), 'values="probabilities"'),
        (pd.DataFrame(single), 'values="probabilities"'),
        (votes, "from_votes"),
        (votes.astype(np.float32), "from_votes"),
        (pd.DataFrame(votes), "from_votes"),
        (p * 100, "divide every row by its sum"),
    ):
        refused(f"look like .*{cure}", files=[values], given=truth)
    small, few = np.round(rng.dirichlet(np.ones(5), 20) * 255).astype(np.uint8), truth[:20]
    refused('look like votes or counts.*from_votes.*or values="logits"', files=[small], given=few)
    taken = import_predictions([small], few, directory=tmp_path / "small", values="logits")
    assert taken.manifest["arms"]["predictions"]["values"] == "logits"
    zeros = import_predictions([np.zeros((200, 5))], truth, directory=tmp_path / "zeros")
    np.testing.assert_allclose(zeros.decomposition("predictions").bias, np.log(5))
    right = import_predictions([np.log(p)], truth, directory=tmp_path / "right").decomposition("predictions").bias
    for number, values in enumerate((p, p * 1.0009, single)):
        run = import_predictions([values], truth, directory=tmp_path / str(number), values="probabilities")
        np.testing.assert_allclose(run.decomposition("predictions").bias, right, rtol=2e-5)
    third = np.arange(200)[:, None] == 3
    refused("rows 3 hold probabilities that do not sum to one",
            given=truth, values="probabilities", files=[np.where(third, 1.002 * p, p)])  # fmt: skip
    refused("look like", files=[np.where(third, -1.0, p)], given=truth, where=~third[:, 0])


def test_the_published_votes_of_cifar10h_are_refused(tmp_path):
    file = Path(os.environ.get("BIASVAR_DATA", ".")) / "cifar10h.npz"
    if not file.is_file():
        pytest.skip("needs cifar10h.npz in the folder of BIASVAR_DATA")
    with np.load(file) as archive:
        votes, truth = archive["counts"], archive["labels"]
    assert (votes.sum(axis=1).min(), votes.sum(axis=1).max()) == (47, 63)
    for values in (votes, votes.astype(np.float32)):
        with pytest.raises(RecordError, match=r"look like votes or counts: .* rows sum to 47 .. 63; .*from_votes"):
            import_predictions([values], truth, directory=tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": 3}, "class_names must list names in the order of the classes, not int"),
        ({"columns": 3}, "columns must list names in the order of the classes, not int"),
        ({"columns": {"a": 1}}, "columns must list names in the order of the classes, not dict"),
        (
            {"given": 3, "where": np.ones(N, bool)},
            r"labels: must hold one class number a sample, shape \(N,\), not \(\)",
        ),
    ],
)
def test_arguments_of_another_kind(refused, options, message):
    refused(message, **options)
