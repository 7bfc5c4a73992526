"""Prepares evaluators once, and lets them measure only then; all by plain data that any process can run.

The folder of a preparation has a file with its state. It is written whole at each report, so that after a kill the next
call goes on, and the time of the killed one is known.
"""

import json
import math
import secrets
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from piip_search.analysis.error_kinds import TRACEBACK
from piip_search.errors import MachineError, NotPreparedError
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_workers.evaluators.evaluator import Evaluator, PreparingEvaluator, Report
from piip_workers.jobs.job import alone, imported, reason_of, stop_where_full
from piip_workers.whole_files import write_whole

STATE_FILE = "preparation.json"
"""File in the folder of a preparation with its state."""
GO_ON = "run the same command again: it goes on where it stopped"


@dataclass(frozen=True)
class PreparationState:
    """The state of a preparation.

    Attributes:
        fingerprint: Fingerprint of the evaluator.
        uid: Name of this preparation; a repetition after a loss of the folder has another.
        state: `running` also after an interruption.
        share: Finished share, from 0 to 1.
        seconds: Seconds that the processes of each search spent on it, all together, by the search's uid.
        facts: What the evaluator says about the finished preparation.
        error: Error of the last call in one line; empty unless it failed.
    """

    fingerprint: str
    uid: str = ""
    state: Literal["running", "done", "failed"] = "running"
    share: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class PreparationJob:
    """The preparation of an evaluator as plain data, for another process.

    Attributes:
        evaluator: Class of the evaluator as `module:name`.
        settings: Its keyword arguments.
        search: Uid of the search that asks for it.
    """

    evaluator: str
    settings: Mapping[str, Any]
    search: str

    def __call__(self, report: Report) -> PreparationState:
        """Prepares the evaluator (`prepare`)."""
        try:
            evaluator = self.built()
        except Exception as error:
            return failed(error)
        return prepare(evaluator, self.search, report)

    def built(self) -> PreparingEvaluator:
        """The evaluator."""
        evaluator = _built(self.evaluator, json.dumps(dict(self.settings), sort_keys=True))
        assert isinstance(evaluator, PreparingEvaluator), f"{self.evaluator} prepares nothing"
        return evaluator

    def to_dict(self) -> dict[str, Any]:
        """The job as plain data."""
        return {"evaluator": self.evaluator, "settings": dict(self.settings), "search": self.search}


@dataclass(frozen=True)
class Charge:
    """What a search is charged for while an evaluator prepares.

    Attributes:
        processes: Processes that prepare at once; the time of each counts.
        waited: Gives the seconds so far in which none of them ran.
    """

    processes: int = 1
    waited: Callable[[], float] = lambda: 0.0

    def since(self, began: float) -> float:
        """Seconds of all processes since a time of the monotonic clock."""
        return self.processes * max(0.0, time.monotonic() - began - self.waited())


def failed(error: Exception) -> PreparationState:
    """The state where an evaluator could not be built."""
    return PreparationState("", state="failed", error=f"{reason_of(error)}; mend that, then {GO_ON}")


def prepare(evaluator: PreparingEvaluator, search: str, report: Report, charge: Charge = Charge()) -> PreparationState:
    """Prepares an evaluator, or goes on with it; does nothing if it is prepared.

    Args:
        evaluator: Evaluator.
        search: Uid of the search that asks, which is charged with the time.
        report: Takes the progress.
        charge: What the search is charged for.

    Returns:
        The state, `done` or `failed`; an error of any kind becomes a failed state.
    """
    try:
        evaluator.folder.mkdir(parents=True, exist_ok=True)
        with _turn(evaluator.folder / "lock", report):
            earlier = _earlier(evaluator)
            return earlier if earlier.state == "done" else _gone_on(evaluator, earlier, search, report, charge)
    except Exception as error:  # the folder cannot be used
        return PreparationState(evaluator.fingerprint, state="failed", error=_told(error))


def evaluate(candidate: Candidate, evaluator: str, settings: Mapping[str, Any]) -> Evaluation:
    """Measures a candidate: the function of `Work`.

    Args:
        candidate: Candidate to measure.
        evaluator: Class of the evaluator as `module:name`.
        settings: Its keyword arguments.

    Raises:
        NotPreparedError: The evaluator has not been prepared.
        MachineError: The machine is at fault.
    """
    built = _built(evaluator, json.dumps(dict(settings), sort_keys=True))
    check_prepared(built)
    return built.evaluate(candidate)


def check_prepared(evaluator: Evaluator) -> None:
    """Checks that an evaluator may be asked: it prepares nothing, or did so to the end.

    Raises:
        NotPreparedError: Its folder has no finished preparation, or one with another fingerprint.
    """
    if not isinstance(evaluator, PreparingEvaluator):
        return
    state = state_of(evaluator.folder)
    if state is None or state.state != "done":
        found = "nothing" if state is None else f"{state.share:.0%} of it"
        raise NotPreparedError(
            f"an evaluator answers after its preparation, and {evaluator.folder} has {found}; {GO_ON}, with a home "
            "folder that all nodes share"
        )
    _check_same(evaluator, state)


def state_of(folder: Path) -> PreparationState | None:
    """The state of the preparation in a folder; None without one."""
    with suppress(OSError, ValueError, TypeError):
        return PreparationState(**json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))
    return None


@contextmanager
def _turn(lock: Path, report: Report) -> Iterator[None]:
    """Waits until no other process prepares in the folder, for as long as that takes."""
    with ExitStack() as held:
        try:
            held.enter_context(alone(lock, 0.0))
        except MachineError:
            report(0.0, f"another process holds {lock}, so this one waits for its end")
            held.enter_context(alone(lock, math.inf))
        yield


def _earlier(evaluator: PreparingEvaluator) -> PreparationState:
    """The state that an earlier call left, or a new one."""
    state = state_of(evaluator.folder)
    if state is None:
        return PreparationState(evaluator.fingerprint, secrets.token_hex(16))
    _check_same(evaluator, state)
    return state


def _check_same(evaluator: PreparingEvaluator, state: PreparationState) -> None:
    if state.fingerprint != evaluator.fingerprint:
        raise NotPreparedError(
            f"a folder is for one preparation, and {evaluator.folder} has that of {state.fingerprint!r} in place of "
            f"{evaluator.fingerprint!r}; give another folder"
        )


def _gone_on(
    evaluator: PreparingEvaluator, earlier: PreparationState, search: str, report: Report, charge: Charge
) -> PreparationState:
    """The state after a call of the evaluator's `prepare`."""
    began, spent = time.monotonic(), earlier.seconds.get(search, 0.0)
    state = replace(earlier, state="running", error="")

    def kept(**changes: Any) -> PreparationState:
        now = spent + charge.since(began)
        found = replace(state, seconds={**earlier.seconds, search: now}, **changes)
        write_whole(evaluator.folder / STATE_FILE, json.dumps(found.to_dict()))
        return found

    def reported(share: float, text: str) -> None:
        nonlocal state
        state = kept(share=share)
        report(share, text)

    state = kept()
    try:
        return kept(state="done", share=1.0, facts=dict(evaluator.prepare(reported)))
    except Exception as error:
        with suppress(OSError):
            (evaluator.folder / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        told = _told(error, evaluator.folder / TRACEBACK)
        with suppress(OSError):
            return kept(state="failed", error=told)
        return replace(state, state="failed", error=told)  # for example on a full disk


def _told(error: Exception, log: Path | None = None) -> str:
    """An error in one line with the way out."""
    try:
        stop_where_full(error)
    except MachineError as full:
        return str(full)
    if isinstance(error, MachineError):
        return str(error)
    where = "" if log is None else f" (traceback: {log})"
    return f"{reason_of(error)}{where}; mend that, then {GO_ON}"


@lru_cache(maxsize=1)
def _built(evaluator: str, settings: str) -> Evaluator:
    """The evaluator, once a process: it may hold a loaded preparation for its next candidate."""
    built: Evaluator = imported(evaluator)(**json.loads(settings))
    return built
