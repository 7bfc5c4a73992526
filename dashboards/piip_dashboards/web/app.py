"""The web application: pages, API and files behind access control."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from piip_dashboards.web import assets
from piip_dashboards.web.access import Access, Guard
from piip_dashboards.web.api import api
from piip_dashboards.web.pages import Render, pages, renderer
from piip_dashboards.web.service import Service
from piip_search import __version__


def create_app(service: Service, guard: Guard, once_read: Callable[[], None] | None = None) -> ASGIApp:
    """The dashboard of a ledger.

    Args:
        service: Data and commands of the pages.
        guard: Who may visit it.
        once_read: Called in the reading thread once every run has been read.
    """

    def read_ahead() -> None:
        service.shelf.read_all()
        if once_read is not None:
            once_read()

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        # The first visitor of a large search should not have to wait for its reading.
        threading.Thread(target=read_ahead, name="reads ahead", daemon=True).start()
        yield
        service.close()

    render = renderer(service)
    app = FastAPI(
        title="piip-search dashboard",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.include_router(api(service))
    app.include_router(pages(service, render))
    app.add_route("/static/{name}", assets.serve)
    _add_errors(app, render)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)
    return Access(app, guard)


def _add_errors(app: FastAPI, render: Render) -> None:
    """Adds handlers that return errors as JSON to programs, and as a page to people."""

    def answer(request: Request, status: int, text: str) -> Response:
        if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"detail": text}, status)
        return render("error.html", status, code=status, text=text)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        response = answer(request, error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        said = [f"{item['loc'][-1]}: {item['msg'][0].lower()}{item['msg'][1:]}" for item in error.errors()]
        return answer(request, 400, "; ".join(said))
