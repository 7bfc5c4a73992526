"""A Ray cluster of two nodes on this machine, each a process tree of its own."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from support import ROOT

STARTS_WITHIN = 120.0
STARTED = "Ray runtime started"
"""What ray start prints once a node is there."""
ENDS_WITHIN = 30.0
NOTICE = 3
"""Seconds between the notice that a node is taken away, and that."""


class Cluster:
    """Two nodes; whoever of them dies can be started again.

    Attributes:
        address: Of the head, for drivers on this machine.
        client: The same for drivers that are no part of the cluster; empty without that server.
        dashboard: For jobs; empty without it.
        temporary: Where the nodes keep their sessions; None for Ray's own folder.
    """

    def __init__(
        self,
        folder: Path,
        cpus: int = 2,
        gpus: int = 0,
        dashboard: bool = False,
        environment: dict[str, str] | None = None,
        temporary: Path | None = None,
    ) -> None:
        """Prepares; `up` starts it.

        Args:
            folder: For the nodes' logs.
            cpus: Of each node.
            gpus: Of each node, as it says; there need be none.
            dashboard: Whether jobs can be sent to it, and drivers from elsewhere work through it.
            environment: Variables that its processes have; this process's own by default.
            temporary: Where the nodes keep their sessions; Ray's own folder by default.
        """
        self._folder = folder
        self._ports = [free_port() for _ in range(3)]
        self._sizes = [f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        self._dashboard = dashboard
        self._environment = environment
        self.temporary = temporary
        self._place = [] if temporary is None else [f"--temp-dir={temporary}"]
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = f"127.0.0.1:{self._ports[0]}"
        self.client = f"ray://127.0.0.1:{self._ports[1]}" if dashboard else ""
        self.dashboard = f"http://127.0.0.1:{self._ports[2]}" if dashboard else ""

    def up(self) -> None:
        """Starts whatever of it is not there; a node without its head is started anew."""
        self.start_head()
        if not self._lives("second"):
            self._start("second", f"--address={self.address}")

    def start_head(self) -> None:
        """Starts the head alone, if it is not there."""
        if not self._lives("head"):
            self.down()
            served = f"--dashboard-port={self._ports[2]}" if self._dashboard else "--include-dashboard=false"
            client = f"--ray-client-server-port={self._ports[1]}"
            self._start("head", "--head", f"--port={self._ports[0]}", client, served, *self._place)

    def kill_worker(self, chance: random.Random, how: int = signal.SIGKILL) -> bool:
        """Sends a signal to a process in which a trial runs; SIGKILL is what the kernel sends when memory is gone."""
        found = self.trials()
        if not found:
            return False
        with suppress(psutil.NoSuchProcess):
            chance.choice(found).send_signal(how)
        return True

    def trials(self) -> list[psutil.Process]:
        """Processes in which trials run, on all nodes."""
        return processes_of_trials([node.pid for node in self._nodes.values()])

    def kill(self, name: str) -> None:
        """Kills a node with everything on it."""
        node = self._nodes.pop(name)
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        node.wait()

    def terminate(self, name: str) -> None:
        """Asks a node to end, as a queue does whose time limit is over."""
        node = self._nodes[name]
        node.terminate()
        with suppress(subprocess.TimeoutExpired):
            node.wait(ENDS_WITHIN)
        self.kill(name)

    def preempt(self, name: str) -> bool:
        """Takes a node away after a notice, as a cloud does with a spot machine."""
        node_id = self._node_id(name)
        if node_id is None:
            return False
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "drain-node",
            f"--address={self.address}",
            f"--node-id={node_id}",
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=taken back",
            f"--deadline-remaining-seconds={NOTICE}",
        ]
        environment = self._environment or cluster_environment()
        if subprocess.run(command, capture_output=True, env=environment, check=False).returncode != 0:
            return False
        time.sleep(NOTICE)
        self.kill(name)
        return True

    def _node_id(self, name: str) -> str | None:
        with suppress(psutil.Error):
            for process in psutil.Process(self._nodes[name].pid).children(recursive=True):
                for word in process.cmdline():
                    if word.startswith("--node_id="):
                        return word.partition("=")[2]
        return None

    def down(self) -> None:
        for name in list(self._nodes):
            self.kill(name)

    def _lives(self, name: str) -> bool:
        return name in self._nodes and self._nodes[name].poll() is None

    def _start(self, name: str, *options: str) -> None:
        # Ports of its own, as other clusters may run on this machine.
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            *options,
            *self._sizes,
            "--block",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--dashboard-agent-grpc-port={free_port()}",
            "--object-store-memory=100000000",
            "--disable-usage-stats",
        ]
        path = self._folder / f"{name}.log"
        before = path.read_text(errors="replace", encoding="utf-8").count(STARTED) if path.exists() else 0
        with path.open("ab") as log:
            self._nodes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment or cluster_environment()
            )
        deadline = time.monotonic() + STARTS_WITHIN
        while path.read_text(errors="replace", encoding="utf-8").count(STARTED) == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Ray's {name} node does not start; see {path}")
            time.sleep(0.2)


def processes_of_trials(parents: list[int]) -> list[psutil.Process]:
    """Processes below others in which a trial runs; Ray writes the actor's class into their title."""
    found: list[psutil.Process] = []
    for parent in parents:
        with suppress(psutil.NoSuchProcess):
            found += [process for process in psutil.Process(parent).children(recursive=True) if _is_trial(process)]
    return found


def _is_trial(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "Trainable" in " ".join(process.cmdline())
    return False


def cluster_environment() -> dict[str, str]:
    """What processes of a test's cluster, and their drivers, are started with: they find checkout and fakes."""
    paths = [str(ROOT / folder) for folder in (".", "workers", "dashboards", "benchmarks", "tests")]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **os.environ,
        "PATH": programs,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
        "PYTHONWARNINGS": "ignore",
    }


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
