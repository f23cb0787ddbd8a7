"""Every key of a study file with its type, default and meaning, from the classes that validate it: `docs/study.md`.

    python -m biasvar.study.keys > docs/study.md

The meaning of a key is the comment beside it, or above it, in its class, else what `biasvar.study.meanings` says.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from biasvar.study.arm import Arm, TaughtArm
from biasvar.study.arms import ARMS
from biasvar.study.defaults import DEFAULTS
from biasvar.study.meanings import MEANINGS
from biasvar.study.schema import Study
from biasvar.study.sections import Name, Refers, Section
from biasvar.study.soft_labels import KINDS, SoftLabel

INTRODUCTION = f"""# Every key of a study

A study is one YAML file. `python -m biasvar.run --init my_study.yaml` writes a first one to change, with
`--data mine.npz` for data of your own; `--dry-run` [checks it and says what it would take](dry_run.md);
`--set section.key=value` changes a key. An unknown key is an error that names the nearest one.
This page is made of the classes that check studies, by `python -m biasvar.study.keys > docs/study.md`.

Two keys are of the file and not of the study: `extends: other.yaml` lays it over another one, key by key, and
`defaults` ({", ".join(f"`{key}`" for key in DEFAULTS)}) gives keys to every arm whose loss takes
them. Where a study has one teacher, arms and soft labels need not name it. Paths are relative to the study file.

`data.name` is a data set's name or a path: an .npz file with `images` (uint8, (N, H, W) or (N, H, W, 3)) or `features`
(N, D) and `labels`, each once or for every split (`x_train`, `y_train`, `x_test`, `y_test`); an .npy file with its
`labels.npy` beside it; a .parquet or .csv file of images, of lists of numbers, or of columns of numbers beside the
label's; a folder of such files, train* and test*; a folder with one folder of PNG or JPEG images a class, or train and
test of such; or a Hugging Face dataset saved to disk. Row i is sample i, train rows before test rows; images in folders
are in the order of their paths. Data without a test split get theirs from the seed, as `data.test` says. Features are
taken as they are: bring them to mean 0 and deviation 1 before.
"""
_WORDS = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text"}
_NAMED = {"teacher": "name of a teacher", "arm": "name of an arm", "soft label": "name of a soft label",
          "taught by": "name of a teacher, or of an arm whose students teach"}  # fmt: skip
_BOUNDS: dict[type, tuple[str, str]] = {
    annotated_types.Ge: ("ge", "from"),
    annotated_types.Gt: ("gt", "above"),
    annotated_types.Le: ("le", "to"),
    annotated_types.Lt: ("lt", "below"),
}


def page() -> str:
    """The page: the keys of the study, those of each section, of arms by loss and of soft labels by kind."""
    parts = [INTRODUCTION, *_table(Study, "The study", 2)]
    arms = {Arm, TaughtArm, *ARMS.values()}
    sections = [cls for cls in _below(Study) if cls not in arms and not issubclass(cls, SoftLabel)]
    for cls in sections:
        parts += _table(cls, cls.__name__, 2)
    parts += ["## Arms\n\nEvery arm has these keys, and those of its loss.\n", *_rows(Arm, [*Arm.model_fields])]
    for loss, cls in ARMS.items():
        parts += _of_kind(cls, f"### loss: {loss}", "No further keys.")
    parts += ["## Soft labels\n\nEntries of `soft_labels`; every kind has these keys, and its own.\n",
              *_rows(SoftLabel, [*SoftLabel.model_fields])]  # fmt: skip
    for kind, soft in KINDS.items():
        parts += _of_kind(soft, f"### kind: {kind}", "No further keys.")
    done = {Study, *sections}
    more = [inner for cls in [*ARMS.values(), *KINDS.values()] for inner in _below(cls) if inner not in done]
    for cls in dict.fromkeys(more):
        parts += _table(cls, cls.__name__, 2)
    return "\n".join(parts).rstrip("\n") + "\n"


def _of_kind(cls: type[Section], title: str, nothing: str) -> list[str]:
    tag = "kind" if issubclass(cls, SoftLabel) else "loss"
    keys = [key for key in cls.own_keys() if key != tag]
    return [f"{title}\n", *_said(cls), *(_rows(cls, keys) if keys else [nothing + "\n"])]


def _table(cls: type[Section], title: str, level: int) -> list[str]:
    return [f"{'#' * level} {title}\n", *_said(cls), *_rows(cls, [*cls.model_fields])]


def _said(cls: type[Section]) -> list[str]:
    """The docstring of a class, without what it says of attributes."""
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "").partition("\nAttributes:")[0].strip()
    return [text + "\n"] if text else []


def _rows(cls: type[Section], keys: list[str]) -> list[str]:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        field = cls.model_fields[key]
        if field.exclude:
            continue
        cells = [f"`{key}`", type_in_words(field.annotation, field.metadata), _default(field), meaning(cls, key)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "" or value in ({}, []):
        return ""
    if isinstance(value, Section):
        return "its defaults"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def type_in_words(annotation: Any, metadata: Any = ()) -> str:
    """What a key takes, in words.

    >>> type_in_words(list[float] | None), type_in_words(Literal["a", "b"])
    ('list of numbers', '`a` or `b`')
    """
    if annotation == Name:
        return "name"
    mark = next((entry for entry in metadata if isinstance(entry, Refers)), None)
    if mark is not None and annotation is str:
        return _NAMED[mark.to]
    if get_origin(annotation) is Literal:
        return _or([f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in get_args(annotation)])
    if hasattr(annotation, "__metadata__"):
        return type_in_words(annotation.__origin__, (*annotation.__metadata__, *metadata))
    inner = get_args(annotation)
    if get_origin(annotation) in (list, tuple):
        return f"list of {_plural(type_in_words(inner[0]))}" if inner else "list"
    if get_origin(annotation) is dict:
        return f"mapping of {_plural(type_in_words(inner[0]))} to {_plural(type_in_words(inner[1]))}"
    if inner:
        words = [type_in_words(part, metadata) for part in inner if part is not type(None)]
        return _or(list(dict.fromkeys(words)))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        title = {"Arm": "Arms", "SoftLabel": "Soft labels"}.get(annotation.__name__, annotation.__name__)
        return f"[{annotation.__name__}](#{title.lower().replace(' ', '-')})"
    return " ".join([_WORDS.get(annotation, str(annotation)), *_bounds(metadata)])


def _bounds(metadata: Any) -> Iterator[str]:
    for entry in _flat(metadata):
        name, word = _BOUNDS.get(type(entry), ("", ""))
        if name:
            bound = getattr(entry, name)
            yield f"{word} {'2^63' if bound == 2**63 else f'{bound:,}'}"


def _flat(metadata: Any) -> Iterator[Any]:
    for entry in metadata:
        yield from _flat(entry.metadata) if isinstance(entry, FieldInfo) else (entry,)


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _plural(words: str) -> str:
    for one in ("whole number", "number", "name"):
        if words.startswith(one):
            return f"{one}s{words.removeprefix(one)}"
    return {"text": "texts"}.get(words, words)


def _below(cls: type[Section]) -> list[type[Section]]:
    """The classes of the sections in a section, at any depth, in the order of the keys."""
    found: dict[type[Section], None] = {}

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, Section) and annotation not in found:
            found[annotation] = None
            for field in annotation.model_fields.values():
                visit(field.annotation)
        for inner in get_args(annotation):
            visit(inner)

    for field in cls.model_fields.values():
        visit(field.annotation)
    return list(found)


def meaning(cls: type[Section], key: str) -> str:
    """What a key means; "" where nothing says it."""
    owner = next(owner for owner in cls.__mro__ if key in inspect.get_annotations(owner))
    return _comments(owner).get(key) or MEANINGS.get(f"{owner.__name__}.{key}", "") or MEANINGS.get(key, "")


@cache
def _comments(cls: type[Any]) -> dict[str, str]:
    """The comments of the keys that a class defines.

    One beside a key goes on below it in small letters; one above a key begins with a capital.
    """
    lines = textwrap.dedent(inspect.getsource(cls)).splitlines()
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.ClassDef)
    said: dict[str, str] = {}
    for node in tree.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        above: list[str] = []
        while (text := _alone(lines[first - 1 - len(above)])) is not None:
            above.insert(0, text)
        begins = next((i for i, text in enumerate(above) if text[:1].isupper()), len(above))
        beside = lines[last].encode()[node.end_col_offset or 0 :].decode().strip()
        found = above[begins:]
        if beside.startswith("#") and not beside.startswith("# fmt:"):
            found.append(beside.lstrip("# "))
            below = last + 1
            while below < len(lines) and (text := _alone(lines[below])) is not None and not text[:1].isupper():
                found.append(text)
                below += 1
        said[node.target.id] = " ".join(found)
    return said


def _alone(line: str) -> str | None:
    """The text of a line that is a comment and nothing else."""
    return line.strip().lstrip("# ") if line.strip().startswith("#") else None


if __name__ == "__main__":
    print(page(), end="")
