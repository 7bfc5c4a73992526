"""Functions that pages start, each in its own process, with their last lines of output.

A function may load torch and take minutes, so it never runs in the process that serves the pages.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from traceback import format_exc
from types import FrameType
from typing import IO, Literal, NoReturn

from piip_search.redact import user_message, without_secrets

LINES = 12
"""Lines of a job's output that are shown."""
TOLD_FAILURE = 70
"""Exit code of a process that has printed its error."""
BY_SIGNAL = 128
"""Offset of the exit code of a process that a signal ended, as in a shell."""
PATIENCE = 10.0
"""Seconds for a process to clean up before it is killed."""

Say = Callable[[str], None]
"""Receives one line of text."""


@dataclass(frozen=True)
class JobView:
    """The state of a job.

    Attributes:
        state: Whether it is running, has succeeded, or has failed.
        lines: Last lines of its output.
    """

    state: Literal["running", "done", "failed"]
    lines: list[str]


@dataclass(frozen=True)
class _Job:
    process: SpawnProcess
    output: IO[bytes]

    def view(self) -> JobView:
        code = self.process.exitcode
        if code is None:
            return JobView("running", self._lines()[-LINES:])
        if code == 0:
            return JobView("done", self._lines()[-LINES:])
        return JobView("failed", [*self._lines(), *_ending(code)][-LINES:])

    def _lines(self) -> list[str]:
        size = os.fstat(self.output.fileno()).st_size
        text = os.pread(self.output.fileno(), 8192, max(0, size - 8192)).decode("utf-8", "replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def close(self) -> None:
        """Ends the process if it is still running."""
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.output.close()


class PageJobs:
    """Functions by key; one runs at a time for each key."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def start(self, key: str, work: Callable[[Say], None]) -> None:
        """Starts a function, unless one with that key is running.

        Args:
            key: Key of the job.
            work: Function, or `functools.partial` of one, that another process can import.
        """
        with self._lock:
            known = self._jobs.get(key)
            if known is not None:
                if known.process.is_alive():
                    return
                known.close()
            output = tempfile.NamedTemporaryFile(prefix="piip-search-job-")  # noqa: SIM115  closed with the job
            process = multiprocessing.get_context("spawn").Process(target=perform, args=(work, output.name))
            process.start()
            self._jobs[key] = _Job(process, output)

    def view(self, key: str) -> JobView | None:
        """The state of the job with a key; None without one."""
        job = self._jobs.get(key)
        return None if job is None else job.view()

    def close(self) -> None:
        """Ends all running jobs."""
        with self._lock:
            for job in self._jobs.values():
                job.close()
            self._jobs.clear()


def perform(work: Callable[[Say], None], output: str) -> None:
    """Calls a function in this process, which has no other work.

    Args:
        work: Function.
        output: File for the function's lines, the output of its libraries, and its error.
    """
    os.setsid()  # Ctrl-C in the dashboard's terminal then reaches only the dashboard
    signal.signal(signal.SIGTERM, _end)
    _print_into(output)
    try:
        work(_say)
    except Exception as error:
        message = user_message(error)
        _say(format_exc() if message is None else f"error: {message}")
        sys.exit(TOLD_FAILURE)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process through Python, so that drafts and temporary folders are removed."""
    sys.exit(BY_SIGNAL + number)


def _print_into(output: str) -> None:
    """Redirects all output of this process into a file, including that of compiled libraries."""
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)
    lines = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stderr = lines


def _say(text: str) -> None:
    print(without_secrets(text))


def _ending(code: int) -> list[str]:
    """One line about the death of a process without an error message; empty for one with a message."""
    if code == TOLD_FAILURE:
        return []
    number = -code if code < 0 else code - BY_SIGNAL
    if number in set(signal.Signals):
        return [f"the process was ended by the signal {signal.Signals(number).name}"]
    return [f"the process ended with exit code {code}"]
