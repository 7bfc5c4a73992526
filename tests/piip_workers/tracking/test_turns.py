"""Turns of several processes at one run of a server, with a server and a clock of the test's own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

turns = pytest.importorskip("piip_workers.tracking.turns", exc_type=ImportError)
HOLD, SETTLE, STALE, TURN, ServerTurns = turns.HOLD, turns.SETTLE, turns.STALE, turns.TURN, turns.ServerTurns


@dataclass
class Server:
    """One run's tags and one clock; what other processes do is done while somebody sleeps."""

    now: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    events: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def get_run(self, _parent: str) -> Any:
        return SimpleNamespace(data=SimpleNamespace(tags=dict(self.tags)))

    def set_tag(self, _parent: str, key: str, value: str) -> None:
        self.tags[key] = value

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [event for event in self.events if event[0] <= self.now]
        self.events = [event for event in self.events if event[0] > self.now]
        for _, act in due:
            act()

    def process(self) -> Any:
        return ServerTurns(self, lambda: self.now, self.sleep)

    def write(self, token: str) -> Callable[[], None]:
        return lambda: self.set_tag("run", TURN, token)


def test_a_turn_is_taken_kept_and_given_back() -> None:
    server = Server()
    process = server.process()
    with process.taken("run"):
        token = server.tags[TURN]
        assert token
        assert server.now == SETTLE
    with process.taken("run"):
        assert (server.tags[TURN], server.now) == (token, SETTLE)
    server.now += HOLD + 1
    with process.taken("run"):
        assert server.tags[TURN] not in ("", token)
    process.release("run")
    assert server.tags[TURN] == ""
    process.release("run")


def test_a_process_waits_for_another_one_s_turn() -> None:
    server = Server(tags={TURN: "theirs"})
    server.events = [(20.0, server.write("")), (20.1, server.write("third")), (30.0, server.write(""))]
    with server.process().taken("run"):
        assert server.now >= 30.0
        assert server.tags[TURN] not in ("", "third", "theirs")


def test_of_two_processes_that_begin_at_once_the_later_writer_is_first() -> None:
    server = Server()
    server.events = [(SETTLE / 2, server.write("theirs")), (10.0, server.write(""))]
    process = server.process()
    with process.taken("run"):
        assert server.now >= 10.0


def test_the_turn_of_a_dead_process_ends() -> None:
    server = Server(tags={TURN: "dead"})
    with server.process().taken("run"):
        assert STALE <= server.now < STALE + 2 * SETTLE


def test_another_one_s_turn_is_never_given_back() -> None:
    server = Server()
    process = server.process()
    with process.taken("run"):
        server.tags[TURN] = "theirs"
    process.release("run")
    assert server.tags[TURN] == "theirs"
