"""Effects of choices: ablations from a search's measurements, and importance beyond cost."""

from piip_search.analysis.effects.groups import Best as Best
from piip_search.analysis.effects.groups import GroupComparison as GroupComparison
from piip_search.analysis.effects.groups import best_of as best_of
from piip_search.analysis.effects.groups import compared as compared
from piip_search.analysis.effects.groups import grouped as grouped
from piip_search.analysis.effects.importance import FEWEST_DESIGNS as FEWEST_DESIGNS
from piip_search.analysis.effects.importance import Importance as Importance
from piip_search.analysis.effects.importance import Weight as Weight
from piip_search.analysis.effects.importance import importance as importance
from piip_search.analysis.effects.matched import Effect as Effect
from piip_search.analysis.effects.matched import Pair as Pair
from piip_search.analysis.effects.matched import matched_effects as matched_effects
from piip_search.analysis.effects.measured import Measured as Measured
from piip_search.analysis.effects.measured import measured_designs as measured_designs
