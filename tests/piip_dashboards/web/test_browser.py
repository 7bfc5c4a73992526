"""A real Chromium on every page: what is seen, by eye, by keyboard and by those who need contrast."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.web.access import Guard
from piip_dashboards.web.app import create_app
from piip_search.api.runs import history_of
from piip_search.architecture import Architecture
from piip_search.config import SearchSpec
from piip_search.ledger import Ledger
from piip_search.search.baselines import open_baselines
from piip_search.search.search import open_search
from piip_workers.runners import local
from support import ROOT, fakes
from support.sites import Site, site_of

pytest.importorskip("playwright", reason="needs playwright, of the extra dev")
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

CHROMIUM = os.environ.get("PIIP_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install one, or name it in PIIP_CHROMIUM"),
]
SIZES = {"desktop": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
WAIT = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def served(site: Site) -> Iterator[str]:
    """Where a dashboard is served meanwhile."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(site.service, Guard(None, port)), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def address(past: Site) -> Iterator[str]:
    """Where the dashboard of the finished search is served."""
    with served(past) as found:
        yield found


class Watched:
    """A page of which everything that goes wrong is kept."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", lambda r: self.errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # who leaves a page does not wait for it
            self.errors.append(f"{request.url}: {request.failure}")

    def visit(self, address: str) -> Page:
        """Goes there and waits until everything is drawn."""
        self.page.goto(address)
        expect(self.page.locator("[aria-busy]")).to_have_count(0, timeout=WAIT)
        if self.page.locator("script[src*='search.js'], script[src*='design.js']").count():
            self.page.wait_for_selector("body[data-drawn]", timeout=WAIT)
        return self.page

    def leave(self) -> None:
        """Closes the page while its server still answers: pages ask every few seconds what is new."""
        self.page.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport=SIZES["desktop"])  # type: ignore[arg-type]
    found = Watched(context)
    yield found
    context.close()
    assert found.errors == []


def paths(reading: RunSnapshot) -> dict[str, str]:
    """Every page."""
    best = max(reading.representatives, key=lambda e: e.metrics["bbox_mAP"]).candidate.design.fingerprint
    failed = reading.history.failed[0].candidate.design.fingerprint
    two = f"design={best}&design={reading.representatives[0].candidate.design.fingerprint}"
    return {
        "searches": "/",
        "search": "/search/big",
        "design": f"/search/big/design/{best}",
        "failed": f"/search/big/design/{failed}",
        "compare": f"/search/big/compare?{two}",
        "choose": "/search/big/choose",
        "api": "/api",
    }


CHECKS = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
"""Colours are all that another theme changes."""


@pytest.mark.parametrize("scheme", CHECKS)
def test_every_page_is_accessible_and_fits(browser: Browser, address: str, past: Site, scheme: str) -> None:
    context = browser.new_context(viewport=SIZES["desktop"], color_scheme=scheme)  # type: ignore[arg-type]
    watched = Watched(context)
    for name, path in paths(past.service.reading("big")).items():
        page = watched.visit(address + path)
        found = Axe().run(page, options={"resultTypes": ["violations"], **CHECKS[scheme]})
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
        for width in (SIZES["desktop"]["width"], SIZES["phone"]["width"]):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.set_viewport_size(SIZES["desktop"])  # type: ignore[arg-type]
    context.close()
    assert watched.errors == []


def test_a_search_page_shows_the_ledgers_numbers(watched: Watched, address: str, past: Site) -> None:
    reading = past.service.reading("big")
    page = watched.visit(f"{address}/search/big")
    for front in reading.fronts:
        assert front.best is not None
        shown = page.locator(f"[data-tier='{front.tier}']").inner_text()
        assert shown.startswith(f"{front.best.metrics['bbox_mAP']:.4f}")
    expect(page.locator("#table-count")).to_have_text(f"{len(reading.designs)} of {len(reading.designs)} designs")
    first = page.locator("#table tbody tr").first.inner_text()
    best = max(reading.representatives, key=lambda e: e.metrics["bbox_mAP"])
    assert f"{best.metrics['bbox_mAP']:.4f}" in first
    assert str(reading.designs[best.candidate.design.fingerprint].first.number) in first
    drawn = page.evaluate("document.getElementById('front-plot').data.find((one) => one.name === 'front').y")
    members = reading.fronts[-1].evaluations
    assert drawn == pytest.approx([e.metrics["bbox_mAP"] for e in members])
    volume = page.evaluate("document.getElementById('volume-plot').data.map((one) => one.y.at(-1))")
    assert volume == pytest.approx([front.hypervolume for front in reading.fronts])


def test_filters_plot_and_lines_follow_each_other(watched: Watched, address: str, past: Site) -> None:
    reading = past.service.reading("big")
    page = watched.visit(f"{address}/search/big")
    cheap = [d for d in reading.designs.values() if d.whole and reading.cost(d.architecture) <= 300]
    page.get_by_label("to", exact=True).nth(1).fill("300")
    page.get_by_label("State").select_option("done")
    expect(page.locator("#table-count")).to_have_text(f"{len(cheap)} of {len(reading.designs)} designs")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#table-count")).to_have_text(f"{len(reading.designs)} of {len(reading.designs)} designs")
    page.locator("#front-plot").scroll_into_view_if_needed()
    box = page.locator("#front-plot .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.up()
    expect(page.locator("[name=paid-to]")).not_to_have_value("")
    limits = [
        float(page.locator(f"[name={name}]").input_value())
        for name in ("value-from", "value-to", "paid-from", "paid-to")
    ]
    inside = [
        d
        for d in reading.designs.values()
        if (value := d.value("bbox_mAP")) is not None
        and limits[0] <= value <= limits[1]
        and limits[2] <= reading.cost(d.architecture) <= limits[3]
    ]
    expect(page.locator("#table-count")).to_have_text(f"{len(inside)} of {len(reading.designs)} designs")
    page.get_by_role("button", name="Show all").click()
    canvas = page.locator("#parallel-plot")
    canvas.scroll_into_view_if_needed()
    area = canvas.bounding_box()
    assert area is not None
    right = area["x"] + area["width"] - 70  # the axis of the metric
    page.mouse.move(right, area["y"] + 60)
    page.mouse.down()
    page.mouse.move(right, area["y"] + 120, steps=5)
    page.mouse.up()
    count = int(page.locator("#table-count").inner_text().split(" of ")[0])
    assert 0 < count < len(reading.representatives)
    page.get_by_role("button", name="Free all axes").click()
    expect(page.locator("#table-count")).to_have_text(f"{len(reading.designs)} of {len(reading.designs)} designs")


def test_axes_can_be_chosen(watched: Watched, address: str, past: Site) -> None:
    page = watched.visit(f"{address}/search/big")
    for label, option, title in (
        ("Cost", "mparams", "parameters (10⁶) (published)"),
        ("Counted", "backbone", "parameters (10⁶) (backbone)"),
        ("Cost", "hours", "GPU-hours of the training"),
    ):
        page.locator("#axes").get_by_label(label).select_option(option)
        expect(page.locator("#front-plot .xtitle")).to_have_text(title)
    page.locator("#axes").get_by_label("Metric").select_option("bbox_mAP_50")
    expect(page.locator("#front-plot .ytitle")).to_have_text("bbox_mAP_50 (box AP at 0.5)")
    expect(page.locator("#table thead")).to_contain_text("bbox_mAP_50")


def test_designs_are_compared_by_keyboard_alone(watched: Watched, address: str) -> None:
    page = watched.visit(f"{address}/search/big")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    for row in range(2):
        page.locator("#table tbody input").nth(row).focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare 2 selected designs").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?design=*")
    expect(page.get_by_role("heading", level=1)).to_have_text("2 designs side by side")
    page.wait_for_selector("body[data-drawn]")
    assert len(page.evaluate("document.getElementById('curves-plot').data")) >= 2


def test_the_table_sorts_and_turns_pages(watched: Watched, address: str, past: Site) -> None:
    reading = past.service.reading("big")
    page = watched.visit(f"{address}/search/big")
    page.locator("#table thead").get_by_role("button", name="GMACs").click()
    expect(page.locator("#table th[aria-sort=ascending]")).to_contain_text("GMACs")
    cheapest = min(reading.designs.values(), key=lambda d: reading.cost(d.architecture))
    expect(page.locator("#table tbody tr").first).to_contain_text(cheapest.architecture.name)
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#page-now")).to_have_text(re.compile("page 2 of"))


def test_the_table_begins_with_the_best_of_a_metric_that_falls(watched: Watched, falling: Site) -> None:
    values = [e.metrics["distance"] for e in falling.service.reading("small").representatives]
    with served(falling) as address:
        page = watched.visit(f"{address}/search/small")
        expect(page.locator("#table th[aria-sort=ascending]")).to_contain_text("distance")
        expect(page.locator("#table tbody tr").first).to_contain_text(f"{min(values):.4f}")
        page.locator("#table thead").get_by_role("button", name="distance").click()
        expect(page.locator("#table tbody tr").first).to_contain_text(f"{max(values):.4f}")
        watched.leave()


def test_a_baseline_appears_on_an_open_page(watched: Watched, spec: SearchSpec, tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    search = open_search("small", spec, ledger, "recipe")
    local.run(search, fakes.measure)
    with served(site_of(ledger, tmp_path)) as address:
        page = watched.visit(f"{address}/search/small")
        expect(page.locator("#live")).to_have_text("live", timeout=WAIT)
        expect(page.locator("#baselines")).to_have_count(0)
        page.evaluate("window.notReloaded = true")
        local.run(open_baselines(search, [Architecture.parse("vit_pico@128:g")], ledger), fakes.measure)
        expect(page.locator("#baselines tbody tr")).to_have_count(1, timeout=WAIT)
        expect(page.locator("#front-plot .legendtext", has_text="baselines")).to_be_visible(timeout=WAIT)
        assert page.evaluate("window.notReloaded")
        watched.leave()
    ledger.close()


def test_the_theme_is_kept(watched: Watched, address: str) -> None:
    page = watched.visit(address)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_label("Theme").select_option("dark")
    dark = page.evaluate(colour)
    assert dark != light
    assert watched.visit(f"{address}/api").evaluate(colour) == dark


SPACE = {
    "name": "tiny",
    "sampler": "random",
    "space": {
        "backbones": ["vit_nano", "vit_pico"],
        "resolutions": [32, 64],
        "interactions": [0, 1],
        "branches": [1, 2],
    },
    "limit": {"convention": "backbone", "gmacs": [0.01, 0.1]},
    "budget": {"trials": 2},
    "data": {"embedded": "digits"},
    "fidelity": {"epochs": 1, "data_fraction": 0.05},
    "training": {"channels": 16, "batch_size": 4},
}


def started(*arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / one) for one in (".", "workers", "dashboards")),
    }
    command = [sys.executable, "-u", "-m", "piip_search.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_a_real_search_is_followed_to_its_end(watched: Watched, tmp_path: Path) -> None:
    """Started, watched without a reload, looked at design by design, and its best one detects."""
    pytest.importorskip("mmdet")
    home = tmp_path / "home"
    space = tmp_path / "tiny.yaml"
    space.write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    open_once = Ledger(f"sqlite:///{home}/ledger.db")
    dashboard = started("dashboard", "--home", str(home), "--port", "0", "--no-browser")
    try:
        assert dashboard.stdout is not None
        address = re.search(r"http://\S+", dashboard.stdout.readline())
        assert address is not None
        page = watched.visit(address[0])
        expect(page.get_by_text("This ledger is empty")).to_be_visible()
        page.evaluate("window.notReloaded = true")
        search = started("run", str(space), "--on", "local", "--home", str(home), "--mlflow", "none")
        try:
            expect(page.locator(".state-running")).to_be_visible(timeout=90_000)
            page.get_by_role("link", name="tiny").click()
            expect(page.locator("#table tbody tr").first).to_be_visible(timeout=WAIT)
            page.evaluate("window.notReloaded = true")
            expect(page.locator(".summary .state")).to_have_text("finished", timeout=120_000)
            assert page.evaluate("window.notReloaded")
        finally:
            said, _ = search.communicate(timeout=120)
        assert search.returncode == 0, said
        history = history_of(open_once, "tiny")
        expect(page.locator("[data-fact=evaluations]")).to_contain_text("2")
        expect(page.locator("#table-count")).to_have_text("2 of 2 designs")
        for front in history.fronts:
            if front.best is not None:
                value = history.objectives.value(front.best)
                expect(page.locator(f"[data-tier='{front.tier}']")).to_have_text(f"{value:.4f}")
        best = max(history.finished, key=lambda e: history.objectives.value(e) or 0.0)
        page = watched.visit(f"{address[0].partition('?')[0]}search/tiny/design/{best.candidate.design.fingerprint}")
        expect(page.locator("[data-fact=cost]")).to_have_text(f"{history.objectives.cost(best):.4g}")
        page.get_by_role("button", name="Detect on some validation images").click()
        expect(page.locator(".picture img").first).to_be_visible(timeout=90_000)
        page.wait_for_function("() => document.querySelector('.picture img').naturalWidth === 256")
        watched.visit(f"{address[0].partition('?')[0]}search/tiny/choose")
        watched.leave()
    finally:
        dashboard.terminate()
        dashboard.communicate(timeout=30)
        open_once.close()
