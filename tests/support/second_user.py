"""A real second user of this machine, whom a test runs a program as."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest

from support import ROOT

SECOND_USER = 23456
"""A user id that nobody has."""


def as_second_user() -> list[str]:
    """The beginning of a command whose process has the rights of the second user.

    Skips the test where this process may not give its rights away.
    """
    found = shutil.which("setpriv")
    if os.geteuid() != 0 or found is None:
        pytest.skip("only root can be somebody else, by setpriv")
    user = str(SECOND_USER)
    return [found, "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all"]


def environment() -> dict[str, str]:
    """The environment of the second user, who has no home and finds this project."""
    folders = os.pathsep.join(str(ROOT / one) for one in (".", "workers", "dashboards", "tests"))
    return {**os.environ, "PYTHONPATH": folders, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}


def run_python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs a Python program as the second user."""
    return subprocess.run(
        _words(["-c", code, *arguments]), capture_output=True, text=True, env=environment(), check=False
    )


def run_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Types a command of this project as the second user."""
    words = _words(["-m", "piip_search.cli", *arguments])
    return subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)


def _words(arguments: Sequence[str]) -> list[str]:
    return [*as_second_user(), sys.executable, *arguments]
