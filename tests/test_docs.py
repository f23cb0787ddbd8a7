"""The documentation as a site: every page, public name and picture has its place, and links lead somewhere."""

from __future__ import annotations

import doctest
import html
import importlib
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

import biasvar
from biasvar.report.figures import FIGURES, load

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((DOCS / "site" / "mkdocs.yml").read_text())
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def imported_from(path):
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


HOOKS = imported_from(DOCS / "site" / "hooks.py")


def entries(nav):
    """The pages that the navigation names, at any depth."""
    for entry in nav:
        for content in entry.values():
            yield from entries(content) if isinstance(content, list) else [content]


def test_every_page_is_in_the_navigation_once():
    named = list(entries(SITE["nav"]))
    assert len(named) == len(set(named))
    elsewhere = {*HOOKS.pages_elsewhere(), *HOOKS.notebooks(), HOOKS.GALLERY}
    assert sorted(set(named) - elsewhere) == PAGES
    assert {page for page in named if page in elsewhere} >= {
        "figures/README.md", "figures/claims.md", HOOKS.GALLERY, *HOOKS.notebooks(),
    }  # fmt: skip


def public_names():
    """Every public name with its module, as a page of the reference names it."""
    modules = ["analysis", "losses", "data", "modules"]
    adapters = {
        "lightning": ["RecorderCallback"],
        "huggingface": ["RecorderCallback", "RecorderMixin"],
        "tensorboard": ["add_summary", "write_run"],
    }
    assert sorted([*adapters, "torchdistill"]) == biasvar.integrations.__all__
    for name in biasvar.__all__:
        if not inspect.ismodule(getattr(biasvar, name)):
            yield f"biasvar.{name}"
    for name in modules:
        module = importlib.import_module(f"biasvar.{name}")
        yield from (f"biasvar.{name}.{item}" for item in module.__all__ if item not in biasvar.__all__)
    yield from (f"biasvar.plots.marks.{name}" for name in biasvar.plots.MARKS)
    errors = inspect.getmembers(biasvar.errors, inspect.isclass)
    yield from (f"biasvar.errors.{name}" for name, found in errors if found.__module__ == "biasvar.errors")
    for name, items in adapters.items():
        source = (ROOT / "biasvar" / "integrations" / f"{name}.py").read_text()
        assert f"__all__ = {items}".replace("'", '"') in source
        yield from (f"biasvar.integrations.{name}.{item}" for item in items)
    yield "biasvar.integrations.torchdistill"


def test_every_public_name_has_its_place_in_the_reference():
    pages = "\n".join(page.read_text() for page in DOCS.glob("reference/*.md"))
    listed = re.findall(r"^::: (\S+)$", pages, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted(public_names())


def test_every_figure_is_in_the_reference_of_plots():
    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "reference" / "plots.md").read_text(), re.MULTILINE)
    assert listed == list(FIGURES)


def test_every_picture_is_shown_and_every_picture_shown_is_there():
    texts = {page: (DOCS / page).read_text() for page in PAGES}
    shown = {
        (DOCS / page).parent.joinpath(target).resolve()
        for page, text in texts.items()
        for target in re.findall(r"!\[[^\]]*\]\((\S+)\)", text)
    }
    assert [path for path in shown if not path.is_file()] == []
    assert set((DOCS / "pictures").glob("*.svg")) <= shown


def known_on_the_site(path):
    return path in {*PAGES, *HOOKS.pages_elsewhere(), *HOOKS.notebooks(), HOOKS.GALLERY}


@pytest.mark.parametrize(
    ("page", "target", "there"),
    [
        ("tokens.md", "../figures/tokens", "figures/tokens/README.md"),
        ("tokens.md", "../experiments/tokens", None),
        ("tokens.md", "huggingface.md", "huggingface.md"),
        ("own_loop.md", "../README.md", "index.md"),
        ("CHANGELOG.md", "docs/own_loop.md", "own_loop.md"),
        ("figures/README.md", "converged/digits", "converged/README.md"),
        ("figures/digits/README.md", "../digits_redrawn", "../digits_redrawn/README.md"),
        ("study.md", "study.md#data", "study.md#data"),
        ("notebooks/first_look.md", "which_samples.ipynb", "which_samples.md"),
        ("notebooks/your_own_loop.md", "../docs/own_loop.md", "../own_loop.md"),
        ("CHANGELOG.md", "notebooks/tokens.ipynb", "notebooks/tokens.md"),
    ],
)
def test_a_link_leads_to_the_page_of_the_site_that_shows_the_file(page, target, there):
    assert HOOKS.target_in_site(page, target, known_on_the_site) == there


def test_links_to_files_that_are_no_pages_become_text_and_code_is_left_alone():
    text = "[experiments/tokens](../experiments/tokens), [Fabric](fabric.md), [the votes](../biasvar/votes.py)\n"
    code = "```python\nlist[int](../experiments/tokens)\n```\n"
    seen = HOOKS.with_links_of_the_site(text + code, "tokens.md", known_on_the_site)
    assert seen == "`experiments/tokens`, [Fabric](fabric.md), the votes\n" + code


def test_every_relative_link_of_a_page_leads_to_a_file_of_the_repository():
    broken = [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^()\s#]+)(?:#\S*)?\)", (DOCS / page).read_text())
        if not re.match(r"[a-z]+:", target)
        and not (DOCS / page).parent.joinpath(target).exists()
        and target.split("/")[-1] != HOOKS.GALLERY
    ]
    assert broken == []


def test_the_gallery_has_every_figure_of_the_report_in_its_words():
    found = HOOKS.figures()
    assert [figure["name"] for figure in found] == list(FIGURES)
    for figure in found:
        real = load(figure["name"])
        assert figure["title"] == real.title
        assert real.needs == figure["needs"] or real.needs.startswith(f"{figure['needs']}: ")
        assert figure.get("how_to_read", real.how_to_read) == real.how_to_read
        assert figure["shows"].endswith(".")
    page = HOOKS.gallery()
    assert all(f"`biasvar.plots.{name}`" in page for name in {*biasvar.plots.__all__} - {*biasvar.plots.MARKS})
    for name, path in HOOKS.pictures().items():
        if name in FIGURES:
            assert f'<img src="{path}" alt="{html.escape(load(name).title)}"' in page


def test_phones_are_shown_the_pictures_that_are_drawn_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(HOOKS, "NARROW", tmp_path)
    path = HOOKS.pictures()["methods"]
    assert "<source" not in HOOKS.shown(path, "methods")
    narrow = tmp_path / HOOKS.narrow_name(path)
    narrow.parent.mkdir(parents=True)
    Image.new("RGB", (780, 1200)).save(narrow)
    seen = HOOKS.shown(path, 'a "b"')
    srcset = f'srcset="{path[:-4]}.narrow.png" width="390" height="600">'
    assert f'<picture><source media="{HOOKS.NARROWER}" {srcset}<img src="{path}" alt="a &quot;b&quot;"' in seen
    assert f"@media {HOOKS.NARROWER} {{" in (DOCS / "site" / "style.css").read_text()


def test_the_page_of_a_notebook_has_its_texts_and_its_code():
    for path in HOOKS.notebooks().values():
        page, cells = HOOKS.notebook_page(path), json.loads(path.read_text())["cells"]
        assert page.startswith("# ")
        assert all("".join(cell["source"]) in page for cell in cells)
        assert page.count("```python") == sum(cell["cell_type"] == "code" for cell in cells)


def test_a_page_that_would_fetch_from_the_network_is_refused():
    assert HOOKS.from_the_network('<script src="site/here.js"></script><a href="https://example.org">x</a>') == []
    fetched = '<link rel="stylesheet" href="https://example.org/a.css"><img alt="x" src=http://example.org/b.png>'
    assert HOOKS.from_the_network(fetched) == ["https://example.org/a.css", "http://example.org/b.png"]
    assert SITE["theme"]["font"] is False
    assert SITE["extra"]["polyfills"] == ["site/iframe-worker.js"]  # instead of the one that material names
    assert (DOCS / "site" / "iframe-worker.js").is_file()


@pytest.mark.parametrize("page", ["index.md", "concepts.md", "faq.md"])
def test_the_examples_of_a_page_are_true(page):
    blocks = re.findall(r"```pycon\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert len(blocks) >= (8 if page == "concepts.md" else 1)
    example = doctest.DocTestParser().get_doctest("\n\n".join(blocks), {}, page, page, 0)
    said = []
    assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)


def test_the_distillation_loss_rises_under_an_unsure_teacher_and_falls_under_a_sure_one(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "faq.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, text=True, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    unsure, sure = (
        [float(value) for value in re.findall(r"soft label ([\d.]+)", part)]
        for part in done.stdout.split("teacher trained")[1:]
    )
    assert unsure == sorted(unsure)
    assert unsure[-1] > 1.2 * unsure[0]
    assert sure == sorted(sure, reverse=True)


PICTURES = imported_from(DOCS / "pictures" / "concepts.py")


def words(picture):
    """The texts of a drawing: its numbers and labels, wherever they stand."""
    return sorted(re.findall(r">([^<>]*[^<>\s][^<>]*)</(?:text|tspan)>", picture.read_text()))


def test_the_pictures_of_concepts_are_drawn_by_their_script(tmp_path):
    drawn = PICTURES.draw_all(tmp_path)
    assert [path.name for path in drawn] == [f"{name}.svg" for name in PICTURES.PICTURES]
    for path in drawn:
        committed = DOCS / "pictures" / path.name
        assert committed.stat().st_size < 60_000
        assert words(committed) == words(path), path.name
    assert len(words(drawn[0])) > 5
