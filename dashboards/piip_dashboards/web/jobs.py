"""Commands that a page starts: each in a process of its own, its last lines to be seen while it runs."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Literal

LINES = 12
"""Lines of a command's output that are shown."""


@dataclass(frozen=True)
class JobView:
    """How a command is doing.

    Attributes:
        state: Whether it runs, ended well, or did not.
        lines: The last of what it printed.
    """

    state: Literal["running", "done", "failed"]
    lines: list[str]


@dataclass(frozen=True)
class _Job:
    process: subprocess.Popen[bytes]
    output: IO[bytes]


class CommandJobs:
    """Commands by a key of their own; of each key one runs at a time."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def start(self, key: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Starts a command, unless one of that key runs."""
        with self._lock:
            known = self._jobs.get(key)
            if known is not None:
                if known.process.poll() is None:
                    return
                known.output.close()
            output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the job
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "COLUMNS": "120", **(environment or {})},
                start_new_session=True,
            )
            self._jobs[key] = _Job(process, output)

    def view(self, key: str) -> JobView | None:
        """How the command of that key is doing; None where none was started."""
        job = self._jobs.get(key)
        if job is None:
            return None
        code = job.process.poll()
        size = os.fstat(job.output.fileno()).st_size
        text = os.pread(job.output.fileno(), 8192, max(0, size - 8192)).decode("utf-8", "replace")
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        return JobView("running" if code is None else "failed" if code else "done", lines[-LINES:])

    def close(self) -> None:
        """Ends what still runs."""
        for job in self._jobs.values():
            if job.process.poll() is None:
                job.process.terminate()
                job.process.wait()
            job.output.close()
        self._jobs.clear()
