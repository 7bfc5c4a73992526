"""Tables of a search for download, as CSV or Parquet."""

import csv
import io
from typing import Any

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.axes import conventions, price_of

TableRows = list[dict[str, Any]]


def evaluation_rows(reading: RunSnapshot) -> TableRows:
    """One row for each evaluation, in the order of their ends."""
    ended = zip(reading.evaluations, reading.ended_at, reading.hours, strict=True)
    shared = conventions(reading)
    return [
        {
            "trial": e.candidate.number,
            "fingerprint": e.candidate.design.fingerprint,
            "architecture": e.candidate.design.name,
            "status": e.status,
            "epochs": e.candidate.fidelity.epochs,
            "schedule_epochs": e.candidate.fidelity.schedule_epochs,
            "data_fraction": e.candidate.fidelity.data_fraction,
            "image_scale": e.candidate.fidelity.image_scale,
            "seed": e.candidate.seed,
            "source": e.candidate.reason.source,
            **{metric: e.metrics.get(metric) for metric in reading.metrics},
            **{f"gmacs_{name}": price_of(reading, e.candidate.architecture, name, "gmacs") for name in shared},
            **{f"mparams_{name}": price_of(reading, e.candidate.architecture, name, "mparams") for name in shared},
            "seconds": e.seconds,
            "hours_so_far": hours,
            "finished_at": at.isoformat(),
            "host": e.facts.host,
            "error": e.error,
        }
        for e, at, hours in ended
    ]


def front_rows(reading: RunSnapshot) -> TableRows:
    """One row for each member of a tier's front."""
    metric = reading.objectives.metric
    return [
        {
            f"tier_{reading.objectives.axis.name}": front.tier,
            "trial": e.candidate.number,
            "fingerprint": e.candidate.design.fingerprint,
            "architecture": e.candidate.design.name,
            metric: e.metrics[metric],
            "seeds": len(reading.designs[e.candidate.design.fingerprint].values(metric)),
            **reading.objectives.known_costs(e.candidate.design),
        }
        for front in reading.fronts
        for e in front.evaluations
    ]


def as_csv(rows: TableRows) -> bytes:
    """CSV with a header; a spreadsheet takes no cell for a formula."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    return text.getvalue().encode()


def as_parquet(rows: TableRows) -> bytes:
    """One Parquet table, typed by its values."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
