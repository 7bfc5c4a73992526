"""Exports of an architecture: a training configuration, a torch network, or an ONNX file."""

from piip_search.export.folder import prepare_folder as prepare_folder
from piip_search.export.folder import read_architecture as read_architecture
from piip_search.export.folder import write_export as write_export
from piip_search.export.mmdet.data import CocoPaths as CocoPaths
from piip_search.export.mmdet.data import CocoSplit as CocoSplit
from piip_search.export.mmdet.recipe import SCHEDULES as SCHEDULES
from piip_search.export.mmdet.recipe import ScheduleName as ScheduleName
from piip_search.export.provenance import Provenance as Provenance
from piip_search.export.request import FORMATS as FORMATS
from piip_search.export.request import RANDOM as RANDOM
from piip_search.export.request import Export as Export
from piip_search.export.request import Format as Format
from piip_search.export.request import Start as Start
from piip_search.export.request import WeightsKind as WeightsKind
