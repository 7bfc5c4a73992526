"""The hash chain over the rows of a search: it shows whether a row was changed, removed or put in later.

The database already refuses such changes to anybody but the owner of its tables. The chain shows the owner's. It proves
nothing against somebody who writes the whole chain anew: whoever needs that keeps a digest elsewhere
(`piip-search ledger verify --json`) and compares.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, inspect, select
from sqlalchemy.exc import DBAPIError

from piip_search.ledger.row_reading import UNDECODABLE
from piip_search.ledger.tables import (
    ActionRow,
    EvaluationRow,
    FrontRow,
    KeptFileRow,
    LedgerTable,
    LinkRow,
    PreparationRow,
    PromotionRow,
    ProposalRow,
    SearchRow,
    SittingRow,
    utc,
)

FIRST_LINK = "0" * 64
"""Digest before the first link."""
ACTION_LOG = ""
"""The chain of the log of actions, which belongs to no search."""
OF_ONE_COPY = ("id", "search_id")
"""Columns with another value in every copy of a row."""
NAME_HERE = ("search", "name")
"""Table and column of the name of a search, which a merge may change."""
ROW_NAMES: Mapping[type[LedgerTable], tuple[str, ...]] = {
    SearchRow: ("uid",),
    SittingRow: ("number",),
    ProposalRow: ("position",),
    EvaluationRow: ("position",),
    PromotionRow: ("number",),
    FrontRow: ("position", "tier"),
    PreparationRow: ("number",),
    KeptFileRow: ("number",),
    ActionRow: ("uid",),
}
"""The columns that tell a row of a table from the others of its search."""
OF_A_SEARCH = tuple(table for table in ROW_NAMES if table is not ActionRow)


@dataclass(frozen=True, slots=True)
class ChainReport:
    """The result of verifying the chain of a search.

    Attributes:
        rows: Number of rows in the chain.
        head: Digest of the last link; that of `FIRST_LINK` without rows.
        problems: One line for each row that is changed, missing, or outside of the chain.
    """

    rows: int
    head: str
    problems: tuple[str, ...] = ()


def name_of(table: type[LedgerTable], values: Mapping[str, Any]) -> str:
    """The name of a row in its chain, such as `proposal 3`."""
    return " ".join([table.__tablename__, *(f"{values[column]}" for column in ROW_NAMES[table])])


def link_of(before: str, table: type[LedgerTable], values: Mapping[str, Any]) -> str:
    """The digest of a row after another: SHA-256 of the digest before, the row's name and its content.

    Empty values are left out, so that a column of a later version does not change the digests of earlier rows.
    """
    kept = {
        column: _plain(values[column], inspect(table).columns[column].type)
        for column in sorted(values)
        if column not in OF_ONE_COPY and (table.__tablename__, column) != NAME_HERE and not _is_empty(values[column])
    }
    content = json.dumps([before, name_of(table, values), kept], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def links_of(
    search: str, number: int, before: str, rows: Iterable[tuple[type[LedgerTable], Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The links of some rows, as values of `LinkRow`.

    Args:
        search: Uid of the search, or `ACTION_LOG`.
        number: Number of the first link.
        before: Digest of the link before.
        rows: Tables and values of the rows, in order.
    """
    links: list[dict[str, Any]] = []
    for table, values in rows:
        before = link_of(before, table, values)
        row = name_of(table, values)
        links.append({"search": search, "number": number + len(links), "row": row, "digest": before})
    return links


def stored_rows(connection: Connection, search_id: int) -> list[tuple[type[LedgerTable], dict[str, Any]]]:
    """All rows of a search, in the order in which they were written.

    It is the order of the chain of a ledger of an earlier version, so that an earlier copy has the beginning of it.
    """
    found = [
        (table, values)
        for table in OF_A_SEARCH
        for values in _values(connection, table, "id" if table is SearchRow else "search_id", search_id)
    ]
    return sorted(found, key=_written)


def _written(row: tuple[type[LedgerTable], Mapping[str, Any]]) -> tuple[Any, ...]:
    table, values = row
    at = next((value for value in values.values() if isinstance(value, datetime)), datetime.min)
    place = tuple(str(values[column]).rjust(20, "0") for column in ROW_NAMES[table])
    return utc(at), OF_A_SEARCH.index(table), place


def stored_actions(connection: Connection) -> list[tuple[type[LedgerTable], dict[str, Any]]]:
    """All actions, in order."""
    return [(ActionRow, values) for values in _values(connection, ActionRow)]


def verified(
    links: Sequence[LinkRow], rows: Iterable[tuple[type[LedgerTable], Mapping[str, Any]]], earlier: str | None = None
) -> ChainReport:
    """Compares rows with their chain.

    Args:
        links: The links, in order.
        rows: All rows.
        earlier: Digest that the chain must contain, from an earlier verification.
    """
    known = {name_of(table, values): (table, values) for table, values in rows}
    problems, before = [], FIRST_LINK
    for place, link in enumerate(links, 1):
        if link.number != place:
            problems.append(f"link {place} is missing")
            break
        found = known.pop(link.row, None)
        if found is None:
            problems.append(f"{link.row} is missing")
        elif link_of(before, *found) != link.digest:
            problems.append(f"{link.row} was changed, or the link before it")
        before = link.digest
    problems += [f"{row} is not in the chain" for row in known]
    if earlier is not None and earlier not in (FIRST_LINK, *(link.digest for link in links)):
        problems.append(f"the chain has no digest {earlier[:16]}: it was written anew, or its end is missing")
    return ChainReport(len(links), before, tuple(problems))


def _values(connection: Connection, table: type[LedgerTable], column: str = "", value: int = 0) -> list[dict[str, Any]]:
    """Rows of a table, without columns that a migration has yet to add."""
    there = {found["name"] for found in inspect(connection).get_columns(table.__tablename__)}
    columns = {name: one for name, one in inspect(table).columns.items() if name in there}
    question = select(*columns.values()).order_by(columns["id"])
    if column:
        question = question.where(columns[column] == value)
    try:
        return [dict(row) for row in connection.execute(question).mappings()]
    except (ValueError, TypeError, OverflowError, DBAPIError) as error:
        if isinstance(error, DBAPIError) and UNDECODABLE not in str(error):
            raise
    keys = connection.scalars(question.with_only_columns(columns["id"])).all()
    return [{name: _decoded(connection, one, columns["id"] == key) for name, one in columns.items()} for key in keys]


def _decoded(connection: Connection, column: ColumnElement[Any], row: ColumnElement[bool]) -> Any:
    """One value of a row; a mark that no writer wrote where it cannot be decoded."""
    try:
        return connection.execute(select(column).where(row)).scalar_one()
    except (ValueError, TypeError, OverflowError, DBAPIError) as error:
        return f"{UNDECODABLE}: {error}"


def _is_empty(value: Any) -> bool:
    if isinstance(value, str | Mapping | list | tuple):
        return not value
    return value is None or (isinstance(value, int | float) and value == 0)


def _plain(value: Any, kind: Any = None) -> Any:
    """A value as every database returns it: times in UTC to the microsecond, numbers in columns of floats as floats."""
    if isinstance(value, datetime):
        return utc(value).astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return float(value) if isinstance(kind, Float) else value
