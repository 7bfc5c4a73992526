"""The dashboard: who is let in, what odd requests do, and many visitors at once."""

import os
import random
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attack_rows import acts
from attack_rows.people import dashboard
from attack_rows.tally import Tally
from attack_rows.world import World
from piip_search.ledger import Ledger
from support import fakes
from support.hostile import NASTY

TOKEN = "a-token-that-is-long"
RIGHT = {"authorization": f"Bearer {TOKEN}"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
CREDENTIALS: tuple[dict[str, str], ...] = (
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": "Bearer "},
    {"authorization": TOKEN},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"cookie": "piip_dashboard_8400=wrong"},
    {"cookie": f"piip_dashboard_1={TOKEN}"},
    {"x-requested-by": "piip-dashboard"},
    {"x-requested-by": TOKEN, "origin": "http://localhost:8400"},
)
SLOW = 5.0
"""Seconds within which each odd request is answered."""


@contextmanager
def _site(world: World, any_host: bool, base: str) -> Iterator[Any]:
    """A dashboard of a small search in this process: its client, its routes, and a design."""
    from starlette.testclient import TestClient

    from piip_dashboards.web.access import Guard
    from piip_dashboards.web.app import create_app
    from support.sites import site_of

    home = world.place()
    with closing(Ledger(f"sqlite:///{home}/ledger.db")) as ledger:
        found = acts.opened(ledger, "coco", 6)
        while (candidate := found.propose()) is not None:
            found.accept(fakes.measure(candidate))
        app = create_app(site_of(ledger, home).service, Guard(TOKEN, 8400, any_host=any_host))
        design = found.evaluations[0].candidate.design.fingerprint
        yield TestClient(app, base_url=base, follow_redirects=False, raise_server_exceptions=False), _paths(app), design


def _paths(app: Any) -> list[str]:
    """Every path of the application, with its placeholders."""
    inner = app
    while not hasattr(inner, "routes"):
        inner = inner._app
    return sorted({path for route in _flat(inner.routes) if (path := getattr(route, "path", None))})


def _flat(routes: Any) -> Iterator[Any]:
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None) or getattr(route, "routes", None)
        yield from _flat(inner) if inner else (route,)


def _filled(path: str, design: str) -> str:
    return re.sub(r"{[^}]*}", "x", path.replace("{run}", "coco").replace("{fingerprint}", design))


def without_token(world: World) -> Tally:
    """Every route by every method, without a token or with a wrong one."""
    tally = Tally()
    with _site(world, True, "http://gpu-box:8400") as (client, paths, design):
        for path in paths:
            for method in METHODS:
                for headers in CREDENTIALS:
                    answer = client.request(method, _filled(path, design), headers=headers)
                    held = answer.status_code == 401 and "content-security-policy" in answer.headers
                    tally.check(held, f"{method} {path} {headers}: {answer.status_code}")
            answer = client.get(_filled(path, design), params={"token": "wrong-and-long"})
            tally.check(answer.status_code == 401, f"?token: {path} {answer.status_code}")
        right = client.get("/api/versions", headers=RIGHT)
        tally.check(right.status_code == 200, f"the right token: {right.status_code}")
    return tally


ODD = (
    *(value for value in NASTY if isinstance(value, str) and value and "\0" not in value),
    *(str(value) for value in NASTY if isinstance(value, int | float)),
    EVIL,
    "../../../etc/passwd",
    "..\\..\\etc\\passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%00",
    "\r\nset-cookie: a=b",
    "é" * 2000,
    "x" * 20_000,
    "coco/../coco",
    "{{7*7}}",
    "${7*7}",
    "' OR 1=1 --",
)
QUERIES = ("tier", "metric", "axis", "design", "cost", "convention", "after", "convention", "sort", "page", "limit")


def odd_requests(world: World) -> Tally:
    """Odd names in paths, odd values in queries, and a thousand designs."""
    tally, longest = Tally(), 0.0
    with _site(world, True, "http://gpu-box:8400") as (client, paths, design):
        asked = [*_odd_paths(paths, design), "/search/coco/compare?" + "&".join([f"design={design}"] * 1500)]
        asked = random.Random(0).sample(asked, 200) if world.quick else asked
        for path in asked:
            began = time.monotonic()
            headers = {**RIGHT, "accept": "text/html"}
            answer = client.get(path, headers=headers)
            took = time.monotonic() - began
            longest = max(longest, took)
            bad = "root:x:" in answer.text or "<script>alert" in answer.text or "<img src=x" in answer.text
            held = answer.status_code < 500 and not bad and took < SLOW and "set-cookie" not in answer.headers
            tally.check(held, f"{path[:120]}: {answer.status_code}, {took:.1f} s")
    tally.note = f"{longest:.2f} s"
    return tally


def _odd_paths(paths: list[str], design: str) -> Iterator[str]:
    for path in paths:
        for name in re.findall(r"{([^}:]*)[^}]*}", path):
            for value in ODD:
                yield _filled(re.sub(r"{%s[^}]*}" % name, lambda _: quote(value, safe=""), path), design)  # noqa: B023, UP031
        for query in QUERIES if "coco" in _filled(path, design) else ():
            yield from (f"{_filled(path, design)}?{query}={quote(value[:500], safe='')}" for value in ODD[::4])


HOSTS = (
    "evil.example",
    "evil.example:8400",
    "localhost.evil.example",
    "evil.example@localhost.evil",
    "127.0.0.1.evil.example",
    "10.0.0.7:8400",
    "0.0.0.0:8400",
    "[fe80::1]:8400",
    "",
    "localhost@evil.example",
)
ORIGINS = ("http://evil.example", "null", "https://localhost:8400.evil.example", "http://localhost:1", "http://[", "")
LEADS = ("//evil.example/", "/%2F%2Fevil.example", "/\\evil.example", "/%0d%0aset-cookie:a=b")


def hosts(world: World) -> Tally:
    """Names of other sites in Host and Origin, and redirects to other sites."""
    tally = Tally()
    with _site(world, False, "http://localhost:8400") as (client, _, design):
        for host in HOSTS:
            for path in ("/api/searches", "/search/coco"):
                answer = client.get(path, headers={**RIGHT, "host": host})
                tally.check(answer.status_code == 403, f"Host {host}: {answer.status_code}")
        for origin in ORIGINS:
            for action in ("export", "examples"):
                headers = {**RIGHT, "x-requested-by": "piip-dashboard", "origin": origin}
                answer = client.post(f"/search/coco/design/{design}/{action}", headers=headers)
                tally.check(answer.status_code == 403, f"Origin {origin}: {answer.status_code}")
    with _site(world, True, "http://gpu-box:8400") as (client, _, _):
        for path in LEADS:
            answer = client.get(f"http://gpu-box:8400{path}?token={TOKEN}")
            place = answer.headers.get("location", "/")
            held = bool(re.match(r"/([^/\\]|$)", place)) and "a=b" not in answer.headers.get("set-cookie", "")
            tally.check(held, f"{path} leads to {place}")
    return tally


def loopback(world: World) -> Tally:
    """Mallory asks Alice's dashboard on the loopback address: to read, to stop, to start, to export."""
    tally, people = Tally(), world.people()
    home = people.alice.home()
    url = f"sqlite:///{home}/ledger.db"
    people.alice.acts("search", url, "coco", 4)
    with closing(Ledger(url, reading=True)) as ledger:
        designs = [one.candidate.design.fingerprint for one in ledger.evaluations("coco")]
    with dashboard(people.alice, "--home", str(home), "--address", "http://127.0.0.1:1") as (at, headers):
        ours = {"x-requested-by": "piip-dashboard"}
        read = ["", "api/searches", "search/coco", "api/searches/coco/evaluations.csv", "?token=not-the-right-token"]
        done = ["search/coco/stop", "search/coco/start", *(f"search/coco/design/{one}/export" for one in designs)]
        asked = [("GET", at + path, {}) for path in read] + [("POST", at + path, ours) for path in done]
        statuses = people.mallory.acts("ask", asked)
        for (method, path, _), status in zip(asked, statuses, strict=True):
            tally.check(status in (401, 403), f"{method} {path.removeprefix(at)}: {status}")
        tally.check(people.alice.acts("ask", [("GET", at, headers)]) == [200], "she is not let in herself")
    return tally


def downloads(world: World) -> Tally:
    """One visitor takes a large table, then 40 do at once, and others ask for pages meanwhile."""
    tally, alice = Tally(), world.people().alice
    count = 1_000 if world.quick else 15_000
    home = alice.home()
    _long_ledger(home / "ledger.db", count)
    os.chown(home / "ledger.db", alice.number, alice.number)
    with dashboard(alice, "--home", str(home)) as (at, headers):
        table, others = f"{at}api/searches/long/evaluations.csv", ["api/health", "part/searches", "search/long"]
        status, alone = _fetched(table, headers)
        tally.check(status == 200 and alone < 60, f"alone: {status}, {alone:.1f} s")
        found: list[tuple[int, float]] = []
        visitors = [threading.Thread(target=lambda: found.append(_fetched(table, headers))) for _ in range(40)]
        for visitor in visitors:
            visitor.start()
        for path in others:
            status, took = _fetched(f"{at}{path}", headers)
            tally.check(status in (200, 404) and took < 20, f"{path} meanwhile: {status}, {took:.1f} s")
        for visitor in visitors:
            visitor.join()
    slowest = max(took for _, took in found)
    for status, took in found:
        tally.check(status in (200, 429, 503) and took < 60, f"40 at once: {status}, {took:.1f} s")
    tally.note = f"{alone:.1f} s alone, {slowest:.1f} s of 40 at once"
    return tally


def unfinished(world: World) -> Tally:
    """Connections that never finish their request, while Alice looks at her pages."""
    tally, alice = Tally(), world.people().alice
    home, count = alice.home(), 300 if world.quick else 1_500
    alice.acts("search", f"sqlite:///{home}/ledger.db", "coco", 4)
    with dashboard(alice, "--home", str(home)) as (at, headers), ExitStack() as opened:
        host, _, port = at.removeprefix("http://").strip("/").partition(":")
        longest = 0.0
        for number in range(count):
            connection = opened.enter_context(socket.create_connection((host, int(port)), 10))
            connection.sendall(b"GET /search/coco HTTP/1.1\r\nHost: localhost\r\nX-A: ")
            if number % 50 == 0:
                status, took = _fetched(f"{at}api/searches", headers)
                longest = max(longest, took)
                tally.check(status == 200 and took < SLOW, f"beside {number}: {status}, {took:.1f} s")
    tally.note = f"{count:,} connections, {longest:.2f} s"
    return tally


def _long_ledger(file: Path, count: int) -> None:
    import resume

    resume.make(file, "random", count)


def _fetched(url: str, headers: dict[str, str]) -> tuple[int, float]:
    began = time.monotonic()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120) as answer:
            answer.read()
            return int(answer.status), time.monotonic() - began
    except urllib.error.HTTPError as error:
        return error.code, time.monotonic() - began
    except OSError:
        return 599, time.monotonic() - began


def long_resume(world: World) -> Tally:
    """A long search goes on: the processor time until its first new proposal grows as the evaluations do."""
    import resume

    tally, place = Tally(), world.place()
    counts = (1_000, 3_000) if world.quick else (5_000, 15_000, 100_000)
    found = [resume.opened(place / f"{count}.db", "random", count) for count in counts]
    for row in found:
        linear = row["CPU"] < 2 * (found[0]["CPU"] * row["evaluations"] / found[0]["evaluations"])
        tally.check(linear, f"{row['evaluations']:,}: {row['CPU']:.1f} s")
    tally.note = ", ".join(f"{row['evaluations']:,}: {row['CPU']:.1f} s, {row['MiB']:.0f} MiB" for row in found)
    return tally
