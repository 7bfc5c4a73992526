"""Kills what a search runs on, at random, and checks that nothing is lost and nothing is measured twice.

python benchmarks/faults.py --kills 50
python benchmarks/faults.py --kills 2 --trials 8 --searches random --database sqlite --mirror file    # as the tests do

Searches run on a Ray cluster of two nodes that is started on this machine, with a trainer that really trains (a
small network on scikit-learn's digits, a checkpoint an epoch), a ledger and an MLflow mirror. What is taken away:

- by SIGKILL: a worker's process (as the kernel does when memory is gone), a node, the head, the driver, the MLflow
  server, PostgreSQL; and the connections to PostgreSQL are cut;
- by SIGTERM: a worker's process, a node, the driver;
- a node, after the notice that a cloud gives of a spot machine (`ray drain-node`);
- memory: a program fills it until Ray's memory monitor ends trials, at a threshold that leaves the machine enough;
- the disk of the trials, that of Ray's sessions, or that of a SQLite ledger, filled to its last byte (small ones of
  their own, where this process may mount them).

Whoever dies is started again, as an operator would: the driver by the same command; and a full disk is emptied.
Afterwards, from the trainer's own log, the ledger and the mirror:

- lost: proposals without an evaluation, and evaluations that failed;
- measured twice: measurements and epochs that the trainer made more than once;
- front: equal to that of an undisturbed run (where proposals do not depend on results), and every proposal and
  promotion that which a search makes when it is given the same results in the same order;
- mirror: one child for each training, with the ledger's numbers.
"""

import argparse
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_search.ledger import Ledger
from piip_search.search.search import open_search

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from fault_targets import MlflowServer, SmallDisk, ledger_url  # noqa: E402

from support.memory import fill_memory, memory_monitor  # noqa: E402
from support.two_nodes import Cluster, cluster_environment  # noqa: E402

SPEC: dict[str, Any] = {
    "name": "faults",
    "space": {
        "backbones": ["vit_micro", "vit_nano", "vit_pico"],
        "resolutions": [32, 64, 96, 128],
        "windows": ["global", 4],
        "interactions": [0, 1, 2],
        "branches": [1, 2, 3],
    },
    "limit": {"gmacs": [0.02, 0.06], "convention": "backbone"},
    "fidelity": {"epochs": 6},
    "data": {"embedded": "digits"},
}
SEARCHES: dict[str, dict[str, Any]] = {
    "random": {"sampler": "random", "budget": {"trials": 24}},
    "rungs": {"sampler": "piip", "budget": {"trials": 18}, "schedule": {"rungs": [2], "keep": 3}},
}
"""One whose proposals do not depend on results, so that an undisturbed run has the same front; one with rungs."""
ROOM = 5.0
"""GiB more than at the start that may be in use before Ray's memory monitor ends trials: others work on the machine."""
SETTLE = 4.0
FULL_FOR = 8.0
"""Seconds for which a disk stays full at most."""


def train(candidate: Candidate, data: str, folder: str, pause: float) -> Evaluation:
    """Trains a small network for the candidate's epochs, from the checkpoint if there is one; logs what it does."""
    home = Path(folder) / candidate.training
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _trained(candidate, np.load(data), home, Path(data).with_name("log.jsonl"), pause)


def _trained(candidate: Candidate, data: Any, home: Path, log: Path, pause: float) -> Evaluation:
    width = 4 + sum(branch.resolution for branch in candidate.architecture.branches) // 8
    checkpoint, epochs = home / "checkpoint.npz", candidate.fidelity.epochs
    start = np.random.default_rng([candidate.seed, width])
    weights = [start.normal(0, 0.2, (64, width)), start.normal(0, 0.2, (width, 10))]
    done, losses = 0, []
    if checkpoint.exists():
        kept = np.load(checkpoint)
        done, losses, weights = int(kept["done"]), list(kept["losses"]), [kept["first"], kept["second"]]
    for epoch in range(done, epochs):
        losses.append(_epoch(weights, data, np.random.default_rng([candidate.seed, width, epoch])))
        time.sleep(pause)
        draft = home / "draft.npz"
        np.savez(draft, done=epoch + 1, losses=losses, first=weights[0], second=weights[1])
        draft.replace(checkpoint)
        _note(log, {"epoch": epoch + 1, "training": candidate.training})
    hidden = np.tanh(data["x_val"] @ weights[0])
    accuracy = float(((hidden @ weights[1]).argmax(1) == data["y_val"]).mean())
    _note(log, {"measured": candidate.number})
    history = tuple({"epoch": float(index + 1), "loss": float(loss)} for index, loss in enumerate(losses))
    return Evaluation(candidate, "done", {"bbox_mAP": accuracy}, seconds=pause * epochs, history=history)


def _epoch(weights: list[Any], data: Any, generator: np.random.Generator) -> float:
    order, total = generator.permutation(len(data["x"])), 0.0
    for rows in np.array_split(order, len(order) // 32):
        x, y = data["x"][rows], data["y"][rows]
        hidden = np.tanh(x @ weights[0])
        scores = hidden @ weights[1]
        share = np.exp(scores - scores.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        total -= float(np.log(share[np.arange(len(y)), y] + 1e-9).sum())
        share[np.arange(len(y)), y] -= 1
        back = (share @ weights[1].T) * (1 - hidden**2)
        weights[1] -= 0.01 * hidden.T @ share
        weights[0] -= 0.01 * x.T @ back
    return total / len(order)


def _note(log: Path, what: dict[str, Any]) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")


def drive(settings: dict[str, Any]) -> None:
    """What `piip-search run` does, with the trainer above."""
    from piip_search.ledger.environment import circumstances
    from piip_workers.jobs.job import Work
    from piip_workers.runners import ray_cluster, ray_tune
    from piip_workers.runners.ray_driver import TrialResources
    from piip_workers.tracking.background import InBackground
    from piip_workers.tracking.search_run import MlflowTracker

    def told(text: str) -> None:
        print(text, flush=True)

    folder = Path(settings["folder"])
    ray_cluster.connect(settings["address"])
    ledger = Ledger(settings["ledger"], told)
    mirror = InBackground(lambda: MlflowTracker(settings["mlflow"], settings["artifacts"]), told, patience=60)
    spec = parse_spec(settings["spec"])
    search = open_search(spec.name, spec, ledger, "recipe", mirror, circumstances=circumstances())
    arguments = {"data": settings["data"], "folder": str(folder / "trials"), "pause": settings["pause"]}
    work = Work("faults:train", arguments, str(folder / "trials" / "results" / search.uid))
    ray_tune.run(search, work, folder / "ray", placement=TrialResources(retries=settings["retries"]), notify=told)
    ledger.close()
    print(search.ending, len(search.evaluations), len(search.running), flush=True)
    if search.running or search.halted:
        sys.exit(1)


class Run:
    """One disturbed search."""

    def __init__(self, kind: str, number: int, options: argparse.Namespace, folder: Path) -> None:
        self.kind, self.folder, self._options = kind, folder, options
        self._random = random.Random(f"{options.seed} {number}")
        trials = {"budget": {"trials": options.trials}} if options.trials else {}
        self.spec = parse_spec({**SPEC, **SEARCHES[kind], **trials, "seed": number})
        self.killed: Counter[str] = Counter()
        self.starts = 0

    def to_the_end(self, most: int) -> dict[str, Any]:
        """Drives the search, kills up to so many times, and checks."""
        folder, options = self.folder, self._options
        folder.mkdir(parents=True)
        kills: dict[str, Callable[[], Any]] = {}
        disks = {"disk of the trials": SmallDisk(folder / "trials", 64), "disk of Ray": SmallDisk(folder / "ray", 256)}
        with ledger_url(options.database, folder, kills, disks) as url:
            cluster = Cluster(
                folder, environment={**cluster_environment(), **memory_monitor(ROOM)}, temporary=folder / "ray"
            )
            server = MlflowServer(folder, options.mirror == "server")
            kills |= {
                "worker": lambda: cluster.kill_worker(self._random),
                "worker terminated": lambda: cluster.kill_worker(self._random, signal.SIGTERM),
                "memory": lambda: self._fill_memory(cluster),
                "node": lambda: cluster.kill("second"),
                "node terminated": lambda: cluster.terminate("second"),
                "node preempted": lambda: cluster.preempt("second"),
                "driver": lambda: None,
                "driver terminated": lambda: None,
                **({"head": lambda: cluster.kill("head")} if options.head else {}),
                **({"MLflow server": server.kill} if options.mirror == "server" else {}),
                **{name: disk.fill for name, disk in disks.items() if disk.mounted},
            }
            kills = {name: kill for name, kill in kills.items() if not options.of or name in options.of.split(",")}
            settings = {
                "folder": str(folder),
                "ledger": url,
                "spec": self.spec.model_dump(mode="json"),
                "mlflow": server.uri,
                "artifacts": server.artifacts,
                "address": cluster.address,
                "data": str(_digits(folder)),
                "pause": options.pause,
                "retries": 20,
            }
            file = folder / "settings.json"
            file.write_text(json.dumps(settings), encoding="utf-8")
            try:
                self._disturbed(cluster, server, kills, disks, file, most)
                server.up()
                return self._checked(url, server.store)
            finally:
                server.kill()
                cluster.down()
                for disk in disks.values():
                    disk.gone()

    def _disturbed(
        self,
        cluster: Cluster,
        server: MlflowServer,
        kills: dict[str, Callable[[], Any]],
        disks: dict[str, SmallDisk],
        settings: Path,
        most: int,
    ) -> None:
        names, driver = list(kills), None
        deadline = time.monotonic() + self._options.limit
        while True:
            cluster.up()
            server.up()
            if driver is None or driver.poll() is not None:
                if driver is not None and driver.returncode == 0:
                    return
                driver = self._driver(settings)
            if time.monotonic() > deadline:
                driver.kill()
                raise TimeoutError(f"the search did not end in {self._options.limit} s; see {self.folder}")
            if sum(self.killed.values()) >= most or not self._busy():
                time.sleep(0.5)
                continue
            time.sleep(self._random.uniform(0.5, SETTLE))
            if driver.poll() is not None:
                continue
            name = self._random.choice(names)
            if kills[name]() is False:
                continue
            if name in DRIVERS:
                driver.send_signal(DRIVERS[name])
                driver.wait()
            if name in disks:  # a ledger waits for its disk; a trial that meets a full one ends the driver
                with suppress(subprocess.TimeoutExpired):
                    driver.wait(FULL_FOR)
                disks[name].free()
            self.killed[name] += 1
            print(f"  {self.kind}: {name} killed ({sum(self.killed.values())} of {most})", flush=True)

    def _fill_memory(self, cluster: Cluster) -> bool:
        """Fills the memory until the monitor ended a trial."""
        trials = cluster.trials()
        return bool(trials) and fill_memory(lambda: not all(trial.is_running() for trial in trials), ROOM)

    def _driver(self, settings: Path) -> subprocess.Popen[bytes]:
        self.starts += 1
        log = (self.folder / "driver.log").open("ab")
        command = [sys.executable, __file__, "drive", str(settings)]
        self._begun = self._lines()
        return subprocess.Popen(command, stdout=log, stderr=log, env=cluster_environment())

    def _busy(self) -> bool:
        """Whether the trainer did something since the driver began: before that, killing proves little."""
        return self._lines() > self._begun

    def _lines(self) -> int:
        log = self.folder / "log.jsonl"
        return len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0

    def _checked(self, url: str, store: str) -> dict[str, Any]:
        log = [json.loads(line) for line in (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        measured = Counter(line["measured"] for line in log if "measured" in line)
        epochs = Counter((line["training"], line["epoch"]) for line in log if "epoch" in line)
        with closing(Ledger(url)) as ledger:
            evaluations = ledger.evaluations(self.spec.name)
            for evaluation in evaluations:
                if evaluation.status == "failed":
                    print(f"  {self.kind}: trial {evaluation.candidate.number} failed: {evaluation.error}")
            return {
                "search": self.kind,
                "driver starts": self.starts,
                "kills": sum(self.killed.values()),
                "evaluations": len(evaluations),
                "lost": len(ledger.unfinished(self.spec.name)) + sum(e.status == "failed" for e in evaluations),
                "measured twice": sum(count - 1 for count in measured.values())
                + len(evaluations)
                - len({e.candidate.number for e in evaluations}),
                "epochs twice": sum(count - 1 for count in epochs.values()),
                "proposals as undisturbed": replayed(self.spec, ledger),
                "front as undisturbed": "yes" if self.kind != "random" else _same_front(self.spec, ledger, self.folder),
                "mirror": mirrored(store, ledger, self.spec.name),
            }


def replayed(spec: SearchSpec, ledger: Ledger) -> str:
    """Whether a search that is given the same results in the same order proposes the same."""
    search = open_search(spec.name, spec, Ledger("sqlite://"), "recipe")
    for item in ledger.events(spec.name):
        if isinstance(item, Evaluation):
            search.accept(item)
        elif (proposed := search.propose()) != item:
            return f"no: {item.number} {item.architecture} {item.fidelity.epochs}, not {proposed}"
    return "yes"


def _same_front(spec: SearchSpec, ledger: Ledger, folder: Path) -> str:
    """Whether the front is that of a run in one process that nothing disturbs."""
    from piip_workers.jobs.job import Work
    from piip_workers.runners import local

    undisturbed = open_search(spec.name, spec, Ledger("sqlite://"), "recipe")
    arguments = {"data": str(_digits(folder)), "folder": str(folder / "undisturbed"), "pause": 0.0}
    local.run(undisturbed, Work("faults:train", arguments))
    disturbed = open_search(spec.name, spec, ledger, "recipe")
    fronts = [
        [[(e.candidate.number, e.metrics) for e in front.evaluations] for front in search.fronts()]
        for search in (undisturbed, disturbed)
    ]
    return "yes" if fronts[0] == fronts[1] else "no"


def mirrored(store: str, ledger: Ledger, run: str) -> str:
    """Whether MLflow holds one child for each training, with the ledger's metrics, and the parent each step once."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("piip-search")
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    children = [found for found in runs if found.data.tags["piip.role"] == "evaluation"]
    parents = [found for found in runs if found.data.tags["piip.role"] == "search"]
    evaluations = ledger.evaluations(run)
    trainings = {evaluation.candidate.training for evaluation in evaluations}
    numbers = sorted(int(n) for child in children for n in child.data.tags["piip.numbers"].split(","))
    if len(parents) != 1 or len(children) != len(trainings):
        return f"no: {len(parents)} parents, {len(children)} children for {len(trainings)} trainings"
    if numbers != sorted(evaluation.candidate.number for evaluation in evaluations):
        return f"no: it has {numbers}"
    by_training = {child.data.tags["piip.training"]: child for child in children}
    for evaluation in evaluations:
        child = by_training[evaluation.candidate.training]
        points = client.get_metric_history(child.info.run_id, "bbox_mAP")
        values = [p.value for p in points if p.step == evaluation.candidate.fidelity.epochs]
        if values != list(evaluation.metrics.values()):
            return f"no: trial {evaluation.candidate.number} has {values}"
    steps = [point.step for point in client.get_metric_history(parents[0].info.run_id, "hypervolume")]
    return "yes" if steps == list(range(1, len(evaluations) + 1)) else f"no: the parent's steps are {steps}"


def _digits(folder: Path) -> Path:
    path = folder / "digits.npz"
    if not path.exists():
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        x = x / 16.0
        np.savez(path, x=x[:1200], y=y[:1200], x_val=x[1200:], y_val=y[1200:])
    return path


DRIVERS = {"driver": signal.SIGKILL, "driver terminated": signal.SIGTERM}
GOOD = {"lost": 0, "measured twice": 0, "epochs twice": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="in all searches together")
    parser.add_argument("--each", type=int, default=10, help="in one search at most")
    parser.add_argument("--searches", default="random,rungs", help="kinds of searches, in turn")
    parser.add_argument("--trials", type=int, help="of each search, in place of its own")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--mirror", choices=["file", "server"], default="server")
    parser.add_argument("--no-head", dest="head", action="store_false", help="leave Ray's head alone")
    parser.add_argument("--of", help="what is killed, with commas between; all there is by default")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds that an epoch takes at least")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for one search")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.update(cluster_environment())
    sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "workers")]
    kinds, rows, left, number = options.searches.split(","), [], options.kills, 0
    with tempfile.TemporaryDirectory(prefix="piip-faults-", ignore_cleanup_errors=True) as folder:
        while left > 0:
            run = Run(kinds[number % len(kinds)], number, options, Path(folder) / str(number))
            rows.append(run.to_the_end(min(left, options.each)))
            print(json.dumps({**rows[-1], "killed": dict(run.killed)}), flush=True)
            left, number = left - rows[-1]["kills"], number + 1
    print(f"\n| {' | '.join(rows[0])} |\n|{' --- |' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")
    bad = [row for row in rows if any(row[name] for name in GOOD) or any(str(v).startswith("no") for v in row.values())]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        drive(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    else:
        main()
