"""`piip-search tokens`: lets other people see a dashboard."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from piip_dashboards.web.tokens import NamedToken, NamedTokens
from piip_search.cli.application import Command, note, print_json, print_result
from piip_search.cli.options import DEFAULT_HOME, Home, Json

tokens_app = typer.Typer(help="Add, list and revoke the tokens of a dashboard's visitors.", no_args_is_help=True)


class VisitorRole(StrEnum):
    """Role of a dashboard's visitor."""

    VIEW = "view"
    ACT = "act"


@tokens_app.command(cls=Command)
def add(
    name: Annotated[str, typer.Argument(help="Name of the token, such as that of its user.")],
    role: Annotated[
        VisitorRole, typer.Option(help="view to look, act to export, start and stop as well.")
    ] = VisitorRole.VIEW,
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; never by default.")] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Create a token for a visitor of this home's dashboard, and print it once.

    Its hash is kept in the home folder. A dashboard that runs knows the token at once.

    Example: piip-search tokens add bob --role view --days 30
    """
    print_result(NamedTokens(home).add(name, role.value, datetime.now(UTC), days))
    note(f"note: it is shown once; {name} opens the dashboard's address with /?token= and this token")


@tokens_app.command("list", cls=Command)
def list_tokens(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the names, roles and ends of the tokens.

    Example: piip-search tokens list
    """
    tokens, now = NamedTokens(home).all(), datetime.now(UTC)
    if as_json:
        print_json([_content(token) for token in tokens])
        return
    if not tokens:
        print_result("no token has a name; add one with piip-search tokens add NAME")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "role", "created (UTC)", "expires (UTC)"):
        table.add_column(heading)
    for token in tokens:
        expires = "never" if token.expires_at is None else f"{token.expires_at:%Y-%m-%d %H:%M}"
        end = expires if token.is_valid(now) else f"{expires} (expired)"
        table.add_row(token.name, token.role, f"{token.created_at:%Y-%m-%d %H:%M}", end)
    print_result(table)


@tokens_app.command(cls=Command)
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the token.")],
    home: Home = DEFAULT_HOME,
) -> None:
    """Revoke a token; a dashboard that runs refuses it from the next request on.

    Example: piip-search tokens revoke bob
    """
    NamedTokens(home).revoke(name)
    print_result(f"revoked {name}")


def _content(token: NamedToken) -> dict[str, str | None]:
    expires = None if token.expires_at is None else token.expires_at.isoformat()
    return {
        "name": token.name,
        "role": token.role,
        "created_at": token.created_at.isoformat(),
        "expires_at": expires,
    }
