"""The sections of a search space file, as far as all tasks share them: base classes, values, words of messages."""

from piip_search.sections.data import DataSection as DataSection
from piip_search.sections.data import Orientation as Orientation
from piip_search.sections.fields import Section as Section
from piip_search.sections.messages import closest as closest
from piip_search.sections.messages import shortened as shortened
from piip_search.sections.training import TrainingSection as TrainingSection
