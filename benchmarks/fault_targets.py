"""What a search needs and `faults.py` takes away: the MLflow server, disks, PostgreSQL and its connections."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from support.two_nodes import cluster_environment, free_port


class MlflowServer:
    """MLflow over HTTP, or a file without a server."""

    def __init__(self, folder: Path, served: bool) -> None:
        self._folder, self._served, self._port = folder, served, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.store = f"sqlite:///{folder}/mlflow.db"

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}" if self._served else self.store

    @property
    def artifacts(self) -> str:
        return (self._folder / "artifacts").as_uri()

    def up(self) -> None:
        if self._served and (self._process is None or self._process.poll() is not None):
            log = (self._folder / "mlflow.log").open("ab")
            command = [
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--backend-store-uri",
                self.store,
                "--port",
                str(self._port),
                "--default-artifact-root",
                self.artifacts,
                "--workers",
                "1",
            ]
            environment = {**cluster_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def kill(self) -> bool:
        if self._process is None:
            return False
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()
        return True


class SmallDisk:
    """A file system of some megabytes that can be filled; an ordinary folder where none may be mounted."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill(self) -> bool:
        """Takes every byte that is left."""
        if not self.mounted:
            return False
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 9, 1):
                with suppress(OSError):
                    while file.write(b"x" * size):
                        pass
        return True

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def gone(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self._folder)], capture_output=True, check=False)

    @property
    def _ballast(self) -> Path:
        return self._folder / "ballast"


@contextmanager
def ledger_url(
    database: str, folder: Path, cutters: dict[str, Callable[[], Any]], disks: dict[str, SmallDisk]
) -> Iterator[str]:
    """A new database, and ways to disturb it."""
    if database == "sqlite":
        disks["disk of the ledger"] = SmallDisk(folder / "ledger", 16)
        yield f"sqlite:///{folder}/ledger/ledger.db"
        return
    from support.postgres import Postgres

    server = Postgres()
    url = server.database()

    def crash() -> None:
        server.crash()
        time.sleep(2)
        server.restart()

    cutters["PostgreSQL connections"] = lambda: server.cut_connections(url)
    cutters["PostgreSQL"] = crash
    try:
        yield url
    finally:
        server.stop()
