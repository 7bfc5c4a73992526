"""A public name of a module means one thing in all three packages."""

import ast
from collections import defaultdict
from collections.abc import Iterator

from support import ROOT

PACKAGES = ("piip_search", "workers/piip_workers", "dashboards/piip_dashboards")


def assigned(node: ast.stmt) -> Iterator[str]:
    """Names of classes, constants and type aliases that a statement defines."""
    if isinstance(node, ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def test_no_public_class_or_constant_name_is_used_twice() -> None:
    places = defaultdict(list)
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            # Alembic reads the names of a migration, which is the same in each.
            if "migrations" not in file.parts:
                for node in ast.parse(file.read_text(encoding="utf-8")).body:
                    for name in assigned(node):
                        places[name].append(str(file.relative_to(ROOT)))
    assert len(places) > 500
    assert {name: files for name, files in places.items() if len(files) > 1 and not name.startswith("_")} == {}


def test_the_formatter_is_not_held_back() -> None:
    files = [file for package in (*PACKAGES, "tests", "benchmarks") for file in (ROOT / package).rglob("*.py")]
    mark = "# fmt" + ": "
    assert [str(file) for file in files if mark in file.read_text(encoding="utf-8")] == []
