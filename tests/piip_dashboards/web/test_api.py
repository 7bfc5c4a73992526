"""JSON of every page, tables to take along, and what is answered where something is wrong."""

import csv
import gc
import gzip
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest
import yaml
from jsonschema import Draft202012Validator
from pyarrow import parquet
from starlette.testclient import TestClient

from piip_dashboards.runs.run_cache import RunCache
from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.web.access import Guard
from piip_dashboards.web.app import create_app
from piip_dashboards.web.downloads import KeptTables, blocks
from piip_dashboards.web.service import Service
from piip_search.config import parse_spec
from piip_search.evaluation.evaluation import Evaluation
from piip_search.search.search import open_search
from support import ledgers
from support.sites import TOKEN, Site

PARTS = ("summary", "fronts", "axes", "rungs", "health", "workers", "effects")
HTML = {"accept": "text/html"}


def test_every_documented_route_answers_as_documented(past: Site) -> None:
    description = past.client.get("/api/openapi.json").json()
    names = list(past.service.reading("big").designs)[:2]
    for path, methods in description["paths"].items():
        if "." in path:  # a file
            continue
        address = path.replace("{run}", "big").replace("{fingerprint}", names[0])
        answer = past.client.get(address, params={"design": names} if "compare" in path else {})
        assert answer.status_code == 200, (address, answer.text)
        schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": description["components"]}
        Draft202012Validator(whole).validate(answer.json())
    assert len(description["paths"]) >= 11


def test_runs_are_read_before_somebody_asks(past: Site) -> None:
    shelf = RunCache(past.ledger)
    service = Service(shelf, past.service.examination, past.service.actions)  # which ends with its pages
    known: SimpleQueue[RunSnapshot | None] = SimpleQueue()
    with TestClient(create_app(service, Guard(TOKEN), once_read=lambda: known.put(shelf.known("big")))):
        reading = known.get(timeout=60)
    assert reading is not None
    assert reading.designs


def test_the_api_has_a_page_of_its_own(past: Site) -> None:
    text = past.client.get("/api").text
    for path in past.client.get("/api/openapi.json").json()["paths"]:
        assert path in text


def test_every_page_and_part_is_there(past: Site) -> None:
    name = past.service.reading("big").representatives[0].candidate.design.fingerprint
    parts = [f"/search/big/part/{one}" for one in PARTS]
    design = f"/search/big/design/{name}"
    for path in (
        "/",
        "/part/searches",
        "/search/big",
        "/search/big/choose",
        design,
        f"{design}/part/examples",
        f"{design}/part/export",
        *parts,
    ):
        answer = past.client.get(path, headers=HTML)
        assert (answer.status_code, path) == (200, path)
        assert "text/html" in answer.headers["content-type"]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/search/none", 404, "it holds: big"),
        ("/search/none/part/summary", 404, "no run"),
        ("/search/big/part/none", 404, "no part"),
        ("/search/big/design/none", 404, "has no design"),
        ("/search/big/compare?design=none", 404, "has no design"),
        ("/search/big/compare", 400, "design: field required"),
        ("/search/big/choose?tier=-1", 400, "tier: input should be greater than 0"),
        ("/api/searches/big/designs?metric=none", 400, "was not measured"),
        ("/api/searches/big/designs?axis=none", 400, "axis: input should be"),
        ("/api/searches/big/secret.csv", 400, "table: input should be"),
        ("/static/..%2Fapp.py", 404, ""),
        ("/static/app.py", 404, "no such file"),
        ("/nowhere", 404, ""),
    ],
)
def test_what_is_wrong_is_said(past: Site, path: str, status: int, said: str) -> None:
    for headers in ({}, HTML):
        answer = past.client.get(path, headers=headers)
        assert answer.status_code == status
        assert said in answer.text.replace("&#39;", "'")
        assert "Traceback" not in answer.text


def test_tables_to_take_along(past: Site) -> None:
    reading = past.service.reading("big")
    answer = past.client.get("/api/searches/big/evaluations.csv")
    assert 'filename="big-evaluations.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == len(reading.evaluations)
    for row, evaluation in zip(rows, reading.evaluations, strict=True):
        assert row["architecture"] == evaluation.candidate.design.name
        assert row["bbox_mAP"] == ("" if evaluation.status == "failed" else repr(evaluation.metrics["bbox_mAP"]))
        assert float(row["gmacs_published"]) == pytest.approx(reading.cost(evaluation.candidate.architecture))
    packed = past.client.get("/api/searches/big/evaluations.parquet").content
    table = parquet.read_table(io.BytesIO(packed)).to_pylist()
    assert [row["trial"] for row in table] == [evaluation.candidate.number for evaluation in reading.evaluations]
    front = list(csv.DictReader(io.StringIO(past.client.get("/api/searches/big/front.csv").text)))
    assert len(front) == sum(len(one.evaluations) for one in reading.fronts)


def test_a_table_is_made_once_for_a_state_of_its_run(tmp_path: Path) -> None:
    tables, made = KeptTables(), []

    def make(path: Path) -> None:
        made.append(path)
        path.write_bytes(gzip.compress(b"a table"))

    for state, again in ((1, 1), (1, 1), (2, 2)):
        kept, file = tables.open("key", state, True, make).result()
        assert b"".join(blocks(file, unpack=True)) == b"a table"
        assert len(made) == again
    kept, first = tables.open("key", 2, True, make).result()
    tables.open("key", 3, True, make).result()[1].close()
    assert not kept.path.exists()
    assert gzip.decompress(b"".join(blocks(first, unpack=False))) == b"a table"  # whoever has it keeps it
    for number in range(20):
        tables.open(number, 1, True, make).result()[1].close()
    folder = made[0].parent
    assert len(list(folder.iterdir())) == 16
    tables.close()
    assert not folder.exists()


def test_tables_that_are_never_closed_leave_no_files() -> None:
    tables, made = KeptTables(), []
    tables.open("key", 1, False, lambda path: made.append(path) or path.touch()).result()[1].close()
    assert made[0].exists()
    del tables
    gc.collect()
    assert not made[0].parent.exists()


def test_many_downloads_at_once_leave_other_pages_alone(past: Site) -> None:
    address = "/api/searches/big/evaluations.csv"
    with ThreadPoolExecutor(60) as threads:
        answers = [threads.submit(past.client.get, address) for _ in range(50)]
        assert past.client.get("/api/versions").status_code == 200
        texts = {answer.result().text for answer in answers}
    assert len(texts) == 1
    plain = past.client.get(address, headers={"accept-encoding": "identity"})
    assert ("gzip" in plain.headers["content-encoding"], plain.text) == (False, texts.pop())


def test_an_empty_ledger(empty: Site) -> None:
    assert empty.client.get("/api/searches").json()["searches"] == []
    assert "This ledger is empty" in empty.client.get("/").text
    assert empty.client.get("/api/versions").json() == {}


def test_a_search_that_nobody_has_begun(empty: Site) -> None:
    spec = ledgers.published_spec(5)
    empty.ledger.start("new", spec.question, "recipe", spec.model_dump(mode="json"))
    found = empty.client.get("/api/searches/new").json()
    assert found["state"]["name"] in ("empty", "running")
    assert [tier["best"] for tier in found["tiers"]] == [None] * 4
    assert empty.client.get("/api/searches/new/designs").json()["number"] == []
    assert empty.client.get("/api/searches/new/evaluations.csv").text == ""
    assert empty.client.get("/api/searches/new/evaluations.parquet").status_code == 200
    assert "no design was trained to the end yet" in empty.client.get("/search/new/choose").text
    for part in PARTS:
        assert empty.client.get(f"/search/new/part/{part}").status_code == 200


def test_a_run_of_another_version_does_not_hide_the_others(empty: Site) -> None:
    empty.ledger.start("strange", "question", "recipe", {"metric": "from the future"})
    spec = ledgers.published_spec(5)
    empty.ledger.start("fine", spec.question, "recipe", spec.model_dump(mode="json"))
    listed = {one["run"]: one for one in empty.client.get("/api/searches").json()["searches"]}
    assert "cannot be read by this version" in listed["strange"]["problem"]
    assert listed["fine"]["problem"] == ""
    assert empty.client.get("/api/searches/strange").status_code == 409
    assert "unreadable" in empty.client.get("/part/searches").text


def test_files_are_packed_and_kept(past: Site) -> None:
    text = past.client.get("/").text
    address = next(part for part in text.split('"') if part.startswith("/static/style.css?v="))
    whole = past.client.get(address)
    assert "immutable" in whole.headers["cache-control"]
    assert whole.headers["content-encoding"] == "gzip"
    again = past.client.get("/static/style.css", headers={"if-none-match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plotly = past.client.get("/static/plotly.min.js")
    assert b"plotly.js v" in plotly.content[:200]


def test_a_search_in_which_nothing_was_learnt(empty: Site) -> None:
    """Every metric is zero: nothing differs, and nothing is divided by how much it does."""
    spec = ledgers.published_spec(20, rungs=())
    search = open_search("flat", spec, empty.ledger, "recipe")
    while (candidate := search.propose()) is not None:
        search.accept(Evaluation(candidate, "done", {"bbox_mAP": 0.0}))
    fingerprint = next(iter(empty.service.reading("flat").designs))
    for path in ("", "/choose", f"/design/{fingerprint}", *(f"/part/{part}" for part in PARTS)):
        assert empty.client.get(f"/search/flat{path}").status_code == 200
    assert empty.client.get("/part/searches").status_code == 200


def test_the_space_of_a_search_goes_on_with_it(past: Site) -> None:
    content = yaml.safe_load(past.client.get("/api/searches/big/space.yaml").text)
    assert parse_spec(content).question == past.ledger.search("big").question
