"""The state of a run: whether it runs, and if not, why."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from piip_dashboards.runs.run_snapshot import RunSnapshot
from piip_search.evaluation.evaluation import Candidate
from piip_search.search.policy import halving_of

StateName = Literal["empty", "running", "stalled", "stopped", "finished", "failed"]
STALLED_AFTER = timedelta(minutes=10)
"""Silence after which a search without a known driver counts as stalled, unless its trials take longer."""
SILENT_TRIALS = 3.0
"""Factor on the longest trial's time for which a search may be silent."""


@dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        name: State in one word.
        reason: Reason in a sentence.
    """

    name: StateName
    reason: str


def state_of(reading: RunSnapshot, driven: bool | None, now: datetime) -> RunState:
    """The state of a run at a time.

    Args:
        reading: Snapshot of the run.
        driven: Whether a process drives it; None if unknown.
        now: Time in UTC.
    """
    ended, failed, silence = len(reading.evaluations), len(reading.history.failed), now - reading.last_at
    under_way = len(reading.unfinished)
    if driven and silence <= _patience(reading):
        return RunState("running", f"{under_way} under way" if under_way else "starting")
    if driven:
        return RunState("stalled", f"a process drives it, but nothing has come back for {silence_text(silence)}")
    if ended and ended == failed:
        first = reading.history.failed[0].error
        return RunState("failed", f"all of its {ended} evaluations failed; the first with: {first}")
    if _is_complete(reading):
        return RunState("finished", reading.history.ending)
    if driven is None and reading.events and silence <= _patience(reading):
        return RunState("running", f"{under_way} under way, last heard of {silence_text(silence)} ago")
    if not reading.events:
        return RunState("empty", "nothing was proposed yet")
    left = f"{under_way} unfinished" if under_way else "between two trials"
    if driven is None:
        return RunState("stalled", f"nothing has happened for {silence_text(silence)}; {left}")
    return RunState("stopped", f"nobody drives it, {left}; run the same command again: it goes on where it stopped")


def expected_evaluations(reading: RunSnapshot) -> int:
    """Approximate number of evaluations of the search in all."""
    return max(halving_of(reading.spec).expected(reading.spec.budget.trials), len(reading.history.candidates))


def running_since(reading: RunSnapshot, now: datetime) -> dict[Candidate, float]:
    """Unfinished candidates with the seconds since their proposals, at most since the start of the last sitting."""
    began = reading.sittings[-1].began_at if reading.sittings else reading.record.created_at
    return {candidate: (now - max(at, began)).total_seconds() for candidate, at in reading.unfinished.items()}


def silence_text(silence: timedelta) -> str:
    """A time span as text: 40 s, 12 min, 3 h, 5 days."""
    seconds = max(0, int(silence.total_seconds()))
    for size, unit in ((86400 * 2, "days"), (3600 * 2, "h"), (60 * 2, "min")):
        if seconds >= size:
            return f"{seconds // (size // 2)} {unit}"
    return f"{seconds} s"


def _patience(reading: RunSnapshot) -> timedelta:
    longest = max((evaluation.seconds for evaluation in reading.evaluations), default=0.0)
    return max(STALLED_AFTER, timedelta(seconds=SILENT_TRIALS * longest))


def _is_complete(reading: RunSnapshot) -> bool:
    return bool(reading.evaluations) and not reading.unfinished and bool(reading.history.ending)
