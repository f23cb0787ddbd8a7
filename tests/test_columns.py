"""What the columns of a table are, by their names; what is not clear is refused with the columns and the cure."""

import json
import random

import pytest

from biasvar.columns import by_number, label_columns, pandas_index, prediction_columns
from biasvar.errors import RecordError


def table(**kinds):
    return list(kinds.items())


def classes(count, prefix="p_", kind="real"):
    return [(f"{prefix}{number}", kind) for number in range(count)]


@pytest.mark.parametrize(("prefix", "suffix"), [("", ""), ("p", ""), ("class_", "_prob"), ("conv1_c", ""), ("Ä ", "%")])
@pytest.mark.parametrize("count", [2, 3, 12, 101])
def test_numbered_columns_go_by_number_whatever_their_order(prefix, suffix, count):
    names = [f"{prefix}{number}{suffix}" for number in range(count)]
    shuffled = names[:]
    random.Random(count).shuffle(shuffled)
    for order in (names, sorted(names), shuffled):
        assert prediction_columns([(name, "real") for name in order], "a").classes == tuple(names)
    assert by_number(sorted(names)) == names


def test_columns_that_bear_the_class_names_go_by_name():
    names = ["cat", "dog", "id"]  # a name in class_names is a class, whatever else it looks like
    for prefix in ("", "prob_"):
        columns = [(f"{prefix}{name}", "real") for name in ("id", "cat", "dog")]
        found = prediction_columns([("sample_id", "whole"), *columns], "a", class_names=names)
        assert found.classes == tuple(f"{prefix}{name}" for name in names)
        assert found.ids == "sample_id"
    digits = [("0", "real"), ("1", "real")]
    assert prediction_columns(digits, "a", class_names=["1", "0"]).classes == ("1", "0")
    assert prediction_columns(digits, "a", class_names=["cat", "dog"]).classes == ("0", "1")


@pytest.mark.parametrize(
    "name",
    ["sample_id", "id", "ID", "idx", "index", "image_id", "image-id", "Row", "example id", "img_idx", "Unnamed: 0"],
)
def test_ids_are_no_classes(name):
    found = prediction_columns([(name, "whole"), *classes(3)], "a")
    assert (found.ids, found.classes) == (name, ("p_0", "p_1", "p_2"))
    labels = label_columns([(name, "whole"), ("y", "whole")], "a")
    assert (labels.ids, labels.label) == (name, "y")


@pytest.mark.parametrize("name", ["label", "labels", "target", "y", "class", "true_label", "class_id", "Ground truth"])
def test_labels_are_no_classes(name):
    found = prediction_columns([*classes(3), (name, "whole")], "a")
    assert (found.label, found.classes, found.ids) == (name, ("p_0", "p_1", "p_2"), None)


def test_the_index_that_pandas_kept_is_no_class():
    for name, index in (("__index_level_0__", ()), ("p_3", ("p_3",)), ("number", ("number",))):
        found = prediction_columns([*classes(3), (name, "whole")], "a", index=index)
        assert (found.ids, found.classes) == (name, ("p_0", "p_1", "p_2"))
    both = prediction_columns([("__index_level_0__", "whole"), *classes(2), ("id", "whole")], "a")
    assert both.ids == "id"
    assert prediction_columns([("id", "whole"), *classes(2), ("sample_id", "whole")], "a").ids == "sample_id"
    noted = {b"pandas": json.dumps({"index_columns": ["number", {"start": 4, "stop": 0, "step": -1}]}).encode()}
    assert pandas_index(noted).names == ("number",)
    assert pandas_index(noted).span == (4, -1)
    for other in (None, {}, {b"pandas": b"{"}, {b"pandas": b"[]"}, {b"pandas": b'{"index_columns": [{}]}'}):
        assert pandas_index(other).names == ()
        assert pandas_index(other).span is None


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (
            [*classes(3), ("fold", "whole")],
            r"a: column 'fold' is no class by name among .*pass columns=\['p_0', 'p_1', 'p",
        ),
        ([*classes(3), ("p_3", "whole")], "column 'p_3' of whole numbers among columns of fractions is hardly a class"),
        ([*classes(3), ("margin", "real")], "names of its columns do not say which .*: 'p_0', 'p_1', 'p_2', 'margin'"),
        ([*classes(3), ("split", "text")], r"column 'split' is no class by name \(predictions must be numbers\); pass"),
        ([*classes(3), ("flag", "other")], r"column 'flag' is no class by name \(predictions must be numbers\)"),
        (table(p_1="real", p_2="real"), r"the class columns lack number 0; .* from 0: pass columns=\['p_1', 'p_2'\]"),
        (table(p_0="real", p_2="real"), "the class columns lack number 1"),
        (table(p_0="real", p_00="real"), "have a number twice"),
        ([*classes(2, "p_"), *classes(2, "z_")], "names of its columns do not say which class is which"),
        (table(cat="real", dog="real"), r"'cat', 'dog'; allowed: one prefix and the numbers 0 to 1, or .*class_names="),
        (table(score="real"), "column 'score' alone: one number a sample is no distribution .*sigmoid.* 1 - p and p"),
        (table(id="whole"), "must hold one list column, or one column of numbers a class, beside sample_id; it has id"),
        (table(a="list", b="list"), r"must hold one list column.*columns=\['NAME'\] chooses"),
        ([("id", "text"), *classes(2)], "column 'id', named like an id, holds no whole numbers: drop it"),
        ([("id", "whole"), ("idx", "whole"), *classes(2)], "'id', 'idx' are all named like an id; rename the one"),
        ([("p_0", "real"), ("p_0", "real")], "more than one column is named 'p_0'"),
        (table(a="text", b="other"), "predictions must be numbers; column 'a', 'b' holds none"),
    ],
)
def test_what_is_not_clear_is_refused_by_name(kinds, message):
    with pytest.raises(RecordError, match=message):
        prediction_columns(kinds, "a")


def test_class_names_that_are_not_all_there():
    kinds = table(cat="real", dgo="real")
    with pytest.raises(RecordError, match=r"columns 'dgo' are none of class_names; pass columns="):
        prediction_columns(kinds, "a", class_names=["cat", "dog"])
    with pytest.raises(
        RecordError, match="column 'bird' is no class by name beside one column for each of class_names"
    ):
        prediction_columns([*kinds, ("bird", "real")], "a", class_names=["cat", "dgo"])


def test_columns_can_be_given():
    kinds = [("id", "whole"), ("dog", "real"), ("cat", "whole"), ("note", "text"), ("p", "list"), ("name", "text")]
    found = prediction_columns(kinds, "a", columns=["cat", "dog"])
    assert (found.classes, found.ids) == (("cat", "dog"), "id")
    assert prediction_columns(kinds, "a", columns=["p"]).classes == ("p",)
    for columns, message in (
        (["cat", "dgo"], "no column named 'dgo', did you mean 'dog'"),
        (["cat", "cat"], "columns must name every class column once"),
        ([], "columns must name every class column once"),
        (["cat", "note"], "column 'note' holds none"),
        ("cat", "column 'cat' alone: one number a sample"),
    ):
        with pytest.raises(RecordError, match=message):
            prediction_columns(kinds, "a", columns=columns)


def test_tables_of_labels():
    assert label_columns(table(x="whole"), "a").label == "x"
    assert label_columns([("note", "text"), ("label", "whole"), ("y", "whole")], "a").label == "label"
    one_hot = label_columns([("c_1", "whole"), ("c_0", "whole"), ("id", "whole")], "a")
    assert (one_hot.classes, one_hot.ids, one_hot.label) == (("c_0", "c_1"), "id", None)
    for kinds in (table(x="whole", z="whole"), table(sample_id="whole"), table(y="whole", target="whole")):
        with pytest.raises(RecordError, match="needs a column 'label'; it has"):
            label_columns(kinds, "a")
