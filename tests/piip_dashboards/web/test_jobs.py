"""What a page starts runs beside it, is seen while it runs, and ends with it."""

import dataclasses
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from piip_dashboards.web.access import REQUEST_HEADER, REQUEST_VALUE
from piip_dashboards.web.app import create_app
from piip_dashboards.web.jobs import JobView, PageJobs
from piip_search.api.page_actions import page_actions
from piip_search.config import SearchSpec
from piip_search.ledger import Ledger
from support import page_work, small_ledger
from support.sites import Site, site_of


@pytest.fixture
def jobs() -> Iterator[PageJobs]:
    found = PageJobs()
    yield found
    found.close()


def seen(look: Callable[[], JobView | None], wanted: Callable[[JobView], bool], seconds: float = 20) -> JobView:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        view = look()
        if view is not None and wanted(view):
            return view
        time.sleep(0.05)
    raise AssertionError(f"not seen; last: {look()}")


def over(view: JobView) -> bool:
    return view.state != "running"


def test_the_last_lines_are_seen_while_it_runs_and_how_it_ended(jobs: PageJobs, tmp_path: Path) -> None:
    go = tmp_path / "go"
    assert jobs.view("one") is None
    jobs.start("one", partial(page_work.count_until, go))
    running = seen(lambda: jobs.view("one"), lambda view: view.lines[-1:] == ["line 39"])
    assert (running.state, len(running.lines)) == ("running", 12)
    jobs.start("one", page_work.refuse)  # while the first runs
    go.touch()
    done = seen(lambda: jobs.view("one"), over)
    assert (done.state, done.lines[-1], len(done.lines)) == ("done", "<b>over</b>", 12)


def test_what_a_user_can_mend_is_one_message_without_passwords(jobs: PageJobs) -> None:
    jobs.start("one", page_work.refuse)
    assert seen(lambda: jobs.view("one"), over) == JobView(
        "failed",
        [
            "note: looking at postgresql://me:***@host/piip",
            "error: no luck with postgresql://me:***@host/piip",
            "give another",
        ],
    )
    jobs.start("one", page_work.open_nothing)  # once the first has ended
    assert seen(lambda: jobs.view("one"), over).lines == ["error: No such file or directory: /not/there"]


def test_a_bug_keeps_its_traceback_below_what_was_printed(jobs: PageJobs) -> None:
    jobs.start("one", page_work.stumble)
    view = seen(lambda: jobs.view("one"), over)
    assert view.state == "failed"
    assert view.lines[:3] == ["printed by a library", "printed by a program", "Traceback (most recent call last):"]
    assert view.lines[-1] == "IndexError: list index out of range"


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_process_that_dies_is_a_job_that_failed(jobs: PageJobs, code: int) -> None:
    jobs.start("one", partial(page_work.die, code))
    expected = JobView("failed", [f"the process ended with exit code {code}"]) if code else JobView("done", [])
    assert seen(lambda: jobs.view("one"), over) == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_ended_from_outside_says_by_what(
    jobs: PageJobs, tmp_path: Path, number: signal.Signals
) -> None:
    jobs.start("one", partial(page_work.note_down, tmp_path))
    seen(lambda: jobs.view("one"), lambda view: written(tmp_path / "process"))
    os.kill(int((tmp_path / "process").read_text(encoding="utf-8")), number)
    expected = JobView("failed", [f"the process was ended by the signal {number.name}"])
    assert seen(lambda: jobs.view("one"), over) == expected


def test_what_runs_ends_with_the_dashboard_and_tidies_up(tmp_path: Path) -> None:
    jobs = PageJobs()
    jobs.start("one", partial(page_work.note_down, tmp_path))
    seen(lambda: jobs.view("one"), lambda view: written(tmp_path / "process"))
    assert str(tmp_path).encode() not in (tmp_path / "command line").read_bytes()  # as a password would be
    jobs.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "process").read_text(encoding="utf-8")), 0)
    assert (tmp_path / "tidied up").exists()


def written(file: Path) -> bool:
    return file.exists() and bool(file.read_text(encoding="utf-8"))


def test_an_export_that_fails_says_why(past: Site) -> None:
    """The process is a real one; its home holds no ledger, as where a folder was moved away."""
    fingerprint = past.service.reading("big").representatives[0].candidate.design.fingerprint
    service = dataclasses.replace(past.service, actions=page_actions(None, past.home / "nowhere"))
    folder = service.export_folder("big", fingerprint)
    assert folder is not None
    service.start_export("big", fingerprint, folder)
    failed = seen(
        lambda: service.jobs.view(service.export_key("big", fingerprint)), lambda view: view.state == "failed"
    )
    assert "no ledger at" in " ".join(failed.lines)
    text = past.client.get(f"/search/big/design/{fingerprint}/part/export").text
    assert "The export failed" in text
    assert (
        past.client.post("/search/big/design/none/export", headers={REQUEST_HEADER: REQUEST_VALUE}).status_code == 404
    )


@pytest.mark.slow
@pytest.mark.xdist_group("export")
def test_a_design_is_exported_and_proved_from_its_page(spec: SearchSpec, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    small_ledger.fill(tmp_path, spec)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    site = site_of(ledger, tmp_path)
    best = site.service.reading("small").representatives[0].candidate.design.fingerprint
    begun = site.client.post(f"/search/small/design/{best}/export", headers={REQUEST_HEADER: REQUEST_VALUE})
    assert begun.status_code == 200
    key = site.service.export_key("small", best)
    done = seen(lambda: site.service.jobs.view(key), over, seconds=300)
    ledger.close()
    assert done.state == "done", done.lines
    folder = site.service.export_folder("small", best)
    assert folder is not None
    assert json.loads((folder / "proof.json").read_text(encoding="utf-8"))["passed"] is True
    assert str(folder) in site.client.get(f"/search/small/design/{best}/part/export").text


def test_a_known_cluster_is_told_to_stop_a_search_and_to_go_on_with_it(past: Site) -> None:
    """No cluster answers here: what is told is the error of the use case, with the address."""
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
