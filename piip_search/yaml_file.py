"""Reads a YAML file of a stranger's: plain data, every key once, of a size that can be looked at."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1_000_000
MOST_VALUES = 20_000
"""Values of a file with its aliases written out: nested ones multiply."""
DEEPEST = 50


class YamlError(ValueError):
    """A file that cannot be used; the message has the place, where there is one, and the way out."""


class _Loader(yaml.SafeLoader):
    """YAML's plain data, in which a key that stands twice is an error: one of the two would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # which the loader itself refuses
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands here twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """What a file holds.

    Raises:
        YamlError: It cannot be read, or is no YAML of a reasonable size.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise YamlError(f"has {size:,} bytes, of which at most {MOST_BYTES:,} are read; is it another file?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise YamlError(f"cannot be read: {error}; `piip-search init` writes spaces to start from") from None
    try:
        if _values(yaml.compose(text, Loader=yaml.SafeLoader)) > MOST_VALUES:
            raise YamlError(f"holds more than {MOST_VALUES:,} values, or lies deeper than {DEEPEST}; write it plainly")
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise YamlError(_syntax(error)) from None
    except RecursionError:
        raise YamlError(f"lies deeper than {DEEPEST}; write it plainly") from None
    except ValueError as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"not YAML: {error}; write numbers and dates plainly") from None


def _values(root: yaml.Node | None) -> int:
    """Values with aliases written out; more than may be where it lies too deep, or holds itself."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if depth > DEEPEST or id(node) in open_nodes:
            return MOST_VALUES + 1
        if id(node) not in sizes:
            open_nodes.add(id(node))
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            inner = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
            sizes[id(node)] = 1 + sum(size(one, depth + 1) for one in inner)
            open_nodes.discard(id(node))
        return sizes[id(node)]

    return 0 if root is None else size(root, 0)


def _syntax(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"{place}not YAML: {problem}; check indentation, colons, brackets and keys there"
