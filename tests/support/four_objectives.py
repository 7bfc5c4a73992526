"""A search of two metrics against two costs, measured without training."""

from collections.abc import Iterator
from dataclasses import replace

from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.search.search import Search
from support import fakes


def four_of(spec: SearchSpec, most_mparams: float) -> SearchSpec:
    """The search of a spec, for two metrics and two costs."""
    limit = {"convention": "backbone", "gmacs": [0.02, 0.06], "mparams": most_mparams}
    sections = {"metrics": ["bbox_mAP", "bbox_mAP_s"], "costs": ["gmacs", "mparams"], "limit": limit}
    return parse_spec({**spec.model_dump(mode="json", exclude_defaults=True), **sections})


def measured(candidate: Candidate) -> Evaluation:
    """A fake evaluation whose second metric asks for another design: small images of a large model."""
    found = fakes.measure(candidate)
    return replace(found, metrics={**found.metrics, "bbox_mAP_s": 10 / candidate.architecture.resolution})


def drive(search: Search) -> Iterator[Evaluation]:
    """Runs a search one candidate at a time."""
    while (candidate := search.propose()) is not None:
        evaluation = measured(candidate)
        search.accept(evaluation)
        yield evaluation
