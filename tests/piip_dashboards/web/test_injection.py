"""Names, errors and classes are text: they are never markup, and never paths that are followed."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from piip_dashboards.runs.examples import folder_of, picture_file, trial_with_checkpoint
from piip_dashboards.web.access import REQUEST_HEADER, REQUEST_VALUE
from piip_search.evaluation.evaluation import Evaluation, trials_folder
from piip_search.evaluation.facts import Facts
from piip_search.ledger import Ledger
from piip_search.plain_text import write_csv
from piip_search.search.search import open_search
from support import fakes, ledgers
from support.sites import Site, site_of

EVIL = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'
CONTROL = "\x1b[2J\u202e\u2066"
"""Clears a terminal, and turns letters around."""
NAMES = ['"><img src=x onerror="document.title=1">', EVIL, "../../etc", "..", "a b?c=d#e", "O'Brien & {{ 7*7 }}"]
PARTS = ("summary", "fronts", "workers", "health", "rungs", "effects")
PATHS = [name for name in NAMES if "/" in name or name == ".."]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Runs with names that piip-search would refuse, written past it; errors, hosts and facts are markup."""
    home = tmp_path_factory.mktemp("hostile") / "home"
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    space = ledgers.published_spec(4, rungs=())
    for name in NAMES:
        search = open_search(name, space, ledger, "recipe", fresh=True)
        for turn in range(4):
            candidate = search.propose()
            assert candidate is not None
            facts = Facts(host=EVIL, folder="/etc", rest={"note": EVIL})
            failed = Evaluation(candidate, "failed", error=f"{EVIL}{CONTROL}", facts=facts)
            search.accept(replace(fakes.measure(candidate), facts=facts) if turn % 2 else failed)
    yield site_of(ledger, home)
    ledger.close()


def assert_harmless(text: str) -> None:
    assert "<img src=x" not in text
    assert "<script>document" not in text
    assert not re.search(r"\sonerror=\"", text)
    assert not set(CONTROL) - set("[2J") & set(text)
    assert "49" not in re.findall(r"O(?:'|&#39;)Brien &amp; (\S+)", text)


def test_markup_in_names_errors_and_facts_stays_text(hostile: Site) -> None:
    for path in ("/", "/part/searches"):
        text = hostile.client.get(path).text
        assert_harmless(text)
        assert "onerror" in text  # it is shown
    name = quote(NAMES[0], safe="")
    reading = hostile.service.reading(NAMES[0])
    fingerprint = next(iter(reading.designs))
    pages = [
        "",
        "/choose",
        *(f"/part/{part}" for part in PARTS),
        f"/design/{fingerprint}",
        f"/design/{fingerprint}/part/examples",
    ]
    for page in pages:
        answer = hostile.client.get(f"/search/{name}{page}")
        assert answer.status_code == 200, page
        assert_harmless(answer.text)
    for path in (f"/search/{name}/part/{EVIL}", f"/search/{EVIL}", f"/search/{name}/design/{quote(EVIL, safe='')}"):
        assert_harmless(hostile.client.get(path, headers={"accept": "text/html"}).text)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PATHS])
def test_runs_with_strange_names_are_found_by_their_links(hostile: Site, name: str) -> None:
    link = f"/search/{quote(name, safe='')}"
    assert link in hostile.client.get("/").text.replace("&amp;", "&")
    assert hostile.client.get(link).status_code == 200
    assert hostile.client.get(f"/api/searches/{quote(name, safe='')}").json()["run"] == name


def test_runs_named_like_paths_are_listed_and_lead_nowhere(hostile: Site) -> None:
    listed = {one["run"]: one for one in hostile.client.get("/api/searches").json()["searches"]}
    text = hostile.client.get("/").text + hostile.client.get("/part/searches").text
    for name in PATHS:
        assert "no address" in listed[name]["problem"]
        assert f'href="/search/{quote(name, safe="")}"' not in text


def test_a_download_is_named_without_markup_or_folders(hostile: Site) -> None:
    header = hostile.client.get(f"/api/searches/{quote(NAMES[0], safe='')}/evaluations.csv").headers[
        "content-disposition"
    ]
    assert re.fullmatch(r'attachment; filename="[\w.-]+"', header)


def test_a_spreadsheet_takes_no_cell_for_a_formula() -> None:
    text = io.StringIO()
    write_csv([{"error": '=HYPERLINK("http://evil.example")', "gain": -1.0}], text)
    assert text.getvalue().splitlines()[1].startswith("\"'=HYPER")


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Site]:
    """A run whose first design has a checkpoint and examples."""
    home = tmp_path / "home"
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    ledgers.fill(ledger, ledgers.published_spec(3, rungs=()))
    for evaluation in ledger.evaluations("big"):
        folder = trials_folder(home, "big", ledgers.RECIPE) / evaluation.candidate.training
        (folder / "examples").mkdir(parents=True)
        (folder / "epoch_18.pth").write_bytes(b"weights")
        (folder / "examples" / "0.jpg").write_bytes(b"picture")
        (folder / "examples" / "secret.txt").write_text("secret", encoding="utf-8")
        box = {"label": EVIL, "box": [1, 2, 30, 40]}
        pictures = [
            {"file": "0.jpg", "name": EVIL, "width": 64, "height": 64, "truth": [box], "found": [{**box, "score": 0.5}]}
        ]
        content = {"epochs": 18, "classes": [EVIL], "pictures": pictures}
        (folder / "examples" / "examples.json").write_text(json.dumps(content), encoding="utf-8")
    yield site_of(ledger, home)
    ledger.close()


def test_class_names_are_text(trained: Site) -> None:
    fingerprint = next(iter(trained.service.reading("big").designs))
    text = trained.client.get(f"/search/big/design/{fingerprint}/part/examples").text
    assert_harmless(text)
    assert "onerror" in text
    assert text.count("<rect") == 2


def test_pictures_are_given_by_name_and_nothing_else_is(trained: Site) -> None:
    fingerprint = next(iter(trained.service.reading("big").designs))
    address = f"/search/big/design/{fingerprint}/example"
    assert trained.client.get(f"{address}/0.jpg").content == b"picture"
    for name in ("secret.txt", "examples.json", "..%2Fepoch_18.pth", "%2e%2e%2fepoch_18.pth", "1.jpg", "0.jpg%00"):
        assert trained.client.get(f"{address}/{name}").status_code == 404


def test_links_that_lead_out_are_not_followed(trained: Site, tmp_path: Path) -> None:
    reading = trained.service.reading("big")
    design = next(iter(reading.designs.values()))
    found = trial_with_checkpoint(trained.home, "big", ledgers.RECIPE, design)
    assert found is not None
    folder = found[1]
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (folder / "examples" / "7.jpg").symlink_to(secret)
    assert picture_file(folder, "7.jpg") is None
    outside = tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    assert trial_with_checkpoint(trained.home, "big", ledgers.RECIPE, design) is None


@pytest.mark.parametrize("run", ["..", "../..", ".", "", "a/b", "/etc"])
def test_a_run_is_a_folder_of_the_home_or_nothing(trained: Site, run: str) -> None:
    evaluation = trained.ledger.evaluations("big")[0]
    recipe = ledgers.RECIPE
    for parent in (trained.home.parent, trained.home):
        folder = parent / "trials" / recipe / evaluation.candidate.training
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "epoch_1.pth").touch()
    assert folder_of(trained.home, run, recipe, evaluation) is None


@pytest.mark.parametrize("recipe", ["..", "../..", "../../..", ".", "", "/etc"])
def test_a_recipe_is_a_folder_of_the_run_or_nothing(trained: Site, recipe: str) -> None:
    evaluation = trained.ledger.evaluations("big")[0]
    for parent in (trained.home.parent, trained.home, trained.home / "big", trained.home / "big" / "trials"):
        (parent / evaluation.candidate.training).mkdir(parents=True, exist_ok=True)
        (parent / evaluation.candidate.training / "epoch_1.pth").touch()
    assert folder_of(trained.home, "big", recipe, evaluation) is None


def test_no_export_of_what_is_none(hostile: Site) -> None:
    ours = {REQUEST_HEADER: REQUEST_VALUE}
    assert (
        hostile.client.post(f"/search/{quote(NAMES[0], safe='')}/design/--help/export", headers=ours).status_code == 404
    )
    assert hostile.service.export_folder("..", "f") is None
    assert hostile.service.export_folder("../x", "f") is None
