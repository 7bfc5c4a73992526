"""Tables, merges, verification, log and roles of a ledger."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piip_search.api.extras import extra
from piip_search.api.notices import Notify, ignore
from piip_search.api.stores import ledger_of, open_ledger
from piip_search.errors import LedgerError, UserError

if TYPE_CHECKING:  # these import the database, which a message need not wait for
    from sqlalchemy.engine import URL

    from piip_search.ledger import Action, ChainReport, Ledger, UnreadableRow
    from piip_search.ledger.copies import MergeReport
    from piip_search.ledger.records import Deed


class TableFormat(StrEnum):
    """Format of a table of a ledger."""

    CSV = "csv"
    PARQUET = "parquet"


def table_format_of(path: Path) -> TableFormat:
    """The format of a file's ending.

    Args:
        path: Path of the file.

    Raises:
        UserError: The ending is unknown.
    """
    ending = path.suffix.removeprefix(".")
    if ending not in list(TableFormat):
        raise UserError(f"a table must end in .csv or .parquet, got {path.name!r}; name one, or give --format")
    return TableFormat(ending)


@dataclass(frozen=True)
class WrittenTable:
    """A table that was written.

    Attributes:
        rows: Number of its rows.
        unreadable: Rows of the ledger that are left out.
    """

    rows: int
    unreadable: "tuple[UnreadableRow, ...]"


def write_table(ledger: "Ledger", out: Path, runs: Sequence[str] = (), form: TableFormat | None = None) -> WrittenTable:
    """Writes every proposal with its evaluation as one flat table.

    Args:
        ledger: Ledger.
        out: File to write.
        runs: Runs to write; all by default.
        form: Format of the file; by default that of its ending.

    Raises:
        LedgerError: The ledger has no such run.
        UserError: The ending is unknown, or an extra is missing.
    """
    from piip_search.ledger.copies import rows, write_csv, write_parquet

    chosen = form or table_format_of(out)
    unreadable = ledger.unreadable_searches()
    table = list(rows(ledger, runs or [record.name for record in ledger.searches()], unreadable.append))
    out.parent.mkdir(parents=True, exist_ok=True)
    with extra("parquet"):
        (write_csv if chosen is TableFormat.CSV else write_parquet)(table, out)
    return WrittenTable(len(table), tuple(unreadable))


def merge_ledgers(source: str, target: "str | URL") -> "list[MergeReport]":
    """Copies all searches of a ledger into another one; searches in both are completed.

    Args:
        source: Database URL, SQLite file or home folder of the ledger to copy.
        target: Database URL of the ledger to write.

    Returns:
        The result for each search.

    Raises:
        LedgerError: A ledger cannot be opened, or a search went on separately in both.
        UserError: The source is no ledger.
    """
    from piip_search.ledger.copies import merge

    there = open_ledger(ledger_of(source), reading=True)
    return merge(there, open_ledger(target))


def last_hosts(ledger: "Ledger") -> dict[str, str]:
    """The host that last drove each search, by the search's name; empty if none did.

    Args:
        ledger: Ledger.
    """
    sittings = {record.name: ledger.sittings(record.name) for record in ledger.searches()}
    return {name: found[-1].circumstances.host if found else "" for name, found in sittings.items()}


def ledger_content(ledger: "Ledger") -> list[dict[str, Any]]:
    """The searches of a ledger as plain data, with their hosts.

    Args:
        ledger: Ledger.
    """
    records, hosts = ledger.searches(), last_hosts(ledger)
    return [
        {
            "name": record.name,
            "uid": record.uid,
            "owner": str(record.owner),
            "created_at": record.created_at.isoformat(),
            "proposals": record.proposals,
            "evaluations": record.evaluations,
            "recipe": record.recipe,
            "data": record.data,
            "host": hosts[record.name],
            "audit_of": record.audit_of,
        }
        for record in records
    ]


def verify_ledger(
    ledger: "Ledger", runs: Sequence[str] = (), earlier: Mapping[str, str] | None = None
) -> "dict[str, ChainReport]":
    """Compares the rows of searches, and the log of actions, with their hash chains.

    Args:
        ledger: Ledger.
        runs: Runs to verify; all by default.
        earlier: Heads of an earlier verification by the search's uid (`verification_content`); the chains must
            contain them.

    Returns:
        The report on each run by its name, and on the log under an empty name.

    Raises:
        LedgerError: The ledger has no such run.
        UserError: An earlier search is missing.
    """
    heads = dict(earlier or {})
    records = [record for record in ledger.searches() if not runs or record.name in runs]
    for run in runs:
        ledger.search(run)  # names the known ones if it is missing
    gone = sorted(set(heads) - {""} - {record.uid for record in ledger.searches()})
    if gone:
        raise UserError(f"the ledger has no search {gone[0]} any more, which an earlier verification found")
    reports = {record.name: ledger.verify(record.name, heads.get(record.uid)) for record in records}
    return {**reports, "": ledger.verify_log(heads.get(""))}


def verification_content(ledger: "Ledger", reports: "Mapping[str, ChainReport]") -> dict[str, Any]:
    """A verification as plain data, which a later one can be compared with.

    Args:
        ledger: Ledger.
        reports: Reports by the name of the run, as from `verify_ledger`.
    """
    uids = {"": "", **{record.name: record.uid for record in ledger.searches()}}
    return {
        uids[name]: {"run": name, "rows": report.rows, "head": report.head, "problems": list(report.problems)}
        for name, report in reports.items()
    }


def earlier_heads(path: Path) -> dict[str, str]:
    """The heads in a file that `piip-search ledger verify --json` wrote, by the search's uid.

    Args:
        path: Path of the file.

    Raises:
        UserError: The file is missing, or has another content.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {uid: report["head"] for uid, report in content.items()}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, AttributeError, TypeError, KeyError):
        raise UserError(f"{path} must hold what piip-search ledger verify --json printed") from None


def action_content(actions: "Sequence[Action]") -> list[dict[str, Any]]:
    """The log of actions as plain data.

    Args:
        actions: Actions.
    """
    return [
        {
            "at": action.at.isoformat(),
            "owner": str(action.owner),
            "what": action.what,
            "run": action.run,
            "search": action.search,
            "process": action.process,
            "detail": dict(action.detail),
        }
        for action in actions
    ]


def log_action(ledger: "Ledger", what: "Deed", run: str, token: str = "", **detail: Any) -> None:
    """Adds an action to the log of a ledger that was opened for reading.

    The log stays as it is where this user may not write, or the tables are of an earlier version.

    Args:
        ledger: Ledger, opened for reading.
        what: What was done.
        run: Name of the run.
        token: Name of the dashboard's token of whoever asked for it; empty for a user of this machine.
        detail: Further facts.
    """
    if not ledger.is_current:
        return
    if token:
        detail["token"] = token
    with suppress(LedgerError), closing(open_ledger(ledger.url)) as writer:
        writer.note(what, run, **detail)


def upgrade_ledger(url: "str | URL", notify: Notify = ignore) -> bool:
    """Migrates the tables of a ledger to this version.

    Args:
        url: Database URL.
        notify: Called with a line about the migration.

    Returns:
        Whether the tables were of an earlier version.

    Raises:
        LedgerError: The ledger cannot be opened, or this user may not change its tables.
    """
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        notify(text)

    ledger = open_ledger(url, say)
    if told:
        ledger.note("upgraded")
    ledger.close()
    return bool(told)


def role_statements(schema: str = "public", prefix: str = "piip") -> list[str]:
    """The SQL statements that let three roles use a ledger in PostgreSQL.

    Args:
        schema: Schema of the tables.
        prefix: Beginning of the names of the roles.

    Raises:
        UserError: A name is no plain name.
    """
    from piip_search.ledger.roles import statements

    for name in (schema, prefix):
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", name):
            raise UserError(f"a role's prefix and a schema must be small letters, digits and _, got {name!r}")
    return statements(schema, prefix)
