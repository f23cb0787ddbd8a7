"""The one reader of YAML in a study: text, numbers, lists and mappings, and nothing that is not what it looks like.

YAML is less plain than it looks: of two equal keys the last one counts, `no` and `on` are false and true, `010` is 8, a
date is no text, and a few lines of aliases stand for billions of entries. All of that is refused with the line.
"""

from __future__ import annotations

from typing import Any

import yaml

from biasvar.errors import StudyError

MOST_ENTRIES = 100_000  # of a file, aliases written out
DEEPEST = 32  # lists and mappings within one another

_TAG = "tag:yaml.org,2002:"
_STRING, _MERGE = f"{_TAG}str", f"{_TAG}merge"
_SCALARS = {f"{_TAG}{word}" for word in ("str", "int", "float", "bool", "null", "timestamp", "value")}
_COLLECTIONS = ((yaml.MappingNode, f"{_TAG}map"), (yaml.SequenceNode, f"{_TAG}seq"))
_READ_AS = {"int": "a number", "float": "a number", "null": "nothing", "timestamp": "a date", "value": "a sign"}


def read_yaml(text: str, source: str) -> Any:
    """The content of a YAML document; aliases become copies, so that a change of one leaves the other as it is.

    Args:
        text: The document.
        source: What it is, for messages: the path of a file.

    Raises:
        StudyError: No YAML; a key twice; a key that is no text; a value that is no text, number, true, false or null;
            too deep or, with its aliases, too long. Names the line.
    """
    loader: _Loader | None = None
    try:
        loader = _Loader(text, source)
        node = loader.get_single_node()
        return None if node is None else _unshared(loader.construct_document(node))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"{source} is no valid YAML: {_said(error)}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _said(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return " ".join(str(error).split())
    said = ": ".join(part for part in (error.context, error.problem) if part)
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}"


def _unshared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unshared(entry) for key, entry in value.items()}
    return [_unshared(entry) for entry in value] if isinstance(value, list) else value


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with the checks made where the nodes still know their lines."""

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self._source = source
        self._depth = 0
        self._measures: dict[yaml.Node, tuple[int, int]] = {}  # node -> entries in it, depth below it

    def _refuse(self, node: yaml.Node | yaml.Event, text: str) -> StudyError:
        return StudyError(f"{self._source}, line {_line(node)}: {text}")

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._refuse(event, f"more than {DEEPEST} lists and mappings within one another")
        node = super().compose_node(parent, index)
        assert node is not None
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if node not in self._measures:
                raise self._refuse(event, f"*{event.anchor} stands within what it stands for")
            return node
        self._check(node)
        below = [self._measures[child] for child in _children(node)]
        entries, depth = 1 + sum(size for size, _ in below), 1 + max((depth for _, depth in below), default=0)
        if entries > MOST_ENTRIES:
            raise self._refuse(node, f"more than {MOST_ENTRIES:,} entries, aliases written out")
        if depth > DEEPEST:
            raise self._refuse(node, f"more than {DEEPEST} lists and mappings within one another, by way of aliases")
        self._measures[node] = entries, depth
        return node

    def _check(self, node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        wanted = next((tag for kind, tag in _COLLECTIONS if isinstance(node, kind)), None)
        if node.tag == _MERGE or node.tag == wanted:
            return
        kind = node.tag.removeprefix(_TAG)
        if wanted is not None or node.tag not in _SCALARS:
            named = f"!!{kind}" if node.tag.startswith(_TAG) else node.tag
            raise self._refuse(
                node, f"{named} is not for study files, which hold texts, numbers, true and false, lists and mappings"
            )
        if node.tag != _STRING:
            self._check_scalar(node, kind)
        elif any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in node.value):
            raise self._refuse(
                node, f"{_short(ascii(node.value))} holds a NUL or half a character (a surrogate), which no text has"
            )

    def _check_scalar(self, node: yaml.Node, kind: str) -> None:
        """A value that is not text must be what it looks like."""
        if kind in ("timestamp", "value"):
            raise self._refuse(node, f"YAML reads {_short(node.value)} as {_READ_AS[kind]}; write text in quotes")
        implicit = self.resolve(yaml.ScalarNode, node.value, (True, False)).removeprefix(_TAG)
        if kind != implicit and (kind, implicit) != ("float", "int"):
            raise self._refuse(node, f"!!{kind} {_short(node.value)}: that is none")
        if kind not in ("int", "float"):
            return
        digits = node.value.lstrip("+-").replace("_", "")
        if len(digits) > 400:
            raise self._refuse(node, f"a number of {len(digits)} digits, {_short(node.value)}")
        if ":" in digits or (kind == "int" and len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()):
            meant = "in base 60" if ":" in digits else "in base 8"
            raise self._refuse(
                node, f"YAML reads {_short(node.value)} as a number {meant}; write a plain number, or text in quotes"
            )

    def _check_keys(self, node: yaml.MappingNode) -> None:
        """Every key is text, and given once."""
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._refuse(key, "a list or a mapping stands where a key belongs")
            if key.tag not in (_STRING, _MERGE):
                kind = key.tag.removeprefix(_TAG)
                read = str(self.bool_values[key.value.lower()]).lower() if kind == "bool" else _READ_AS[kind]
                shown = _short(key.value)
                raise self._refuse(
                    key, f"YAML reads the key {shown or 'that is left out'} as {read}; write it in quotes, '{shown}'"
                )
            name = (key.tag, key.value)
            if name in lines:
                cure = "several are merged by <<: [*a, *b]" if key.tag == _MERGE else "leave one of them"
                raise self._refuse(key, f"the key {key.value!r} is given twice, first in line {lines[name]}; {cure}")
            lines[name] = _line(key)


def _line(node: yaml.Node | yaml.Event) -> int:
    assert node.start_mark is not None  # all of them come from a text
    return int(node.start_mark.line) + 1


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
