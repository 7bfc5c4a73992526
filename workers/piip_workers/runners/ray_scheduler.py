"""Successive halving as a scheduler for any run of Ray Tune: pauses trials at rungs and continues the best.

`ray_tune` does not use it: there each rung is a trial of its own, which is recorded, measured and retried separately.
This scheduler is for trainables of other programs, under any searcher. Both use `Halving`, and so promote the same
designs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from piip_search.search.halving import Halving


class HalvingScheduler(TrialScheduler):
    """Successive halving of a metric and a known cost, without waiting (`piip_search.search.halving.Halving`).

    A trial reports its time and its metric, and saves checkpoints. At a rung it is paused. It goes on, maybe on another
    machine, once it is among the best one in `keep` of its tier. Trials that are never promoted end when no other is
    left to come. Limit the trials at a time by their resources: `max_concurrent_trials` counts paused trials, of which
    the least promising then end early. `Tuner.restore` restores the last report of each trial, and no earlier rung.
    """

    def __init__(
        self,
        rungs: Sequence[int],
        cost: Callable[[dict[str, Any]], float],
        tiers: Sequence[float],
        metric: str | None = None,
        mode: str | None = None,
        keep: int = 3,
        time_attr: str = "training_iteration",
    ) -> None:
        """Prepares the scheduler.

        Args:
            rungs: Times at which trials are compared, rising; the last is the full training.
            cost: Function for the known cost of a trial's configuration.
            tiers: Tiers of the limit, in the unit of the costs, rising.
            metric: Name of the reported metric; by default the tuner's.
            mode: `min` or `max`; by default the tuner's.
            keep: One in so many goes on from each rung.
            time_attr: Name of the reported time.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # it is Ray's
        self._halving: Halving[str] = Halving(rungs, keep, tiers)
        self._rungs, self._cost, self._time = tuple(rungs), cost, time_attr
        self._costs: dict[str, float] = {}
        self._metric, self._mode = metric, mode
        self._towards: dict[str, int] = {}
        self._lost: dict[str, Trial] = {}
        self._idle = 0

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric, self._mode = self._metric or metric, self._mode or mode
        if self._metric is None or self._mode not in ("min", "max"):
            raise ValueError("the scheduler compares trials by a metric: give metric and mode, here or to the tuner")
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._lost.pop(trial.trial_id, None)  # a retried trial
        if trial.trial_id in self._towards:
            return
        self._costs[trial.trial_id] = self._cost(trial.config)
        self._go_on(trial.trial_id, 0)
        reached = [rung for rung, time in enumerate(self._rungs) if self._reported(trial.last_result)[0] >= time]
        for rung in reached[-1:]:
            self._go_on(trial.trial_id, rung)
            self._arrived(trial.trial_id, trial.last_result)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if self._reported(result)[0] < self._rungs[self._towards[trial.trial_id]]:
            return self.CONTINUE
        arrived = self._arrived(trial.trial_id, result)
        if arrived == self._halving.last:
            return self.STOP
        return self.CONTINUE if self._towards[trial.trial_id] > arrived else self.PAUSE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Accepts a trial that ended by itself: at the end of its training, or too early to go on from there."""
        if self._arrived_at(trial):
            return
        if self._reported(result)[0] >= self._rungs[-1]:
            self._go_on(trial.trial_id, self._halving.last)
            self._arrived(trial.trial_id, result)
        else:
            self._halving.record(trial.trial_id, self._towards[trial.trial_id], None)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._lost[trial.trial_id] = trial  # Tune may still retry it

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        if self._arrived_at(trial):  # the trial will not go on
            self._go_on(trial.trial_id, min(self._towards[trial.trial_id] + 1, self._halving.last))
        self._halving.record(trial.trial_id, self._towards[trial.trial_id], None)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for name, trial in list(self._lost.items()):
            if trial.status == Trial.ERROR:
                self._halving.record(name, self._towards[name], None)
                del self._lost[name]
        trials = tune_controller.get_trials()
        # The second question without a new trial between: no trial comes before a paused one goes on or ends.
        busy = any(trial.status in (Trial.PENDING, Trial.RUNNING) or self._may_go_on(trial) for trial in trials)
        self._idle = 0 if busy else self._idle + 1
        if self._idle > 1:
            self._promote(closed=True)
        ready = [trial for trial in trials if trial.status == Trial.PENDING or self._may_go_on(trial)]
        if ready:
            chosen: Trial = max(ready, key=lambda trial: self._towards[trial.trial_id])
            return chosen
        paused = [trial for trial in trials if trial.status == Trial.PAUSED]
        if self._idle > 1 and paused:
            over = tune_controller.search_alg.is_finished()
            # A limit on concurrent trials counts paused ones: one has to end before a new one begins.
            for trial in paused if over else [min(paused, key=self._promise)]:
                tune_controller.stop_trial(trial)
        return None

    def debug_string(self) -> str:
        counts = [sum(towards == rung for towards in self._towards.values()) for rung in range(len(self._rungs))]
        rungs = ", ".join(f"{count} to {time}" for count, time in zip(counts, self._rungs, strict=True))
        return f"Successive halving over fronts: {rungs} of {self._time}"

    def _arrived_at(self, trial: Trial) -> bool:
        """Whether a trial reached its target rung."""
        return self._halving.reached(trial.trial_id, self._towards[trial.trial_id])

    def _promise(self, trial: Trial) -> tuple[int, float]:
        """Sort key: trials at lower rungs promise less, then trials with a larger loss."""
        loss = self._reported(trial.last_result)[1]
        return self._towards[trial.trial_id], -math.inf if loss is None else -loss

    def _may_go_on(self, trial: Trial) -> bool:
        return trial.status == Trial.PAUSED and not self._arrived_at(trial)

    def _go_on(self, name: str, rung: int) -> None:
        self._towards[name] = rung
        self._halving.start(name, rung, self._costs[name])

    def _arrived(self, name: str, result: Mapping[str, Any]) -> int:
        """Records a result and promotes trials; returns the rung of the result."""
        rung, loss = self._towards[name], self._reported(result)[1]
        self._halving.record(name, rung, None if loss is None else (loss, self._costs[name]))
        self._promote(closed=False)
        return rung

    def _promote(self, closed: bool) -> None:
        while (promoted := self._halving.promotion(closed)) is not None:
            self._go_on(*promoted)

    def _reported(self, result: Mapping[str, Any]) -> tuple[float, float | None]:
        """Time and loss of a result; the loss is None if it is missing or not finite."""
        value = float(result.get(str(self._metric), math.nan))
        loss = -value if self._mode == "max" else value
        return float(result.get(self._time, 0)), loss if math.isfinite(loss) else None
