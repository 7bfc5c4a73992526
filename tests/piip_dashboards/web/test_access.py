"""Who is let in, and what pages may do."""

import re

import pytest
from starlette.testclient import TestClient

from piip_dashboards.web.access import REQUEST_HEADER, REQUEST_VALUE, is_loopback, needed_token
from piip_dashboards.web.app import create_app
from support.sites import Site

TOKEN = "a-token-that-is-long"


@pytest.fixture
def guarded(past: Site) -> TestClient:
    """The same dashboard on an address that other machines reach."""
    return TestClient(create_app(past.service, TOKEN, 8400), base_url="http://gpu-box:8400", follow_redirects=False)


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


def test_tokens_are_drawn_where_they_are_needed() -> None:
    assert needed_token("127.0.0.1", None) is None
    assert needed_token("localhost", TOKEN) == TOKEN
    drawn = needed_token("0.0.0.0", None)
    assert drawn is not None
    assert len(drawn) >= 32
    assert drawn != needed_token("0.0.0.0", None)
    with pytest.raises(ValueError, match="at least 12 characters"):
        needed_token("0.0.0.0", "short")
    assert [is_loopback(host) for host in ("::1", "127.0.0.5", "0.0.0.0", "example.org")] == [True, True, False, False]
