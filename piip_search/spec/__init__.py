"""One YAML file, as a checked value: what may be built, on which data, at what effort, within which budget.

All that is wrong with a file is found in one reading and reported with its place and a way out (`SpecError`).
"""

from piip_search.spec.effort import Budget, Fidelity, Goal, Schedule
from piip_search.spec.reading import load_spec, parse_spec, space_file
from piip_search.spec.resources import Resources
from piip_search.spec.search_spec import SamplerName, SearchSpec
from piip_search.spec.space import Limit, Space
from piip_search.spec.training import DETECTORS, Data, Orientation, Split, Training
from piip_search.spec.values import NAME
from piip_search.spec.wording import SpecError

__all__ = [
    "DETECTORS", "NAME", "Budget", "Data", "Fidelity", "Goal", "Limit", "Orientation", "Resources", "SamplerName",
    "Schedule", "SearchSpec", "Space", "SpecError", "Split", "Training", "load_spec", "parse_spec", "space_file",
]  # fmt: skip
