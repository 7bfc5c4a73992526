"""What a user does in a process of their own: functions by name, with JSON in and out."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from attack_rows.searches import RECIPE, SPEC
from piip_search.config import parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger, LedgerError
from piip_search.search.search import Search, open_search
from support import fakes


def opened(ledger: Ledger, run: str, trials: int, take_over: bool = False, **changes: Any) -> Search:
    """A search of random designs."""
    spec = parse_spec({**SPEC, "budget": {"trials": trials}, **changes})
    return open_search(run, spec, ledger, RECIPE, take_over=take_over)


def search(url: str, run: str, trials: int, pause: float = 0.0, take_over: bool = False) -> dict[str, Any]:
    """Runs a search, or goes on with it; what was measured, and what came from where."""
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    with closing(Ledger(url, patience=30)) as ledger:
        found = opened(ledger, run, trials, take_over)
        print(json.dumps("begun"), flush=True)
        while (candidate := found.propose()) is not None:
            time.sleep(pause)
            found.accept(fakes.measure(candidate))
        return {
            "metrics": [one.metrics.get("bbox_mAP") for one in found.evaluations],
            "answers": [one.facts.answered_from for one in found.evaluations],
        }


def poison(url: str, run: str, trials: int) -> int:
    """Runs the search that another user will run, with a result of one's own choice."""
    with closing(Ledger(url)) as ledger:
        found = opened(ledger, run, trials)
        while (candidate := found.propose()) is not None:
            found.accept(Evaluation(candidate, "done", {"bbox_mAP": 0.01}))
        return len(found.evaluations)


class Blank(Candidate):
    """A candidate that is written as nothing."""

    def to_dict(self) -> dict[str, Any]:
        return {}


def garble(url: str, run: str, trials: int, into: str) -> int:
    """Writes rows that nobody can read, with the keys of the search that another user will run."""
    with closing(Ledger("sqlite://")) as copy, closing(Ledger(url)) as ledger:
        found, spec = opened(copy, run, trials), parse_spec(SPEC)
        ledger.start(into, spec.question, RECIPE, spec.model_dump(mode="json"))
        while (candidate := found.propose()) is not None:
            blank = Blank(**{name: getattr(candidate, name) for name in candidate.__dataclass_fields__})
            ledger.propose(into, blank, RECIPE)
            ledger.accept(into, Evaluation(blank, "done", {"bbox_mAP": 0.01}), RECIPE)
            found.accept(fakes.measure(candidate))
        return len(found.evaluations)


def name_program(url: str, run: str, program: str) -> int:
    """Writes a finished search that names a program."""
    training = {"detector": program, "anchor_scale": None}
    with closing(Ledger(url)) as ledger:
        found = opened(ledger, run, 3, training=training)
        while (candidate := found.propose()) is not None:
            found.accept(fakes.measure(candidate))
        return len(found.evaluations)


def say(url: str, run: str, error: str, name: str) -> int:
    """Writes a finished search whose run, error and host are texts of the writer's choice."""
    with closing(Ledger(url)) as ledger:
        found = opened(ledger, run, 4)
        while (candidate := found.propose()) is not None:
            one = fakes.measure(candidate)
            facts = replace(one.facts, host=name)
            failed = Evaluation(candidate, "failed", error=error, facts=facts)
            found.accept(replace(one, facts=facts) if candidate.number % 2 else failed)
        return len(found.evaluations)


def ask(requests: Sequence[tuple[str, str, dict[str, str]]]) -> list[int]:
    """The status of each answer to requests."""
    return [_status(*one) for one in requests]


def _status(method: str, url: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def write_for(url: str, run: str, seconds: float, seed: int) -> dict[str, float]:
    """Runs a search for some seconds; its trials, and the longest of them."""
    with closing(Ledger(url)) as ledger:
        found = opened(ledger, run, 100_000, seed=seed)  # no search answers another
        found.propose()  # the first takes longer
        print(json.dumps("ready"), flush=True)
        sys.stdin.readline()
        began, longest, count = time.monotonic(), 0.0, 0
        while (before := time.monotonic()) - began < seconds and (candidate := found.propose()) is not None:
            found.accept(fakes.measure(candidate))
            longest, count = max(longest, time.monotonic() - before), count + 1
        return {"trials": count, "longest": longest}


def main(arguments: Sequence[str]) -> None:
    """Runs one of these, and prints what it gives as the last line."""
    functions: tuple[Callable[..., Any], ...] = (search, poison, garble, name_program, say, ask, write_for)
    act = {one.__name__: one for one in functions}[arguments[0]]
    try:
        print(json.dumps(act(*json.loads(arguments[1]))), flush=True)
    except LedgerError as error:
        sys.exit(f"LedgerError: {error}")
