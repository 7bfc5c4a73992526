"""One YAML file, as a checked value: what may be built, on which data, at what effort, within which budget.

All that is wrong with a file is found in one reading and reported with its place and a way out (`SpecError`).
"""

from piip_search.config.budget import Budget, FidelitySection, Goal, Schedule
from piip_search.config.fields import RUN_NAME
from piip_search.config.load import load_spec, parse_spec, space_file
from piip_search.config.resources import Resources
from piip_search.config.search_spec import SamplerName, SearchSpec
from piip_search.config.space import LimitSection, SpaceSection
from piip_search.config.training import DETECTORS, Data, Orientation, Split, Training
from piip_search.errors import SpecError

__all__ = [
    "DETECTORS",
    "RUN_NAME",
    "Budget",
    "Data",
    "FidelitySection",
    "Goal",
    "LimitSection",
    "Orientation",
    "Resources",
    "SamplerName",
    "Schedule",
    "SearchSpec",
    "SpaceSection",
    "SpecError",
    "Split",
    "Training",
    "load_spec",
    "parse_spec",
    "space_file",
]
