"""What an export's proof is made of: single checks, each with what was expected and what was found."""

import json
import operator
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("piip-search", "torch", "timm", "mmengine", "mmcv-lite", "mmdet", "onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: Format, and what was tried.
        expected: What should come.
        found: What came; an error's text where it came to that.
        passed: Whether the two agree.
        seconds: Time it took.
        note: What a reader must know of it; empty for nothing.
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
        checks: In the order they were made.
        skipped: What could not be tried here, and what is needed for it.
    """

    checks: list[Check] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> list[str]:
        """A line a failed check."""
        return [f"{c.name}: expected {c.expected}, found {c.found}" for c in self.checks if not c.passed]

    def check(
        self,
        name: str,
        expected: Any,
        find: Callable[[], Any],
        agree: Callable[[Any, Any], bool] = operator.eq,
        note: str = "",
    ) -> bool:
        """Tries one thing; an error is a failed check.

        Args:
            name: What is tried.
            expected: What should come.
            find: Gives what comes.
            agree: Whether found and expected agree; equality by default.
            note: What a reader must know of it.
        """
        begun = time.perf_counter()
        try:
            found = find()
            passed = bool(agree(found, expected))
        except Exception as error:  # whatever goes wrong in a foreign library is what the proof is there to tell
            found, passed = " ".join(f"{type(error).__name__}: {error}".split())[:1000], False
        self.checks.append(Check(name, expected, found, passed, round(time.perf_counter() - begun, 3), note))
        return passed

    def write(self, path: Path) -> None:
        """As JSON, with the versions of what was used."""
        content = {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "skipped": self.skipped,
            "versions": {"python": platform.python_version(), **_versions()},
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
