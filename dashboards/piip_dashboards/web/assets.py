"""Serves Plotly and our own styles and scripts: compressed once, cached by browsers until they change."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import plotly
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

STATIC = Path(__file__).parent / "static"
PLOTLY = "plotly.min.js"
ASSET_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """A file to serve."""

    kind: str
    plain: bytes
    digest: str

    @cached_property
    def packed(self) -> bytes:
        """The file compressed; takes half a second for Plotly."""
        return gzip.compress(self.plain, 6, mtime=0)


@cache
def asset(name: str) -> Asset | None:
    """A file by its name; None without one. Names are looked up, so that none leads out of the folder."""
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in ASSET_TYPES}
    files[PLOTLY] = Path(plotly.__file__).parent / "package_data" / PLOTLY
    path = files.get(name)
    if path is None:
        return None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Asset(ASSET_TYPES[path.suffix], content, digest)


def address(name: str) -> str:
    """URL of a file, which changes with its content."""
    found = asset(name)
    assert found is not None, name
    return f"/static/{name}?v={found.digest}"


@cache
def sheets_of_plotly() -> tuple[str, ...]:
    """Ids of the style elements that Plotly adds to a page unless they exist.

    Our pages allow no styles but files, so the elements are in the page beforehand. The one that Plotly writes rules
    into is a link to an empty sheet, whose rules scripts may change.
    """
    found = asset(PLOTLY)
    text = "" if found is None else found.plain.decode("utf-8", "replace")
    return tuple(dict.fromkeys(re.findall(r'getElementById\("([0-9a-f]{64})"\)', text)))


async def serve(request: Request) -> Response:
    """Sends a file, compressed if the browser supports it."""
    found = asset(request.path_params["name"])
    if found is None:
        return PlainTextResponse("no such file\n", 404)
    current = request.query_params.get("v") == found.digest
    headers = {
        "etag": f'"{found.digest}"',
        "cache-control": FOR_EVER if current else "no-cache",
        "vary": "accept-encoding",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers={**headers, "content-encoding": "gzip"}, media_type=found.kind)
    return Response(found.plain, headers=headers, media_type=found.kind)
