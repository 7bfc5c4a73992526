"""The evaluator that measures each design on its own: the task trains a proxy of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from piip_search.evaluation.evaluation import Candidate, Evaluation
from piip_workers.jobs.job import imported


@dataclass(frozen=True)
class StandAloneEvaluator:
    """Measures with the function of the task; prepares nothing.

    Attributes:
        measure: The task's function as `module:name`, and its settings.
    """

    measure: Mapping[str, Any]

    def evaluate(self, candidate: Candidate) -> Evaluation:
        evaluation: Evaluation = imported(self.measure["function"])(candidate, **self.measure["settings"])
        return evaluation
