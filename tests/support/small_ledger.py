"""A ledger with a small search in it, made without training."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from piip_search.config import SearchSpec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.evaluation.facts import Facts
from piip_search.ledger import Ledger
from piip_search.search.search import open_search
from support import fakes

Fill = Callable[..., Ledger]


def fill(
    folder: Path,
    spec: SearchSpec,
    run: str = "small",
    trials: int = 14,
    failing: Sequence[int] = (),
    leave: int = 0,
    error: str = "MemoryError: out of memory",
    images: int = 0,
) -> Ledger:
    """Runs a search of random designs.

    Args:
        folder: Where the ledger is.
        spec: What is searched.
        run: Name of the run.
        trials: Designs that are proposed.
        failing: Numbers of those that fail.
        leave: How many of the last ones are left unfinished.
        error: What failed ones say.
        images: Training images of each.
    """
    folder.mkdir(exist_ok=True)
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
    budget = spec.budget.model_copy(update={"trials": max(1, trials)})
    asked = spec.model_copy(update={"sampler": "random", "budget": budget})
    search = open_search(run, asked, ledger, "recipe", data="0123456789abcdef")
    candidates = [candidate for candidate in (search.propose() for _ in range(trials)) if candidate is not None]
    for candidate in candidates[: trials - leave]:
        search.accept(_evaluation(candidate, failing, error, images))
    return ledger


def _evaluation(candidate: Candidate, failing: Sequence[int], error: str, images: int) -> Evaluation:
    if candidate.number in failing:
        return Evaluation(candidate, "failed", error=error, seconds=2.0)
    return replace(fakes.measure(candidate), facts=Facts(host="node-1", torch="2.9", images=images))
