"""Functions that pages start: a queue of processes, of which one runs at a time, with their last lines of output.

A function may load torch and take minutes, so it never runs in the process that serves the pages.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from traceback import format_exc
from types import FrameType
from typing import IO, Literal, NoReturn

from piip_search.errors import OtherActError, QueueFullError
from piip_search.redact import user_message, without_secrets

LINES = 12
"""Lines of a job's output that are shown."""
TOLD_FAILURE = 70
"""Exit code of a process that has printed its error."""
BY_SIGNAL = 128
"""Offset of the exit code of a process that a signal ended, as in a shell."""
PATIENCE = 10.0
"""Seconds for a process to clean up before it is killed."""

MOST_WAITING = 16
"""Most acts that wait."""
MOST_ENDED = 40
"""Most acts that have ended and are still shown."""

Say = Callable[[str], None]
"""Receives one line of text."""


JobState = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True)
class JobView:
    """The state of a job.

    Attributes:
        state: Whether it waits, is running, has succeeded, or has failed.
        lines: Last lines of its output.
        place: Place in the queue, from 1; 0 for a job that does not wait.
        title: Description of the act.
        actor: Name of the token of whoever asked for it.
        asked_at: Time in UTC at which it was asked for.
    """

    state: JobState
    lines: list[str]
    place: int
    title: str
    actor: str
    asked_at: datetime


class _Job:
    """A function with its process, once it has one."""

    def __init__(self, key: str, work: Callable[[Say], None], title: str, actor: str) -> None:
        self.key, self.title, self.actor, self.asked_at = key, title, actor, datetime.now(UTC)
        self._work = work
        self._process: SpawnProcess | None = None
        self._output: IO[bytes] | None = None
        self._fault = ""

    def begin(self) -> int | None:
        """Starts the process, and returns the descriptor that tells its end; None if it cannot start."""
        try:
            return self._start()
        except OSError as error:  # no process or file can be made at present
            self._fault = f"error: no process can be started: {error.strerror}"
            return None

    def _start(self) -> int:
        self._output = tempfile.NamedTemporaryFile(prefix="piip-search-job-")  # noqa: SIM115  closed with the job
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=perform, args=(self._work, self._output.name))
        process.start()
        self._process = process
        return process.sentinel

    @property
    def is_over(self) -> bool:
        return self._state()[0] in ("done", "failed")

    def view(self, place: int) -> JobView:
        state, lines = self._state()
        return JobView(state, lines[-LINES:], place, self.title, self.actor, self.asked_at)

    def _state(self) -> tuple[JobState, list[str]]:
        if self._fault:
            return "failed", [self._fault]
        if self._process is None:
            return "waiting", []
        code = self._process.exitcode
        if code is None:
            return "running", self._lines()
        return ("done", self._lines()) if code == 0 else ("failed", [*self._lines(), *_ending(code)])

    def _lines(self) -> list[str]:
        assert self._output is not None, "a process has its output"
        size = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), 8192, max(0, size - 8192)).decode("utf-8", "replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def close(self) -> None:
        """Ends the process if it is still running."""
        if self._process is not None:
            if self._process.is_alive():
                self._process.terminate()
                self._process.join(PATIENCE)
            if self._process.is_alive():
                self._process.kill()
            self._process.join()
        if self._output is not None:
            self._output.close()


class PageJobs:
    """A queue of functions, of which one runs at a time; each has a key."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most = most_waiting
        self._jobs: dict[str, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._runner: threading.Thread | None = None
        self._closed = False

    def start(self, key: str, work: Callable[[Say], None], actor: str, title: str, first: bool = False) -> JobView:
        """Queues a function, unless the same act waits or runs already.

        Args:
            key: Key of what the act changes; acts with one key exclude each other.
            work: Function, or `functools.partial` of one, that another process can import.
            actor: Name of the token of whoever asks for it.
            title: Description of the act; the same act has the same key and title.
            first: Whether it goes before all others that wait, as what saves money does.

        Returns:
            The job, which may be an earlier one.

        Raises:
            OtherActError: Another act with that key waits or runs.
            QueueFullError: Too many acts are waiting.
        """
        with self._changed:
            known = self._jobs.get(key)
            if known is not None and not known.is_over:
                if known.title != title:
                    raise OtherActError(f"{known.title} was asked for before; wait until it has ended")
                return self._view(known)
            if len(self._waiting) >= self._most:
                raise QueueFullError(f"{self._most} acts are waiting, and no more are taken; try again later")
            if known is not None:
                self._jobs.pop(key).close()
            job = self._jobs[key] = _Job(key, work, title, actor)
            (self._waiting.appendleft if first else self._waiting.append)(job)
            self._forget()
            if self._runner is None:
                self._runner = threading.Thread(target=self._run, name="runs what pages start", daemon=True)
                self._runner.start()
            self._changed.notify_all()
            return self._view(job)

    def view(self, key: str) -> JobView | None:
        """The state of the job with a key; None without one."""
        with self._changed:
            job = self._jobs.get(key)
            return None if job is None else self._view(job)

    def all(self) -> list[JobView]:
        """All jobs: the running one, those that wait in their order, and those that ended, latest first."""
        order = {"running": 0, "waiting": 1, "done": 2, "failed": 2}
        with self._changed:
            views = [self._view(job) for job in reversed(self._jobs.values())]
        return sorted(views, key=lambda view: (order[view.state], view.place))

    def close(self) -> None:
        """Ends the running job, and forgets all others."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            for job in self._jobs.values():
                job.close()
            self._jobs.clear()
            self._changed.notify_all()
        if self._runner is not None:
            self._runner.join()

    def _view(self, job: _Job) -> JobView:
        return job.view(self._waiting.index(job) + 1 if job in self._waiting else 0)

    def _forget(self) -> None:
        """Forgets the oldest jobs that have ended."""
        ended = [key for key, job in self._jobs.items() if job.is_over]
        for key in ended[: max(0, len(ended) - MOST_ENDED)]:
            self._jobs.pop(key).close()

    def _run(self) -> None:
        """Starts one job after the other."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
                if self._closed:
                    return
                end = self._waiting.popleft().begin()
            if end is not None:
                connection.wait([end])


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
