"""Access to the pages, and restrictions on what pages may load.

On a loopback address every user of this machine has access; elsewhere a token is needed. Pages of other sites have no
access in either case: by the Host header, which reveals a rebound name, by a cookie that only our own pages send, and,
for commands, by a header that other sites cannot send.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from piip_search.errors import UserError

SAFE = ("GET", "HEAD", "OPTIONS")
REQUEST_HEADER = "x-requested-by"
"""Header of the dashboard's own requests for changes."""
REQUEST_VALUE = "piip-dashboard"
"""Value of that header."""
SHORTEST_TOKEN = 12
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
ASK = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Token needed</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<h1>Token needed</h1><p>piip-search dashboard printed an address with a token when it was started: open that address,
or give the token here.</p><form method="get" action="/"><label>Token
<input name="token" type="password" autofocus></label>
<button>Go on</button></form></html>"""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def needed_token(host: str, given: str | None) -> str | None:
    """The token for an address: the given one, a new one if one is needed, or None.

    Raises:
        UserError: The given token is too short to be safe.
    """
    if given is not None and len(given) < SHORTEST_TOKEN:
        raise UserError(
            f"a token must have at least {SHORTEST_TOKEN} characters, got {len(given)}; leave it out for a random one"
        )
    return given if given is not None or is_loopback(host) else secrets.token_urlsafe(24)


class Access:
    """Middleware that checks access and sends browsers the restrictions on our pages."""

    def __init__(self, app: ASGIApp, token: str | None, port: int) -> None:
        """Guards an application.

        Args:
            app: Application to guard.
            token: Token to ask for; None if every user of this machine has access.
            port: Port of the dashboard, which separates the cookies of two dashboards.
        """
        self._app, self._token, self._cookie = app, token, f"piip_dashboard_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """The response that refuses a request; None for an allowed request."""
        headers, query = Headers(scope=scope), QueryParams(scope.get("query_string", b""))
        if self._token is None and not is_loopback(_host_name(headers)):
            return PlainTextResponse(
                "this dashboard answers only to localhost; to reach it by another name, start it with --token\n", 403
            )
        if self._token is not None:
            if "token" in query and scope["method"] == "GET":
                return self._enter(scope["path"], query)
            if not self._is_known(headers):
                page = "text/html" in headers.get("accept", "")
                return HTMLResponse(ASK, 401) if page else PlainTextResponse("a token is needed\n", 401)
        if scope["method"] not in SAFE and not _is_ours(headers):
            return PlainTextResponse("only the dashboard's own pages may start something\n", 403)
        return None

    def _enter(self, path: str, query: QueryParams) -> Response:
        """Moves a token from the address into a cookie."""
        if not self._fits(query["token"]):
            return HTMLResponse(ASK, 401)
        rest = urlencode([(key, value) for key, value in query.multi_items() if key != "token"])
        # One slash: two would lead to another host.
        response = RedirectResponse("/" + path.lstrip("/\\") + (f"?{rest}" if rest else ""), 303)
        response.set_cookie(self._cookie, query["token"], httponly=True, samesite="strict")
        return response

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        cookies: Mapping[str, str] = cookie_parser(headers.get("cookie", ""))
        return (scheme.lower() == "bearer" and self._fits(bearer.strip())) or self._fits(cookies.get(self._cookie, ""))

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())


def _host_name(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_ours(headers: Headers) -> bool:
    """Whether a request for a change comes from our own pages (or a program that knows the header)."""
    if headers.get(REQUEST_HEADER) != REQUEST_VALUE or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
