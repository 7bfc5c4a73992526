"""Search spaces: the allowed designs and the limit of their cost."""

from piip_search.space.choices import PAIRINGS as PAIRINGS
from piip_search.space.choices import Choices as Choices
from piip_search.space.choices import Pairing as Pairing
from piip_search.space.designs import Designs as Designs
from piip_search.space.designs import Limit as Limit
from piip_search.space.designs import Rows as Rows
from piip_search.space.features import Features as Features
from piip_search.space.search_space import SearchSpace as SearchSpace
from piip_search.space.windows import Window as Window
from piip_search.space.windows import parse_window as parse_window
from piip_search.space.windows import write_window as write_window
