"""Section `evaluator` of a search: what measures a candidate."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from piip_search.config.messages import explained
from piip_search.sections import Section, closest, shortened


class EvaluatorSection(Section):
    """The settings of an evaluator; each kind has its own class.

    `kind` has no default, so that fingerprints, which leave defaults out, always name it.

    Attributes:
        prepared_from: Fields of the search that the preparation depends on, besides task, training and data. None for
            an evaluator that prepares nothing.
        scoring: Settings that change answers but not the preparation.
        kind: Name of the evaluator.
    """

    prepared_from: ClassVar[tuple[str, ...] | None] = None
    scoring: ClassVar[tuple[str, ...]] = ()
    kind: str


class StandAloneSection(EvaluatorSection):
    """The evaluator that trains each design on its own, and prepares nothing."""

    kind: Literal["stand_alone"]


EVALUATOR_SECTIONS: dict[str, type[EvaluatorSection]] = {"stand_alone": StandAloneSection}
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
