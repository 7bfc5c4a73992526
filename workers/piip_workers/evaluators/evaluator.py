"""The interface of evaluators.

An evaluator of a search is built in every process that uses it, from keyword arguments that are plain data:

- `measure`: the task's own measurement of one design, as `{"function": "module:name", "settings": {...}}`;
- for one that prepares something also `folder`, `fingerprint`, `section` (its settings) and `search` (the fields of the
  search that its preparation depends on).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from piip_search.evaluation.evaluation import Candidate, Evaluation

Report = Callable[[float, str], None]
"""Takes the share of a preparation that is finished, from 0 to 1, and one line about it."""


@runtime_checkable
class Evaluator(Protocol):
    """Measures candidates, in any process.

    Equal candidates get equal evaluations, also in another process and after a pause.
    """

    def evaluate(self, candidate: Candidate) -> Evaluation:
        """Measures a candidate; an error of the candidate may be raised, and becomes a failed evaluation.

        Raises:
            MachineError: The machine is at fault.
        """
        ...


@runtime_checkable
class PreparingEvaluator(Evaluator, Protocol):
    """An evaluator that prepares something once, from which it then answers for every candidate.

    Use `piip_workers.evaluators.preparation.prepare`, which calls `prepare` at most once to its end, and `evaluate` of
    the same module, which refuses to answer before that.

    Attributes:
        fingerprint: Text that names the content of the preparation. Answers of another fingerprint are never taken.
        folder: Folder of the preparation, which all processes can read.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def prepare(self, report: Report) -> Mapping[str, Any]:
        """Prepares into the folder, or goes on with what an interrupted call left there.

        Only one process does so at a time. Each report keeps the time so far, so it comes with each checkpoint.

        Args:
            report: Takes the progress.

        Returns:
            Facts for the ledger, plain data. Those under `said`, a list of lines, are shown with the search.
        """
        ...
