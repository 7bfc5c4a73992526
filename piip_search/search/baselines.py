"""The baselines of a search as a list of candidates, in a run of their own that no sampler sees."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from piip_search.architecture.design import Design
from piip_search.config import SearchSpec
from piip_search.config.budget import Budget
from piip_search.evaluation.evaluation import Candidate
from piip_search.evaluation.objectives import Objectives
from piip_search.ledger import Circumstances, Ledger
from piip_search.ledger.records import BASELINES_QUESTION
from piip_search.search.policy import FixedPolicy
from piip_search.search.search import Search


def open_baselines(
    search: Search,
    designs: Sequence[Design],
    ledger: Ledger,
    fresh: bool = False,
    circumstances: Circumstances | None = None,
    take_over: bool = False,
) -> Search:
    """Opens the baselines of a search, or resumes them: each design once, at the fidelity of a full training.

    They are a run of their own in the ledger, which names the search. So no sampler, schedule, budget or front of the
    search sees them. The budget of the search does not end them.

    Args:
        search: The search.
        designs: The baselines; the cost of a stock network is counted.
        ledger: Ledger of the search.
        fresh: Whether to ignore measurements of other runs in the ledger.
        circumstances: Circumstances of this process.
        take_over: Whether to take them from another owner, or from a process that drives them.

    Raises:
        LedgerError: Another process drives them, or they belong to another owner.
    """
    spec = search.spec.model_copy(update={"budget": Budget(trials=len(designs))})
    digest = _digest(designs)
    return Search(
        f"{search.run}.baselines-{digest}",
        spec,
        FixedPolicy(baseline_candidates(spec, designs)),
        ledger,
        search.recipe,
        question=f"{BASELINES_QUESTION}{digest}",
        fresh=fresh,
        objectives=baseline_objectives(spec.objectives),
        circumstances=circumstances,
        audit_of=search.uid,
        take_over=take_over,
    )


def baseline_candidates(spec: SearchSpec, designs: Sequence[Design]) -> list[Candidate]:
    """The candidates of baselines: the full training of each, with the seeds of the search and no inherited weights."""
    return [Candidate(number, design, spec.rungs[-1], spec.seed) for number, design in enumerate(designs)]


def baseline_objectives(objectives: Objectives) -> Objectives:
    """The objectives of a search on the costs that every baseline has: a stock network has no memory in closed form."""
    known = tuple(axis for axis in objectives.known if axis.name != "training_gib")
    return replace(objectives, costs=objectives.costs[:1], most=(), known=known)


def _digest(designs: Sequence[Design]) -> str:
    """Digest of a list of designs: another list is another run, which the first one answers."""
    content = json.dumps([design.fingerprint for design in designs])
    return hashlib.sha256(content.encode()).hexdigest()[:6]
