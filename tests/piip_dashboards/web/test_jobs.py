"""What a page starts runs beside it, is seen while it runs, and ends with it."""

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from piip_dashboards.web.access import REQUEST_HEADER, REQUEST_VALUE, STARTER
from piip_dashboards.web.jobs import JobView, PageJobs
from piip_dashboards.web.service import Service
from piip_search.api.page_actions import page_actions
from piip_search.config import SearchSpec
from piip_search.errors import OtherActError, QueueFullError
from piip_search.ledger import Ledger
from support import page_work, small_ledger
from support.sites import Site, client_of, site_of


@pytest.fixture
def jobs() -> Iterator[PageJobs]:
    found = PageJobs()
    yield found
    found.close()


def seen(look: Callable[[], JobView | None], wanted: Callable[[JobView], bool], seconds: float = 60) -> JobView:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        view = look()
        if view is not None and wanted(view):
            return view
        time.sleep(0.05)
    raise AssertionError(f"not seen; last: {look()}")


def over(view: JobView) -> bool:
    return view.state in ("done", "failed")


def ending(view: JobView) -> tuple[str, list[str]]:
    return view.state, view.lines


def test_the_last_lines_are_seen_while_it_runs_and_how_it_ended(jobs: PageJobs, tmp_path: Path) -> None:
    go = tmp_path / "go"
    assert jobs.view("one") is None
    jobs.start("one", partial(page_work.count_until, go), "bob", "act")
    running = seen(lambda: jobs.view("one"), lambda view: view.lines[-1:] == ["line 39"])
    assert (running.state, len(running.lines)) == ("running", 12)
    jobs.start("one", page_work.refuse, "bob", "act")  # while the first runs
    go.touch()
    done = seen(lambda: jobs.view("one"), over)
    assert (done.state, done.lines[-1], len(done.lines)) == ("done", "<b>over</b>", 12)


def test_what_a_user_can_mend_is_one_message_without_passwords(jobs: PageJobs) -> None:
    jobs.start("one", page_work.refuse, "bob", "act")
    assert ending(seen(lambda: jobs.view("one"), over)) == (
        "failed",
        [
            "note: looking at postgresql://me:***@host/piip",
            "error: no luck with postgresql://me:***@host/piip",
            "give another",
        ],
    )
    jobs.start("one", page_work.open_nothing, "bob", "act")  # once the first has ended
    assert seen(lambda: jobs.view("one"), over).lines == ["error: No such file or directory: /not/there"]


def test_a_bug_keeps_its_traceback_below_what_was_printed(jobs: PageJobs) -> None:
    jobs.start("one", page_work.stumble, "bob", "act")
    view = seen(lambda: jobs.view("one"), over)
    assert view.state == "failed"
    assert view.lines[:3] == ["printed by a library", "printed by a program", "Traceback (most recent call last):"]
    assert view.lines[-1] == "IndexError: list index out of range"


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_process_that_dies_is_a_job_that_failed(jobs: PageJobs, code: int) -> None:
    jobs.start("one", partial(page_work.die, code), "bob", "act")
    expected = ("failed", [f"the process ended with exit code {code}"]) if code else ("done", [])
    assert ending(seen(lambda: jobs.view("one"), over)) == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_ended_from_outside_says_by_what(
    jobs: PageJobs, tmp_path: Path, number: signal.Signals
) -> None:
    jobs.start("one", partial(page_work.note_down, tmp_path), "bob", "act")
    seen(lambda: jobs.view("one"), lambda view: written(tmp_path / "process"))
    os.kill(int((tmp_path / "process").read_text(encoding="utf-8")), number)
    expected = ("failed", [f"the process was ended by the signal {number.name}"])
    assert ending(seen(lambda: jobs.view("one"), over)) == expected


def test_what_runs_ends_with_the_dashboard_and_tidies_up(tmp_path: Path) -> None:
    jobs = PageJobs()
    jobs.start("one", partial(page_work.note_down, tmp_path), "bob", "act")
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
    service.start_export("big", fingerprint, folder, "bob")
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
    acts = [act.detail for act in ledger.actions("small") if act.what == "exported"]
    ledger.close()
    assert done.state == "done", done.lines
    assert [act["token"] for act in acts] == [STARTER]
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
    known = Service(service.shelf, service.examination, service.actions, cluster="http://127.0.0.1:1")
    with client_of(known) as client:
        assert "part/cluster" in client.get("/search/big").text
        assert "Stop it" in client.get("/search/big/part/cluster").text  # the fixture holds its claim
        assert client.post("/search/big/burn", headers={REQUEST_HEADER: REQUEST_VALUE}).status_code == 400
        assert client.post("/search/none/stop", headers={REQUEST_HEADER: REQUEST_VALUE}).status_code == 404
        assert client.post("/search/big/stop").status_code == 403
        for action in ("stop", "start"):
            begun = client.post(f"/search/big/{action}", headers={REQUEST_HEADER: REQUEST_VALUE}).json()
            assert begun["state"] in ("waiting", "running")
            text = client.get("/search/big/part/cluster").text
            assert "Asking the cluster" in text or "Waiting, place 1" in text
            seen(lambda: known.jobs.view(known.cluster_key("big")), lambda view: view.state == "failed")
            text = client.get("/search/big/part/cluster").text
            assert "It failed" in text
            assert "127.0.0.1:1" in text


def test_one_act_runs_at_a_time_and_others_have_a_place(tmp_path: Path) -> None:
    jobs = PageJobs(most_waiting=3)
    gates = [tmp_path / f"go-{number}" for number in range(3)]
    for number, gate in enumerate(gates):
        jobs.start(f"job {number}", partial(page_work.count_until, gate), f"user {number}", f"act {number}")
    seen(lambda: jobs.view("job 0"), lambda view: view.state == "running")
    assert [(view.title, view.state, view.place) for view in jobs.all()] == [
        ("act 0", "running", 0),
        ("act 1", "waiting", 1),
        ("act 2", "waiting", 2),
    ]
    again = jobs.start("job 2", page_work.stumble, "somebody else", "act 2")
    assert (again.place, again.actor) == (2, "user 2")  # the same act twice is one
    with pytest.raises(OtherActError, match="act 2 was asked for before"):
        jobs.start("job 2", page_work.stumble, "bob", "its opposite")
    assert jobs.start("stop", page_work.stumble, "bob", "stop", first=True).place == 1
    with pytest.raises(QueueFullError, match="3 acts are waiting"):
        jobs.start("one more", page_work.stumble, "bob", "act 4")
    for gate in gates:
        gate.touch()
    seen(lambda: jobs.view("job 2"), over)
    assert [view.state for view in jobs.all()] == ["done", "failed", "done", "done"] or {
        view.title: view.state for view in jobs.all()
    } == {"act 0": "done", "stop": "failed", "act 1": "done", "act 2": "done"}
    jobs.close()


def test_acts_that_wait_when_the_dashboard_ends_never_run(tmp_path: Path) -> None:
    jobs = PageJobs()
    jobs.start("one", partial(page_work.count_until, tmp_path / "go"), "bob", "act 1")
    jobs.start("two", partial(page_work.note_down, tmp_path), "bob", "act 2")
    seen(lambda: jobs.view("one"), lambda view: view.state == "running")
    jobs.close()
    assert jobs.all() == []
    assert not (tmp_path / "process").exists()


def test_a_page_shows_the_queue_and_who_asked(past: Site, tmp_path: Path) -> None:
    jobs = PageJobs(most_waiting=1)
    service = Service(past.service.shelf, past.service.examination, past.service.actions, jobs=jobs)
    jobs.start("long", partial(page_work.count_until, tmp_path / "go"), "carol", "a long act")
    seen(lambda: jobs.view("long"), lambda view: view.state == "running")
    names = list(service.reading("big").designs)[:2]
    marked = {REQUEST_HEADER: REQUEST_VALUE}
    with client_of(service) as client:
        for _ in range(2):
            answer = client.post(f"/search/big/design/{names[0]}/export", headers=marked)
            assert (answer.status_code, answer.json()) == (200, {"state": "waiting", "place": 1})
        full = client.post(f"/search/big/design/{names[1]}/export", headers=marked)
        assert (full.status_code, full.headers["retry-after"], "1 acts are waiting" in full.text) == (429, "60", True)
        assert "Waiting, place 1" in client.get(f"/search/big/design/{names[0]}/part/export").text
        text = client.get("/part/queue").text
        assert "a long act" in text
        assert "carol" in text
        acts = client.get("/api/acts").json()
        assert [(act["state"], act["actor"]) for act in acts] == [("running", "carol"), ("waiting", STARTER)]
        assert "/part/queue" in client.get("/queue").text
