"""Ledgers with a past, for whatever only reads them: searches with rungs, failures, replicates and several hosts."""

from dataclasses import replace
from typing import Any

import numpy as np

from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.facts import Facts
from piip_search.ledger import Ledger
from piip_search.search.search import Search, open_search
from support import fakes

RECIPE = "recipe"
ERRORS = ("MemoryError: one image a step does not fit the memory", "FloatingPointError: the loss is nan in epoch 2")


def published_spec(trials: int, rungs: tuple[int, ...] = (2, 6), name: str = "big", **changes: Any) -> SearchSpec:
    """A space of the papers' models and image sizes, of which thousands of designs can be drawn in no time."""
    return parse_spec(
        {
            "name": name,
            "sampler": "random",
            "space": {
                "backbones": ["vit_t", "vit_s", "vit_b", "vit_l"],
                "resolutions": [224, 336, 448, 560, 672, 784, 896, 1120, 1344, 1568],
                "windows": [14, 28],
                "interactions": [0, 3, 6, 12],
                "branches": [1, 2, 3],
            },
            "limit": {"gmacs": [250, 500, 1000, 1500]},
            "budget": {"trials": trials},
            "data": {"embedded": "digits"},
            "fidelity": {"epochs": 18},
            "schedule": {"rungs": list(rungs), "keep": 3} if rungs else None,
            "resources": {"cpu": 8, "gpu": 1},
            **changes,
        }
    )


def fill(
    ledger: Ledger,
    spec: SearchSpec,
    run: str | None = None,
    at_once: int = 4,
    failing: float = 0.0,
    replicates: int = 0,
    most: int | None = None,
) -> Search:
    """Runs a search without training.

    Args:
        ledger: Where it is kept.
        spec: What is searched.
        run: Name of the run; the space's by default.
        at_once: Candidates measured at the same time.
        failing: Share of evaluations that fail.
        replicates: Finished designs that are measured again with two other seeds each.
        most: Evaluations after which to stop, and leave the others of `at_once` unfinished.
    """
    search = open_search(run or spec.name, spec, ledger, RECIPE)
    random = np.random.default_rng(spec.seed)
    running: list[Candidate] = []
    while most is None or len(search.evaluations) < most:
        while len(running) < at_once and (candidate := search.propose()) is not None:
            running.append(candidate)
        if not running:
            break
        search.accept(_evaluation(running.pop(0), random, failing))
    _replicate(ledger, search, random, replicates)
    return search


def _replicate(ledger: Ledger, search: Search, random: np.random.Generator, count: int) -> None:
    number = max((event.number for event in ledger.events(search.run) if isinstance(event, Candidate)), default=0) + 1
    best = sorted(search.finished, key=lambda e: -e.metrics.get(search.spec.metric, 0.0))[:count]
    for evaluation in best:
        for seed in (1, 2):
            candidate = replace(evaluation.candidate, number=number, seed=seed)
            ledger.propose(search.run, candidate, RECIPE)
            ledger.accept(search.run, _evaluation(candidate, random, 0.0), RECIPE)
            number += 1


def _evaluation(candidate: Candidate, random: np.random.Generator, failing: float) -> Evaluation:
    """Better with more epochs, a little noise, and a learning curve on the way."""
    facts = Facts(host=f"node-{candidate.number % 3}", training=candidate.training, peak_memory_mib=4096)
    if random.random() < failing:
        error = ERRORS[0] if candidate.architecture.branches[0].backbone == "vit_l" else ERRORS[1]
        return Evaluation(candidate, "failed", error=error, seconds=20.0, facts=facts)
    epochs = candidate.fidelity.epochs
    best = 0.6 * fakes.quality(candidate) + float(random.normal(0, 0.006))
    curve = [best * (1 - 0.9 ** (4 * (epoch + 1))) for epoch in range(epochs)]
    history = tuple(
        {"epoch": epoch + 1.0, "loss": 2.0 / (epoch + 1) ** 0.4, **({"bbox_mAP": curve[epoch]} if epoch % 2 else {})}
        for epoch in range(epochs)
    )
    metrics = {"bbox_mAP": curve[-1], "bbox_mAP_50": min(1.0, curve[-1] * 1.6), "bbox_mAP_s": curve[-1] * 0.4}
    return Evaluation(candidate, "done", metrics, seconds=60.0 * epochs, history=history, facts=facts)
