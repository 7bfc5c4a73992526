"""Candidates, evaluations, objectives and fronts."""

from piip_search.evaluation.evaluation import Candidate as Candidate
from piip_search.evaluation.evaluation import Evaluation as Evaluation
from piip_search.evaluation.evaluation import Fidelity as Fidelity
