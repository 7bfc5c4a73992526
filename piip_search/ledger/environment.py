"""The environment of this process, recorded with its decisions."""

import os
import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from piip_search.ledger import Circumstances
from piip_search.tasks import TASKS

PACKAGES = ("piip-search", "numpy", "optuna", "scikit-learn", "sqlalchemy", "ray", "torch", "timm", "mlflow")
"""Packages of every search; each task has its own besides."""


def circumstances() -> Circumstances:
    """Circumstances of this process; workers report their own versions in the facts of an evaluation."""
    return Circumstances(socket.gethostname(), os.getpid(), revision(Path(__file__).parent), _versions())


def revision(folder: Path) -> str:
    """Commit of a folder's checkout, with `+` after local changes; empty outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--match=", "--dirty=+"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in (*PACKAGES, *(name for task in TASKS.values() for name in task.packages.values())):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
