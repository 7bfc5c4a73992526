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
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.search import Searcher

from piip_search.architecture import Architecture
from piip_search.evaluation import Candidate, Evaluation
from piip_search.search import Search
from piip_workers.ray_cluster import HEAD, ClusterError, Nodes, gpus, head_answers, is_client, rooms, too_small
from piip_workers.work import MachineError, Work

RETRIES = 3
"""How often a trial is started again after its process died; it continues from its checkpoint."""
FRESH = 5.0
"""Seconds for which the size of the cluster is taken as known."""
GONE = "Ray's head is gone; start the cluster again, and the same command goes on"
VAIN = 20
"""How often Tune may give a trial up before its processes began as often as they may."""
STARTS_NOTHING = (
    f"Ray gave a trial up {VAIN} times before its processes began; look at the nodes (ray status) and at their "
    "logs (/tmp/ray/session_latest/logs), and the same command goes on where this stopped"
)
KEPT_EVERY = 3600
"""Seconds between two copies of Tune's state, which hold all trials; nobody reads them: the ledger is what lasts."""
NOTHING, OVER = "nothing", "over"
"""Answers to who asks for a trial: none now, and none ever."""


@dataclass(frozen=True)
class Placement:
    """What a trial occupies, and how its processes are used; the fields are those of `piip_search.spec.Resources`.

    Attributes:
        cpu: CPUs of one trial.
        gpu: GPUs of one trial of a design.
        least_gpu: GPUs of the smallest trial.
        custom: Resources of the cluster's own.
        at_once: Most trials at a time; None for as many as the cluster holds.
        retries: How often a trial is started again after its process, or its node, died.
        reuse: Whether a process that measured a trial takes the next one.
    """

    cpu: float = 1.0
    gpu: Callable[[Architecture], float] = lambda architecture: 0.0
    least_gpu: float = 0.0
    custom: Mapping[str, float] = field(default_factory=dict)
    at_once: int | None = None
    retries: int = RETRIES
    reuse: bool = True

    def need(self, gpu: float) -> dict[str, float]:
        """What a trial with so many GPUs takes, by Ray's names."""
        amounts = {"CPU": self.cpu, "GPU": gpu, **self.custom}
        return {name: amount for name, amount in amounts.items() if amount}

    @property
    def least(self) -> dict[str, float]:
        """What the smallest trial takes."""
        return self.need(self.least_gpu)

    def concurrency(self) -> int:
        """About how many trials run at once.

        Raises:
            ClusterError: Not one fits any node, and nothing says that the cluster grows.
        """
        room = rooms(self.least)
        if self.at_once is None and not room:
            raise ClusterError(too_small(self.least))
        return self.at_once or room


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


class _Asked(Protocol):
    """Who knows what is measured next, and takes what came of it."""

    def suggest(self, trial: str) -> Any:
        """The assignment of a trial, `NOTHING` for now, or that it is `OVER`."""
        ...

    def complete(self, trial: str, result: Mapping[str, Any], error: bool) -> None:
        """A trial ended: with `evaluation` or `halt` in its result, by an error, or cut off."""
        ...


class _Proposals(Searcher):
    """Passes what Tune asks to who knows. Tune keeps copies of its searcher on disk: they hold nothing."""

    def __init__(self, asked: _Asked) -> None:
        super().__init__()
        self._asked: _Asked | None = asked

    def suggest(self, trial_id: str) -> Any:
        answer = self._open.suggest(trial_id)
        return Searcher.FINISHED if answer == OVER else None if answer == NOTHING else answer

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        kept = {name: value for name, value in (result or {}).items() if name in ("evaluation", "halt")}
        self._open.complete(trial_id, kept, error)

    @property
    def _open(self) -> _Asked:
        if self._asked is None:
            raise RuntimeError("a search is driven by the process that opened it; run it again to go on")
        return self._asked

    def __getstate__(self) -> dict[str, Any]:
        return {"_metric": None, "_mode": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _asked=None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is what a search goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class _Desk:
    """The search's side: proposes where the cluster has room, and accepts."""

    def __init__(
        self, search: Search, work: Work, changed: Callable[[], None], placement: Placement, nodes: Nodes | None
    ) -> None:
        self._search = search
        self._work, self._text = work, json.dumps(work.to_dict())
        self._changed = changed
        self._placement = placement
        self._nodes = nodes
        self._candidates: dict[str, Candidate] = {}
        self._gpus: dict[str, float] = {}
        self._held: deque[tuple[float, Candidate]] = deque()
        self._begun: dict[Candidate, int] = {}
        self._vain: Counter[Candidate] = Counter()
        self._rooms, self._gpus_there, self._looked_at = 0, 0.0, float("-inf")

    def suggest(self, trial: str) -> Any:
        if not self._has_room():
            return NOTHING
        while self._held and self._held[0][0] <= time.monotonic():
            self._search.postpone(self._held.popleft()[1])
        candidate = self._search.propose()
        self._changed()
        if candidate is None:
            # What runs may bring about who goes on to the next rung: Tune asks again.
            return NOTHING if self._search.running else OVER
        gpu = self._placement.gpu(candidate.architecture)
        self._candidates[trial], self._gpus[trial] = candidate, gpu
        if not is_client():  # elsewhere than the cluster, its files are not at hand
            self._begun.setdefault(candidate, self._work.begun(candidate) or 0)
        need = self._placement.need(gpu)
        return {"candidate": json.dumps(candidate.to_dict()), "work": self._text, "need": need}

    def complete(self, trial: str, result: Mapping[str, Any], error: bool) -> None:
        candidate = self._candidates.pop(trial, None)
        self._gpus.pop(trial, None)
        if candidate is None:
            return
        answer, halt = result.get("evaluation"), result.get("halt")
        if halt is not None:
            self._search.halt(candidate, str(halt))
        elif answer is not None:
            self._search.accept(Evaluation.from_dict(json.loads(answer)))
        elif error and not head_answers():
            # Every retry failed at once: no fault of the candidate's.
            self._search.halt(candidate, GONE)
        elif error and (problems := self._new_problems()):
            self._search.halt(candidate, "; ".join(problems))
        elif error and self._tried(candidate) <= self._placement.retries:
            self._once_more(candidate)
        elif error:
            attempts = self._placement.retries + 1
            reason = f"the worker process ended {attempts} times; its log names the cause (often memory)"
            self._search.accept(Evaluation(candidate, "failed", error=reason))
        # Neither: Tune was interrupted. The ledger knows the candidate as running, and the next sitting takes it up.
        self._changed()

    def _tried(self, candidate: Candidate) -> int:
        """How often a process began with it in this sitting, as far as that is known."""
        begun = self._work.begun(candidate)
        if begun is None or candidate not in self._begun:
            return self._placement.retries + 1
        return begun - self._begun[candidate]

    def _once_more(self, candidate: Candidate) -> None:
        """Tune gave up before a process began as often as it may: on a node that died, and is not known to be dead."""
        self._vain[candidate] += 1
        if self._vain[candidate] >= VAIN:
            self._search.halt(candidate, STARTS_NOTHING)
            return
        self._held.append((time.monotonic() + FRESH, candidate))

    def leave(self) -> None:
        """The cluster is gone: what was being measured stays unfinished."""
        for candidate in (*self._candidates.values(), *(candidate for _, candidate in self._held)):
            self._search.halt(candidate, GONE)
        self._candidates.clear()
        self._held.clear()

    def _has_room(self) -> bool:
        """Whether one more trial may begin; the cluster's size is looked at now and then, as nodes come and go."""
        placement, now = self._placement, time.monotonic()
        if placement.at_once is not None:
            return len(self._candidates) < placement.at_once
        if now - self._looked_at > FRESH:
            self._rooms, self._gpus_there, self._looked_at = rooms(placement.least), gpus(placement.least), now
        taken = sum(self._gpus.values()) + placement.least_gpu
        return len(self._candidates) < self._rooms and taken <= self._gpus_there + 1e-6

    def _new_problems(self) -> list[str]:
        """What is wrong with nodes that joined since the search began."""
        return [] if self._nodes is None else self._nodes.problems()


class _LetterBox:
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


class _Letters:
    """The other side of the letter box, as Tune's searcher asks it."""

    def __init__(self, box: Any) -> None:
        self._box = box

    def suggest(self, trial: str) -> Any:
        return ray.get(self._box.ask.remote("suggest", trial))

    def complete(self, trial: str, result: Mapping[str, Any], error: bool) -> None:
        ray.get(self._box.ask.remote("complete", trial, dict(result), error))


@dataclass(frozen=True)
class _Tuning:
    """What Tune is told besides its searcher."""

    name: str
    directory: str
    pending: int
    retries: int
    reuse: bool


def run(
    search: Search,
    work: Work,
    directory: Path,
    changed: Callable[[], None] = lambda: None,
    placement: Placement | None = None,
    nodes: Nodes | None = None,
) -> None:
    """Measures what the search proposes, as many candidates at a time as the cluster holds.

    Call `piip_workers.ray_cluster.connect` first.

    Args:
        search: Proposes and accepts.
        work: Measures a candidate.
        directory: Where Tune keeps its state.
        changed: Called whenever something began or ended.
        placement: What a trial occupies.
        nodes: The cluster's nodes, as far as they were looked at; one that joins later is looked at when a trial fails.

    Raises:
        ClusterError: The cluster cannot hold a single trial.
    """
    placement = placement or Placement()
    desk = _Desk(search, work, changed, placement, nodes)
    pending = placement.concurrency()
    tuning = _Tuning(search.run, str(directory.resolve()), pending, placement.retries, placement.reuse)
    if is_client():
        _run_on_the_head(desk, tuning)
    else:
        _tune(desk, tuning)
    search.finish()


def _tune(asked: _Asked, tuning: _Tuning) -> None:
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(tuning.pending)
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(KEPT_EVERY)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is an evaluation, shown by us
    tuner = tune.Tuner(
        tune.with_resources(_Trial, _need),
        tune_config=tune.TuneConfig(
            search_alg=_Proposals(asked),
            num_samples=-1,
            reuse_actors=tuning.reuse,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=tuning.name,
            storage_path=tuning.directory,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=tuning.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # see `_Trial.save_checkpoint`
        ),
    )
    tuner.fit()


def _run_on_the_head(desk: _Desk, tuning: _Tuning) -> None:
    """Answers what Tune, on the head, asks, until it ends."""
    box: Any = ray.remote(num_cpus=0)(_LetterBox).remote()
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
    except (ConnectionError, ray.exceptions.RayError):
        if head_answers():
            raise
        desk.leave()


def _conduct(box: Any, tuning: _Tuning) -> None:
    """Runs Tune in a process of the cluster."""
    _tune(_Letters(box), tuning)
