"""A Ray cluster: joined or started, looked at node by node, and how many trials it has room for."""

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from piip_search import __version__
from piip_search.errors import ClusterError, MachineUnfitError
from piip_workers.runners.ray_local import missing_environment

HEAD = "node:__internal_head__"
"""Resource that the head alone has."""
CLIENT = "ray://"
"""Scheme of an address through which a driver works that is no part of the cluster."""
ANSWER = 10.0
"""Seconds within which a cluster accepts a connection; Ray itself tries for minutes."""
LOOK = 120.0
"""Seconds within which every node answers: the first process on a node takes some to start."""

TOKEN = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or copy ~/.ray/auth_token of its head (see ray get-auth-token)"
WITHOUT_RAY = "or leave Ray out with --on local, which measures one candidate after the other"
STDERR = 2

Amounts = Mapping[str, float]
"""Resources by Ray's name for them: CPU, GPU, or a cluster's own."""


def connect(address: str | None = None) -> None:
    """Joins the cluster at an address, or starts one on this machine that ends with this process.

    Args:
        address: `auto` for the cluster that this machine is a node of, HOST:PORT for the same by the head's address,
            or `ray://HOST:10001` for a cluster that this machine is no node of; None starts one.

    Raises:
        ClusterError: No cluster answers there, it wants a token, or it runs other versions.
    """
    if ray.is_initialized():
        return
    if address is not None:
        _check_answer(address)
    else:
        _prepare()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            with _overhearing(said), _own_sigterm():
                # Without an address Ray would join whatever cluster this machine last had, and wait for a killed one.
                ray.init(
                    address=address or "local",
                    include_dashboard=False if address is None else None,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except ImportError as error:
            raise ModuleNotFoundError(name=error.name or "grpc") from None
        except Exception as error:  # a node that does not start is the plainest of all
            said.seek(0)
            raise ClusterError(_refused(address, f"{error} {said.read()}")) from None
    if is_client():
        with suppress(AttributeError):  # what workers print would go between our own lines
            ray.util.client.ray.worker.log_client.disable_logs()


def _prepare() -> None:
    """Makes the environment one in which Ray starts.

    Raises:
        ClusterError: It cannot.
    """
    try:
        os.environ |= missing_environment(os.environ)
    except MachineUnfitError as error:
        raise ClusterError(f"{error}; {WITHOUT_RAY}") from None


def _check_answer(address: str) -> None:
    """Raises an error where nothing listens."""
    place = _head_of_this_machine() if address == "auto" else address.removeprefix(CLIENT).split("/")[0]
    if place is None:
        raise ClusterError("no Ray cluster runs on this machine; start one with ray start --head, or name its address")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"an address is auto, HOST:PORT or ray://HOST:10001, got {address!r}")
    usual = "its head listens at 10001 for ray://" if address.startswith(CLIENT) else "its head listens at 6379"
    check_listens(address, host, int(port), usual)


def check_listens(address: str, host: str, port: int, usual: str) -> None:
    """Looks whether anything listens at a host and a port.

    Raises:
        ClusterError: Nothing does; with what is usual.
    """
    try:
        with socket.create_connection((host.strip("[]"), port), timeout=ANSWER):
            return
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterError(f"no Ray cluster answers at {address} ({reason}); by default {usual}") from None


def _head_of_this_machine() -> str | None:
    from ray._private import services

    with suppress(ConnectionError, ValueError):
        found: str | None = services.canonicalize_bootstrap_address("auto")
        return found
    return None


@contextmanager
def _overhearing(said: IO[str]) -> Iterator[None]:
    """What Ray's own libraries print: why they were refused stands there, many times, and in no error."""
    sys.stderr.flush()
    own = os.dup(STDERR)
    os.dup2(said.fileno(), STDERR)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, STDERR)
        os.close(own)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps this process's own handler of SIGTERM, if it has one: Ray puts in one that prints stacks."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # Ray's own handler
        raise KeyboardInterrupt from None
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _refused(address: str | None, said: str) -> str:
    """What stands in the way, in Ray's words and ours."""
    reason = " ".join(said.split())[:200]
    where = "Ray" if address is None else f"the cluster at {address}"
    if "AuthToken" in said or "Unauthenticated" in said or "AuthenticationError" in said:
        return f"{where} wants a token: {TOKEN}"
    if "version" in said.lower():
        return f"{where} runs other versions; install the same Ray and Python here as there: {reason}"
    if address is not None and address.startswith(CLIENT):
        return f"{where} does not take this driver in ({reason}); it may want a token: {TOKEN}"
    if address is not None:
        return (
            f"{where} cannot be joined from here ({reason}); a driver outside of it joins by ray://HOST:10001, or is "
            "sent there with piip-search submit"
        )
    return f"{where} cannot be started: {reason}; its logs are in session_latest/logs of its folder; {WITHOUT_RAY}"


def is_client() -> bool:
    """Whether this process works through `ray://`."""
    return bool(ray.util.client.ray.is_connected())


def looked_at_from(packages: Sequence[str], marker: str) -> Callable[[], dict[str, Any]]:
    """What runs on a node to tell about it.

    The function is made here so that it travels by value: a node may lack this package.
    """

    def look() -> dict[str, Any]:
        import importlib.metadata
        import importlib.util
        import platform
        from pathlib import Path

        def version(package: str) -> str | None:
            try:
                return importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return None

        try:
            import piip_search
            import piip_workers.jobs.job  # noqa: F401

            own = piip_search.__version__
        except ImportError:
            own = None
        return {
            "piip-search": own,
            "missing": [package for package in packages if importlib.util.find_spec(package) is None],
            "versions": {"python": platform.python_version(), "torch": version("torch")},
            "shared": Path(marker).is_file(),
        }

    return look


class Nodes:
    """What is known of a cluster's nodes: each is looked at once."""

    def __init__(self, need: Amounts, home: Path, packages: Sequence[str] = ()) -> None:
        """Begins; nothing is asked yet.

        Args:
            need: What the smallest trial takes: nodes without room for it are left alone.
            home: Folder that all nodes must share.
            packages: What a trial imports.
        """
        self._need = need
        self._home = home.resolve()
        self._packages = tuple(packages)
        self._known: dict[str, dict[str, Any]] = {}

    def problems(self) -> list[str]:
        """What is wrong with the nodes that were not looked at yet, a line each."""
        new = [node for node in nodes() if node["NodeID"] not in self._known and self._works(node)]
        if not new:
            return []
        self._home.mkdir(parents=True, exist_ok=True)
        marker = self._home / f".shared-{secrets.token_hex(8)}"
        marker.touch()
        try:
            found = self._asked(new, marker)
        finally:
            marker.unlink(missing_ok=True)
        problems = []
        for node, told in zip(new, found, strict=True):
            self._known[node["NodeID"]] = told
            trains = holds(node["Resources"], self._need)
            problems += [f"node {node['NodeManagerAddress']}: {problem}" for problem in self._wrong(told, trains)]
        return problems + self._differences()

    def check(self) -> None:
        """Looks at all nodes.

        Raises:
            ClusterError: Trials could not run on some of them; all that is wrong, at once.
        """
        problems = self.problems()
        if problems:
            raise ClusterError("\n  ".join(["the cluster is not ready:", *problems]))

    def _works(self, node: Mapping[str, Any]) -> bool:
        """Whether a node runs trials, or Tune for a driver that is no part of the cluster."""
        return holds(node["Resources"], self._need) or (is_client() and HEAD in node["Resources"])

    def _asked(self, new: Sequence[Mapping[str, Any]], marker: Path) -> list[dict[str, Any]]:
        look = ray.remote(num_cpus=0, max_retries=0)(looked_at_from(self._packages, str(marker)))
        asked = [
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
            for node in new
        ]
        answers: list[dict[str, Any]] = []
        deadline = time.monotonic() + LOOK
        for one in asked:
            try:
                answers.append(ray.get(one, timeout=max(1.0, deadline - time.monotonic())))
            except (ray.exceptions.RayError, TimeoutError) as error:
                answers.append({"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]})
        return answers

    def _wrong(self, told: Mapping[str, Any], trains: bool) -> list[str]:
        if "error" in told:
            return [f"does not answer ({told['error']}); look at it with ray status"]
        wrong = []
        if told["piip-search"] is None:
            wrong.append(
                "piip-search is not installed; install the same version on every node, with workers/Dockerfile"
            )
        elif told["piip-search"] != __version__:
            wrong.append(f"has piip-search {told['piip-search']}, and here is {__version__}; install the same version")
        if told["missing"] and trains:
            wrong.append(f'{", ".join(told["missing"])} not installed; pip install "piip-search[all]" there')
        if not told["shared"]:
            wrong.append(
                f"does not see {self._home}; --home must be on storage that all nodes and this machine share, under "
                "the same path; where this machine has none of it, send the search there with piip-search submit"
            )
        return wrong

    def _differences(self) -> list[str]:
        """Versions on which results depend must be the same everywhere."""
        problems = []
        for package in ("python", "torch"):
            found = {told["versions"][package] for told in self._known.values() if "versions" in told}
            if len(found - {None}) > 1:
                shown = " and ".join(sorted(str(version) for version in found - {None}))
                problems.append(f"nodes have {package} {shown}; install the same on all of them")
        return problems


def nodes() -> list[dict[str, Any]]:
    """The nodes that are alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def holds(have: Amounts, need: Amounts) -> bool:
    """Whether a node has room for a trial when nothing else runs on it."""
    return all(have.get(name, 0.0) >= amount for name, amount in need.items())


def rooms(need: Amounts) -> int:
    """How many trials the cluster holds at once; each runs on one node."""
    return sum(
        min(int(node["Resources"].get(name, 0.0) / amount + 1e-6) for name, amount in need.items())
        for node in nodes()
        if holds(node["Resources"], need)
    )


def gpus(need: Amounts) -> float:
    """GPUs of the nodes that have room for a trial."""
    return sum(float(node["Resources"].get("GPU", 0.0)) for node in nodes() if holds(node["Resources"], need))


def too_small(need: Amounts) -> str:
    """What to say where no node has room for a trial."""
    wanted = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
    names = dict.fromkeys(need)
    there = "; ".join(
        " and ".join(f"{node['Resources'].get(name, 0.0):g} {name}" for name in names) for node in nodes()
    )
    return (
        f"a trial needs {wanted}, and no node of the cluster has as much ({there}); lower resources in the space or "
        "add nodes; where machines are started on demand, say resources.at_once"
    )


def usage() -> str:
    """CPUs and GPUs in use, for people."""
    total, free = dict(ray.cluster_resources()), dict(ray.available_resources())
    parts = [
        f"{total[name] - free.get(name, 0):g}/{total[name]:g} {name}" for name in ("CPU", "GPU") if total.get(name)
    ]
    return ", ".join(parts)


def head_answers() -> bool:
    """Whether the cluster's control service can be reached."""
    if is_client():
        with suppress(Exception):  # a broken connection has as many errors as there are layers
            return bool(ray.nodes())
        return False
    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False
