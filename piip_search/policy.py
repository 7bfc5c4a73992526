"""What is measured next, and how: a policy proposes whole candidates and learns from whole evaluations."""

from collections.abc import Sequence
from typing import Any, Protocol

from piip_search.architecture import Architecture
from piip_search.evaluation import Candidate, Evaluation, Fidelity
from piip_search.objectives import Objectives
from piip_search.relatives import nearest
from piip_search.sampler import Sampler


class Policy(Protocol):
    """Proposes candidates, one at a time, and learns what came of them."""

    @property
    def most(self) -> int:
        """How many candidates it will propose at most."""
        ...

    def ask(self, number: int, recorded: Candidate | None = None) -> Candidate | None:
        """The next candidate to measure; None when there is nothing more.

        Args:
            number: The candidate's number.
            recorded: What was proposed at this point of an earlier sitting. It is proposed again, and the policy goes
                through the same states as it did then.
        """
        ...

    def tell(self, evaluation: Evaluation) -> None:
        """What came of a candidate."""
        ...


class Sampled:
    """A sampler's proposals, each measured once with the same effort."""

    def __init__(
        self,
        sampler: Sampler,
        objectives: Objectives,
        trials: int,
        fidelity: Fidelity,
        seed: int,
        inherit: bool = False,
    ) -> None:
        """Wraps a sampler.

        Args:
            sampler: Who proposes architectures.
            objectives: What it is told.
            trials: How many to propose.
            fidelity: How hard to try.
            seed: Seed of weights and data order.
            inherit: Whether a candidate starts from the nearest relative's weights.
        """
        self.most = trials
        self._sampler = sampler
        self._objectives = objectives
        self._fidelity = fidelity
        self._seed = seed
        self._trained: dict[Architecture, str] | None = {} if inherit else None

    def ask(self, number: int, recorded: Candidate | None = None) -> Candidate | None:
        architecture = self._sampler.ask(recorded=None if recorded is None else recorded.architecture)
        if recorded is not None or architecture is None:
            return recorded
        parent = nearest(architecture, self._trained) if self._trained else None
        name = None if parent is None or self._trained is None else self._trained[parent]
        return Candidate(number, architecture, self._fidelity, self._seed, name, self._why())

    def _why(self) -> dict[str, Any]:
        """What the sampler said, with the metric in place of its loss."""
        why = dict(self._sampler.why)
        loss = why.pop("loss", None)
        return why if loss is None else {**why, "predicted": [1 - level for level in (loss[0], loss[2], loss[1])]}

    def tell(self, evaluation: Evaluation) -> None:
        architecture = evaluation.candidate.architecture
        measured = self._objectives.value(evaluation) is not None
        self._sampler.tell(architecture, self._objectives.losses([evaluation])[0] if measured else None)
        # What another run answered has no weights here.
        if self._trained is not None and measured and "answered_from" not in evaluation.facts:
            self._trained[architecture] = evaluation.candidate.training


class Listed:
    """Candidates that were decided beforehand."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = tuple(candidates)
        self.most = len(self._candidates)

    def ask(self, number: int, recorded: Candidate | None = None) -> Candidate | None:
        return self._candidates[number] if number < self.most else None

    def tell(self, evaluation: Evaluation) -> None:
        """Nothing: what comes next was decided beforehand."""
