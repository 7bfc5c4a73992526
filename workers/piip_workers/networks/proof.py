"""The proof of an export: single checks, each with its expected and its actual result."""

import json
import operator
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from piip_search.tasks import TASKS

_PACKAGES = ("piip-search", "torch", "timm", "onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: Format and subject of the check.
        expected: Expected result.
        found: Actual result; the error's text after an error.
        passed: Whether the two agree.
        seconds: Duration.
        note: Remark for a reader; empty for none.
    """

    name: str
    expected: Any
    found: Any
    passed: bool
    seconds: float
    note: str = ""


@dataclass
class Proof:
    """The checks of one export.

    Attributes:
        checks: Checks in the order they were made.
        skipped: Checks that are impossible here, and what they need.
    """

    checks: list[Check] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> list[str]:
        """One line for each failed check."""
        return [f"{c.name}: expected {c.expected}, found {c.found}" for c in self.checks if not c.passed]

    def check(
        self,
        name: str,
        expected: Any,
        find: Callable[[], Any],
        agree: Callable[[Any, Any], bool] = operator.eq,
        note: str = "",
    ) -> bool:
        """Runs one check; an error is a failed check.

        Args:
            name: Subject of the check.
            expected: Expected result.
            find: Returns the actual result.
            agree: Whether the actual result is as expected; equality by default.
            note: Remark for a reader.
        """
        begun = time.perf_counter()
        try:
            found = find()
            passed = bool(agree(found, expected))
        except Exception as error:  # the proof reports any error of a foreign library
            found, passed = " ".join(f"{type(error).__name__}: {error}".split())[:1000], False
        self.checks.append(Check(name, expected, found, passed, round(time.perf_counter() - begun, 3), note))
        return passed

    def write(self, path: Path) -> None:
        """Writes the proof as JSON, with the versions of the libraries."""
        content = {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "skipped": self.skipped,
            "versions": {"python": platform.python_version(), **_versions()},
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in (*_PACKAGES, *(name for task in TASKS.values() for name in task.packages.values())):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
