"""A search of a metric that falls, measured without training: the distance of the task in the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from piip_dashboards.tasks import DRAWINGS
from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger
from piip_search.search.search import Search, open_search
from piip_search.tasks import TASKS
from shades.task import Shades
from shades.worker import ShadesDrawing
from support import fakes

METRIC = "distance"


@contextmanager
def registered() -> Iterator[None]:
    """The task can be searched and shown meanwhile."""
    TASKS["shades"], DRAWINGS["shades"] = Shades(), ShadesDrawing()
    yield
    del TASKS["shades"], DRAWINGS["shades"]


def falling_of(spec: SearchSpec, trials: int = 40) -> SearchSpec:
    """The search of a spec, for a metric that falls."""
    changes = {"task": "shades", "metric": METRIC, "data": {"embedded": "grey"}, "sampler": "random"}
    content = spec.model_dump(mode="json", exclude_defaults=True)
    return parse_spec({**content, **changes, "budget": {"trials": trials}})


def measured(candidate: Candidate) -> Evaluation:
    """An evaluation whose distance falls as the quality of the other fakes rises."""
    found = fakes.measure(candidate)
    return replace(found, metrics={METRIC: 1 - found.metrics["bbox_mAP"], "closeness": found.metrics["bbox_mAP"]})


def fill(ledger: Ledger, spec: SearchSpec) -> Search:
    """Runs the whole search `small`."""
    search = open_search("small", spec, ledger, "recipe")
    while (candidate := search.propose()) is not None:
        search.accept(measured(candidate))
    return search
