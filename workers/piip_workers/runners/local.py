"""Runs a search in this process, one candidate after the other: tests, notebooks, a machine without Ray."""

from collections.abc import Callable

from piip_search.errors import MachineError
from piip_search.evaluation.evaluation import Evaluate
from piip_search.search.search import Search


def run(search: Search, evaluate: Evaluate, changed: Callable[[], None] = lambda: None) -> None:
    """Measures what the search proposes until it proposes nothing more.

    Args:
        search: Proposes and accepts.
        evaluate: Measures a candidate.
        changed: Called whenever something began or ended.
    """
    while (candidate := search.propose()) is not None:
        changed()
        try:
            search.accept(evaluate(candidate))
        except MachineError as halt:
            search.halt(candidate, str(halt))
        changed()
    search.finish()
