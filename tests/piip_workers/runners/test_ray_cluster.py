"""How a driver joins a cluster whose head is busy."""

import socket
from collections.abc import Iterator

import pytest

from piip_search.errors import ClusterError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")

from piip_workers.runners import ray_cluster  # noqa: E402

SLOW = "Initialization failure from server: RuntimeError: Starting Ray client server failed. See logs."


@pytest.fixture
def address() -> Iterator[str]:
    """The address of something that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"ray://127.0.0.1:{server.getsockname()[1]}"


def busy(monkeypatch: pytest.MonkeyPatch, failures: list[str]) -> list[str]:
    """Lets the next attempts to join fail with these texts; returns the attempts so far."""
    attempts: list[str] = []

    def join(address: str, **_: object) -> None:
        attempts.append(address)
        if len(attempts) <= len(failures):
            raise ConnectionAbortedError(failures[len(attempts) - 1])

    monkeypatch.setattr(ray, "init", join)
    return attempts


def test_a_busy_head_is_asked_again(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    attempts = busy(monkeypatch, [SLOW, SLOW])
    ray_cluster.connect(address)
    assert len(attempts) == 3


def test_a_head_that_stays_busy_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    attempts = busy(monkeypatch, [SLOW] * 9)
    with pytest.raises(ClusterError, match="3 times; its head may be busy: try again later, or set RAY_CLIENT_SERVER"):
        ray_cluster.connect(address)
    assert len(attempts) == 3


def test_another_refusal_is_told_at_once(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    attempts = busy(monkeypatch, ["no resources"])
    with pytest.raises(ClusterError, match="refuses this driver"):
        ray_cluster.connect(address)
    assert len(attempts) == 1
