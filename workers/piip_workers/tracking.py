"""Mirrors a search into MLflow: a parent run for the search, a child run for each evaluation.

MLflow is a mirror, never a source. Runs are recognised by their tags, so that a search that goes on adds only what is
missing, and each run is written in a few batched requests.
"""

import csv
import io
import itertools
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from piip_search.evaluation import Evaluation
from piip_search.export import Provenance
from piip_search.objectives import Objectives, ParetoFront
from piip_search.tracker import Fronts

EXPERIMENT = "piip-search"
_BATCH = 500
_LONGEST_VALUE = 500


class MlflowTracker:
    """A `Tracker` over an MLflow store.

    Attributes:
        uri: Where the store is.
    """

    def __init__(self, uri: str, artifacts: str | None = None) -> None:
        """Opens the store.

        Args:
            uri: `sqlite:///…` for a file, or a server's address.
            artifacts: Where a new experiment keeps its files; the store's own choice where None.
        """
        self.uri = uri
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it creates
        self._client = MlflowClient(uri)
        self._experiment = self._open_experiment(artifacts)
        self._parent = ""
        self._known: set[int] = set()
        self._steps: int = 0
        self._objectives = Objectives("", "published")

    def begin(self, run: str, spec: Mapping[str, Any], objectives: Objectives) -> None:
        self._objectives = objectives
        found = self._runs(f"tags.`piip.run` = '{run}' and tags.`piip.role` = 'search'")
        if found:
            self._parent = found[0].info.run_id
            self._client.update_run(self._parent, status="RUNNING")
            children = self._runs(f"tags.`mlflow.parentRunId` = '{self._parent}' and tags.`piip.role` = 'evaluation'")
            self._known = {int(child.data.tags["piip.number"]) for child in children if _finished(child)}
            return
        tags = {"piip.run": run, "piip.role": "search"}
        self._parent = self._client.create_run(self._experiment, run_name=run, tags=tags).info.run_id
        params = [Param(key, value) for key, value in _flattened(spec)]
        self._client.log_batch(self._parent, params=params[:100])
        self._client.log_dict(self._parent, dict(spec), "space.json")

    def record(self, evaluation: Evaluation, fronts: Fronts) -> None:
        self._steps += 1
        if evaluation.candidate.number in self._known:
            return
        self._known.add(evaluation.candidate.number)
        self._child(evaluation)
        self._parent_metrics(fronts())

    def finish(self, fronts: Fronts) -> None:
        tiers = [front for front in fronts() if front.evaluations]
        if tiers:
            rows = [row for front in tiers for row in self._table(front)]
            self._client.log_text(self._parent, _csv(rows), "front.csv")
            self._client.log_dict(self._parent, {"front": rows}, "front.json")
            self._client.log_figure(self._parent, draw_front(tiers, self._objectives), "front.png")
        self._client.set_terminated(self._parent)

    def _child(self, evaluation: Evaluation) -> None:
        candidate, now = evaluation.candidate, int(time.time() * 1000)
        architecture = candidate.architecture
        tags = {
            "mlflow.parentRunId": self._parent,
            "piip.role": "evaluation",
            "piip.number": str(candidate.number),
            "piip.status": evaluation.status,
        }
        name = f"{candidate.number:04d} {architecture.name}"[:250]
        started = now - int(evaluation.seconds * 1000)
        run_id = self._client.create_run(self._experiment, start_time=started, run_name=name, tags=tags).info.run_id
        params = {
            "architecture": architecture.name,
            "fingerprint": architecture.fingerprint,
            "branches": len(architecture.branches),
            "backbones": "+".join(branch.backbone for branch in architecture.branches),
            "resolutions": "/".join(str(branch.resolution) for branch in architecture.branches),
            "interactions": architecture.interaction.count,
            "seed": candidate.seed,
            **{name: getattr(candidate.fidelity, name) for name in ("epochs", "data_fraction", "image_scale")},
            **{f"why.{name}": value for name, value in candidate.why.items()},
            **{name: evaluation.facts[name] for name in ("trained", "inherited_from") if name in evaluation.facts},
        }
        cost = self._objectives.cost(evaluation)
        numbers = {**evaluation.metrics, "gmacs": cost.gmacs, "mparams": cost.mparams, "seconds": evaluation.seconds}
        metrics = [Metric(key, float(value), now, 0) for key, value in numbers.items()]
        for row in evaluation.history:
            step = int(row.get("epoch", 0))
            metrics += [Metric(f"epoch_{key}", float(value), now, step) for key, value in row.items() if key != "epoch"]
        failed = [RunTag("piip.error", evaluation.error[:5000])] if evaluation.error else []
        pairs = [Param(key, str(value)[:_LONGEST_VALUE]) for key, value in params.items()]
        self._client.log_batch(run_id, metrics=metrics[:_BATCH], params=pairs, tags=failed)
        for start in range(_BATCH, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
        self._client.set_terminated(run_id, "FINISHED" if evaluation.status == "done" else "FAILED")

    def _parent_metrics(self, fronts: Sequence[ParetoFront]) -> None:
        now = int(time.time() * 1000)
        values = {"hypervolume": fronts[-1].hypervolume, "evaluations": float(self._steps)}
        for front in fronts:
            values[f"hypervolume_{front.budget:g}G"] = front.hypervolume
            if front.best is not None:
                values[f"best_{front.budget:g}G"] = self._objectives.value(front.best) or 0.0
        self._client.log_batch(
            self._parent, metrics=[Metric(key, value, now, self._steps) for key, value in values.items()]
        )

    def _table(self, front: ParetoFront) -> list[dict[str, Any]]:
        return [
            {
                "tier_gmacs": front.budget,
                "architecture": evaluation.candidate.architecture.name,
                "fingerprint": evaluation.candidate.architecture.fingerprint,
                "gmacs": self._objectives.cost(evaluation).gmacs,
                "mparams": self._objectives.cost(evaluation).mparams,
                self._objectives.metric: self._objectives.value(evaluation),
                "number": evaluation.candidate.number,
            }
            for evaluation in front.evaluations
        ]

    def _runs(self, condition: str) -> list[Any]:
        runs: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment], condition, ViewType.ACTIVE_ONLY, 1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _open_experiment(self, artifacts: str | None) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return str(experiment.experiment_id)
        try:
            return str(self._client.create_experiment(EXPERIMENT, artifact_location=artifacts))
        except MlflowException:
            # Another search made it in the meantime.
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
            return str(experiment.experiment_id)


class TrainingRun:
    """A full training as a child run of its search, beside the evaluation of its proxy."""

    def __init__(self, uri: str, provenance: Provenance, params: Mapping[str, Any], resume: bool) -> None:
        """Begins the run, or goes on with the one that was interrupted.

        Args:
            uri: Store that holds the search.
            provenance: Trial that is trained in full.
            params: Settings worth seeing.
            resume: Whether the training goes on.

        Raises:
            LookupError: The store does not hold the search.
        """
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        path = Path(uri.removeprefix("sqlite:///"))
        if uri.startswith("sqlite:") and not path.is_file():
            raise LookupError(f"there is no file {path}")
        self._client = MlflowClient(uri)
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        places = [] if experiment is None else [experiment.experiment_id]
        parents = self._found(places, f"tags.`piip.run` = '{provenance.run}' and tags.`piip.role` = 'search'")
        if not parents:
            raise LookupError(f"{uri} holds no search {provenance.run}")
        tags = {
            "mlflow.parentRunId": parents[0].info.run_id,
            "piip.role": "training",
            "piip.number": str(provenance.trial),
            "piip.fingerprint": provenance.fingerprint,
        }
        earlier = self._found(places, " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items()))
        if resume and earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        name = f"{provenance.trial:04d} full training {provenance.architecture}"[:250]
        self._run = self._client.create_run(places[0], run_name=name, tags=tags).info.run_id
        now = int(time.time() * 1000)
        proxy = [Metric(f"proxy_{key}", float(value), now, 0) for key, value in provenance.proxy_metrics.items()]
        texts = [Param(key, str(value)[:_LONGEST_VALUE]) for key, value in params.items()]
        self._client.log_batch(self._run, metrics=proxy, params=texts)

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(key, value, now, epoch) for key, value in metrics.items()])

    def end(self, status: str) -> None:
        """Closes the run as `FINISHED`, `FAILED` or `KILLED`."""
        self._client.set_terminated(self._run, status)

    def _found(self, places: list[str], condition: str) -> list[Any]:
        return list(self._client.search_runs(places, condition)) if places else []


def draw_front(fronts: Sequence[ParetoFront], objectives: Objectives) -> Figure:
    """Metric against cost: the front of the largest tier as steps, a dashed line a tier, and the designs beside it."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes, beside = figure.subplots(1, 2, width_ratios=(3, 2))
    members = fronts[-1].evaluations
    costs = [objectives.cost(evaluation).gmacs for evaluation in members]
    values = [objectives.value(evaluation) or 0.0 for evaluation in members]
    axes.grid(visible=True, color="#eeeeee")
    axes.set_axisbelow(True)
    for front in fronts:
        axes.axvline(front.budget, color="#999999", linestyle="--", linewidth=1)
        axes.annotate(f"{front.budget:g} G", (front.budget, 0.02), xycoords=("data", "axes fraction"),
                      rotation=90, fontsize=8, color="#666666", ha="right")  # fmt: skip
    axes.step(costs, values, where="post", color="#0072B2", linewidth=1.5)
    axes.scatter(costs, values, color="#0072B2", zorder=3)
    lines = []
    for letter, cost, value, evaluation in zip(_letters(), costs, values, members, strict=False):
        axes.annotate(letter, (cost, value), xytext=(-3, 6), textcoords="offset points", fontsize=9, ha="right")
        first, *rest = evaluation.candidate.architecture.name.split("+")
        lines += [f"{letter}  {value:.3f}  {cost:.3g} G  {first}", *(f"   + {part}" for part in rest)]
    axes.set(xlabel=f"GMACs ({objectives.convention} convention)", ylabel=objectives.metric, title="Pareto front")
    axes.margins(x=0.08, y=0.12)
    beside.axis("off")
    beside.text(0, 1, "\n".join(lines[:44]), family="monospace", fontsize=7, va="top", transform=beside.transAxes)
    return figure


def _letters() -> Iterator[str]:
    for number in itertools.count():
        yield chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def _finished(run: Any) -> bool:
    return run.info.status in ("FINISHED", "FAILED") and "piip.number" in run.data.tags


def _flattened(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", (value if isinstance(value, str) else json.dumps(value))[:_LONGEST_VALUE]


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
