"""Tables of a search for download, as CSV or Parquet; each is made once for a state of its run, and streamed."""

import gzip
import itertools
import zlib
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_dashboards.views.axes import conventions
from piip_dashboards.web.scratch import ScratchFolder
from piip_search.architecture.design import Design
from piip_search.plain_text import write_csv

TableName = Literal["evaluations", "front"]
TableEnding = Literal["csv", "parquet"]
MOST_TABLES = 16
"""Most tables that are kept; of others the least lately asked for is removed."""
BLOCK = 2**16
"""Bytes of a file that are read at a time."""
PACKING = 3
"""Level of compression: a higher one takes longer than it saves on a network of today."""


@dataclass(frozen=True)
class KeptTable:
    """A table as a file.

    Attributes:
        state: State of the run that it shows.
        path: Path of the file.
        packed: Whether the file is compressed with gzip.
    """

    state: Hashable
    path: Path
    packed: bool

    def open(self) -> IO[bytes]:
        return self.path.open("rb")


class KeptTables:
    """Tables as files; one is made at a time, for all who ask for it."""

    def __init__(self) -> None:
        self._folder = ScratchFolder("piip-search-tables-")
        self._maker = ThreadPoolExecutor(1, "makes tables")
        self._kept: dict[Hashable, KeptTable] = {}
        self._numbers = itertools.count()

    def open(
        self, key: Hashable, state: Hashable, packed: bool, make: Callable[[Path], None]
    ) -> "Future[tuple[KeptTable, IO[bytes]]]":
        """A table with its file, opened, so that a later state of the run does not remove it meanwhile.

        Args:
            key: Name of the table.
            state: State of its run; the table of another state is made anew.
            packed: Whether the file is compressed with gzip.
            make: Writes the file.
        """
        return self._maker.submit(self._opened, key, state, packed, make)

    def close(self) -> None:
        """Removes all files, after the one that is being made."""
        self._maker.shutdown(cancel_futures=True)
        self._folder.close()

    def _opened(
        self, key: Hashable, state: Hashable, packed: bool, make: Callable[[Path], None]
    ) -> tuple[KeptTable, IO[bytes]]:
        known = self._kept.pop(key, None)
        if known is None or known.state != state:
            if known is not None:
                known.path.unlink(missing_ok=True)
            path = self._folder.path / str(next(self._numbers))
            make(path)
            known = KeptTable(state, path, packed)
        self._kept[key] = known  # the last one asked for is the last to go
        while len(self._kept) > MOST_TABLES:
            self._kept.pop(next(iter(self._kept))).path.unlink(missing_ok=True)
        return known, known.open()


def write_table(reading: RunSnapshot, table: TableName, ending: TableEnding, path: Path) -> None:
    """Writes a table of a run: CSV compressed with gzip, or Parquet."""
    rows = evaluation_rows(reading) if table == "evaluations" else iter(front_rows(reading))
    if ending == "parquet":
        write_parquet(rows, path)
        return
    with gzip.open(path, "wt", PACKING, encoding="utf-8", newline="") as file:
        write_csv(list(rows), file)


def blocks(file: IO[bytes], unpack: bool) -> Iterator[bytes]:
    """The content of a file in blocks, decompressed on request; closes the file."""
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    with file:
        while block := file.read(BLOCK):
            yield inflate.decompress(block) if unpack else block


def evaluation_rows(reading: RunSnapshot) -> Iterator[dict[str, Any]]:
    """One row for each evaluation, in the order of their ends."""
    known: dict[int, dict[str, Any]] = {}
    metrics = reading.metrics
    costs = _pricer(reading)
    for e, at, hours in zip(reading.evaluations, reading.ended_at, reading.hours, strict=True):
        design = e.candidate.design
        facts = known.get(id(design))  # the events keep their designs alive
        if facts is None:
            facts = known[id(design)] = {"fingerprint": design.fingerprint, "name": design.name, "costs": costs(design)}
        yield {
            "trial": e.candidate.number,
            "fingerprint": facts["fingerprint"],
            "architecture": facts["name"],
            "status": e.status,
            "epochs": e.candidate.fidelity.epochs,
            "schedule_epochs": e.candidate.fidelity.schedule_epochs,
            "data_fraction": e.candidate.fidelity.data_fraction,
            "image_scale": e.candidate.fidelity.image_scale,
            "seed": e.candidate.seed,
            "source": e.candidate.reason.source,
            **{metric: e.metrics.get(metric) for metric in metrics},
            **facts["costs"],
            "seconds": e.seconds,
            "hours_so_far": hours,
            "finished_at": at.isoformat(),
            "host": e.facts.host,
            "error": e.error,
        }


def _pricer(reading: RunSnapshot) -> Callable[[Design], dict[str, float]]:
    """The function that prices a design under every convention of a run."""
    pricings = {name: replace(reading.spec.pricing, convention=name) for name in conventions(reading)}

    def costs(design: Design) -> dict[str, float]:
        found = {name: pricing.price(design) for name, pricing in pricings.items()}
        return {
            **{f"gmacs_{name}": cost.gmacs for name, cost in found.items()},
            **{f"mparams_{name}": cost.mparams for name, cost in found.items()},
        }

    return costs


def front_rows(reading: RunSnapshot) -> list[dict[str, Any]]:
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


def write_parquet(rows: Iterator[dict[str, Any]], path: Path) -> None:
    """Writes one Parquet table, typed by its values."""
    import pyarrow as pa
    from pyarrow import parquet

    whole = list(rows)
    columns = {name: [row[name] for row in whole] for name in (whole[0] if whole else {})}
    parquet.write_table(pa.table(columns), path)
