"""The index of papers: what papers.yaml names exists, and states follow from what is published."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from biasvar.errors import BiasvarError
from biasvar.report import papers
from biasvar.report.figures import FIGURES

ROOT = Path(__file__).parents[2]
INDEX = papers.read()
ITEMS = [item for paper in INDEX["papers"] for item in paper["items"]]
NAMED = [(study, figure) for item in ITEMS for study, figure in item.get("studies", {}).items()]
ROW = re.compile(r"\| (.*) \| (.*) \| (.*) \| \[(\S+)\]\(\S+\) \| (.*) \|")


def rows(directory: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """State and figure by study and figure's name, as the index of a directory has them."""
    found = {}
    for line in papers.papers_index(directory).splitlines():
        if match := ROW.fullmatch(line):
            state, study, shown = match.group(3, 4, 5)
            found[study, re.split(r"[\](]", shown.lstrip("["))[0].strip()] = (state, shown)
    return found


def publish(root: Path, folder: str, run: str, *figures: str) -> None:
    (root / folder).mkdir(parents=True)
    (root / folder / "summary.json").write_text(json.dumps({"runs": {run: {"title": run}}}))
    for name in figures:
        (root / folder / f"{name}.png").touch()


def test_every_study_of_the_index_is_a_file_with_this_name_and_is_named_by_an_item() -> None:
    assert set(INDEX["studies"]) == {study for study, _ in NAMED}
    for study, known in INDEX["studies"].items():
        path = ROOT / papers.file_of(study)
        assert path.is_file(), path
        assert set(known) <= {"run", "folder", "size", "first", "scale"}, study
        assert known["size"], study
        assert known.get("scale", papers.AS_PUBLISHED) == papers.AS_PUBLISHED, study
        assert ("run" in known) != ("folder" in known), study
        assert "first" not in known or (ROOT / "experiments" / known["first"]).is_file(), study
        if "run" in known:
            assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == known["run"], study


def test_every_figure_of_the_index_is_one_of_the_report() -> None:
    for study, figure in NAMED:
        assert figure in FIGURES or "folder" in INDEX["studies"][study], (study, figure)


def test_an_item_has_studies_or_a_state_with_its_reason() -> None:
    assert all(paper["paper"] and paper["known"] for paper in INDEX["papers"])
    for item in ITEMS:
        keys = {"item", "shows"} | ({"studies"} if "studies" in item else {"state", "reason"})
        assert set(item) == keys, item
        assert all(item.values()), item
        assert item.get("state", "no study") in papers.REASONS, item
        assert not any(mark in str(value) for value in item.values() for mark in "|\n"), item


def test_every_state_of_the_committed_index_is_that_of_what_is_published() -> None:
    found = rows(ROOT / "figures")
    assert set(found) == set(NAMED)
    runs = {
        run for path in (ROOT / "figures").rglob("summary.json") for run in json.loads(path.read_text("utf-8"))["runs"]
    }
    for (study, _), (state, _) in found.items():
        known = INDEX["studies"][study]
        there = known["run"] in runs if "run" in known else (ROOT / "figures" / known["folder"]).is_dir()
        assert state == (known.get("scale", papers.SMALLER) if there else papers.READY), study


def test_states_follow_from_what_is_published(tmp_path: Path) -> None:
    ready = rows(tmp_path)
    assert {state for state, _ in ready.values()} == {papers.READY}
    assert {shown for _, shown in ready.values()} == {figure for _, figure in NAMED}
    publish(tmp_path, "mine/revision", "label_revision_features", "accuracy")
    publish(tmp_path, "old", "wsl_full_cifar100", "published")
    publish(tmp_path, "older", "wsl_full_cifar100")
    publish(tmp_path, "dfa/gains", "another")
    (tmp_path / "linear_network").mkdir()
    (tmp_path / "linear_network" / "linear_network.png").touch()
    found = rows(tmp_path)
    changed = {key: value for key, value in found.items() if value != ready[key]}
    assert changed == {
        ("label_revision/features", "accuracy"): ("smaller", "[accuracy](mine/revision/accuracy.png)"),
        ("label_revision/features", "methods"): ("smaller", "methods (not published)"),
        ("wsl/full/wsl_cifar100", "published"): ("as published", "[published](old/published.png)"),
        ("bias_variance/linear_network.py", "linear_network"): (
            "smaller", "[linear_network](linear_network/linear_network.png)",
        ),
    }  # fmt: skip


def test_commands_are_those_of_the_study_with_all_its_figures(tmp_path: Path) -> None:
    text = papers.papers_index(tmp_path)
    for line in (
        "| label_revision/features<br>MLPs, 1,000 of frozen features of CIFAR-10 | `python -m biasvar.run "
        "experiments/label_revision/features.yaml`<br>`python -m biasvar.report runs/label_revision_features --figures "
        "accuracy,methods` |",
        "| bias_variance/linear_network.py<br>sizes of ours | `python experiments/bias_variance/linear_network.py "
        "--out figures/linear_network` |",
    ):
        assert f"\n{line}\n" in text
    assert "| `python experiments/prokt/docstrings.py`<br>`python -m biasvar.run experiments/prokt/docs" in text
    assert "| ? | COCO: detection | out of scope | boxes" in text


def test_a_damaged_summary_is_named(tmp_path: Path) -> None:
    publish(tmp_path, "a", "digits")
    (tmp_path / "a" / "summary.json").write_text("[]")
    with pytest.raises(BiasvarError, match="a is no whole report"):
        papers.papers_index(tmp_path)
