"""Runs a search on a Ray cluster, or on this machine as a cluster of one.

Ray Tune decides where and when; the search decides what. They meet in a `Searcher` that passes proposals on and
evaluations back. Each trial of Tune is one evaluation, in an actor that is used again for the next. Where this process
is no part of the cluster (`ray://`), Tune runs on the head, and what it asks comes here by a letter box: the search,
its ledger and its mirror stay where the user typed the command.
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

from piip_search.errors import MachineError
from piip_search.evaluation.evaluation import Candidate
from piip_search.search.search import Search
from piip_workers.jobs.job import FULL_TEXTS, Work
from piip_workers.runners.ray_cluster import HEAD, Nodes, head_answers, is_client
from piip_workers.runners.ray_deaths import cause_of_death, deaths_are_retried
from piip_workers.runners.ray_driver import GONE, NO_MORE_TRIALS, NO_TRIAL, TrialDriver, TrialResources

KEPT_EVERY = 3600
"""Seconds between two copies of Tune's state, which hold all trials; nobody reads them: the ledger is what lasts."""
BROKEN_OFF = "Ray Tune broke off ({}); look at {}, and the same command goes on where this stopped"
LOGS = "Ray's logs (/tmp/ray/session_latest/logs)"


class _BrokenOffError(Exception):
    """Tune itself ended with an error; the message says with which."""


class _Trial(tune.Trainable):
    """One evaluation in a process of its own."""

    def setup(self, config: dict[str, Any]) -> None:
        self._assignment = config

    def step(self) -> dict[str, Any]:
        work = Work(**json.loads(self._assignment["work"]))
        gpu = float(self._assignment["need"].get("GPU", 0.0))
        try:
            evaluation = work(Candidate.from_dict(json.loads(self._assignment["candidate"])), gpu)
        except MachineError as halt:
            return {"halt": str(halt), "done": True}
        # As text: Tune flattens nested results and prints them into file names.
        return {"evaluation": json.dumps(evaluation.to_dict()), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._assignment = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the training writes its own checkpoints where the next attempt finds them."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: see `save_checkpoint`."""


def _need(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([dict(config["need"])])


class _Driver(Protocol):
    """Who knows what is measured next, and takes what came of it."""

    def suggest(self, trial: str) -> Any:
        """The assignment of a trial, `NO_TRIAL` for now, or that it is `NO_MORE_TRIALS`."""
        ...

    def complete(self, trial: str, result: Mapping[str, Any], error: bool, cause: str) -> None:
        """A trial ended: with `evaluation` or `halt` in its result, by an error and its cause, or cut off."""
        ...


class _Proposals(Searcher):
    """Passes what Tune asks to who knows. Tune keeps copies of its searcher on disk: they hold nothing.

    Attributes:
        fault: The error of who was asked, of which Tune passes on the text alone; None while there is none.
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
        """Nothing: the ledger is what a search goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class _Mailbox:
    """An actor through which Tune, on the head, asks a search that is elsewhere, one question at a time."""

    def __init__(self) -> None:
        self._questions: asyncio.Queue[tuple[str, tuple[Any, ...], asyncio.Future[Any]]] = asyncio.Queue()
        self._open: asyncio.Future[Any] | None = None

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Asks, and waits for the answer."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self._questions.put((name, arguments, answer))
        return await answer

    async def next(self, seconds: float) -> tuple[str, tuple[Any, ...]] | None:
        """The next question; None if none came for so long."""
        try:
            name, arguments, self._open = await asyncio.wait_for(self._questions.get(), seconds)
        except TimeoutError:
            return None
        return name, arguments

    async def answer(self, value: Any) -> None:
        """Answers the question that `next` gave."""
        if self._open is not None:
            self._open.set_result(value)


class _RemoteDriver:
    """The other side of the letter box, as Tune's searcher asks it."""

    def __init__(self, box: Any) -> None:
        self._box = box

    def suggest(self, trial: str) -> Any:
        return ray.get(self._box.ask.remote("suggest", trial))

    def complete(self, trial: str, result: Mapping[str, Any], error: bool, cause: str) -> None:
        ray.get(self._box.ask.remote("complete", trial, dict(result), error, cause))


@dataclass(frozen=True)
class _Tuning:
    """What Tune is told besides its searcher."""

    name: str
    directory: str
    pending: int
    reuse: bool


def run(
    search: Search,
    work: Work,
    directory: Path,
    changed: Callable[[], None] = lambda: None,
    placement: TrialResources | None = None,
    nodes: Nodes | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> None:
    """Measures what the search proposes, as many candidates at a time as the cluster holds.

    Call `piip_workers.runners.ray_cluster.connect` first.

    Args:
        search: Proposes and accepts.
        work: Measures a candidate.
        directory: Where Tune keeps its state.
        changed: Called whenever something began or ended.
        placement: What a trial occupies.
        nodes: The cluster's nodes, as far as they were looked at; one that joins later is looked at when a trial fails.
        told: Is told, once, when memory runs out.

    Whatever ends Tune halts the search: what was measured is in the ledger, and the next sitting goes on.

    Raises:
        ClusterError: The cluster cannot hold a single trial.
    """
    placement = placement or TrialResources()
    desk = TrialDriver(search, work, changed, placement, nodes, told)
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
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is an evaluation, shown by us
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
    """What ended Tune, in a line: of a traceback that its message holds, the last one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = lines[-1] if "Traceback" in str(error) else f"{type(error).__name__}: {lines[0]}"
    full = any(text in line for text in FULL_TEXTS)
    return _BrokenOffError(BROKEN_OFF.format(line[:300], "the disk, which is full," if full else LOGS))


def _run_on_the_head(desk: TrialDriver, tuning: _Tuning) -> None:
    """Answers what Tune, on the head, asks, until it ends."""
    box: Any = ray.remote(num_cpus=0)(_Mailbox).remote()
    # On the head, which is there as long as the cluster is.
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
