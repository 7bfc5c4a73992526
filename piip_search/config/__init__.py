"""The YAML file of a search as a checked value: space, data, effort, and budget.

One reading finds all faults of a file and reports each with its place and a way out (`SpecError`).
"""

from piip_search.config.budget import Budget, FidelitySection, Goal, Schedule
from piip_search.config.load import load_spec, parse_spec, space_file
from piip_search.config.resources import Resources
from piip_search.config.search_spec import SamplerName, SearchSpec
from piip_search.config.space import LimitSection, SpaceSection
from piip_search.errors import SpecError
from piip_search.sections.fields import RUN_NAME

__all__ = [
    "RUN_NAME",
    "Budget",
    "FidelitySection",
    "Goal",
    "LimitSection",
    "Resources",
    "SamplerName",
    "Schedule",
    "SearchSpec",
    "SpaceSection",
    "SpecError",
    "load_spec",
    "parse_spec",
    "space_file",
]
