"""Copies of a ledger's searches: flat tables, and another ledger."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from piip_search.errors import LedgerError
from piip_search.evaluation.evaluation import Candidate
from piip_search.ledger.ledger import Ledger
from piip_search.ledger.tables import (
    EvaluationRow,
    FrontRow,
    LedgerTable,
    PreparationRow,
    PromotionRow,
    ProposalRow,
    SearchRow,
    SittingRow,
    utc,
)

PARTS: tuple[type[Any], ...] = (SittingRow, ProposalRow, EvaluationRow, PromotionRow, FrontRow, PreparationRow)
"""Tables whose rows belong to a search."""


def rows(ledger: Ledger, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One flat row for each proposal of some searches with its evaluation, in the order of the proposals.

    Columns: the search, the design and its costs, the fidelity and the reason of the proposal, then `status`
        (`unfinished` without an evaluation), times, host, versions and revision, and `metric.NAME` for each metric.
    """
    for name in names:
        record = ledger.search(name)
        sittings = {sitting.number: sitting.circumstances for sitting in ledger.sittings(name)}
        with Session(ledger.engine) as session:
            found = session.execute(
                select(ProposalRow, EvaluationRow)
                .join(SearchRow, SearchRow.id == ProposalRow.search_id)
                .outerjoin(
                    EvaluationRow,
                    (EvaluationRow.search_id == ProposalRow.search_id) & (EvaluationRow.number == ProposalRow.number),
                )
                .where(SearchRow.name == name)
                .order_by(ProposalRow.number)
            )
            for proposal, evaluation in found:
                circumstances = sittings.get(proposal.sitting)
                yield {
                    "search": name,
                    "uid": record.uid,
                    "audit_of": record.audit_of,
                    "data": record.data,
                    "recipe": record.recipe,
                    "sampler": record.spec.get("sampler", ""),
                    **_proposed(proposal),
                    **_came_of(evaluation),
                    "driver": "" if circumstances is None else circumstances.host,
                    "revision": "" if circumstances is None else circumstances.revision,
                    "versions": "" if circumstances is None else json.dumps(dict(circumstances.versions)),
                }


def _proposed(row: ProposalRow) -> dict[str, Any]:
    candidate = Candidate.from_dict(row.candidate)
    costs = {
        f"gmacs.{convention}": cost["macs"] / 1e9 for convention, cost in row.costs.items() if isinstance(cost, Mapping)
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


def _came_of(row: EvaluationRow | None) -> dict[str, Any]:
    if row is None:
        return {"status": "unfinished"}
    return {
        "status": row.status,
        "error": row.error,
        "seconds": row.seconds,
        "gpu_seconds": row.gpu_seconds,
        "host": row.host,
        "finished_at": utc(row.finished_at).isoformat(),
        **{f"metric.{name}": value for name, value in row.metrics.items()},
    }


def write_csv(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows as CSV; a missing value is empty."""
    columns = list(dict.fromkeys(column for row in table for column in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(table)


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
    """

    name: str
    into: str
    rows: int


def merge(source: Ledger, target: Ledger) -> list[MergeReport]:
    """Copies all searches of a ledger into another one.

    A search in both ledgers gets the rows that the target lacks. Two copies of a search that went on separately are an
    error.

    Raises:
        LedgerError: A search went on separately in both; nothing was copied.
    """
    with Session(source.engine) as reader, Session(target.engine) as writer, writer.begin():
        merged = [_merged(row, reader, writer) for row in reader.scalars(select(SearchRow).order_by(SearchRow.id))]
    return merged


def _merged(search: SearchRow, reader: Session, writer: Session) -> MergeReport:
    here = writer.scalar(select(SearchRow).where(SearchRow.uid == search.uid))
    if here is None:
        taken = writer.scalar(select(SearchRow.id).where(SearchRow.name == search.name)) is not None
        name = f"{search.name[:93]}-{search.uid[:6]}" if taken else search.name
        here = SearchRow(**{**_values(search), "name": name})
        writer.add(here)
        writer.flush()
    added = 0
    for table in PARTS:
        there = _by_key(reader, table, search.id)
        known = _by_key(writer, table, here.id)
        for key, row in there.items():
            if key not in known:
                writer.add(table(**{**_values(row), "search_id": here.id}))
                added += table in (ProposalRow, EvaluationRow)
            elif _meaning(row) != _meaning(known[key]):
                raise LedgerError(
                    f"search {search.name!r} went on separately in both ledgers (they differ in "
                    f"{table.__tablename__} {key}); nothing was copied: merge them before a search goes on in both"
                )
    # Rows that only this ledger has must precede the added ones, or the two went on separately.
    _check_order(writer, here)
    return MergeReport(search.name, here.name, added)


def _check_order(writer: Session, here: SearchRow) -> None:
    writer.flush()
    positions = sorted(
        position
        for table in (ProposalRow, EvaluationRow)
        for position in writer.scalars(select(table.position).where(table.search_id == here.id))
    )
    if positions != list(range(1, len(positions) + 1)):
        raise LedgerError(f"search {here.name!r} has gaps in one of the ledgers; nothing was copied")


def _by_key(session: Session, table: type[Any], search_id: int) -> dict[Any, Any]:
    found = session.scalars(select(table).where(table.search_id == search_id))
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
