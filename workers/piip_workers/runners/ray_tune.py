"""Runs a search on a Ray cluster, or on this machine as a cluster of one.

Ray Tune decides where and when; the search decides what. They meet in a `Searcher` that passes on proposals and
evaluations. Each trial of Tune is one evaluation, in an actor that is reused for the next. If this process is outside
the cluster (`ray://`), Tune runs on the head, and its questions come here through a mailbox actor: the search, its
ledger and its mirror stay on the user's machine.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.search import Searcher

from piip_search.errors import MachineError, UserError
from piip_search.evaluation.evaluation import Candidate
from piip_search.search.search import Search
from piip_search.secret_file import load_secrets
from piip_workers.jobs.job import FULL_TEXTS, Work
from piip_workers.runners.ray_cluster import HEAD, Nodes, head_answers, is_client
from piip_workers.runners.ray_deaths import cause_of_death, deaths_are_retried
from piip_workers.runners.ray_driver import GONE, NO_MORE_TRIALS, NO_TRIAL, TrialDriver, TrialResources

KEPT_EVERY = 3600
"""Seconds between two copies of Tune's state of all trials; nothing reads them, as the ledger is the record."""
BROKEN_OFF = "Ray Tune broke off ({}); look at {}, then run the same command again: it goes on where it stopped"
LOGS = "Ray's logs (/tmp/ray/session_latest/logs)"


class _BrokenOffError(Exception):
    """Tune itself ended with an error; the message names it."""


class _Trial(tune.Trainable):
    """One evaluation in a process of its own."""

    def setup(self, config: dict[str, Any]) -> None:
        self._assignment = config

    def step(self) -> dict[str, Any]:
        work = Work(**json.loads(self._assignment["work"]))
        gpu = float(self._assignment["need"].get("GPU", 0.0))
        try:
            _load_secrets()
            evaluation = work(Candidate.from_dict(json.loads(self._assignment["candidate"])), gpu)
        except MachineError as halt:
            return {"halt": str(halt), "done": True}
        # A text: Tune flattens nested results and prints them into file names.
        return {"evaluation": json.dumps(evaluation.to_dict()), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._assignment = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Does nothing: the training writes its own checkpoints where the next attempt finds them."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Does nothing: see `save_checkpoint`."""


def _load_secrets() -> None:
    """Adds the variables of the file of secrets that the job's environment names.

    Raises:
        MachineError: This machine has no such file, or it cannot be used.
    """
    try:
        load_secrets()
    except UserError as error:
        raise MachineError(str(error)) from None


def _need(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([dict(config["need"])])


class _Driver(Protocol):
    """The object that proposes trials and takes their results."""

    def suggest(self, trial: str) -> Any:
        """The assignment of a trial, `NO_TRIAL` for now, or `NO_MORE_TRIALS`."""
        ...

    def complete(self, trial: str, result: Mapping[str, Any], error: bool, cause: str) -> None:
        """Accepts the end of a trial: `evaluation` or `halt` in its result, an error with its cause, or neither."""
        ...


class _Proposals(Searcher):
    """Passes Tune's questions to the driver; Tune keeps empty copies of its searcher on disk.

    Attributes:
        fault: The driver's error, of which Tune passes on only the text; None without one.
    """

    def __init__(self, asked: _Driver) -> None:
        super().__init__()
        self._asked: _Driver | None = asked
        self.fault: Exception | None = None

    def suggest(self, trial_id: str) -> Any:
        answer = self._answer("suggest", trial_id)
        return Searcher.FINISHED if answer == NO_MORE_TRIALS else None if answer == NO_TRIAL else answer

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        kept = {name: value for name, value in (result or {}).items() if name in ("evaluation", "halt")}
        self._answer("complete", trial_id, kept, error, cause_of_death())

    def _answer(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self._open, name)(*arguments)
        except Exception as error:
            self.fault = error
            raise

    @property
    def _open(self) -> _Driver:
        if self._asked is None:
            raise RuntimeError("a search is driven by the process that opened it; run it again to go on")
        return self._asked

    def __getstate__(self) -> dict[str, Any]:
        return {"_metric": None, "_mode": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _asked=None, fault=None)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: a search resumes from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: see `save`."""


class _Mailbox:
    """An actor through which Tune, on the head, asks a search elsewhere, one question at a time."""

    def __init__(self) -> None:
        self._questions: asyncio.Queue[tuple[str, tuple[Any, ...], asyncio.Future[Any]]] = asyncio.Queue()
        self._open: asyncio.Future[Any] | None = None

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Asks a question and waits for the answer."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self._questions.put((name, arguments, answer))
        return await answer

    async def next(self, seconds: float) -> tuple[str, tuple[Any, ...]] | None:
        """The next question; None if none comes within so many seconds."""
        try:
            name, arguments, self._open = await asyncio.wait_for(self._questions.get(), seconds)
        except TimeoutError:
            return None
        return name, arguments

    async def answer(self, value: Any) -> None:
        """Answers the last question of `next`."""
        if self._open is not None:
            self._open.set_result(value)


class _RemoteDriver:
    """The remote side of the mailbox, which Tune's searcher asks."""

    def __init__(self, box: Any) -> None:
        self._box = box

    def suggest(self, trial: str) -> Any:
        return ray.get(self._box.ask.remote("suggest", trial))

    def complete(self, trial: str, result: Mapping[str, Any], error: bool, cause: str) -> None:
        ray.get(self._box.ask.remote("complete", trial, dict(result), error, cause))


@dataclass(frozen=True)
class _Tuning:
    """Settings of Tune besides its searcher."""

    name: str
    directory: str
    pending: int
    reuse: bool


def run(
    search: Search,
    work: Work,
    directory: Path,
    on_change: Callable[[], None] = lambda: None,
    placement: TrialResources | None = None,
    nodes: Nodes | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> None:
    """Measures the search's proposals, as many at a time as the cluster holds.

    Call `piip_workers.runners.ray_cluster.connect` first.

    Args:
        search: Proposes candidates and accepts evaluations.
        work: Measures a candidate.
        directory: Folder for Tune's state.
        on_change: Called after each start and end of a trial.
        placement: Resources of a trial.
        nodes: The cluster's checked nodes; one that joins later is checked when a trial fails.
        notify: Called once, when memory runs out.

    Any end of Tune halts the search: the ledger has what was measured, and the next sitting goes on.

    Raises:
        ClusterError: The cluster has no room for a single trial.
    """
    placement = placement or TrialResources()
    desk = TrialDriver(search, work, on_change, placement, nodes, notify)
    tuning = _Tuning(search.run, str(directory.resolve()), placement.concurrency(), placement.reuse)
    if is_client():
        _run_on_the_head(desk, tuning)
    else:
        try:
            _tune(desk, tuning)
        except _BrokenOffError as error:
            desk.leave(str(error) if head_answers() else GONE)
    search.finish()


def _tune(asked: _Driver, tuning: _Tuning) -> None:
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(tuning.pending)
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(KEPT_EVERY)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # we show a failed trial as an evaluation
    proposals = _Proposals(asked)
    try:
        with deaths_are_retried():
            _tuner(proposals, tuning).fit()
    except Exception as error:
        if proposals.fault is not None and not isinstance(proposals.fault, ray.exceptions.RayError):
            raise proposals.fault from None
        raise _broken_off(error) from error


def _tuner(proposals: _Proposals, tuning: _Tuning) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(_Trial, _need),
        tune_config=tune.TuneConfig(
            search_alg=proposals,
            num_samples=-1,
            reuse_actors=tuning.reuse,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=tuning.name,
            storage_path=tuning.directory,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),  # see `piip_workers.runners.ray_driver`
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # see `_Trial.save_checkpoint`
        ),
    )


def _broken_off(error: Exception) -> _BrokenOffError:
    """The error that ended Tune in one line: the last traceback in its message, if any."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = lines[-1] if "Traceback" in str(error) else f"{type(error).__name__}: {lines[0]}"
    full = any(text in line for text in FULL_TEXTS)
    return _BrokenOffError(BROKEN_OFF.format(line[:300], "the disk, which is full," if full else LOGS))


def _run_on_the_head(desk: TrialDriver, tuning: _Tuning) -> None:
    """Runs Tune on the head and answers its questions until it ends."""
    box: Any = ray.remote(num_cpus=0)(_Mailbox).remote()
    # On the head, which lives as long as the cluster.
    conduct = ray.remote(num_cpus=0, max_retries=0, resources={HEAD: 0.001})(_conduct)
    try:
        ending = conduct.remote(box, tuning)
        while True:
            question = ray.get(box.next.remote(1.0))
            if question is not None:
                name, arguments = question
                ray.get(box.answer.remote(getattr(desk, name)(*arguments)))
            elif ray.wait([ending], timeout=0)[0]:
                ray.get(ending)
                return
    except (ConnectionError, ray.exceptions.RayError) as error:
        if not head_answers():
            desk.leave(GONE)
            return
        cause = getattr(error, "cause", error)
        desk.leave(str(cause if isinstance(cause, _BrokenOffError) else _broken_off(cause)))


def _conduct(box: Any, tuning: _Tuning) -> None:
    """Runs Tune in a process of the cluster."""
    _tune(_RemoteDriver(box), tuning)
