"""What measures candidates: one module an evaluator."""

EVALUATORS = {
    "stand_alone": "piip_workers.evaluators.stand_alone:StandAloneEvaluator",
    "shared": "piip_workers.evaluators.shared:SharedEvaluator",
}
"""Class of each kind of evaluator as `module:name`; `piip_search.config.evaluator` has the settings of each kind."""
