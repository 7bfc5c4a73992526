"""An evaluator that prepares something: a table of weights, one row after the other. It is in the tests alone."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from piip_search.config.evaluator import EVALUATOR_SECTIONS, EvaluatorSection
from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_workers.evaluators import EVALUATORS
from piip_workers.evaluators.evaluator import Report
from piip_workers.whole_files import write_whole
from support import fakes


class TableSection(EvaluatorSection):
    """Settings of the evaluator.

    Attributes:
        rows: Weights of the table.
        factor: Factor on the answers.
        seconds: Time that a row takes.
        fail_at: Row at which the preparation raises until a file `mended` lies in its folder.
        die_at: Row at which its process dies once.
    """

    prepared_from: ClassVar[tuple[str, ...] | None] = ("space", "seed")
    scoring: ClassVar[tuple[str, ...]] = ("factor",)
    kind: Literal["table"]
    rows: int = 6
    factor: float = 1.0
    seconds: float = 0.0
    fail_at: int | None = None
    die_at: int | None = None


class TableEvaluator:
    """Weights that are prepared once, and a quick answer from them."""

    def __init__(
        self,
        measure: Mapping[str, Any],
        folder: str,
        fingerprint: str,
        section: Mapping[str, Any],
        search: Mapping[str, Any],
    ) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self._section = TableSection.model_validate(section)
        self._seed = search["seed"]

    def prepare(self, report: Report) -> dict[str, Any]:
        table, section = self._table(), self._section
        for row in range(len(table), section.rows):
            self._disturb(row)
            time.sleep(section.seconds)
            with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
                log.write(f"{row}\n")
            table.append(_weight(self._seed, row))
            write_whole(self.folder / "table.json", json.dumps(table))
            report((row + 1) / section.rows, f"row {row}")
        return {"rows": len(table)}

    def evaluate(self, candidate: Candidate) -> Evaluation:
        weight = self._table()[int(candidate.design.fingerprint, 16) % self._section.rows]
        value = self._section.factor * weight * fakes.quality(candidate)
        return Evaluation(candidate, "done", {"bbox_mAP": value}, seconds=0.5)

    def _table(self) -> list[float]:
        file = self.folder / "table.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else []

    def _disturb(self, row: int) -> None:
        if row == self._section.fail_at and not (self.folder / "mended").exists():
            raise ValueError("a row is missing")
        if row == self._section.die_at and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os._exit(1)


def _weight(seed: int, row: int) -> float:
    digest = hashlib.sha256(f"{seed} {row}".encode()).hexdigest()
    return 0.5 + int(digest[:4], 16) / 2**17


@contextmanager
def registered() -> Iterator[None]:
    """The evaluator `table` can be chosen meanwhile."""
    EVALUATOR_SECTIONS["table"] = TableSection
    EVALUATORS["table"] = "support.table_evaluator:TableEvaluator"
    yield
    del EVALUATOR_SECTIONS["table"], EVALUATORS["table"]
