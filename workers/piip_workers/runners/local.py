"""Runs a search in this process, one candidate at a time: for tests, notebooks, and machines without Ray."""

from collections.abc import Callable

from piip_search.errors import MachineError
from piip_search.evaluation.evaluation import Evaluate
from piip_search.search.search import Search


def run(search: Search, evaluate: Evaluate, on_change: Callable[[], None] = lambda: None) -> None:
    """Measures the search's proposals until there are no more.

    Args:
        search: Proposes candidates and accepts evaluations.
        evaluate: Measures a candidate.
        on_change: Called after each start and end of a candidate.
    """
    while (candidate := search.propose()) is not None:
        on_change()
        try:
            search.accept(evaluate(candidate))
        except MachineError as halt:
            search.halt(candidate, str(halt))
        on_change()
    search.finish()
