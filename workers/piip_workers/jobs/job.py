"""The measurement of a candidate as plain data that any process can run."""

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
from piip_search.own_files import no_link, read_own
from piip_workers.whole_files import write_whole

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing")
"""Texts by which libraries report a full disk in errors of their own."""
IN_LOADER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\s")
"""Start of an error that torch carries over from a loader process; its traceback follows."""


LONGEST_RESULT = 2**26
"""Most bytes of a kept result."""
LONGEST_CLAIM_WAIT = 60.0
"""Seconds to wait for another process, which ends once it notices that nobody waits for it."""


@dataclass(frozen=True)
class Work:
    """A function by its import path and its settings, sent to a worker in place of our classes.

    Attributes:
        function: `module:name` of a function that takes a candidate and the settings, and returns an evaluation.
        settings: Keyword arguments, plain data.
        results: Folder that keeps each evaluation, so that it is not repeated if the search ends before it arrives;
            empty for none.
        share: `module:name` of a function that caps the process at its share of a GPU; called with the GPUs of the
            trial before the measurement. Empty for none.
        recipe: Fingerprint of data and training: a result of another recipe is no answer.
    """

    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    results: str = ""
    share: str = ""
    recipe: str = ""

    def __call__(self, candidate: Candidate, gpu: float = 0.0) -> Evaluation:
        """Measures a candidate; any error of the candidate gives a failed evaluation.

        Args:
            candidate: Candidate to measure.
            gpu: GPUs of the trial.

        Raises:
            MachineError: The machine is at fault.
        """
        kept = self._kept(candidate)
        if kept is None:
            return self._measured(candidate, gpu)
        with _one_at_a_time(kept):
            earlier = _read(kept, candidate, self.recipe)
            if earlier is not None:
                return earlier
            _note(_begun(kept))
            evaluation = self._measured(candidate, gpu)
            _keep(kept, evaluation, self.recipe)
            return evaluation

    def _measured(self, candidate: Candidate, gpu: float) -> Evaluation:
        def measure() -> Evaluation:
            if self.share and gpu:
                imported(self.share)(gpu)
            evaluation: Evaluation = imported(self.function)(candidate, **self.settings)
            return evaluation

        return with_failures(candidate, measure)

    def begun(self, candidate: Candidate) -> int | None:
        """Number of times that a process began to measure a candidate; None without a results folder."""
        kept = self._kept(candidate)
        if kept is None:
            return None
        with suppress(OSError):
            return _begun(kept).stat().st_size
        return 0

    def to_dict(self) -> dict[str, Any]:
        """The job as plain data."""
        return {
            "function": self.function,
            "settings": dict(self.settings),
            "results": self.results,
            "share": self.share,
            "recipe": self.recipe,
        }

    def _kept(self, candidate: Candidate) -> Path | None:
        if not self.results:
            return None
        asked = {name: value for name, value in candidate.to_dict().items() if name != "why"}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        return Path(self.results) / f"{candidate.number:05d}-{digest}.json"


def with_failures(candidate: Candidate, measure: Callable[[], Evaluation]) -> Evaluation:
    """Runs a candidate's measurement; any error of the candidate gives a failed evaluation.

    Args:
        candidate: Candidate that is measured.
        measure: Function that measures it.

    Raises:
        MachineError: The machine is at fault, for example its disk is full.
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
    """An error in one line, with its type unless its message was written for a user.

    For an error of a loader process it is the line of the original error.
    """
    text = str(error)
    if IN_LOADER.match(text):
        line = text.strip().splitlines()[-1].strip()
        return re.sub(rf"^{re.escape(PiipError.__module__)}\.\w+: |^(\w+\.)+(?=\w+: )", "", line)
    kind = "" if text and isinstance(error, PiipError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{text}".split())


def imported(place: str) -> Callable[..., Any]:
    """The function or class with an import path `module:name`."""
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def stop_where_full(error: BaseException) -> None:
    """Raises for a full disk and ignores all other errors, which are the candidate's own.

    Raises:
        MachineError: The disk is full.
    """
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in FULL or any(text in str(cause) for text in FULL_TEXTS):
            raise MachineError(
                f"a disk of {socket.gethostname()} is full ({cause}); "
                "free some space and run the same command again: it goes on where it stopped"
            ) from error
        cause = cause.__cause__ or cause.__context__


@contextmanager
def alone(file: Path, wait: float = LONGEST_CLAIM_WAIT, poll: float = 0.5) -> Iterator[None]:
    """Holds a file against other processes: a worker may outlive the search that started it.

    Args:
        file: File to hold; it is created if it is missing.
        wait: Seconds to wait for another process.
        poll: Seconds between two attempts meanwhile.

    Raises:
        MachineError: The other process does not end.
        OSError: The file cannot be made.
    """
    with open(file, "a", encoding="utf-8", opener=no_link) as held:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    text = f"another process holds {file}, as seen from {socket.gethostname()}"
                    way_out = "end it and run the same command again: it goes on where it stopped"
                    raise MachineError(f"{text}; {way_out}") from None
                time.sleep(poll)
        yield


@contextmanager
def _one_at_a_time(kept: Path) -> Iterator[None]:
    """Keeps other processes from the same measurement, where a lock file can be created."""
    with ExitStack() as held:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(kept.with_suffix(".lock")))
        except OSError:  # for example a full disk: the measurement runs without a lock
            pass
        yield


def _begun(kept: Path) -> Path:
    """The file that grows by a letter each time the measurement begins."""
    return kept.with_suffix(".begun")


def _note(file: Path) -> None:
    # A later step reports a full disk.
    with suppress(OSError), open(file, "a", encoding="utf-8", opener=no_link) as letters:
        letters.write(".")


def _read(path: Path, candidate: Candidate, recipe: str) -> Evaluation | None:
    """The stored evaluation of a candidate.

    None without a file of this user's, of this recipe and candidate, and whole: then the candidate is measured. Whoever
    may write the folder may have put the file there, and a power failure may have left half of one.
    """
    text = read_own(path, LONGEST_RESULT)
    if text is None:
        return None
    try:
        kept = json.loads(text)
        content = kept["evaluation"]
        if kept["recipe"] != recipe or kept["digest"] != _digest(recipe, content):
            return None
        evaluation = Evaluation.from_dict(content)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError):
        return None
    return evaluation if evaluation.candidate == candidate else None


def _digest(recipe: str, content: Any) -> str:
    """SHA-256 of an evaluation with its recipe."""
    return hashlib.sha256(json.dumps([recipe, content], sort_keys=True).encode()).hexdigest()


def _keep(path: Path, evaluation: Evaluation, recipe: str) -> None:
    """Writes an evaluation atomically.

    A failure to write, for example on a full disk, is ignored: the evaluation is returned anyway, and the file matters
    only if the search ends before the evaluation arrives.
    """
    content = json.loads(json.dumps(evaluation.to_dict()))
    with suppress(OSError):
        write_whole(path, json.dumps({"recipe": recipe, "digest": _digest(recipe, content), "evaluation": content}))
