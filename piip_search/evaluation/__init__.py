"""What is asked and answered: candidates, evaluations, objectives, fronts."""
