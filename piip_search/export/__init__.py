"""Exports of an architecture: the files of its task's own training, a torch network, or an ONNX file."""

from piip_search.export.folder import prepared_folder as prepared_folder
from piip_search.export.folder import read_architecture as read_architecture
from piip_search.export.folder import write_export as write_export
from piip_search.export.provenance import Provenance as Provenance
from piip_search.export.request import NETWORK_FORMATS as NETWORK_FORMATS
from piip_search.export.request import RANDOM as RANDOM
from piip_search.export.request import Export as Export
from piip_search.export.request import PixelNorm as PixelNorm
from piip_search.export.request import Reading as Reading
from piip_search.export.request import Start as Start
from piip_search.export.request import TrainingPlan as TrainingPlan
from piip_search.export.request import WeightsKind as WeightsKind
