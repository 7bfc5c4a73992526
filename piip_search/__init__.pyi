from piip_search.api.catalogue import list_backbones as list_backbones
from piip_search.api.catalogue import list_spaces as list_spaces
from piip_search.api.catalogue import list_tasks as list_tasks
from piip_search.api.results import best as best
from piip_search.api.results import export_design as export_design
from piip_search.api.results import front as front
from piip_search.api.results import read_run as read_run
from piip_search.api.results import write_report as write_report
from piip_search.api.search import load as load
from piip_search.api.search import run as run
from piip_search.architecture import Architecture as Architecture
from piip_search.cost.price import price as price
from piip_search.errors import PiipError as PiipError
from piip_search.errors import UserError as UserError
from piip_search.evaluation.evaluation import Candidate as Candidate
from piip_search.evaluation.evaluation import Evaluation as Evaluation

__version__: str
