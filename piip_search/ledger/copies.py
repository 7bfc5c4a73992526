"""Copies of a ledger's searches: flat tables, and another ledger."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from piip_search import plain_text
from piip_search.architecture import Architecture
from piip_search.errors import LedgerError
from piip_search.evaluation.evaluation import Candidate
from piip_search.ledger.chain import FIRST_LINK, links_of, name_of
from piip_search.ledger.claims import DRIVE
from piip_search.ledger.ledger import Ledger
from piip_search.ledger.records import UnreadableRow
from piip_search.ledger.row_reading import read_candidate, read_evaluation, readable_rows
from piip_search.ledger.tables import (
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

PARTS: tuple[type[Any], ...] = (
    SittingRow,
    ProposalRow,
    EvaluationRow,
    PromotionRow,
    FrontRow,
    PreparationRow,
    KeptFileRow,
)
"""Tables whose rows belong to a search."""


def rows(
    ledger: Ledger, names: Sequence[str], left_out: Callable[[UnreadableRow], object] = lambda row: None
) -> Iterator[dict[str, Any]]:
    """One flat row for each proposal of some searches with its evaluation, in the order of the proposals.

    Columns: the search, the design and its costs, the fidelity and the reason of the proposal, then `status`
        (`unfinished` without an evaluation, `unreadable` with one that cannot be read), times, host, versions and
        revision, and `metric.NAME` for each metric.

    Args:
        ledger: Ledger.
        names: Names of the searches.
        left_out: Called with each row that cannot be read.
    """
    for name in names:
        record = ledger.search(name)
        sittings = {sitting.number: sitting.circumstances for sitting in ledger.sittings(name)}
        with Session(ledger.engine) as session:
            proposals, evaluations = (
                _rows_of(session, table, name, left_out) for table in (ProposalRow, EvaluationRow)
            )
            ended = {row.number: row for row in evaluations}
            for proposal in sorted(proposals, key=lambda row: row.number):
                candidate = read_candidate(proposal, Architecture.from_dict)
                if isinstance(candidate, UnreadableRow):
                    left_out(candidate)
                    continue
                circumstances = sittings.get(proposal.sitting)
                yield {
                    "search": name,
                    "uid": record.uid,
                    "audit_of": record.audit_of,
                    "data": record.data,
                    "recipe": record.recipe,
                    "sampler": record.spec.get("sampler", ""),
                    **_proposed(proposal, candidate),
                    **_came_of(ended.get(proposal.number), candidate, left_out),
                    "driver": "" if circumstances is None else circumstances.host,
                    "revision": "" if circumstances is None else circumstances.revision,
                    "versions": "" if circumstances is None else json.dumps(dict(circumstances.versions)),
                }


def _rows_of(session: Session, table: type[Any], name: str, left_out: Callable[[UnreadableRow], object]) -> list[Any]:
    searches = select(SearchRow.id).where(SearchRow.name == name)
    found, unreadable = readable_rows(session, table, select(table).where(table.search_id.in_(searches)))
    for row in unreadable:
        left_out(row)
    return found


def _proposed(row: ProposalRow, candidate: Candidate) -> dict[str, Any]:
    costs = {
        f"gmacs.{convention}": cost["macs"] / 1e9
        for convention, cost in row.costs.items()
        if isinstance(cost, Mapping) and isinstance(cost.get("macs"), int | float)
    }
    return {
        "number": row.number,
        "architecture": row.architecture,
        "fingerprint": row.fingerprint,
        **costs,
        **{name: getattr(candidate.fidelity, name) for name in ("epochs", "data_fraction", "image_scale")},
        "seed": candidate.seed,
        "source": candidate.reason.source,
        "proposed_at": utc(row.proposed_at).isoformat(),
    }


def _came_of(
    row: EvaluationRow | None, candidate: Candidate, left_out: Callable[[UnreadableRow], object]
) -> dict[str, Any]:
    if row is None:
        return {"status": "unfinished"}
    evaluation = read_evaluation(row, candidate)
    if isinstance(evaluation, UnreadableRow):
        left_out(evaluation)
        return {"status": "unreadable"}
    return {
        "status": row.status,
        "error": evaluation.error,
        "seconds": row.seconds,
        "gpu_seconds": row.gpu_seconds,
        "host": row.host,
        "finished_at": utc(row.finished_at).isoformat(),
        **{f"metric.{name}": value for name, value in row.metrics.items()},
    }


def write_csv(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows as CSV (`plain_text.write_csv`)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        plain_text.write_csv(table, file)


def write_parquet(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows as Parquet; a missing value is null. Needs the extra `parquet`."""
    import pyarrow
    import pyarrow.parquet

    columns = dict.fromkeys(column for row in table for column in row)
    pyarrow.parquet.write_table(pyarrow.table({column: [row.get(column) for row in table] for column in columns}), path)


@dataclass(frozen=True, slots=True)
class MergeReport:
    """The result of merging one search.

    Attributes:
        name: Name in the source ledger.
        into: Name in the target ledger; another one if a different search had the name.
        rows: Number of added proposals and evaluations.
        unreadable: Rows that cannot be read; a search with such rows is not copied.
    """

    name: str
    into: str
    rows: int
    unreadable: tuple[UnreadableRow, ...] = ()


def merge(source: Ledger, target: Ledger) -> list[MergeReport]:
    """Copies all searches of a ledger into another one.

    A search in both ledgers gets the rows that the target lacks. Two copies of a search that went on separately are an
    error. A search with rows that cannot be read is passed over. The chain of a search is copied where it goes on from
    the target's, and extended otherwise.

    Raises:
        LedgerError: A search went on separately in both, or a process drives the target's; nothing was copied.
    """
    names = {record.uid: record.name for record in target.searches()}
    with ExitStack() as stack:
        for record in source.searches():
            if record.uid in names:
                stack.enter_context(target.claim(names[record.uid], DRIVE))
        with Session(source.engine) as reader, Session(target.engine) as writer, writer.begin():
            searches, unreadable = readable_rows(reader, SearchRow, select(SearchRow).order_by(SearchRow.id))
            merged = [_merged(row, reader, writer) for row in searches]
    merged += [MergeReport(f"search {row.id}", "", 0, (row,)) for row in unreadable]
    for report in merged:
        if report.rows:
            target.note("merged", report.into, source=source.shown, rows=report.rows)
    return merged


def _merged(search: SearchRow, reader: Session, writer: Session) -> MergeReport:
    here = writer.scalar(select(SearchRow).where(SearchRow.uid == search.uid))
    there, unreadable = _parts(reader, search)
    known, more = ({}, []) if here is None else _parts(writer, here)
    if unreadable or more:
        return MergeReport(search.name, search.name if here is None else here.name, 0, (*unreadable, *more))
    added: list[LedgerTable] = []
    if here is None:
        taken = writer.scalar(select(SearchRow.id).where(SearchRow.name == search.name)) is not None
        name = f"{search.name[:93]}-{search.uid[:6]}" if taken else search.name
        here = SearchRow(**{**_values(search), "name": name})
        writer.add(here)
        writer.flush()
        added.append(here)
    for table in PARTS:
        present = known.get(table, {})
        for key, row in there[table].items():
            if key not in present:
                added.append(table(**{**_values(row), "search_id": here.id}))
            elif _meaning(row) != _meaning(present[key]):
                raise LedgerError(
                    f"search {search.name!r} went on separately in both ledgers (they differ in "
                    f"{table.__tablename__} {key}); nothing was copied: merge them before a search goes on in both"
                )
    writer.add_all(added)
    # Rows that only this ledger has must precede the added ones, or the two went on separately.
    _check_order(writer, here)
    _extend_chain(search.uid, added, reader, writer)
    return MergeReport(search.name, here.name, sum(isinstance(row, ProposalRow | EvaluationRow) for row in added))


def _extend_chain(uid: str, added: Sequence[LedgerTable], reader: Session, writer: Session) -> None:
    """Links the added rows: by the links of the source if they begin with the target's, or by new ones."""
    theirs, ours = (_links(session, uid) for session in (reader, writer))
    kept = [(link.row, link.digest) for link in ours]
    if [(link.row, link.digest) for link in theirs[: len(ours)]] == kept:
        missing = {name_of(type(row), _values(row)) for row in added} - {link.row for link in theirs}
        writer.add_all(LinkRow(**_values(link)) for link in theirs[len(ours) :])
        last = theirs[-1:] or ours[-1:]
    else:
        missing = {name_of(type(row), _values(row)) for row in added}
        last = ours[-1:]
    number, before = (last[0].number, last[0].digest) if last else (0, FIRST_LINK)
    rows = [(type(row), _values(row)) for row in added if name_of(type(row), _values(row)) in missing]
    writer.add_all(LinkRow(**link) for link in links_of(uid, number + 1, before, rows))


def _links(session: Session, uid: str) -> Sequence[LinkRow]:
    return session.scalars(select(LinkRow).where(LinkRow.search == uid).order_by(LinkRow.number)).all()


def _check_order(writer: Session, here: SearchRow) -> None:
    writer.flush()
    positions = sorted(
        position
        for table in (ProposalRow, EvaluationRow)
        for position in writer.scalars(select(table.position).where(table.search_id == here.id))
    )
    if positions != list(range(1, len(positions) + 1)):
        raise LedgerError(f"search {here.name!r} has gaps in one of the ledgers; nothing was copied")


def _parts(session: Session, search: SearchRow) -> tuple[dict[type[Any], dict[Any, Any]], list[UnreadableRow]]:
    """The rows of a search by table and key, and those of them and of its chain that cannot be read."""
    _, unreadable = readable_rows(session, LinkRow, select(LinkRow).where(LinkRow.search == search.uid))
    found = {}
    for table in PARTS:
        rows, others = readable_rows(session, table, select(table).where(table.search_id == search.id))
        found[table] = _by_key(table, rows)
        unreadable += others
    return found, unreadable


def _by_key(table: type[Any], found: Sequence[Any]) -> dict[Any, Any]:
    if table is FrontRow:
        return {(row.position, row.tier): row for row in found}
    if table in (ProposalRow, EvaluationRow):
        return {row.position: row for row in found}
    return {row.number: row for row in found}


def _values(row: LedgerTable) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).columns if column.key != "id"}


def _meaning(row: LedgerTable) -> dict[str, Any]:
    """The columns that two copies of a row share: databases store times differently."""
    return {key: value for key, value in _values(row).items() if key != "search_id" and not key.endswith("_at")}
