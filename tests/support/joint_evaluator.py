"""An evaluator whose processes need each other: each row of its table is a sum over all of them."""

import json
import os
from pathlib import Path

import torch

from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_workers.evaluators.evaluator import Report
from piip_workers.shared.group import group_of
from piip_workers.whole_files import write_whole


class JointEvaluator:
    """Sums of 1, 2 and so on over its processes."""

    def __init__(self, folder: str, rows: int, dies: bool = False, fails: bool = False) -> None:
        self.folder, self.fingerprint = Path(folder), "joint"
        self._rows, self._dies, self._fails = rows, dies, fails

    def prepare(self, report: Report) -> dict[str, list[float]]:
        group = group_of(torch.device("cpu"))
        file = self.folder / "table.json"
        table = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        for row in range(len(table), self._rows):
            if row == 2 and group.rank == 1:
                self._disturb()
            value = torch.tensor([float(row + 1)])
            group.add(value)
            table.append(float(value))
            if not group.rank:
                write_whole(file, json.dumps(table))
                report((row + 1) / self._rows, f"row {row}")
        return {"table": table}

    def evaluate(self, candidate: Candidate) -> Evaluation:
        raise NotImplementedError

    def _disturb(self) -> None:
        if self._fails:
            raise ValueError("a row is missing")
        if self._dies and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os._exit(1)
