"""What a page starts runs beside it, is seen while it runs, and ends with it."""

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from piip_dashboards.web.access import REQUEST_HEADER, REQUEST_VALUE
from piip_dashboards.web.app import create_app
from piip_dashboards.web.jobs import CommandJobs, JobView
from support.sites import Site


@pytest.fixture
def jobs() -> Iterator[CommandJobs]:
    found = CommandJobs()
    yield found
    found.close()


def seen(look: Callable[[], JobView | None], wanted: Callable[[JobView], bool]) -> JobView:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        view = look()
        if view is not None and wanted(view):
            return view
        time.sleep(0.05)
    raise AssertionError(f"not seen; last: {look()}")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_last_lines_are_seen_while_it_runs_and_how_it_ended(jobs: CommandJobs, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        "import pathlib, time\nfor i in range(40): print('line', i, flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)\nprint('<b>over</b>')"
    )
    assert jobs.view("one") is None
    jobs.start("one", python(code))
    running = seen(lambda: jobs.view("one"), lambda view: view.lines[-1:] == ["line 39"])
    assert (running.state, len(running.lines)) == ("running", 12)
    jobs.start("one", python("print('a second one')"))  # while the first runs
    go.touch()
    done = seen(lambda: jobs.view("one"), lambda view: view.state != "running")
    assert (done.state, done.lines[-1]) == ("done", "<b>over</b>")
    jobs.start("one", python("import sys; sys.exit('no luck')"))
    failed = seen(lambda: jobs.view("one"), lambda view: view.state != "running")
    assert (failed.state, failed.lines) == ("failed", ["no luck"])


def test_what_runs_ends_with_the_dashboard(tmp_path: Path) -> None:
    jobs, file = CommandJobs(), tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(file)!r}).write_text(str(os.getpid())); time.sleep(600)"
    jobs.start("one", python(code))
    seen(lambda: jobs.view("one"), lambda view: file.exists() and bool(file.read_text(encoding="utf-8")))
    jobs.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text(encoding="utf-8")), 0)


def test_an_export_that_fails_says_why(past: Site) -> None:
    """The process is a real one; its home holds no ledger, as where a folder was moved away."""
    fingerprint = past.service.reading("big").representatives[0].candidate.architecture.fingerprint
    service = past.service
    folder = service.export_folder("big", fingerprint)
    assert folder is not None
    environment = {"PIIP_SEARCH_HOME": str(past.home / "nowhere"), "PYTHONPATH": os.pathsep.join(sys.path)}
    service.jobs.start(
        service.export_key("big", fingerprint), service.export_command("big", fingerprint, folder), environment
    )
    failed = seen(
        lambda: service.jobs.view(service.export_key("big", fingerprint)), lambda view: view.state == "failed"
    )
    assert "no ledger at" in " ".join(failed.lines)
    text = past.client.get(f"/search/big/design/{fingerprint}/part/export").text
    assert "The export failed" in text
    assert (
        past.client.post("/search/big/design/none/export", headers={REQUEST_HEADER: REQUEST_VALUE}).status_code == 404
    )


def test_a_known_cluster_is_told_to_stop_a_search_and_to_go_on_with_it(past: Site) -> None:
    """No cluster answers here: what is told is the command's own error, with the address."""
    service = past.service
    assert "cluster" not in past.client.get("/search/big").text
    unknown = past.client.post("/search/big/stop", headers={REQUEST_HEADER: REQUEST_VALUE})
    assert (unknown.status_code, "start the dashboard with --address" in unknown.text) == (409, True)
    known = dataclasses.replace(service, cluster="http://127.0.0.1:1", spaces=tempfile.TemporaryDirectory())
    with TestClient(create_app(known), base_url="http://127.0.0.1") as client:
        assert "part/cluster" in client.get("/search/big").text
        assert "Go on with it" in client.get("/search/big/part/cluster").text
        assert client.post("/search/big/burn", headers={REQUEST_HEADER: REQUEST_VALUE}).status_code == 400
        assert client.post("/search/none/stop", headers={REQUEST_HEADER: REQUEST_VALUE}).status_code == 404
        assert client.post("/search/big/stop").status_code == 403
        for action in ("stop", "start"):
            assert client.post(f"/search/big/{action}", headers={REQUEST_HEADER: REQUEST_VALUE}).json() == {
                "state": "running"
            }
            assert "Asking the cluster" in client.get("/search/big/part/cluster").text
            seen(lambda: known.jobs.view(known.cluster_key("big")), lambda view: view.state == "failed")
            text = client.get("/search/big/part/cluster").text
            assert "It failed" in text
            assert "127.0.0.1:1" in text
