"""Access to the pages, and restrictions on what pages may load.

Every request needs a token, on this machine too: other users reach its loopback address. Pages of other sites have no
access: by the Host header, which reveals a rebound name, by a cookie that only our own pages send, and, for acts, by a
header that other sites cannot send.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from piip_dashboards.web.tokens import TOKEN_BYTES, NamedTokens, Role, Visitor, digest_of
from piip_search.errors import UserError

SAFE = ("GET", "HEAD", "OPTIONS")
REQUEST_HEADER = "x-requested-by"
"""Header of the dashboard's own requests for changes."""
REQUEST_VALUE = "piip-dashboard"
"""Value of that header."""
SHORTEST_TOKEN = 12
STARTER = "the one printed at the start"
"""Name of the token that a dashboard prints at its start."""
ANYBODY = "any user of this machine"
"""Name of the visitors of a dashboard without tokens."""
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


def start_token(given: str | None) -> str:
    """The token of a dashboard: the given one, or a new one.

    Raises:
        UserError: The given token is too short to be safe.
    """
    if given is not None and len(given) < SHORTEST_TOKEN:
        raise UserError(
            f"a token must have at least {SHORTEST_TOKEN} characters, got {len(given)}; leave it out for a random one"
        )
    return secrets.token_urlsafe(TOKEN_BYTES) if given is None else given


@dataclass(frozen=True)
class Guard:
    """Who may visit a dashboard, and what they may do.

    Attributes:
        token: Token that was printed at the start; None lets every user of this machine in.
        port: Port of the dashboard, which separates the cookies of two dashboards.
        named: Tokens with a name; None without them.
        read_only: Whether nobody may act.
        any_host: Whether the dashboard answers to any name of its machine. Otherwise it answers to localhost alone.
        clock: Returns the time.
    """

    token: str | None
    port: int = 0
    named: NamedTokens | None = None
    read_only: bool = False
    any_host: bool = False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def cookie(self) -> str:
        return f"piip_dashboard_{self.port}"

    def visitor(self, token: str) -> Visitor | None:
        """The visitor with a token; None for one who is not let in."""
        role: Role = "view" if self.read_only else "act"
        if self.token is None:
            return Visitor(ANYBODY, role)
        if token and hmac.compare_digest(digest_of(token), digest_of(self.token)):
            return Visitor(STARTER, role)
        try:
            known = None if self.named is None or not token else self.named.visitor(token, self.clock())
        except UserError:  # a file that cannot be trusted lets nobody in
            return None
        return known if known is None or not self.read_only else Visitor(known.name, "view")


class Access:
    """Middleware that checks access and sends browsers the restrictions on our pages."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        """Guards an application.

        Args:
            app: Application to guard; it finds its `Visitor` in the state of a request.
            guard: Who may visit it.
        """
        self._app, self._guard = app, guard

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
        if not self._guard.any_host and not is_loopback(_host_name(headers)):
            return PlainTextResponse(
                "this dashboard answers only to localhost; to reach it by another name, start it with a token of "
                "yours, as by --token-file\n",
                403,
            )
        if self._guard.token is not None and "token" in query and scope["method"] == "GET":
            return self._enter(scope["path"], query)
        visitor = self._visitor(headers)
        if visitor is None:
            page = "text/html" in headers.get("accept", "")
            return HTMLResponse(ASK, 401) if page else PlainTextResponse("a token is needed\n", 401)
        scope.setdefault("state", {})["visitor"] = visitor
        return None if scope["method"] in SAFE else self._act_refusal(headers, visitor)

    def _act_refusal(self, headers: Headers, visitor: Visitor) -> Response | None:
        """The response that refuses an act; None for an allowed act."""
        if not _is_ours(headers):
            return PlainTextResponse("only the dashboard's own pages may start something\n", 403)
        if self._guard.read_only:
            return JSONResponse({"detail": "this dashboard is read-only"}, 403)
        if not visitor.may_act:
            return JSONResponse({"detail": f"the token {visitor.name} may only look; act with one that may"}, 403)
        return None

    def _enter(self, path: str, query: QueryParams) -> Response:
        """Moves a token from the address into a cookie."""
        if self._guard.visitor(query["token"]) is None:
            return HTMLResponse(ASK, 401)
        rest = urlencode([(key, value) for key, value in query.multi_items() if key != "token"])
        # One slash: two would lead to another host.
        response = RedirectResponse("/" + path.lstrip("/\\") + (f"?{rest}" if rest else ""), 303)
        response.set_cookie(self._guard.cookie, query["token"], httponly=True, samesite="strict")
        return response

    def _visitor(self, headers: Headers) -> Visitor | None:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._guard.visitor(bearer.strip())
        cookies: Mapping[str, str] = cookie_parser(headers.get("cookie", ""))
        return self._guard.visitor(cookies.get(self._guard.cookie, ""))


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
    return origin is None or _host_of(origin) == headers.get("host")


def _host_of(origin: str) -> str:
    """Host and port of an origin; nothing for one that is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
