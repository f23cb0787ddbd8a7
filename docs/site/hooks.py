"""What mkdocs adds to the pages of docs: results, changes and a gallery from elsewhere, and links that hold there.

There is no public address of the repository, so a link to a file that is no page of the site becomes text.
"""

from __future__ import annotations

import ast
import html
import json
import posixpath
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
GALLERY = "gallery.md"
NARROW = ROOT / "build" / "pictures"
"""Where `narrow_pictures.py` has drawn the gallery's pictures for narrow screens, by their path in the repository."""
NARROWER = "(max-width: 44.99em)"
"""The screens that show those, as in style.css."""
FIRST_STUDIES = ("all_methods", "digits", "converged")
"""Folders of `figures` whose pictures stand in the gallery before those of others."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```[ ]*$)", re.MULTILINE | re.DOTALL)


def pages_elsewhere() -> list[str]:
    """Paths in the repository, outside docs, of the Markdown files that are pages of the site."""
    found = [*ROOT.glob("figures/**/*.md"), *ROOT.glob("experiments/*/README.md")]
    return ["CHANGELOG.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in found)]


def notebooks() -> dict[str, Path]:
    """The notebook of each page that is made from one, by the page's path on the site."""
    return {f"notebooks/{path.stem}.md": path for path in sorted(ROOT.glob("notebooks/*.ipynb"))}


def notebook_page(path: Path) -> str:
    """The page of a notebook as Markdown: its texts and its code, without what that prints or draws."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    parts.insert(
        1, f"*`{path.relative_to(ROOT)}` without its tables and figures; `make notebook` opens it, to be run.*"
    )
    return "\n\n".join(parts) + "\n"


def narrow_name(picture: str) -> str:
    """The path of a picture for narrow screens beside the wide one's."""
    return f"{picture.removesuffix('.png')}.narrow.png"


def shown(picture: str, alt: str) -> str:
    """A published picture as HTML: on narrow screens the one that is drawn for them, where there is one."""
    narrow = NARROW / narrow_name(picture)
    source = ""
    if narrow.is_file():
        place = html.escape(narrow_name(picture))
        source = f'<source media="{NARROWER}" srcset="{place}" {_size(narrow)}>'
    wide = f'<img src="{html.escape(picture)}" alt="{html.escape(alt)}" loading="lazy" {_size(ROOT / picture)}>'
    return f"<picture>{source}{wide}</picture>"


def _size(picture: Path) -> str:
    """The attributes for the size of a PNG of two pixels a pixel of the page."""
    with picture.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return f'width="{width // 2}" height="{height // 2}"'


def pictures() -> dict[str, str]:
    """The published picture of each figure of the report that has one: path in the repository by the figure's name."""

    def order(path: str) -> tuple[int, int, str]:
        study = path.split("/")[1]
        place = FIRST_STUDIES.index(study) if study in FIRST_STUDIES else len(FIRST_STUDIES)
        return place, path.count("/"), path

    found: dict[str, str] = {}
    for path in sorted((str(path.relative_to(ROOT)) for path in ROOT.glob("figures/**/*.png")), key=order):
        found.setdefault(posixpath.basename(path).removesuffix(".png"), path)
    return found


def gallery_pictures() -> list[str]:
    """The published pictures that the gallery shows."""
    names = {figure["name"] for figure in figures()}
    return [path for name, path in pictures().items() if name in names]


def figures() -> list[dict[str, str]]:
    """Name, title, what it shows and how to read it of every figure of the report, in the report's order.

    Read from the sources, without importing them: the site is built where biasvar is not installed.
    """
    folder = ROOT / "biasvar" / "report" / "figures"
    names = ast.literal_eval(_assigned(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")), "FIGURES"))
    return [_figure(folder / f"{name}.py", name) for name in names]


def _figure(path: Path, name: str) -> dict[str, str]:
    module = ast.parse(path.read_text(encoding="utf-8"))
    said = {"name": name, "shows": (ast.get_docstring(module) or "").split("\n\n")[0].replace("\n", " ")}
    for keyword in _assigned(module, "FIGURE").keywords:
        if keyword.arg in ("title", "needs") or isinstance(keyword.value, ast.Constant):
            said[keyword.arg] = _text(keyword.value, module)
    return said


def _assigned(module: ast.Module, name: str) -> Any:
    """The expression that a module assigns to a name, there or in the module that it is imported from."""
    for statement in module.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return statement.value
        if isinstance(statement, ast.ImportFrom) and name in [alias.name for alias in statement.names]:
            source = ROOT / f"{str(statement.module).replace('.', '/')}.py"
            return _assigned(ast.parse(source.read_text(encoding="utf-8")), name)
    raise ValueError(f"no {name} is assigned in the module that starts {ast.get_docstring(module)!r}")


def _text(node: ast.AST, module: ast.Module) -> str:
    """The string that an expression is: a constant, the name of one, an f-string or a sum of them, up to a call."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, module) for part in node.values)
    if isinstance(node, ast.BinOp):
        start = _text(node.left, module)
        return start.rstrip(": ") if isinstance(node.right, ast.Call) else start + _text(node.right, module)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, module)
    return _text(_assigned(module, node.id), module) if isinstance(node, ast.Name) else str(ast.literal_eval(node))


def gallery() -> str:
    """The page of the figures of the report, as Markdown."""
    published = pictures()
    lines = [
        "# Gallery of figures",
        "",
        "Every figure that `biasvar-report` and `biasvar.plots` draw, in the order of a report's page.",
        "",
    ]
    for figure in figures():
        lines += [f"## {figure['title']}", "", figure["shows"], ""]
        lines += [f"*{figure['how_to_read']}*", ""] if "how_to_read" in figure else []
        lines += [f"`biasvar.plots.{figure['name']}`, `--figures {figure['name']}`. Needs {figure['needs']}.", ""]
        picture = published.get(figure["name"])
        if picture:
            lines += [shown(picture, figure["title"]), "", f"From `{posixpath.dirname(picture)}`.", ""]
        else:
            lines += ["No picture of it has been published yet.", ""]
    return "\n".join(lines)


def target_in_site(page: str, target: str, known: Callable[[str], bool]) -> str | None:
    """Where a relative link of a page leads on the site, relative to the page; None if it has no such file.

    Args:
        page: the page's path on the site, which is that in docs, or in the repository for pages elsewhere.
        target: the link as it stands in the page.
        known: whether a path on the site is one of its files.
    """
    path, _, anchor = target.partition("#")
    at = page if page in (*pages_elsewhere(), *notebooks()) else f"docs/{page}"
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(at), path))
    if resolved == "README.md":
        resolved = "docs/index.md"
    wanted = resolved.removeprefix("docs/") if resolved.startswith("docs/") else resolved
    wanted = re.sub(r"^(notebooks/\w+)\.ipynb$", r"\1.md", wanted)
    parent = posixpath.dirname(wanted) if wanted.startswith("figures/") else wanted
    for place in (wanted, f"{wanted}/README.md", f"{parent}/README.md"):
        if place == page and not anchor:
            return None
        if known(place):
            return posixpath.relpath(place, posixpath.dirname(page) or ".") + (f"#{anchor}" if anchor else "")
    return None


def with_links_of_the_site(markdown: str, page: str, known: Callable[[str], bool]) -> str:
    """The Markdown of a page with every relative link outside code as it is on the site, or as text."""

    def link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        there = target_in_site(page, target, known)
        if there:
            return f"{mark}[{text}]({there})"
        if mark:
            raise ValueError(f"{page}: no picture {target} on the site")
        plain = text.strip("`")
        return f"`{plain}`" if plain.strip("/") in target or "/" in plain else text

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere, the pictures that they and the gallery show, the gallery and the notebooks."""
    from mkdocs.structure.files import File

    in_gallery = gallery_pictures()
    pictured = set(in_gallery)
    for page in pages_elsewhere():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
        for mark, _, target in _LINK.findall((ROOT / page).read_text(encoding="utf-8")):
            pictured |= {posixpath.normpath(posixpath.join(posixpath.dirname(page), target))} if mark else set()
    for picture in sorted(pictured):
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    for picture in map(narrow_name, in_gallery):
        if (NARROW / picture).is_file():
            files.append(File.generated(config, picture, abs_src_path=str(NARROW / picture)))
    for page, path in notebooks().items():
        files.append(File.generated(config, page, content=notebook_page(path)))
    files.append(File.generated(config, GALLERY, content=gallery()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page with links that hold on the site."""
    at = page.file.src_uri
    return markdown if at == GALLERY else with_links_of_the_site(markdown, at, lambda path: path in files.src_uris)


_FROM_THE_NETWORK = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["']?(https?:[^"'\s>]*)""")


def from_the_network(html: str) -> list[str]:
    """Addresses of scripts, pictures and styles that a page would fetch from elsewhere."""
    return _FROM_THE_NETWORK.findall(html)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """The page as it is; an error if it needs the network, since the site is read from a folder."""
    if found := from_the_network(output):
        raise ValueError(f"{page.file.src_uri} fetches {', '.join(found)}: put it into docs/site, or leave it out")
    return output
