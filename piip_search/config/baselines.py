"""Baselines of a search: designs and stock networks that are trained beside it, and that it never proposes."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design
from piip_search.architecture.published import published_of
from piip_search.architecture.stock import MOST_SIDE, StockNetwork
from piip_search.sections import shortened
from piip_search.tasks import Task

PUBLISHED = "published"
"""Word for the papers' designs of the task within the limit."""
LONGEST_ENTRY = 400
"""Most characters of an entry, as of a short form in the ledger."""
LONGEST_BASELINE_SIDE = 6
"""Most digits of an image side."""


def baseline_problem(entry: str, task: Task) -> str | None:
    """The reason why an entry of `baselines` names nothing that the task can train; None for a good one."""
    if len(entry) > LONGEST_ENTRY:
        return f"an entry has at most {LONGEST_ENTRY} characters, got {shortened(entry)}"
    label, at, side = entry.rpartition("@")
    name = label if at else entry
    if entry == PUBLISHED:
        none = task.published is None
        return f"the papers have no designs of the task {task.name}; leave {PUBLISHED} out" if none else None
    if task.stock_config(name) is not None:
        known = not at or (len(side) <= LONGEST_BASELINE_SIDE and side.isdecimal() and 0 < int(side) <= MOST_SIDE)
        return None if known else f"an image side must be a number of pixels such as {name}@512, got {shortened(entry)}"
    try:
        design = Architecture.parse(entry)
    except ValueError as error:
        words = (*task.stock, PUBLISHED)
        if near := get_close_matches(name, words, n=1):
            return f"unknown baseline {shortened(entry)}; did you mean {near[0]}?"
        return f"{shortened(entry)} is neither a design ({error}) nor one of {', '.join(words)}"
    if design.merge not in task.merges:
        return f"the task {task.name} cannot read what {design.merge} gives; choose {', '.join(task.merges)}"
    return None


def named_baselines(entries: Sequence[str], task: Task, side: int) -> Iterator[Design]:
    """The designs and stock networks that entries name, without the published ones; all of them are good.

    Args:
        entries: Entries of `baselines`.
        task: Task of the search.
        side: Image side of a stock network that names none.
    """
    for entry in entries:
        label, at, own = entry.rpartition("@")
        name = label if at else entry
        config = task.stock_config(name)
        if config is not None:
            yield StockNetwork(config, int(own) if at else side, name)
        elif entry != PUBLISHED:
            yield Architecture.parse(entry)


def published_baselines(task: Task) -> Iterator[Architecture]:
    """The papers' designs of a task that its training can read."""
    for design in published_of(task.published):
        if design.merge in task.merges:
            yield design
