"""Who is let in, and what pages may do."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from piip_dashboards.web.access import ANYBODY, REQUEST_HEADER, REQUEST_VALUE, STARTER, Guard, is_loopback, start_token
from piip_dashboards.web.app import create_app
from piip_dashboards.web.tokens import ROLES, NamedTokens, Visitor
from piip_search.errors import UserError
from support.sites import TOKEN, Site

ACTS = ("export", "examples")


@pytest.fixture
def guarded(past: Site) -> TestClient:
    """The same dashboard on an address that other machines reach."""
    app = create_app(past.service, Guard(TOKEN, 8400, any_host=True))
    return TestClient(app, base_url="http://gpu-box:8400", follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/api/searches", "/api/openapi.json", "/static/style.css", "/search/big"])
def test_without_the_token_nothing_is_given(guarded: TestClient, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": "piip_dashboard_8400=wrong"}):
        answer = guarded.get(path, headers=headers)
        assert answer.status_code == 401
        assert "big" not in answer.text
    assert guarded.get(path, headers={"host": "localhost"}).status_code == 401  # a name proves nothing


def test_the_token_lets_programs_in(guarded: TestClient) -> None:
    answer = guarded.get("/api/versions", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert "big" in answer.json()


def test_the_token_goes_from_the_address_into_a_cookie(guarded: TestClient) -> None:
    wrong = guarded.get("/?token=wrong")
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    right = guarded.get(f"/search/big?x=1&token={TOKEN}")
    assert (right.status_code, right.headers["location"]) == (303, "/search/big?x=1")
    cookie = right.headers["set-cookie"]
    assert re.search("HttpOnly", cookie)
    assert re.search("SameSite=strict", cookie, re.IGNORECASE)
    assert guarded.get("/search/big").status_code == 200  # the client kept the cookie


@pytest.mark.parametrize("path", ["//evil.example/", "/%2F%2Fevil.example", "/\\evil.example"])
def test_the_way_in_leads_to_no_other_host(guarded: TestClient, path: str) -> None:
    location = guarded.get(f"http://gpu-box:8400{path}?token={TOKEN}").headers["location"]
    assert re.match(r"/[^/\\]", location) or location == "/"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8400", "localhost.evil.example", "", "10.0.0.7:8400"])
def test_on_loopback_other_names_are_refused(past: Site, host: str) -> None:
    """A name of another site that was rebound to this machine."""
    assert past.client.get("/api/searches", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:8400", "127.0.0.1:8400", "[::1]:8400"])
def test_on_loopback_own_names_are_served(past: Site, host: str) -> None:
    assert past.client.get("/api/versions", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {REQUEST_HEADER: "something"},
        {REQUEST_HEADER: REQUEST_VALUE, "origin": "http://evil.example"},
        {REQUEST_HEADER: REQUEST_VALUE, "origin": "http://["},
        {REQUEST_HEADER: REQUEST_VALUE, "sec-fetch-site": "cross-site"},
        {REQUEST_HEADER: REQUEST_VALUE, "sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_start_nothing(past: Site, headers: dict[str, str]) -> None:
    fingerprint = next(iter(past.service.reading("big").designs))
    for action in ("export", "examples"):
        assert past.client.post(f"/search/big/design/{fingerprint}/{action}", headers=headers).status_code == 403
        assert past.client.get(f"/search/big/design/{fingerprint}/{action}").status_code in (404, 405)


@pytest.mark.parametrize("path", ["/", "/part/searches", "/search/big", "/api/searches", "/static/page.js", "/none"])
def test_every_answer_forbids_scripts_of_others(past: Site, path: str) -> None:
    headers = past.client.get(path, headers={"accept": "text/html"}).headers
    policy = headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_pages_hold_nothing_of_other_hosts_and_no_inline_script(past: Site) -> None:
    fingerprint = next(iter(past.service.reading("big").designs))
    for path in ("/", "/search/big", f"/search/big/design/{fingerprint}", "/search/big/choose", "/api"):
        text = past.client.get(path).text
        assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", text)
        assert not re.search(r"<script(?![^>]*src=)", text)
        assert not re.search(r"""\s(style|on\w+)=["']""", text)


def test_a_token_is_needed_on_loopback_too(past: Site) -> None:
    before = past.service.jobs.all()  # of other tests of this site
    stranger = TestClient(create_app(past.service, Guard(TOKEN, 8400)), base_url="http://localhost:8400")
    headers = {REQUEST_HEADER: REQUEST_VALUE}
    fingerprint = next(iter(past.service.reading("big").designs))
    for path in ("/", "/api/searches", "/queue", "/api/acts", "/static/style.css"):
        assert stranger.get(path).status_code == 401
    assert stranger.post(f"/search/big/design/{fingerprint}/export", headers=headers).status_code == 401
    assert past.service.jobs.all() == before


def test_start_tokens_are_random_and_long() -> None:
    assert start_token(TOKEN) == TOKEN
    drawn = start_token(None)
    assert len(drawn) >= 40
    assert drawn != start_token(None)
    with pytest.raises(ValueError, match="at least 12 characters"):
        start_token("short")
    assert [is_loopback(host) for host in ("::1", "127.0.0.5", "0.0.0.0", "example.org")] == [True, True, False, False]


def test_the_start_token_may_act_unless_nobody_may() -> None:
    assert Guard(TOKEN).visitor(TOKEN) == Visitor(STARTER, "act")
    assert Guard(TOKEN, read_only=True).visitor(TOKEN) == Visitor(STARTER, "view")
    assert Guard(TOKEN).visitor("") is None
    assert Guard(None).visitor("") == Visitor(ANYBODY, "act")


@pytest.fixture
def named(tmp_path: Path) -> NamedTokens:
    return NamedTokens(tmp_path / "tokens of a home")


def test_a_named_token_has_a_role_and_an_end(past: Site, named: NamedTokens) -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    tokens = {role: named.add(f"bob-{role}", role, now[0], days=30) for role in ROLES}
    app = create_app(past.service, Guard(TOKEN, 8400, named, clock=lambda: now[0]))
    client = TestClient(app, base_url="http://localhost:8400")
    fingerprint = next(iter(past.service.reading("big").designs))
    page, act = f"/search/big/design/{fingerprint}/part/export", f"/search/big/design/{fingerprint}/none"
    asked = {}
    for role, token in tokens.items():
        headers = {"authorization": f"Bearer {token}"}
        assert client.get("/api/versions", headers=headers).status_code == 200
        asked[role] = client.post(act, headers={**headers, REQUEST_HEADER: REQUEST_VALUE})
        assert ("Export here" in client.get(page, headers=headers).text) == (role == "act")
    assert (asked["view"].status_code, "bob-view may only look" in asked["view"].text) == (403, True)
    assert asked["act"].status_code in (404, 405)
    now[0] += timedelta(days=30)
    for token in tokens.values():
        assert client.get("/api/versions", headers={"authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parametrize("days", [float("inf"), 1e9, float("nan")])
def test_a_token_ends_on_a_date(named: NamedTokens, days: float) -> None:
    with pytest.raises(UserError, match="days end after the last date"):
        named.add("bob", "view", datetime.now(UTC), days=days)


def test_a_folder_is_no_file_of_tokens(named: NamedTokens) -> None:
    named.path.mkdir(parents=True, mode=0o700)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        named.all()


def test_a_revoked_token_is_refused_from_the_next_request_on(past: Site, named: NamedTokens) -> None:
    client = TestClient(create_app(past.service, Guard(TOKEN, 8400, named)), base_url="http://localhost:8400")
    token = named.add("bob", "view", datetime.now(UTC))  # while the dashboard runs
    client.get(f"/?token={token}")
    assert client.get("/api/versions").status_code == 200  # by its cookie
    named.revoke("bob")
    assert client.get("/api/versions").status_code == 401


def test_tokens_are_kept_as_hashes_in_a_file_of_ones_own(named: NamedTokens) -> None:
    now = datetime.now(UTC)
    token = named.add("bob", "view", now)
    assert token not in named.path.read_text(encoding="utf-8")
    assert named.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UserError, match="a token 'bob' exists"):
        named.add("bob", "act", now)
    with pytest.raises(UserError, match="letters, digits"):
        named.add("bob\n", "act", now)
    with pytest.raises(UserError, match="no token 'carol'; there is bob"):
        named.revoke("carol")
    named.path.chmod(0o644)
    with pytest.raises(UserError, match="others can read or change"):
        named.all()
    assert Guard(TOKEN, named=named).visitor(token) is None
    assert Guard(TOKEN, named=named).visitor(TOKEN) is not None
    named.path.chmod(0o600)
    named.path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="no file of tokens"):
        named.all()


def test_a_file_of_tokens_that_another_user_planted_is_not_trusted(named: NamedTokens) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    token = named.add("mallory", "act", datetime.now(UTC))
    os.chown(named.path, 65534, 65534)
    assert Guard(TOKEN, named=named).visitor(token) is None
    with pytest.raises(UserError, match="belongs to another user"):
        named.all()


def test_nobody_acts_on_a_dashboard_that_is_read_only(past: Site, named: NamedTokens) -> None:
    before = past.service.jobs.all()  # of other tests of this site
    token = named.add("bob", "act", datetime.now(UTC))
    app = create_app(past.service, Guard(TOKEN, 8400, named, read_only=True))
    fingerprint = next(iter(past.service.reading("big").designs))
    for given in (token, TOKEN):
        headers = {"authorization": f"Bearer {given}", REQUEST_HEADER: REQUEST_VALUE}
        client = TestClient(app, base_url="http://localhost:8400", headers=headers)
        for path in (
            "/search/big/start",
            "/search/big/stop",
            *(f"/search/big/design/{fingerprint}/{one}" for one in ACTS),
        ):
            answer = client.post(path)
            assert (answer.status_code, answer.json()["detail"]) == (403, "this dashboard is read-only")
        for page in ("", "/part/export", "/part/examples"):
            assert "data-start" not in client.get(f"/search/big/design/{fingerprint}{page}").text
    assert past.service.jobs.all() == before
