"""An architecture leaves as a training configuration."""

from piip_search.export.folder import export_mmdet as export_mmdet
from piip_search.export.mmdet_config import CocoPaths as CocoPaths
from piip_search.export.mmdet_config import CocoSplit as CocoSplit
