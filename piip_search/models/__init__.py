"""An architecture as torch modules."""

from piip_search.models.piip import PIIP as PIIP
from piip_search.models.piip import PIIPPyramid as PIIPPyramid
