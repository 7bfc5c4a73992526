"""Baselines of a search: designs and stock networks that are trained beside it, and that it never proposes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from piip_search.architecture import Architecture
from piip_search.architecture.design import Design
from piip_search.architecture.published import published_of
from piip_search.architecture.stock import MOST_SIDE, OWN_FILE, StockNetwork
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
    name, side = _parted(entry)
    if entry == PUBLISHED:
        none = task.published is None
        return f"the papers have no designs of the task {task.name}; leave {PUBLISHED} out" if none else None
    if task.stock_config(name) is not None:
        digits = len(side) <= LONGEST_BASELINE_SIDE and side.isdecimal()
        known = entry == name or (digits and 0 < int(side) <= MOST_SIDE)
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

    No file is read: those who only look at a recorded search must not open paths out of a ledger. A user's own file has
    its path as its configuration until it is counted (`own_config`).

    Args:
        entries: Entries of `baselines`.
        task: Task of the search.
        side: Image side of a stock network that names none.
    """
    for entry in entries:
        name, own = _parted(entry)
        config = task.stock_config(name)
        if config == OWN_FILE:
            yield StockNetwork(f"{OWN_FILE}{name}", int(own or side), Path(name).stem)
        elif config is not None:
            yield StockNetwork(config, int(own or side), name)
        elif entry != PUBLISHED:
            yield Architecture.parse(entry)


def baseline_files(entries: Sequence[str], task: Task) -> tuple[Path, ...]:
    """The users' own files that entries name."""
    names = [_parted(entry)[0] for entry in entries if entry != PUBLISHED]
    return tuple(dict.fromkeys(Path(name) for name in names if task.stock_config(name) == OWN_FILE))


def own_config(content: str) -> str:
    """The configuration of a network from a user's own file: its content tells it apart, wherever it lies."""
    return OWN_FILE + hashlib.sha256(content.encode()).hexdigest()[:32]


def with_changed_files(entries: object, task: Task, change: Callable[[str], str]) -> object:
    """The entries with every file replaced.

    Args:
        entries: Entries of a file, possibly with faults.
        task: Task of the search.
        change: Maps the path of a file to the new path.
    """
    if not isinstance(entries, list):
        return entries
    found: list[object] = []
    for entry in entries:
        name, _ = _parted(entry) if isinstance(entry, str) else ("", "")
        is_file = task.stock_config(name) == OWN_FILE
        found.append(change(name) + entry.removeprefix(name) if is_file else entry)
    return found


def _parted(entry: str) -> tuple[str, str]:
    """The name in an entry and the image side after it; a folder may have an @ in its name."""
    name, at, side = entry.rpartition("@")
    return (entry, "") if not at or entry.endswith(".py") else (name, side)


def published_baselines(task: Task) -> Iterator[Architecture]:
    """The papers' designs of a task that its training can read."""
    for design in published_of(task.published):
        if design.merge in task.merges:
            yield design
