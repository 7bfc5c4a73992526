"""Section `evaluator` of a search: what measures a candidate."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from piip_search.config.messages import explained
from piip_search.evaluation.evaluation import Fidelity
from piip_search.sections import Section, closest, shortened
from piip_search.sections.fields import Count, Positive


class EvaluatorSection(Section):
    """The settings of an evaluator; each kind has its own class.

    `kind` has no default, so that fingerprints, which leave defaults out, always name it.

    Attributes:
        prepared_from: Fields of the search that the preparation depends on, besides training and data, such as `space`
            or `fidelity.image_scale`. None for an evaluator that prepares nothing.
        scoring: Settings that change answers but not the preparation.
        unseen: Settings that change neither.
        kind: Name of the evaluator.
    """

    prepared_from: ClassVar[tuple[str, ...] | None] = None
    scoring: ClassVar[tuple[str, ...]] = ()
    unseen: ClassVar[tuple[str, ...]] = ()
    kind: str

    @property
    def preparing_processes(self) -> int:
        """Processes that prepare together on Ray."""
        return 1

    def rung_name(self, epochs: int) -> str:
        """The name of a rung, by its epochs."""
        return f"{epochs} epochs"

    def included(self) -> dict[str, Any]:
        """The fields of the search that the preparation depends on, in the form that pydantic includes."""
        found: dict[str, Any] = {}
        for field in self.prepared_from or ():
            name, _, part = field.partition(".")
            if part:
                found.setdefault(name, set()).add(part)
            else:
                found[name] = True
        return found


class StandAloneSection(EvaluatorSection):
    """The evaluator that trains each design on its own, and prepares nothing."""

    kind: Literal["stand_alone"]


class SharedSection(EvaluatorSection):
    """The evaluator that trains one network for many designs, their parent.

    Its rungs are the ways in which a design is measured: with the parent's weights, after a short training from them,
    and, if asked for, after a training of its own.

    Attributes:
        parents: Designs of one parent: `set` for those whose backbones are in one of the largest sets of the space,
            `tier` for those of one tier of the limit, of all sets. The parent of a tier starts from the one below.
        epochs: Passes over the training images by a parent, all its designs together.
        designs_a_step: Designs of one update; each reads a batch of its own.
        grow: Share of the steps in which single branches alone are trained, where they are in the space.
        tune: Epochs of the short training.
        tune_rate: Factor on the learning rate of the short training: the full rate undoes some of what a parent learnt.
        keep: One in so many is promoted from a rung.
        finish: Last rung, which fronts are made of: `tuned`, or `alone` for a training of `fidelity.epochs`.
        least_passes: Fewest batches that each part of a design must have had in the parent's training.
        checkpoint_minutes: Least minutes between two checkpoints of a parent.
        processes: Processes that train a parent together on Ray, each on a GPU of its own if trials use one: they share
            the designs of a step among them. One process trains the same.
    """

    prepared_from: ClassVar[tuple[str, ...] | None] = (
        "task",
        "space",
        "limit",
        "seed",
        "fidelity.data_fraction",
        "fidelity.image_scale",
        "resources.gpu",
        "resources.gpu_memory",
    )
    scoring: ClassVar[tuple[str, ...]] = ("tune", "tune_rate", "keep", "finish", "least_passes")
    unseen: ClassVar[tuple[str, ...]] = ("checkpoint_minutes", "processes")
    kind: Literal["shared"]
    parents: Literal["set", "tier"] = "set"
    epochs: Count = 36
    designs_a_step: Count = 2
    grow: Annotated[float, Field(ge=0, lt=1)] = 0.3
    tune: Count = 2
    tune_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    keep: Annotated[int, Field(ge=2)] = 8
    finish: Literal["tuned", "alone"] = "tuned"
    least_passes: Count = 20
    checkpoint_minutes: Positive = 2.0
    processes: Count = 1

    @model_validator(mode="after")
    def _processes_share_designs(self) -> Self:
        if self.designs_a_step % self.processes:
            raise ValueError(
                f"processes share the designs of a step equally, got {self.processes} processes and designs_a_step "
                f"{self.designs_a_step}; set designs_a_step to a multiple of processes"
            )
        return self

    @property
    def preparing_processes(self) -> int:
        """Processes that prepare together on Ray."""
        return self.processes

    def rung_name(self, epochs: int) -> str:
        """The name of a rung, by its epochs."""
        if epochs == 0:
            return "with the parent's weights"
        return f"tuned, {epochs} epochs" if epochs == self.tune else f"alone, {epochs} epochs"

    def rungs(self, whole: Fidelity) -> tuple[Fidelity, ...]:
        """The fidelities of its rungs.

        Args:
            whole: Fidelity of a training of its own.
        """
        scored = replace(whole, epochs=0, horizon=None, seeds=1)
        tuned = replace(whole, epochs=self.tune, horizon=None)
        return (scored, tuned, whole) if self.finish == "alone" else (scored, tuned)


EVALUATOR_SECTIONS: dict[str, type[EvaluatorSection]] = {
    "stand_alone": StandAloneSection,
    "shared": SharedSection,
}
"""The settings of each kind of evaluator; `piip_workers.evaluators.EVALUATORS` has the evaluators."""


def _section(value: Any) -> EvaluatorSection:
    """The section of a kind; a name alone stands for that kind with its defaults."""
    if isinstance(value, EvaluatorSection):
        return value
    content = {"kind": value} if isinstance(value, str) else value
    kind = content.get("kind") if isinstance(content, Mapping) else None
    if not isinstance(kind, str):
        known = ", ".join(EVALUATOR_SECTIONS)
        raise ValueError(
            f"must be the name of an evaluator, or a mapping with its kind ({known}), got {shortened(value)}"
        )
    if kind not in EVALUATOR_SECTIONS:
        raise ValueError(f"unknown kind {shortened(kind)}{closest(kind, EVALUATOR_SECTIONS)}")
    section = EVALUATOR_SECTIONS[kind]
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise ValueError("; ".join(explained(dict(item), section, {}) for item in error.errors())) from None


EvaluatorChoice = Annotated[SerializeAsAny[EvaluatorSection], BeforeValidator(_section)]
"""An evaluator in a file: its name, or a mapping with its kind and settings."""
