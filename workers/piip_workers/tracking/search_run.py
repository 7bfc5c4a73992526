"""Mirrors a search in MLflow: a parent run for the search, a child run for each training, with its rungs as steps.

MLflow is a mirror, never a source. Runs are recognised by their tags, so that a resumed search adds only missing parts.
A run that was half written when a process or the server died is completed. A run takes four requests.

Several processes may mirror one search at once: they take turns, and each looks for a run before it writes it. Doubles
from earlier versions, or from a server that was too slow for the turns, are deleted by the next beginning or end.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from piip_search.architecture import Architecture
from piip_search.architecture.stock import StockNetwork
from piip_search.cost import Cost
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.objectives import Objectives, ParetoFront
from piip_search.evaluation.tracker import TrackedSearch
from piip_search.plain_text import csv_text
from piip_search.search.baselines import baseline_objectives
from piip_workers.tracking.parents import (
    EXPERIMENT,
    LONGEST_VALUE,
    flattened,
    oldest_first,
    owner_tags,
    runs_of,
    take_parent,
)
from piip_workers.tracking.store import artifacts_of, open_store
from piip_workers.tracking.turns import turns_at

EVALUATIONS = "tags.`piip.role` = 'evaluation'"
METRICS_A_REQUEST = 1000
"""Most metrics in one request."""
PARAMS_A_REQUEST = 100
"""Most parameters in one request."""
FRONT_EVERY = 60.0
"""Least seconds between two versions of the front's files."""
PAGE_EVERY = 600.0
"""Least seconds between two versions of the front's page, which has 5 MB."""


@dataclass
class _Child:
    """One training in MLflow: numbers of its evaluations, and its logged epochs."""

    run_id: str
    numbers: set[int] = field(default_factory=set)
    epochs: int = 0

    @classmethod
    def of(cls, run: Any) -> Self:
        """The training of a run."""
        tags = run.data.tags
        numbers = {int(number) for number in tags.get("piip.numbers", "").split(",") if number}
        return cls(run.info.run_id, numbers, int(tags.get("piip.epochs", 0)))


class FrontDrawing(Protocol):
    """Draws a front for people: `piip_dashboards.drawing.front_files`."""

    def picture(
        self,
        fronts: Sequence[ParetoFront],
        evaluations: Sequence[Evaluation],
        objectives: Objectives,
        baselines: Sequence[Evaluation],
        /,
    ) -> Any:
        """A figure of matplotlib."""
        ...

    def page(
        self,
        fronts: Sequence[ParetoFront],
        evaluations: Sequence[Evaluation],
        objectives: Objectives,
        baselines: Sequence[Evaluation],
        /,
    ) -> str:
        """A page of HTML that needs no network."""
        ...


class MlflowTracker:
    """A `Tracker` over an MLflow store.

    Attributes:
        uri: Address of the store.
    """

    def __init__(self, uri: str, artifacts: str | None = None, drawing: FrontDrawing | None = None) -> None:
        """Opens the store.

        Args:
            uri: `sqlite:///…` for a file, or a server's address.
            artifacts: Where a new experiment keeps its files; by default beside the file of the store, or the server's
                own choice.
            drawing: What draws the front; by default it is not drawn.

        Raises:
            StoreError: The file of the store is damaged or locked, and a user has to fix it.
        """
        self.uri = uri
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a trial
        self._drawing = drawing
        self._client = open_store(uri)
        self._turns = turns_at(uri, self._client)
        self._experiment = self._open_experiment(artifacts or artifacts_of(uri))
        self._parent = ""
        self._owner: dict[str, str] = {}
        self._known: set[int] = set()
        self._step = self._shown = 0
        self._pending: list[Metric] = []
        self._evaluations: list[Evaluation] = []
        self._fronts: Sequence[ParetoFront] = ()
        self._baselines: tuple[Evaluation, ...] = ()
        self._moved = False
        self._front_at = self._page_at = float("-inf")
        self._objectives = Objectives((), ())

    def begin(self, search: TrackedSearch) -> None:
        self._objectives, self._owner = search.objectives, owner_tags(search.owner)
        with self._turns.beginning():
            self._parent = take_parent(self._client, self._experiment, search)
        with self._turns.taken(self._parent):
            parent = self._client.get_run(self._parent)
            self._shown = _evaluations_of(parent)
            self._client.update_run(self._parent, status="RUNNING")
            for child in self._without_doubles():
                self._recognise(child)
            if "piip.described" not in parent.data.tags:
                params = [Param(key, value) for key, value in flattened(search.spec).items()][:PARAMS_A_REQUEST]
                self._client.log_dict(self._parent, dict(search.spec), "space.json")
                self._client.log_batch(self._parent, params=params, tags=[RunTag("piip.described", "yes")])

    def record(self, evaluation: Evaluation, fronts: Sequence[ParetoFront]) -> None:
        self._step += 1
        self._evaluations.append(evaluation)
        self._moved = self._moved or [f.evaluations for f in fronts] != [f.evaluations for f in self._fronts]
        self._fronts = fronts
        if evaluation.candidate.number not in self._known:
            with self._turns.taken(self._parent):
                self._add(evaluation)
            self._known.add(evaluation.candidate.number)
        if self._step > self._shown:
            self._pending += self._parent_metrics(fronts)
            if len(self._pending) > METRICS_A_REQUEST:
                self.flush()

    def flush(self) -> None:
        """Writes the collected records of the parent: its metrics, and the front if it changed."""
        if self._pending:
            with self._turns.taken(self._parent):
                self._write_pending()
        self._shown = max(self._shown, self._step)
        if self._moved and time.monotonic() - self._front_at >= FRONT_EVERY:
            self._write_front(page=time.monotonic() - self._page_at >= PAGE_EVERY)
        self._turns.release(self._parent)

    def show_baselines(self, baselines: Sequence[Evaluation]) -> None:
        """Shows measured baselines beside the front from its next version on.

        Args:
            baselines: One evaluation of each.
        """
        self._baselines = tuple(baselines)

    def finish(self, fronts: Sequence[ParetoFront]) -> None:
        self._fronts = fronts
        self.flush()
        self._write_front(page=True)
        with self._turns.taken(self._parent):
            self._without_doubles()
            self._client.set_terminated(self._parent)
        self._turns.release(self._parent)

    def _write_pending(self) -> None:
        shown = _evaluations_of(self._client.get_run(self._parent))  # another process may have written meanwhile
        self._pending = [metric for metric in self._pending if metric.step > shown]
        while self._pending:
            self._client.log_batch(self._parent, metrics=self._pending[:METRICS_A_REQUEST])
            del self._pending[:METRICS_A_REQUEST]

    def _without_doubles(self) -> list[Any]:
        """The children, one a training: others are deleted, which processes without a common lock wrote at once."""
        children = defaultdict(list)
        for child in self._runs(f"tags.`mlflow.parentRunId` = '{self._parent}' and {EVALUATIONS}"):
            tags = child.data.tags
            children[tags.get("piip.training") or tags.get("piip.number", child.info.run_id)].append(child)
        kept = []
        for several in children.values():
            first, *doubles = _fullest_first(several)
            kept.append(first)
            for double in doubles:
                self._client.delete_run(double.info.run_id)
        return kept

    def _recognise(self, child: Any) -> None:
        numbers = _Child.of(child).numbers
        self._known |= numbers
        if numbers and child.info.status == "RUNNING":  # interrupted before it was closed
            self._client.set_terminated(child.info.run_id, _STATUS[child.data.tags["piip.status"]])

    def _found(self, candidate: Candidate) -> _Child | None:
        """The child of a candidate's training; another process may have written it meanwhile."""
        condition = f"tags.`mlflow.parentRunId` = '{self._parent}' and tags.`piip.training` = '{candidate.training}'"
        found = _fullest_first(self._runs(f"{condition} and {EVALUATIONS}"))
        return _Child.of(found[0]) if found else None

    def _add(self, evaluation: Evaluation) -> None:
        """Adds a child run, or another rung of one."""
        candidate = evaluation.candidate
        child = self._found(candidate) or self._create(evaluation)
        if candidate.number in child.numbers:
            return
        # Parameters never change in MLflow: the first rung's remain.
        params = [] if child.numbers else [Param(key, value) for key, value in self._params(candidate, evaluation)]
        child.numbers.add(candidate.number)
        metrics = list(self._metrics(evaluation, child.epochs))
        child.epochs = max(child.epochs, candidate.fidelity.epochs)
        tags = {
            "piip.numbers": ",".join(map(str, sorted(child.numbers))),
            "piip.epochs": str(child.epochs),
            "piip.status": evaluation.status,
            **({"piip.error": evaluation.error[:5000]} if evaluation.error else {}),
        }
        last = metrics[METRICS_A_REQUEST * (max(len(metrics) - 1, 0) // METRICS_A_REQUEST) :]
        for start in range(0, len(metrics) - len(last), METRICS_A_REQUEST):
            self._client.log_batch(child.run_id, metrics=metrics[start : start + METRICS_A_REQUEST])
        # The tags come last and together with the rest: they mark the evaluation as mirrored.
        self._client.log_batch(
            child.run_id, metrics=last, params=params, tags=[RunTag(key, value) for key, value in tags.items()]
        )
        self._client.set_terminated(child.run_id, _STATUS[evaluation.status])

    def _create(self, evaluation: Evaluation) -> _Child:
        candidate = evaluation.candidate
        tags = {
            "mlflow.parentRunId": self._parent,
            "piip.role": "evaluation",
            "piip.training": candidate.training,
            "piip.number": str(candidate.number),
            **self._owner,
        }
        name = f"{candidate.number:04d} {candidate.design.name}"[:250]
        started = int((time.time() - evaluation.seconds) * 1000)
        run = self._client.create_run(self._experiment, start_time=started, run_name=name, tags=tags)
        return _Child(run.info.run_id)

    def _params(self, candidate: Candidate, evaluation: Evaluation) -> Iterator[tuple[str, str]]:
        design, fidelity, facts = candidate.design, candidate.fidelity, evaluation.facts.to_dict()
        params: dict[str, Any] = {"architecture": design.name, "fingerprint": design.fingerprint}
        if isinstance(design, Architecture):
            params |= {
                "branches": len(design.branches),
                "backbones": "+".join(branch.backbone for branch in design.branches),
                "resolutions": "/".join(str(branch.resolution) for branch in design.branches),
                "interactions": design.interaction.count,
            }
        params |= {
            "seed": candidate.seed,
            "epochs": fidelity.schedule_epochs,
            "data_fraction": fidelity.data_fraction,
            "image_scale": fidelity.image_scale,
            **{f"why.{name}": value for name, value in candidate.reason.to_dict().items()},
        }
        params |= {name: facts[name] for name in ("trained", "inherited_from", "host") if name in facts}
        yield from ((key, str(value)[:LONGEST_VALUE]) for key, value in params.items())

    def _metrics(self, evaluation: Evaluation, shown_epochs: int) -> Iterator[Metric]:
        now, epochs = int(time.time() * 1000), evaluation.candidate.fidelity.epochs
        numbers = {**evaluation.metrics, "seconds": evaluation.seconds}
        if not shown_epochs:
            numbers |= {
                **self._objectives.known_costs(evaluation.candidate.design),
                **self._shares(evaluation.candidate),
            }
        for key, value in numbers.items():
            yield Metric(key, float(value), now, epochs)
        for row in evaluation.history:
            epoch = int(row.get("epoch", 0))
            if epoch > shown_epochs:
                yield from (Metric(f"epoch_{k}", float(v), now, epoch) for k, v in row.items() if k != "epoch")

    def _shares(self, candidate: Candidate) -> dict[str, float]:
        """GMACs of each branch, of the interactions of each pair, and of the layers after them."""
        pricing = self._objectives.pricing
        if pricing is None or not isinstance(candidate.design, Architecture):
            return {}
        parts = pricing.parts(candidate.architecture)
        branches = [str(branch) for branch in candidate.architecture.branches]
        shares: dict[str, float] = {}
        for group in dict.fromkeys(part.group for part in parts):
            gmacs = Cost.total(part.cost for part in parts if part.group == group).gmacs
            if group in branches:
                name = f"branch{1 + branches.index(group)}"
            elif group.startswith("interactions"):
                name = f"interactions{1 + sum(key.startswith('gmacs.interactions') for key in shares)}"
            else:
                name = group
            shares[f"gmacs.{name}"] = gmacs
        return shares

    def _parent_metrics(self, fronts: Sequence[ParetoFront]) -> Iterable[Metric]:
        now = int(time.time() * 1000)
        values, unit = {"hypervolume": fronts[-1].hypervolume}, self._objectives.axis.label.unit
        for front in fronts:
            values[f"hypervolume_{front.tier:g}{unit}"] = front.hypervolume
            if front.best is not None:
                values[f"best_{front.tier:g}{unit}"] = self._objectives.value(front.best) or 0.0
        values["evaluations"] = float(self._step)
        return [Metric(key, value, now, self._step) for key, value in values.items()]

    def _write_front(self, page: bool) -> None:
        tiers = [front for front in self._fronts if front.evaluations]
        self._moved, self._front_at = False, time.monotonic()
        if not tiers:
            return
        rows = [row for front in tiers for row in self._table(front)]
        self._client.log_text(self._parent, csv_text(rows), "front.csv")
        self._client.log_dict(self._parent, {"front": rows}, "front.json")
        if self._baselines:
            beside = [self._row(evaluation) for evaluation in self._baselines]
            self._client.log_text(self._parent, csv_text(beside), "baselines.csv")
        if self._drawing is not None:
            self._draw_front(self._drawing, tiers, page)

    def _draw_front(self, drawing: FrontDrawing, tiers: Sequence[ParetoFront], page: bool) -> None:
        shown = (tiers, self._evaluations, self._objectives, self._baselines)
        self._client.log_figure(self._parent, drawing.picture(*shown), "front.png")
        if page:
            self._page_at = time.monotonic()
            self._client.log_text(self._parent, drawing.page(*shown), "front.html")

    def _table(self, front: ParetoFront) -> list[dict[str, Any]]:
        return [
            {
                f"tier_{self._objectives.axis.name}": front.tier,
                **self._row(evaluation),
                "number": evaluation.candidate.number,
            }
            for evaluation in front.evaluations
        ]

    def _row(self, evaluation: Evaluation) -> dict[str, Any]:
        """A design with its known costs and the searched metrics; a baseline may lack some."""
        design, objectives = evaluation.candidate.design, self._objectives
        known = baseline_objectives(objectives) if isinstance(design, StockNetwork) else objectives
        metrics = {metric.name: evaluation.metrics.get(metric.name) for metric in objectives.metrics}
        return {"architecture": design.name, "fingerprint": design.fingerprint, **known.known_costs(design), **metrics}

    def _runs(self, condition: str) -> list[Any]:
        return runs_of(self._client, self._experiment, condition)

    def _open_experiment(self, artifacts: str | None) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return str(experiment.experiment_id)
        try:
            return str(self._client.create_experiment(EXPERIMENT, artifact_location=artifacts))
        except MlflowException:
            # Another search created it meanwhile.
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
            return str(experiment.experiment_id)


_STATUS = {"done": "FINISHED", "failed": "FAILED"}


def _evaluations_of(parent: Any) -> int:
    """Number of evaluations whose metrics a parent has."""
    return int(parent.data.metrics.get("evaluations", 0))


def _fullest_first(children: Sequence[Any]) -> list[Any]:
    """The runs of one training in the same order for every process: the one with most evaluations, then the oldest."""
    return sorted(oldest_first(children), key=lambda child: -len(_Child.of(child).numbers))
