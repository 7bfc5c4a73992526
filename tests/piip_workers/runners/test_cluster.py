"""A cluster of two nodes that is really there: joined from a node and from elsewhere, sent jobs, shared GPUs."""

import http.server
import json
import os
import re
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from piip_search.api.jobs import mark_of, stop_search
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.errors import ClusterError
from piip_search.owner import Owner
from support.typed import Cli

for package in ("ray", "psutil", "grpc", "aiohttp"):
    pytest.importorskip(package)
from support import ROOT, onlooker  # noqa: E402
from support.asking_postgres import asking_postgres  # noqa: E402
from support.two_nodes import Cluster, cluster_environment  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of 2 CPUs and, as they say, one GPU each."""
    sessions = Path(tempfile.mkdtemp(dir="/tmp"))
    sessions.chmod(0o755)  # as Ray's own folder
    started = Cluster(tmp_path_factory.mktemp("cluster"), gpus=1, dashboard=True, temporary=sessions)
    try:
        started.up()
        yield started
    finally:
        started.down()
        shutil.rmtree(sessions, ignore_errors=True)


def drive(address: str, folder: Path, spec: SearchSpec, **options: Any) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    asked = {
        "address": address,
        "folder": str(folder),
        "spec": spec.model_dump(mode="json"),
        "function": "support.fakes:measure",
        "settings": {},
        **options,
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tests" / "support" / "drive.py"), json.dumps(asked)],
        capture_output=True,
        text=True,
        env=cluster_environment(),
        timeout=240,
        check=False,
    )


def told(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the driver printed, among what Ray prints."""
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    content: dict[str, Any] = json.loads(line)
    return content


def changed(spec: SearchSpec, **changes: Any) -> SearchSpec:
    return parse_spec({**spec.model_dump(mode="json"), "sampler": "random", **changes})


def test_a_search_is_the_same_from_a_node_and_from_elsewhere(
    cluster: Cluster, spec: SearchSpec, tmp_path: Path
) -> None:
    few = changed(spec, budget={"trials": 6})
    found = []
    for name, address in (("node", cluster.address), ("elsewhere", cluster.client)):
        ended = drive(address, tmp_path / name, few, settings={"fail": [2], "die": 4}, packages=["numpy"])
        assert ended.returncode == 0, ended.stdout + ended.stderr
        found.append(told(ended))
    assert [one.pop("client") for one in found] == [False, True]
    assert found[0] == found[1]
    assert found[0]["running"] == 0
    assert found[0]["ending"] == "the budget of trials is spent"
    assert [status for _, status in found[0]["evaluations"].values()].count("failed") == 2


def test_trials_share_gpus_by_what_they_are_predicted_to_take(
    cluster: Cluster, spec: SearchSpec, tmp_path: Path
) -> None:
    shared = changed(
        spec,
        budget={"trials": 10},
        resources={"cpu": 0.5, "gpu": "auto", "gpu_memory": 4},
        training={"channels": 64, "batch_size": 128},
    )
    log = tmp_path / "log.jsonl"
    ended = drive(
        cluster.address,
        tmp_path / "home",
        shared,
        function="support.fakes:noted",
        share="support.fakes:keep_to",
        settings={"log": str(log), "seconds": 2.0},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    notes = {note["number"]: note for note in map(json.loads, log.read_text(encoding="utf-8").splitlines())}
    evaluations = told(ended)["evaluations"]
    assert len(notes) == 10
    for number, (name, _) in evaluations.items():
        share = shared.gpu_of(Architecture.parse(name))
        assert notes[int(number)]["resources"]["GPU"] == pytest.approx(share)
        assert float(notes[int(number)]["kept_to"]) == share
    shares = {note["resources"]["GPU"] for note in notes.values()}
    assert len(shares) > 1
    at_once = []
    for note in notes.values():
        beside = [
            other
            for other in notes.values()
            if other["node"] == note["node"] and other["began"] <= note["began"] < other["ended"]
        ]
        assert sum(other["resources"]["GPU"] for other in beside) <= 1 + 1e-6
        at_once.append(len(beside))
    assert max(at_once) > 1


def test_every_trial_may_have_a_process_of_its_own(cluster: Cluster, spec: SearchSpec, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    own = changed(spec, budget={"trials": 3}, resources={"cpu": 2, "reuse_actors": False})
    ended = drive(cluster.address, tmp_path / "home", own, function="support.fakes:noted", settings={"log": str(log)})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len({json.loads(line)["process"] for line in log.read_text(encoding="utf-8").splitlines()}) == 3


def test_a_cluster_that_is_not_ready_is_one_error_before_anything_starts(
    cluster: Cluster, spec: SearchSpec, tmp_path: Path
) -> None:
    for address in (cluster.address, cluster.client):
        ended = drive(address, tmp_path, spec, packages=["no_such_package"])
        assert ended.returncode == 1
        assert "the cluster is not ready:" in ended.stderr
        assert len(re.findall(r"node \S+: no_such_package not installed", ended.stderr)) == 2
        assert not (tmp_path / "ledger.db").exists()
    ended = drive(cluster.address, tmp_path, changed(spec, resources={"custom": {"a100": 1}}))
    assert "a trial needs 1 CPU, 1 a100, and no node of the cluster has that much" in ended.stderr


def test_what_a_node_tells_of_itself(tmp_path: Path) -> None:
    from piip_workers.runners.ray_cluster import looked_at_from

    (tmp_path / "marker").touch()
    seen = looked_at_from(["numpy", "no_such_package"], str(tmp_path / "marker"))()
    assert seen["missing"] == ["no_such_package"]
    assert seen["shared"]
    assert not looked_at_from([], str(tmp_path / "elsewhere"))()["shared"]


@pytest.fixture
def submitted(tmp_path: Path) -> tuple[str, ...]:
    """A real search of two tiny designs that each train for an epoch, as submit is told of it."""
    content = yaml.safe_load(find_space("quickstart").read_text(encoding="utf-8"))
    content |= {"name": "sent", "budget": {"trials": 2}, "sampler": "random"}
    content["space"] = {"backbones": ["vit_nano", "vit_pico"], "resolutions": [32, 64], "branches": [1, 2]}
    content["limit"]["gmacs"] = [0.05]
    content["fidelity"] = {"epochs": 1, "data_fraction": 0.05}
    (tmp_path / "it's a space.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return (str(tmp_path / "it's a space.yaml"), "--home", str(tmp_path / "shared home"), "--mlflow", "none")


def test_a_search_is_sent_followed_stopped_and_goes_on(
    cluster: Cluster, run_cli: Cli, tmp_path: Path, submitted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("mmdet", "psycopg"):
        pytest.importorskip(package)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    at = ("--address", cluster.dashboard)
    database = f"sqlite:///{tmp_path}/shared home/ledger.db"
    sent = run_cli("submit", *submitted, *at, "--trials", "40", "--ledger", database, "--json")
    assert sent.code == 0, sent.err
    job = json.loads(sent.out)["id"]
    assert job.startswith("sent-")
    assert run_cli("status", "sent", *at, "--quiet").out.strip() in ("pending", "running")
    stopped = run_cli("stop", job, *at)
    assert "run the same submit again" in stopped.out
    followed = run_cli("submit", *submitted, *at, "--ledger", database, "--follow")
    assert followed.code == 0, followed.out + followed.err
    assert re.search(r"2 done, 0 failed, [12] new", followed.out)
    listed = json.loads(run_cli("status", *at, "--json").out)
    assert [one["status"] for one in listed if one["run"] == "sent"] == ["stopped", "succeeded"]
    assert "2 done, 0 failed" in run_cli("logs", "sent", *at).out
    shown = run_cli("show", "sent", "--home", str(tmp_path / "shared home"))
    assert "sent: 2 done, 0 failed, 0 unfinished" in shown.out
    other = run_cli("status", "nothing", *at)
    assert (other.code, "no job nothing at" in other.err) == (2, True)


def test_a_password_reaches_the_driver_and_nobody_else(
    cluster: Cluster, run_cli: Cli, submitted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    if os.geteuid() != 0:
        pytest.skip("only root can look as another user")
    from ray.job_submission import JobSubmissionClient

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    secret = secrets.token_hex(16)
    with asking_postgres() as server:
        monkeypatch.setenv("PIIP_SEARCH_LEDGER", f"postgresql://me:{secret}@127.0.0.1:{server.port}/none")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{secret}@127.0.0.1:1")
        monkeypatch.setenv("OWN_TOKEN", secret)
        at = ("--address", cluster.dashboard, "--name", "secret", "--env", "OWN_TOKEN", "--follow")
        assert cluster.temporary is not None
        shown = ".secrets-"
        places = cluster.temporary
        with onlooker.looked_for(secret, places) as seen, onlooker.looked_for(shown, places) as seen_path:
            followed = run_cli("submit", *submitted[:3], *at)
    assert followed.code == 2, followed
    assert server.passwords[:1] == [secret]
    assert seen == []
    assert seen_path, "what is public is seen"
    assert "ledger postgresql" in followed.out
    assert secret not in followed.out + followed.err
    client = JobSubmissionClient(cluster.dashboard)
    (job,) = [one for one in client.list_jobs() if (one.metadata or {}).get("piip-search run") == "secret"]
    assert secret not in str(job) + client.get_job_logs(str(job.submission_id))
    assert secret not in run_cli("status", "secret", "--address", cluster.dashboard).out
    (file,) = Path(submitted[2]).glob(".secrets-*/secret.env")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_each_user_stops_only_their_own_search(
    cluster: Cluster, run_cli: Cli, submitted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("mmdet")
    from ray.job_submission import JobSubmissionClient

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    at = ("--address", cluster.dashboard)
    long = ("--trials", "400", "--name", "shared", "--mlflow", "none", "--quiet")

    def submit(owner: str) -> str:
        monkeypatch.setenv("PIIP_SEARCH_OWNER", f"{owner}@laptop")
        home = tmp_path / owner
        sent = run_cli("submit", submitted[0], "--home", str(home), *long, *at)
        assert sent.code == 0, sent.err
        return sent.out.strip()

    def status(job: str) -> str:
        return run_cli("status", job, *at, "--quiet", "--force").out.strip()

    alices, bobs = submit("alice"), submit("bob")
    foreign = JobSubmissionClient(cluster.dashboard).submit_job(entrypoint="sleep 600", submission_id="raysubmit_carol")
    listed = {one["id"]: one for one in json.loads(run_cli("status", *at, "--json").out)}
    assert listed[alices]["owner"] == "alice@laptop"
    assert listed[bobs]["home"] == str(tmp_path / "bob")
    refused = run_cli("stop", alices, *at)
    assert (refused.code, "is not yours" in refused.err, "--force" in refused.err) == (2, True, True)
    refused = run_cli("stop", foreign, *at, "--force")
    assert (refused.code, "is not one of ours" in refused.err) == (2, True)
    monkeypatch.setenv("PIIP_SEARCH_OWNER", "alice@desktop")
    home = ("--home", str(tmp_path / "alice"))
    end = time.monotonic() + 120
    while run_cli("show", "shared", *home).code and time.monotonic() < end:
        time.sleep(1)
    stopped = run_cli("stop", "shared", *at, *home)
    log = json.loads(run_cli("ledger", "log", "shared", *home, "--json").out)
    assert ("stopped", "alice@desktop", alices) in [
        (one["what"], one["owner"], one["detail"].get("job")) for one in log
    ]
    assert (stopped.code, stopped.out.startswith(f"{alices}: stopped")) == (0, True)
    assert status(bobs) in ("pending", "running")
    again = run_cli("stop", "shared", *at)
    assert (again.code, "nothing was stopped" in again.out) == (1, True)
    with pytest.raises(ClusterError, match="not yours"):
        stop_search(mark_of("shared", tmp_path / "bob", None, Owner("alice")), cluster.dashboard)
    ended = stop_search(mark_of("shared", tmp_path / "bob", None, Owner("bob")), cluster.dashboard)
    assert str(ended) == f"{bobs}: stopped; run the same submit again: the search goes on where it stopped"
    assert JobSubmissionClient(cluster.dashboard).get_job_status(foreign).value in ("PENDING", "RUNNING")
    JobSubmissionClient(cluster.dashboard).stop_job(foreign)


class Dashboard(http.server.BaseHTTPRequestHandler):
    """Stands in for the dashboard of another machine's cluster, which wants a token or none."""

    token = ""

    def do_GET(self) -> None:
        guarded = self.token and self.headers.get("Authorization") != f"Bearer {self.token}"
        content = b"Unauthorized" if guarded else json.dumps({"ray_version": "2.60.0", "version": "4"}).encode()
        self.send_response(401 if guarded else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


def own_address() -> str:
    """An address of this machine that other machines see."""
    import psutil

    found = [
        one.address for several in psutil.net_if_addrs().values() for one in several if one.family == socket.AF_INET
    ]
    others = [address for address in found if not address.startswith("127.")]
    if not others:
        pytest.skip("this machine has no address beside its loopback")
    return others[0]


@pytest.mark.parametrize(
    ("token", "options", "told"),
    [
        ("", [], "takes jobs without a token, from everyone who reaches it"),
        ("", ["--no-token-needed"], "501"),
        ("f" * 64, [], "501"),
    ],
)
def test_a_cluster_of_other_machines_must_want_a_token(
    token: str, options: list[str], told: str, submitted: tuple[str, ...], tmp_path: Path
) -> None:
    host = own_address()
    handler = type("Handler", (Dashboard,), {"token": token})
    with http.server.ThreadingHTTPServer((host, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
        at = ["--address", f"http://{host}:{server.server_port}", *options]
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "piip_search.cli", "submit", "quickstart", *submitted[1:], *at],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=120,
            check=False,
            env={**cluster_environment(), **given},
        )
        server.shutdown()
    assert ended.returncode == 2
    assert told in ended.stderr, ended.stderr


def test_paths_of_this_machine_are_refused(run_cli: Cli, tmp_path: Path) -> None:
    content = yaml.safe_load(find_space("quickstart").read_text(encoding="utf-8"))
    part = {"images": "images", "annotations": "file.json"}
    content["data"] = {"root": "data", "train": part, "val": part}
    content["training"] |= {"detector": "own.py", "anchor_scale": None}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    ended = run_cli("submit", "space.yaml", "--ledger", "sqlite:///ledger.db", "--mlflow", "mlruns")
    assert ended.code == 2
    assert "space.yaml: 5 problems" in ended.err
    for named in ("--home", "--ledger", "--mlflow", "data.root", "training.detector"):
        assert f"{named} must be" in ended.err
    ended = run_cli("submit", "quickstart", "--home", "/shared/runs", "--env", "NO_SUCH_VARIABLE")
    assert "this shell has no such variable" in ended.err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["run", "quickstart", "--address", "127.0.0.1:1"],
            "no Ray cluster answers at 127.0.0.1:1 (Connection refused)",
        ),
        (["run", "quickstart", "--address", "ray://127.0.0.1:1"], "by default its head listens at 10001 for ray://"),
        (["run", "quickstart", "--address", "somewhere"], "an address is auto, HOST:PORT or ray://HOST:10001"),
        (["run", "quickstart", "--address", "127.0.0.1:99999"], "no Ray cluster answers at"),
        (["status", "--address", "127.0.0.1:1"], "jobs are sent to a dashboard, such as http://HEAD:8265"),
        (["status", "--address", "http://127.0.0.1:1"], "by default the dashboard listens at 8265"),
        (["submit", "quickstart", "--home", "/shared", "--address", "http://127.0.0.1:1"], "no Ray cluster answers at"),
    ],
)
def test_a_cluster_that_does_not_answer_says_so_at_once(run_cli: Cli, command: list[str], message: str) -> None:
    ended = run_cli(*command)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_a_cluster_that_wants_a_token_says_how_to_give_it(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    guarded = Cluster(
        tmp_path_factory.mktemp("guarded"), dashboard=True, environment={**cluster_environment(), **token}
    )
    try:
        guarded.start_head()
        environment = {**cluster_environment(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}
        for command in (
            ["status", "--address", guarded.dashboard],
            ["run", "quickstart", "--address", guarded.address],
        ):
            ended = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "piip_search.cli", *command],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                timeout=120,
                check=False,
                env=environment,
            )
            assert ended.returncode == 2, ended.stderr
            assert "wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in ended.stderr
            assert len(ended.stderr.splitlines()) == 1
    finally:
        guarded.down()
