"""The section `groups` of a search: what its sampler compares at equal cost."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from piip_search.architecture.traits import TRAITS
from piip_search.sections import Section, closest
from piip_search.sections.fields import MOST_CHOICES


class GroupsSection(Section):
    """Groups of designs that the sampler `matched` draws at equal cost.

    Attributes:
        by: What designs are grouped by, as in `piip-search compare --by`.
        only: Names of the groups that are compared, such as `[inverted, direct]`; None for all.
    """

    by: str
    only: Annotated[tuple[str, ...], Field(min_length=2, max_length=MOST_CHOICES, strict=False)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, content: Any) -> Any:
        return {"by": content} if isinstance(content, str) else content

    @field_validator("by")
    @classmethod
    def _is_a_trait(cls, value: str) -> str:
        if value not in TRAITS:
            raise ValueError(f"unknown trait {value!r}{closest(value, TRAITS)}")
        return value
