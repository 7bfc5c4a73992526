"""An architecture as torch modules."""

from piip_search.models.heads import PIIPClassifier as PIIPClassifier
from piip_search.models.heads import PIIPPyramid as PIIPPyramid
from piip_search.models.piip import PIIP as PIIP
