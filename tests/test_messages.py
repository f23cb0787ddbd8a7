"""Shared wording of error messages."""

from biasvar.messages import closest, did_you_mean, first_few, no_such


def test_first_few_counts_what_it_leaves_out():
    assert first_few([]) == ""
    assert first_few("abcde") == "a, b, c, d, e"
    assert first_few("abcdef") == "a, b, c, d, e and 1 more"
    assert first_few(iter(range(9)), 2, separator="; ") == "0; 1 and 7 more"


def test_a_name_cut_short_is_preferred_to_a_similar_one():
    assert closest("train", ["brain", "training"]) == "training"
    assert closest(3, [1, 2, 3]) is None
    assert did_you_mean("", ["a"]) == ""


def test_unknown_names_list_what_there_is():
    assert no_such("x", [], "arm") == "no arm named 'x'; there is: none"
    names = [f"arm{i}" for i in range(14)]
    assert no_such("arm", names, "arm").endswith(
        "did you mean 'arm0'? there is: " + ", ".join(names[:12]) + " and 2 more"
    )
    assert no_such("arm", names, "arm", limit=None).endswith("arm13")
