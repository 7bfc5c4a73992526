"""Reads an untrusted YAML file: plain data, every key once, of limited size.

Words are read by the core schema of YAML 1.2: `1e-3` is a number, `010` is ten, and `on`, `no`, `12:30` and dates are
texts. PyYAML itself reads YAML 1.1, where each of these is another type. Merge keys (`<<`) follow YAML 1.1.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from piip_search.errors import YamlError

MOST_BYTES = 1_000_000
MOST_VALUES = 20_000
"""Most values of a file with its aliases expanded: nested aliases multiply."""
DEEPEST = 50


_WORDS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)
"""Types of values, the pattern of their words, and the first characters of these: YAML 1.2.2, section 10.3.2."""


class _Loader(yaml.SafeLoader):
    """A loader of plain data that refuses duplicate keys, of which YAML would silently drop one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the loader itself refuses it
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Parses a whole number; one with leading zeros is decimal."""
        text = str(self.construct_scalar(node))
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_Loader.yaml_implicit_resolvers = {}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes texts which YAML 1.1 or 1.2 would read as another type."""


for _kind, _pattern, _beginnings in _WORDS:
    _tag, _whole = f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$")
    _Loader.add_implicit_resolver(_tag, _whole, list(_beginnings))
    _Dumper.add_implicit_resolver(_tag, _whole, list(_beginnings))


def write_yaml(content: Any, **layout: Any) -> str:
    """Plain data as YAML that `read_yaml` and any other parser read as the same data.

    Args:
        content: Plain data.
        layout: Options of `yaml.dump`.
    """
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **layout))


def read_yaml(path: Path) -> Any:
    """Parses a YAML file.

    Raises:
        YamlError: The file cannot be read, is no YAML, or is too large.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise YamlError(f"has {size:,} bytes, and at most {MOST_BYTES:,} are read; is it another file?")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise YamlError(f"cannot be read: {error}; `piip-search init` writes spaces to start from") from None
    try:
        if _values(yaml.compose(text, Loader=yaml.SafeLoader)) > MOST_VALUES:
            raise YamlError(f"has more than {MOST_VALUES:,} values, or more than {DEEPEST} levels; write it plainly")
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise YamlError(_syntax(error)) from None
    except RecursionError:
        raise YamlError(f"has more than {DEEPEST} levels; write it plainly") from None
    except ValueError as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"not YAML: {error}; write numbers and dates plainly") from None


def _values(root: yaml.Node | None) -> int:
    """Number of values with aliases expanded; more than allowed if it is nested too deep or contains itself."""
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
