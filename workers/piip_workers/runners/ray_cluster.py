"""A Ray cluster: joins or starts it, checks its nodes, and counts how many trials it has room for."""

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
from piip_workers.runners.ray_local import check_token_file, keep_new_token, missing_environment

HEAD = "node:__internal_head__"
"""Resource that only the head has."""
CLIENT = "ray://"
"""Scheme of the address of a driver outside the cluster."""
ANSWER = 10.0
"""Seconds within which a cluster must accept a connection; Ray itself tries for minutes."""
LOOK = 120.0
"""Seconds within which every node must answer: the first process on a node is slow to start."""

TOKEN = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or copy ~/.ray/auth_token of its head (see ray get-auth-token)"
WITHOUT_RAY = "or leave Ray out with --on local, which measures one candidate at a time"
START_ATTEMPTS = 3
"""Attempts to join while the head is too busy to start a server for this driver: Ray gives it 30 seconds each time."""
SLOW_HEAD = ("Starting Ray client server failed", "Proxy failed to Connect to backend")
"""Texts by which a head reports that it could not start that server in time."""
STDERR = 2

Amounts = Mapping[str, float]
"""Resources by Ray's names: CPU, GPU, or a name of the cluster."""


def connect(address: str | None = None) -> None:
    """Joins the cluster at an address, or starts one on this machine that ends with this process.

    Args:
        address: `auto` if this machine is a node of the cluster, HOST:PORT for the same by the head's address, or
            `ray://HOST:10001` if it is no node; None starts a cluster.

    Raises:
        ClusterError: No cluster answers at the address, it wants a token, or it runs other versions.
        MachineUnfitError: Others can read this user's token.
    """
    if ray.is_initialized():
        return
    check_token_file(os.environ)
    if address is not None:
        _check_answer(address)
    else:
        _prepare()
    for attempt in range(1, START_ATTEMPTS + 1):
        said = _joined(address)
        if not said:
            break
        if attempt == START_ATTEMPTS or not any(text in said for text in SLOW_HEAD):
            raise ClusterError(_refused(address, said))
    if is_client():
        with suppress(AttributeError):  # printed lines of workers would mix with ours
            ray.util.client.ray.worker.log_client.disable_logs()


def _joined(address: str | None) -> str:
    """Joins or starts a cluster; returns what Ray says of a failure, and nothing otherwise."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            with _overhearing(said), _own_sigterm():
                # Without an address Ray would join the last cluster of this machine, and wait for it even if it was
                # killed.
                ray.init(
                    address=address or "local",
                    include_dashboard=False if address is None else None,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except ImportError as error:
            raise ModuleNotFoundError(name=error.name or "grpc") from None
        except Exception as error:  # a node that does not start raises a plain Exception
            said.seek(0)
            return f"{error} {said.read()}"
    return ""


def _prepare() -> None:
    """Sets the environment variables that Ray needs to start.

    Raises:
        ClusterError: Ray cannot start in this environment.
    """
    try:
        os.environ |= missing_environment(os.environ)
        keep_new_token(os.environ)
    except MachineUnfitError as error:
        raise ClusterError(f"{error}; {WITHOUT_RAY}") from None


def _check_answer(address: str) -> None:
    """Raises an error if nothing listens at the address."""
    place = _head_of_this_machine() if address == "auto" else address.removeprefix(CLIENT).split("/")[0]
    if place is None:
        raise ClusterError("no Ray cluster runs on this machine; start one with ray start --head, or name its address")
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"an address is auto, HOST:PORT or ray://HOST:10001, got {address!r}")
    usual = "its head listens at 10001 for ray://" if address.startswith(CLIENT) else "its head listens at 6379"
    check_listens(address, host, int(port), usual)


def check_listens(address: str, host: str, port: int, usual: str) -> None:
    """Checks that something listens at a host and a port.

    Raises:
        ClusterError: Nothing listens; the message names the default port.
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
def _overhearing(output: IO[str]) -> Iterator[None]:
    """Captures the output of Ray's libraries: it alone, repeatedly, has the reason for a refusal."""
    sys.stderr.flush()
    own = os.dup(STDERR)
    os.dup2(output.fileno(), STDERR)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, STDERR)
        os.close(own)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps this process's own handler of SIGTERM: Ray installs one that prints stacks."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # raised by Ray's own handler
        raise KeyboardInterrupt from None
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _refused(address: str | None, said: str) -> str:
    """The reason why a cluster cannot be joined or started, as a message with a way out."""
    reason = " ".join(said.split())[:200]
    where = "Ray" if address is None else f"the cluster at {address}"
    if "AuthToken" in said or "Unauthenticated" in said or "AuthenticationError" in said:
        return f"{where} wants a token: {TOKEN}"
    if "version" in said.lower():
        return f"{where} runs other versions; install the same Ray and Python here as there: {reason}"
    if any(text in said for text in SLOW_HEAD):
        return (
            f"{where} did not start a server for this driver in time, {START_ATTEMPTS} times; its head may be busy: "
            "try again later, or set RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S in the environment of its head"
        )
    if address is not None and address.startswith(CLIENT):
        return f"{where} refuses this driver ({reason}); it may want a token: {TOKEN}"
    if address is not None:
        return (
            f"{where} cannot be joined from here ({reason}); a driver outside of it joins by ray://HOST:10001, or is "
            "sent there with piip-search submit"
        )
    return f"{where} cannot be started: {reason}; its logs are in session_latest/logs of its folder; {WITHOUT_RAY}"


def is_client() -> bool:
    """Whether this process is connected through `ray://`."""
    return bool(ray.util.client.ray.is_connected())


def looked_at_from(packages: Sequence[str], marker: str) -> Callable[[], dict[str, Any]]:
    """The function that runs on a node and reports its state.

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
    """The nodes of a cluster; each is checked once."""

    def __init__(self, need: Amounts, home: Path, packages: Sequence[str] = ()) -> None:
        """Prepares the checks, without asking a node.

        Args:
            need: Resources of the smallest trial: nodes without room for it are skipped.
            home: Folder that all nodes must share.
            packages: Packages that a trial imports.
        """
        self._need = need
        self._home = home.resolve()
        self._packages = tuple(packages)
        self._known: dict[str, dict[str, Any]] = {}

    def problems(self) -> list[str]:
        """Problems of the nodes that were not checked before, one line each."""
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
        for node, report in zip(new, found, strict=True):
            self._known[node["NodeID"]] = report
            trains = holds(node["Resources"], self._need)
            problems += [f"node {node['NodeManagerAddress']}: {problem}" for problem in self._wrong(report, trains)]
        return problems + self._differences()

    def check(self) -> None:
        """Checks all nodes.

        Raises:
            ClusterError: Trials cannot run on some nodes; the message lists all problems.
        """
        problems = self.problems()
        if problems:
            raise ClusterError("\n  ".join(["the cluster is not ready:", *problems]))

    def _works(self, node: Mapping[str, Any]) -> bool:
        """Whether a node runs trials, or Tune for a driver outside the cluster."""
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

    def _wrong(self, report: Mapping[str, Any], trains: bool) -> list[str]:
        if "error" in report:
            return [f"does not answer ({report['error']}); look at it with ray status"]
        wrong = []
        if report["piip-search"] is None:
            wrong.append(
                "piip-search is not installed; install the same version on every node, with workers/Dockerfile"
            )
        elif report["piip-search"] != __version__:
            wrong.append(
                f"has piip-search {report['piip-search']}, this machine {__version__}; install the same version"
            )
        if report["missing"] and trains:
            wrong.append(f'{", ".join(report["missing"])} not installed; pip install "piip-search[all]" there')
        if not report["shared"]:
            wrong.append(
                f"does not see {self._home}; --home must be on storage that all nodes and this machine share, under "
                "the same path; if this machine has no such storage, send the search there with piip-search submit"
            )
        return wrong

    def _differences(self) -> list[str]:
        """Problems of nodes with different versions of packages on which results depend."""
        problems = []
        for package in ("python", "torch"):
            found = {report["versions"][package] for report in self._known.values() if "versions" in report}
            if len(found - {None}) > 1:
                shown = " and ".join(sorted(str(version) for version in found - {None}))
                problems.append(f"nodes have {package} {shown}; install the same on all of them")
        return problems


def nodes() -> list[dict[str, Any]]:
    """The live nodes."""
    return [node for node in ray.nodes() if node["Alive"]]


def holds(have: Amounts, need: Amounts) -> bool:
    """Whether an idle node has room for a trial."""
    return all(have.get(name, 0.0) >= amount for name, amount in need.items())


def rooms(need: Amounts) -> int:
    """Number of trials that the cluster holds at once; each runs on one node."""
    return sum(
        min(int(node["Resources"].get(name, 0.0) / amount + 1e-6) for name, amount in need.items())
        for node in nodes()
        if holds(node["Resources"], need)
    )


def gpus(need: Amounts) -> float:
    """GPUs of the nodes that have room for a trial."""
    return sum(float(node["Resources"].get("GPU", 0.0)) for node in nodes() if holds(node["Resources"], need))


def too_small(need: Amounts) -> str:
    """The message for a trial that no node has room for."""
    wanted = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
    names = dict.fromkeys(need)
    there = "; ".join(
        " and ".join(f"{node['Resources'].get(name, 0.0):g} {name}" for name in names) for node in nodes()
    )
    return (
        f"a trial needs {wanted}, and no node of the cluster has that much ({there}); lower resources in the space, "
        "add nodes, or set resources.at_once if the cluster starts machines on demand"
    )


def usage() -> str:
    """CPUs and GPUs in use, as text."""
    total, free = dict(ray.cluster_resources()), dict(ray.available_resources())
    parts = [
        f"{total[name] - free.get(name, 0):g}/{total[name]:g} {name}" for name in ("CPU", "GPU") if total.get(name)
    ]
    return ", ".join(parts)


def head_answers() -> bool:
    """Whether the cluster's control service answers."""
    if is_client():
        with suppress(Exception):  # each layer of a broken connection has its own error
            return bool(ray.nodes())
        return False
    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False
