"""The page of all keys of a study is that of the classes; every key has a meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from biasvar.study import Study
from biasvar.study.keys import meaning, page
from biasvar.study.meanings import MEANINGS
from biasvar.study.schema import Data
from biasvar.study.sections import Section
from biasvar.study.teachers import Teacher
from tests.test_study import every_section

PAGE = Path(__file__).parents[1] / "docs" / "study.md"


def test_the_page_is_made_of_the_classes():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m biasvar.study.keys > docs/study.md"


def test_every_key_of_every_section_is_on_the_page_with_a_meaning():
    text = page()
    for cls in every_section():
        if not cls.__module__.startswith("biasvar."):
            continue  # a test's own
        for key, field in cls.model_fields.items():
            if not field.exclude and key not in ("kind", "loss"):
                assert f"| `{key}` |" in text, (cls, key)
                assert meaning(cls, key), (cls, key)
    assert [line for line in text.splitlines() if line.startswith("| `") and line.endswith("|  |")] == []


def test_no_meaning_is_of_a_key_that_is_not_there():
    keys = {key for cls in every_section() for key in cls.model_fields}
    classes = {cls.__name__: cls for cls in [*every_section(), Section]}
    for entry in MEANINGS:
        name, _, key = entry.rpartition(".")
        assert key in (classes[name].model_fields if name else keys), entry


@pytest.mark.parametrize(
    ("cls", "key", "said"),
    [
        (Data, "split", "the official split that all rows, test rows too, are cut from; none given: test rows from the "
         "official test split, all others from the official train split"),
        (Data, "validation", "rows for choices, or their share of all"),
        (Teacher, "logits", "Instead of a network: .npy, .npz or .parquet file of logits by `sample_id`, or with row i "
         "for sample i."),
        (Study, "seed", "splits, draws, initial weights and orders of rows follow from it"),
    ],
)  # fmt: skip
def test_comments_beside_and_above_a_key_are_told_apart(cls, key, said):
    assert meaning(cls, key) == said
