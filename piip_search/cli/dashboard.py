"""`piip-search dashboard`: shows searches in a browser."""

import gc
import os
import socket
import webbrowser
from contextlib import closing, suppress
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from piip_search.api.extras import extra
from piip_search.api.page_actions import page_actions
from piip_search.api.runs import health_of
from piip_search.api.stores import ledger_of, read_ledger
from piip_search.cli.application import console
from piip_search.cli.interruption import InterruptedExit
from piip_search.cli.options import DEFAULT_HOME, Home, expanded_store
from piip_search.errors import UserError
from piip_search.file_paths import typed_path, typed_url
from piip_search.ledger import url_text, without_password

PORT = 8400


def dashboard(
    ledger: Annotated[
        str | None,
        typer.Argument(
            envvar="PIIP_SEARCH_LEDGER",
            callback=expanded_store,
            help="Database URL, file, or home folder; by default ledger.db in the home folder.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; at any but this machine's own, other machines can ask.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for a free one.")] = PORT,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="PIIP_SEARCH_TOKEN",
            help="Token for visitors; drawn at random by default. Other users read command lines: prefer --token-file.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token, which only its owner may read (mode 0600).")
    ] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let every user of this machine in; for loopback addresses alone.")
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Let nobody export, start or stop anything from a page.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_API_SERVER_ADDRESS",
            help="A Ray cluster's dashboard, http://HOST:8265, so that pages can start and stop searches on it.",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the address in a browser.")] = True,
    home: Home = DEFAULT_HOME,
) -> None:
    """Show searches in a browser, live: fronts, designs, effects, health.

    A page is seen by whoever has the token in the printed address, or a named one: piip-search tokens. All files are
    served from this machine; nothing is loaded from elsewhere.

    Example: piip-search dashboard --read-only
    """
    with extra("dashboard"):
        import uvicorn

        from piip_dashboards.runs.health import Examination
        from piip_dashboards.runs.run_cache import RunCache
        from piip_dashboards.web.access import Guard, is_loopback, start_token
        from piip_dashboards.web.app import create_app
        from piip_dashboards.web.service import Service
        from piip_dashboards.web.tokens import NamedTokens
    url, home = _place(ledger, home)
    if no_token and not is_loopback(host):
        raise UserError(f"other machines can ask at {host}; leave --no-token out, or leave --host out")
    named = _named_token(token, token_file, no_token)
    needed = None if no_token else start_token(named)
    with closing(read_ledger(url, home)) as book, _listening(host, port) as listening:
        number = listening.getsockname()[1]
        service = Service(
            RunCache(book, home),
            Examination(health_of),
            page_actions(url, Path(os.path.realpath(home))),
            options=_options(url, home),
            cluster=address,
        )
        any_host = named is not None or not is_loopback(host)
        guard = Guard(needed, number, None if no_token else NamedTokens(home), read_only, any_host)
        app = create_app(service, guard, _keep_for_good)
        own = f"http://{_named(host)}:{number}/" + ("" if needed is None else f"?token={needed}")
        console.print(f"dashboard of {book.shown}: {own} (end it with Ctrl-C)", markup=False, soft_wrap=True)
        if browser:
            webbrowser.open(_redirection(own, service.spaces.path))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, proxy_headers=False))
        with closing(service), suppress(KeyboardInterrupt):  # a second Ctrl-C leaves the server's own end out
            server.run(sockets=[listening])
    raise InterruptedExit(0)  # an interruption is a server's normal end


def _named_token(token: str | None, file: Path | None, none: bool) -> str | None:
    """The token that the user named; None without one.

    Raises:
        UserError: More than one of them was given, or the file cannot be read.
    """
    if sum((token is not None, file is not None, none)) > 1:
        raise UserError("give one of --token (or PIIP_SEARCH_TOKEN), --token-file and --no-token")
    if file is None:
        return token
    from piip_dashboards.web.tokens import read_token

    return read_token(file)


def _redirection(address: str, folder: Path) -> str:
    """The address of a file that leads to a page: other users read the command line of a browser, and no file here."""
    file = folder / "open.html"
    file.touch(0o600)
    file.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}"><title>piip-search</title>',
        encoding="utf-8",
    )
    return file.as_uri()


def _place(given: str | None, home: Path) -> tuple[str | None, Path]:
    """The database URL, if it is not the home folder's own, and the home folder."""
    if given is None or "://" in given:
        return given, home
    path = Path(given)
    if path.is_dir():
        return None, path
    url = url_text(ledger_of(given))
    return (None, path.parent) if path.name == "ledger.db" else (url, path.parent)


def _options(url: str | None, home: Path) -> str:
    """The options by which a user's command finds this ledger."""
    place = "" if home == DEFAULT_HOME else f" --home {typed_path(home)}"
    return place if url is None else f"{place} --ledger {typed_url(without_password(url))}"


def _listening(host: str, port: int) -> socket.socket:
    """A socket at an address, where visitors wait until the server is up.

    Raises:
        UserError: Another process listens there, or the address does not belong to this machine.
    """
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise UserError(f"cannot listen at {host}:{port}: {error.strerror}; give another --host or --port") from None


def _named(host: str) -> str:
    """The address as a part of a URL."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _keep_for_good() -> None:
    """Exempts the present objects of this process from garbage collection.

    A collection of 10,000 trials takes 0.3 s, for which every visitor waits.
    """
    gc.collect()
    gc.freeze()
