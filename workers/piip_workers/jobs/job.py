"""How a candidate is measured, as plain data that any process can take up."""

import errno
import fcntl
import hashlib
import importlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from piip_search.errors import MachineError, PiipError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_workers.whole_files import write_whole

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing")
"""How libraries say that a disk is full in errors of their own."""
IN_LOADER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\s")
"""How an error begins that torch brought from a process that reads images; its traceback follows."""


LONGEST_CLAIM_WAIT = 60.0
"""Seconds to wait for another process, which ends once it finds that nobody waits for it."""


@dataclass(frozen=True)
class Work:
    """A function by its import path, and its settings: what crosses to a worker in place of our classes.

    Attributes:
        function: `module:name` of a function of a candidate and the settings, that returns an evaluation.
        settings: Keyword arguments, plain data.
        results: Folder where each evaluation is kept, so that one that was made and not yet told, because the search
            ended meanwhile, is not made again; empty for none.
        share: `module:name` of a function that is called with the GPUs that a trial has, before it is measured: it
            keeps the process to its share. Empty for none.
    """

    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    results: str = ""
    share: str = ""

    def __call__(self, candidate: Candidate, gpu: float = 0.0) -> Evaluation:
        """Measures a candidate; whatever goes wrong with it is an evaluation that failed.

        Args:
            candidate: What to measure.
            gpu: GPUs that the trial has.

        Raises:
            MachineError: The machine is at fault.
        """
        kept = self._kept(candidate)
        if kept is None:
            return self._measured(candidate, gpu)
        with _one_at_a_time(kept):
            earlier = _read(kept)
            if earlier is not None:
                return earlier
            _note(_begun(kept))
            evaluation = self._measured(candidate, gpu)
            _keep(kept, evaluation)
            return evaluation

    def _measured(self, candidate: Candidate, gpu: float) -> Evaluation:
        def measure() -> Evaluation:
            if self.share and gpu:
                _resolved(self.share)(gpu)
            evaluation: Evaluation = _resolved(self.function)(candidate, **self.settings)
            return evaluation

        return with_failures(candidate, measure)

    def begun(self, candidate: Candidate) -> int | None:
        """How often a process began to measure a candidate; None where nothing is kept."""
        kept = self._kept(candidate)
        if kept is None:
            return None
        with suppress(OSError):
            return _begun(kept).stat().st_size
        return 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "function": self.function,
            "settings": dict(self.settings),
            "results": self.results,
            "share": self.share,
        }

    def _kept(self, candidate: Candidate) -> Path | None:
        if not self.results:
            return None
        asked = {name: value for name, value in candidate.to_dict().items() if name != "why"}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        return Path(self.results) / f"{candidate.number:05d}-{digest}.json"


def with_failures(candidate: Candidate, measure: Callable[[], Evaluation]) -> Evaluation:
    """What a candidate's measurement gives; whatever goes wrong with it is an evaluation that failed.

    Args:
        candidate: What is measured.
        measure: Measures it.

    Raises:
        MachineError: The machine is at fault, as where its disk is full.
    """
    started = time.monotonic()
    try:
        return measure()
    except MachineError:
        raise
    except Exception as error:
        stop_where_full(error)
        reason = reason_of(error)[:2000]
        return Evaluation(candidate, "failed", error=reason, seconds=time.monotonic() - started)


def reason_of(error: BaseException) -> str:
    """An error in one line, with its type where its message was not written for a user.

    Of an error in a process that reads images it is the line that says what it was.
    """
    text = str(error)
    if IN_LOADER.match(text):
        line = text.strip().splitlines()[-1].strip()
        return re.sub(rf"^{re.escape(PiipError.__module__)}\.\w+: |^(\w+\.)+(?=\w+: )", "", line)
    kind = "" if text and isinstance(error, PiipError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{text}".split())


def _resolved(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def stop_where_full(error: BaseException) -> None:
    """Passes over what is a candidate's own fault.

    Raises:
        MachineError: The disk is full.
    """
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in FULL or any(text in str(cause) for text in FULL_TEXTS):
            raise MachineError(
                f"a disk of {socket.gethostname()} is full ({cause}); "
                "free some space, and the same command goes on where this stopped"
            ) from error
        cause = cause.__cause__ or cause.__context__


@contextmanager
def alone(file: Path, wait: float = LONGEST_CLAIM_WAIT) -> Iterator[None]:
    """Keeps a second process out for as long as a file is held: a worker may outlive the search that started it.

    Args:
        file: What is held; it is made where it is not there.
        wait: Seconds to wait for another process.

    Raises:
        MachineError: The other one does not end.
        OSError: The file cannot be made.
    """
    with file.open("w", encoding="utf-8") as held:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    text = f"another process holds {file}, as seen from {socket.gethostname()}"
                    raise MachineError(f"{text}; end it, and the same command goes on where this stopped") from None
                time.sleep(0.5)
        yield


@contextmanager
def _one_at_a_time(kept: Path) -> Iterator[None]:
    """Lets nobody measure what another process is measuring, as far as files can be made."""
    with ExitStack() as held:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(kept.with_suffix(".lock")))
        except OSError:  # as on a full disk: what is measured is told all the same
            pass
        yield


def _begun(kept: Path) -> Path:
    """A file that grows by a letter whenever the measurement begins."""
    return kept.with_suffix(".begun")


def _note(file: Path) -> None:
    with suppress(OSError), file.open("a", encoding="utf-8") as letters:  # a full disk says so soon enough
        letters.write(".")


def _read(path: Path) -> Evaluation | None:
    """What was kept; None where nothing is, or where a machine that lost its power left half of it."""
    try:
        return Evaluation.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep(path: Path, evaluation: Evaluation) -> None:
    """Writes all of it or nothing.

    Where it cannot be written, as on a disk that is full by now, the evaluation is told all the same: it is made, and
    is kept for the case alone that the search ends before it hears of it.
    """
    with suppress(OSError):
        write_whole(path, json.dumps(evaluation.to_dict()))
